package softsgx

import "github.com/enclaveos/eos/pkg/runner/platform/softsgx/microcode"

// Options are the choices of New.
type Options struct {
	// Device holds the keys that EREPORT and EGETKEY derive from. It must not
	// be nil; see microcode.OpenDevice.
	Device *microcode.Device
	// TrapOnly leaves every ENCLU in place. Each EEXIT then goes through a
	// signal, which takes some microseconds: the reference for tests.
	// CPUID is replaced all the same where the processor cannot make it fault.
	TrapOnly bool
}
