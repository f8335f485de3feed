package platformtest

import (
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

// Bits of a page fault's error code (SDM vol. 3A 4.7).
const (
	pfWrite = 1 << 1
	pfUser  = 1 << 2
	pfFetch = 1 << 4
)

func testMemory(t *testing.T, p platform.Platform) {
	subtests(t, p, []subtest{
		{"permissions", testPermissions},
		{"allowed", testAllowed},
		{"jumps", testJumps},
		{"stack overflow", testStackOverflow},
		{"executable data", testExecutableData},
	})
}

// access is an enclave that does op with RDI = the address of an offset.
func access(off uint64, op string) *image {
	return faulting(func(a *asm) { a.lea("rdi", off); a.op("xor eax, eax") }, op)
}

const (
	opRead  = "mov rax, qword ptr [rdi]"
	opWrite = "mov qword ptr [rdi], rax"
	opJump  = "jmp rdi"
)

func testPermissions(t *testing.T, p platform.Platform) {
	for _, v := range []struct {
		name string
		off  uint64
		op   string
		bits uint32
	}{
		{"write to code", offCode + 0xf00, opWrite, pfWrite},
		{"write to constants", offConst, opWrite, pfWrite},
		{"execute data", offData, opJump, pfFetch},
		{"execute constants", offConst, opJump, pfFetch},
		{"read a page without rights", offNone, opRead, 0},
		{"write to a page without rights", offNone + 8, opWrite, pfWrite},
		{"execute a page without rights", offNone, opJump, pfFetch},
		{"read the own TCS", offTCS, opRead, 0},
		{"write to the own TCS", offTCS + 24, opWrite, pfWrite},
		{"read another TCS", offTCS2, opRead, 0},
		{"execute a TCS", offTCS, opJump, pfFetch},
		{"read a hole", offHole, opRead, 0},
		{"write to a hole", offHole + 0xff8, opWrite, pfWrite},
		{"execute a hole", offHole, opJump, pfFetch},
	} {
		t.Run(v.name, func(t *testing.T) {
			e := access(v.off, v.op).start(t, p)
			th := e.thread(t)
			x := enter(t, th, new(platform.Regs))
			wantException(t, x, sgx.VectorPF)
			if x.Addr&^0xfff != (e.base+v.off)&^0xfff {
				t.Errorf("address is %#x, want the page of %#x", x.Addr, e.base+v.off)
			}
			if x.ErrorCode&(pfWrite|pfUser|pfFetch) != v.bits|pfUser {
				t.Errorf("error code is %#x, want the bits %#x", x.ErrorCode, v.bits|pfUser)
			}
			rip := uint64(offFault)
			if v.op == opJump {
				rip = v.off
			}
			if g := e.gpr(t, offSSA); g.RIP != e.base+rip {
				t.Errorf("RIP is %#x, want %#x", g.RIP-e.base, rip)
			}
			wantEEXIT(t, th, sgx.LeafEENTER, new(platform.Regs))
		})
	}
}

// What the permissions allow works: reading code and constants, writing data.
func testAllowed(t *testing.T, p platform.Platform) {
	e := newCode(func(a *asm) {
		a.lea("rdi", offConst)
		a.op("mov rdi, qword ptr [rdi]", "mov r10, rdi")
		a.lea("rdi", offCode)
		a.op("mov rsi, qword ptr [rdi]")
		a.lea("rdi", offStack+0xff8)
		a.op("mov qword ptr [rdi], rsi", "mov rdi, r10")
		a.exit()
	}, nil)
	code := e.page(offCode).data
	enc := e.start(t, p)
	var r platform.Regs
	wantEEXIT(t, enc.thread(t), sgx.LeafEENTER, &r)
	want := uint64(0)
	for i := range 8 {
		want |= uint64(code[i]) << (8 * i)
	}
	if r.RDI != markConst || r.RSI != want || enc.read64(t, offStack+0xff8) != want {
		t.Errorf("constants %#x, code %#x, stack %#x", r.RDI, r.RSI, enc.read64(t, offStack+0xff8))
	}
}

// Jumps out of the enclave are an exception of the enclave, not a crash of the
// host. A processor has #GP for any fetch outside; where nothing is mapped a
// page fault is as good.
func testJumps(t *testing.T, p platform.Platform) {
	for name, v := range map[string]struct {
		addr uint64
		op   string
	}{
		"null call":      {0, "call rdi"},
		"null jump":      {0, opJump},
		"near null":      {0x8, "call rdi"},
		"first megabyte": {0x10_0000, opJump},
		"not canonical":  {1 << 62, opJump},
		"kernel":         {0xffff_8000_0000_0000, opJump},
	} {
		t.Run(name, func(t *testing.T) {
			e := faulting(func(a *asm) { a.lea("rsp", offStack+0x800) }, v.op).start(t, p)
			x := enter(t, e.thread(t), &platform.Regs{RDI: v.addr})
			if x.Kind != platform.ExitException || x.Vector != sgx.VectorPF && x.Vector != sgx.VectorGP {
				t.Errorf("left by %s, want #PF or #GP", x)
			}
			if info := e.gpr(t, offSSA).ExitInfo; info != sgx.NewExitInfo(x.Vector, 0) {
				t.Errorf("EXITINFO is %#x", uint32(info))
			}
		})
	}
}

// A stack that grows into a hole is a page fault there.
func testStackOverflow(t *testing.T, p platform.Platform) {
	const loop = offCode + 0x100
	e := newCode(func(a *asm) {
		a.lea("rsp", offStack+0x1000)
		a.jump("jmp", loop)
		a.skipTo(loop)
		a.op("push rax")
		a.jump("jmp", loop)
	}, nil).start(t, p)
	th := e.thread(t)
	x := enter(t, th, new(platform.Regs))
	wantException(t, x, sgx.VectorPF)
	if x.Addr&^0xfff != e.base+offHole || x.ErrorCode&(pfWrite|pfUser) != pfWrite|pfUser {
		t.Errorf("address %#x, error code %#x", x.Addr, x.ErrorCode)
	}
	if g := e.gpr(t, offSSA); g.RSP != e.base+offStack || g.RIP != e.base+loop {
		t.Errorf("RSP %#x, RIP %#x", g.RSP-e.base, g.RIP-e.base)
	}
}

// A page that is writable and executable is both.
func testExecutableData(t *testing.T, p platform.Platform) {
	im := newCode(func(a *asm) {
		a.lea("rdi", offHole)
		a.op("mov qword ptr [rdi], rsi", "jmp rdi")
	}, nil)
	im.page(offStack).off = offHole // add it lower, with all rights
	im.page(offHole).flags = sgx.SecInfoREGRW | sgx.SecInfoX
	e := im.start(t, p)
	// int3, written by the enclave itself, in the first byte.
	x := enter(t, e.thread(t), &platform.Regs{RSI: 0xcc})
	wantException(t, x, sgx.VectorBP)
	wantFrame(t, e, sgx.VectorBP, offHole, offHole+1)
}
