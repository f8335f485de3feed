package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/enclave"
)

// host is the other end: what is written comes to answer, whose messages are read.
type host struct {
	answer func(r wire.Request) [][]byte
	out    chan []byte
	once   sync.Once
	closed chan struct{}
}

func newHost(answer func(wire.Request) [][]byte) *host {
	return &host{answer: answer, out: make(chan []byte, 10_000), closed: make(chan struct{})}
}

func (h *host) Write(b []byte) (int, error) {
	r, f := wire.ParseRequest(bytes.Clone(b))
	if f != wire.Sound || r.ID&0xff != wire.IDProgram {
		return 0, fmt.Errorf("a request is %v", f)
	}
	for _, m := range h.answer(r) {
		h.out <- m
	}
	return len(b), nil
}

func (h *host) Read(b []byte) (int, error) {
	select {
	case m := <-h.out:
		return copy(b, m), nil
	case <-h.closed:
		return 0, io.ErrClosedPipe
	}
}

func (h *host) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func ok(r wire.Request) []byte {
	return wire.AppendResponse(nil, wire.Response{ID: r.ID, Payload: r.Payload})
}

func TestCalls(t *testing.T) {
	// Answers come in another order than the requests.
	var mu sync.Mutex
	var late [][]byte
	h := newHost(func(r wire.Request) [][]byte {
		mu.Lock()
		defer mu.Unlock()
		late = append(late, ok(r))
		if len(late) < 8 {
			return nil
		}
		rand.Shuffle(len(late), func(i, j int) { late[i], late[j] = late[j], late[i] })
		b := late
		late = nil
		return b
	})
	c := New(h)
	var all sync.WaitGroup
	for i := range 64 { // a multiple of 8 are under way at any time, or all have ended
		all.Go(func() {
			for j := range 100 {
				b := []byte(strings.Repeat(fmt.Sprint(i, j), rand.IntN(100)))
				got, err := c.Call(t.Context(), 1, b)
				if err != nil || !bytes.Equal(got, b) {
					t.Errorf("got %d bytes of %d, %v", len(got), len(b), err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for over := false; !over; { // the last ones are fewer than 8
		select {
		case <-done:
			over = true
		case <-time.After(time.Millisecond):
			mu.Lock()
			for _, b := range late {
				h.out <- b
			}
			late = nil
			mu.Unlock()
		}
	}
	if len(c.calls) != 0 || len(c.slots) != 0 || c.Err() != nil {
		t.Errorf("%d calls and %d slots are left, %v", len(c.calls), len(c.slots), c.Err())
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.Call(t.Context(), 1, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	h := newHost(func(r wire.Request) [][]byte {
		return [][]byte{wire.AppendResponse(nil, wire.Response{ID: r.ID, Status: int32(r.Method) - 100, Payload: r.Payload})}
	})
	c := New(h)
	defer c.Close()
	var s *StatusError
	for _, m := range []wire.Method{99, 101, 90} {
		_, err := c.Call(t.Context(), m, []byte("why"))
		if !errors.As(err, &s) || s.Method != m || s.Status != int32(m)-100 || string(s.Payload) != "why" {
			t.Errorf("method %d: %v", m, err)
		}
	}
	if !strings.Contains(s.Error(), "does not offer") {
		t.Errorf("unsupported: %v", s)
	}
	var size *SizeError
	if _, err := c.Call(t.Context(), 100, make([]byte, wire.MaxPayload+1)); !errors.As(err, &size) || size.Size != wire.MaxPayload+1 {
		t.Errorf("too large: %v", err)
	}
	if b, err := c.Call(t.Context(), 100, make([]byte, wire.MaxPayload)); err != nil || len(b) != wire.MaxPayload {
		t.Errorf("just fits: %d bytes, %v", len(b), err)
	}
	if _, err := Open(); !errors.Is(err, enclave.ErrNotEnclave) {
		t.Errorf("Open: %v", err)
	}
}

func TestLies(t *testing.T) {
	for _, c := range []struct {
		what   string
		answer func(wire.Request) [][]byte
		want   string
	}{
		{"nothing", func(wire.Request) [][]byte { return [][]byte{{}} }, "shorter than its header"},
		{"cut", func(r wire.Request) [][]byte { return [][]byte{ok(r)[:15]} }, "shorter than its header"},
		{"short", func(r wire.Request) [][]byte { return [][]byte{ok(r)[:18]} }, "wrong length"},
		{"long", func(r wire.Request) [][]byte { return [][]byte{append(ok(r), 0)} }, "wrong length"},
		{"huge", func(r wire.Request) [][]byte {
			r.Payload = make([]byte, wire.MaxPayload+1)
			return [][]byte{ok(r)}
		}, "has 1114113 bytes"},
		{"unknown id", func(r wire.Request) [][]byte { r.ID += 256; return [][]byte{ok(r)} }, "id 0x2ff, which no request had"},
		{"id of a thread", func(r wire.Request) [][]byte { r.ID = 0x100; return [][]byte{ok(r)} }, "id 0x100, which no request had"},
		{"id 0", func(r wire.Request) [][]byte { r.ID = 0; return [][]byte{ok(r)} }, "id 0x0, which no request had"},
	} {
		cl := New(newHost(c.answer))
		_, err := cl.Call(t.Context(), 1, []byte("hello"))
		var p *ProtocolError
		if !errors.As(err, &p) || !strings.Contains(p.What, c.want) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
		if _, again := cl.Call(t.Context(), 1, nil); again != err { //nolint:errorlint // the very same
			t.Errorf("%s: later %v", c.what, again)
		}
	}
	// A second answer to the same request.
	h := newHost(func(r wire.Request) [][]byte { return [][]byte{ok(r), ok(r)} })
	cl := New(h)
	if b, err := cl.Call(t.Context(), 1, []byte("x")); err == nil && string(b) != "x" {
		t.Errorf("%q", b)
	}
	<-h.closed
	if err := cl.Err(); err == nil || !strings.Contains(err.Error(), "second response to request 0x1ff") {
		t.Errorf("answered twice: %v", err)
	}
}

// Whoever has gone is not answered, but counts until the host has.
func TestAbandoned(t *testing.T) {
	var held []wire.Request
	cancel := func() {}
	h := newHost(func(r wire.Request) [][]byte { held = append(held, r); cancel(); return nil })
	c := New(h)
	defer c.Close()
	for range wire.MaxInFlight {
		ctx, gone := context.WithCancel(t.Context())
		cancel = gone
		_, err := c.Call(ctx, 1, nil)
		gone()
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	if _, err := c.Call(ctx, 1, nil); !errors.Is(err, context.DeadlineExceeded) || len(c.slots) != wire.MaxInFlight {
		t.Errorf("one more than can be under way: %v", err)
	}
	if len(held) != wire.MaxInFlight {
		t.Errorf("%d requests were sent", len(held))
	}
	for _, r := range held {
		h.out <- ok(r)
	}
	h.answer = func(r wire.Request) [][]byte { return [][]byte{ok(r)} }
	if b, err := c.Call(t.Context(), 1, []byte("now")); err != nil || string(b) != "now" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestClose(t *testing.T) {
	c := New(newHost(func(wire.Request) [][]byte { return nil }))
	time.AfterFunc(time.Millisecond, func() { c.Close() })
	if _, err := c.Call(t.Context(), 1, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
	gone := newHost(nil)
	gone.Close()
	c = New(gone)
	<-c.ended
	if _, err := c.Call(t.Context(), 1, nil); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a connection that has ended: %v", err)
	}
}

// Any bytes of the host's end in a sound response or in an error.
func FuzzResponse(f *testing.F) {
	f.Add(ok(wire.Request{ID: 0x1ff, Payload: []byte("hello")}))
	f.Add(ok(wire.Request{ID: 0x2ff}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := New(newHost(func(wire.Request) [][]byte { return [][]byte{b} }))
		defer c.Close()
		got, err := c.Call(t.Context(), 1, nil)
		r, fault := wire.ParseResponse(b)
		sound := fault == wire.Sound && r.ID == 0x1ff && len(r.Payload) <= wire.MaxPayload
		var s *StatusError
		if (err == nil || errors.As(err, &s)) != sound || err == nil && !bytes.Equal(got, r.Payload) {
			t.Errorf("%x: %q, %v", b, got, err)
		}
	})
}
