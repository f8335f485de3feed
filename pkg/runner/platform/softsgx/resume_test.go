//go:build linux && amd64

package softsgx

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

// stateProgram loads every register from the data page, raises #BP, stores
// every register to the stack page (general) and the rwx page (XSAVE), and
// leaves. Entered at CSSA 1 it is resumeHandler.
var stateProgram = []byte{
	0x85, 0xc0, // test %eax,%eax
	0x0f, 0x85, 0xf8, 0x0f, 0x00, 0x00, // jne 1000
	0x65, 0x48, 0x89, 0x0c, 0x25, 0x00, 0x00, 0x00, 0x00, // mov %rcx,%gs:0x0
	0x48, 0x8d, 0x3d, 0xe8, 0x1f, 0x00, 0x00, // lea 0x1fe8(%rip),%rdi # 2000
	0xb8, 0xff, 0xff, 0xff, 0xff, // mov $0xffffffff,%eax
	0xba, 0xff, 0xff, 0xff, 0xff, // mov $0xffffffff,%edx
	0x48, 0x0f, 0xae, 0x2f, // xrstor64 (%rdi)
	0x48, 0x8d, 0x25, 0xd3, 0x5f, 0x00, 0x00, // lea 0x5fd3(%rip),%rsp # 6000
	0x48, 0x8d, 0x3d, 0xcc, 0x2e, 0x00, 0x00, // lea 0x2ecc(%rip),%rdi # 2f00
	0x48, 0x8b, 0x07, // mov (%rdi),%rax
	0x48, 0x8b, 0x4f, 0x08, // mov 0x8(%rdi),%rcx
	0x48, 0x8b, 0x57, 0x10, // mov 0x10(%rdi),%rdx
	0x48, 0x8b, 0x5f, 0x18, // mov 0x18(%rdi),%rbx
	0x48, 0x8b, 0x6f, 0x20, // mov 0x20(%rdi),%rbp
	0x48, 0x8b, 0x77, 0x28, // mov 0x28(%rdi),%rsi
	0x4c, 0x8b, 0x47, 0x38, // mov 0x38(%rdi),%r8
	0x4c, 0x8b, 0x4f, 0x40, // mov 0x40(%rdi),%r9
	0x4c, 0x8b, 0x57, 0x48, // mov 0x48(%rdi),%r10
	0x4c, 0x8b, 0x5f, 0x50, // mov 0x50(%rdi),%r11
	0x4c, 0x8b, 0x67, 0x58, // mov 0x58(%rdi),%r12
	0x4c, 0x8b, 0x6f, 0x60, // mov 0x60(%rdi),%r13
	0x4c, 0x8b, 0x77, 0x68, // mov 0x68(%rdi),%r14
	0x4c, 0x8b, 0x7f, 0x70, // mov 0x70(%rdi),%r15
	0xff, 0x77, 0x78, // push 0x78(%rdi)
	0x48, 0x8b, 0x7f, 0x30, // mov 0x30(%rdi),%rdi
	0x9d,                                     // popf
	0xcc,                                     // int3
	0x9c,                                     // pushf
	0x57,                                     // push %rdi
	0x48, 0x8d, 0x3d, 0x83, 0x4f, 0x00, 0x00, // lea 0x4f83(%rip),%rdi # 5000
	0x48, 0x89, 0x07, // mov %rax,(%rdi)
	0x48, 0x89, 0x4f, 0x08, // mov %rcx,0x8(%rdi)
	0x48, 0x89, 0x57, 0x10, // mov %rdx,0x10(%rdi)
	0x48, 0x89, 0x5f, 0x18, // mov %rbx,0x18(%rdi)
	0x48, 0x89, 0x6f, 0x20, // mov %rbp,0x20(%rdi)
	0x48, 0x89, 0x77, 0x28, // mov %rsi,0x28(%rdi)
	0x4c, 0x89, 0x47, 0x38, // mov %r8,0x38(%rdi)
	0x4c, 0x89, 0x4f, 0x40, // mov %r9,0x40(%rdi)
	0x4c, 0x89, 0x57, 0x48, // mov %r10,0x48(%rdi)
	0x4c, 0x89, 0x5f, 0x50, // mov %r11,0x50(%rdi)
	0x4c, 0x89, 0x67, 0x58, // mov %r12,0x58(%rdi)
	0x4c, 0x89, 0x6f, 0x60, // mov %r13,0x60(%rdi)
	0x4c, 0x89, 0x77, 0x68, // mov %r14,0x68(%rdi)
	0x4c, 0x89, 0x7f, 0x70, // mov %r15,0x70(%rdi)
	0x8f, 0x47, 0x30, // pop 0x30(%rdi)
	0x8f, 0x47, 0x78, // pop 0x78(%rdi)
	0x48, 0x89, 0xa7, 0x80, 0x00, 0x00, 0x00, // mov %rsp,0x80(%rdi)
	0xfc,                                     // cld
	0x48, 0x8d, 0x3d, 0x37, 0x6f, 0x00, 0x00, // lea 0x6f37(%rip),%rdi # 7000
	0xb8, 0xff, 0xff, 0xff, 0xff, // mov $0xffffffff,%eax
	0xba, 0xff, 0xff, 0xff, 0xff, // mov $0xffffffff,%edx
	0x48, 0x0f, 0xae, 0x27, // xsave64 (%rdi)
	0x65, 0x48, 0x8b, 0x1c, 0x25, 0x00, 0x00, 0x00, 0x00, // mov %gs:0x0,%rbx
	0xb8, 0x04, 0x00, 0x00, 0x00, // mov $0x4,%eax
	0x0f, 0x01, 0xd7, // enclu
}

