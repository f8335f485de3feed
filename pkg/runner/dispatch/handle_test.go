package dispatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/channel"
	"github.com/enclaveos/eos/pkg/channel/kvwire"
	"github.com/enclaveos/eos/pkg/channel/wire"
)

const echo wire.Method = 0x7001

func mine(n uint64) uint64 { return n<<8 | wire.IDProgram }

// take takes a response of the program's if there is one.
func (e *enclave) take() (wire.Response, bool) {
	e.t.Helper()
	switch s := e.in.Next(); s {
	case channel.ErrEmpty:
		e.in.PreparePark()
		return wire.Response{}, false
	case channel.OK:
	default:
		e.t.Fatalf("the ring: %v", s)
	}
	b := make([]byte, e.in.Len())
	e.in.Copy(b, 0)
	e.in.Advance()
	if e.in.Release() {
		e.serve()
	}
	r, f := wire.ParseResponse(b)
	if f != wire.Sound {
		e.t.Fatalf("response %x: %v", b, f)
	}
	return r, true
}

func TestHandlers(t *testing.T) {
	kicks := make(chan bool, 100)
	slow := make(chan bool)
	e := newEnclave(t, Options{
		Kick: func() { kicks <- true },
		Handle: map[wire.Method]Handler{
			echo: func(_ context.Context, b []byte) (int32, []byte) { return 0, b },
			2:    func(context.Context, []byte) (int32, []byte) { <-slow; return 7, nil },
			3:    func(context.Context, []byte) (int32, []byte) { return 0, make([]byte, wire.MaxPayload+1) },
		},
	})
	wait := func() wire.Response {
		for {
			if r, ok := e.take(); ok {
				return r
			}
			<-kicks
		}
	}
	e.in.PreparePark()
	// As long as nobody knows how quick it is a goroutine does it, and then the
	// enclave's thread.
	for i := range uint64(10) {
		if i > 0 {
			e.s.pool.methods[echo].mean.Store(1)
		}
		e.request(mine(i), echo, []byte("hello"))
		if err := e.s.Serve(Caller{Looks: true}); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			<-kicks
		}
		r, ok := e.take()
		if !ok || len(kicks) != 0 {
			t.Fatalf("request %d was not done at once", i)
		}
		if r.ID != mine(i) || r.Status != 0 || string(r.Payload) != "hello" {
			t.Fatalf("response %+v", r)
		}
		for e.s.pool.methods[echo].mean.Load() == 0 {
			runtime.Gosched()
		}
	}
	// A slow one does not hold up others.
	e.request(mine(1000), 2, nil)
	e.request(mine(1001), 3, nil)
	e.request(mine(1002), 4711, nil)
	e.serve()
	got := map[uint64]int32{}
	for len(got) < 2 {
		r := wait()
		got[r.ID] = r.Status
	}
	if got[mine(1001)] != wire.StatusTooLarge || got[mine(1002)] != wire.StatusUnsupported {
		t.Errorf("statuses %v", got)
	}
	close(slow)
	if r := wait(); r.ID != mine(1000) || r.Status != 7 {
		t.Errorf("the slow one: %+v", r)
	}
	if e.s.inFlight != 0 {
		t.Errorf("%d are in flight", e.s.inFlight)
	}
}

// However many there are, they run on so many goroutines, and all are answered.
func TestHandlersBounded(t *testing.T) {
	var running, most atomic.Int32
	var gate sync.WaitGroup
	gate.Add(1)
	e := newEnclave(t, Options{Kick: func() {}, Handle: map[wire.Method]Handler{
		echo: func(_ context.Context, b []byte) (int32, []byte) {
			n := running.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			gate.Wait()
			running.Add(-1)
			return 0, b
		},
	}})
	for i := range uint64(wire.MaxInFlight) {
		e.request(mine(i), echo, fmt.Append(nil, i))
	}
	e.serve()
	for running.Load() < maxRunning {
		runtime.Gosched()
	}
	gate.Done()
	seen := map[uint64]bool{}
	for len(seen) < wire.MaxInFlight {
		r, ok := e.take()
		if !ok {
			runtime.Gosched()
			continue
		}
		if seen[r.ID] || string(r.Payload) != fmt.Sprint(r.ID>>8) {
			t.Fatalf("response %+v", r)
		}
		seen[r.ID] = true
	}
	if most.Load() != maxRunning {
		t.Errorf("%d ran at once", most.Load())
	}
}

