package platformtest

import (
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

func testException(t *testing.T, p platform.Platform) {
	subtests(t, p, []subtest{
		{"vectors", testVectors},
		{"illegal in an enclave", testIllegal},
		{"frame", testFrame},
		{"page fault information", testEXINFO},
		{"alignment check", testAlignmentCheck},
		{"host floating point", testHostFloat},
		{"frames run out", testFramesRunOut},
		{"one frame", testOneFrame},
		{"frames of two pages", testLargeFrame},
	})
}

// offFault is where the code of a fault test has its faulting instruction.
const offFault = offCode + 0x400

// faulting is an enclave that prepares, jumps to offFault and executes op.
func faulting(prepare func(a *asm), op ...string) *image {
	return newCode(func(a *asm) {
		prepare(a)
		a.jump("jmp", offFault)
		a.skipTo(offFault)
		a.op(op...)
	}, nil)
}

func nothing(*asm) {}

// wantException wants an exit by an exception.
func wantException(t testing.TB, x platform.Exit, vector uint8) {
	t.Helper()
	if x.Kind != platform.ExitException || x.Vector != vector {
		t.Fatalf("left by %s, want %s", x, sgx.VectorName(vector))
	}
}

// wantFrame wants the first SSA frame to tell of the exception at RIP rip, an
// offset.
func wantFrame(t testing.TB, e *enclave, vector uint8, rip ...uint64) {
	t.Helper()
	g := e.gpr(t, offSSA)
	if want := sgx.NewExitInfo(vector, e.SECS().MiscSelect); g.ExitInfo != want {
		t.Errorf("EXITINFO is %#x, want %#x", uint32(g.ExitInfo), uint32(want))
	}
	for _, r := range rip {
		if g.RIP == e.base+r {
			return
		}
	}
	t.Errorf("RIP is %#x, want one of %#x", g.RIP-e.base, rip)
}

func testVectors(t *testing.T, p platform.Platform) {
	for _, v := range []struct {
		name    string
		prepare func(a *asm)
		op      []string
		vector  uint8
		rip     []uint64
	}{
		{"divide", func(a *asm) { a.op("xor eax, eax", "xor edx, edx") }, []string{"div eax"}, sgx.VectorDE, []uint64{offFault}},
		{"undefined", nothing, []string{"ud2"}, sgx.VectorUD, []uint64{offFault}},
		// After an entry without debug opt-in the SDM has INT3 report its own
		// address, a processor outside of enclaves the next one.
		{"breakpoint", nothing, []string{"int3"}, sgx.VectorBP, []uint64{offFault, offFault + 1}},
		{"not canonical", func(a *asm) { a.mov("rax", 1<<63) }, []string{"mov rax, qword ptr [rax]"}, sgx.VectorGP, []uint64{offFault}},
		{"privileged", nothing, []string{"hlt"}, sgx.VectorGP, []uint64{offFault}},
		{"null", func(a *asm) { a.op("xor eax, eax") }, []string{"mov rax, qword ptr [rax]"}, sgx.VectorPF, []uint64{offFault}},
		// Zero divide unmasked (bit 2 of the control word): reported by the
		// next waiting instruction.
		{"x87", func(a *asm) {
			a.mov("rax", 0x037b)
			a.lea("rdi", offData)
			a.op("mov qword ptr [rdi], rax", "fninit", "fldcw word ptr [rdi]", "fld1", "fldz", "fdivp st1, st0")
		}, []string{"fwait"}, sgx.VectorMF, []uint64{offFault}},
		// Invalid operation unmasked (bit 7 of MXCSR).
		{"SIMD", func(a *asm) {
			a.mov("rax", 0x1f00)
			a.lea("rdi", offData)
			a.op("mov qword ptr [rdi], rax", "ldmxcsr dword ptr [rdi]", "xorps xmm0, xmm0")
		}, []string{"divss xmm0, xmm0"}, sgx.VectorXM, []uint64{offFault}},
	} {
		t.Run(v.name, func(t *testing.T) {
			e := faulting(v.prepare, v.op...).start(t, p)
			th := e.thread(t)
			x := enter(t, th, new(platform.Regs))
			wantException(t, x, v.vector)
			wantFrame(t, e, v.vector, v.rip...)
			if v.vector != sgx.VectorPF && x.Addr != 0 {
				t.Errorf("address is %#x", x.Addr)
			}
			if v.vector == sgx.VectorPF && (x.Addr >= sgx.PageSize || x.ErrorCode&^0x8000 != 4) {
				t.Errorf("address %#x, error code %#x, want 0 and 4", x.Addr, x.ErrorCode)
			}
			// The thread can be entered at the next frame.
			var r platform.Regs
			wantEEXIT(t, th, sgx.LeafEENTER, &r)
			if r.RDI != 1 {
				t.Errorf("CSSA is %d, want 1", r.RDI)
			}
		})
	}
}

// Instructions that a processor refuses inside an enclave only (SDM 39.6.1).
func testIllegal(t *testing.T, p platform.Platform) {
	for _, op := range []string{"syscall", "cpuid", "int 0x80", "int 0x20"} {
		t.Run(op, func(t *testing.T) {
			// A system call that would be seen: exit_group(0).
			e := faulting(func(a *asm) { a.mov("rax", 231); a.op("xor edx, edx"); a.mov("rdi", 0) }, op).start(t, p)
			x := enter(t, e.thread(t), new(platform.Regs))
			wantException(t, x, sgx.VectorUD)
			wantFrame(t, e, sgx.VectorUD, offFault)
			if g := e.gpr(t, offSSA); g.RAX != 231 {
				t.Errorf("RAX in the frame is %#x, want %#x", g.RAX, 231)
			}
		})
	}
	for name, leaf := range map[string]uint64{"EENTER": uint64(sgx.LeafEENTER), "ERESUME": uint64(sgx.LeafERESUME), "99": 99, "EEXIT with high bits": 1<<31 + 4} {
		t.Run("ENCLU "+name, func(t *testing.T) {
			e := faulting(func(a *asm) { a.mov("rax", leaf) }, "enclu").start(t, p)
			x := enter(t, e.thread(t), new(platform.Regs))
			wantException(t, x, sgx.VectorGP)
			wantFrame(t, e, sgx.VectorGP, offFault)
		})
	}
	if !p.Caps().SGX2 {
		e := faulting(func(a *asm) { a.mov("rax", uint64(sgx.LeafEACCEPT)) }, "enclu").start(t, p)
		if x := enter(t, e.thread(t), new(platform.Regs)); x.Kind != platform.ExitException || x.Vector != sgx.VectorUD && x.Vector != sgx.VectorGP {
			t.Errorf("EACCEPT: left by %s, want #UD or #GP", x)
		}
	}
}

// All registers are in the frame, and the host has its own again.
func testFrame(t *testing.T, p platform.Platform) {
	e := newCode(func(a *asm) {
		a.mov("rdi", 0x0123456789abcdef)
		a.mov("rsi", 0xfedcba9876543210)
		a.op("movq xmm0, rdi", "movq xmm15, rsi", "stc")
		for reg, n := range registers {
			a.mov(reg, 0xabcd_0000+uint64(n))
		}
		a.jump("jmp", offFault)
		a.skipTo(offFault)
		a.op("ud2")
	}, nil).start(t, p)
	th := e.thread(t)
	for range 2 {
		x, err := th.Enter(offTCS, sgx.LeafEENTER, new(platform.Regs))
		must(t, err)
		if x.Kind == platform.ExitEEXIT {
			break // the second time, at CSSA = 1
		}
		wantException(t, x, sgx.VectorUD)
		runtime.GC()
	}
	g := e.gpr(t, offSSA)
	for i, v := range []uint64{g.RAX, g.RCX, g.RDX, g.RBX, g.RSP, g.RBP, g.RSI, g.RDI, g.R8, g.R9, g.R10, g.R11, g.R12, g.R13, g.R14, g.R15} {
		if v != 0xabcd_0000+uint64(i) {
			t.Errorf("register %d in the frame is %#x", i, v)
		}
	}
	if g.RIP != e.base+offFault {
		t.Errorf("RIP is %#x", g.RIP)
	}
	const carry, always, ifFlag = 1, 2, 0x200
	if g.RFLAGS&(carry|always|ifFlag) != carry|always|ifFlag {
		t.Errorf("RFLAGS is %#x, want CF and IF set", g.RFLAGS)
	}
	if g.FSBase != e.base+offData || g.GSBase != e.base+offGS {
		t.Errorf("FSBASE %#x, GSBASE %#x, want %#x and %#x", g.FSBase, g.GSBase, e.base+offData, e.base+offGS)
	}
	if g.URSP-e.base < imageSize || g.URSP == 0xabcd_0004 {
		t.Errorf("URSP is %#x, want the host's", g.URSP)
	}
	// The XSAVE area: XMM registers from byte 160 (SDM vol. 1 13.4.1), the
	// header's XSTATE_BV at 512 with nothing outside XFRM, XCOMP_BV zero.
	area := e.read(t, offSSA, 576)
	if v := binary.LittleEndian.Uint64(area[160:]); v != 0x0123456789abcdef {
		t.Errorf("XMM0 in the frame is %#x", v)
	}
	if v := binary.LittleEndian.Uint64(area[160+15*16:]); v != 0xfedcba9876543210 {
		t.Errorf("XMM15 in the frame is %#x", v)
	}
	if v := sgx.XFRM(binary.LittleEndian.Uint64(area[512:])); v&^sgx.XFRMLegacy != 0 || v&sgx.XFRMSSE == 0 {
		t.Errorf("XSTATE_BV is %s", v)
	}
	if v := binary.LittleEndian.Uint64(area[520:]); v != 0 {
		t.Errorf("XCOMP_BV is %#x, want 0 (standard form)", v)
	}
}

// With MISCSELECT.EXINFO the frame has the address and the error code.
func testEXINFO(t *testing.T, p platform.Platform) {
	if p.Caps().MiscSelect&sgx.MiscEXINFO == 0 {
		t.Log("this platform has no MISCSELECT.EXINFO")
		return
	}
	for name, v := range map[string]struct {
		addr   uint64 // an offset if below the size
		vector uint8
		code   uint32
	}{
		"outside":       {0x10_0010, sgx.VectorPF, 4},
		"not canonical": {1 << 63, sgx.VectorGP, 0},
	} {
		im := faulting(func(a *asm) { a.mov("rax", v.addr) }, "mov rax, qword ptr [rax]")
		im.secs.MiscSelect = sgx.MiscEXINFO
		e := im.start(t, p)
		th, err := e.NewThread()
		must(t, err)
		x, err := th.Enter(offTCS, sgx.LeafEENTER, new(platform.Regs))
		th.Close()
		must(t, err)
		wantException(t, x, v.vector)
		wantFrame(t, e, v.vector, offFault)
		b := e.read(t, offSSA+sgx.PageSize-sgx.GPRSGXSize-sgx.EXINFOSize, sgx.EXINFOSize)
		addr, code := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint32(b[8:])
		if v.vector == sgx.VectorGP {
			v.addr = 0
		}
		if addr != v.addr || code&^0x8000 != v.code || binary.LittleEndian.Uint32(b[12:]) != 0 {
			t.Errorf("%s: EXINFO is %x, want MADDR %#x, ERRCD %#x", name, b, v.addr, v.code)
		}
	}
}

// An enclave may set RFLAGS.AC. It must not stay set in the host, whose code
// is not made for it.
func testAlignmentCheck(t *testing.T, p platform.Platform) {
	e := faulting(func(a *asm) {
		a.lea("rsp", offStack+0x800)
		a.op("pushfq", "or dword ptr [rsp], 0x40000", "popfq")
		a.lea("rdi", offData+1)
	}, "mov eax, dword ptr [rdi]").start(t, p)
	th := e.thread(t)
	x := enter(t, th, new(platform.Regs))
	wantException(t, x, sgx.VectorAC)
	wantFrame(t, e, sgx.VectorAC, offFault)
	if g := e.gpr(t, offSSA); g.RFLAGS&0x40000 == 0 {
		t.Errorf("RFLAGS in the frame is %#x, want AC set", g.RFLAGS)
	}
	b := make([]byte, 9)
	for i := range 2 {
		if v := binary.LittleEndian.Uint64(b[i:]); v != 0 { // unaligned in the host
			t.Error(v)
		}
	}
	runtime.GC()
}

// An enclave that unmasks floating-point exceptions and is left by another
// leaves the host's arithmetic alone.
func testHostFloat(t *testing.T, p platform.Platform) {
	e := faulting(func(a *asm) {
		a.mov("rax", 0x0000_0000)
		a.lea("rdi", offData)
		a.op("mov qword ptr [rdi], rax", "ldmxcsr dword ptr [rdi]")
	}, "ud2").start(t, p)
	x := enter(t, e.thread(t), new(platform.Regs))
	wantException(t, x, sgx.VectorUD)
	zero := float64(len(e.read(t, offConst, 0)))
	if v := 1 / zero; !math.IsInf(v, 1) {
		t.Errorf("1/0 is %v", v)
	}
	if v := 1.0 / 3.0 * (zero + 1); v != 1.0/3.0 { // inexact
		t.Error(v)
	}
	if got := binary.LittleEndian.Uint32(e.read(t, offSSA+24, 4)); got != 0 {
		t.Errorf("MXCSR in the frame is %#x, want 0", got)
	}
}

// Each exception takes a frame; when none is left EENTER is refused and
// ERESUME still works.
func testFramesRunOut(t *testing.T, p platform.Platform) {
	e := newCode(func(a *asm) { a.op("ud2") }, func(a *asm) { a.op("ud2") }).start(t, p)
	th := e.thread(t)
	for range 2 {
		wantException(t, enter(t, th, new(platform.Regs)), sgx.VectorUD)
	}
	for range 2 {
		x, err := th.Enter(offTCS, sgx.LeafEENTER, new(platform.Regs))
		if err == nil {
			t.Fatalf("entered at CSSA = NSSA, left by %s", x)
		}
		if errors.Is(err, platform.ErrBusy) {
			t.Errorf("error is %v, but the TCS is not busy", err)
		}
	}
	if a, b := e.gpr(t, offSSA), e.gpr(t, offSSA+0x1000); a.RIP == b.RIP || a.RAX != 0 || b.RAX != 1 {
		t.Errorf("the frames have RIP %#x and %#x, RAX %d and %d", a.RIP, b.RIP, a.RAX, b.RAX)
	}
	// The frame that is resumed faults again, into the same frame.
	for range 2 {
		x, err := th.Enter(offTCS, sgx.LeafERESUME, new(platform.Regs))
		must(t, err)
		wantException(t, x, sgx.VectorUD)
	}
}

// With NSSA = 1, as compilers' run-times have it, an exception is the end: no
// entry until somebody resumes.
func testOneFrame(t *testing.T, p platform.Platform) {
	im := newCode(func(a *asm) { a.op("ud2") }, nil)
	im.tcs(offTCS, func(x *sgx.TCS) { x.NSSA = 1 })
	e := im.start(t, p)
	th := e.thread(t)
	wantException(t, enter(t, th, new(platform.Regs)), sgx.VectorUD)
	if x, err := th.Enter(offTCS, sgx.LeafEENTER, new(platform.Regs)); err == nil {
		t.Errorf("entered again, left by %s", x)
	}
	wantFrame(t, e, sgx.VectorUD, e.gpr(t, offSSA).RIP-e.base)
}

// With SSAFRAMESIZE = 2 the XSAVE area is at the start of a frame and GPRSGX at
// its end, and the second frame is two pages further.
func testLargeFrame(t *testing.T, p platform.Platform) {
	im := newCode(func(a *asm) { a.op("movq xmm0, rdi", "ud2") }, func(a *asm) { a.op("movq xmm0, rdi", "ud2") })
	im.secs.SSAFrameSize = 2
	im.tcs(offTCS, func(x *sgx.TCS) { x.OSSA = offSSA2 })
	// Four pages in a row; the second thread is not entered.
	im.pages = slices.DeleteFunc(im.pages, func(pg page) bool { return pg.off > offSSA2 })
	for i := range uint64(3) {
		im.pages = append(im.pages, page{off: offSSA2 + (i+1)*sgx.PageSize, flags: sgx.SecInfoREGRW, plain: true})
	}
	e := im.start(t, p)
	th := e.thread(t)
	for i := range uint64(2) {
		wantException(t, enter(t, th, &platform.Regs{RDI: 0xaaaa + i}), sgx.VectorUD)
		frame := offSSA2 + i*2*sgx.PageSize
		g := e.gpr(t, frame+sgx.PageSize)
		if g.RAX != i || g.RDI != 0xaaaa+i || g.ExitInfo != sgx.NewExitInfo(sgx.VectorUD, 0) {
			t.Errorf("frame %d has RAX %#x, RDI %#x, EXITINFO %#x", i, g.RAX, g.RDI, uint32(g.ExitInfo))
		}
		if v := e.read64(t, frame+160); v != 0xaaaa+i {
			t.Errorf("frame %d has XMM0 %#x", i, v)
		}
	}
	if x, err := th.Enter(offTCS, sgx.LeafEENTER, new(platform.Regs)); err == nil {
		t.Errorf("entered at CSSA = NSSA, left by %s", x)
	}
}
