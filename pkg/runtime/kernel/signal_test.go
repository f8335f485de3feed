package kernel

import (
	"testing"

	wall "github.com/enclaveos/eos/pkg/wall"
)

const (
	testHandler  = 0x400100
	testRestorer = 0x400200
)

// signals makes thread 0 one that has a signal stack, in the program, with a
// handler for sig.
func (e *enclave) signals(t *testing.T, sigs ...uint64) *thread {
	t.Helper()
	e.boot(t)
	th := threadAt(0)
	th.state = stateBusy
	th.altSP, th.altSize, th.altFlags = e.user(t, 32<<10), 32<<10, 0
	for _, s := range sigs {
		actions[s] = sigaction{testHandler, saOnStack | 4, testRestorer, ^uint64(0)}
	}
	machine.text = [7]uint64{e.Base + 0x10000, e.Base + 0x12000, e.Base + 0x11000, e.Base + 0x11100, e.Base + 0x11180, e.Base + 0x11200}
	return th
}

func testFrame(sp uint64) frame {
	return frame{ax: 1, di: 2, si: 3, dx: 4, r10: 5, r8: 6, r9: 7, ret: 0x400000, sp: sp, bx: 8, bp: 9, r12: 12, r13: 13, r14: 14, r15: 15}
}

func TestDeliverAndReturn(t *testing.T) {
	e := newEnclave(t)
	th := e.signals(t, sigUrg, sigTerm)
	sp := e.StackHi - 256
	f := testFrame(sp)
	was := f
	if deliver(&f, th) || f != was {
		t.Fatal("delivered nothing")
	}
	raise(th, sigTerm)
	raise(th, sigUrg)
	if !deliver(&f, th) {
		t.Fatal("not delivered")
	}
	fr := at[sigframe](f.sp)
	if f.ret != testHandler || f.di != sigTerm || f.si != addrOf(&fr.info) || f.dx != addrOf(&fr.uc) || f.sp%16 != 8 ||
		f.sp-th.altSP >= th.altSize || fr.ret != testRestorer || fr.info.signo != sigTerm {
		t.Errorf("frame %+v, %+v", f, fr.info)
	}
	if th.sigmask != ^uint64(unblockable) || th.pending != 1<<(sigUrg-1) {
		t.Errorf("blocked %#x, pending %#x", th.sigmask, th.pending)
	}
	if h := f; deliver(&f, th) || f != h {
		t.Error("a blocked signal was delivered")
	}
	// The handler returns: the next signal runs on the same frame.
	f.sp += 8
	restored := 0
	machine.sigreturn = func(unblocked uint64) {
		if th.pending&unblocked == 0 {
			restored++
			panic(exitPanic{})
		}
	}
	rtSigreturn(&f, th)
	if f.ret != testHandler || f.di != sigUrg || fr.info.signo != sigUrg || restored != 0 {
		t.Errorf("second signal: %+v", f)
	}
	f.sp += 8
	ends(t, func() { rtSigreturn(&f, th) })
	g := at[gregs](th.gregs)
	if g.r8 != 6 || g.di != 2 || g.ax != 1 || g.bx != 8 || g.r15 != 15 || g.sp != sp-16 || load(sp-8) != 0x400000 || load(sp-16) != userFlags&0xcd5 {
		t.Errorf("goes back to %+v, flags %#x, ip %#x", g, load(sp-16), load(sp-8))
	}
	if th.sigmask != 0 {
		t.Errorf("blocked after the return: %#x", th.sigmask)
	}
}

func TestSignalsWithoutHandler(t *testing.T) {
	e := newEnclave(t)
	th := e.signals(t)
	f := testFrame(e.StackHi - 256)
	for _, s := range []uint64{sigUrg, sigChld, sigWinch} {
		raise(th, s)
	}
	if th.pending != 0 || deliver(&f, th) {
		t.Errorf("pending: %#x", th.pending)
	}
	actions[sigTerm].handler = sigIgnore
	if tgkill(th, pid, pid, sigTerm); th.pending != 0 {
		t.Error("an ignored signal is pending")
	}
	actions[sigTerm].handler = sigDefault
	tgkill(th, pid, pid, sigTerm)
	if code := ends(t, func() { deliver(&f, th) }); code != 128+sigTerm {
		t.Errorf("SIGTERM ends with %d", code)
	}
}

func TestTgkill(t *testing.T) {
	e := newEnclave(t)
	th := e.signals(t, sigUrg)
	other := threadAt(2)
	other.state = stateBusy
	for _, c := range []struct {
		what           string
		tgid, tid, sig uint64
		want           uint64
	}{
		{"other process", 5, pid, sigUrg, errSrch},
		{"no such thread", pid, pid + 99, sigUrg, errSrch},
		{"number below", pid, 3, sigUrg, errSrch},
		{"the doorway", pid, pid + testThreads, sigUrg, errSrch},
		{"idle thread", pid, pid + 5, sigUrg, errSrch},
		{"no such signal", pid, pid + 2, 65, errInval},
		{"just asking", pid, pid + 2, 0, 0},
		{"another thread", pid, pid + 2, sigUrg, 0},
	} {
		if r := tgkill(th, c.tgid, c.tid, c.sig); r != c.want {
			t.Errorf("%s: %d", c.what, int64(r))
		}
	}
	if other.pending != 1<<(sigUrg-1) || len(e.ocalls) != 1 || e.ocalls[0].kind != uint64(wall.NotifyKick) || e.ocalls[0].a1 != 2 {
		t.Errorf("pending %#x, OCALLs %v", other.pending, e.ocalls)
	}
}

