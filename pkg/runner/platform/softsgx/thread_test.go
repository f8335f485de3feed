//go:build linux && amd64

package softsgx

import (
	"errors"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

// onThread runs f on a goroutine of its own with a thread of e.
func onThread(t *testing.T, e platform.Enclave, f func(th platform.Thread)) (th platform.Thread, done <-chan struct{}) {
	t.Helper()
	c, d := make(chan platform.Thread), make(chan struct{})
	go func() {
		defer close(d)
		th, err := e.NewThread()
		if err != nil {
			t.Error(err)
			close(c)
			return
		}
		defer th.Close()
		c <- th
		f(th)
	}()
	th = <-c
	if th == nil {
		t.FailNow()
	}
	return th, d
}

// waitBusy waits until a thread is in TCS 0.
func waitBusy(e *enclave) {
	for {
		e.mu.Lock()
		s := e.slots[tcsOff(0)]
		e.mu.Unlock()
		if s != nil && s.state.Load() == slotBusy {
			return
		}
		runtime.Gosched()
	}
}

func TestBusy(t *testing.T) {
	e := spinImage(2).build(t, testPlatform(t, false))
	th, done := onThread(t, e, func(th platform.Thread) {
		if x, err := th.Enter(tcsOff(0), sgx.LeafEENTER, new(platform.Regs)); err != nil || x != interrupted {
			t.Error(x, err)
		}
	})
	other := newThread(t, e)
	waitBusy(e.(*enclave))
	for _, leaf := range []sgx.Leaf{sgx.LeafEENTER, sgx.LeafERESUME} {
		if _, err := other.Enter(tcsOff(0), leaf, new(platform.Regs)); !errors.Is(err, platform.ErrBusy) {
			t.Errorf("leaf %d: error %v, want ErrBusy", leaf, err)
		}
	}
	r := platform.Regs{RSI: 1}
	if x, err := other.Enter(tcsOff(1), sgx.LeafEENTER, &r); err != nil || x.Kind != platform.ExitEEXIT {
		t.Error("another TCS:", x, err)
	}
	if err := e.Close(); !errors.Is(err, platform.ErrBusy) {
		t.Errorf("Close: error %v, want ErrBusy", err)
	}
	if _, err := other.Enter(tcsOff(1), sgx.LeafEENTER, &r); err != nil {
		t.Error("after a refused Close:", err)
	}
	th.Interrupt()
	<-done
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if _, err := other.Enter(tcsOff(1), sgx.LeafEENTER, &r); !errors.Is(err, platform.ErrClosed) {
		t.Errorf("Enter after Close: error %v", err)
	}
	if _, err := e.NewThread(); !errors.Is(err, platform.ErrClosed) {
		t.Errorf("NewThread after Close: error %v", err)
	}
	if err := e.DebugRead(0, make([]byte, 1)); !errors.Is(err, platform.ErrClosed) {
		t.Errorf("DebugRead after Close: error %v", err)
	}
}

// What one thread enters another may resume, even if the first is gone: the
// enclave then leaves with an RSP that was given to the first.
func TestResumeElsewhere(t *testing.T) {
	eachMode(t, func(t *testing.T, p platform.Platform) {
		e := spinImage(1).build(t, p)
		th, done := onThread(t, e, func(th platform.Thread) {
			if x, err := th.Enter(tcsOff(0), sgx.LeafEENTER, new(platform.Regs)); err != nil || x != interrupted {
				t.Error(x, err)
			}
		})
		th.Interrupt()
		<-done
		_, done = onThread(t, e, func(th platform.Thread) {
			var r platform.Regs
			if x, err := th.Enter(tcsOff(0), sgx.LeafEENTER, &r); err != nil || x.Kind != platform.ExitEEXIT {
				t.Error(x, err)
			}
		})
		<-done
		_, done = onThread(t, e, func(th platform.Thread) {
			r := platform.Regs{}
			if x, err := th.Enter(tcsOff(0), sgx.LeafERESUME, &r); err != nil || x.Kind != platform.ExitEEXIT || r.RSI != 1 {
				t.Errorf("%v %v RSI %d", x, err, r.RSI)
			}
		})
		<-done
	})
}

// Eight threads enter and leave, with faults in between, while the collector
// runs and moves stacks.
func TestHammer(t *testing.T) {
	eachMode(t, func(t *testing.T, p platform.Platform) {
		const threads = 8
		rounds := 3000
		if p.(*softPlatform).trapOnly {
			rounds = 200
		}
		prog := code(addProgram, eexit)
		e := (&image{threads: threads, code: prog}).build(t, p)
		var wg sync.WaitGroup
		for i := range threads {
			wg.Go(func() {
				th, err := e.NewThread()
				if err != nil {
					t.Error(err)
					return
				}
				defer th.Close()
				var r platform.Regs
				for n := range uint64(rounds) {
					deep(int(n%64), func() {
						if x, err := th.Enter(tcsOff(i), sgx.LeafEENTER, &r); err != nil || x.Kind != platform.ExitEEXIT {
							t.Error(x, err)
						}
					})
					if r.RDI != n+1 || r.R10 != 6*(n+1) {
						t.Errorf("round %d: %+v", n, r)
						return
					}
				}
			})
		}
		done := make(chan struct{})
		go func() { wg.Wait(); close(done) }()
		for {
			select {
			case <-done:
				return
			default:
				runtime.GC()
			}
		}
	})
}

// deep calls f from far down a stack, so that stacks grow and shrink.
func deep(n int, f func()) byte {
	var b [512]byte
	if n == 0 {
		f()
		return 0
	}
	b[n] = deep(n-1, f)
	return b[n/2]
}

// While threads stay inside, everything else in the process goes on.
func TestHostGoesOn(t *testing.T) {
	e := spinImage(2).build(t, testPlatform(t, false))
	var ths [2]platform.Thread
	var dones [2]<-chan struct{}
	for i := range ths {
		ths[i], dones[i] = onThread(t, e, func(th platform.Thread) {
			if x, err := th.Enter(tcsOff(i), sgx.LeafEENTER, new(platform.Regs)); err != nil || x != interrupted {
				t.Error(x, err)
			}
		})
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1, syscall.SIGINT)
	defer signal.Stop(c)
	for range 20 {
		runtime.GC()
		for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGINT} {
			if err := syscall.Kill(os.Getpid(), s); err != nil {
				t.Fatal(err)
			}
			if got := <-c; got != s {
				t.Errorf("signal %v, want %v", got, s)
			}
		}
	}
	if out, err := exec.Command("/bin/sh", "-c", "echo hello").Output(); err != nil || string(out) != "hello\n" {
		t.Errorf("child: %q %v", out, err)
	}
	hostCanPanic(t) // on a thread that never entered
	for i := range ths {
		ths[i].Interrupt()
		<-dones[i]
	}
}