// resumeHandler adds RDI to the RIP of SSA frame 0, destroys registers, and
// leaves with RDI = CSSA.
var resumeHandler = []byte{
	0x48, 0x01, 0xbb, 0xd0, 0x1f, 0x00, 0x00, // add %rdi,0x1fd0(%rbx)
	0x48, 0x89, 0xc7, // mov %rax,%rdi
	0xc5, 0xfc, 0x77, // vzeroall
	0xdb, 0xe3, // fninit
	0x45, 0x31, 0xe4, // xor %r12d,%r12d
	0x4c, 0x89, 0xe5, // mov %r12,%rbp
	0x48, 0x89, 0xcb, // mov %rcx,%rbx
	0xb8, 0x04, 0x00, 0x00, 0x00, // mov $0x4,%eax
	0x0f, 0x01, 0xd7, // enclu
}

// stateImage is a data page with a value of its own in each byte of the state
// that stateProgram loads.
func stateImage(x sgx.XFRM) (page []byte, gpr [16]uint64) {
	le := binary.LittleEndian
	page = make([]byte, sgx.PageSize)
	size := int(cpu().xsaveSize(x))
	for i := range size {
		page[i] = byte(i*7 + i>>8 + 1)
	}
	le.PutUint16(page, 0x27f)                   // FCW: 53 bits
	le.PutUint16(page[2:], 0x3800)              // FSW: top of stack is 7
	le.PutUint16(page[4:], 0x00ff)              // all registers full
	le.PutUint32(page[xsaveMXCSR:], 0x7f80)     // round to zero
	le.PutUint32(page[xsaveMXCSRMask:], 0xffff) //
	clear(page[6:xsaveMXCSR])                   // FOP, FIP, FDP: some processors do not load them
	for i := range 8 {                          // an extended number has 10 bytes
		clear(page[xsaveX87Regs+16*i+10 : xsaveX87Regs+16*i+16])
		page[xsaveX87Regs+16*i+7] |= 0x80 // normalized, else it is not a number
	}
	clear(page[xsaveXMMEnd:xsaveHeaderEnd])
	le.PutUint64(page[xsaveBV:], uint64(x))
	for i := range gpr {
		gpr[i] = 0x1122334455667700*uint64(i+1) + uint64(i)
		le.PutUint64(page[0xf00+8*i:], gpr[i])
	}
	gpr[15] = 0x200cd7 // flags: ID and CF PF AF ZF SF OF DF, IF and the fixed one
	gpr[15] |= 0x600
	le.PutUint64(page[0xf00+8*15:], gpr[15])
	return page, gpr
}

