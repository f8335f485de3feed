package goenclave

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/channel"
	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runner"
	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/wall"
)

// A fake enclave stands in for the kernel: Go functions that run as goroutines and
// make OCALLs through the registers. It says no word of its own; what is not a call
// of the test's is as strict as a processor.
type fake struct {
	t       testing.TB
	enc     *Enclave
	tcs     []*fakeTCS
	closed  chan struct{}
	program func(f *fakeTCS)          // ECallRun on TCS 0; returns into exit 0
	thread  func(f *fakeTCS)          // ECallRun on others
	stop    func(f *fakeTCS) uint64   // ECallShutdown
	handle  func(f *fakeTCS) reaction // the exception handler
	refuse  map[wall.ECall]wall.Refusal
	rpc     channel.Producer
	rpcIn   channel.Consumer
	desc    []uint64 // RunDesc
	data    []uint64 // ChannelDesc of the data channel
	mu      sync.Mutex
	host    *program
}

type reaction struct {
	regs  platform.Regs
	fault *platform.Exit
}

type fakeTCS struct {
	e   *fake
	idx int
	off uint64

	mu      sync.Mutex
	inside  bool
	cssa    int
	resumed int // ERESUMEs
	out     chan left
	in      chan platform.Regs // the answer of an OCALL
	asked   bool               // one is awaited; of the thread inside
}

type left struct {
	regs platform.Regs
	exit platform.Exit
	end  bool // no answer is awaited
}

func newFake(t testing.TB, threads int) *fake {
	e := &fake{t: t, closed: make(chan struct{}), refuse: map[wall.ECall]wall.Refusal{}}
	boot := &wall.Boot{Magic: wall.BootMagic, Base: wall.Base, Size: 1 << 30, Blocks: wall.Base + 0x10000, Threads: uint64(threads)}
	inner := &runner.Enclave{Enclave: e}
	for i := range threads {
		off := uint64(0x10000 + i*wall.BlockSize)
		e.tcs = append(e.tcs, &fakeTCS{e: e, idx: i, off: off, out: make(chan left), in: make(chan platform.Regs, 1)})
		inner.TCS = append(inner.TCS, off)
	}
	var err error
	if e.enc, err = newEnclave(inner, boot, readClocks()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(e.closed) })
	return e
}

func (e *fake) SECS() sgx.SECS                 { return sgx.SECS{BaseAddr: wall.Base, Size: 1 << 30} }
func (e *fake) DebugRead(uint64, []byte) error { return platform.ErrNotDebug }
func (e *fake) Close() error                   { return nil }
func (e *fake) NewThread() (platform.Thread, error) {
	runtime.LockOSThread()
	return &fakeThread{e: e, kicks: make(chan struct{}, 1)}, nil
}

type fakeThread struct {
	e     *fake
	kicks chan struct{}
}

func (th *fakeThread) Interrupt() {
	select {
	case th.kicks <- struct{}{}:
	default:
	}
}

func (th *fakeThread) Close() { runtime.UnlockOSThread() }

func (th *fakeThread) Enter(off uint64, leaf sgx.Leaf, regs *platform.Regs) (platform.Exit, error) {
	i := int(off-0x10000) / wall.BlockSize
	if i < 0 || i >= len(th.e.tcs) || th.e.tcs[i].off != off {
		return platform.Exit{}, errors.New("no TCS there")
	}
	t := th.e.tcs[i]
	t.mu.Lock()
	busy := t.inside
	t.inside = true
	t.mu.Unlock()
	if busy {
		return platform.Exit{}, platform.ErrBusy
	}
	defer func() { t.mu.Lock(); t.inside = false; t.mu.Unlock() }()
	switch {
	case leaf == sgx.LeafERESUME && t.cssa == 0:
		return platform.Exit{}, errors.New("ERESUME: nothing to resume")
	case leaf == sgx.LeafERESUME:
		t.cssa--
		t.mu.Lock()
		t.resumed++
		t.mu.Unlock()
	case t.cssa == 2:
		return platform.Exit{}, errors.New("EENTER: no free SSA frame")
	case t.cssa == 1:
		h := reaction{regs: platform.Regs{RDI: wall.ExitAEX, RSI: 1}}
		if th.e.handle != nil {
			h = th.e.handle(t)
		}
		if h.fault != nil {
			t.cssa = 2
			return *h.fault, nil
		}
		*regs = h.regs
		return platform.Exit{Kind: platform.ExitEEXIT}, nil
	case t.asked:
		if regs.RDI != 0 {
			th.e.t.Errorf("the answer of an OCALL has RDI = %#x", regs.RDI)
		}
		t.asked = false
		t.in <- *regs
	default:
		go t.ecall(wall.ECall(regs.RDI), regs.RSI)
	}
	select {
	case x := <-t.out:
		*regs = x.regs
		if x.exit.Kind == platform.ExitException {
			t.cssa++
			return x.exit, nil
		}
		t.asked = !x.end
		return platform.Exit{Kind: platform.ExitEEXIT}, nil
	case <-th.kicks:
		t.cssa++
		return platform.Exit{Kind: platform.ExitInterrupt}, nil
	}
}

