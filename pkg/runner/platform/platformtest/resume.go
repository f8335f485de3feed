package platformtest

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

func testResume(t *testing.T, p platform.Platform) {
	subtests(t, p, []subtest{
		{"handler", testHandler},
		{"registers are kept", testResumeRegisters},
		{"AVX is kept", testResumeAVX},
		{"FS and GS are kept", testResumeSegments},
		{"resume without handler", testResumeAgain},
		{"interrupt", testInterrupt},
		{"interrupt before", testInterruptBefore},
		{"interrupts while running", testInterrupts},
		{"host works while inside", testHostWorks},
	})
}

// ripOfFrame is where the first SSA frame has RIP.
const ripOfFrame = offSSA + sgx.PageSize - sgx.GPRSGXSize + 136

// skipUD2 is a handler that makes the interrupted code go on after its UD2 and
// exits with RDI = CSSA.
func skipUD2(a *asm) {
	a.lea("rdi", ripOfFrame)
	a.op("add qword ptr [rdi], 0x2", "mov rdi, rax")
	a.exit()
}

// The enclave's own handler repairs the frame at CSSA = 1, then ERESUME goes
// on. Done again and again, the frames do not run out.
func testHandler(t *testing.T, p platform.Platform) {
	e := newCode(func(a *asm) {
		a.op("ud2", "not rdi", "ud2", "not rsi", "ud2", "not rdx")
		a.exit()
	}, skipUD2).start(t, p)
	th := e.thread(t)
	for i := range uint64(50) {
		leaf := sgx.LeafEENTER
		for range 3 {
			x, err := th.Enter(offTCS, leaf, &platform.Regs{RDI: i, RSI: i, RDX: i})
			must(t, err)
			wantException(t, x, sgx.VectorUD)
			var r platform.Regs
			wantEEXIT(t, th, sgx.LeafEENTER, &r)
			if r.RDI != 1 {
				t.Fatalf("the handler has CSSA %d", r.RDI)
			}
			leaf = sgx.LeafERESUME
		}
		var r platform.Regs
		wantEEXIT(t, th, sgx.LeafERESUME, &r)
		if r.RDI != ^i || r.RSI != ^i || r.RDX != ^i {
			t.Fatalf("registers are %#x", r)
		}
	}
}

// Everything but RIP is after ERESUME as it was, whatever the host and the
// handler did in between; the host's registers at ERESUME do not get in.
func testResumeRegisters(t *testing.T, p platform.Platform) {
	const compare = offCode + 0x500
	e := newCode(func(a *asm) {
		a.op("mov r12, rcx")
		a.mov("rdi", 0x0123456789abcdef)
		a.mov("rsi", 0xfedcba9876543210)
		a.op("movq xmm0, rdi", "movq xmm15, rsi")
		for _, reg := range []string{"rdx", "rdi", "rsi", "r8", "r9", "r10"} {
			a.mov(reg, 0x1000+uint64(registers[reg]))
		}
		a.jump("jmp", compare)
		a.skipTo(compare)
		a.op("ud2")
		// RDX and R8 to R10 go out as they are, XMM in RDI and RSI.
		a.op("movq rdi, xmm0", "movq rsi, xmm15", "mov rbx, r12")
		a.mov("rax", 4)
		a.op("enclu", "ud2")
	}, func(a *asm) {
		a.lea("rdi", ripOfFrame)
		a.op("add qword ptr [rdi], 0x2")
		a.mov("rdi", 7)
		a.mov("rsi", 7)
		a.op("movq xmm0, rdi", "movq xmm15, rsi")
		a.mov("r8", 7)
		a.mov("r12", 7)
		a.exit()
	}).start(t, p)
	th := e.thread(t)
	wantException(t, enter(t, th, new(platform.Regs)), sgx.VectorUD)
	runtime.GC()
	wantEEXIT(t, th, sgx.LeafEENTER, new(platform.Regs))
	runtime.GC()
	r := platform.Regs{RDI: 9, RSI: 9, RDX: 9, R8: 9, R9: 9, R10: 9}
	wantEEXIT(t, th, sgx.LeafERESUME, &r)
	want := platform.Regs{RDI: 0x0123456789abcdef, RSI: 0xfedcba9876543210, RDX: 0x1002, R8: 0x1008, R9: 0x1009, R10: 0x100a}
	if r != want {
		t.Errorf("registers are %#x, want %#x", r, want)
	}
}

