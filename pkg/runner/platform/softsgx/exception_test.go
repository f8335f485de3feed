//go:build linux && amd64

package softsgx

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

// ssa reads SSA frame n of TCS 0 of a debug enclave.
func ssa(t testing.TB, e platform.Enclave, n uint64) (*sgx.GPRSGX, []byte) {
	t.Helper()
	frame := make([]byte, sgx.PageSize)
	if err := e.DebugRead(tcsOff(0)+(1+n)*sgx.PageSize, frame); err != nil {
		t.Fatal(err)
	}
	g, err := sgx.ParseGPRSGX(frame[sgx.PageSize-sgx.GPRSGXSize:])
	if err != nil {
		t.Fatal(err)
	}
	return g, frame
}

// cssaOf reads the live CSSA of TCS 0.
func cssaOf(t testing.TB, e platform.Enclave) uint32 {
	t.Helper()
	b := make([]byte, sgx.TCSSize)
	if err := e.DebugRead(tcsOff(0), b); err != nil {
		t.Fatal(err)
	}
	tcs, err := sgx.ParseTCS(b)
	if err != nil {
		t.Fatal(err)
	}
	return tcs.CSSA
}

// hostCanPanic makes sure that an ordinary nil dereference on this thread is
// still an ordinary panic.
func hostCanPanic(t testing.TB) {
	t.Helper()
	defer func() {
		if err, ok := recover().(error); !ok || !strings.Contains(err.Error(), "nil pointer") {
			t.Errorf("recovered %v", err)
		}
	}()
	var p *int
	*p = 1
}

var loadStack = []byte{0x48, 0x8d, 0x25, 0xf9, 0x5f, 0x00, 0x00} // lea 0x6000,%rsp, as first instruction

// Where a test's code is relative to the enclave, or absolute if not inside.
const outside = ^uint64(0)

