package edp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// Result is the first return value of most usercalls: zero, or why it failed.
// It is an error, so a hook can say exactly what the enclave is to see.
type Result uint32

// The results. Every other value means ResultOther to an enclave.
const (
	ResultSuccess           Result = 0
	ResultPermissionDenied  Result = 0x01
	ResultNotFound          Result = 0x02
	ResultInterrupted       Result = 0x04
	ResultWouldBlock        Result = 0x0b
	ResultAlreadyExists     Result = 0x11
	ResultInvalidInput      Result = 0x16
	ResultBrokenPipe        Result = 0x20
	ResultAddrInUse         Result = 0x62
	ResultAddrNotAvailable  Result = 0x63
	ResultConnectionAborted Result = 0x67
	ResultConnectionReset   Result = 0x68
	ResultNotConnected      Result = 0x6b
	ResultTimedOut          Result = 0x6e
	ResultConnectionRefused Result = 0x6f
	ResultInvalidData       Result = 0x20000000
	ResultWriteZero         Result = 0x20000001
	ResultUnexpectedEOF     Result = 0x20000002
	ResultOther             Result = 0x3fffffff
	ResultUserBase          Result = 0x40000000 // to 0x7fffffff: the application's own
)

var resultNames = map[Result]string{
	ResultSuccess: "Success", ResultPermissionDenied: "PermissionDenied", ResultNotFound: "NotFound",
	ResultInterrupted: "Interrupted", ResultWouldBlock: "WouldBlock", ResultAlreadyExists: "AlreadyExists",
	ResultInvalidInput: "InvalidInput", ResultBrokenPipe: "BrokenPipe", ResultAddrInUse: "AddrInUse",
	ResultAddrNotAvailable: "AddrNotAvailable", ResultConnectionAborted: "ConnectionAborted",
	ResultConnectionReset: "ConnectionReset", ResultNotConnected: "NotConnected", ResultTimedOut: "TimedOut",
	ResultConnectionRefused: "ConnectionRefused", ResultInvalidData: "InvalidData", ResultWriteZero: "WriteZero",
	ResultUnexpectedEOF: "UnexpectedEof", ResultOther: "Other",
}

// Error returns the ABI's name of the result.
func (r Result) Error() string {
	if n, ok := resultNames[r]; ok {
		return n
	}
	return fmt.Sprintf("Result(%#x)", uint32(r))
}

// errnoResults is how Linux errors look to an enclave. What is not here is
// ResultOther.
var errnoResults = map[syscall.Errno]Result{
	syscall.EPERM:         ResultPermissionDenied,
	syscall.EACCES:        ResultPermissionDenied,
	syscall.ENOENT:        ResultNotFound,
	syscall.EINTR:         ResultInterrupted,
	syscall.EAGAIN:        ResultWouldBlock,
	syscall.EEXIST:        ResultAlreadyExists,
	syscall.EINVAL:        ResultInvalidInput,
	syscall.EPIPE:         ResultBrokenPipe,
	syscall.EADDRINUSE:    ResultAddrInUse,
	syscall.EADDRNOTAVAIL: ResultAddrNotAvailable,
	syscall.ECONNABORTED:  ResultConnectionAborted,
	syscall.ECONNRESET:    ResultConnectionReset,
	syscall.ENOTCONN:      ResultNotConnected,
	syscall.ETIMEDOUT:     ResultTimedOut,
	syscall.ECONNREFUSED:  ResultConnectionRefused,
}

// resultOf translates a host error. A nil error is ResultSuccess; an error
// chain that holds a Result gives that one.
func resultOf(err error) Result {
	if err == nil {
		return ResultSuccess
	}
	var r Result
	if errors.As(err, &r) {
		return r
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		if r, ok := errnoResults[errno]; ok {
			return r
		}
		return ResultOther
	}
	var timeout net.Error
	switch {
	case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return ResultBrokenPipe
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return ResultUnexpectedEOF
	case errors.Is(err, io.ErrShortWrite):
		return ResultWriteZero
	case errors.Is(err, context.Canceled):
		return ResultInterrupted
	case errors.Is(err, os.ErrPermission):
		return ResultPermissionDenied
	case errors.Is(err, os.ErrNotExist):
		return ResultNotFound
	case errors.Is(err, os.ErrExist):
		return ResultAlreadyExists
	case errors.As(err, &timeout) && timeout.Timeout():
		return ResultTimedOut
	}
	return ResultOther
}