// With XFRM.AVX the upper halves of the vector registers are kept as well.
func testResumeAVX(t *testing.T, p platform.Platform) {
	caps := p.Caps()
	if caps.XFRM&sgx.XFRMAVX == 0 {
		t.Log("this platform has no AVX")
		return
	}
	im := newCode(func(a *asm) {
		a.lea("rdi", offConst)
		a.op("vmovdqu ymm0, ymmword ptr [rdi]", "vmovdqu ymm15, ymmword ptr [rdi]", "ud2")
		a.lea("rdi", offData)
		a.op("vmovdqu ymmword ptr [rdi], ymm0")
		a.lea("rdi", offData+32)
		a.op("vmovdqu ymmword ptr [rdi], ymm15", "vzeroupper")
		a.exit()
	}, func(a *asm) {
		a.lea("rdi", offGS)
		a.op("vmovdqu ymm0, ymmword ptr [rdi]", "vmovdqu ymm15, ymmword ptr [rdi]", "vzeroupper")
		skipUD2(a)
	})
	im.secs.Attributes.XFRM |= sgx.XFRMAVX
	if n := caps.XSAVESize(im.secs.Attributes.XFRM); n != 832 { // SDM vol. 1 13.4
		t.Errorf("XSAVE size with AVX is %d, want 832", n)
	}
	value := make([]byte, sgx.PageSize)
	for i := range value {
		value[i] = byte(i + 1)
	}
	im.page(offConst).data = value
	e := im.start(t, p)
	th := e.thread(t)
	wantException(t, enter(t, th, new(platform.Regs)), sgx.VectorUD)
	area := e.read(t, offSSA, 832)
	if bv := sgx.XFRM(binary.LittleEndian.Uint64(area[512:])); bv&sgx.XFRMAVX == 0 || bv&^im.secs.Attributes.XFRM != 0 {
		t.Errorf("XSTATE_BV is %s", bv)
	}
	if !bytes.Equal(area[160:176], value[:16]) || !bytes.Equal(area[576:592], value[16:32]) || !bytes.Equal(area[576+15*16:832], value[16:32]) {
		t.Error("YMM registers are not in the frame")
	}
	wantEEXIT(t, th, sgx.LeafEENTER, new(platform.Regs))
	wantEEXIT(t, th, sgx.LeafERESUME, new(platform.Regs))
	if got := e.read(t, offData, 64); !bytes.Equal(got[:32], value[:32]) || !bytes.Equal(got[32:], value[:32]) {
		t.Errorf("after ERESUME the registers are %x", got)
	}
}

// The bases that the enclave gives itself are in the frame and come back; the
// next entry has those of the TCS.
func testResumeSegments(t *testing.T, p platform.Platform) {
	e := newCode(func(a *asm) {
		a.lea("rdi", offConst)
		a.op("wrfsbase rdi", "ud2", "rdfsbase rdi", "mov rsi, qword ptr gs:[0x0]")
		a.exit()
	}, func(a *asm) {
		a.lea("rdi", ripOfFrame)
		a.op("add qword ptr [rdi], 0x2", "rdfsbase rdi")
		a.exit()
	}).start(t, p)
	th := e.thread(t)
	x := enter(t, th, new(platform.Regs))
	wantException(t, x, sgx.VectorUD)
	g := e.gpr(t, offSSA)
	if g.FSBase == e.base+offData {
		t.Log("the system has no FSGSBASE: WRFSBASE itself is #UD")
		return
	}
	if g.FSBase != e.base+offConst || g.GSBase != e.base+offGS {
		t.Errorf("the frame has FSBASE %#x, GSBASE %#x", g.FSBase-e.base, g.GSBase-e.base)
	}
	var r platform.Regs
	wantEEXIT(t, th, sgx.LeafEENTER, &r)
	if r.RDI != e.base+offData {
		t.Errorf("the handler has FS base %#x, want that of the TCS", r.RDI-e.base)
	}
	runtime.GC()
	wantEEXIT(t, th, sgx.LeafERESUME, &r)
	if r.RDI != e.base+offConst || r.RSI != markGS {
		t.Errorf("after ERESUME the FS base is %#x, gs:[0] %#x", r.RDI-e.base, r.RSI)
	}
}

