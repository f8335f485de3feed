package edp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestConnectBind uses TCP from end to end: addresses, numbers, data, ends.
func TestConnectBind(t *testing.T) {
	runMain(t, Options{}, func(f *fakeTCS) {
		l1, l2, l3 := f.alloc(make([]byte, 16)), f.alloc(make([]byte, 16)), f.alloc(make([]byte, 16))
		p, n := f.text("127.0.0.1:0")
		f.want(CallBindStream, []uint64{p, n, l1}, 0, 3)
		addr := f.take(l1)
		if !strings.HasPrefix(addr, "127.0.0.1:") || strings.HasSuffix(addr, ":0") {
			t.Errorf("bound to %q", addr)
		}
		a, an := f.text(addr)
		f.want(CallConnectStream, []uint64{a, an, l1, l2}, 0, 4)
		local, peer := f.take(l1), f.take(l2)
		if peer != addr {
			t.Errorf("connected to %q, want %q", peer, addr)
		}
		f.want(CallAcceptStream, []uint64{3, l1, l3}, 0, 5)
		if s := f.take(l1); s != addr {
			t.Errorf("accepted at %q, want %q", s, addr)
		}
		if s := f.take(l3); s != local {
			t.Errorf("accepted from %q, want %q", s, local)
		}
		// Numbers are not used again, whether the call works or not.
		f.want(CallConnectStream, []uint64{a, an}, 0, 6)
		f.want(CallClose, []uint64{6}, 0, 0)
		f.want(CallConnectStream, []uint64{a, an}, 0, 7)
		f.wantResult(CallBindStream, ResultAddrInUse, a, an)
		f.want(CallBindStream, []uint64{p, n}, 0, 8)

		d, dn := f.text("ping")
		f.want(CallWrite, []uint64{4, d, dn}, 0, dn)
		f.want(CallRead, []uint64{5, l1, 16}, 0, 4)
		f.wantResult(CallFlush, 0, 4)
		f.wantResult(CallRead, ResultInvalidInput, 3, l1, 16)
		f.wantResult(CallFlush, ResultInvalidInput, 3)
		f.wantResult(CallAcceptStream, ResultInvalidInput, 4)
		f.call(CallClose, 4)
		f.want(CallRead, []uint64{5, l1, 16}, 0, 0)
		f.wantResult(CallReadAlloc, 0, 5, f.alloc(make([]byte, 16)))
		// The other side has gone: one of the next writes finds out.
		r := uint64(0)
		for i := 0; i < 1000 && r == 0; i++ {
			r, _ = f.call(CallWrite, 5, d, dn)
			f.call(CallWait, 0, 100_000)
		}
		if Result(r) != ResultBrokenPipe && Result(r) != ResultConnectionReset {
			t.Errorf("writing to a closed connection: %v", Result(r))
		}
		f.call(CallClose, 3)
		f.wantResult(CallAcceptStream, ResultBrokenPipe, 3)
		b := userMem(l2, 16)
		le.PutUint64(b[8:], 99)
		f.wantResult(CallConnectStream, ResultConnectionRefused, a, an, l1, l2)
		if le.Uint64(b[8:]) != 0 {
			t.Error("a failed connect leaves the length of the peer's address")
		}
	})
}

