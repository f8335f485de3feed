package goenclave

import (
	"context"
	"errors"
	"fmt"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/wall"
)

// ErrClosed says that a Command has been run before.
var ErrClosed = errors.New("the program has been run")

// ErrInterrupted is the cause with which a context ends for a program that shall see
// SIGINT. With any other it sees SIGTERM.
var ErrInterrupted = fmt.Errorf("interrupted: %w", context.Canceled)

// errStopped unwinds a thread whose program has ended.
var errStopped = errors.New("the program has ended")

// ExitError says that the program has ended with an exit code other than zero.
type ExitError struct{ Code int }

func (e *ExitError) Error() string { return fmt.Sprintf("exit status %d", e.Code) }

// ABIError says that an image was built for a host that speaks to its enclaves in
// another way.
type ABIError struct{ Image uint64 }

func (e *ABIError) Error() string {
	n := max(e.Image, 1) // the first images do not say
	if n < wall.ABI {
		return fmt.Sprintf("the image speaks the eos ABI %d, this host %d: build it with this eos", n, wall.ABI)
	}
	return fmt.Sprintf("the image speaks the eos ABI %d, this host only %d: run it with a newer eos", n, wall.ABI)
}

// A RefusedError says that the enclave did not accept an ECALL.
type RefusedError struct {
	Call    wall.ECall
	TCS     int // index
	Refusal wall.Refusal
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the enclave refused %s on TCS %d: %s", callName(e.Call), e.TCS, refusalText(e.Refusal))
}

func callName(c wall.ECall) string {
	switch c {
	case wall.ECallInitChannel:
		return "ecall_init_channel"
	case wall.ECallInitDataChannel:
		return "ecall_init_data_channel"
	case wall.ECallRun:
		return "ecall_run"
	case wall.ECallShutdown:
		return "ecall_shutdown"
	}
	return fmt.Sprintf("ECALL %d", uint64(c))
}

func refusalText(r wall.Refusal) string {
	switch r {
	case wall.RefusedCall:
		return "it has no such call"
	case wall.RefusedState:
		return "twice, too early, or after it has ended"
	case wall.RefusedPointer:
		return "an address that is not outside the enclave, or not aligned"
	case wall.RefusedSize:
		return "a length out of bounds"
	case wall.RefusedThread:
		return "this thread was not asked for"
	case wall.RefusedPlatform:
		return "it needs AVX in XFRM and EXINFO in MISCSELECT"
	}
	return fmt.Sprintf("result %d", int64(r))
}

// A ProtocolError says that the enclave left in a way that package wall does not
// know.
type ProtocolError struct {
	TCS  int // index
	What string
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("the enclave broke the rules of its host on TCS %d: %s", e.TCS, e.What)
}

// A FaultError says that an instruction in the enclave faulted, and that its kernel
// could not make a Go panic of it.
type FaultError struct {
	TCS  int // index
	Exit platform.Exit
	// Nested: it was while the kernel handled another exception, and it says nothing.
	Nested bool
	// RIP and Addr are what the kernel says of the fault: where, and for a page
	// fault the address. In production images it says neither.
	RIP, Addr uint64
	// Symbol is what Options.Symbolize knew of RIP.
	Symbol string
}

func (e *FaultError) Error() string {
	s := "the enclave faulted: " + e.what()
	switch {
	case e.Nested:
		s += ", while it handled another exception"
	case e.RIP == 0:
		s += "; an image of eos build --debug says where"
	case e.Symbol != "":
		s += fmt.Sprintf(", at %#x in %s", e.RIP, e.Symbol)
	default:
		s += fmt.Sprintf(", at %#x", e.RIP)
	}
	return s
}

func (e *FaultError) what() string {
	switch e.Exit.Vector {
	case sgx.VectorPF:
		addr := e.Exit.Addr
		if e.Addr != 0 {
			addr = e.Addr
		}
		const write, fetch = 1 << 1, 1 << 4
		verb := "read of"
		if e.Exit.ErrorCode&write != 0 {
			verb = "write to"
		}
		if e.Exit.ErrorCode&fetch != 0 {
			verb = "jump to"
		}
		return fmt.Sprintf("%s address %#x", verb, addr)
	case sgx.VectorUD:
		return "illegal instruction: one that an enclave may not use, that this processor lacks, or a deliberate abort"
	case sgx.VectorGP:
		return "general protection fault: a jump out of the enclave, an address that is not canonical or not aligned, or a privileged instruction"
	case sgx.VectorBP:
		return "breakpoint (INT3)"
	}
	return e.Exit.String()
}
