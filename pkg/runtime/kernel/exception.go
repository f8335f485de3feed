package kernel

import (
	"sync/atomic"

	wall "github.com/enclaveos/eos/pkg/wall"
)

// gprsgx is the register part of an SSA frame and the EXINFO below it (SDM
// 38.9.1, 38.9.2).
type gprsgx struct {
	ax, cx, dx, bx, sp, bp, si, di       uint64
	r8, r9, r10, r11, r12, r13, r14, r15 uint64
	flags, ip                            uint64
	_                                    [2]uint64 // URSP, URBP
	exitInfo                             uint32
	_                                    uint32
	_                                    [2]uint64 // FSBASE, GSBASE
}

type exInfo struct {
	addr uint64
	code uint32
	_    uint32
}

const (
	gprsgxSize = 184
	exInfoSize = 16
	exitValid  = 1 << 31
	encluSize  = 3
)

// Exception vectors.
const (
	vectorDE = 0
	vectorDB = 1
	vectorBP = 3
	vectorUD = 6
	vectorGP = 13
	vectorPF = 14
	vectorMF = 16
	vectorAC = 17
	vectorXM = 19
)

// exception looks at SSA frame 0 after an AEX. If the processor says that it was
// an exception of the program's own code, the frame is changed so that ERESUME
// goes on in the signal handler. If it was an interrupt, a pending signal may be
// delivered in the same way. Everything else stays as it is: the host may enter
// here at any time.
//
// It reports 1 to resume. 0 is an exception in the kernel, which ends it all.
func exception(t *thread) (resume, vector, ip, addr uint64) {
	ssa := t.block() + wall.BlockSSA
	top := ssa + wall.SSAFrameSize*pageSize
	g := at[gprsgx](top - gprsgxSize)
	x := at[exInfo](top - gprsgxSize - exInfoSize)
	if g.exitInfo&exitValid == 0 {
		interrupted(t, g, ssa)
		return 1, 0, 0, 0
	}
	vector = uint64(g.exitInfo & 0xff)
	g.exitInfo = 0 // handled once, however often the host enters
	if _, _, _, _, _, enclu, _ := text(); g.ip == enclu && vector != vectorUD {
		// EREPORT or EGETKEY with operands that the processor refuses.
		g.ax, g.ip = leafFault, enclu+encluSize
		return 1, 0, 0, 0
	}
	sig, code := uint64(0), int32(0)
	switch vector {
	case vectorPF:
		sig, code, addr = sigSegv, 1+int32(x.code&1), x.addr
	case vectorGP:
		sig, code = sigSegv, 0x80
	case vectorDE:
		sig, code = sigFPE, 1
	case vectorMF, vectorXM:
		sig, code = sigFPE, 7
	case vectorUD:
		sig, code = sigIll, 2
	case vectorDB, vectorBP:
		sig, code = sigTrap, 1
	case vectorAC:
		sig, code = sigBus, 1
	}
	if sig != 0 && t.userContext(g) && t.sigmask>>(sig-1)&1 == 0 {
		if fr := t.pushSSA(sig, g, ssa); fr != nil {
			fr.info.code = code
			fr.info.addr = addr
			fr.uc.gregs.trap, fr.uc.gregs.cr2, fr.uc.gregs.err = vector, addr, uint64(x.code)
			return 1, 0, 0, 0
		}
	}
	if boot().Flags&bootDebug == 0 {
		return 0, 0, 0, 0 // where it happened is nobody's business
	}
	return 0, vector, g.ip, addr
}

// interrupted delivers a pending signal, or sees to it that it is delivered.
func interrupted(t *thread, g *gprsgx, ssa uint64) {
	if !t.deliverable() || atomic.LoadUint32(&t.state) != stateBusy {
		return
	}
	_, _, ret, sigret, tail, _, _ := text()
	onBlock := g.sp-t.block() < wall.BlockSize
	switch {
	case onBlock && g.ip >= ret && g.ip < sigret:
		g.ip = ret // leave the kernel once more, and look at pending
		return
	case onBlock && g.ip >= sigret && g.ip < tail:
		if g.ip != sigret {
			resumeFrame(t, g) // past or at its test of pending
		}
	case g.ip == tail:
		g.ax = at[gregs](g.ax).ax
		fallthrough
	case g.ip == tail+4:
		g.flags = *at[uint64](g.sp) | userFlags
		g.sp += 8
		fallthrough
	case g.ip == tail+5:
		g.ip = *at[uint64](g.sp)
		g.sp += 8
	}
	if !t.userContext(g) {
		return
	}
	for {
		sig := t.take()
		if sig == 0 {
			return
		}
		if ignored(sig) {
			continue
		}
		if fr := t.pushSSA(sig, g, ssa); fr != nil {
			fr.info.code = siTkill
			return
		}
		// No handler: the end, which is not possible from here. It is made
		// pending again and ends the program at the next system call.
		raise(t, sig)
		return
	}
}

// resumeFrame does the rest of eosSigreturn.
func resumeFrame(t *thread, g *gprsgx) {
	r := at[gregs](t.gregs)
	g.r8, g.r9, g.r10, g.r11, g.r12, g.r13, g.r14, g.r15 = r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15
	g.di, g.si, g.bp, g.bx, g.dx, g.ax, g.cx = r.di, r.si, r.bp, r.bx, r.dx, r.ax, r.cx
	g.flags = *at[uint64](r.sp) | userFlags
	g.ip = *at[uint64](r.sp + 8)
	g.sp = r.sp + 16
}

// userContext reports whether the interrupted code is the program's: not the
// entry code, in which RSP may still be the host's choice, and not the kernel.
// The kernel's last instruction, the jump back, counts as done.
func (t *thread) userContext(g *gprsgx) bool {
	if atomic.LoadUint32(&t.state) != stateBusy {
		return false
	}
	b := boot()
	if g.sp-t.block() < wall.BlockSize || g.sp-b.Base >= b.Size {
		return false
	}
	lo, hi, ret, sigret, _, _, _ := text()
	if g.ip >= ret && g.ip < sigret {
		g.ip = g.cx
		return true
	}
	return g.ip < lo || g.ip >= hi
}

// pushSSA builds the frame of sig from an SSA frame and lets that go on in the
// handler.
func (t *thread) pushSSA(sig uint64, g *gprsgx, ssa uint64) *sigframe {
	fr := t.push(sig, g.sp, xsaveSize)
	if fr == nil {
		return nil
	}
	fp := fr.uc.fp
	move(fp, ssa, xsaveSize)
	r := &fr.uc.gregs
	r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15 = g.r8, g.r9, g.r10, g.r11, g.r12, g.r13, g.r14, g.r15
	r.di, r.si, r.bp, r.bx, r.dx, r.ax, r.cx = g.di, g.si, g.bp, g.bx, g.dx, g.ax, g.cx
	r.sp, r.ip, r.flags, r.selectors = g.sp, g.ip, g.flags, userSegment
	g.ip = atomic.LoadUint64(&actions[sig].handler)
	g.sp = addrOf(fr)
	g.di, g.si, g.dx = sig, addrOf(&fr.info), addrOf(&fr.uc)
	g.flags &^= 0x400 | 0x40000 // DF, AC
	return fr
}