// sameState compares the components x of two XSAVE areas.
func sameState(t *testing.T, what string, x sgx.XFRM, got, want []byte) {
	t.Helper()
	if v := binary.LittleEndian.Uint64(got[xsaveBV:]); v != uint64(x) {
		t.Errorf("%s: XSTATE_BV %#x, want %#x", what, v, uint64(x))
	}
	if !bytes.Equal(got[:6], want[:6]) || !bytes.Equal(got[xsaveMXCSR:xsaveMXCSRMask], want[xsaveMXCSR:xsaveMXCSRMask]) {
		t.Errorf("%s: control words %x, want %x", what, got[:32], want[:32])
	}
	if !bytes.Equal(got[xsaveX87Regs:xsaveXMMEnd], want[xsaveX87Regs:xsaveXMMEnd]) {
		t.Errorf("%s: x87 or XMM registers differ", what)
	}
	for m := uint64(x) >> 2 << 2; m != 0; m &= m - 1 {
		a := cpu().area[bits.TrailingZeros64(m)]
		if !bytes.Equal(got[a.off:a.off+a.size], want[a.off:a.off+a.size]) {
			t.Errorf("%s: component %d differs", what, bits.TrailingZeros64(m))
		}
	}
}

// All registers survive an AEX, a nested entry that destroys them, and ERESUME.
func TestResumePreservesState(t *testing.T) {
	eachMode(t, func(t *testing.T, p platform.Platform) {
		x := p.Caps().XFRM
		page, gpr := stateImage(x)
		e := (&image{threads: 1, code: stateProgram, handler: resumeHandler, data: page, attr: sgx.AttrDebug}).build(t, p)
		th := newThread(t, e)
		var r platform.Regs
		enter := func(leaf sgx.Leaf, want platform.Exit) {
			t.Helper()
			if x, err := th.Enter(tcsOff(0), leaf, &r); err != nil || x != want {
				t.Fatalf("%+v %v, want %+v", x, err, want)
			}
		}
		enter(sgx.LeafEENTER, platform.Exit{Kind: platform.ExitException, Vector: sgx.VectorBP})
		g, frame := ssa(t, e, 0)
		if got := [16]uint64{g.RAX, g.RCX, g.RDX, g.RBX, g.RBP, g.RSI, g.RDI, g.R8, g.R9, g.R10, g.R11, g.R12, g.R13, g.R14, g.R15, g.RFLAGS}; got != gpr {
			t.Errorf("registers in the SSA frame\n%#x\nwant\n%#x", got, gpr)
		}
		sameState(t, "SSA frame", x, frame, page)

		r = platform.Regs{RDI: 1}
		enter(sgx.LeafEENTER, platform.Exit{Kind: platform.ExitEEXIT})
		if r.RDI != 1 || cssaOf(t, e) != 1 {
			t.Errorf("the handler ran at CSSA %d, now %d; want 1, 1", r.RDI, cssaOf(t, e))
		}
		enter(sgx.LeafERESUME, platform.Exit{Kind: platform.ExitEEXIT})
		out := make([]byte, 0x88)
		if err := e.DebugRead(imageStack-0x1000, out); err != nil {
			t.Fatal(err)
		}
		for i, want := range gpr {
			if got := binary.LittleEndian.Uint64(out[8*i:]); got != want {
				t.Errorf("register %d is %#x after ERESUME, want %#x", i, got, want)
			}
		}
		if rsp := binary.LittleEndian.Uint64(out[0x80:]); rsp != e.SECS().BaseAddr+imageStack {
			t.Errorf("RSP is %#x", rsp)
		}
		area := make([]byte, sgx.PageSize)
		if err := e.DebugRead(imageRWX, area); err != nil {
			t.Fatal(err)
		}
		sameState(t, "after ERESUME", x, area, page)
		if c := cssaOf(t, e); c != 0 {
			t.Errorf("CSSA is %d, want 0", c)
		}
	})
}