// One goroutine may have threads of two enclaves. Each has its own interrupts.
func TestTwoEnclaves(t *testing.T) {
	p := testPlatform(t, false)
	a := (&image{threads: 1, code: code(addProgram, eexit)}).build(t, p)
	b := (&image{threads: 1, code: code(addProgram, addProgram, eexitUD2)}).build(t, testPlatform(t, true))
	ta, tb := newThread(t, a), newThread(t, b)
	ra, rb := platform.Regs{}, platform.Regs{}
	for n := range uint64(5) {
		for _, x := range []struct {
			th platform.Thread
			r  *platform.Regs
		}{{ta, &ra}, {tb, &rb}} {
			if x, err := x.th.Enter(tcsOff(0), sgx.LeafEENTER, x.r); err != nil || x.Kind != platform.ExitEEXIT {
				t.Fatal(x, err)
			}
		}
		if ra.RDI != n+1 || rb.RDI != 2*(n+1) {
			t.Fatalf("round %d: %d, %d", n, ra.RDI, rb.RDI)
		}
	}
	ta.Interrupt()
	if x, err := tb.Enter(tcsOff(0), sgx.LeafEENTER, &rb); err != nil || x.Kind != platform.ExitEEXIT {
		t.Errorf("the other enclave's interrupt: %v %v", x, err)
	}
	if x, err := ta.Enter(tcsOff(0), sgx.LeafEENTER, &ra); err != nil || x != interrupted {
		t.Errorf("%v %v, want an interrupt", x, err)
	}
}

// What the enclave leaves in flags, control words and RSP is not the host's.
func TestDirtyExit(t *testing.T) {
	dirty := code(loadStack,
		[]byte{0x68, 0x02, 0x06, 0x04, 0x00, 0x9d}, // push $0x40602; popf: AC, DF
		[]byte{0x6a, 0x00, 0x0f, 0xae, 0x14, 0x24}, // push $0; ldmxcsr (%rsp): no exception masked
		[]byte{0x6a, 0x40, 0xd9, 0x2c, 0x24},       // push $0x40; fldcw (%rsp): likewise, 24 bits
		[]byte{0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9}, // fld1; fldz; fdivrp: #MF is pending
	)
	eachMode(t, func(t *testing.T, p platform.Platform) {
		e := (&image{threads: 1, code: code(dirty, eexit)}).build(t, p)
		th := newThread(t, e)
		_, _, _, _, mxcsr, fcw := hostState()
		if x, err := th.Enter(tcsOff(0), sgx.LeafEENTER, new(platform.Regs)); err != nil || x.Kind != platform.ExitEEXIT {
			t.Fatal(x, err)
		}
		_, _, _, _, m, f := hostState()
		if m&^mxcsrSticky != mxcsr&^mxcsrSticky || f != fcw {
			t.Errorf("MXCSR %#x, FCW %#x; were %#x, %#x", m, f, mxcsr, fcw)
		}
		if q := math.Sqrt(float64(len(os.Args))) / 3; q*3 == 0 || math.IsNaN(q) {
			t.Error(q)
		}
		b := make([]byte, 4096)
		copy(b[1:], b) // backwards, by instructions that DF and AC would disturb
		hostCanPanic(t)
	})
}

