package edp

import (
	"errors"
	"fmt"
	"strings"

	"github.com/enclaveos/eos/pkg/runner"
	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

// The ways in which an enclave can end that need no more words.
var (
	// ErrMainReturned: the first TCS of a Command left other than by exit.
	ErrMainReturned = errors.New("The enclave returned from the main entrypoint in violation of the specification.")
	// ErrDeadlock: nobody is left who could wake a waiting thread.
	ErrDeadlock = errors.New("All enclave threads are waiting indefinitely without possibility of wakeup")
	// ErrThreadExited: a Library's enclave exited during this call.
	ErrThreadExited = errors.New("This thread aborted execution")
	// ErrThreadWaits: a call of a Library waits for nothing, for ever.
	ErrThreadWaits = errors.New("This thread is waiting indefinitely without possibility of wakeup")
	// ErrOtherExited: a Library's enclave was ended by another thread.
	ErrOtherExited = errors.New("This thread exited because another thread aborted")
	// ErrClosed: the Command or Library has been used up or closed.
	ErrClosed = errors.New("the enclave has ended")

	// errStopped unwinds a usercall whose enclave has ended.
	errStopped = errors.New("enclave has ended")
)

// PanicError says that the enclave ended itself by exit with panic set.
type PanicError struct {
	// Text is what the enclave wrote to its debug buffer, up to the first NUL.
	// It is empty if it wrote nothing, or no text.
	Text string
	// Status is the line "Exited with status code N" that the Rust runtime
	// writes over the start of an earlier panic message; Text is then that
	// earlier message.
	Status string
	// Raw is the debug buffer at the exit: nil if it was empty.
	Raw []byte
	// TCS is the offset of the thread's TCS.
	TCS uint64
}

// Error returns "Enclave panicked." or "Enclave panicked: TEXT"; bytes that are
// not text are listed as numbers.
func (e *PanicError) Error() string {
	switch {
	case e.Text != "" && e.Status != "":
		return "Enclave panicked: " + e.Text + "\n" + e.Status
	case e.Text != "" || e.Status != "":
		return "Enclave panicked: " + e.Text + e.Status
	case e.Raw == nil:
		return "Enclave panicked."
	}
	s := make([]string, len(e.Raw))
	for i, b := range e.Raw {
		s[i] = fmt.Sprint(b)
	}
	return "Enclave panicked: [" + strings.Join(s, ", ") + "]"
}

// InvalidUsercallError says that the enclave used a number that nobody serves.
type InvalidUsercallError struct {
	Number Number
	TCS    uint64 // offset
}

func (e *InvalidUsercallError) Error() string {
	return fmt.Sprintf("The enclave performed an invalid usercall %#x", uint64(e.Number))
}

// UsercallError says that the enclave broke the rules of a usercall, or that a
// handler of a user-defined one failed.
type UsercallError struct {
	Number Number
	Args   [4]uint64
	Async  bool
	TCS    uint64 // offset; zero if Async
	Err    error  // the reason
}

func (e *UsercallError) Error() string {
	n := len(e.Args)
	if e.Number.known() {
		n = calls[e.Number].args
		// Where an unused argument is the fault, show it.
		for i := n; i < len(e.Args); i++ {
			if e.Args[i] != 0 {
				n = i + 1
			}
		}
	}
	s := make([]string, n)
	for i := range s {
		s[i] = fmt.Sprintf("%#x", e.Args[i])
	}
	return fmt.Sprintf("The enclave made a bad usercall %v(%s): %v", e.Number, strings.Join(s, ", "), e.Err)
}

// Unwrap returns Err.
func (e *UsercallError) Unwrap() error { return e.Err }

// QueueError says that the enclave wrote to an asynchronous queue what the ABI
// forbids.
type QueueError struct {
	Queue string // "usercall", "return" or "cancel"
	What  string
}

func (e *QueueError) Error() string {
	return "The enclave corrupted the asynchronous " + e.Queue + " queue: " + e.What
}

// ThreadReturnError says that a launched thread returned values, although the
// ABI has none.
type ThreadReturnError struct {
	TCS    uint64 // offset
	Values [2]uint64
}

func (e *ThreadReturnError) Error() string {
	return fmt.Sprintf("The enclave returned %#x, %#x from the thread entrypoint in violation of the specification: both must be zero", e.Values[0], e.Values[1])
}

// ExceptionError says that an instruction in the enclave faulted.
type ExceptionError struct {
	Exit platform.Exit
	TCS  uint64 // offset
	// Regs are the registers at the fault. They are nil unless it is a debug
	// enclave.
	Regs *sgx.GPRSGX
	// Code is the bytes at RIP, if Regs are known and RIP is readable.
	Code []byte
	// Base and Size are the enclave's range, to tell offsets.
	Base, Size uint64
	// Symbol is what Options.Symbolize knew of RIP.
	Symbol string

	regions []runner.Region
}

// Error returns the text of the Fortanix runner, which treats an exception as a
// panic. Explain has more.
func (e *ExceptionError) Error() string {
	return fmt.Sprintf("Enclave panicked: Enclave triggered exception: SgxEnclaveRun { function: EResume, exception_vector: %d, exception_error_code: %d, exception_addr: %#x }",
		e.Exit.Vector, e.Exit.ErrorCode, e.Exit.Addr)
}