// An AEX saves the components of XFRM only.
func TestXFRM(t *testing.T) {
	p := testPlatform(t, false)
	page, _ := stateImage(p.Caps().XFRM)
	e := (&image{threads: 1, code: stateProgram, data: page, attr: sgx.AttrDebug, xfrm: sgx.XFRMLegacy}).build(t, p)
	th := newThread(t, e)
	if _, err := th.Enter(tcsOff(0), sgx.LeafEENTER, new(platform.Regs)); err != nil {
		t.Fatal(err)
	}
	_, frame := ssa(t, e, 0)
	sameState(t, "SSA frame", sgx.XFRMLegacy, frame, page)
	if rest := frame[xsaveHeaderEnd : sgx.PageSize-sgx.GPRSGXSize]; !bytes.Equal(rest, make([]byte, len(rest))) {
		t.Error("an enclave without AVX has AVX state in its SSA frame")
	}
}

// breakSSA, entered at CSSA 1, adds RDI to the 8 bytes at offset RSI of SSA
// frame 0.
var breakSSA = code(
	[]byte{0x48, 0x01, 0xbc, 0x33, 0x00, 0x10, 0x00, 0x00}, // add %rdi,0x1000(%rbx,%rsi)
	eexit)

// An SSA frame that no processor resumes is refused, and stays.
func TestResumeRefused(t *testing.T) {
	for _, test := range []struct {
		name     string
		off, add uint64
		want     string
	}{
		{"XSTATE_BV", xsaveBV, 1 << 18, "XSTATE_BV"},
		{"XCOMP_BV", xsaveBV + 8, 1 << 63, "byte 8 of the XSAVE header"},
		{"header", xsaveHeaderEnd - 8, 1, "byte 56 of the XSAVE header"},
		{"MXCSR", xsaveMXCSR, 1 << 20, "MXCSR"},
		{"RIP", sgx.PageSize - sgx.GPRSGXSize + 136, 1 << 62, "RIP is not canonical"},
		{"FS", sgx.PageSize - 16, 1 << 62, "FSBASE is not canonical"},
		{"GS", sgx.PageSize - 8, 1 << 62, "GSBASE is not canonical"},
	} {
		t.Run(test.name, func(t *testing.T) {
			prog := code([]byte{0x85, 0xc0, 0x0f, 0x85, 0xf8, 0x0f, 0, 0, 0xcc}) // test %eax,%eax; jne 0x1000; int3
			e := (&image{threads: 1, code: prog, handler: breakSSA, attr: sgx.AttrDebug}).build(t, testPlatform(t, false))
			th := newThread(t, e)
			r := new(platform.Regs)
			bp := platform.Exit{Kind: platform.ExitException, Vector: sgx.VectorBP}
			if x, err := th.Enter(tcsOff(0), sgx.LeafEENTER, r); err != nil || x != bp {
				t.Fatal(x, err)
			}
			for range 2 {
				*r = platform.Regs{RDI: test.add, RSI: test.off}
				if x, err := th.Enter(tcsOff(0), sgx.LeafEENTER, r); err != nil || x.Kind != platform.ExitEEXIT {
					t.Fatal(x, err)
				}
				_, err := th.Enter(tcsOff(0), sgx.LeafERESUME, r)
				if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "ERESUME") {
					t.Fatalf("error %v, want %q", err, test.want)
				}
				if c := cssaOf(t, e); c != 1 {
					t.Fatalf("CSSA is %d, want 1", c)
				}
				test.add = -test.add // now put it right
				*r = platform.Regs{RDI: test.add, RSI: test.off}
				if x, err := th.Enter(tcsOff(0), sgx.LeafEENTER, r); err != nil || x.Kind != platform.ExitEEXIT {
					t.Fatal(x, err)
				}
				if x, err := th.Enter(tcsOff(0), sgx.LeafERESUME, r); err != nil || x != bp {
					t.Fatal(x, err)
				}
				test.add = -test.add
			}
		})
	}
}

