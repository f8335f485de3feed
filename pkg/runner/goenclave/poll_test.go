package goenclave

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/channel"
	"github.com/enclaveos/eos/pkg/wall"
)

// fakeData is a data plane without sockets.
type fakeData struct {
	t        testing.TB
	e2h, h2e *channel.Memory
	kick     chan struct{}
	inside   atomic.Int32
	flushes  atomic.Int32
	polls    atomic.Int32
	closed   atomic.Int32
	grace    time.Duration
	early    bool // Poll returns without having waited, now and then

	mu  sync.Mutex
	err error
}

func newFakeData(t testing.TB) *fakeData {
	d := &fakeData{t: t, kick: make(chan struct{}, 1)}
	for _, m := range []**channel.Memory{&d.e2h, &d.h2e} {
		var err error
		if *m, err = channel.NewMemory(1 << 16); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func (d *fakeData) Rings() (e2h, h2e *channel.Memory) { return d.e2h, d.h2e }
func (d *fakeData) Flush() bool                       { d.flushes.Add(1); return false }
func (d *fakeData) Interrupt() {
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

func (d *fakeData) Poll(timeout time.Duration) {
	if d.inside.Add(1) != 1 {
		d.t.Error("two threads poll at once")
	}
	defer d.inside.Add(-1)
	d.polls.Add(1)
	if timeout == 0 || d.early && rand.IntN(4) == 0 {
		return
	}
	var after <-chan time.Time
	if timeout > 0 {
		after = time.After(timeout)
	}
	select {
	case <-d.kick:
	case <-after:
	}
}

func (d *fakeData) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

func (d *fakeData) Close(grace time.Duration) error {
	d.closed.Add(1)
	d.grace = grace
	return nil
}

func TestDataPlane(t *testing.T) {
	d := newFakeData(t)
	e := newFake(t, 3)
	e.program = func(f *fakeTCS) {
		if e.data == nil || e.data[0] != uint64(d.e2h.Header) || e.data[3] != uint64(d.h2e.Bytes) || e.data[4] != 1<<16 {
			t.Errorf("ChannelDesc %#x", e.data)
		}
		f.ocall(wall.NotifyData, 0)
		if d.flushes.Load() != 1 || d.polls.Load() != 0 {
			t.Errorf("NotifyData 0: %d flushes, %d polls", d.flushes.Load(), d.polls.Load())
		}
		f.ocall(wall.NotifyData, 1)
		f.ocall(wall.NotifyPark, 1000, 1)
		f.ocall(wall.NotifyPark, 0, 1)
		if d.flushes.Load() != 1 || d.polls.Load() != 3 {
			t.Errorf("then %d flushes, %d polls", d.flushes.Load(), d.polls.Load())
		}
		f.wake(0)
		f.ocall(wall.NotifyPark, ^uint64(0), 1) // takes the token, does not poll
		if d.polls.Load() != 3 {
			t.Errorf("a park with a token polls")
		}
	}
	if _, err := e.run(Options{Data: d, Grace: time.Hour}); err != nil {
		t.Error(err)
	}
	if d.closed.Load() != 1 || d.grace != time.Hour {
		t.Errorf("closed %d times, with grace %v", d.closed.Load(), d.grace)
	}
}

// While one thread polls, others that want to sleep; each is woken when it is its
// turn to poll, and by its own wakes. A lost wake-up hangs this.
func TestPollers(t *testing.T) {
	const n, rounds = 4, 3000
	d := newFakeData(t)
	d.early = true
	e := newFake(t, n)
	var ball, ended atomic.Int32
	play := func(f *fakeTCS) {
		for {
			b := ball.Load()
			if b >= rounds {
				break
			}
			if int(b)%n == f.idx {
				ball.Store(b + 1)
				f.wake((f.idx + 1) % n)
				continue
			}
			if b%7 == 0 {
				f.ocall(wall.NotifyData, 1)
			}
			f.ocall(wall.NotifyPark, ^uint64(0), uint64(rand.IntN(2)))
		}
		for i := range n {
			f.wake(i)
		}
	}
	e.thread = func(f *fakeTCS) { play(f); ended.Add(1); f.wake(0) }
	e.program = func(f *fakeTCS) {
		for i := 1; i < n; i++ {
			f.spawn(i)
		}
		play(f)
		for ended.Load() != n-1 {
			f.park(-1)
		}
	}
	if _, err := e.run(Options{Data: d}); err != nil {
		t.Error(err)
	}
}

// When the one that polls leaves, another takes its place.
func TestPollerLeaves(t *testing.T) {
	d := newFakeData(t)
	e := newFake(t, 3)
	poll := func(f *fakeTCS) { f.ocall(wall.NotifyPark, ^uint64(0), 1) }
	wait := func(what string, done func() bool) {
		for start := time.Now(); !done(); time.Sleep(time.Millisecond) {
			if time.Since(start) > 30*time.Second {
				t.Error("never: ", what)
				return
			}
		}
	}
	var returned atomic.Bool
	e.thread = func(f *fakeTCS) {
		poll(f)
		if f.idx == 2 {
			returned.Store(true)
			poll(f)
		}
		f.park(-1)
	}
	e.program = func(f *fakeTCS) {
		f.spawn(1)
		wait("the first polls", func() bool { return d.inside.Load() == 1 })
		f.spawn(2)
		p := e.host.threads[2]
		wait("the second sleeps", func() bool { return p.parking.Load() == parkAsleep })
		f.wake(1)
		wait("the second polls", func() bool { return returned.Load() && d.polls.Load() == 2 && d.inside.Load() == 1 })
	}
	if _, err := e.run(Options{Data: d}); err != nil {
		t.Error(err)
	}
}

func TestDataPlaneDies(t *testing.T) {
	errLie := errors.New("it lied")
	for name, ocall := range map[string]func(f *fakeTCS){
		"park":  func(f *fakeTCS) { f.ocall(wall.NotifyPark, 0, 1) },
		"flush": func(f *fakeTCS) { f.ocall(wall.NotifyData, 0) },
		"look":  func(f *fakeTCS) { f.ocall(wall.NotifyData, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			d := newFakeData(t)
			d.err = errLie
			e := newFake(t, 2)
			e.program = func(f *fakeTCS) {
				ocall(f)
				t.Error("it goes on")
			}
			if _, err := e.run(Options{Data: d}); !errors.Is(err, errLie) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// Whoever is or comes next in a wait that polls is sent back, with and without a data
// plane: a lost kick hangs this.
func TestKicks(t *testing.T) {
	for _, data := range []bool{false, true} {
		q := new(polls)
		if data {
			q.data = newFakeData(t)
		}
		const rounds = 1000
		var asked, seen atomic.Int32
		done := make(chan bool)
		for range 2 {
			go func() {
				p := new(parking)
				for seen.Load() < rounds {
					q.wait(p, -1)
					for now := asked.Load(); ; { // as a look at the ring, which does not go back
						if old := seen.Load(); old >= now || seen.CompareAndSwap(old, now) {
							break
						}
					}
				}
				q.kick() // the other one may sleep
				done <- true
			}()
		}
		for i := range int32(rounds) {
			asked.Add(1)
			q.kick()
			for seen.Load() < i+1 {
				runtime.Gosched()
			}
		}
		<-done
		<-done
	}
}