func TestSigprocmask(t *testing.T) {
	e := newEnclave(t)
	th := e.signals(t)
	p := e.user(t, pageSize)
	for _, c := range []struct{ how, set, want uint64 }{
		{2, 0xf0, 0xf0}, {0, 0x0f, 0xff}, {1, 0x18, 0xe7}, {2, ^uint64(0), ^uint64(unblockable)},
	} {
		was := th.sigmask
		store(p, c.set)
		if r := rtSigprocmask(th, c.how, p, p+8); r != 0 || th.sigmask != c.want&^uint64(unblockable) || load(p+8) != was {
			t.Errorf("%+v: %d, mask %#x", c, int64(r), th.sigmask)
		}
	}
	if r := rtSigprocmask(th, 3, p, 0); r != errInval {
		t.Errorf("how 3: %d", int64(r))
	}
	for _, s := range []uint64{0, sigKill, sigStop, 65} {
		if r := rtSigaction(s, 0, 0); r != errInval {
			t.Errorf("sigaction of %d: %d", s, int64(r))
		}
	}
}

// ssa returns the frame that an AEX of th has filled.
func (th *thread) ssa() (*gprsgx, *exInfo) {
	top := th.block() + wall.BlockSSA + pageSize
	return at[gprsgx](top - gprsgxSize), at[exInfo](top - gprsgxSize - exInfoSize)
}

func TestException(t *testing.T) {
	e := newEnclave(t)
	th := e.signals(t, sigSegv, sigFPE, sigIll, sigTrap, sigBus)
	g, x := th.ssa()
	sp, ip := e.StackHi-512, e.Base+0x500000
	user := gprsgx{ax: 1, sp: sp, ip: ip, flags: 0x40646, r9: 9}
	for _, c := range []struct {
		vector uint32
		code   uint32
		signo  int32
		sicode int32
		addr   uint64
	}{
		{vectorPF, 4, sigSegv, 1, 0x18}, {vectorPF, 7, sigSegv, 2, 0x1000}, {vectorGP, 0, sigSegv, 0x80, 0},
		{vectorDE, 0, sigFPE, 1, 0}, {vectorXM, 0, sigFPE, 7, 0}, {vectorUD, 0, sigIll, 2, 0}, {vectorBP, 0, sigTrap, 1, 0}, {vectorAC, 0, sigBus, 1, 0},
	} {
		*g = user
		g.exitInfo = exitValid | 3<<8 | c.vector
		*x = exInfo{addr: c.addr, code: c.code}
		put(th.block()+wall.BlockSSA+160, "the vector registers")
		th.sigmask = 0
		resume, _, _, _ := exception(th)
		if resume != 1 || g.ip != testHandler || g.di != uint64(c.signo) || g.exitInfo != 0 || g.flags != 0x246 {
			t.Errorf("vector %d: %d, %+v", c.vector, resume, g)
			continue
		}
		fr := at[sigframe](g.sp)
		if fr.info.signo != c.signo || fr.info.code != c.sicode || fr.info.addr != c.addr || fr.uc.gregs.ip != ip || fr.uc.gregs.sp != sp ||
			fr.uc.gregs.r9 != 9 || fr.uc.fp%64 != 0 || string(span(fr.uc.fp+160, 20)) != "the vector registers" || g.sp%16 != 8 {
			t.Errorf("vector %d: %+v", c.vector, fr)
		}
		// The host enters again: nothing more happens.
		was := *g
		if resume, _, _, _ := exception(th); resume != 1 || *g != was {
			t.Errorf("vector %d: handled twice", c.vector)
		}
	}
}