func TestAddresses(t *testing.T) {
	for _, tt := range []struct {
		addr string
		want Result
	}{
		{"", ResultInvalidInput},
		{"nothing", ResultInvalidInput},
		{"1.2.3.4", ResultInvalidInput},
		{"host:", ResultInvalidInput},
		{"host:http", ResultInvalidInput},
		{"host:65536", ResultInvalidInput},
		{"host:-1", ResultInvalidInput},
		{"::1:80:x", ResultInvalidInput},
		{":80", ResultOther},
		{"no such host:80", ResultOther},
		{"\xff:80", ResultConnectionRefused},
		{"203.0.113.1:80", ResultAddrNotAvailable}, // to bind to
	} {
		runMain(t, Options{}, func(f *fakeTCS) {
			var p, n uint64
			if tt.addr != "" {
				p, n = f.text(tt.addr)
			}
			f.wantResult(CallBindStream, tt.want, p, n)
			if tt.want != ResultAddrNotAvailable {
				f.wantResult(CallConnectStream, tt.want, p, n)
			}
		})
	}
	runMain(t, Options{}, func(f *fakeTCS) {
		p := f.alloc(bytes.Repeat([]byte("x"), maxAddrLen+1))
		f.wantResult(CallBindStream, ResultInvalidInput, p, maxAddrLen+1)
		f.wantResult(CallConnectStream, ResultInvalidInput, 0, 5)
		p, n := f.text("localhost:0")
		if r, _ := f.call(CallBindStream, p, n); r != 0 {
			t.Errorf("localhost: %v", Result(r))
		}
	})
}

// TestHooks replaces the network by memory.
func TestHooks(t *testing.T) {
	here, there := net.Pipe()
	o := Options{
		Connect: func(_ context.Context, addr string) (net.Conn, error) {
			switch addr {
			case "unix:cat":
				return here, nil
			case "custom":
				return nil, fmt.Errorf("wrapped: %w", ResultUserBase+5)
			}
			return nil, syscall.EHOSTUNREACH
		},
		Bind: func(context.Context, string) (net.Listener, error) { return nil, ResultPermissionDenied },
	}
	go func() { _, _ = io.Copy(there, there) }()
	runMain(t, o, func(f *fakeTCS) {
		local := f.alloc(make([]byte, 16))
		p, n := f.text("unix:cat")
		f.want(CallConnectStream, []uint64{p, n, local}, 0, 3)
		if s := f.take(local); s != "pipe" {
			t.Errorf("the local address is %q", s)
		}
		d, dn := f.text("meow")
		f.want(CallWrite, []uint64{3, d, dn}, 0, dn)
		f.want(CallRead, []uint64{3, d, dn}, 0, dn)
		p, n = f.text("custom")
		f.wantResult(CallConnectStream, ResultUserBase+5, p, n)
		p, n = f.text("else")
		f.wantResult(CallConnectStream, ResultOther, p, n)
		f.wantResult(CallBindStream, ResultPermissionDenied, p, n)
	})
	if _, err := here.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the connection is not closed after the end: %v", err)
	}
}

// TestPartialWrite: a write to a socket takes what there is room for, so an
// enclave with one thread can write more than the buffers hold and then read
// the echo.
func TestPartialWrite(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const size = 64 << 20
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.Copy(c, c)
	}()
	runMain(t, Options{}, func(f *fakeTCS) {
		p, n := f.text(l.Addr().String())
		_, fd := f.call(CallConnectStream, p, n)
		r, buf := f.call(CallAlloc, size, 1)
		if r != 0 {
			t.Error("no memory")
			return
		}
		r, n = f.call(CallWrite, fd, buf, size)
		if r != 0 || n == 0 || n == size {
			t.Errorf("write of %d bytes: %v, %d; want some, not all", uint64(size), Result(r), n)
		}
		for n > 0 {
			r, k := f.call(CallRead, fd, buf, size)
			if r != 0 || k == 0 {
				t.Errorf("read: %v, %d", Result(r), k)
				return
			}
			n -= k
		}
	})
}

