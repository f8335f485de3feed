package softsgx

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"
)

// good is a machine that has everything.
func goodMachine() machine {
	return machine{
		cpu:       cpuFeatures{vendor: "GenuineIntel", sgx: true, sgx1: true, sgx2: true, flc: true, epc: 128 << 20, fsgsbase: true, rdrand: true, xsave: true, xfrm: 7},
		kernel:    "6.1.0-13-amd64",
		fsgsbase:  true,
		bind:      func() (bool, error) { return true, nil },
		executes:  func() error { return nil },
		open:      func(string) error { return nil },
		connected: func(string) error { return nil },
	}
}

func TestProbeMachine(t *testing.T) {
	openError := func(err error) func(string) error {
		return func(path string) error { return &fs.PathError{Op: "open", Path: path, Err: err} }
	}
	for _, test := range []struct {
		name               string
		change             func(*machine)
		software, hardware bool
		failed, detail     string // of the first check that is not OK
	}{
		{"good", func(*machine) {}, true, true, "", ""},
		{"old kernel", func(m *machine) { m.kernel = "5.10.0" }, false, true, "kernel", "5.10.0"},
		{"odd kernel", func(m *machine) { m.kernel = "six" }, false, true, "kernel", "six"},
		{"no FSGSBASE", func(m *machine) { m.fsgsbase = false }, false, true, "FSGSBASE", "kernel does not enable it"},
		{"no FSGSBASE at all", func(m *machine) { m.fsgsbase, m.cpu.fsgsbase = false, false }, false, true, "FSGSBASE", "processor does not"},
		{"no dispatch", func(m *machine) { m.bind = func() (bool, error) { return false, errors.New("EINVAL") } }, false, true, "syscall dispatch", "EINVAL"},
		{"no CPUID faulting", func(m *machine) { m.bind = func() (bool, error) { return false, nil } }, true, true, "CPUID faulting", "where the image has it"},
		{"no XSAVE", func(m *machine) { m.cpu.xsave = false }, false, true, "processor", "no XSAVE"},
		{"no RDRAND", func(m *machine) { m.cpu.rdrand = false }, true, true, "RDRAND", "does not have it"},
		{"execmem", func(m *machine) { m.executes = func() error { return syscall.EACCES } }, false, true, "executable memory", "permission denied"},
		{"no SGX", func(m *machine) { m.cpu.sgx, m.cpu.sgx1 = false, false }, true, false, "SGX", "without SGX"},
		{"SGX off", func(m *machine) { m.cpu.sgx1 = false }, true, false, "SGX", "firmware does not enable"},
		{"no FLC", func(m *machine) { m.cpu.flc = false }, true, true, "launch control", "token"},
		{"no device", func(m *machine) { m.open = openError(syscall.ENOENT) }, true, false, "SGX device", "none of /dev/sgx_enclave"},
		{"forbidden device", func(m *machine) { m.open = openError(syscall.EACCES) }, true, false, "SGX device", "/dev/isgx: permission denied"},
		{"no AESM", func(m *machine) { m.connected = openError(syscall.ECONNREFUSED) }, true, true, "AESM", "connection refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := goodMachine()
			test.change(&m)
			checks := append(m.software(), m.hardware()...)
			if got := Usable(checks, "software"); got != test.software {
				t.Errorf("software %v, want %v", got, test.software)
			}
			if got := Usable(checks, "hardware"); got != test.hardware {
				t.Errorf("hardware %v, want %v", got, test.hardware)
			}
			for _, c := range checks {
				if !c.OK {
					if c.Name != test.failed || !strings.Contains(c.Detail, test.detail) {
						t.Errorf("first failed check %+v, want %s: %s", c, test.failed, test.detail)
					}
					return
				}
			}
			if test.failed != "" {
				t.Errorf("no failed check, want %s", test.failed)
			}
		})
	}
}

func TestKernelAtLeast(t *testing.T) {
	for release, want := range map[string]bool{"5.11.0": true, "5.11": true, "5.9.16": false, "6.0.0-rc1": true, "4.18.0-553.el8": false, "10.1": true, "": false, "5.": false, "x.y": false} {
		if got := kernelAtLeast(release, 5, 11); got != want {
			t.Errorf("%q: %v", release, got)
		}
	}
}