// leave waits until the host has seen it.
func (t *fakeTCS) leave(x left) {
	select {
	case t.out <- x:
	case <-t.e.closed:
		runtime.Goexit()
	}
}

func (t *fakeTCS) ret(result uint64) { t.leave(left{regs: platform.Regs{RSI: result}, end: true}) }

// ecall does what the kernel does.
func (t *fakeTCS) ecall(call wall.ECall, arg uint64) {
	e := t.e
	if r, ok := e.refuse[call]; ok {
		t.ret(uint64(r))
		return
	}
	switch call {
	case wall.ECallInitChannel:
		d := words(arg, 5)
		s1 := e.rpc.Init(uintptr(d[0]), uintptr(d[1]), d[4])
		s2 := e.rpcIn.Init(uintptr(d[2]), uintptr(d[3]), d[4])
		if s1 != channel.OK || s2 != channel.OK || arg%8 != 0 {
			e.t.Errorf("ChannelDesc at %#x: %v: %v, %v", arg, d, s1, s2)
		}
		t.ret(0)
	case wall.ECallInitDataChannel:
		e.data = words(arg, 5)
		t.ret(0)
	case wall.ECallRun:
		if t.idx == 0 {
			e.desc = words(arg, 5)
			e.program(t)
			t.exit(0)
		}
		e.thread(t)
		t.leave(left{regs: platform.Regs{RDI: wall.ExitNotify, RSI: uint64(wall.NotifyExit)}, end: true})
	case wall.ECallShutdown:
		t.ret(e.stop(t))
	default:
		e.t.Errorf("ECALL %d", call)
	}
}

// ocall is ocall_notify.
func (t *fakeTCS) ocall(kind wall.Notify, a ...uint64) uint64 {
	var args [3]uint64
	copy(args[:], a)
	return t.eexit(platform.Regs{RDI: wall.ExitNotify, RSI: uint64(kind), RDX: args[0], R8: args[1], R9: args[2]})
}

func (t *fakeTCS) eexit(r platform.Regs) uint64 {
	t.leave(left{regs: r})
	select {
	case r := <-t.in:
		return r.RSI
	case <-t.e.closed:
		runtime.Goexit()
	}
	panic("unreachable")
}

// exit ends the program.
func (t *fakeTCS) exit(code uint64) {
	t.ocall(wall.NotifyExit, 1, code)
	t.e.t.Errorf("TCS %d goes on after the end", t.idx)
}

// fault raises an exception, which the handler handles.
func (t *fakeTCS) fault(vector uint8, code uint32, addr uint64) {
	t.leave(left{exit: platform.Exit{Kind: platform.ExitException, Vector: vector, ErrorCode: code, Addr: addr}})
}

// park and wake are what a futex is made of.
func (t *fakeTCS) park(d time.Duration) {
	ns := ^uint64(0)
	if d >= 0 {
		ns = uint64(d)
	}
	t.ocall(wall.NotifyPark, ns, 0)
}

func (t *fakeTCS) wake(i int) { t.ocall(wall.NotifyWake, uint64(i)) }

func (t *fakeTCS) spawn(i int) {
	if r := t.ocall(wall.NotifySpawn, uint64(i)); r != 0 {
		t.e.t.Errorf("spawn of %d: %d", i, int64(r))
	}
}

// request puts an RPC request in the ring and rings.
func (t *fakeTCS) request(r wire.Request) {
	t.e.mu.Lock()
	s := t.e.rpc.Put(wire.AppendRequest(nil, r), nil)
	ring := t.e.rpc.Publish()
	t.e.mu.Unlock()
	if s != channel.OK {
		t.e.t.Errorf("RPC ring: %v", s)
	}
	if ring {
		t.ocall(wall.NotifyRPC)
	}
}

func (t *fakeTCS) print(fd int32, s string) {
	t.request(wire.Request{Method: wire.StdioWrite, Payload: wire.AppendStdioWrite(nil, fd, []byte(s))})
}

// run runs a fake. It fails the test if that takes too long.
func (e *fake) run(o Options) (*Command, error) {
	e.t.Helper()
	errTimeout := errors.New("test timeout")
	ctx, cancel := context.WithTimeoutCause(context.Background(), time.Minute, errTimeout)
	defer cancel()
	return e.runContext(ctx, o)
}

func (e *fake) runContext(ctx context.Context, o Options) (*Command, error) {
	e.t.Helper()
	c, err := NewCommand(e.enc, o)
	if err != nil {
		e.t.Fatal(err)
	}
	e.host = c.p
	err = c.Run(ctx)
	if err != nil && strings.Contains(err.Error(), "test timeout") {
		e.t.Fatal("the program did not end within a minute")
	}
	return c, err
}

func wantText(t testing.TB, err error, want string) {
	t.Helper()
	if !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("error is %v, want one with %q", err, want)
	}
}

// resume is a handler that has dealt with it.
var resume = reaction{regs: platform.Regs{RDI: wall.ExitAEX, RSI: 1}}

// hang is a thread that never leaves by itself.
func (e *fake) hang() {
	<-e.closed
	runtime.Goexit()
}