func TestResults(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want Result
	}{
		{nil, ResultSuccess},
		{ResultWouldBlock, ResultWouldBlock},
		{&fs.PathError{Op: "x", Err: syscall.EACCES}, ResultPermissionDenied},
		{os.NewSyscallError("x", syscall.EPERM), ResultPermissionDenied},
		{syscall.ENOENT, ResultNotFound},
		{syscall.EINTR, ResultInterrupted},
		{syscall.EAGAIN, ResultWouldBlock},
		{syscall.EEXIST, ResultAlreadyExists},
		{syscall.EINVAL, ResultInvalidInput},
		{syscall.EPIPE, ResultBrokenPipe},
		{syscall.EADDRINUSE, ResultAddrInUse},
		{syscall.EADDRNOTAVAIL, ResultAddrNotAvailable},
		{syscall.ECONNABORTED, ResultConnectionAborted},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, ResultConnectionReset},
		{syscall.ENOTCONN, ResultNotConnected},
		{syscall.ETIMEDOUT, ResultTimedOut},
		{syscall.ECONNREFUSED, ResultConnectionRefused},
		{syscall.ENETUNREACH, ResultOther},
		{syscall.ENOSPC, ResultOther},
		{net.ErrClosed, ResultBrokenPipe},
		{os.ErrClosed, ResultBrokenPipe},
		{io.ErrClosedPipe, ResultBrokenPipe},
		{io.ErrUnexpectedEOF, ResultUnexpectedEOF},
		{io.ErrShortWrite, ResultWriteZero},
		{context.Canceled, ResultInterrupted},
		{context.DeadlineExceeded, ResultTimedOut},
		{os.ErrDeadlineExceeded, ResultTimedOut},
		{fs.ErrNotExist, ResultNotFound},
		{fs.ErrExist, ResultAlreadyExists},
		{fs.ErrPermission, ResultPermissionDenied},
		{errors.New("anything"), ResultOther},
	} {
		if got := resultOf(tt.err); got != tt.want {
			t.Errorf("%v gives %v, want %v", tt.err, got, tt.want)
		}
	}
	if s := Result(0x77).Error(); s != "Result(0x77)" {
		t.Errorf("an unknown result is %q", s)
	}
}

// TestBrokenStdout runs itself with a standard output that nobody reads: the
// enclave gets BrokenPipe, and the process lives.
func TestBrokenStdout(t *testing.T) {
	if os.Getenv("EDP_TEST_BROKEN_STDOUT") != "" {
		runMain(t, Options{Stdout: os.Stdout}, func(f *fakeTCS) {
			p, n := f.text("text")
			r, _ := f.call(CallWrite, FdStdout, p, n)
			fmt.Fprintf(os.Stderr, "result %v\n", Result(r))
		})
		os.Exit(7)
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	pr.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestBrokenStdout$")
	cmd.Env = append(os.Environ(), "EDP_TEST_BROKEN_STDOUT=1")
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = pw, &errs
	err = cmd.Run()
	pw.Close()
	if cmd.ProcessState.ExitCode() != 7 || errs.String() != "result BrokenPipe\n" {
		t.Errorf("the process: %v; it said %q", err, errs.String())
	}
}

// TestStdoutFile writes to a real file, all of it.
func TestStdoutFile(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	runMain(t, Options{Stdout: f, Stderr: f}, func(e *fakeTCS) {
		for range 100 {
			e.println(strings.Repeat("x", 1000))
		}
		p, n := e.text("e")
		e.want(CallWrite, []uint64{FdStderr, p, n}, 0, 1)
	})
	if info, err := f.Stat(); err != nil || info.Size() != 100101 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestTime: insecure_time tells the time, and the rate of the TSC only when
// asked to.
func TestTime(t *testing.T) {
	for _, asked := range []bool{false, true} {
		runMain(t, Options{TSCInfo: asked}, func(f *fakeTCS) {
			before := time.Now()
			ns, info := f.call(CallInsecureTime)
			after := time.Now()
			if int64(ns) < before.UnixNano() || int64(ns) > after.UnixNano() {
				t.Errorf("the time is %d, not between %d and %d", ns, before.UnixNano(), after.UnixNano())
			}
			want := uint64(0)
			if asked {
				want = tscFrequency()
			}
			switch {
			case want == 0 && info != 0:
				t.Errorf("there is info at %#x", info)
			case want != 0 && (info == 0 || loadWord(info) != 0 || loadWord(info+8) != want):
				t.Errorf("info is at %#x, want version 0 and %d Hz", info, want)
			}
		})
	}
}
