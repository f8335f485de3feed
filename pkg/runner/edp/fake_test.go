package edp

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/runner"
	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

// A fake enclave: Go functions that run as goroutines and make usercalls
// through the registers. Its range is address space of nobody.
const (
	fakeBase = 0x7f00_0000_0000 - 0x100_0000_0000 // far below what mmap hands out
	fakeSize = 0x10_0000
)

// program is what a thread of a fake enclave does between its entry and its
// return.
type program func(f *fakeTCS, args [5]uint64) (r1, r2 uint64)

type fakeEnclave struct {
	t      testing.TB
	main   program // of the first TCS
	other  program // of the others; all, if main is nil
	tcs    map[uint64]*fakeTCS
	closed chan struct{}
	debug  bool
	pages  map[uint64][]byte // for DebugRead, by page offset
	runner *runner.Enclave
}

// fakeTCS is a thread as it sees itself.
type fakeTCS struct {
	e      *fakeEnclave
	off    uint64
	p      program
	mu     sync.Mutex
	inside bool
	out    chan fakeExit
	in     chan platform.Regs
	debug  uint64 // R10 of the last entry
	count  int    // entries from the start
}

type fakeExit struct {
	exit platform.Exit
	regs platform.Regs
	done bool // the program has returned
}

func newFake(t testing.TB, threads int, main, other program) *fakeEnclave {
	e := &fakeEnclave{t: t, main: main, other: other, tcs: map[uint64]*fakeTCS{}, closed: make(chan struct{}), pages: map[uint64][]byte{}}
	var offs []uint64
	for i := range threads {
		off := uint64(0x2000 * (i + 1))
		p := other
		if i == 0 && main != nil {
			p = main
		}
		e.tcs[off] = &fakeTCS{e: e, off: off, p: p}
		offs = append(offs, off)
	}
	e.runner = &runner.Enclave{Enclave: e, TCS: offs, Regions: []runner.Region{{Start: 0x1000, End: 0x8000, Flags: sgx.SecInfoREGRX}, {Start: 0x20000, End: 0x24000, Flags: sgx.SecInfoREGRW}}}
	t.Cleanup(func() { e.Close() })
	return e
}

func (e *fakeEnclave) SECS() sgx.SECS {
	return sgx.SECS{BaseAddr: fakeBase, Size: fakeSize, SSAFrameSize: 1}
}
func (e *fakeEnclave) NewThread() (platform.Thread, error) {
	runtime.LockOSThread()
	return &fakeThread{e: e, interrupt: make(chan struct{}, 1)}, nil
}

func (e *fakeEnclave) DebugRead(off uint64, b []byte) error {
	if !e.debug {
		return platform.ErrNotDebug
	}
	for i := range b {
		at := off + uint64(i)
		p := e.pages[at&^4095]
		if p == nil {
			return fmt.Errorf("no page at %#x", at)
		}
		b[i] = p[at&4095]
	}
	return nil
}

func (e *fakeEnclave) Close() error {
	select {
	case <-e.closed:
	default:
		close(e.closed)
	}
	return nil
}

type fakeThread struct {
	e         *fakeEnclave
	interrupt chan struct{}
}

func (th *fakeThread) Interrupt() {
	select {
	case th.interrupt <- struct{}{}:
	default:
	}
}

func (th *fakeThread) Close() { runtime.UnlockOSThread() }

func (th *fakeThread) Enter(off uint64, leaf sgx.Leaf, regs *platform.Regs) (platform.Exit, error) {
	t := th.e.tcs[off]
	if t == nil {
		return platform.Exit{}, errors.New("no TCS there")
	}
	t.mu.Lock()
	if t.inside {
		t.mu.Unlock()
		return platform.Exit{}, platform.ErrBusy
	}
	t.inside = true
	t.mu.Unlock()
	defer func() { t.mu.Lock(); t.inside = false; t.mu.Unlock() }()
	if leaf == sgx.LeafEENTER {
		if t.in == nil {
			t.start(*regs)
		} else {
			t.in <- *regs
		}
	}
	select {
	case x := <-t.out:
		if x.done {
			t.in = nil
		}
		*regs = x.regs
		return x.exit, nil
	case <-th.interrupt:
		return platform.Exit{Kind: platform.ExitInterrupt}, nil
	}
}

func (t *fakeTCS) start(r platform.Regs) {
	t.in, t.out = make(chan platform.Regs), make(chan fakeExit)
	t.debug = r.R10
	t.count++
	go func() {
		r1, r2 := t.p(t, [5]uint64{r.RDI, r.RSI, r.RDX, r.R8, r.R9})
		t.leave(fakeExit{platform.Exit{Kind: platform.ExitEEXIT}, platform.Regs{RSI: r1, RDX: r2}, true})
	}()
}

func (t *fakeTCS) leave(x fakeExit) {
	select {
	case t.out <- x:
	case <-t.e.closed:
		runtime.Goexit()
	}
}

