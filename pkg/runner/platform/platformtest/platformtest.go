// Package platformtest is the one suite that every platform passes. It builds
// small enclaves from bytes that it assembles itself, signs and starts them
// through the platform.Platform interface alone, and looks at what comes out:
// so a software platform and a processor are held to the same rules.
//
// A platform's test is one line:
//
//	platformtest.Run(t, func(t *testing.T) platform.Platform { return … })
package platformtest

import (
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform"
)

// Run runs the suite. newPlatform is called once a group of tests; what it
// returns may be the same platform each time. The host needs nothing of its
// own beyond the pages of a few enclaves of 64 KiB.
func Run(t *testing.T, newPlatform func(t *testing.T) platform.Platform) {
	for _, group := range []struct {
		name string
		run  func(t *testing.T, p platform.Platform)
	}{
		{"build", testBuild},
		{"init", testInit},
		{"enter", testEnter},
		{"exception", testException},
		{"resume", testResume},
		{"memory", testMemory},
		{"report", testReport},
		{"key", testKey},
		{"life", testLife},
	} {
		t.Run(group.name, func(t *testing.T) { group.run(t, newPlatform(t)) })
	}
}

// subtests runs each of a group's tests under its name.
func subtests(t *testing.T, p platform.Platform, tests []subtest) {
	for _, s := range tests {
		t.Run(s.name, func(t *testing.T) { s.run(t, p) })
	}
}

type subtest struct {
	name string
	run  func(t *testing.T, p platform.Platform)
}
