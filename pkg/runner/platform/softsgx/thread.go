//go:build linux && amd64

package softsgx

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

// thread is a logical processor of one enclave: the OS thread of a goroutine.
type thread struct {
	e       *enclave
	os      *osThread
	last    *slot       // the TCS of the last Enter, to save the search
	pending atomic.Bool // Interrupt has been called and not yet been answered

	mu     sync.Mutex // orders kicks and Close: a thread's id may be used again
	closed bool
}

func (e *enclave) NewThread() (platform.Thread, error) {
	e.mu.Lock()
	closed := e.closed
	e.mu.Unlock()
	if closed {
		return nil, platform.ErrClosed
	}
	os, err := bindThread()
	if err != nil {
		return nil, err
	}
	return &thread{e: e, os: os}, nil
}

func (t *thread) Close() {
	t.mu.Lock()
	closed := t.closed
	t.closed = true
	t.mu.Unlock()
	if !closed {
		t.os.unbind()
	}
}

func (t *thread) Interrupt() {
	// The order matters: who sees the kick sees pending.
	if t.pending.Swap(true) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.os.kick.Store(1)
		t.os.kickThread()
	}
}

// Enter makes the slot busy, as a processor does with a TCS, runs the enclave
// until it is left for good, and makes the slot idle again.
func (t *thread) Enter(off uint64, leaf sgx.Leaf, regs *platform.Regs) (platform.Exit, error) {
	s := t.last
	if s == nil || s.off != off {
		var err error
		if s, err = t.e.slot(off, leaf); err != nil {
			return platform.Exit{}, err
		}
		t.last = s
	}
	if !s.state.CompareAndSwap(slotIdle, slotBusy) {
		if s.state.Load() == slotDead {
			return platform.Exit{}, platform.ErrClosed
		}
		return platform.Exit{}, fmt.Errorf("%s: TCS %#x: %w", leafName(leaf), off, platform.ErrBusy)
	}
	exit, err := t.enter(s, leaf, regs)
	s.state.Store(slotIdle)
	return exit, err
}

// enter does EENTER or ERESUME of a TCS that is ours.
func (t *thread) enter(s *slot, leaf sgx.Leaf, regs *platform.Regs) (platform.Exit, error) {
	var how uint64
	switch leaf {
	case sgx.LeafEENTER:
		if err := t.prepareEnter(s, regs); err != nil {
			return platform.Exit{}, err
		}
		how = howEnter
	case sgx.LeafERESUME:
		if err := t.prepareResume(s); err != nil {
			return platform.Exit{}, err
		}
		how = howResume
	default:
		return platform.Exit{}, fmt.Errorf("leaf %d does not enter an enclave: use EENTER or ERESUME", leaf)
	}
	c := t.os.control
	c.exit = s.exit
	for {
		// Kicks are told apart by pending, since one OS thread may serve
		// several enclaves.
		if c.kick.Load() != 0 {
			c.kick.Store(0)
		}
		if t.pending.Load() {
			c.kind = leftAbandoned
		} else {
			c.run(how)
			if c.foreign != 0 {
				t.os.forward()
			}
		}
		if c.kind == leftEEXIT {
			*regs = platform.Regs{RDI: c.rdi, RSI: c.rsi, RDX: c.rdx, R8: c.r8, R9: c.r9, R10: c.r10}
			return platform.Exit{Kind: platform.ExitEEXIT}, nil
		}
		exit, done, err := t.left(s, &how, regs)
		if done || err != nil {
			return exit, err
		}
	}
}

// prepareEnter checks EENTER and fills in what entry needs.
func (t *thread) prepareEnter(s *slot, regs *platform.Regs) error {
	cssa := s.cssa.Load()
	if cssa >= s.ready {
		if _, f := t.e.mc.CheckEnter(s.off, cssa); f != nil {
			return f
		}
		s.ready = cssa + 1
	}
	c, base := t.os.control, t.e.secs.BaseAddr
	c.oentry = base + s.tcs.OEntry
	c.tcs = base + s.off
	c.cssa = uint64(cssa)
	c.fs = base + s.tcs.OFSBase
	c.gs = base + s.tcs.OGSBase
	c.stack = exitStack(s.exit, cssa)
	c.gprsgx = uintptr(base + t.e.frame(s, cssa) + t.e.frameSize() - sgx.GPRSGXSize)
	c.rdi, c.rsi, c.rdx, c.r8, c.r9, c.r10 = regs.RDI, regs.RSI, regs.RDX, regs.R8, regs.R9, regs.R10
	return nil
}

// left decides what follows from the way the enclave was left. If it is not
// done, the enclave goes on as *how says.
func (t *thread) left(s *slot, how *uint64, regs *platform.Regs) (exit platform.Exit, done bool, err error) {
	c := t.os.control
	switch c.kind {
	case leftAbandoned:
		if !t.pending.Swap(false) { // another enclave's kick
			return exit, false, nil
		}
		// The processor has entered and was interrupted at once.
		if *how == howEnter {
			t.stateAtEntry()
		}
		return t.interrupt(s)
	case leftLanded:
		g := &c.gregs
		*regs = platform.Regs{RDI: g[gregRDI], RSI: g[gregRSI], RDX: g[gregRDX], R8: g[gregR8], R9: g[gregR9], R10: g[gregR10]}
		return platform.Exit{Kind: platform.ExitEEXIT}, true, nil
	case leftRefused: // the frame is in use as before
		cssa := s.cssa.Add(1)
		return exit, true, fmt.Errorf("ERESUME: TCS %#x: the state in SSA frame %d is none that the processor accepts: "+
			"signal %d, vector %d", s.off, cssa-1, c.sig, c.gregs[gregTrapNo])
	}
	// leftSignal
	*how = howResume
	if c.sig == sigKick || int32(c.sigCode) <= 0 {
		if a, ok := t.e.site(c.gregs[gregRIP]); ok {
			c.gregs[gregRIP] = a // the stub starts anew
		}
		if t.pending.Swap(false) {
			return t.interrupt(s)
		}
		t.continueAt(c.gregs[gregRIP])
		return exit, false, nil
	}
	x := t.exception()
	switch x.what {
	case isLeaf:
		return t.leaf(s, regs)
	case isNothing:
		t.continueAt(c.gregs[gregRIP])
		return exit, false, nil
	}
	return t.except(s, x)
}

// interrupt is an AEX without an exception.
func (t *thread) interrupt(s *slot) (platform.Exit, bool, error) {
	t.aex(s, exception{}, 0)
	return platform.Exit{Kind: platform.ExitInterrupt}, true, nil
}

// except is an AEX because of x.
func (t *thread) except(s *slot, x exception) (platform.Exit, bool, error) {
	t.aex(s, x, sgx.NewExitInfo(x.vector, t.e.secs.MiscSelect))
	return platform.Exit{Kind: platform.ExitException, Vector: x.vector, ErrorCode: x.code, Addr: x.addr}, true, nil
}

func leafName(l sgx.Leaf) string {
	if l == sgx.LeafERESUME {
		return "ERESUME"
	}
	return "EENTER"
}
