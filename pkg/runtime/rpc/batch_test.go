package rpc

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"sync"
	"testing"

	"github.com/enclaveos/eos/pkg/channel/wire"
)

// device-like carrier: each exchange waits to be let go, and has its answers at once.
type gated struct {
	most    int
	entered chan int // requests of an exchange
	gate    chan error
	ended   chan struct{}
	once    sync.Once

	mu      sync.Mutex
	answers [][]byte
}

func newGated(most int) *gated {
	return &gated{most: most, entered: make(chan int, 100), gate: make(chan error, 100), ended: make(chan struct{})}
}

func (g *gated) batch() int { return g.most }

func (g *gated) exchange(b, buf []byte) (int, error) {
	n := 0
	for ; len(b) > 0; n++ {
		size := whole(b, 1)
		r, f := wire.ParseRequest(b[:size])
		if f != wire.Sound {
			return 0, f
		}
		g.mu.Lock()
		g.answers = append(g.answers, ok(r))
		g.mu.Unlock()
		b = b[size:]
	}
	g.entered <- n
	if err := <-g.gate; err != nil {
		return 0, err
	}
	return g.poll(buf)
}

func (g *gated) poll(buf []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.answers) == 0 {
		return 0, nil
	}
	n := copy(buf, g.answers[0])
	g.answers = g.answers[1:]
	return n, nil
}

func (g *gated) receive([]byte) ([]byte, error) { <-g.ended; return nil, io.EOF }

func (g *gated) close() error {
	g.once.Do(func() { close(g.ended) })
	return nil
}

// While one is with the host, the requests of all others gather, and go together.
func TestGather(t *testing.T) {
	const others = 10
	g := newGated(64 << 10)
	c := start(g)
	defer c.Close()
	var all sync.WaitGroup
	call := func(b string) {
		all.Go(func() {
			if got, err := c.Call(t.Context(), 1, []byte(b)); err != nil || string(got) != b {
				t.Errorf("%q: %q, %v", b, got, err)
			}
		})
	}
	call("first")
	if n := <-g.entered; n != 1 {
		t.Errorf("%d requests at first", n)
	}
	for range others {
		call("another")
	}
	for gathered := 0; gathered < others; runtime.Gosched() {
		c.queueing.Lock()
		gathered = len(c.queue) / (wire.RequestSize + len("another"))
		c.queueing.Unlock()
	}
	g.gate <- nil
	if n := <-g.entered; n != others {
		t.Errorf("%d requests together, want %d", n, others)
	}
	g.gate <- nil
	all.Wait()
	// And then it begins anew.
	call("again")
	<-g.entered
	g.gate <- nil
	all.Wait()
	if c.sending || len(c.queue) != 0 {
		t.Errorf("sending is %v, %d bytes are left", c.sending, len(c.queue))
	}
}

// An error of whoever sends ends the calls of those whose requests it has taken.
func TestGatherFails(t *testing.T) {
	g := newGated(64 << 10)
	c := start(g)
	broken := errors.New("broken")
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			if _, err := c.Call(t.Context(), 1, nil); !errors.Is(err, broken) {
				t.Error(err)
			}
		})
	}
	g.gate <- broken
	all.Wait()
}

// Large requests go by themselves, and a batch has whole requests only.
func TestWhole(t *testing.T) {
	one := wire.AppendRequest(nil, wire.Request{ID: 0x1ff, Payload: make([]byte, 86)}) // 100 bytes
	b := bytes.Repeat(one, 5)
	for most, want := range map[int]int{0: 100, 99: 100, 100: 100, 299: 200, 300: 300, 500: 500, 1 << 20: 500} {
		if n := whole(b, most); n != want {
			t.Errorf("at most %d: %d, want %d", most, n, want)
		}
	}
	g := newGated(100)
	c := start(g)
	defer c.Close()
	go c.Call(t.Context(), 1, make([]byte, 1000))
	<-g.entered // it does not go by the queue
	go c.Call(t.Context(), 1, make([]byte, 10))
	if n := <-g.entered; n != 1 {
		t.Errorf("%d requests", n)
	}
	g.gate <- nil
	g.gate <- nil
}