// An exception that is not the program's own ends everything, and says where
// only if the image is for debugging.
func TestExceptionNotOfTheProgram(t *testing.T) {
	e := newEnclave(t)
	th := e.signals(t, sigSegv)
	g, x := th.ssa()
	user := gprsgx{sp: e.StackHi - 512, ip: e.Base + 0x500000, exitInfo: exitValid | 3<<8 | vectorPF}
	*x = exInfo{addr: 0x18, code: 4}
	for _, c := range []struct {
		what string
		edit func()
	}{
		{"on the kernel stack", func() { g.sp = th.block() + wall.BlockKStack + 4096 }},
		{"on the exception stack", func() { g.sp = th.block() + wall.BlockEStack + 4096 }},
		{"in the entry code, with the host's RSP", func() { g.ip = machine.text[0] + 8; g.sp = e.StackHi - 512 }},
		{"RSP outside", func() { g.sp = e.Base - 4096 }},
		{"during an OCALL", func() { th.state = stateOcall }},
		{"signal blocked", func() { th.sigmask = 1 << (sigSegv - 1) }},
		{"no handler", func() { actions[sigSegv].handler = sigDefault }},
		{"vector nobody knows", func() { g.exitInfo = exitValid | 3<<8 | 18 }},
	} {
		*g = user
		th.state, th.sigmask = stateBusy, 0
		actions[sigSegv].handler = testHandler
		c.edit()
		want := *g
		want.exitInfo = 0
		resume, vector, ip, _ := exception(th)
		if resume != 0 || vector == 0 || ip != g.ip || *g != want {
			t.Errorf("%s: %d, vector %d, %+v", c.what, resume, vector, g)
		}
	}
	// EREPORT and EGETKEY may fault: they then return all ones.
	*g = user
	g.ip, g.sp = machine.text[5], th.block()+wall.BlockKStack+4096
	if resume, _, _, _ := exception(th); resume != 1 || g.ip != machine.text[5]+3 || g.ax != leafFault {
		t.Errorf("a faulting leaf: %d, %+v", resume, g)
	}
	*g = user
	th.sigmask = ^uint64(0)
	e.Flags = 0
	if resume, vector, ip, addr := exception(th); resume|vector|ip|addr != 0 {
		t.Errorf("a production image says %d %#x %#x", vector, ip, addr)
	}
}

// An interrupt with a pending signal, at every kind of place.
func TestInterrupted(t *testing.T) {
	e := newEnclave(t)
	th := e.signals(t, sigUrg)
	g, _ := th.ssa()
	_, hi, ret, sigret, tail, _, _ := text()
	lo := machine.text[0]
	stack := e.StackHi - 512
	kernel := th.block() + wall.BlockKStack + 4096
	regs := e.user(t, pageSize) // of a sigreturn
	*at[gregs](regs) = gregs{r8: 8, ax: 77, cx: 5, sp: stack - 16}
	th.gregs = regs
	restore := func() { // what rtSigreturn has put there
		store(stack-8, e.Base+0x600000)
		store(stack-16, 0x44)
	}
	type result struct {
		delivered bool
		ip, sp    uint64 // of the program
		ax        uint64
	}
	for _, c := range []struct {
		what   string
		ip, sp uint64
		ax, cx uint64
		want   result
	}{
		{"in the program", e.Base + 0x500000, stack, 1, 0, result{true, e.Base + 0x500000, stack, 1}},
		{"in the kernel", e.Base + 0x480000, kernel, 1, 0, result{false, e.Base + 0x480000, kernel, 1}},
		{"in the entry code", lo + 5, stack, 1, 0, result{false, lo + 5, stack, 1}},
		{"in the entry code, RSP outside", lo + 5, e.Base - 512, 1, 0, result{false, lo + 5, e.Base - 512, 1}},
		{"behind eosRet's test", ret + 40, kernel, 1, 0, result{false, ret, kernel, 1}},
		{"at eosRet's jump", ret + 80, stack, 1, e.Base + 0x700000, result{true, e.Base + 0x700000, stack, 1}},
		{"at sigreturn's test", sigret, kernel, 1, 0, result{false, sigret, kernel, 1}},
		{"behind sigreturn's test", sigret + 30, kernel, 1, 0, result{true, e.Base + 0x600000, stack, 77}},
		{"at sigreturn's last load", tail, stack - 16, regs, 0, result{true, e.Base + 0x600000, stack, 77}},
		{"at its POPFQ", tail + 4, stack - 16, 77, 0, result{true, e.Base + 0x600000, stack, 77}},
		{"at its RET", tail + 5, stack - 8, 77, 0, result{true, e.Base + 0x600000, stack, 77}},
		{"in the last of the kernel's code", hi - 1, stack, 1, 0, result{false, hi - 1, stack, 1}},
	} {
		restore()
		*g = gprsgx{ip: c.ip, sp: c.sp, ax: c.ax, cx: c.cx}
		th.pending, th.sigmask = 1<<(sigUrg-1), 0
		if resume, _, _, _ := exception(th); resume != 1 {
			t.Errorf("%s: gives up", c.what)
		}
		got := result{false, g.ip, g.sp, g.ax}
		if g.ip == testHandler {
			u := &at[sigframe](g.sp).uc.gregs
			got = result{true, u.ip, u.sp, u.ax}
		}
		if got != c.want || (th.pending == 0) != got.delivered {
			t.Errorf("%s: %+v, want %+v, pending %#x", c.what, got, c.want, th.pending)
		}
	}
	// Nothing pending, or blocked, or during an OCALL: the frame stays.
	for _, edit := range []func(){
		func() { th.pending = 0 },
		func() { th.sigmask = ^uint64(0) },
		func() { th.state = stateOcall },
	} {
		*g = gprsgx{ip: e.Base + 0x500000, sp: stack}
		was := *g
		th.pending, th.sigmask, th.state = 1<<(sigUrg-1), 0, stateBusy
		edit()
		if exception(th); *g != was {
			t.Errorf("changed to %+v", g)
		}
	}
}
