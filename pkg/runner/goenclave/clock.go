package goenclave

import (
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/enclaveos/eos/pkg/wall"
)

// clock keeps the clock page, from which the enclave tells the time without
// leaving: a TSC value, the clocks at that moment, and the TSC's rate. The page is
// set anew when the enclave is out anyway and it is old, so that the error of the
// rate, and adjustments of the host's clock, do not add up. An idle enclave needs
// no page, and gets a new one when it comes back from its sleep.
type clock struct {
	page  hostMemory
	start time.Time
	first moment        // the longer ago, the better the rate
	due   atomic.Uint64 // TSC value from which on the page is old
	life  atomic.Uint64 // lifeEvery in ticks

	mu    sync.Mutex
	seq   uint32
	every time.Duration // how old it may get
}

// moment is one reading of both clocks.
type moment struct {
	tsc uint64
	at  time.Time
}

const (
	monoBase    = time.Second // the monotonic clock's first value; zero means unknown to some
	minBaseline = 2 * time.Millisecond
	firstEvery  = 10 * time.Millisecond
	lastEvery   = time.Second
)

// newClock starts a clock. The more time has passed between first and set, the better.
func newClock(first moment) *clock {
	return &clock{page: newHostMemory(wall.ClockPageSize), start: time.Now(), first: first, every: firstEvery}
}

// readClocks reads both clocks as closely together as it can.
func readClocks() moment {
	var m moment
	best := ^uint64(0)
	for range 5 {
		t0 := rdtsc()
		now := time.Now()
		t1 := rdtsc()
		if t1-t0 < best {
			best = t1 - t0
			m = moment{t0 + best/2, now}
		}
	}
	return m
}

// set makes the first page.
func (c *clock) set() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for time.Since(c.first.at) < minBaseline {
		runtime.Gosched()
	}
	c.write()
}

// check sets the page anew if it is old.
func (c *clock) check() {
	if rdtsc() < c.due.Load() || !c.mu.TryLock() {
		return
	}
	c.write()
	c.every = min(2*c.every, lastEvery)
	c.mu.Unlock()
}

// write writes the page. The caller holds c.mu.
func (c *clock) write() {
	m := readClocks()
	rate := rate(m.tsc-c.first.tsc, m.at.Sub(c.first.at))
	c.page.store(0, uint64(c.seq+1))
	c.page.store(1, m.tsc)
	c.page.store(2, rate)
	c.page.store(3, uint64(monoBase+m.at.Sub(c.start)))
	c.page.store(4, uint64(m.at.UnixNano()))
	c.seq += 2
	c.page.store(0, uint64(c.seq))
	c.life.Store(ticks(lifeEvery, rate))
	c.due.Store(m.tsc + ticks(c.every, rate))
}

// rate returns the nanoseconds per tick, times 2^32, of that many ticks in d.
func rate(ticks uint64, d time.Duration) uint64 {
	hi, lo := bits.Mul64(uint64(d), 1<<32)
	if ticks == 0 || hi >= ticks {
		return 1 << 32 // no counter that counts: the enclave will see time creep
	}
	q, _ := bits.Div64(hi, lo, ticks)
	return q
}

// ticks returns how many ticks d has.
func ticks(d time.Duration, rate uint64) uint64 {
	hi, lo := bits.Mul64(uint64(d), 1<<32)
	if rate <= hi {
		return 1 << 62
	}
	q, _ := bits.Div64(hi, lo, rate)
	return q
}
