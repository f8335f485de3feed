package edp

import (
	"context"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// Options says what an enclave has outside. The zero value is an enclave whose
// stdin is at its end, whose output is thrown away, and that can use the
// network as the host does.
type Options struct {
	// Args are the arguments of a Command. The enclave sees "enclave" as
	// argument zero, then these.
	Args []string

	// Stdin, Stdout and Stderr are the streams 0, 1 and 2. A nil Stdin is at
	// its end, a nil Stdout or Stderr throws away. They may be used by several
	// goroutines, but each by one at a time, unless two of them are the same
	// value. They are not closed. A Read in progress when the enclave ends is
	// left behind, and takes what comes next.
	Stdin          io.Reader
	Stdout, Stderr io.Writer

	// Connect and Bind serve connect_stream and bind_stream. The address is
	// any UTF-8 text that the enclave chose; LocalAddr, RemoteAddr and Addr
	// tell it what it became. They may be called by several goroutines at
	// once. The context ends when the enclave does or gives the call up. An
	// error that wraps a Result is passed on as that. Nil is ConnectTCP and
	// BindTCP; for an enclave without a network return ResultPermissionDenied.
	Connect func(ctx context.Context, addr string) (net.Conn, error)
	Bind    func(ctx context.Context, addr string) (net.Listener, error)

	// UserCalls serves numbers of the range that the ABI leaves to
	// applications: those with the bit UserDefined.
	UserCalls map[Number]UserCall

	// TSCInfo lets insecure_time tell the enclave the frequency of the time
	// stamp counter, where that is constant and known, so that it can read the
	// time by itself from then on. Enclaves of an older ABI do not expect it.
	TSCInfo bool

	// Symbolize names an offset in the enclave for error messages, or returns
	// "".
	Symbolize func(off uint64) string

	// MemoryLimit bounds the memory, in bytes, that the enclave can have
	// outside. Zero is 64 GiB, of which only what is used costs anything.
	MemoryLimit uint64
}

// UserCall serves one user-defined usercall and returns its two values. It is
// called on the goroutine of the enclave's thread, so it may block. An error
// ends the enclave.
type UserCall func(c *UserCallContext) (r1, r2 uint64, err error)

// UserCallContext is one user-defined usercall.
type UserCallContext struct {
	context.Context // ends when the enclave does
	Args            [4]uint64
	server          *server
}

// Memory returns the n bytes at addr, which must lie wholly inside one block of
// memory that the enclave got by alloc. The enclave can change them at any
// time: copy what is to be checked. They are valid until the UserCall returns.
func (c *UserCallContext) Memory(addr, n uint64) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	return c.server.mem.bytes(addr, n)
}

// Alloc gives the enclave a block of len(b) bytes, with a copy of b, which it
// may free. b is not empty.
func (c *UserCallContext) Alloc(b []byte) (addr uint64, err error) {
	addr, ok := c.server.newBlock(b, 8)
	if !ok {
		return 0, ResultOther
	}
	return addr, nil
}

// streams opens the table of file descriptors with the standard streams.
func (o *Options) streams() *fdTable {
	t := &fdTable{files: map[uint64]file{}, next: FdStderr + 1}
	r := o.Stdin
	if r == nil {
		r = eofReader{}
	}
	out := quietPipe(orDiscard(o.Stdout))
	errs := quietPipe(orDiscard(o.Stderr))
	t.files[FdStdin] = file{stream: newStream(r, nil, nil)}
	t.files[FdStdout] = file{stream: newStream(nil, out, nil)}
	t.files[FdStderr] = file{stream: newStream(nil, errs, nil)}
	if o.Stdout != nil && isComparable(o.Stdout) && o.Stdout == o.Stderr {
		t.files[FdStderr].stream.writing = t.files[FdStdout].stream.writing
	}
	return t
}

// isComparable reports whether w can be compared: pointers can, a struct with a
// slice in it can not.
func isComparable(w io.Writer) (ok bool) {
	defer func() { _ = recover() }()
	return w == w
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

type eofReader struct{}

func (eofReader) Read([]byte) (int, error) { return 0, io.EOF }

// quietPipe makes a write to a pipe that nobody reads an error. Package os
// would end the process instead, if the file is descriptor 1 or 2.
func quietPipe(w io.Writer) io.Writer {
	f, ok := w.(*os.File)
	if !ok {
		return w
	}
	c, err := f.SyscallConn()
	if err != nil {
		return w
	}
	std := false
	if err := c.Control(func(fd uintptr) { std = fd == 1 || fd == 2 }); err != nil || !std {
		return w
	}
	return fdWriter{c}
}

// fdWriter writes by write(2), so that EPIPE is an error like any other.
type fdWriter struct{ c syscall.RawConn }

func (f fdWriter) Write(p []byte) (int, error) {
	total := 0
	var err error
	rerr := f.c.Write(func(fd uintptr) bool {
		for total < len(p) {
			var n int
			n, err = syscall.Write(int(fd), p[total:])
			switch err {
			case nil:
				total += n
			case syscall.EINTR:
			case syscall.EAGAIN:
				// Somebody else made the terminal or pipe non-blocking; the
				// runtime's poller may not know it.
				time.Sleep(time.Millisecond)
			default:
				return true
			}
		}
		err = nil
		return true
	})
	if rerr != nil {
		return total, rerr
	}
	return total, err
}
