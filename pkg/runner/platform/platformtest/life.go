package platformtest

import (
	"errors"
	"sync"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

func testLife(t *testing.T, p platform.Platform) {
	subtests(t, p, []subtest{
		{"DebugRead", testDebugRead},
		{"production", testProduction},
		{"close while inside", testCloseBusy},
		{"closed", testClosed},
		{"close with a frame", testCloseInterrupted},
		{"threads come and go", testThreads},
		{"many enclaves", testMany},
	})
}

func testDebugRead(t *testing.T, p platform.Platform) {
	e := exitOnly().start(t, p)
	// Across pages, and any number of bytes.
	b := e.read(t, offGS-3, 11)
	if b[3] != byte(markGS&0xff) || b[0] != 0 {
		t.Errorf("read %x", b)
	}
	must(t, e.DebugRead(offData, nil))
	for name, off := range map[string]uint64{
		"a hole": offHole, "into a hole": offHole - 4, "outside": imageSize, "over the end": imageSize - 4, "far outside": 1<<64 - 8,
	} {
		if err := e.DebugRead(off, make([]byte, 8)); err == nil {
			t.Errorf("%s: accepted", name)
		} else if errors.Is(err, platform.ErrNotDebug) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	// A page without rights is read all the same, and a TCS.
	e.read(t, offNone, 8)
	if tcs := e.read(t, offTCS+16, 8); tcs[1] != offSSA>>8 {
		t.Errorf("OSSA reads as %x", tcs)
	}
}

// A production enclave runs and shows nothing.
func testProduction(t *testing.T, p platform.Platform) {
	e := counter().production().start(t, p)
	th := e.thread(t)
	wantEEXIT(t, th, sgx.LeafEENTER, new(platform.Regs))
	b := []byte("unchanged")
	if err := e.DebugRead(offData, b); !errors.Is(err, platform.ErrNotDebug) || string(b) != "unchanged" {
		t.Errorf("DebugRead: %v, %q; want %v", err, b, platform.ErrNotDebug)
	}
	if a := e.SECS().Attributes.Flags; a&sgx.AttrDebug != 0 {
		t.Errorf("attributes are %s", a)
	}
}

func testCloseBusy(t *testing.T, p platform.Platform) {
	e := spinner().start(t, p)
	_, done := e.enterElsewhere(sgx.LeafEENTER, platform.Regs{RDI: 3})
	e.waitInside(t)
	for range 3 {
		if err := e.Close(); !errors.Is(err, platform.ErrBusy) {
			t.Errorf("Close while a thread is inside: %v, want %v", err, platform.ErrBusy)
		}
	}
	// It is as it was.
	e.release(t)
	(<-done).wantEEXIT(t, ^uint64(3))
	must(t, e.Close())
}

func testClosed(t *testing.T, p platform.Platform) {
	e := exitOnly().start(t, p)
	th, err := e.NewThread()
	must(t, err)
	defer th.Close()
	wantEEXIT(t, th, sgx.LeafEENTER, new(platform.Regs))
	must(t, e.Close())
	if _, err := th.Enter(offTCS, sgx.LeafEENTER, new(platform.Regs)); !errors.Is(err, platform.ErrClosed) {
		t.Errorf("Enter: %v, want %v", err, platform.ErrClosed)
	}
	if err := e.DebugRead(offData, make([]byte, 8)); !errors.Is(err, platform.ErrClosed) {
		t.Errorf("DebugRead: %v, want %v", err, platform.ErrClosed)
	}
	if th, err := e.NewThread(); !errors.Is(err, platform.ErrClosed) {
		t.Errorf("NewThread: %v, want %v", err, platform.ErrClosed)
		if err == nil {
			th.Close()
		}
	}
	th.Interrupt()
	if s := e.SECS(); s.MREnclave != e.mr {
		t.Error("the SECS is gone")
	}
}

// A thread that has been interrupted is not inside: the enclave can be closed.
func testCloseInterrupted(t *testing.T, p platform.Platform) {
	e := faulting(nothing, "ud2").start(t, p)
	th := e.thread(t)
	wantException(t, enter(t, th, new(platform.Regs)), sgx.VectorUD)
	must(t, e.Close())
}

// Goroutines become logical processors and stop being them.
func testThreads(t *testing.T, p platform.Platform) {
	e := counter().start(t, p)
	for range 50 {
		var wg sync.WaitGroup
		wg.Go(func() {
			th, err := e.NewThread()
			if err != nil {
				t.Error(err)
				return
			}
			defer th.Close()
			if x, err := th.Enter(offTCS, sgx.LeafEENTER, new(platform.Regs)); err != nil || x.Kind != platform.ExitEEXIT {
				t.Errorf("%v, %s", err, x)
			}
		})
		wg.Wait()
	}
	if n := e.read64(t, offData) - markData; n != 50 {
		t.Errorf("the enclave ran %d times, want 50", n)
	}
}

func testMany(t *testing.T, p platform.Platform) {
	im := counter()
	sig := im.signature(t)
	for range 40 {
		e, err := im.build(t, p).Init(sig)
		must(t, err)
		th, err := e.NewThread()
		must(t, err)
		wantEEXIT(t, th, sgx.LeafEENTER, new(platform.Regs))
		th.Close()
		must(t, e.Close())
	}
}