// An enclave that asks for more than it may is told so, by the end.
func TestHandlersAbused(t *testing.T) {
	block := func(ctx context.Context, _ []byte) (int32, []byte) { <-ctx.Done(); return 0, nil }
	e := newEnclave(t, Options{Kick: func() {}, Handle: map[wire.Method]Handler{echo: block}})
	for i := range uint64(wire.MaxInFlight + 1) {
		e.request(mine(i), echo, nil)
	}
	var p *ProtocolError
	if err := e.s.Serve(Caller{}); !errors.As(err, &p) || !strings.Contains(err.Error(), "more than 1024 requests") {
		t.Errorf("too many: %v", err)
	}
	if err := e.s.Drain(); err != nil { // and none of the handlers is left behind
		t.Error(err)
	}
	e = newEnclave(t, Options{})
	e.request(mine(1), echo, make([]byte, wire.MaxPayload+1))
	if err := e.s.Serve(Caller{}); !errors.As(err, &p) || !strings.Contains(err.Error(), "request of 1114113 bytes") {
		t.Errorf("too large: %v", err)
	}
}

// Responses that find no room come when there is some, without a further request.
func TestHandlersWaitForRoom(t *testing.T) {
	e := newEnclave(t, Options{Kick: func() {}, Handle: map[wire.Method]Handler{
		echo: func(_ context.Context, b []byte) (int32, []byte) { return 0, b },
	}})
	big := bytes.Repeat([]byte("0123456789"), 50_000)
	const n = 3 * Capacity / 500_000
	for i, got := uint64(0), uint64(0); got < n; {
		for i < n && e.out.Put(wire.AppendRequest(nil, wire.Request{ID: mine(i), Method: echo, Payload: big}), nil) == channel.OK {
			e.out.Publish()
			i++
		}
		e.serve()
		if i < n && e.s.Traffic().Waits == 0 {
			continue // nothing is taken out until it is full
		}
		if r, ok := e.take(); ok {
			if !bytes.Equal(r.Payload, big) {
				t.Fatalf("response %d of %d bytes", r.ID>>8, len(r.Payload))
			}
			got++
		}
	}
}

// The enclave that sleeps is rung, whoever has published the response.
func TestKick(t *testing.T) {
	var kicks atomic.Int32
	e := newEnclave(t, Options{Kick: func() { kicks.Add(1) }})
	answer := func(looks bool) { // of a method that there is not: done at once
		e.request(mine(1), 99, nil)
		if err := e.s.Serve(Caller{Looks: looks}); err != nil {
			t.Fatal(err)
		}
	}
	answer(false)
	if kicks.Load() != 0 {
		t.Error("rung though nobody sleeps")
	}
	e.take()
	e.take() // empty: a thread sleeps
	answer(true)
	if kicks.Load() != 0 {
		t.Error("rung though the caller looks")
	}
	answer(false) // the flag was used up by the one before
	if kicks.Load() != 1 {
		t.Errorf("rung %d times for the thread that sleeps", kicks.Load())
	}
}

// TestTurns: the enclave's thread does not wait for a request that it may have to send
// itself, however quick such requests have been.
func TestTurns(t *testing.T) {
	var turns kvwire.Turns
	e := newEnclave(t, Options{Kick: func() {}, Handle: map[wire.Method]Handler{
		kvwire.Commit: func(ctx context.Context, b []byte) (int32, []byte) {
			if err := turns.Take(ctx, uint64(b[0]), func() error { return nil }); err != nil {
				return wire.StatusError, nil
			}
			return 0, b
		},
	}})
	for n := byte(1); n < 200; n += 2 {
		e.request(mine(uint64(n)+1), kvwire.Commit, []byte{n + 1}) // the later one first
		e.serve()
		e.request(mine(uint64(n)), kvwire.Commit, []byte{n})
		e.serve()
		for got := 0; got < 2; {
			r, ok := e.take()
			if !ok {
				runtime.Gosched()
				continue
			}
			if r.Status != wire.StatusOK {
				t.Fatal(r)
			}
			got++
		}
	}
}

func TestMeanTime(t *testing.T) {
	var m method
	if m.quick() {
		t.Error("unknown is quick")
	}
	m.note(0)
	if !m.quick() {
		t.Error("0 is not quick")
	}
	for range 8 {
		m.note(time.Millisecond)
	}
	if m.quick() {
		t.Error("a millisecond is quick")
	}
	for range 100 {
		m.note(time.Microsecond)
	}
	if !m.quick() {
		t.Error("it cannot become quick again")
	}
}
