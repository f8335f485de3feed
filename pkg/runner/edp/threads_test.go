package edp

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestEvents is the order in which events are taken: without waiting the
// highest set, with waiting the lowest, of those that intersect the mask.
func TestEvents(t *testing.T) {
	runMain(t, Options{}, func(f *fakeTCS) {
		me := f.addr()
		for _, set := range []uint64{0, 16, 17, 1 << 63, ^uint64(0)} {
			f.wantResult(CallSend, ResultInvalidInput, set, me)
		}
		f.wantResult(CallSend, ResultInvalidInput, EvUnpark, me+1)
		f.wantResult(CallSend, ResultInvalidInput, EvUnpark, f.off)
		for _, mask := range []uint64{16, 31, 1 << 63} {
			f.wantResult(CallWait, ResultInvalidInput, mask, 0)
			f.wantResult(CallWait, ResultInvalidInput, mask, 5)
			f.wantResult(CallWait, ResultInvalidInput, mask, waitIndefinite)
		}
		f.wantResult(CallWait, ResultWouldBlock, 0, 0)
		f.wantResult(CallWait, ResultWouldBlock, evAll, 0)
		f.wantResult(CallWait, ResultTimedOut, evAll, 1000)
		f.wantResult(CallWait, ResultTimedOut, 0, 1000)

		send := func(sets ...uint64) {
			for _, s := range sets {
				f.wantResult(CallSend, 0, s, me)
			}
		}
		send(5, 2, 5, 12)
		f.want(CallWait, []uint64{evAll, 0}, 0, 12)
		f.want(CallWait, []uint64{1, 0}, 0, 5)
		f.want(CallWait, []uint64{evAll, waitIndefinite}, 0, 2)
		f.want(CallWait, []uint64{4, 1 << 40}, 0, 5)
		f.wantResult(CallWait, ResultWouldBlock, evAll, 0)

		send(15, 8, 4, 3)
		f.want(CallWait, []uint64{12, waitIndefinite}, 0, 4)
		f.want(CallWait, []uint64{1, ^uint64(1)}, 0, 3)
		f.wantResult(CallWait, ResultTimedOut, 0, 1)
		f.want(CallWait, []uint64{2, 0}, 0, 15)
		f.wantResult(CallWait, ResultWouldBlock, 7, 0)
		f.want(CallWait, []uint64{8, 77}, 0, 8)

		// To all, which is only this one.
		f.wantResult(CallSend, 0, 1, 0)
		f.want(CallWait, []uint64{1, 0}, 0, 1)
	})
}

// TestEventQueueCounts: a set that was sent n times is taken n times.
func TestEventQueueCounts(t *testing.T) {
	q := newEventQueue()
	for range 1000 {
		q.push(6)
	}
	for range 1000 {
		if set, ok := q.take(2); !ok || set != 6 {
			t.Fatalf("took %d, %v", set, ok)
		}
	}
	if _, ok := q.take(evAll); ok {
		t.Error("there was one too many")
	}
}

// TestThreads starts all threads again and again; events are kept for those
// that do not run yet.
func TestThreads(t *testing.T) {
	const threads, rounds = 5, 40
	var entries atomic.Int32
	main := uint64(0)
	runThreads(t, threads, Options{}, func(f *fakeTCS) {
		main = f.addr()
		// Any of them may be launched most often.
		for _, off := range f.e.runner.TCS[1:] {
			for range (threads - 1) * rounds {
				f.wantResult(CallSend, 0, EvUnpark, fakeBase+off)
			}
		}
		for range rounds {
			for range threads - 1 {
				f.launch()
			}
			for range threads - 1 {
				f.want(CallWait, []uint64{EvUsercallQNotFull, waitIndefinite}, 0, EvUsercallQNotFull)
			}
		}
	}, func(f *fakeTCS, args [5]uint64) (uint64, uint64) {
		if args != [5]uint64{} {
			t.Errorf("a thread was entered with %v", args)
		}
		entries.Add(1)
		if r, ev := f.call(CallWait, EvUnpark, waitIndefinite); r != 0 || ev != EvUnpark {
			t.Errorf("wait returned %v, %d", Result(r), ev)
		}
		f.wantResult(CallSend, 0, EvUsercallQNotFull, main)
		return 0, 0
	})
	if n := entries.Load(); n != (threads-1)*rounds {
		t.Errorf("%d threads ran, want %d", n, (threads-1)*rounds)
	}
}