// Every RIP and flag of the SSA frame is the enclave's to choose; none gets
// the host into trouble.
func TestResumeAnywhere(t *testing.T) {
	prog := code([]byte{0x85, 0xc0, 0x0f, 0x85, 0xf8, 0x0f, 0, 0, 0xcc})
	e := (&image{threads: 1, code: prog, handler: breakSSA, attr: sgx.AttrDebug}).build(t, testPlatform(t, false))
	th := newThread(t, e)
	r := new(platform.Regs)
	if _, err := th.Enter(tcsOff(0), sgx.LeafEENTER, r); err != nil {
		t.Fatal(err)
	}
	gpr := uint64(sgx.PageSize - sgx.GPRSGXSize)
	for _, c := range []struct{ off, add uint64 }{
		{gpr + 128, 0x23000}, // RFLAGS: RF, VM and IOPL
		{gpr + 32, 1 << 63},  // RSP
		{gpr + 136, 0x40000}, // RIP: a hole
		{gpr + 128, 0x100},   // TF
	} {
		*r = platform.Regs{RDI: c.add, RSI: c.off}
		if x, err := th.Enter(tcsOff(0), sgx.LeafEENTER, r); err != nil || x.Kind != platform.ExitEEXIT {
			t.Fatal(x, err)
		}
		if x, err := th.Enter(tcsOff(0), sgx.LeafERESUME, r); err != nil || x.Kind != platform.ExitException {
			t.Fatal(x, err)
		}
		hostCanPanic(t)
	}
}

// An SSA frame of any content is refused or resumed; the host never notices.
func TestResumeRandomFrames(t *testing.T) {
	prog := code([]byte{0xcc}, []byte{0x90}, ud2) // int3; nop; ud2
	e := (&image{threads: 1, code: prog, attr: sgx.AttrDebug}).build(t, testPlatform(t, false))
	th := newThread(t, e)
	r := new(platform.Regs)
	if _, err := th.Enter(tcsOff(0), sgx.LeafEENTER, r); err != nil {
		t.Fatal(err)
	}
	frame := e.(*enclave).memory.bytes(uintptr(tcsOff(0)+0x1000), sgx.PageSize)
	start := bytes.Clone(frame)
	random := rand.New(rand.NewPCG(1, 2))
	gpr := frame[sgx.PageSize-sgx.GPRSGXSize:]
	for i := range 3000 {
		copy(frame, start)
		for range 1 + i%64 { // changes anywhere in the state,
			frame[random.IntN(sgx.PageSize)] ^= byte(1 << random.IntN(8))
		}
		if i%2 == 0 { // or all of it, behind a valid header
			for j := range frame {
				frame[j] = byte(random.Uint32())
			}
			clear(frame[xsaveBV:xsaveHeaderEnd])
			le.PutUint64(frame[xsaveBV:], random.Uint64()&uint64(cpu().xfrm))
			le.PutUint32(frame[xsaveMXCSR:], random.Uint32()&cpu().mxcsrMask)
			for _, o := range []int{168, 176} {
				le.PutUint64(gpr[o:], random.Uint64()>>17)
			}
		}
		// At the end of the code, so that it always ends in an exception.
		le.PutUint64(gpr[136:], e.SECS().BaseAddr+uint64(len(prog)-2-i%2))
		x, err := th.Enter(tcsOff(0), sgx.LeafERESUME, r)
		if err == nil && x.Kind != platform.ExitException || cssaOf(t, e) != 1 {
			t.Fatalf("frame %d: %v %v, CSSA %d", i, x, err, cssaOf(t, e))
		}
	}
	hostCanPanic(t)
}