// call makes a usercall.
func (t *fakeTCS) call(n Number, args ...uint64) (r1, r2 uint64) {
	var a [4]uint64
	copy(a[:], args)
	t.leave(fakeExit{exit: platform.Exit{Kind: platform.ExitEEXIT}, regs: platform.Regs{RDI: uint64(n), RSI: a[0], RDX: a[1], R8: a[2], R9: a[3]}})
	select {
	case r := <-t.in:
		t.debug = r.R10
		if r.RDI|r.R8|r.R9 != 0 {
			t.e.t.Errorf("return of %v has RDI, R8, R9 = %#x, %#x, %#x, want zeros", n, r.RDI, r.R8, r.R9)
		}
		return r.RSI, r.RDX
	case <-t.e.closed:
		runtime.Goexit()
	}
	panic("unreachable")
}

// fault leaves by an exception.
func (t *fakeTCS) fault(vector uint8, code uint32, addr uint64) {
	t.leave(fakeExit{exit: platform.Exit{Kind: platform.ExitException, Vector: vector, ErrorCode: code, Addr: addr}})
	t.spin()
}

// spin never leaves by itself.
func (t *fakeTCS) spin() {
	<-t.e.closed
	runtime.Goexit()
}

func (t *fakeTCS) exit(panicked uint64) { t.call(CallExit, panicked); t.spin() }

func (t *fakeTCS) addr() uint64 { return fakeBase + t.off }

// want makes a usercall and compares what it returns.
func (t *fakeTCS) want(n Number, args []uint64, r1, r2 uint64) {
	t.e.t.Helper()
	g1, g2 := t.call(n, args...)
	if g1 != r1 || g2 != r2 {
		t.e.t.Errorf("%v%#x returned %v (%#x), %#x; want %v, %#x", n, args, Result(g1), g1, g2, Result(r1), r2)
	}
}

func (t *fakeTCS) wantResult(n Number, r Result, args ...uint64) {
	t.e.t.Helper()
	t.want(n, args, uint64(r), 0)
}

// alloc allocates, and writes what it is given there.
func (t *fakeTCS) alloc(b []byte) uint64 {
	r, p := t.call(CallAlloc, uint64(len(b)), 8)
	if r != 0 {
		t.e.t.Errorf("alloc of %d bytes: %v", len(b), Result(r))
		t.exit(1)
	}
	copy(userMem(p, uint64(len(b))), b)
	return p
}

func (t *fakeTCS) text(s string) (p, n uint64) { return t.alloc([]byte(s)), uint64(len(s)) }

// take reads a ByteBuffer and frees what is in it.
func (t *fakeTCS) take(p uint64) string {
	b := userMem(p, 16)
	data, n := le.Uint64(b), le.Uint64(b[8:])
	if n == 0 {
		return ""
	}
	s := string(userMem(data, n))
	t.call(CallFree, data, n, 1)
	clear(b)
	return s
}

func (t *fakeTCS) println(s string) {
	p, n := t.text(s + "\n")
	t.want(CallWrite, []uint64{FdStdout, p, n}, 0, n)
	t.call(CallFree, p, n, 1)
}

func (t *fakeTCS) panicText(at int, s string) { copy(userMem(t.debug, debugBufferSize)[at:], s) }

// runFake runs a Command of a fake enclave. It fails the test if that takes
// too long.
func runFake(t testing.TB, e *fakeEnclave, o Options) error {
	t.Helper()
	c, err := NewCommand(e.runner, o)
	if err != nil {
		t.Fatal(err)
	}
	return runCommand(t, c)
}

func runCommand(t testing.TB, c *Command) error {
	t.Helper()
	errTimeout := errors.New("test timeout")
	ctx, cancel := context.WithTimeoutCause(context.Background(), time.Minute, errTimeout)
	defer cancel()
	err := c.Run(ctx)
	if errors.Is(err, errTimeout) {
		t.Fatal("the enclave did not end within a minute")
	}
	// The last goroutine to leave unmaps the arena, soon.
	for wait := time.Millisecond; c.s.held.Load() != 0; wait *= 2 {
		if wait > time.Minute {
			t.Fatalf("%d still hold the arena", c.s.held.Load())
		}
		time.Sleep(wait)
	}
	if n := c.s.busy.Load(); n != 0 {
		t.Errorf("%d are still counted as busy", n)
	}
	return err
}

// runMain runs a fake enclave with one thread that exits well after p.
func runMain(t testing.TB, o Options, p func(f *fakeTCS)) {
	t.Helper()
	runThreads(t, 1, o, p, nil)
}

func runThreads(t testing.TB, n int, o Options, p func(f *fakeTCS), other program) {
	t.Helper()
	e := newFake(t, n, func(f *fakeTCS, _ [5]uint64) (uint64, uint64) {
		p(f)
		f.exit(0)
		return 0, 0
	}, other)
	if err := runFake(t, e, o); err != nil {
		t.Fatal(err)
	}
}

// failMain runs p and returns the error that must come of it.
func failMain(t testing.TB, o Options, p func(f *fakeTCS)) error {
	t.Helper()
	e := newFake(t, 2, func(f *fakeTCS, _ [5]uint64) (uint64, uint64) {
		p(f)
		f.exit(0)
		return 0, 0
	}, nil)
	err := runFake(t, e, o)
	if err == nil {
		t.Fatal("the enclave ended well")
	}
	return err
}

func wantText(t testing.TB, err error, want string) {
	t.Helper()
	if !strings.Contains(err.Error(), want) {
		t.Errorf("error is %q, want one with %q", err, want)
	}
}