// launch launches a thread, after those that are still on their way out.
func (t *fakeTCS) launch() {
	for {
		switch r, _ := t.call(CallLaunchThread); Result(r) {
		case ResultSuccess:
			return
		case ResultWouldBlock:
			t.call(CallWait, 0, 10_000)
		default:
			t.e.t.Errorf("launch_thread: %v", Result(r))
			t.exit(1)
		}
	}
}

// TestLaunchOrder: TCSs are used in the order of the image, then in the order
// in which they became free; each keeps its memory, here the count of entries.
func TestLaunchOrder(t *testing.T) {
	var mu sync.Mutex
	var order []uint64
	var c *Command
	e := newFake(t, 3, func(f *fakeTCS, _ [5]uint64) (uint64, uint64) {
		for range 4 {
			f.launch()
			f.want(CallWait, []uint64{EvUnpark, waitIndefinite}, 0, EvUnpark)
			// The thread has told us, but is still on its way out.
			for c.s.alive.Load() > 1 {
				f.call(CallWait, 0, 10_000)
			}
		}
		f.exit(0)
		return 0, 0
	}, func(f *fakeTCS, _ [5]uint64) (uint64, uint64) {
		mu.Lock()
		order = append(order, f.off<<8|uint64(f.count))
		mu.Unlock()
		f.call(CallSend, EvUnpark, 0)
		return 0, 0
	})
	var err error
	if c, err = NewCommand(e.runner, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := runCommand(t, c); err != nil {
		t.Fatal(err)
	}
	want := []uint64{0x400001, 0x600001, 0x400002, 0x600002}
	if len(order) != len(want) {
		t.Fatalf("entries are %#x", order)
	}
	for i := range want {
		if order[i] != want[i] {
			t.Errorf("entries are %#x, want %#x", order, want)
			break
		}
	}
}

func TestNoThreads(t *testing.T) {
	runMain(t, Options{}, func(f *fakeTCS) { f.wantResult(CallLaunchThread, ResultWouldBlock) })
}

// TestThreadEnds: what a thread other than main can do to the rest.
func TestThreadEnds(t *testing.T) {
	park := func(f *fakeTCS) {
		f.wantResult(CallLaunchThread, 0)
		f.call(CallWait, EvUnpark, waitIndefinite)
	}
	for _, tt := range []struct {
		name, want string
		main       func(f *fakeTCS)
		other      program
	}{
		{"exits well", "", park, func(f *fakeTCS, _ [5]uint64) (uint64, uint64) { f.exit(0); return 0, 0 }},
		{"exits while main spins", "", func(f *fakeTCS) {
			f.call(CallLaunchThread)
			f.spin()
		}, func(f *fakeTCS, _ [5]uint64) (uint64, uint64) { f.exit(0); return 0, 0 }},
		{"panics", "Enclave panicked: thread", park, func(f *fakeTCS, _ [5]uint64) (uint64, uint64) {
			f.panicText(0, "thread")
			f.exit(1)
			return 0, 0
		}},
		{"returns a value", "The enclave returned 0x1, 0x0 from the thread entrypoint in violation of the specification: both must be zero", park,
			func(*fakeTCS, [5]uint64) (uint64, uint64) { return 1, 0 }},
		{"returns a second value", "The enclave returned 0x0, 0x2 from", park,
			func(*fakeTCS, [5]uint64) (uint64, uint64) { return 0, 2 }},
		{"bad usercall", "bad usercall free(", park, func(f *fakeTCS, _ [5]uint64) (uint64, uint64) {
			f.call(CallFree, 1, 1, 1)
			return 0, 0
		}},
		{"waits for nothing, main goes on", "", func(f *fakeTCS) {
			f.wantResult(CallLaunchThread, 0)
			f.call(CallWait, 0, 5_000_000)
			f.exit(0)
		}, func(f *fakeTCS, _ [5]uint64) (uint64, uint64) { f.call(CallWait, 0, waitIndefinite); return 0, 0 }},
		{"waits for nothing, main for it", ErrDeadlock.Error(), park,
			func(f *fakeTCS, _ [5]uint64) (uint64, uint64) { f.call(CallWait, 0, waitIndefinite); return 0, 0 }},
		{"all wait for each other", ErrDeadlock.Error(), park,
			func(f *fakeTCS, _ [5]uint64) (uint64, uint64) {
				f.call(CallWait, EvUnpark, waitIndefinite)
				return 0, 0
			}},
		{"leaves, main waits on", ErrDeadlock.Error(), park,
			func(*fakeTCS, [5]uint64) (uint64, uint64) { return 0, 0 }},
		{"exception", "exception_vector: 0,", park, func(f *fakeTCS, _ [5]uint64) (uint64, uint64) { f.fault(0, 0, 0); return 0, 0 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newFake(t, 2, func(f *fakeTCS, _ [5]uint64) (uint64, uint64) { tt.main(f); return 0, 0 }, tt.other)
			err := runFake(t, e, Options{})
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && err == nil:
				t.Error("the enclave ended well")
			case tt.want != "":
				wantText(t, err, tt.want)
			}
		})
	}
}