func TestRSPAtExit(t *testing.T) {
	setRSP := []byte{0x48, 0x89, 0xfc} // mov %rdi,%rsp
	eachMode(t, func(t *testing.T, p platform.Platform) {
		e := (&image{threads: 2, code: code(setRSP, eexit)}).build(t, p)
		th := newThread(t, e)
		c := uint64(th.(*thread).os.addr())
		for name, rsp := range map[string]uint64{
			"zero": 0, "not canonical": 1 << 63, "inside": e.SECS().BaseAddr + imageStack,
			"hole": e.SECS().BaseAddr + imageGuard, "unused block": uint64(arenaBase) + arenaSize - 64,
			"signal stack": c + altStackOff + 0x8000, "control": c + 0x100, "guard": c + 0x3100, "below": uint64(arenaBase) - 1, "behind": uint64(arenaBase) + arenaSize,
		} {
			r := platform.Regs{RDI: rsp, RSI: 1, RDX: 2, R8: 3, R9: 4, R10: 5}
			want := r
			if x, err := th.Enter(tcsOff(0), sgx.LeafEENTER, &r); err != nil || x.Kind != platform.ExitEEXIT || r != want {
				t.Errorf("%s: %v %v %+v", name, x, err, r)
			}
			hostCanPanic(t)
		}
	})
}

func TestRefusedEntries(t *testing.T) {
	e := (&image{threads: 1, code: ud2, attr: sgx.AttrDebug}).build(t, testPlatform(t, false))
	th := newThread(t, e)
	enter := func(off uint64, leaf sgx.Leaf) error {
		t.Helper()
		_, err := th.Enter(off, leaf, new(platform.Regs))
		return err
	}
	for _, off := range []uint64{0, imageGuard, imageSize, tcsOff(0) + 8, math.MaxUint64} {
		for _, leaf := range []sgx.Leaf{sgx.LeafEENTER, sgx.LeafERESUME} {
			if err := enter(off, leaf); err == nil {
				t.Errorf("leaf %d entered at %#x", leaf, off)
			}
		}
	}
	if err := enter(tcsOff(0), sgx.LeafEEXIT); err == nil {
		t.Error("EEXIT is no entry")
	}
	if err := enter(tcsOff(0), sgx.LeafERESUME); err == nil {
		t.Error("ERESUME at CSSA 0")
	}
	for i := range 2 {
		if err := enter(tcsOff(0), sgx.LeafEENTER); err != nil || cssaOf(t, e) != uint32(i+1) {
			t.Fatalf("%v, CSSA %d", err, cssaOf(t, e))
		}
	}
	if err := enter(tcsOff(0), sgx.LeafEENTER); err == nil {
		t.Error("EENTER with all SSA frames in use")
	}
	if err := enter(tcsOff(0), sgx.LeafERESUME); err != nil || cssaOf(t, e) != 2 {
		t.Errorf("%v, CSSA %d, want 2", err, cssaOf(t, e))
	}
}

// Close leaves no trace on the OS thread.
func TestThreadClose(t *testing.T) {
	e := (&image{threads: 1, code: eexit}).build(t, testPlatform(t, false))
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := hostThreadState(t)
	a, b := newThread(t, e), newThread(t, e)
	bound := hostThreadState(t)
	if bound == before {
		t.Fatal("a bound thread has the signal mask and stack of any other")
	}
	a.Close()
	a.Close()
	if hostThreadState(t) != bound {
		t.Error("closed while another thread of the goroutine is open")
	}
	if x, err := b.Enter(tcsOff(0), sgx.LeafEENTER, new(platform.Regs)); err != nil || x.Kind != platform.ExitEEXIT {
		t.Error(x, err)
	}
	b.Close()
	if after := hostThreadState(t); after != before {
		t.Errorf("state %+v, was %+v", after, before)
	}
	hostCanPanic(t)
}

// A goroutine that ends without Close takes its OS thread with it. The next
// one works as well, whatever its thread's id.
func TestForgottenThread(t *testing.T) {
	e := (&image{threads: 1, code: eexit}).build(t, testPlatform(t, false))
	for range 20 {
		done := make(chan struct{})
		go func() {
			defer close(done)
			th, err := e.NewThread()
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := th.Enter(tcsOff(0), sgx.LeafEENTER, new(platform.Regs)); err != nil {
				t.Error(err)
			}
		}()
		<-done
	}
}
