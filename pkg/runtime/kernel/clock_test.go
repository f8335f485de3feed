package kernel

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

func TestClock(t *testing.T) {
	e := newEnclave(t)
	e.boot(t)
	e.tsc = 0
	a, b := now(false), now(false)
	if a != 5*second+1000 || b != a+1000 {
		t.Errorf("monotonic: %d, then %d", a, b)
	}
	if w := now(true); w != 1_800_000_000*second+3000 {
		t.Errorf("wall clock: %d", w)
	}
	ts := e.user(t, pageSize)
	for id := uint64(0); id < 8; id++ {
		if r := clockGettime(id, ts); r != 0 || load(ts) == 0 || load(ts+8) >= second {
			t.Errorf("clock %d: %d, %d.%d", id, int64(r), load(ts), load(ts+8))
		}
	}
	if r := clockGettime(8, ts); r != errInval {
		t.Errorf("clock 8: %d", int64(r))
	}
}

// Whatever the host does to its page, no thread ever sees time go back, and no
// reading hangs.
func TestClockLies(t *testing.T) {
	e := newEnclave(t)
	e.boot(t)
	var tsc atomic.Uint64
	machine.readTSC = func() uint64 { return tsc.Add(7) }
	stop := make(chan struct{})
	var liar, readers sync.WaitGroup
	liar.Go(func() {
		r := rand.New(rand.NewPCG(1, 2))
		for {
			select {
			case <-stop:
				return
			default:
			}
			v := r.Uint64() >> r.UintN(64)
			store(clockPage+8*r.Uint64N(5), v)
			if r.IntN(3) == 0 { // sometimes a page that looks sound
				store(clockPage, v&^1)
				store(clockPage+8, tsc.Load())
				store(clockPage+16, 1<<32)
			}
		}
	})
	var latest uint64
	for range 3 {
		readers.Go(func() {
			growStack(16)
			for range 30000 {
				before := atomic.LoadUint64(&latest)
				n := now(false)
				if n < before || n > 2*maxTime {
					t.Errorf("%d after %d", n, before)
					return
				}
				advance(&latest, n)
				now(true)
			}
		})
	}
	readers.Wait()
	close(stop)
	liar.Wait()
}

func TestClockAbsurd(t *testing.T) {
	e := newEnclave(t)
	e.boot(t)
	e.tsc = 0
	was := now(false)
	for _, c := range []struct {
		what  string
		off   uint64
		value uint64
	}{
		{"always being written", 0, 1},
		{"no rate", 16, 0},
		{"a slow rate", 16, minRate - 1},
		{"a fast rate", 16, maxRate + 1},
		{"monotonic base", 24, maxTime + 1},
		{"wall base", 32, ^uint64(0)},
	} {
		old := load(clockPage + c.off)
		store(clockPage+c.off, c.value)
		if n := now(false); n != was {
			t.Errorf("%s: %d, want time to stand still at %d", c.what, n, was)
		}
		store(clockPage+c.off, old)
	}
	store(clockPage+8, 1<<40) // a base in the future
	if n := now(false); n != was {
		t.Errorf("base in the future: %d, want %d", n, was)
	}
	store(clockPage+8, 0)
	store(clockPage+24, 1) // back to the beginning
	if n := now(false); n < was {
		t.Errorf("time went back from %d to %d", was, n)
	}
}

func TestTimespec(t *testing.T) {
	e := newEnclave(t)
	e.boot(t)
	p := e.user(t, pageSize)
	for _, c := range []struct {
		sec, nsec uint64
		want      uint64
		ok        bool
	}{
		{0, 0, 0, true}, {1, 5, second + 5, true}, {0, second, 0, false}, {^uint64(0), 0, 0, false},
		{1 << 62, 1, maxTime/second*second + 1, true},
	} {
		store(p, c.sec)
		store(p+8, c.nsec)
		if ns, ok := timespec(p); ns != c.want || ok != c.ok {
			t.Errorf("%d.%d: %d, %v", c.sec, c.nsec, ns, ok)
		}
	}
}

func TestRandom(t *testing.T) {
	e := newEnclave(t)
	e.boot(t)
	p := e.user(t, pageSize)
	asked := 0
	answers := []struct {
		v  uint64
		ok bool
	}{{1, false}, {^uint64(0), true}, {0x1122334455667788, true}}
	machine.random = func() (uint64, bool) {
		a := answers[asked%len(answers)]
		asked++
		return a.v, a.ok
	}
	if r := getrandom(p, 11); r != 11 {
		t.Fatalf("getrandom: %d", int64(r))
	}
	if asked != 6 || load(p) != 0x1122334455667788 || load(p+8) != 0x667788 {
		t.Errorf("asked %d times, got %x %x", asked, load(p), load(p+8))
	}
	for _, v := range []struct {
		v  uint64
		ok bool
	}{{1, false}, {^uint64(0), true}} {
		asked = 0
		machine.random = func() (uint64, bool) { asked++; return v.v, v.ok }
		if r := getrandom(p, 8); r != errIO || load(p) != 0 || asked != randomTries {
			t.Errorf("a dead source: %d after %d tries, and %x in the buffer", int64(r), asked, load(p))
		}
	}
}
