package goenclave

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/wall"
)

func TestArguments(t *testing.T) {
	for _, args := range [][]string{nil, {"app"}, {"app", "", "-x", "zwei Wörter"}} {
		e := newFake(t, 2)
		e.program = func(f *fakeTCS) {
			got := text(e.desc[0], e.desc[1])
			want := ""
			for _, a := range args {
				want += a + "\x00"
			}
			if got != want || e.desc[2] != uint64(len(args)) {
				t.Errorf("%d arguments %q, want %q", e.desc[2], got, want)
			}
			if e.desc[4] == 0 {
				t.Error("no processors")
			}
		}
		if _, err := e.run(Options{Args: args}); err != nil {
			t.Error(err)
		}
	}
	for _, args := range [][]string{make([]string, wall.MaxArgc+1), {strings.Repeat("x", wall.MaxArgs)}} {
		e := newFake(t, 2)
		e.program = func(*fakeTCS) { t.Error("the program has started") }
		_, err := e.run(Options{Args: args})
		wantText(t, err, "at most")
	}
}

func TestExitCode(t *testing.T) {
	for _, code := range []int{0, 1, 42, 255} {
		e := newFake(t, 2)
		e.program = func(f *fakeTCS) { f.exit(uint64(code)) }
		_, err := e.run(Options{})
		var x *ExitError
		if code == 0 && err != nil || code != 0 && (!errors.As(err, &x) || x.Code != code) {
			t.Errorf("exit code %d: %v", code, err)
		}
	}
}

