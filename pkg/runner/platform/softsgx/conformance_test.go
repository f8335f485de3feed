//go:build linux && amd64

package softsgx

import (
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/runner/platform/platformtest"
)

// The suite that all platforms pass, on both ways of leaving an enclave.
func TestConformance(t *testing.T) {
	for name, trapOnly := range map[string]bool{"patched": false, "trap": true} {
		t.Run(name, func(t *testing.T) {
			platformtest.Run(t, func(t *testing.T) platform.Platform { return testPlatform(t, trapOnly) })
		})
	}
}
