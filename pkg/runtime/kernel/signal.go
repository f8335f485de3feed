package kernel

import (
	"sync/atomic"

	wall "github.com/enclaveos/eos/pkg/wall"
)

// Signals are Linux's: the Go runtime installs its handlers with rt_sigaction
// and finds the frames that it knows on its signal stacks.
const (
	sigInt   = 2
	sigTrap  = 5
	sigIll   = 4
	sigBus   = 7
	sigFPE   = 8
	sigKill  = 9
	sigSegv  = 11
	sigTerm  = 15
	sigChld  = 17
	sigCont  = 18
	sigStop  = 19
	sigUrg   = 23
	sigWinch = 28
	signals  = 64

	sigDefault = 0 // handlers
	sigIgnore  = 1

	saOnStack = 0x08000000
	saNoDefer = 0x40000000
	ssOnStack = 1
	ssDisable = 2
	siTkill   = -6
)

// sigaction is struct sigaction of the rt_sigaction call. Its words are read
// without a lock where a signal is delivered.
type sigaction struct{ handler, flags, restorer, mask uint64 }

var actions [signals + 1]sigaction

func rtSigaction(sig, act, old uint64) uint64 {
	if sig == 0 || sig > signals || sig == sigKill || sig == sigStop {
		return errInval
	}
	a := &actions[sig]
	prev := *a
	if act != 0 {
		n := at[sigaction](act)
		// The handler last: who sees it sees the rest.
		atomic.StoreUint64(&a.flags, n.flags)
		atomic.StoreUint64(&a.restorer, n.restorer)
		atomic.StoreUint64(&a.mask, n.mask)
		atomic.StoreUint64(&a.handler, n.handler)
	}
	if old != 0 {
		*at[sigaction](old) = prev
	}
	return 0
}

const unblockable = 1<<(sigKill-1) | 1<<(sigStop-1)

func rtSigprocmask(t *thread, how, set, old uint64) uint64 {
	prev := t.sigmask
	if set != 0 {
		s := *at[uint64](set)
		switch how {
		case 0:
			t.sigmask |= s
		case 1:
			t.sigmask &^= s
		case 2:
			t.sigmask = s
		default:
			return errInval
		}
		t.sigmask &^= unblockable
	}
	if old != 0 {
		*at[uint64](old) = prev
	}
	return 0
}

// altStack is struct stack_t.
type altStack struct {
	sp    uint64
	flags uint32
	_     uint32
	size  uint64
}

func sigaltstack(t *thread, f *frame, set, old uint64) uint64 {
	if old != 0 {
		o := at[altStack](old)
		o.sp, o.flags, o.size = t.altSP, t.altFlags, t.altSize
		if t.onAltStack(f.sp) {
			o.flags = ssOnStack
		}
	}
	if set != 0 {
		if t.onAltStack(f.sp) {
			return errPerm
		}
		s := at[altStack](set)
		t.altSP, t.altFlags, t.altSize = s.sp, s.flags&ssDisable, s.size
	}
	return 0
}

func (t *thread) onAltStack(sp uint64) bool {
	return t.altFlags&ssDisable == 0 && sp-t.altSP < t.altSize
}

// deliverable reports whether a pending signal is not blocked.
func (t *thread) deliverable() bool {
	return atomic.LoadUint64(&t.pending)&^t.sigmask != 0
}

// ignored reports whether nothing happens when sig arrives.
func ignored(sig uint64) bool {
	switch atomic.LoadUint64(&actions[sig].handler) {
	case sigIgnore:
		return true
	case sigDefault:
		return sig == sigUrg || sig == sigChld || sig == sigCont || sig == sigWinch
	}
	return false
}

// raise makes sig pending for w. The caller is another thread or w itself.
func raise(w *thread, sig uint64) {
	if ignored(sig) {
		return
	}
	bit := uint64(1) << (sig - 1)
	for {
		old := atomic.LoadUint64(&w.pending)
		if old&bit != 0 || atomic.CompareAndSwapUint64(&w.pending, old, old|bit) {
			return
		}
	}
}

// tgkill sends a signal to a thread. The other thread is interrupted, since it
// may be in a loop without calls.
func tgkill(t *thread, tgid, tid, sig uint64) uint64 {
	i := tid - pid
	if tgid != pid || i >= usable() || atomic.LoadUint32(&threadAt(i).state) == stateIdle {
		return errSrch
	}
	if sig > signals {
		return errInval
	}
	if sig == 0 {
		return 0
	}
	w := threadAt(i)
	raise(w, sig)
	if w != t && atomic.LoadUint64(&w.pending) != 0 {
		notify(wall.NotifyKick, i, 0, 0)
	}
	return 0
}

// kill sends a signal to the process: to the calling thread.
func kill(t *thread, p, sig uint64) uint64 {
	if p != pid && p != 0 {
		return errSrch
	}
	return tgkill(t, pid, t.tid(), sig)
}

// take removes the lowest deliverable signal and returns it, or 0.
func (t *thread) take() uint64 {
	for {
		old := atomic.LoadUint64(&t.pending)
		ready := old &^ t.sigmask
		if ready == 0 {
			return 0
		}
		bit := ready & -ready
		if atomic.CompareAndSwapUint64(&t.pending, old, old&^bit) {
			sig := uint64(1)
			for bit > 1 {
				bit >>= 1
				sig++
			}
			return sig
		}
	}
}

