package platformtest

import (
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

func testEnter(t *testing.T, p platform.Platform) {
	subtests(t, p, []subtest{
		{"registers pass", testRegisters},
		{"entry conventions", testConventions},
		{"bare ENCLU", testBareExit},
		{"FS and GS", testSegments},
		{"again and again", testRepeat},
		{"host memory", testHostMemory},
		{"host survives", testGarbage},
		{"refused", testEnterRefused},
		{"refused TCS", testRefusedTCS},
		{"busy", testBusy},
		{"two threads", testTwoThreads},
		{"several enclaves", testSeveral},
	})
}

// The six registers go in and come out: the enclave inverts each.
func testRegisters(t *testing.T, p platform.Platform) {
	e := newCode(func(a *asm) {
		a.op("not rdi", "not rsi", "not rdx", "not r8", "not r9", "not r10")
		a.exit()
	}, nil).start(t, p)
	r := platform.Regs{RDI: 1, RSI: 2 << 60, RDX: 3 << 8, R8: 4 << 16, R9: 5 << 24, R10: 6 << 32}
	want := platform.Regs{RDI: ^r.RDI, RSI: ^r.RSI, RDX: ^r.RDX, R8: ^r.R8, R9: ^r.R9, R10: ^r.R10}
	wantEEXIT(t, e.thread(t), sgx.LeafEENTER, &r)
	if r != want {
		t.Errorf("registers are %#x, want %#x", r, want)
	}
}

// RAX is CSSA, RBX the address of the TCS, RCX the address to leave to.
func testConventions(t *testing.T, p platform.Platform) {
	e := newCode(func(a *asm) {
		a.op("mov rdi, rax", "mov rsi, rbx", "mov rdx, rcx")
		a.exit()
	}, nil).start(t, p)
	th := e.thread(t)
	for _, tcs := range []uint64{offTCS, offTCS2} {
		r := platform.Regs{RDI: 99}
		x, err := th.Enter(tcs, sgx.LeafEENTER, &r)
		must(t, err)
		if x.Kind != platform.ExitEEXIT {
			t.Fatalf("left by %s", x)
		}
		if r.RDI != 0 || r.RSI != e.base+tcs || r.RDX-e.base < imageSize || r.RDX == 0 {
			t.Errorf("RAX %#x, RBX %#x, RCX %#x; want 0, %#x and an address outside", r.RDI, r.RSI, r.RDX, e.base+tcs)
		}
	}
}

// The instruction after ENCLU is the enclave's: here it is not the UD2 that a
// platform may know.
func testBareExit(t *testing.T, p platform.Platform) {
	e := newCode(func(a *asm) {
		a.op("not rdi", "mov rbx, rcx")
		a.mov("rax", 4)
		a.op("enclu", "hlt", "hlt")
	}, nil).start(t, p)
	th := e.thread(t)
	for range 3 {
		r := platform.Regs{RDI: 1}
		wantEEXIT(t, th, sgx.LeafEENTER, &r)
		if r.RDI != ^uint64(1) {
			t.Errorf("RDI is %#x", r.RDI)
		}
	}
}

// FS and GS have the bases of the TCS.
func testSegments(t *testing.T, p platform.Platform) {
	e := newCode(func(a *asm) {
		a.op("mov rdi, qword ptr fs:[0x0]", "mov rsi, qword ptr gs:[0x0]")
		a.exit()
	}, nil).start(t, p)
	th := e.thread(t)
	for range 2 {
		var r platform.Regs
		wantEEXIT(t, th, sgx.LeafEENTER, &r)
		if r.RDI != markData || r.RSI != markGS {
			t.Errorf("fs:[0] is %#x, gs:[0] is %#x, want %#x and %#x", r.RDI, r.RSI, uint64(markData), uint64(markGS))
		}
		runtime.Gosched() // the host's FS is in use again
	}
}

// counter is an enclave that increments a word and returns nothing.
func counter() *image {
	return newCode(func(a *asm) {
		a.lea("rdi", offData)
		a.op("inc qword ptr [rdi]")
		a.exit()
	}, nil)
}

func testRepeat(t *testing.T, p platform.Platform) {
	e := counter().start(t, p)
	th := e.thread(t)
	for i := range 10000 {
		wantEEXIT(t, th, sgx.LeafEENTER, new(platform.Regs))
		if i%1000 == 0 {
			runtime.GC()
		}
	}
	if n := e.read64(t, offData) - markData; n != 10000 {
		t.Errorf("the enclave ran %d times, want 10000", n)
	}
}

// An enclave reads and writes the host's memory.
func testHostMemory(t *testing.T, p platform.Platform) {
	e := newCode(func(a *asm) {
		a.op("mov rax, qword ptr [rdi]", "mov qword ptr [rsi], rax")
		a.exit()
	}, nil).start(t, p)
	buf, addr := hostMemory(t, 16)
	binary.LittleEndian.PutUint64(buf, 0xfeed_f00d)
	r := platform.Regs{RDI: addr, RSI: addr + 8}
	wantEEXIT(t, e.thread(t), sgx.LeafEENTER, &r)
	if v := binary.LittleEndian.Uint64(buf[8:]); v != 0xfeed_f00d {
		t.Errorf("the enclave wrote %#x", v)
	}
}

// The enclave leaves with rubbish in all registers that it may change, and
// with the direction flag set.
func testGarbage(t *testing.T, p platform.Platform) {
	e := newCode(func(a *asm) {
		a.op("mov rbx, rcx")
		for _, reg := range []string{"rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"} {
			a.mov(reg, 0xdead_dead_dead_0000|uint64(registers[reg]))
		}
		a.op("movq xmm0, rdi", "movq xmm15, rsi", "std")
		a.mov("rax", 4)
		a.op("enclu", "ud2")
	}, nil).start(t, p)
	th := e.thread(t)
	x, y := 1.5, make([]byte, 1000)
	for i := range 200 {
		r := platform.Regs{RDI: uint64(i)}
		wantEEXIT(t, th, sgx.LeafEENTER, &r)
		x = x*2 - 1.5
		copy(y[i:], y) // uses REP MOVS for some sizes
		if i%50 == 0 {
			runtime.GC()
		}
	}
	if x != 1.5 {
		t.Errorf("floating point gives %v", x)
	}
}

func testEnterRefused(t *testing.T, p platform.Platform) {
	e := exitOnly().start(t, p)
	th := e.thread(t)
	for name, v := range map[string]struct {
		tcs  uint64
		leaf sgx.Leaf
	}{
		"code page":         {offCode, sgx.LeafEENTER},
		"data page":         {offData, sgx.LeafEENTER},
		"no page":           {offHole, sgx.LeafEENTER},
		"outside":           {imageSize, sgx.LeafEENTER},
		"far outside":       {1 << 63, sgx.LeafEENTER},
		"not aligned":       {offTCS + 8, sgx.LeafEENTER},
		"nothing to resume": {offTCS, sgx.LeafERESUME},
		"resume code page":  {offCode, sgx.LeafERESUME},
		"leaf EEXIT":        {offTCS, sgx.LeafEEXIT},
		"leaf 99":           {offTCS, 99},
	} {
		if x, err := th.Enter(v.tcs, v.leaf, new(platform.Regs)); err == nil {
			t.Errorf("%s: accepted, left by %s", name, x)
		}
	}
	wantEEXIT(t, th, sgx.LeafEENTER, new(platform.Regs))
}

// A TCS that EENTER refuses.
func testRefusedTCS(t *testing.T, p platform.Platform) {
	for name, change := range map[string]func(*sgx.TCS){
		"NSSA 0":             func(x *sgx.TCS) { x.NSSA = 0 },
		"OSSA not aligned":   func(x *sgx.TCS) { x.OSSA += 8 },
		"OSSA outside":       func(x *sgx.TCS) { x.OSSA = imageSize },
		"OSSA far outside":   func(x *sgx.TCS) { x.OSSA = 1<<64 - 0x1000 },
		"OSSA without pages": func(x *sgx.TCS) { x.OSSA = offHole },
		"OSSA in code":       func(x *sgx.TCS) { x.OSSA = offCode },
		"OSSA in the TCS":    func(x *sgx.TCS) { x.OSSA = offTCS },
		"FS not aligned":     func(x *sgx.TCS) { x.OFSBase = offData + 8 },
		"GS not aligned":     func(x *sgx.TCS) { x.OGSBase = offData + 8 },
		"FS not canonical":   func(x *sgx.TCS) { x.OFSBase = 1 << 62 },
		"reserved flag":      func(x *sgx.TCS) { x.Flags = 1 << 5 },
	} {
		im := exitOnly()
		im.tcs(offTCS, change)
		e := im.start(t, p)
		th, err := e.NewThread()
		must(t, err)
		if x, err := th.Enter(offTCS, sgx.LeafEENTER, new(platform.Regs)); err == nil {
			t.Errorf("%s: accepted, left by %s", name, x)
		}
		// The other thread of the same enclave is not concerned.
		if x, err := th.Enter(offTCS2, sgx.LeafEENTER, new(platform.Regs)); err != nil || x.Kind != platform.ExitEEXIT {
			t.Errorf("%s: the other TCS: %s, %v", name, x, err)
		}
		th.Close()
		must(t, e.Close())
	}
}

// spinner is an enclave in which a thread that is entered with RSI = 0 stores
// 1 at offGS and waits until the word at offGS+8 is not 0; with RSI = 1 it
// stores 1 there and leaves. RDI comes back inverted.
func spinner() *image {
	const loop, release = offCode + 0x100, offCode + 0x200
	im := newCode(func(a *asm) {
		a.op("not rdi", "mov r10, rdi", "test rsi, rsi")
		a.jump("jne", release)
		a.lea("rdi", offGS)
		a.mov("rax", 1)
		a.op("mov qword ptr [rdi], rax")
		a.lea("rdi", offGS+8)
		a.jump("jmp", loop)
		a.skipTo(loop)
		a.op("pause", "cmp qword ptr [rdi], 0x0")
		a.jump("je", loop)
		a.op("mov rdi, r10")
		a.exit()
		a.skipTo(release)
		a.lea("rdi", offGS+8)
		a.op("mov qword ptr [rdi], rsi")
		a.op("mov rdi, r10")
		a.exit()
	}, nil)
	im.page(offGS).data = nil // no mark: the words are zero
	return im
}

// waitInside returns when the first thread of a spinner is inside.
func (e *enclave) waitInside(t testing.TB) {
	t.Helper()
	for e.read64(t, offGS) == 0 {
		runtime.Gosched()
	}
}

// release lets the first thread of a spinner go.
func (e *enclave) release(t testing.TB) {
	t.Helper()
	th, err := e.NewThread()
	must(t, err)
	defer th.Close()
	x, err := th.Enter(offTCS2, sgx.LeafEENTER, &platform.Regs{RSI: 1})
	must(t, err)
	if x.Kind != platform.ExitEEXIT {
		t.Fatalf("left by %s", x)
	}
}

// outcome is what Enter returned.
type outcome struct {
	exit platform.Exit
	regs platform.Regs
	err  error
}

// enterElsewhere enters the first TCS on a goroutine of its own. The Thread
// is sent on the first channel before the entry, the outcome on the second
// after the Thread has been closed.
func (e *enclave) enterElsewhere(leaf sgx.Leaf, regs platform.Regs) (<-chan platform.Thread, <-chan outcome) {
	started, done := make(chan platform.Thread, 1), make(chan outcome, 1)
	go func() {
		o := outcome{regs: regs}
		th, err := e.NewThread()
		if err != nil {
			o.err = err
			close(started)
			done <- o
			return
		}
		started <- th
		o.exit, o.err = th.Enter(offTCS, leaf, &o.regs)
		th.Close()
		done <- o
	}()
	return started, done
}

func (o outcome) wantEEXIT(t testing.TB, rdi uint64) {
	t.Helper()
	if o.err != nil || o.exit.Kind != platform.ExitEEXIT || o.regs.RDI != rdi {
		t.Errorf("%v, %s, RDI %#x; want EEXIT and RDI %#x", o.err, o.exit, o.regs.RDI, rdi)
	}
}

func testBusy(t *testing.T, p platform.Platform) {
	e := spinner().start(t, p)
	_, done := e.enterElsewhere(sgx.LeafEENTER, platform.Regs{RDI: 5})
	e.waitInside(t)
	th := e.thread(t)
	for _, leaf := range []sgx.Leaf{sgx.LeafEENTER, sgx.LeafERESUME} {
		if _, err := th.Enter(offTCS, leaf, new(platform.Regs)); err == nil {
			t.Fatal("a busy TCS is entered")
		} else if leaf == sgx.LeafEENTER && !errors.Is(err, platform.ErrBusy) {
			t.Errorf("error is %v, want %v", err, platform.ErrBusy)
		}
	}
	e.release(t)
	(<-done).wantEEXIT(t, ^uint64(5))
	// Free again.
	wantEEXIT(t, th, sgx.LeafEENTER, new(platform.Regs))
}

// Two threads of one enclave, each on its TCS, while the host collects
// garbage.
func testTwoThreads(t *testing.T, p platform.Platform) {
	e := newCode(func(a *asm) {
		a.op("inc qword ptr gs:[0x0]", "not rdi")
		a.exit()
	}, nil)
	e.tcs(offTCS2, func(x *sgx.TCS) { x.OGSBase = offData })
	enc := e.start(t, p)
	const rounds = 5000
	var wg sync.WaitGroup
	for _, tcs := range []uint64{offTCS, offTCS2} {
		wg.Go(func() {
			th, err := enc.NewThread()
			if err != nil {
				t.Error(err)
				return
			}
			defer th.Close()
			for i := range uint64(rounds) {
				r := platform.Regs{RDI: i}
				x, err := th.Enter(tcs, sgx.LeafEENTER, &r)
				if err != nil || x.Kind != platform.ExitEEXIT || r.RDI != ^i {
					t.Errorf("TCS %#x: %v, %s, RDI %#x", tcs, err, x, r.RDI)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			runtime.GC()
		}
	})
	wg.Wait()
	if a, b := enc.read64(t, offGS)-markGS, enc.read64(t, offData)-markData; a != rounds || b != rounds {
		t.Errorf("the threads ran %d and %d times, want %d", a, b, rounds)
	}
}

// One goroutine in several enclaves in turn, several at once.
func testSeveral(t *testing.T, p platform.Platform) {
	var wg sync.WaitGroup
	for range 4 {
		e := counter().start(t, p)
		wg.Go(func() {
			th, err := e.NewThread()
			if err != nil {
				t.Error(err)
				return
			}
			defer th.Close()
			for range 500 {
				if x, err := th.Enter(offTCS, sgx.LeafEENTER, new(platform.Regs)); err != nil || x.Kind != platform.ExitEEXIT {
					t.Errorf("%v, %s", err, x)
					return
				}
			}
			b := make([]byte, 8)
			if err := e.DebugRead(offData, b); err != nil || binary.LittleEndian.Uint64(b) != markData+500 {
				t.Errorf("the enclave has %x, %v", b, err)
			}
		})
	}
	wg.Wait()
	a, b := counter().start(t, p), counter().start(t, p)
	ta, tb := a.thread(t), b.thread(t)
	for range 10 {
		wantEEXIT(t, ta, sgx.LeafEENTER, new(platform.Regs))
		wantEEXIT(t, tb, sgx.LeafEENTER, new(platform.Regs))
	}
	if n := b.read64(t, offData); n != markData+10 {
		t.Errorf("the second enclave has %#x", n)
	}
}
