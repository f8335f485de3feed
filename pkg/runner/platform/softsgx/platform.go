//go:build linux && amd64

package softsgx

import (
	"errors"
	"fmt"
	"sync"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/microcode"
	"github.com/enclaveos/eos/pkg/sgx"
)

// maxEnclaveSize is what ECREATE accepts: a process has 128 TiB of addresses,
// and aligning an enclave may need twice its size for a moment.
const maxEnclaveSize = 1 << 36

// supportedAttributes is what ECREATE accepts. CET is not there, since the
// processor's own shadow stack would have to be the enclave's.
const supportedAttributes = sgx.AttrDebug | sgx.AttrMode64Bit | sgx.AttrProvisionKey | sgx.AttrEInitTokenKey | sgx.AttrKSS

type softPlatform struct {
	device      *microcode.Device
	trapOnly    bool
	cpuidFaults bool
	caps        platform.Caps
}

// New makes the software platform. The error says what this machine lacks.
func New(o Options) (platform.Platform, error) {
	if o.Device == nil {
		return nil, errors.New("software platform: no device: see microcode.OpenDevice")
	}
	if !cpu().xsave {
		return nil, errors.New("software platform: this processor has no XSAVE, or the system does not enable it")
	}
	if !kernelFSGSBASE() {
		return nil, errors.New("software platform: the kernel does not let programs set the FS and GS base; " +
			"it needs a processor with FSGSBASE, Linux 5.9 or newer, and no nofsgsbase on its command line")
	}
	if err := installHandlers(); err != nil {
		return nil, err
	}
	noCPUID, err := probeThread()
	if err != nil {
		return nil, err
	}
	return &softPlatform{o.Device, o.TrapOnly, noCPUID, platform.Caps{
		Attributes:   supportedAttributes,
		XFRM:         cpu().xfrm,
		MiscSelect:   sgx.MiscEXINFO,
		MaxSize:      maxEnclaveSize,
		XSAVESize:    cpu().xsaveSize,
		XInUse:       cpu().xInUse,
		Restrictions: restrictions(noCPUID),
	}}, nil
}

// probeThread prepares a thread as NewThread does, once in the process, to
// find out whether that works and whether CPUID can be made to fault.
var probeThread = sync.OnceValues(func() (noCPUID bool, err error) {
	t, err := bindThread()
	if err != nil {
		return false, err
	}
	defer t.unbind()
	return t.noCPUID, nil
})

// restrictions lists what a real processor would do and this one does not.
func restrictions(noCPUID bool) []string {
	r := []string{
		"secrecy: the host can read and change all of the enclave",
		"a jump from the enclave to executable host code is not stopped; system calls there are",
		"XFRM: instructions of other processor features run, and XGETBV returns the host's XCR0",
		"SYSCALL raises #UD, but RCX and R11 are lost",
		"far jumps, IRET, loads of segment registers, SGDT, SIDT, SLDT, SMSW and STR run",
		"pages that are only executable can be read",
		"ENCLU with a REX prefix raises #UD",
	}
	if !noCPUID {
		r = append(r, "CPUID: this processor or its hypervisor cannot make it fault; it is found by scanning the image's code, "+
			"so CPUID that an enclave writes into executable memory at run time runs, as does one that cannot be told from data")
	}
	return r
}

func (p *softPlatform) Name() string { return "software" }

func (p *softPlatform) Caps() platform.Caps { return p.caps }

func (p *softPlatform) Create(secs *sgx.SECS) (platform.Builder, error) {
	s := *secs
	if err := microcode.CheckSECS(&s, p.caps); err != nil {
		return nil, err
	}
	m, err := newELRange(uintptr(s.BaseAddr), uintptr(s.Size))
	if err != nil {
		where := "anywhere"
		if s.BaseAddr != 0 {
			where = fmt.Sprintf("at %#x", s.BaseAddr)
		}
		return nil, fmt.Errorf("ECREATE: reserving %#x bytes of address space %s: %w", s.Size, where, err)
	}
	s.BaseAddr = uint64(m.base)
	mc, err := microcode.Create(&s, p.caps)
	if err != nil {
		m.close()
		return nil, err
	}
	return &builder{p: p, mc: mc, memory: m}, nil
}