func TestRunOnce(t *testing.T) {
	e := newFake(t, 1)
	e.program = func(*fakeTCS) {}
	c, err := e.run(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(context.Background()); err != ErrClosed {
		t.Errorf("second Run: %v", err)
	}
}

func TestOutput(t *testing.T) {
	e := newFake(t, 2)
	e.program = func(f *fakeTCS) {
		for i := range 1000 {
			f.print(1, fmt.Sprintln(i))
		}
		f.print(2, "bad\n")
		// Without a doorbell: the end drains the ring.
		e.rpc.Put(wire.AppendRequest(nil, wire.Request{Method: wire.StdioWrite, Payload: wire.AppendStdioWrite(nil, 1, []byte("last"))}), nil)
		e.rpc.Publish()
		f.exit(3)
	}
	var stdout, stderr bytes.Buffer
	_, err := e.run(Options{Stdout: &stdout, Stderr: &stderr})
	wantText(t, err, "exit status 3")
	var want strings.Builder
	for i := range 1000 {
		fmt.Fprintln(&want, i)
	}
	want.WriteString("last")
	if stdout.String() != want.String() || stderr.String() != "bad\n" {
		t.Errorf("stdout has %d bytes, want %d; stderr %q", stdout.Len(), want.Len(), stderr.String())
	}
}

func TestStdin(t *testing.T) {
	e := newFake(t, 4)
	e.program = func(f *fakeTCS) {
		var got string
		for id := uint64(1); ; id++ {
			f.request(wire.Request{ID: id << 8, Method: wire.StdioRead, Payload: wire.AppendStdioRead(nil, 3)})
			for e.rpcIn.Next() != 0 {
				f.park(-1)
			}
			b := make([]byte, e.rpcIn.Len())
			e.rpcIn.Copy(b, 0)
			e.rpcIn.Advance()
			e.rpcIn.Release()
			r, fault := wire.ParseResponse(b)
			if fault != wire.Sound || r.ID != id<<8 || r.Status != 0 {
				t.Errorf("response %v: %v", r, fault)
			}
			if len(r.Payload) == 0 {
				break
			}
			got += string(r.Payload)
		}
		if got != "some input" {
			t.Errorf("stdin is %q", got)
		}
	}
	if _, err := e.run(Options{Stdin: strings.NewReader("some input")}); err != nil {
		t.Error(err)
	}
}

func TestThreads(t *testing.T) {
	const n = 5
	e := newFake(t, n)
	var runs atomic.Int32
	var ended [n]atomic.Bool
	e.thread = func(f *fakeTCS) {
		runs.Add(1)
		ended[f.idx].Store(true) // as soon as the kernel calls it free
		f.wake(0)
	}
	e.program = func(f *fakeTCS) {
		for range 200 {
			for i := 1; i < n; i++ {
				ended[i].Store(false)
				f.spawn(i)
			}
			for i := 1; i < n; i++ {
				for !ended[i].Load() {
					f.park(-1)
				}
			}
		}
	}
	c, err := e.run(Options{})
	if err != nil {
		t.Error(err)
	}
	if runs.Load() != 200*(n-1) {
		t.Errorf("%d threads, want %d", runs.Load(), 200*(n-1))
	}
	if s := c.Stats(); s.ThreadsUsed != n || s.Threads != n || s.OCalls[wall.NotifySpawn] != 200*(n-1) {
		t.Errorf("stats %+v", s)
	}
}

// Two threads play ping-pong; a wake that is lost hangs it.
func TestParkWake(t *testing.T) {
	const rounds = 20000
	e := newFake(t, 2)
	var ball atomic.Int32
	play := func(f *fakeTCS, me int32) {
		for n := me; n < rounds; n += 2 {
			for ball.Load() != n {
				f.park(-1)
			}
			ball.Store(n + 1)
			f.wake(1 - f.idx)
		}
	}
	e.thread = func(f *fakeTCS) { play(f, 1) }
	e.program = func(f *fakeTCS) {
		f.spawn(1)
		play(f, 0)
		for ball.Load() != rounds {
			f.park(-1)
		}
	}
	if _, err := e.run(Options{}); err != nil {
		t.Error(err)
	}
}

func TestParkTimeout(t *testing.T) {
	e := newFake(t, 2)
	e.program = func(f *fakeTCS) {
		for _, d := range []time.Duration{0, 1, time.Millisecond} {
			start := time.Now()
			for time.Since(start) < d {
				f.park(d)
			}
		}
		f.wake(0)
		f.park(-1) // the token
	}
	if _, err := e.run(Options{}); err != nil {
		t.Error(err)
	}
}

func TestBadIndices(t *testing.T) {
	e := newFake(t, 3)
	e.program = func(f *fakeTCS) {
		for _, c := range []struct {
			kind wall.Notify
			a1   uint64
		}{
			{wall.NotifyWake, 3}, {wall.NotifyWake, 1 << 63}, {wall.NotifyKick, 3}, {wall.NotifyKick, ^uint64(0)},
			{wall.NotifySpawn, 0}, {wall.NotifySpawn, 3}, {0, 0}, {wall.NotifyRPC + 1, 0}, {^wall.Notify(0), 0},
			{wall.NotifyData, 0}, // there is no network
		} {
			if r := f.ocall(c.kind, c.a1); int64(r) != -1 {
				t.Errorf("notify(%d, %#x) is answered by %d", c.kind, c.a1, int64(r))
			}
		}
		if r := f.ocall(wall.NotifyYield); r != 0 {
			t.Errorf("yield is answered by %d", r)
		}
	}
	c, err := e.run(Options{})
	if err != nil {
		t.Error(err)
	}
	if s := c.Stats(); s.OCalls[0] != 3 {
		t.Errorf("%d unknown OCALLs, want 3", s.OCalls[0])
	}
}

func TestExceptions(t *testing.T) {
	e := newFake(t, 2)
	handled := 0
	e.handle = func(f *fakeTCS) reaction {
		handled++
		return resume
	}
	e.program = func(f *fakeTCS) {
		for range 10 {
			f.fault(sgx.VectorPF, 6, 0)
		}
	}
	c, err := e.run(Options{})
	if err != nil {
		t.Error(err)
	}
	if s := c.Stats(); handled != 10 || s.Exceptions != 10 || e.tcs[0].resumed != 10 {
		t.Errorf("%d handled, %d counted, %d resumed; want 10", handled, s.Exceptions, e.tcs[0].resumed)
	}
}

func TestFatalException(t *testing.T) {
	for _, c := range []struct {
		vector uint8
		code   uint32
		addr   uint64
		want   string
	}{
		{sgx.VectorPF, 4, 0x1000, "read of address 0x1234, at 0x100000401000 in main.f+0x10"},
		{sgx.VectorPF, 6, 0x1000, "write to address 0x1234"},
		{sgx.VectorPF, 0x14, 0x1000, "jump to address 0x1234"},
		{sgx.VectorUD, 0, 0, "illegal instruction"},
		{sgx.VectorGP, 0, 0, "general protection fault"},
		{sgx.VectorBP, 0, 0, "breakpoint"},
		{sgx.VectorDE, 0, 0, "#DE"},
	} {
		e := newFake(t, 2)
		e.handle = func(f *fakeTCS) reaction {
			return reaction{regs: platform.Regs{RDI: wall.ExitAEX, RDX: uint64(c.vector), R8: 0x100000401000, R9: 0x1234}}
		}
		e.program = func(f *fakeTCS) {
			f.fault(c.vector, c.code, c.addr)
			f.park(-1)
		}
		_, err := e.run(Options{Symbolize: func(a uint64) string {
			if a != 0x100000401000 {
				t.Errorf("Symbolize(%#x)", a)
			}
			return "main.f+0x10"
		}})
		wantText(t, err, c.want)
	}
}

// A production image does not say where.
func TestFaultOfUnknownPlace(t *testing.T) {
	e := newFake(t, 2)
	e.handle = func(f *fakeTCS) reaction { return reaction{regs: platform.Regs{RDI: wall.ExitAEX}} }
	e.program = func(f *fakeTCS) { f.fault(sgx.VectorUD, 0, 0); f.park(-1) }
	_, err := e.run(Options{})
	wantText(t, err, "--debug says where")
	if err == nil || strings.Contains(err.Error(), "another exception") {
		t.Errorf("error %v", err)
	}
}

func TestFaultInHandler(t *testing.T) {
	e := newFake(t, 2)
	e.handle = func(f *fakeTCS) reaction {
		return reaction{fault: &platform.Exit{Kind: platform.ExitException, Vector: sgx.VectorUD}}
	}
	e.program = func(f *fakeTCS) { f.fault(sgx.VectorPF, 4, 0); f.park(-1) }
	_, err := e.run(Options{})
	wantText(t, err, "while it handled another exception")
}

func TestBrokenRules(t *testing.T) {
	for name, c := range map[string]struct {
		program func(f *fakeTCS)
		handle  func(f *fakeTCS) reaction
		want    string
	}{
		"unknown EEXIT":   {program: func(f *fakeTCS) { f.eexit(platform.Regs{RDI: 7}) }, want: "EEXIT with RDI = 0x7"},
		"AEX without AEX": {program: func(f *fakeTCS) { f.eexit(platform.Regs{RDI: wall.ExitAEX, RSI: 1}) }, want: "EEXIT with RDI = 0x2"},
		"run returns":     {program: func(f *fakeTCS) { f.ret(0); f.e.hang() }, want: "ecall_run of the first TCS returned"},
		"OCALL of the handler": {func(f *fakeTCS) { f.fault(sgx.VectorPF, 0, 0); f.park(-1) }, func(f *fakeTCS) reaction {
			return reaction{regs: platform.Regs{RDI: wall.ExitNotify, RSI: uint64(wall.NotifyYield)}}
		}, "EEXIT of the exception handler with RDI = 0x1"},
		"gives up an interrupt": {func(f *fakeTCS) { f.ocall(wall.NotifyKick, 0); f.park(-1) }, func(f *fakeTCS) reaction {
			return reaction{regs: platform.Regs{RDI: wall.ExitAEX}}
		}, "gave up after an interrupt"},
		"broken request": {program: func(f *fakeTCS) { f.e.rpc.Put([]byte("?"), nil); f.e.rpc.Publish(); f.ocall(wall.NotifyRPC) }, want: "broke the RPC channel"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newFake(t, 2)
			e.program, e.handle = c.program, c.handle
			_, err := e.run(Options{})
			wantText(t, err, c.want)
		})
	}
}

