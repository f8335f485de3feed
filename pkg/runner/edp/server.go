package edp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/enclaveos/eos/pkg/runner"
	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

var le = binary.LittleEndian

// tcs is one thread of the enclave as the host knows it.
type tcs struct {
	off    uint64 // in the enclave
	addr   uint64 // what the enclave calls it
	events *eventQueue
	debug  uint64 // address of the debug buffer
	panic  panicText

	// While it runs; guarded by server.mu.
	thread platform.Thread
	done   chan struct{} // a Library's call: closed when it is to stop
}

// server serves one enclave, from its first entry to its end.
type server struct {
	enc        *runner.Enclave
	base, size uint64
	opts       Options
	library    bool
	mem        *arena
	fds        *fdTable
	tcss       []*tcs
	byAddr     map[uint64]*tcs
	timeInfo   uint64 // address of the InsecureTimeInfo, or zero
	ctx        context.Context
	cancelCtx  context.CancelFunc

	ended  atomic.Bool
	done   chan struct{} // closed when ended
	idle   chan struct{} // closed when ended and busy is zero
	busy   atomic.Int64  // goroutines in the enclave or in a host call that can be woken
	held   atomic.Int64  // goroutines that may touch the arena, and the owner
	onIdle sync.Once

	mu      sync.Mutex
	result  error  // why it ended
	free    []*tcs // first in, first out
	running map[*tcs]bool
	freed   chan struct{} // closed, and replaced, when a TCS becomes free

	waiting atomic.Int32 // threads in a wait without timeout
	alive   atomic.Int32 // threads running
	async   atomic.Pointer[asyncQueues]

	hasInit   bool // async_queues was called; guarded by mu
	lost      int  // a Library's TCSs that cannot be used again; guarded by mu
	closeOnce sync.Once
}

