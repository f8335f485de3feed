// Package helloworld is the smallest module: it answers hello with world.
package helloworld

import (
	"context"

	"github.com/enclaveos/eos/pkg/runtime/module"
)

// Module is the module.
type Module struct{}

// Name is "helloworld".
func (Module) Name() string { return "helloworld" }

// Handle answers the body hello with world.
func (Module) Handle(_ context.Context, r *module.Request) (*module.Response, error) {
	if string(r.Body) != "hello" {
		return nil, module.ErrNotMine
	}
	return module.Text("world"), nil
}