func TestExceptions(t *testing.T) {
	hostData := new([16]byte)
	for _, test := range []struct {
		name   string
		code   []byte
		rdi    func(base uint64) uint64
		vector uint8
		err    uint32
		addr   uint64 // relative to the enclave
		rip    uint64 // of the frame, relative to the enclave; outside: not inside
	}{
		{"null call", code([]byte{0x31, 0xc0}, []byte{0xff, 0xd0}), // xor %eax,%eax; call *%rax
			nil, sgx.VectorGP, 0, 0, outside},
		{"jump to host data", []byte{0xff, 0xe7}, // jmp *%rdi
			func(uint64) uint64 { return addressOf(hostData) }, sgx.VectorGP, 0, 0, outside},
		{"jump behind the enclave", []byte{0xff, 0xe7},
			func(b uint64) uint64 { return b + imageSize }, sgx.VectorGP, 0, 0, outside},
		{"jump to a hole", []byte{0xff, 0xe7},
			func(b uint64) uint64 { return b + imageGuard }, sgx.VectorPF, 0x14, imageGuard, imageGuard},
		{"jump to data", []byte{0xff, 0xe7},
			func(b uint64) uint64 { return b + imageData }, sgx.VectorPF, 0x15, imageData, imageData},
		{"stack overflow", code(loadStack, []byte{0x50, 0xeb, 0xfd}), // push %rax; jmp -1
			nil, sgx.VectorPF, 6, imageStack - 0x1000 - 8, 7},
		{"division by zero", []byte{0x31, 0xc0, 0x31, 0xd2, 0xf7, 0xf0}, // xor %eax,%eax; xor %edx,%edx; div %eax
			nil, sgx.VectorDE, 0, 0, 4},
		{"ud2", ud2, nil, sgx.VectorUD, 0, 0, 0},
		{"write to code", []byte{0x48, 0x89, 0x07}, // mov %rax,(%rdi)
			func(b uint64) uint64 { return b }, sgx.VectorPF, 7, 0, 0},
		{"write to constants", []byte{0x48, 0x89, 0x07},
			func(b uint64) uint64 { return b + imageConst + 0x123 }, sgx.VectorPF, 7, imageConst + 0x123, 0},
		{"read a hole", []byte{0x48, 0x8b, 0x07}, // mov (%rdi),%rax
			func(b uint64) uint64 { return b + imageGuard + 8 }, sgx.VectorPF, 4, imageGuard + 8, 0},
		{"read the TCS", []byte{0x48, 0x8b, 0x07},
			func(b uint64) uint64 { return b + tcsOff(0) }, sgx.VectorPF, 0x8005, tcsOff(0), 0},
		{"write the TCS", []byte{0x48, 0x89, 0x07},
			func(b uint64) uint64 { return b + tcsOff(0) + 24 }, sgx.VectorPF, 0x8007, tcsOff(0) + 24, 0},
		{"syscall", []byte{0xb8, 0x27, 0, 0, 0, 0x0f, 0x05}, // mov $39,%eax; syscall
			nil, sgx.VectorUD, 0, 0, 5},
		{"int 80h", []byte{0xb8, 0x14, 0, 0, 0, 0xcd, 0x80}, // mov $20,%eax; int $0x80
			nil, sgx.VectorUD, 0, 0, 5},
		{"int 21h", []byte{0xcd, 0x21}, nil, sgx.VectorUD, 0, 0, 0},
		{"int 4", []byte{0xcd, 0x04}, nil, sgx.VectorUD, 0, 0, 0},
		{"int 3, two bytes", []byte{0x90, 0xcd, 0x03}, nil, sgx.VectorUD, 0, 0, 1},
		{"int3", []byte{0x90, 0xcc}, nil, sgx.VectorBP, 0, 0, 1},
		{"hlt", []byte{0xf4}, nil, sgx.VectorGP, 0, 0, 0},
		{"in", []byte{0xec}, nil, sgx.VectorUD, 0, 0, 0}, // in %dx,%al
		{"load from an address that is none", // mov $1<<63,%rax; mov (%rax),%rax
			[]byte{0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x48, 0x8b, 0x00}, nil, sgx.VectorGP, 0, 0, 10},
		{"push to an address that is none", // mov $1<<63,%rsp; push %rax
			[]byte{0x48, 0xbc, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x50}, nil, 12, 0, 0, 10},
		{"x87", code(loadStack,
			[]byte{0x68, 0, 3, 0, 0, 0xd9, 0x2c, 0x24},             // push $0x300; fldcw (%rsp)
			[]byte{0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0x90, 0x9b}, // fld1; fldz; fdivrp; nop; fwait
		), nil, sgx.VectorMF, 0, 0, 22},
		{"sse", code(loadStack,
			[]byte{0x68, 0x80, 0x1d, 0, 0, 0x0f, 0xae, 0x14, 0x24}, // push $0x1d80; ldmxcsr (%rsp)
			[]byte{0x0f, 0x57, 0xc0, 0xb8, 1, 0, 0, 0},             // xorps %xmm0,%xmm0; mov $1,%eax
			[]byte{0xf3, 0x0f, 0x2a, 0xc8, 0xf3, 0x0f, 0x5e, 0xc8}, // cvtsi2ss %eax,%xmm1; divss %xmm0,%xmm1
		), nil, sgx.VectorXM, 0, 0, 28},
		{"alignment", code(loadStack,
			[]byte{0x9c, 0x81, 0x0c, 0x24, 0, 0, 4, 0, 0x9d}, // pushf; orl $0x40000,(%rsp); popf
			[]byte{0x8b, 0x44, 0x24, 1},                      // mov 1(%rsp),%eax
		), nil, sgx.VectorAC, 0, 0, 16},
		{"EENTER", code([]byte{0xb8, 2, 0, 0, 0}, encluBytes), nil, sgx.VectorGP, 0, 0, 5},
		{"ERESUME", code([]byte{0xb8, 3, 0, 0, 0}, encluBytes), nil, sgx.VectorGP, 0, 0, 5},
		{"EACCEPT", code([]byte{0xb8, 5, 0, 0, 0}, encluBytes), nil, sgx.VectorUD, 0, 0, 5},
		{"no leaf", code([]byte{0xb8, 99, 0, 0, 0}, encluBytes), nil, sgx.VectorGP, 0, 0, 5},
		{"no leaf, ud2", code([]byte{0xb8, 99, 0, 0, 0}, encluBytes, ud2), nil, sgx.VectorGP, 0, 0, 5},
		{"EREPORT, misaligned", code([]byte{0x48, 0x8d, 0x5f, 1, 0x31, 0xc0}, encluBytes), // lea 1(%rdi),%rbx; xor %eax,%eax
			func(b uint64) uint64 { return b + imageData }, sgx.VectorGP, 0, 0, 6},
		{"EREPORT, hole", code([]byte{0x48, 0x8d, 0x5f, 0, 0x31, 0xc0}, encluBytes),
			func(b uint64) uint64 { return b + imageGuard }, sgx.VectorPF, 0x8005, imageGuard, 6},
		{"EEXIT elsewhere", code([]byte{0x48, 0x89, 0xfb}, movEAX4, encluBytes), // mov %rdi,%rbx
			func(b uint64) uint64 { return 0x123 }, sgx.VectorGP, 0, 0, outside},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachMode(t, func(t *testing.T, p platform.Platform) {
				e := (&image{threads: 1, code: test.code, misc: sgx.MiscEXINFO, attr: sgx.AttrDebug}).build(t, p)
				th := newThread(t, e)
				base := e.SECS().BaseAddr
				r := platform.Regs{RDI: 7, RSI: 8, R10: 9}
				if test.rdi != nil {
					r.RDI = test.rdi(base)
				}
				rdi := r.RDI
				x, err := th.Enter(tcsOff(0), sgx.LeafEENTER, &r)
				if err != nil {
					t.Fatal(err)
				}
				hostCanPanic(t)
				want := platform.Exit{Kind: platform.ExitException, Vector: test.vector, ErrorCode: test.err}
				if test.vector == sgx.VectorPF {
					want.Addr = base + test.addr
				}
				if x != want {
					t.Errorf("exit %+v, want %+v", x, want)
				}
				g, frame := ssa(t, e, 0)
				if inside := g.RIP-base < imageSize; inside != (test.rip != outside) || inside && g.RIP-base != test.rip {
					t.Errorf("RIP %#x is %#x in the enclave, want %#x", g.RIP, g.RIP-base, test.rip)
				}
				if info := sgx.NewExitInfo(test.vector, sgx.MiscEXINFO); g.ExitInfo != info {
					t.Errorf("EXITINFO %#x, want %#x", g.ExitInfo, info)
				}
				if g.RDI != rdi || g.RSI != 8 || g.R10 != 9 || g.RFLAGS&0x202 != 0x202 {
					t.Errorf("registers %+v", g)
				}
				exinfo := frame[sgx.PageSize-sgx.GPRSGXSize-sgx.EXINFOSize:]
				if addr := binary.LittleEndian.Uint64(exinfo); addr != want.Addr {
					t.Errorf("EXINFO.MADDR %#x, want %#x", addr, want.Addr)
				}
				if code := binary.LittleEndian.Uint32(exinfo[8:]); code != want.ErrorCode {
					t.Errorf("EXINFO.ERRCD %#x, want %#x", code, want.ErrorCode)
				}
				if c := cssaOf(t, e); c != 1 {
					t.Errorf("CSSA is %d, want 1", c)
				}
				// Resumed, it does the same again.
				if x, err := th.Enter(tcsOff(0), sgx.LeafERESUME, &r); err != nil || x != want && test.rip != outside {
					t.Errorf("resumed: %v %v, want %v", x, err, want)
				}
			})
		})
	}
}

