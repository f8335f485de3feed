// Package platform says what an SGX platform can do, without any of the doing:
// a processor with enclave instructions, real or in software. The packages
// beside it implement it; platformtest is the one suite that all of them pass.
//
// The order of calls is that of the architecture:
//
//	b, _ := p.Create(secs)                 ECREATE
//	b.Add(off, flags, data); b.Extend(off) EADD, EEXTEND, repeatedly
//	e, _ := b.Init(sigstruct)              EINIT
//	t, _ := e.NewThread()                  a logical processor, on this goroutine
//	t.Enter(tcs, sgx.LeafEENTER, &regs)    until it has left the enclave
//	t.Close(); e.Close()
package platform

import (
	"errors"
	"fmt"

	"github.com/enclaveos/eos/pkg/sgx"
)

// Platform makes enclaves. Its methods may be called from any goroutine.
type Platform interface {
	// Name is "software" or "hardware".
	Name() string
	// Caps says what the processor supports.
	Caps() Caps
	// Create does ECREATE: it reserves secs.Size bytes of address space,
	// aligned to that size, at secs.BaseAddr or, if that is zero, anywhere.
	// The error says which field the processor would refuse.
	Create(secs *sgx.SECS) (Builder, error)
}

// Caps is what CPUID leaf 12H tells of a processor.
type Caps struct {
	Attributes   sgx.AttrFlags         // flags that ECREATE accepts
	XFRM         sgx.XFRM              // features that ECREATE accepts
	MiscSelect   sgx.MiscSelect        // bits that ECREATE accepts
	MaxSize      uint64                // largest enclave, bytes
	SGX2         bool                  // EACCEPT and its family
	XInUse       bool                  // XGETBV tells with ECX = 1 which features are in use
	XSAVESize    func(sgx.XFRM) uint32 // bytes that an AEX saves for these features
	EnforcesTCB  bool                  // secrets are safe from the host: hardware only
	Restrictions []string              // what of the architecture is not enforced here, in words
}

// Builder is an enclave between ECREATE and EINIT. It is used by one
// goroutine. After an error, or instead of Init, call Close.
type Builder interface {
	// Base is the enclave's address.
	Base() uint64
	// Add does EADD of the page at offset off. A nil data is a page of zeros,
	// which costs no memory until it is touched; else it has sgx.PageSize
	// bytes, which are copied.
	Add(off uint64, flags sgx.SecInfoFlags, data []byte) error
	// Extend does EEXTEND of the 256 bytes at offset off, of a page that has
	// been added.
	Extend(off uint64) error
	// Measurement is MRENCLAVE of what has been added and extended so far.
	Measurement() sgx.Measurement
	// Init does EINIT. If the processor refuses the signature the error wraps
	// the sgx.ErrorCode and says what was expected and what was found.
	Init(sig *sgx.SigStruct) (Enclave, error)
	// Close frees the unfinished enclave. After Init it does nothing.
	Close() error
}

// Enclave is an initialised enclave. Its methods may be called from any
// goroutine.
type Enclave interface {
	// SECS is a copy of the enclave's control structure, MRENCLAVE, MRSIGNER,
	// base address and attributes included.
	SECS() sgx.SECS
	// NewThread makes the calling goroutine a logical processor: it is locked
	// to its OS thread until the Thread is closed. Only that goroutine may
	// call Enter and Close.
	NewThread() (Thread, error)
	// DebugRead does EDBGRD: it copies from the enclave, at offset off, into
	// b. It fails with ErrNotDebug unless ATTRIBUTES.DEBUG is set.
	DebugRead(off uint64, b []byte) error
	// Close does EREMOVE of all pages. It fails with ErrBusy while a thread is
	// inside, and ends the use of the address range.
	Close() error
}

// Thread is a logical processor that can enter one enclave.
type Thread interface {
	// Enter has the semantics of __vdso_sgx_enter_enclave. leaf is EENTER or
	// ERESUME, tcs the offset of a TCS. It returns when the enclave has left
	// by EEXIT, with its registers in regs, or by an AEX that is not a plain
	// interrupt; regs is then unspecified and the enclave's state is in its
	// SSA frame. The error is for an entry that the processor refuses: no TCS
	// at that offset, TCS busy (ErrBusy), no free SSA frame, nothing to
	// resume.
	Enter(tcs uint64, leaf sgx.Leaf, regs *Regs) (Exit, error)
	// Interrupt makes the Enter in progress, or the next one, return with
	// ExitInterrupt. Any goroutine may call it, also after Close.
	Interrupt()
	// Close gives the OS thread back.
	Close()
}

// Regs are the registers that pass the wall. All others are neither given to
// the enclave nor read from it.
type Regs struct {
	RDI, RSI, RDX, R8, R9, R10 uint64
}

// ExitKind says how an enclave was left.
type ExitKind uint8

// The exit kinds. The zero value is none of them.
const (
	ExitEEXIT     ExitKind = iota + 1 // by the EEXIT instruction
	ExitException                     // by an AEX because of an exception; resume with ERESUME
	ExitInterrupt                     // by an AEX because of Interrupt; resume with ERESUME
)

// Exit says how and why an enclave was left.
type Exit struct {
	Kind      ExitKind
	Vector    uint8  // of the exception
	ErrorCode uint32 // as the processor pushed it; zero for vectors without one
	Addr      uint64 // of a page fault: the address, its low 12 bits may be zero
}

// String returns for example "EEXIT" or "#PF at 0x7f0000001000, error code 6".
func (e Exit) String() string {
	switch e.Kind {
	case ExitEEXIT:
		return "EEXIT"
	case ExitInterrupt:
		return "interrupt"
	case ExitException:
		name := sgx.VectorName(e.Vector)
		if name == "" {
			name = fmt.Sprintf("exception %d", e.Vector)
		}
		if e.Vector == sgx.VectorPF {
			return fmt.Sprintf("%s at %#x, error code %d", name, e.Addr, e.ErrorCode)
		}
		return name
	}
	return "no exit"
}

// Errors that callers tell apart.
var (
	ErrBusy     = errors.New("TCS is busy")
	ErrNotDebug = errors.New("not a debug enclave")
	ErrClosed   = errors.New("enclave is closed")
)