// TestNoFalseDeadlock passes one event round for long: at each moment all
// threads but one wait.
func TestNoFalseDeadlock(t *testing.T) {
	const threads, rounds = 4, 2000
	next := func(f *fakeTCS) uint64 { return fakeBase + f.off%(0x2000*threads) + 0x2000 }
	pass := func(f *fakeTCS) {
		for range rounds {
			f.want(CallWait, []uint64{EvUnpark, waitIndefinite}, 0, EvUnpark)
			f.wantResult(CallSend, 0, EvUnpark, next(f))
		}
	}
	runThreads(t, threads, Options{}, func(f *fakeTCS) {
		for range threads - 1 {
			f.wantResult(CallLaunchThread, 0)
		}
		f.wantResult(CallSend, 0, EvUnpark, f.addr())
		pass(f)
		f.call(CallWait, EvUnpark, waitIndefinite) // the last one that comes round
	}, func(f *fakeTCS, _ [5]uint64) (uint64, uint64) { pass(f); return 0, 0 })
}

// TestAllStuck passes one event between two threads, one of which is therefore
// always awake, and looks all the time.
func TestAllStuck(t *testing.T) {
	qs := []*eventQueue{newEventQueue(), newEventQueue()}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	qs[0].push(1)
	for i, q := range qs {
		wg.Go(func() {
			for range 20000 {
				if _, err := q.wait(1, waitIndefinite, stop, func() {}); err != nil {
					t.Error(err)
					return
				}
				qs[1-i].push(1)
			}
		})
	}
	go func() { wg.Wait(); close(stop) }()
	for !isClosed(stop) {
		if allStuck(qs) || allStuck([]*eventQueue{qs[1], qs[0]}) {
			t.Fatal("both seem to wait")
		}
	}
	if !isClosed(stop) || allStuck(qs) {
		t.Error("nobody waits any more")
	}
}

// TestNoFalseDeadlockPingPong has many threads that wake each other and wait at
// once, so that the moment at which all seem to wait comes up often.
func TestNoFalseDeadlockPingPong(t *testing.T) {
	const threads, rounds = 6, 1500
	var pings [threads]atomic.Int32
	var pongs atomic.Int32
	runThreads(t, threads, Options{}, func(f *fakeTCS) {
		for range threads - 1 {
			f.launch()
		}
		for n := range rounds {
			for i, off := range f.e.runner.TCS[1:] {
				pings[i+1].Store(int32(n + 1))
				f.call(CallSend, EvUnpark, fakeBase+off)
			}
			for pongs.Load() != int32((n+1)*(threads-1)) {
				f.want(CallWait, []uint64{EvUnpark, waitIndefinite}, 0, EvUnpark)
			}
		}
	}, func(f *fakeTCS, _ [5]uint64) (uint64, uint64) {
		i := f.off/0x2000 - 1
		for n := range rounds {
			for pings[i].Load() == int32(n) {
				f.want(CallWait, []uint64{EvUnpark, waitIndefinite}, 0, EvUnpark)
			}
			pongs.Add(1)
			f.call(CallSend, EvUnpark, fakeBase+0x2000)
		}
		return 0, 0
	})
}

// TestManyEnclaves runs some at once.
func TestManyEnclaves(t *testing.T) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			runThreads(t, 2, Options{}, func(f *fakeTCS) {
				for range 100 {
					f.launch()
					f.want(CallWait, []uint64{EvUnpark, waitIndefinite}, 0, EvUnpark)
				}
			}, func(f *fakeTCS, _ [5]uint64) (uint64, uint64) {
				f.call(CallSend, EvUnpark, fakeBase+0x2000)
				return 0, 0
			})
		})
	}
	wg.Wait()
}