// Without EXINFO an enclave is not told of #PF and #GP.
func TestNoEXINFO(t *testing.T) {
	e := (&image{threads: 1, code: []byte{0x48, 0x89, 0x07}, attr: sgx.AttrDebug}).build(t, testPlatform(t, false))
	th := newThread(t, e)
	x, err := th.Enter(tcsOff(0), sgx.LeafEENTER, new(platform.Regs))
	if err != nil || x.Vector != sgx.VectorPF || x.Addr != 0 || x.ErrorCode != 6 {
		t.Fatalf("%+v %v", x, err)
	}
	if g, frame := ssa(t, e, 0); g.ExitInfo != 0 || frame[sgx.PageSize-sgx.GPRSGXSize-8] != 0 {
		t.Errorf("EXITINFO %#x", g.ExitInfo)
	}
}

// A fault with RSP anywhere is an AEX, also with RSP on the very stack that
// the signal is handled on.
func TestFaultWithOddRSP(t *testing.T) {
	e := (&image{threads: 1, code: []byte{0x48, 0x89, 0xfc, 0x0f, 0x0b}, attr: sgx.AttrDebug}).build(t, testPlatform(t, false)) // mov %rdi,%rsp; ud2
	th := newThread(t, e)
	c := uint64(th.(*thread).os.addr())
	for _, rsp := range []uint64{0, 1 << 63, c, c + 0x100, c + 0x3100, c + altStackOff + 0x8000, c + blockSize} {
		r := platform.Regs{RDI: rsp}
		x, err := th.Enter(tcsOff(0), sgx.LeafEENTER, &r)
		if err != nil || x.Kind != platform.ExitException || x.Vector != sgx.VectorUD {
			t.Fatalf("RSP %#x: %v %v", rsp, x, err)
		}
		if g, _ := ssa(t, e, 0); g.RSP != rsp {
			t.Errorf("RSP is %#x in the SSA frame, want %#x", g.RSP, rsp)
		}
		th.(*thread).last.cssa.Store(0)
		hostCanPanic(t)
	}
}

// POPF does not set TF in an enclave.
func TestTrapFlag(t *testing.T) {
	prog := code(loadStack,
		[]byte{0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d}, // pushf; orl $0x100,(%rsp); popf
		[]byte{0x48, 0xff, 0xc7}, eexit)                  // inc %rdi
	eachMode(t, func(t *testing.T, p platform.Platform) {
		e := (&image{threads: 1, code: prog}).build(t, p)
		th := newThread(t, e)
		r := platform.Regs{RDI: 1}
		x, err := th.Enter(tcsOff(0), sgx.LeafEENTER, &r)
		if err != nil || x.Kind != platform.ExitEEXIT || r.RDI != 2 {
			t.Errorf("%v %v RDI %d", x, err, r.RDI)
		}
	})
}
