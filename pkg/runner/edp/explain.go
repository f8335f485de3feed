package edp

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/enclaveos/eos/pkg/runner"
	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

// codeSize is how much of the code at a fault is looked at: the longest
// instruction.
const codeSize = 15

// exception describes a fault as well as the platform lets us.
func (s *server) exception(t *tcs, exit platform.Exit) error {
	e := &ExceptionError{Exit: exit, TCS: t.off, Base: s.base, Size: s.size, regions: s.enc.Regions}
	e.Regs = s.savedRegs(t)
	if e.Regs == nil {
		return e
	}
	off := e.Regs.RIP - s.base
	if off >= s.size {
		return e
	}
	// The instruction may end at the end of the last executable page.
	for n := uint64(codeSize); n > 0; n-- {
		b := make([]byte, min(n, s.size-off))
		if s.enc.DebugRead(off, b) == nil {
			e.Code = b
			break
		}
	}
	if s.opts.Symbolize != nil {
		e.Symbol = s.opts.Symbolize(off)
	}
	return e
}

// savedRegs reads the registers of the last AEX out of the SSA, or returns nil
// if the enclave is not a debug enclave.
func (s *server) savedRegs(t *tcs) *sgx.GPRSGX {
	var page [32]byte // up to and including NSSA
	if s.enc.DebugRead(t.off, page[:]) != nil {
		return nil
	}
	ossa, cssa := le.Uint64(page[16:]), le.Uint32(page[24:])
	if cssa == 0 {
		return nil
	}
	frame := uint64(s.enc.SECS().SSAFrameSize) * sgx.PageSize
	var b [sgx.GPRSGXSize]byte
	if s.enc.DebugRead(ossa+uint64(cssa)*frame-sgx.GPRSGXSize, b[:]) != nil {
		return nil
	}
	g, err := sgx.ParseGPRSGX(b[:])
	if err != nil {
		return nil
	}
	return g
}

// Explain says in words for people what an error of Run or Call means and what
// to do about it, one sentence or more, or "" if there is nothing to add.
func Explain(err error) string {
	var ex *ExceptionError
	var p *PanicError
	switch {
	case errors.As(err, &ex):
		return ex.explain()
	case errors.As(err, &p):
		return explainPanic(p.Text)
	case errors.Is(err, ErrMainReturned):
		return "main_entry must end with the exit usercall, never return: is this a library image?"
	}
	return ""
}

// explainPanic knows the messages of the Rust runtime for what an image has too
// little of.
func explainPanic(text string) string {
	switch {
	case strings.Contains(text, "memory allocation of"):
		return "the enclave's heap is full: build the image with a larger --heap-size"
	case strings.Contains(text, "failed to spawn thread") && strings.Contains(text, "WouldBlock"):
		return "all threads of the enclave are in use: build the image with more --threads"
	}
	return ""
}

// Bits of a page fault's error code (SDM vol. 3A 5.12).
const (
	pfPresent = 1 << 0
	pfWrite   = 1 << 1
	pfFetch   = 1 << 4
	pfSGX     = 1 << 15
)

func (e *ExceptionError) explain() string {
	if e.Regs != nil && e.Regs.RIP-e.Base >= e.Size {
		// Whatever happened there, being there is what is wrong.
		return jumpOut(e.Regs.RIP)
	}
	var s string
	switch e.Exit.Vector {
	case sgx.VectorPF:
		s = e.explainPageFault()
	case sgx.VectorDE:
		s = "division by zero, or a quotient that is too large"
	case sgx.VectorUD:
		s = e.explainInvalid()
	case sgx.VectorGP:
		s = e.explainGP()
	case sgx.VectorBP:
		s = "breakpoint (INT3)"
	case sgx.VectorAC:
		s = "unaligned access while alignment checking is on"
	case sgx.VectorMF, sgx.VectorXM:
		s = "floating-point exception"
	default:
		name := sgx.VectorName(e.Exit.Vector)
		if name == "" {
			name = fmt.Sprintf("exception %d", e.Exit.Vector)
		}
		s = name
	}
	if e.Regs == nil {
		return s
	}
	s += fmt.Sprintf(", at enclave offset %#x", e.Regs.RIP-e.Base)
	if e.Symbol != "" {
		s += " in " + e.Symbol
	}
	return s
}

