package goenclave

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/wall"
)

// thread is a TCS and, once it is used, the host's thread that enters it.
type thread struct {
	p   *program
	idx int
	off uint64
	parking

	spawned word // see the constants
	started bool // the goroutine is there; guarded by program.mu

	processor platform.Thread                 // the goroutine's
	handle    atomic.Pointer[platform.Thread] // the same, for Interrupt

	shown uint64 // TSC value of the last showLife
	count counters
}

// Values of thread.spawned.
const (
	spawnNone   = iota
	spawnToken  // ECallRun is to be made
	spawnAsleep // the goroutine waits for that
)

// counters count what a thread does.
type counters struct {
	calls      atomic.Uint64                // ECALLs
	exceptions atomic.Uint64                // AEXs because of one
	interrupts atomic.Uint64                // other AEXs
	ocalls     [maxNotify + 1]atomic.Uint64 // by kind; 0 is unknown ones
}

const maxNotify = wall.NotifyRPC

// launch runs f on a goroutine that is a logical processor of the enclave, counted
// among those that the program's end waits for. An error of f is the program's.
func (t *thread) launch(f func() error) {
	t.p.enterBusy()
	go func() {
		defer t.p.unbusy()
		processor, err := t.p.enc.NewThread()
		if err != nil {
			t.p.end(fmt.Errorf("making a thread for TCS %d: %w", t.idx, err))
			return
		}
		defer processor.Close()
		t.processor = processor
		t.handle.Store(&processor)
		if err := f(); err != nil && err != errStopped { //nolint:errorlint // never wrapped
			t.p.end(err)
		}
	}()
}

// interrupt makes the Enter in progress, or the next one, return.
func (t *thread) interrupt() {
	if h := t.handle.Load(); h != nil {
		(*h).Interrupt()
	}
}

// stop makes the thread notice that the program has ended, wherever it is.
func (t *thread) stop() {
	t.interrupt()
	t.wakeUp(t.p.interruptPoll)
	t.spawn()
}

// spawn asks for ECallRun. It reports whether it had been asked for already.
func (t *thread) spawn() (twice bool) {
	switch t.spawned.Swap(spawnToken) {
	case spawnToken:
		return true
	case spawnAsleep:
		t.spawned.wake()
	}
	return false
}

// serveSpawns makes ECallRun each time that it is asked for.
func (t *thread) serveSpawns() error {
	for {
		for t.spawned.CompareAndSwap(spawnNone, spawnAsleep) && !t.p.ended.Load() {
			t.spawned.sleep(spawnAsleep, -1)
			t.spawned.CompareAndSwap(spawnAsleep, spawnNone)
		}
		t.spawned.Store(spawnNone)
		if t.p.ended.Load() {
			return errStopped
		}
		if err := t.call(wall.ECallRun, 0); err != nil {
			return err
		}
	}
}

// call makes an ECALL and serves its OCALLs until it returns, or the thread ends.
func (t *thread) call(n wall.ECall, arg uint64) error {
	t.count.calls.Add(1)
	regs := platform.Regs{RDI: uint64(n), RSI: arg}
	for {
		if err := t.enter(&regs); err != nil {
			return err
		}
		t.showLife()
		switch regs.RDI {
		case wall.ExitReturn:
			if regs.RSI != 0 {
				return &RefusedError{n, t.idx, wall.Refusal(regs.RSI)}
			}
			return nil
		case wall.ExitNotify:
		default:
			return &ProtocolError{t.idx, fmt.Sprintf("EEXIT with RDI = %#x", regs.RDI)}
		}
		done, answer, err := t.notify(wall.Notify(regs.RSI), regs.RDX, regs.R8)
		if done || err != nil {
			return err
		}
		if t.p.ended.Load() {
			return errStopped
		}
		regs = platform.Regs{RSI: answer}
	}
}

// showLife lets the host's scheduler see that the goroutine is alive. To the monitor
// of the Go runtime a goroutine that only makes system calls looks like one that has
// been running all the time. After 10 ms of that it takes the P away and asks the
// goroutine to make room, again and again, each of which costs a request more than
// all the rest of the host.
func (t *thread) showLife() {
	if now := rdtsc(); now-t.shown > t.p.clock.life.Load() {
		t.shown = now
		runtime.Gosched()
	}
}

// lifeEvery is how often: the monitor's 10 ms, with something to spare.
const lifeEvery = 8 * time.Millisecond