// stop makes the thread notice that it is to stop. The caller holds server.mu.
func (t *tcs) stop() {
	if t.done != nil && !isClosed(t.done) {
		close(t.done)
	}
	if t.thread != nil {
		t.thread.Interrupt()
	}
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// newServer prepares an enclave. The caller ends it by end and release.
func newServer(e *runner.Enclave, o Options, library bool) (*server, error) {
	if len(e.TCS) == 0 {
		return nil, errors.New("the enclave has no threads: the image has no TCS page")
	}
	for n := range o.UserCalls {
		if n&UserDefined == 0 {
			return nil, fmt.Errorf("user-defined usercall %#x: the number must have the bit %#x", uint64(n), uint64(UserDefined))
		}
	}
	limit := o.MemoryLimit
	if limit == 0 {
		limit = defaultMemoryLimit
	}
	mem, err := newArena(limit)
	if err != nil {
		return nil, err
	}
	secs := e.SECS()
	s := &server{
		enc: e, base: secs.BaseAddr, size: secs.Size, opts: o, library: library,
		mem: mem, fds: o.streams(), byAddr: make(map[uint64]*tcs, len(e.TCS)),
		done: make(chan struct{}), idle: make(chan struct{}), freed: make(chan struct{}),
		running: make(map[*tcs]bool),
	}
	if s.opts.Connect == nil {
		s.opts.Connect = ConnectTCP
	}
	if s.opts.Bind == nil {
		s.opts.Bind = BindTCP
	}
	s.ctx, s.cancelCtx = context.WithCancel(context.Background())
	s.held.Store(1)
	s.busy.Store(1)
	for _, off := range e.TCS {
		t := &tcs{off: off, addr: s.base + off, events: newEventQueue()}
		var ok bool
		if t.debug, ok = mem.alloc(debugBufferSize, 16, hostOwned); ok {
			t.panic.buf, err = mem.bytes(t.debug, debugBufferSize)
		}
		if !ok || err != nil {
			mem.close()
			return nil, fmt.Errorf("no memory for the debug buffers of %d threads: raise the memory limit", len(e.TCS))
		}
		s.tcss = append(s.tcss, t)
		s.byAddr[t.addr] = t
	}
	s.free = append(s.free, s.tcss...)
	if o.TSCInfo && (e.Caps.SGX2 || !e.Caps.EnforcesTCB) {
		if hz := tscFrequency(); hz != 0 {
			b := le.AppendUint64(make([]byte, 8, 16), hz)
			if addr, ok := mem.alloc(uint64(len(b)), 8, hostOwned); ok {
				p, _ := mem.bytes(addr, uint64(len(b)))
				copy(p, b)
				s.timeInfo = addr
			}
		}
	}
	return s, nil
}

// newBlock allocates a block with the contents of b.
func (s *server) newBlock(b []byte, align uint64) (addr uint64, ok bool) {
	addr, ok = s.mem.alloc(uint64(len(b)), align, 0)
	if !ok {
		return 0, false
	}
	p, err := s.mem.bytes(addr, uint64(len(b)))
	if err != nil {
		return 0, false
	}
	copy(p, b)
	return addr, true
}

// end ends the enclave for this reason, nil being success. Only the first call
// counts. It does not wait.
func (s *server) end(reason error) {
	s.mu.Lock()
	if s.ended.Load() {
		s.mu.Unlock()
		return
	}
	s.result = reason
	s.ended.Store(true)
	s.free = nil
	for t := range s.running {
		t.stop()
	}
	s.mu.Unlock()
	close(s.done)
	s.cancelCtx()
	s.fds.closeAll()
	s.unbusy() // newServer's
}

// enterBusy and unbusy count who is at work for the enclave and will notice
// its end by itself.
func (s *server) enterBusy() { s.busy.Add(1) }

func (s *server) unbusy() {
	if s.busy.Add(-1) == 0 && s.ended.Load() {
		s.onIdle.Do(func() { close(s.idle) })
	}
}

// hold and release keep the arena mapped.
func (s *server) hold() { s.held.Add(1) }

func (s *server) release() {
	if s.held.Add(-1) == 0 {
		s.mem.close()
	}
}

// unwakeable runs f, which calls into the host's own code and may block there
// for ever. The end of the enclave does not wait for it.
func (s *server) unwakeable(f func()) {
	s.unbusy()
	f()
	s.enterBusy()
}

// wait waits until the enclave has ended and nothing of it runs, and returns
// why.
func (s *server) wait() error {
	<-s.done
	<-s.idle
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.result
}

// takeFree removes a free TCS, the one that is free for longest, or returns
// nil.
func (s *server) takeFree() *tcs {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) == 0 || s.ended.Load() {
		return nil
	}
	t := s.free[0]
	s.free = s.free[1:]
	return t
}

// giveFree makes a TCS available again.
func (s *server) giveFree(t *tcs) {
	s.mu.Lock()
	if !s.ended.Load() {
		s.free = append(s.free, t)
		close(s.freed)
		s.freed = make(chan struct{})
	}
	s.mu.Unlock()
}

// begin counts t among the running threads, before its goroutine does anything:
// a thread that waits for it is not in a deadlock.
func (s *server) begin(t *tcs) {
	s.enterBusy()
	s.hold()
	s.mu.Lock()
	s.running[t] = true
	if s.library {
		t.done = make(chan struct{})
	}
	s.mu.Unlock()
	s.alive.Add(1)
}

// finish is the counterpart of begin.
func (s *server) finish(t *tcs) {
	s.mu.Lock()
	delete(s.running, t)
	s.mu.Unlock()
	s.alive.Add(-1)
	s.checkDeadlock()
	s.unbusy()
	s.release()
}

// attach registers th as the logical processor that runs t. It fails if the
// enclave has ended: nobody would interrupt it.
func (s *server) attach(t *tcs, th platform.Thread) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended.Load() || (t.done != nil && isClosed(t.done)) {
		return false
	}
	t.thread = th
	return true
}

// detach comes before th is closed.
func (s *server) detach(t *tcs) {
	s.mu.Lock()
	t.thread = nil
	s.mu.Unlock()
}