func (e *ExceptionError) explainPageFault() string {
	addr, code := e.Exit.Addr, e.Exit.ErrorCode
	// The low 12 bits may be hidden; RIP tells them for a jump.
	fetch := code&pfFetch != 0
	if e.Regs != nil && e.Regs.RIP&^(sgx.PageSize-1) == addr&^(sgx.PageSize-1) {
		fetch, addr = true, e.Regs.RIP
	}
	verb := "read of"
	if code&pfWrite != 0 {
		verb = "write to"
	}
	if fetch {
		verb = "jump to"
	}
	off := addr - e.Base
	switch {
	case off >= e.Size && fetch:
		return jumpOut(addr)
	case addr < nullPages*sgx.PageSize:
		return fmt.Sprintf("null pointer: %s address %#x", verb, addr)
	case off >= e.Size:
		return fmt.Sprintf("%s address %#x, which is neither in the enclave nor in memory that it was given", verb, addr)
	}
	r, mapped := runner.FindRegion(e.regions, off)
	if !mapped {
		// The gap below a stack is its guard.
		if above, ok := runner.RegionAbove(e.regions, off); ok && !fetch && above.Flags.Perm() == "rw-" && e.nearStack(addr) {
			return fmt.Sprintf("stack overflow: %s offset %#x, in the guard below the stack: build the image with a larger --stack-size", verb, off)
		}
		return fmt.Sprintf("%s offset %#x of the enclave, where no page is", verb, off)
	}
	return fmt.Sprintf("%s offset %#x of the enclave, a page of type %v", verb, off, r.Flags)
}

// nullPages is how far from zero an address is taken for a null pointer with an
// offset.
const nullPages = 16

// jumpOut explains that the enclave went on at an address outside itself.
func jumpOut(addr uint64) string {
	if addr < nullPages*sgx.PageSize {
		return fmt.Sprintf("call of a null pointer: jump to address %#x", addr)
	}
	return fmt.Sprintf("jump out of the enclave, to %#x: code outside cannot run inside", addr)
}

// nearStack reports whether the fault is where the stack pointer says it is, if
// that is known.
func (e *ExceptionError) nearStack(addr uint64) bool {
	const guard = 0x10000 // bytes below each stack
	return e.Regs == nil || e.Regs.RSP-addr+guard < 2*guard
}

// instructions that fault inside an enclave, by their first bytes.
var instructions = []struct {
	bytes []byte
	what  string
}{
	{[]byte{0x0f, 0x05}, "SYSCALL: an enclave has no system calls"},
	{[]byte{0x0f, 0x34}, "SYSENTER: an enclave has no system calls"},
	{[]byte{0xcd, 0x80}, "INT 80H: an enclave has no system calls"},
	{[]byte{0xcd}, "INT: an enclave cannot raise software interrupts"},
	{[]byte{0x0f, 0xa2}, "CPUID is not allowed in an enclave"},
	{[]byte{0x0f, 0x31}, "RDTSC is not allowed in an enclave on this platform"},
	{[]byte{0x0f, 0x01, 0xf9}, "RDTSCP is not allowed in an enclave on this platform"},
	{[]byte{0x0f, 0x01, 0xd7}, "ENCLU: this leaf is not supported"},
	{[]byte{0x0f, 0x0b}, "UD2: the program aborted itself"},
}

func (e *ExceptionError) explainInvalid() string {
	for _, i := range instructions {
		if bytes.HasPrefix(e.Code, i.bytes) {
			return "illegal instruction, " + i.what
		}
	}
	if e.Code == nil {
		return "illegal instruction: one that an enclave may not use (SYSCALL, CPUID, ...), that this processor lacks, or a deliberate abort"
	}
	return fmt.Sprintf("illegal instruction, bytes %x", e.Code)
}

func (e *ExceptionError) explainGP() string {
	for _, i := range instructions {
		if bytes.HasPrefix(e.Code, i.bytes) {
			return "illegal instruction, " + i.what
		}
	}
	if e.Regs == nil {
		return "general protection fault: a jump out of the enclave, an address that is not canonical or not aligned, or a privileged instruction"
	}
	return "general protection fault: an address that is not canonical, or not aligned as the instruction wants it, or a privileged instruction"
}