// enter enters the enclave and lets its kernel handle exceptions and interrupts,
// until it leaves by itself.
func (t *thread) enter(regs *platform.Regs) error {
	var (
		leaf     = sgx.LeafEENTER
		handling bool          // the exception handler is running, at CSSA 1
		cause    platform.Exit // what it handles
		again    bool          // an interrupt came while it ran
	)
	for {
		exit, err := t.processor.Enter(t.off, leaf, regs)
		switch {
		case t.p.ended.Load():
			return errStopped
		case err != nil:
			return fmt.Errorf("entering TCS %d: %w", t.idx, err)
		case exit.Kind == platform.ExitEEXIT && !handling:
			return nil
		case exit.Kind == platform.ExitEEXIT:
			if regs.RDI != wall.ExitAEX {
				return &ProtocolError{t.idx, fmt.Sprintf("EEXIT of the exception handler with RDI = %#x", regs.RDI)}
			}
			if regs.RSI != 1 {
				return t.fault(cause, regs)
			}
			// What the handler was told of the interrupt may be older than the
			// reason for this one.
			if again {
				t.processor.Interrupt()
			}
			handling, again, leaf = false, false, sgx.LeafERESUME
		case !handling:
			if exit.Kind == platform.ExitException {
				t.count.exceptions.Add(1)
			} else {
				t.count.interrupts.Add(1)
			}
			handling, cause, leaf = true, exit, sgx.LeafEENTER
			*regs = platform.Regs{}
		case exit.Kind == platform.ExitInterrupt:
			t.count.interrupts.Add(1)
			again, leaf = true, sgx.LeafERESUME
		default:
			t.count.exceptions.Add(1)
			return &FaultError{TCS: t.idx, Exit: exit, Nested: true}
		}
	}
}

// fault makes an error of what the handler says of the exception that it gave up.
func (t *thread) fault(cause platform.Exit, regs *platform.Regs) error {
	e := &FaultError{TCS: t.idx, Exit: cause, RIP: regs.R8, Addr: regs.R9}
	if cause.Kind != platform.ExitException {
		return &ProtocolError{t.idx, fmt.Sprintf("it gave up after an interrupt, at %#x", e.RIP)}
	}
	if t.p.o.Symbolize != nil {
		e.Symbol = t.p.o.Symbolize(e.RIP)
	}
	return e
}

// answerRefused is the answer of an OCALL that makes no sense.
const answerRefused = ^uint64(0)

// notify serves ocall_notify. done means that the thread has ended.
func (t *thread) notify(kind wall.Notify, a1, a2 uint64) (done bool, answer uint64, err error) {
	p := t.p
	if kind > maxNotify {
		kind = 0
	}
	t.count.ocalls[kind].Add(1)
	switch kind {
	case wall.NotifyPark:
		p.clock.check()
		if a2 == 1 {
			p.polls.wait(&t.parking, timeout(a1))
			err = p.dataErr()
		} else {
			t.wait(timeout(a1))
		}
		p.clock.check()
		return false, 0, err
	case wall.NotifyWake:
		if a1 >= uint64(len(p.threads)) {
			return false, answerRefused, nil
		}
		p.threads[a1].wakeUp(p.interruptPoll)
		return false, 0, nil
	case wall.NotifySpawn:
		// TCS 0 is the program's own.
		if a1 == 0 || a1 >= uint64(len(p.threads)) {
			return false, answerRefused, nil
		}
		if p.spawn(p.threads[a1]) {
			return false, answerRefused, nil
		}
		return false, 0, nil
	case wall.NotifyExit:
		if a1 == 1 {
			return false, 0, p.exit(int(uint8(a2)))
		}
		return true, 0, nil
	case wall.NotifyYield:
		yield()
		return false, 0, nil
	case wall.NotifyKick:
		if a1 >= uint64(len(p.threads)) {
			return false, answerRefused, nil
		}
		p.threads[a1].interrupt()
		return false, 0, nil
	case wall.NotifyData:
		switch {
		case p.polls.data == nil:
			return false, answerRefused, nil
		case a1 == 1:
			p.clock.check()
			p.polls.look(&t.parking)
		default:
			p.polls.data.Flush()
		}
		return false, 0, p.polls.data.Err()
	case wall.NotifyRPC:
		return false, 0, p.serveRPC(a1)
	}
	return false, answerRefused, nil
}

// timeout reads a number of nanoseconds; what is longer than 292 years is for ever.
func timeout(ns uint64) time.Duration {
	if ns >= 1<<63 {
		return -1
	}
	return time.Duration(ns)
}