// errWaits says that a thread waits for nothing, for ever.
var errWaits = errors.New("thread waits indefinitely for no event")

// run enters t, which has begun, and serves it until it leaves for good. It
// returns the values of a normal return, or errStopped if the enclave has
// ended, errWaits, or the reason for which the enclave is to end; errExit is a
// good one.
func (s *server) run(t *tcs, args [5]uint64) (r1, r2 uint64, err error) {
	th, err := s.enc.NewThread()
	if err != nil {
		return 0, 0, fmt.Errorf("making a thread for TCS %#x: %w", t.off, err)
	}
	defer th.Close()
	if !s.attach(t, th) {
		return 0, 0, errStopped
	}
	defer s.detach(t)
	t.panic.reset()
	regs := platform.Regs{RDI: args[0], RSI: args[1], RDX: args[2], R8: args[3], R9: args[4], R10: t.debug}
	leaf := sgx.LeafEENTER
	c := usercall{tcs: t, call: call{done: s.done}}
	if t.done != nil {
		c.done, c.alone = t.done, true
	}
	for {
		exit, err := th.Enter(t.off, leaf, &regs)
		switch {
		case s.ended.Load(), isClosed(c.done):
			return 0, 0, errStopped
		case err != nil:
			return 0, 0, fmt.Errorf("entering TCS %#x: %w", t.off, err)
		}
		switch exit.Kind {
		case platform.ExitInterrupt:
			leaf = sgx.LeafERESUME
			continue
		case platform.ExitException:
			return 0, 0, s.exception(t, exit)
		}
		if regs.RDI == 0 {
			return regs.RSI, regs.RDX, nil
		}
		t.panic.look()
		c.number, c.args = Number(regs.RDI), [4]uint64{regs.RSI, regs.RDX, regs.R8, regs.R9}
		if q := s.async.Load(); q != nil {
			q.poke()
		}
		r1, r2, err := s.serve(&c)
		switch {
		case err != nil:
			return 0, 0, err
		case s.ended.Load(), isClosed(c.done):
			return 0, 0, errStopped
		}
		regs = platform.Regs{RSI: r1, RDX: r2, R10: t.debug}
		leaf = sgx.LeafEENTER
	}
}

// launch starts t as a thread of a Command, on a goroutine of its own.
func (s *server) launch(t *tcs, main bool, args [5]uint64) {
	s.begin(t)
	go func() {
		defer s.finish(t)
		r1, r2, err := s.run(t, args)
		switch {
		case errors.Is(err, errStopped):
		case err == errWaits && !main:
			// This thread is gone, with its TCS; the others go on.
		case err == errWaits:
			s.end(ErrDeadlock)
		case err == errExit:
			s.end(nil)
		case err != nil:
			s.end(err)
		case main:
			s.end(ErrMainReturned)
		case r1 != 0 || r2 != 0:
			s.end(&ThreadReturnError{t.off, [2]uint64{r1, r2}})
		default:
			s.giveFree(t)
		}
	}()
}

// checkDeadlock ends a Command none of whose threads can ever be woken. If there
// are asynchronous queues only their owner can tell.
func (s *server) checkDeadlock() {
	switch q := s.async.Load(); {
	case s.library || s.ended.Load() || s.waiting.Load() < s.alive.Load():
	case q != nil:
		q.poke()
	default:
		s.endIfStuck(func() bool { return true })
	}
}

// endIfStuck ends the enclave if all its threads wait, nothing is there for them
// and alone, asked last, confirms that nobody but a thread could send them an
// event.
func (s *server) endIfStuck(alone func() bool) {
	s.mu.Lock()
	qs := make([]*eventQueue, 0, len(s.running))
	for t := range s.running {
		qs = append(qs, t.events)
	}
	stuck := len(qs) > 0 && allStuck(qs)
	s.mu.Unlock()
	if stuck && alone() {
		s.end(ErrDeadlock)
	}
}