func TestLibrary(t *testing.T) {
	gate := make(chan struct{})
	e := newFake(t, 2, nil, func(f *fakeTCS, a [5]uint64) (uint64, uint64) {
		switch a[0] {
		case 0: // arithmetic
			return a[1] + a[2], a[3] * a[4]
		case 1: // hold the TCS
			<-gate
		case 2:
			f.spin()
		case 3:
			f.call(CallWait, 0, waitIndefinite)
		case 4:
			f.wantResult(CallLaunchThread, ResultInvalidInput)
		case 5:
			f.panicText(0, "library")
			f.exit(1)
		case 6:
			f.exit(0)
		case 7:
			f.call(CallWait, EvUnpark, waitIndefinite)
		}
		return 0, 0
	})
	open := func() *Library {
		t.Helper()
		l, err := NewLibrary(e.runner, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	ctx := context.Background()
	l := open()
	if r1, r2, err := l.Call(ctx, 0, 2, 3, 4, 5); r1 != 5 || r2 != 20 || err != nil {
		t.Errorf("call returned %d, %d, %v", r1, r2, err)
	}
	if _, _, err := l.Call(ctx, 4, 0, 0, 0, 0); err != nil {
		t.Error(err)
	}

	// Both TCSs are in use; a third call waits for one.
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, _, err := l.Call(ctx, 1, 0, 0, 0, 0); err != nil {
				t.Error(err)
			}
		})
	}
	for {
		l.s.mu.Lock()
		n := len(l.s.free)
		l.s.mu.Unlock()
		if n == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	if _, _, err := l.Call(short, 0, 0, 0, 0, 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for a TCS: %v", err)
	}
	cancel()
	wg.Go(func() {
		if r1, _, err := l.Call(ctx, 0, 1, 1, 0, 0); r1 != 2 || err != nil {
			t.Errorf("the call that waited: %d, %v", r1, err)
		}
	})
	time.Sleep(5 * time.Millisecond)
	close(gate)
	wg.Wait()

	// A call that is given up costs its TCS.
	for _, what := range []uint64{2, 7} {
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		if _, _, err := l.Call(short, what, 0, 0, 0, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("call %d that does not end: %v", what, err)
		}
		cancel()
	}
	if _, _, err := l.Call(ctx, 0, 0, 0, 0, 0); err == nil || err.Error() != "no TCS is left: each was stopped inside or waits for ever" {
		t.Errorf("without a TCS: %v", err)
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if _, _, err := l.Call(ctx, 0, 0, 0, 0, 0); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestLibraryEnds(t *testing.T) {
	for _, tt := range []struct {
		name    string
		p       program
		want    string
		goesOn  bool
		another string // what a call under way gets
	}{
		{"waits for ever", func(f *fakeTCS, _ [5]uint64) (uint64, uint64) { f.call(CallWait, 0, waitIndefinite); return 0, 0 },
			"This thread is waiting indefinitely without possibility of wakeup", true, ""},
		{"exits", func(f *fakeTCS, _ [5]uint64) (uint64, uint64) { f.exit(0); return 0, 0 },
			"This thread aborted execution", false, "This thread exited because another thread aborted"},
		{"panics", func(f *fakeTCS, _ [5]uint64) (uint64, uint64) { f.panicText(0, "x"); f.exit(1); return 0, 0 },
			"Enclave panicked: x", false, "This thread exited because another thread aborted"},
		{"unknown usercall", func(f *fakeTCS, _ [5]uint64) (uint64, uint64) { f.call(99); return 0, 0 },
			"The enclave performed an invalid usercall 0x63", false, "This thread exited because another thread aborted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inside := make(chan struct{})
			e := newFake(t, 3, nil, func(f *fakeTCS, a [5]uint64) (uint64, uint64) {
				if a[0] == 1 {
					close(inside)
					f.spin()
				}
				if a[0] == 2 {
					return 2, 0
				}
				return tt.p(f, a)
			})
			l, err := NewLibrary(e.runner, Options{})
			if err != nil {
				t.Fatal(err)
			}
			ctx := context.Background()
			other := make(chan error, 1)
			go func() { _, _, err := l.Call(ctx, 1, 0, 0, 0, 0); other <- err }()
			<-inside
			if _, _, err := l.Call(ctx, 0, 0, 0, 0, 0); err == nil || err.Error() != tt.want {
				t.Errorf("error is %v, want %q", err, tt.want)
			}
			r, _, err := l.Call(ctx, 2, 0, 0, 0, 0)
			if tt.goesOn {
				if r != 2 || err != nil {
					t.Errorf("the next call: %d, %v", r, err)
				}
				l.Close()
				if err := <-other; !errors.Is(err, ErrClosed) {
					t.Errorf("the call under way: %v", err)
				}
				return
			}
			if err == nil || err.Error() != tt.another {
				t.Errorf("the next call: %v", err)
			}
			if err := <-other; err == nil || err.Error() != tt.another {
				t.Errorf("the call under way: %v, want %q", err, tt.another)
			}
			l.Close()
		})
	}
}