func TestRefused(t *testing.T) {
	for call, want := range map[wall.ECall]string{
		wall.ECallInitChannel: "the enclave refused ecall_init_channel on TCS 0: an address",
		wall.ECallRun:         "the enclave refused ecall_run on TCS 0: an address",
	} {
		e := newFake(t, 2)
		e.refuse[call] = wall.RefusedPointer
		e.program = func(*fakeTCS) { t.Error("it runs") }
		_, err := e.run(Options{})
		wantText(t, err, want)
	}
	e := newFake(t, 2)
	e.program = func(f *fakeTCS) {
		e.refuse[wall.ECallRun] = wall.RefusedThread
		f.spawn(1)
		f.park(-1)
	}
	_, err := e.run(Options{})
	wantText(t, err, "ecall_run on TCS 1: this thread was not asked for")
}

// A program is asked, and does not answer: that ends with the asker's patience, or
// with the program. It is woken each time.
func TestAsk(t *testing.T) {
	e := newFake(t, 2)
	asked, end := make(chan struct{}), make(chan struct{})
	e.program = func(f *fakeTCS) {
		close(asked)
		f.park(-1)
		<-end
	}
	c, err := NewCommand(e.enc, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Run(t.Context()) }()
	<-asked
	enough := errors.New("enough")
	ctx, stop := context.WithCancelCause(t.Context())
	stop(enough)
	if err := c.Ask(ctx); !errors.Is(err, enough) {
		t.Errorf("error %v", err)
	}
	close(end)
	if err := c.Ask(t.Context()); err != nil {
		t.Errorf("error %v", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if s := c.Stats(); s.Enclave != nil {
		t.Errorf("it has told %+v", s.Enclave)
	}
}
