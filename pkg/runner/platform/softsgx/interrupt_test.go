//go:build linux && amd64

package softsgx

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

// spin adds 1 to RDI for ever; entered at CSSA 1, it is stopSpin.
var spin = code([]byte{0x85, 0xc0, 0x0f, 0x85, 0xf8, 0x0f, 0, 0}, // test %eax,%eax; jne 0x1000
	[]byte{0x49, 0x89, 0xcb},                               // mov %rcx,%r11
	[]byte{0x48, 0xff, 0xc7, 0x48, 0x85, 0xf6, 0x74, 0xf8}, // inc %rdi; test %rsi,%rsi; je inc
	[]byte{0x4c, 0x89, 0xdb}, movEAX4, encluBytes)          // mov %r11,%rbx; EEXIT

// stopSpin sets RSI in SSA frame 0, so that spin leaves when it is resumed.
var stopSpin = code([]byte{0xc6, 0x83, 0x78, 0x1f, 0, 0, 1}, eexit) // movb $1,0x1000+4096-184+48(%rbx)

func spinImage(threads int) *image {
	return &image{threads: threads, code: spin, handler: stopSpin, attr: sgx.AttrDebug}
}

var interrupted = platform.Exit{Kind: platform.ExitInterrupt}

func TestInterrupt(t *testing.T) {
	eachMode(t, func(t *testing.T, p platform.Platform) {
		const rounds = 300
		e := spinImage(1).build(t, p)
		exits := make(chan uint64)
		th, done := onThread(t, e, func(th platform.Thread) {
			defer close(exits)
			var r platform.Regs
			leaf := sgx.LeafEENTER
			for range rounds {
				if x, err := th.Enter(tcsOff(0), leaf, &r); err != nil || x != interrupted {
					t.Errorf("%v %v, want an interrupt", x, err)
					return
				}
				g, _ := ssa(t, e, 0)
				if g.ExitInfo != 0 {
					t.Errorf("EXITINFO %#x", g.ExitInfo)
				}
				exits <- g.RDI
				leaf = sgx.LeafERESUME
			}
			if x, err := th.Enter(tcsOff(0), sgx.LeafEENTER, &r); err != nil || x.Kind != platform.ExitEEXIT {
				t.Error(x, err)
			}
			r = platform.Regs{}
			if x, err := th.Enter(tcsOff(0), sgx.LeafERESUME, &r); err != nil || x.Kind != platform.ExitEEXIT || r.RDI == 0 || r.RSI != 1 {
				t.Errorf("%v %v RDI %d RSI %d", x, err, r.RDI, r.RSI)
			}
		})
		last := uint64(0)
		for i := range rounds {
			if i%3 == 0 {
				time.Sleep(time.Millisecond) // else it may come before the first instruction
			}
			th.Interrupt()
			n, ok := <-exits
			if !ok {
				break
			}
			if n < last {
				t.Fatalf("counter went from %d to %d", last, n)
			}
			last = n
		}
		<-done
		if last == 0 {
			t.Error("the enclave never ran")
		}
		th.Interrupt() // after Close: nothing happens
	})
}

// An Interrupt before Enter is an interrupt before the first instruction.
func TestInterruptBefore(t *testing.T) {
	e := spinImage(1).build(t, testPlatform(t, false))
	th := newThread(t, e)
	th.Interrupt()
	th.Interrupt()
	r := platform.Regs{RDI: 5, R10: 6}
	x, err := th.Enter(tcsOff(0), sgx.LeafEENTER, &r)
	if err != nil || x != interrupted {
		t.Fatal(x, err)
	}
	g, _ := ssa(t, e, 0)
	base := e.SECS().BaseAddr
	if g.RIP != base || g.RBX != base+tcsOff(0) || g.RAX != 0 || g.RDI != 5 || g.R10 != 6 || g.FSBase != base+tcsOff(0)+0x3000 {
		t.Errorf("state at the entry point: %+v", g)
	}
	th.Interrupt()
	if x, err = th.Enter(tcsOff(0), sgx.LeafERESUME, &r); err != nil || x != interrupted {
		t.Fatal(x, err)
	}
	if h, _ := ssa(t, e, 0); *h != *g {
		t.Errorf("state after ERESUME and an interrupt\n%+v\nbefore\n%+v", h, g)
	}
	r = platform.Regs{}
	if x, err = th.Enter(tcsOff(0), sgx.LeafEENTER, &r); err != nil || x.Kind != platform.ExitEEXIT {
		t.Fatal(x, err)
	}
	if x, err = th.Enter(tcsOff(0), sgx.LeafERESUME, &r); err != nil || x.Kind != platform.ExitEEXIT || r.RDI != 6 {
		t.Errorf("%v %v RDI %d, want 6", x, err, r.RDI)
	}
}

// No Interrupt is lost and none is seen twice, whenever it comes: one that is
// lost hangs this test.
func TestInterruptStress(t *testing.T) {
	eachMode(t, func(t *testing.T, p platform.Platform) {
		rounds := 5000
		if p.(*softPlatform).trapOnly || testing.Short() {
			rounds = 500
		}
		e := (&image{threads: 1, code: code(addProgram, eexitUD2)}).build(t, p)
		var seen atomic.Int64
		var stop atomic.Bool
		th, done := onThread(t, e, func(th platform.Thread) {
			var r platform.Regs
			leaf := sgx.LeafEENTER
			for n := 0; !stop.Load() || leaf == sgx.LeafERESUME; n++ {
				if n%64 == 0 {
					runtime.Gosched() // there may be one P only
				}
				x, err := th.Enter(tcsOff(0), leaf, &r)
				switch {
				case err != nil:
					t.Error(err)
					return
				case x == interrupted:
					seen.Add(1)
					leaf = sgx.LeafERESUME
				case x.Kind == platform.ExitEEXIT:
					leaf = sgx.LeafEENTER
				default:
					t.Errorf("exit %v", x)
					return
				}
			}
		})
		for i := range int64(rounds) {
			th.Interrupt()
			for seen.Load() == i {
				select {
				case <-done:
					t.Fatal("the thread has ended")
				default:
					runtime.Gosched()
				}
			}
		}
		stop.Store(true)
		<-done
		if n := seen.Load(); n != int64(rounds) {
			t.Errorf("%d interrupts seen, %d sent", n, rounds)
		}
	})
}
