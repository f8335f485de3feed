package goenclave

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// at computes the clocks at a TSC value as the kernel does.
func (c *clock) at(tsc uint64) (mono, wall uint64, seq uint32) {
	p := c.page
	ns := uint64(float64(tsc-p[1]) * float64(p[2]) / (1 << 32))
	return p[3] + ns, p[4] + ns, uint32(p[0])
}

func TestClock(t *testing.T) {
	c := newClock(readClocks())
	c.set()
	var lastSeq uint32
	for range 20 {
		t0 := time.Now()
		mono, wall, seq := c.at(rdtsc())
		t1 := time.Now()
		// Right after a calibration of 2 ms: off by its error only.
		const off = int64(time.Millisecond)
		if w := int64(wall); w < t0.UnixNano()-off || w > t1.UnixNano()+off {
			t.Errorf("the wall clock is %v off", time.Duration(w-t0.UnixNano()))
		}
		if m := int64(mono) - int64(monoBase); m < int64(t0.Sub(c.start))-off || m > int64(t1.Sub(c.start))+off {
			t.Errorf("the monotonic clock is %v off", time.Duration(m-int64(t0.Sub(c.start))))
		}
		if seq%2 != 0 || seq < lastSeq || c.page[0]>>32 != 0 {
			t.Errorf("sequence %#x after %d", c.page[0], lastSeq)
		}
		lastSeq = seq
		c.due.Store(0)
		c.check()
	}
	if lastSeq < 38 {
		t.Errorf("sequence %d after 20 pages", lastSeq)
	}
	if c.every != lastEvery {
		t.Errorf("after 20 pages the next is due in %v, want %v", c.every, lastEvery)
	}
	page := append(hostMemory(nil), c.page...)
	c.check() // not due
	for i := range page {
		if c.page[i] != page[i] {
			t.Error("a page that is not due is written")
		}
	}
}

// Readers by the rules of the sequence see whole pages only.
func TestClockSequence(t *testing.T) {
	c := newClock(readClocks())
	c.set()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				c.due.Store(0)
				c.check()
			}
		}
	})
	load := func(i int) uint64 { return atomic.LoadUint64(&c.page[i]) }
	for n := 0; n < 20000; {
		seq := load(0)
		tsc, mono, wall := load(1), load(3), load(4)
		if seq%2 != 0 || load(0) != seq {
			continue
		}
		n++
		// In a whole page both clocks are of the same moment.
		if d := time.Duration(wall - mono - uint64(c.start.UnixNano()) + uint64(monoBase)); d.Abs() > time.Second {
			t.Fatalf("clocks of different pages: TSC %d, apart by %v", tsc, d)
		}
	}
	close(stop)
	wg.Wait()
}

func TestRate(t *testing.T) {
	for _, c := range []struct {
		ticks uint64
		d     time.Duration
		want  uint64
	}{
		{2_000_000_000, time.Second, 1 << 31},
		{1_000_000_000, time.Second, 1 << 32},
		{3, 1, (1 << 32) / 3},
		{0, time.Second, 1 << 32},
		{1, math.MaxInt64, 1 << 32}, // does not fit
	} {
		if got := rate(c.ticks, c.d); got != c.want {
			t.Errorf("rate of %d ticks in %v is %d, want %d", c.ticks, c.d, got, c.want)
		}
	}
	if got := ticks(time.Second, 1<<31); got != 2_000_000_000 {
		t.Errorf("a second has %d ticks of half a nanosecond", got)
	}
	if got := ticks(time.Hour, 1); got != 1<<62 {
		t.Errorf("ticks that do not fit: %d", got)
	}
}
