package kernel

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	wall "github.com/enclaveos/eos/pkg/wall"
)

// A mutex of the Go runtime's kind, on futexes, among threads that the host wakes
// as it likes. Nobody is forgotten and two are never in.
func TestFutexMutex(t *testing.T) {
	for _, restless := range []bool{false, true} {
		e := newEnclave(t)
		e.boot(t)
		var tsc atomic.Uint64
		machine.readTSC = func() uint64 { return tsc.Add(1000) }
		word := e.user(t, pageSize)
		var who sync.Map // OS thread → thread
		self := func() *thread { v, _ := who.Load(syscall.Gettid()); return v.(*thread) }
		machine.ocall = func(kind, a1, a2, a3 uint64) uint64 {
			switch wall.Notify(kind) {
			case wall.NotifyPark:
				if restless && rand.IntN(3) == 0 {
					return 0
				}
				select {
				case <-e.tokens[self().idx]:
				case <-time.After(30 * time.Second):
					t.Errorf("thread %d was never woken", self().idx)
				}
			case wall.NotifyWake:
				select {
				case e.tokens[a1] <- struct{}{}:
				default:
				}
			}
			return 0
		}
		var in, count int64
		var wg sync.WaitGroup
		for i := range uint64(6) {
			th := threadAt(i)
			th.state = stateBusy
			wg.Go(func() {
				growStack(16)
				runtime.LockOSThread()
				who.Store(syscall.Gettid(), th)
				w := at[uint32](word)
				for range 2000 {
					// 0 free, 1 taken, 2 taken and somebody waits
					if !atomic.CompareAndSwapUint32(w, 0, 1) {
						for atomic.SwapUint32(w, 2) != 0 {
							futex(th, &frame{di: word, si: 128 | futexWait, dx: 2})
						}
					}
					if atomic.AddInt64(&in, 1) != 1 {
						t.Error("two are in")
					}
					count++
					atomic.AddInt64(&in, -1)
					if atomic.SwapUint32(w, 0) == 2 {
						futex(th, &frame{di: word, si: 128 | futexWake, dx: 1})
					}
				}
			})
		}
		wg.Wait()
		if count != 12000 {
			t.Errorf("counted %d", count)
		}
	}
}

func TestFutex(t *testing.T) {
	e := newEnclave(t)
	e.boot(t)
	th := threadAt(0)
	word := e.user(t, pageSize)
	ts := word + 64
	store32(word, 7)
	if r := futex(th, &frame{di: word, si: 128, dx: 8}); r != errAgain {
		t.Errorf("another value: %d", int64(r))
	}
	store(ts, 0)
	store(ts+8, 5000)
	e.tsc = 0
	if r := futex(th, &frame{di: word, si: 128, dx: 7, r10: ts}); r != errTimedOut || th.waitAddr != 0 {
		t.Errorf("timeout: %d", int64(r))
	}
	store(ts+8, second)
	if r := futex(th, &frame{di: word, si: 128, dx: 7, r10: ts}); r != errInval {
		t.Errorf("no time: %d", int64(r))
	}
	th.pending = 1 << (sigUrg - 1)
	actions[sigUrg].handler = 4711
	if r := futex(th, &frame{di: word, si: 128, dx: 7}); r != errIntr || th.waitAddr != 0 {
		t.Errorf("a signal: %d", int64(r))
	}
	if r := futex(th, &frame{di: word, si: 9, dx: 7}); r != errNoSys {
		t.Errorf("FUTEX_WAIT_BITSET: %d", int64(r))
	}
	// Wakes count who waits, and no more than asked for.
	for i := uint64(0); i < 4; i++ {
		threadAt(i).enqueue(word)
	}
	e.ocalls = nil
	if n := futex(th, &frame{di: word, si: 129, dx: 3}); n != 3 || len(e.ocalls) != 3 {
		t.Errorf("woke %d with %v", n, e.ocalls)
	}
	if n := futex(th, &frame{di: word, si: 129, dx: 3}); n != 1 {
		t.Errorf("then woke %d", n)
	}
	if threadAt(3).woken != 1 || threadAt(3).waitAddr != 0 {
		t.Error("thread 3 still waits")
	}
}

func TestNanosleep(t *testing.T) {
	e := newEnclave(t)
	e.boot(t)
	th := threadAt(0)
	ts := e.user(t, pageSize)
	store(ts+8, 10_000)
	e.tsc = 0
	if r := nanosleep(th, ts, 0); r != 0 || e.tsc < 10_000 {
		t.Errorf("slept until tick %d: %d", e.tsc, int64(r))
	}
	th.pending = 1 << (sigUrg - 1)
	store(ts, 100)
	if r := nanosleep(th, ts, ts+16); r != errIntr || load(ts+16) != 100 {
		t.Errorf("interrupted: %d, %d s left", int64(r), load(ts+16))
	}

	// A short one does not leave, and ends even if time stands still.
	machine.ocall = func(kind, a1, a2, a3 uint64) uint64 {
		t.Errorf("OCALL %d(%d, %d, %d)", kind, a1, a2, a3)
		return 0
	}
	store(ts, 0)
	store(ts+8, spinSleep)
	before := now(false)
	if r := nanosleep(th, ts, 0); r != 0 || now(false)-before < spinSleep {
		t.Errorf("slept %d ns: %d", now(false)-before, int64(r))
	}
	store(clockPage+16, 0)
	if r := nanosleep(th, ts, 0); r != 0 {
		t.Errorf("without a clock: %d", int64(r))
	}
}
