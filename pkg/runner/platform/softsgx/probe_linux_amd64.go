package softsgx

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// machine is what Probe looks at: this one, or a test's.
type machine struct {
	cpu       cpuFeatures
	kernel    string // release, as uname has it
	fsgsbase  bool
	bind      func() (noCPUID bool, err error) // prepares a thread, see probeThread
	executes  func() error                     // makes written memory executable
	open      func(path string) error          // for reading and writing
	connected func(socket string) error
}

// Probe looks at what this machine can do. It changes nothing.
func Probe() []Check {
	m := machine{
		cpu:      *cpu(),
		kernel:   kernelRelease(),
		fsgsbase: kernelFSGSBASE(),
		bind: func() (bool, error) {
			if err := installHandlers(); err != nil {
				return false, err
			}
			return probeThread()
		},
		executes: canExecute,
		open: func(path string) error {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err == nil {
				err = f.Close()
			}
			return err
		},
		connected: func(socket string) error {
			c, err := net.DialTimeout("unix", socket, time.Second)
			if err == nil {
				err = c.Close()
			}
			return err
		},
	}
	return append(m.software(), m.hardware()...)
}

func kernelRelease() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// kernelAtLeast reports whether a release, such as "6.1.0-13-amd64", is not
// older than major.minor.
func kernelAtLeast(release string, major, minor int) bool {
	a, rest, _ := strings.Cut(release, ".")
	b := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
	x, err1 := strconv.Atoi(a)
	y, err2 := strconv.Atoi(b)
	return err1 == nil && err2 == nil && (x > major || x == major && y >= minor)
}

// canExecute does what loading an enclave does to memory.
func canExecute() error {
	a, err := reserve(pageSize, pageSize, 0)
	if err != nil {
		return err
	}
	defer unmap(a, pageSize)
	if err := protect(a, pageSize, protR|protW); err != nil {
		return err
	}
	memory(a, 1)[0] = opINT3
	return protect(a, pageSize, protR|protX)
}

func (m *machine) software() []Check {
	var checks []Check
	add := func(needed bool, name string, ok bool, detail, fix string) {
		if ok {
			fix = ""
		}
		checks = append(checks, Check{forSoftware, name, needed, ok, detail, fix})
	}
	detail := m.cpu.vendor + ", no XSAVE"
	if m.cpu.xsave {
		detail = fmt.Sprintf("%s, enclaves can use %s", m.cpu.vendor, m.cpu.xfrm)
	}
	add(true, "processor", m.cpu.xsave, detail, "use a processor with XSAVE, and a kernel without noxsave on its command line")
	add(true, "kernel", kernelAtLeast(m.kernel, 5, 11), "Linux "+m.kernel, "use Linux 5.11 or newer")
	switch {
	case m.fsgsbase:
		add(true, "FSGSBASE", true, "programs can set the FS and GS base", "")
	case m.cpu.fsgsbase:
		add(true, "FSGSBASE", false, "the processor has it, the kernel does not enable it", "use Linux 5.9 or newer, without nofsgsbase on its command line")
	default:
		add(true, "FSGSBASE", false, "the processor does not have it", "use a processor of 2013 or later; in a virtual machine, pass fsgsbase through")
	}
	noCPUID, err := false, errors.New("not tried: FSGSBASE or XSAVE is missing")
	if m.fsgsbase && m.cpu.xsave {
		noCPUID, err = m.bind()
	}
	if err == nil {
		add(true, "syscall dispatch", true, "system calls from an enclave can be caught", "")
	} else {
		add(true, "syscall dispatch", false, err.Error(), "use Linux 5.11 or newer; in a container, allow prctl PR_SET_SYSCALL_USER_DISPATCH")
	}
	if err := m.executes(); err == nil {
		add(true, "executable memory", true, "code can be loaded into memory", "")
	} else {
		add(true, "executable memory", false, err.Error(), "allow execmem in the security policy (SELinux: setsebool deny_execmem off)")
	}
	if noCPUID {
		add(false, "CPUID faulting", true, "CPUID in an enclave faults as it should", "")
	} else {
		add(false, "CPUID faulting", false, "CPUID in an enclave faults where the image has it; what an enclave writes at run time is not seen",
			"none is needed for enclaves that do not write code; for those that do, use a processor with CPUID faulting, in a virtual machine passed through")
	}
	if m.cpu.rdrand {
		add(false, "RDRAND", true, "enclaves have a source of randomness", "")
	} else {
		add(false, "RDRAND", false, "the processor does not have it; enclaves that use it fault", "in a virtual machine, pass rdrand through")
	}
	return checks
}

// Where the drivers of the kernel (since 5.11), of Intel's DCAP package and of
// Intel's older package put the device.
var deviceNodes = []string{"/dev/sgx_enclave", "/dev/sgx/enclave", "/dev/isgx"}

const aesmSocket = "/var/run/aesmd/aesm.socket"

func (m *machine) hardware() []Check {
	var checks []Check
	add := func(needed bool, name string, ok bool, detail, fix string) {
		if ok {
			fix = ""
		}
		checks = append(checks, Check{forHardware, name, needed, ok, detail, fix})
	}
	c := &m.cpu
	switch {
	case c.sgx && c.sgx1:
		detail := "SGX1"
		if c.sgx2 {
			detail = "SGX1 and SGX2"
		}
		add(true, "SGX", true, fmt.Sprintf("%s, %s of enclave memory", detail, mebibytes(c.epc)), "")
	case c.sgx:
		add(true, "SGX", false, "the processor has SGX, the firmware does not enable it", "enable SGX in the firmware setup")
	default:
		add(true, "SGX", false, c.vendor+" processor without SGX, or a virtual machine that hides it",
			"use an Intel Xeon with SGX; in a virtual machine, have SGX passed through")
	}
	if c.flc {
		add(false, "launch control", true, "the system chooses who may launch enclaves", "")
	} else {
		add(false, "launch control", false, "launching an enclave needs a token of Intel's launch enclave", "use a processor with flexible launch control (FLC)")
	}
	add(true, "SGX device", false, "", "")
	m.device(&checks[len(checks)-1])
	if err := m.open("/dev/sgx_provision"); err == nil {
		add(false, "provisioning device", true, "/dev/sgx_provision", "")
	} else {
		add(false, "provisioning device", false, reason("/dev/sgx_provision", err), "for attestation, add the user to the group sgx_prv")
	}
	if err := m.connected(aesmSocket); err == nil {
		add(false, "AESM", true, aesmSocket, "")
	} else {
		add(false, "AESM", false, reason(aesmSocket, err), "for quotes and launch tokens, install and start the service aesmd (package sgx-aesm-service)")
	}
	return checks
}

// device looks for a driver's node that can be used.
func (m *machine) device(c *Check) {
	c.Detail = "none of " + strings.Join(deviceNodes, ", ")
	c.Fix = "use Linux 5.11 or newer with CONFIG_X86_SGX; in a container, pass the device in"
	for _, path := range deviceNodes {
		switch err := m.open(path); {
		case err == nil:
			c.OK, c.Detail, c.Fix = true, path, ""
			return
		case !errors.Is(err, fs.ErrNotExist):
			c.Detail = reason(path, err)
			c.Fix = "add the user to the group of " + path + " (often sgx)"
		}
	}
}

// reason says without the name of a Go operation why path is of no use.
func reason(path string, err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return path + ": " + errno.Error()
	}
	return path + ": " + err.Error()
}

func mebibytes(n uint64) string { return strconv.FormatUint(n>>20, 10) + " MiB" }
