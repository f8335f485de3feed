package goenclave

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/runner/dispatch"
	"github.com/enclaveos/eos/pkg/wall"
)

var errStop = errors.New("enough")

// stoppable returns a context and what ends it.
func stoppable() (context.Context, context.CancelCauseFunc) {
	return context.WithCancelCause(context.Background())
}

// A program that is asked to end, and does.
func TestShutdown(t *testing.T) {
	ctx, stop := stoppable()
	e := newFake(t, 3)
	var asked atomic.Bool
	e.stop = func(f *fakeTCS) uint64 {
		if f.idx != 2 {
			t.Errorf("ECallShutdown on TCS %d", f.idx)
		}
		asked.Store(true)
		f.print(1, "bye")
		return 0
	}
	e.program = func(f *fakeTCS) {
		stop(errStop)
		for !asked.Load() {
			f.park(-1) // the host wakes all
		}
		f.exit(5)
	}
	var out strings.Builder
	_, err := e.runContext(ctx, Options{Stdout: &out})
	wantText(t, err, "exit status 5")
	if out.String() != "bye" {
		t.Errorf("output %q", out.String())
	}
}

// Programs that do not end when they are asked to.
func TestGrace(t *testing.T) {
	for name, program := range map[string]func(f *fakeTCS){
		"sleeps":   func(f *fakeTCS) { f.park(-1); f.park(-1); f.park(-1) },
		"computes": func(f *fakeTCS) { f.e.hang() },
		"polls":    func(f *fakeTCS) { f.ocall(wall.NotifyPark, ^uint64(0), 1); f.e.hang() },
		"spawns":   func(f *fakeTCS) { f.spawn(1); f.e.hang() },
	} {
		for _, threads := range []int{1, 3} {
			if threads == 1 && name == "spawns" {
				continue
			}
			t.Run(name, func(t *testing.T) {
				ctx, stop := stoppable()
				e := newFake(t, threads)
				e.stop = func(*fakeTCS) uint64 { return 0 }
				e.thread = func(f *fakeTCS) { f.park(-1) }
				e.program = func(f *fakeTCS) {
					stop(errStop)
					program(f)
				}
				_, err := e.runContext(ctx, Options{Grace: 20 * time.Millisecond, Data: newFakeData(t)})
				if !errors.Is(err, errStop) {
					t.Errorf("error %v", err)
				}
			})
		}
	}
}

// A program that is asked to end before it has begun refuses to begin.
func TestStoppedAtOnce(t *testing.T) {
	ctx, stop := stoppable()
	stop(errStop)
	e := newFake(t, 2)
	e.refuse[wall.ECallRun] = wall.RefusedState
	e.stop = func(*fakeTCS) uint64 { return 0 }
	if _, err := e.runContext(ctx, Options{}); !errors.Is(err, errStop) {
		t.Errorf("error %v", err)
	}
}

// A program that does not accept ECallShutdown is ended at once.
func TestShutdownRefused(t *testing.T) {
	ctx, stop := stoppable()
	e := newFake(t, 2)
	e.refuse[wall.ECallShutdown] = wall.RefusedState
	e.program = func(f *fakeTCS) {
		stop(errStop)
		e.hang()
	}
	_, err := e.runContext(ctx, Options{Grace: time.Hour})
	wantText(t, err, "enough")
	wantText(t, err, "refused ecall_shutdown")
}

// Nobody reads the output of a program that is stopped.
func TestBlockedOutput(t *testing.T) {
	ctx, stop := stoppable()
	r, w := io.Pipe()
	defer r.Close()
	e := newFake(t, 2)
	e.stop = func(*fakeTCS) uint64 { return 0 }
	e.program = func(f *fakeTCS) {
		time.AfterFunc(time.Millisecond, func() { stop(errStop) })
		f.print(1, "nobody hears me")
		t.Error("it goes on")
	}
	if _, err := e.runContext(ctx, Options{Stdout: w, Grace: 20 * time.Millisecond}); !errors.Is(err, errStop) {
		t.Errorf("error %v", err)
	}
}

// The reader of the output is gone: the program ends, as by SIGPIPE.
func TestClosedOutput(t *testing.T) {
	r, w := io.Pipe()
	r.Close()
	e := newFake(t, 2)
	e.program = func(f *fakeTCS) {
		for {
			f.print(1, "y\n")
		}
	}
	_, err := e.run(Options{Stdout: w})
	var gone *dispatch.OutputError
	if !errors.As(err, &gone) || gone.Name != "stdout" || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error %v", err)
	}
}

// All that can happen at once happens at once: threads that come and go, wake,
// kick, and end the program while others are on their way.
func TestEndRaces(t *testing.T) {
	for round := range 200 {
		const n = 6
		e := newFake(t, n)
		e.handle = func(*fakeTCS) reaction { return resume }
		e.thread = func(f *fakeTCS) {
			for i := range 3 {
				f.ocall(wall.NotifyKick, uint64((f.idx+i)%n))
				f.wake((f.idx + 1) % n)
				f.ocall(wall.NotifyYield)
			}
			if f.idx == 1+round%(n-1) {
				f.exit(9)
			}
			f.park(-1)
			f.park(-1)
			f.park(-1)
		}
		e.program = func(f *fakeTCS) {
			for i := 1; i < n; i++ {
				f.spawn(i)
			}
			for {
				f.park(-1)
			}
		}
		_, err := e.run(Options{Data: newFakeData(t)})
		wantText(t, err, "exit status 9")
	}
}

// A kick that comes while the handler runs is not lost.
func TestKickInHandler(t *testing.T) {
	e := newFake(t, 3)
	var handled atomic.Int32
	e.handle = func(f *fakeTCS) reaction {
		if handled.Add(1) == 1 {
			// Another one, while this runs; the first has been taken.
			f.e.host.threads[f.idx].interrupt()
		}
		return resume
	}
	e.program = func(f *fakeTCS) {
		f.ocall(wall.NotifyKick, 0)
		for handled.Load() < 2 {
			f.ocall(wall.NotifyYield)
		}
	}
	c, err := e.run(Options{})
	if err != nil {
		t.Error(err)
	}
	if s := c.Stats(); s.Interrupts < 2 {
		t.Errorf("%d interrupts", s.Interrupts)
	}
}
