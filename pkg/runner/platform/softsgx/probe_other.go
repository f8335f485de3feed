//go:build !linux || !amd64

package softsgx

import "runtime"

// Probe looks at what this machine can do. It changes nothing.
func Probe() []Check {
	detail := "this is " + runtime.GOOS + "/" + runtime.GOARCH
	return []Check{
		{Platform: forSoftware, Name: "system", Needed: true, Detail: detail, Fix: "run on Linux on x86-64"},
		{Platform: forHardware, Name: "system", Needed: true, Detail: detail, Fix: "run on Linux on x86-64"},
	}
}