// ERESUME without a repair meets the same exception.
func testResumeAgain(t *testing.T, p platform.Platform) {
	e := faulting(nothing, "ud2").start(t, p)
	th := e.thread(t)
	wantException(t, enter(t, th, new(platform.Regs)), sgx.VectorUD)
	for range 5 {
		x, err := th.Enter(offTCS, sgx.LeafERESUME, new(platform.Regs))
		must(t, err)
		wantException(t, x, sgx.VectorUD)
		wantFrame(t, e, sgx.VectorUD, offFault)
	}
}

// A thread that spins comes out, and goes on when it is resumed.
func testInterrupt(t *testing.T, p platform.Platform) {
	e := spinner().start(t, p)
	threads, done := e.enterElsewhere(sgx.LeafEENTER, platform.Regs{RDI: 5})
	th := <-threads
	e.waitInside(t)
	th.Interrupt()
	o := <-done
	if o.err != nil || o.exit.Kind != platform.ExitInterrupt {
		t.Fatalf("%v, left by %s, want an interrupt", o.err, o.exit)
	}
	// An interrupt is not told to the enclave.
	if g := e.gpr(t, offSSA); g.ExitInfo != 0 || g.R10 != ^uint64(5) || g.RIP-e.base < offCode || g.RIP-e.base >= offCode+0x1000 {
		t.Errorf("EXITINFO %#x, R10 %#x, RIP %#x", uint32(g.ExitInfo), g.R10, g.RIP-e.base)
	}
	// Any goroutine may resume it, on another OS thread.
	e.release(t)
	_, done = e.enterElsewhere(sgx.LeafERESUME, platform.Regs{RDI: 77})
	(<-done).wantEEXIT(t, ^uint64(5))
	th.Interrupt() // after Close: nothing
}

// Interrupt is not lost if it comes before the entry.
func testInterruptBefore(t *testing.T, p platform.Platform) {
	e := spinner().start(t, p)
	th := e.thread(t)
	th.Interrupt()
	x := enter(t, th, new(platform.Regs))
	if x.Kind != platform.ExitInterrupt {
		t.Fatalf("left by %s, want an interrupt", x)
	}
	// One Interrupt is one exit.
	e.release(t)
	wantEEXIT(t, th, sgx.LeafERESUME, new(platform.Regs))
}

// Interrupts at random instructions do no harm: a thread counts to a number
// and is interrupted and resumed all the time.
func testInterrupts(t *testing.T, p platform.Platform) {
	const loop = offCode + 0x100
	e := newCode(func(a *asm) {
		a.lea("rdi", offData)
		a.jump("jmp", loop)
		a.skipTo(loop)
		a.op("inc qword ptr [rdi]", "dec rdx", "test rdx, rdx")
		a.jump("jne", loop)
		a.exit()
	}, nil).start(t, p)
	th := e.thread(t)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				th.Interrupt()
				time.Sleep(20 * time.Microsecond)
			}
		}
	}()
	const rounds, count = 20, 2_000_000
	interrupts, pending := 0, false // pending: a frame waits for ERESUME
	for done := 0; done < rounds; {
		leaf := sgx.LeafEENTER
		if pending {
			leaf = sgx.LeafERESUME
		}
		x, err := th.Enter(offTCS, leaf, &platform.Regs{RDX: count})
		must(t, err)
		runtime.Gosched() // so that the interrupter runs with one P, too
		switch x.Kind {
		case platform.ExitEEXIT:
			pending = false
			done++
		case platform.ExitInterrupt:
			interrupts++
			pending = true
		default:
			t.Fatalf("left by %s", x)
		}
	}
	close(stop)
	<-stopped
	if n := e.read64(t, offData) - markData; n != rounds*count {
		t.Errorf("the enclave counted to %d, want %d", n, rounds*count)
	}
	if interrupts == 0 {
		t.Error("no interrupt arrived")
	}
}

// The host's garbage collector, timers and other goroutines go on while a
// thread is inside for long.
func testHostWorks(t *testing.T, p platform.Platform) {
	e := spinner().start(t, p)
	_, done := e.enterElsewhere(sgx.LeafEENTER, platform.Regs{RDI: 1})
	e.waitInside(t)
	for range 10 {
		runtime.GC()
		time.Sleep(time.Millisecond)
		garbage := make([][]byte, 100)
		for i := range garbage {
			garbage[i] = make([]byte, 10_000)
		}
	}
	select {
	case o := <-done:
		t.Fatalf("the thread came out: %v, %s", o.err, o.exit)
	default:
	}
	e.release(t)
	(<-done).wantEEXIT(t, ^uint64(1))
}
