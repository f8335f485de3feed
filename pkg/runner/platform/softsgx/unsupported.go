//go:build !linux || !amd64

package softsgx

import (
	"fmt"
	"runtime"

	"github.com/enclaveos/eos/pkg/runner/platform"
)

// New makes the software platform. This build has none.
func New(Options) (platform.Platform, error) {
	return nil, fmt.Errorf("software platform: not available on %s/%s: it needs Linux on x86-64", runtime.GOOS, runtime.GOARCH)
}