// The signal frame, from its lowest address. The order of siginfo and ucontext
// is ours; a handler gets pointers to both.
//
//	0    8    return address: the restorer
//	8    128  siginfo
//	136  304  ucontext
//	448  8    (padding)
//	...       XSAVE image, 64-byte aligned, if there is one
type sigframe struct {
	ret  uint64
	info siginfo
	uc   ucontext
}

type siginfo struct {
	signo, _, code, _ int32
	addr              uint64
	_                 [13]uint64
}

type ucontext struct {
	_       [2]uint64 // flags, link
	stack   altStack
	gregs   gregs
	fp      uint64
	_       [8]uint64
	sigmask uint64
}

// gregs is the register array of a ucontext.
type gregs struct {
	r8, r9, r10, r11, r12, r13, r14, r15 uint64
	di, si, bp, bx, dx, ax, cx, sp, ip   uint64
	flags, selectors, err, trap, _       uint64
	cr2                                  uint64
}

const (
	redZone     = 128
	frameSize   = 448
	xsaveSize   = 2688 // x87, SSE, AVX and AVX-512; nothing else is saved
	xsaveMask   = 0xe7
	userFlags   = 0x202
	userSegment = 0x33 // CS; FS, GS and SS are 0, 0, 0x2b
)

// push makes room for a frame of sig on the program's stack or signal stack,
// fills what does not depend on the registers and blocks what the handler wants
// blocked. It returns nil if there is no handler.
func (t *thread) push(sig, sp, fpSize uint64) *sigframe {
	a := &actions[sig]
	h := atomic.LoadUint64(&a.handler)
	if h == sigDefault || h == sigIgnore {
		return nil
	}
	flags := atomic.LoadUint64(&a.flags)
	low := uint64(0)
	top := sp - redZone
	if flags&saOnStack != 0 && t.altFlags&ssDisable == 0 && !t.onAltStack(sp) {
		top = t.altSP + t.altSize
	}
	if t.onAltStack(top - 1) {
		low = t.altSP
	}
	fp := (top - fpSize) &^ 63
	// The stack looks like after a CALL: 8 modulo 16.
	s := (fp-frameSize)&^15 - 8
	if s < low || s > top {
		return nil
	}
	zero(s, fp-s)
	fr := at[sigframe](s)
	fr.ret = atomic.LoadUint64(&a.restorer)
	fr.info.signo = int32(sig)
	fr.uc.stack = altStack{sp: t.altSP, flags: t.altFlags, size: t.altSize}
	fr.uc.sigmask = t.sigmask
	if fpSize != 0 {
		fr.uc.fp = fp
	}
	t.sigmask |= atomic.LoadUint64(&a.mask)
	if flags&saNoDefer == 0 {
		t.sigmask |= 1 << (sig - 1)
	}
	t.sigmask &^= unblockable
	return fr
}

// deliver gives a pending signal to the program at the end of a system call, by
// changing the frame that it returns to. It reports whether it has.
func deliver(f *frame, t *thread) bool {
	for {
		sig := t.take()
		if sig == 0 {
			return false
		}
		if ignored(sig) {
			continue
		}
		fr := t.push(sig, f.sp, 0)
		if fr == nil {
			exit(128 + sig)
		}
		fr.info.code = siTkill
		g := &fr.uc.gregs
		g.r8, g.r9, g.r10, g.r11 = f.r8, f.r9, f.r10, userFlags
		g.r12, g.r13, g.r14, g.r15 = f.r12, f.r13, f.r14, f.r15
		g.di, g.si, g.bp, g.bx, g.dx, g.ax, g.cx = f.di, f.si, f.bp, f.bx, f.dx, f.ax, f.ret
		g.sp, g.ip, g.flags, g.selectors = f.sp, f.ret, userFlags, userSegment
		f.ret = atomic.LoadUint64(&actions[sig].handler)
		f.sp = addrOf(fr)
		f.di, f.si, f.dx = sig, addrOf(&fr.info), addrOf(&fr.uc)
		return true
	}
}

// rtSigreturn goes back to what a signal interrupted. If the next signal is
// waiting already, its handler runs first, on the same frame.
func rtSigreturn(f *frame, t *thread) uint64 {
	fr := at[sigframe](f.sp - 8) // the handler's RET has taken the return address
	uc := &fr.uc
	g := &uc.gregs
	t.sigmask = uc.sigmask &^ unblockable
	if uc.fp != 0 {
		// Standard format, known features, the rest of the header zero.
		h := at[[8]uint64](uc.fp + 512)
		*h = [8]uint64{h[0] & xsaveMask & xfrm()}
		*at[uint32](uc.fp + 24) &= 0xffff
		xrstor(uc.fp)
	}
	*at[uint64](g.sp - 8) = g.ip
	*at[uint64](g.sp - 16) = g.flags & 0xcd5 // arithmetic flags and DF
	t.gregs = addrOf(g)
	for {
		g.sp -= 16
		sigreturn(^t.sigmask)
		g.sp += 16
		sig := t.take()
		if sig == 0 || ignored(sig) {
			continue
		}
		a := &actions[sig]
		f.ret = atomic.LoadUint64(&a.handler)
		if f.ret == sigDefault {
			exit(128 + sig)
		}
		fr.info = siginfo{signo: int32(sig), code: siTkill}
		t.sigmask |= (atomic.LoadUint64(&a.mask) | 1<<(sig-1)) &^ unblockable
		f.sp = addrOf(fr)
		f.di, f.si, f.dx = sig, addrOf(&fr.info), addrOf(uc)
		return sig
	}
}
