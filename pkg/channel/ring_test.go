package channel_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/enclaveos/eos/pkg/channel"
)

func newRing(t testing.TB, capacity uint64) (*channel.Memory, *channel.Producer, *channel.Consumer) {
	t.Helper()
	m, err := channel.NewMemory(capacity)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { runtime.KeepAlive(m) })
	p, c := new(channel.Producer), new(channel.Consumer)
	if s := p.Init(m.Header, m.Bytes, capacity); s != channel.OK {
		t.Fatal(s)
	}
	if s := c.Init(m.Header, m.Bytes, capacity); s != channel.OK {
		t.Fatal(s)
	}
	return m, p, c
}

func read(t testing.TB, c *channel.Consumer) []byte {
	t.Helper()
	if s := c.Next(); s != channel.OK {
		t.Fatalf("Next: %v", s)
	}
	b := make([]byte, c.Len())
	if n := c.Copy(b, 0); n != len(b) {
		t.Fatalf("copied %d of %d bytes", n, len(b))
	}
	c.Advance()
	return b
}

// Frames of random sizes go through many times the capacity, in random batches, so
// that headers and payloads wrap at every byte.
func TestFramesWrap(t *testing.T) {
	const capacity = channel.MinCapacity
	_, p, c := newRing(t, capacity)
	rnd := rand.New(rand.NewPCG(1, 2))
	var want [][]byte
	wraps := map[uint64]bool{}
	for total := 0; total < 2000*capacity; {
		for range rnd.IntN(20) {
			n := rnd.IntN(200)
			if rnd.IntN(20) == 0 {
				n = rnd.IntN(capacity - 3)
			}
			b := make([]byte, n)
			for i := range b {
				b[i] = byte(rnd.Uint32())
			}
			cut := rnd.IntN(n + 1)
			s := p.Put(b[:cut], b[cut:])
			if s == channel.ErrFull {
				break
			}
			if s != channel.OK {
				t.Fatal(s)
			}
			want = append(want, b)
			wraps[capacity-uint64(total)%capacity] = true // before the frame's header
			total += n + 4
		}
		p.Publish()
		for range rnd.IntN(30) {
			if len(want) == 0 {
				if s := c.Next(); s != channel.ErrEmpty {
					t.Fatalf("Next on an empty ring: %v", s)
				}
				break
			}
			if got := read(t, c); !bytes.Equal(got, want[0]) {
				t.Fatalf("got %d bytes, want %d, or others", len(got), len(want[0]))
			}
			want = want[1:]
		}
		c.Release()
	}
	for cut := uint64(1); cut < 4; cut++ {
		if !wraps[cut] {
			t.Errorf("no frame header wrapped with %d bytes before the end", cut)
		}
	}
}

func TestNotPublishedIsNotSeen(t *testing.T) {
	_, p, c := newRing(t, 4096)
	p.Put([]byte("a"), nil)
	if s := c.Next(); s != channel.ErrEmpty {
		t.Fatalf("Next before Publish: %v", s)
	}
	p.Put([]byte("b"), []byte("c"))
	p.Publish()
	if got := read(t, c); string(got) != "a" {
		t.Errorf("got %q", got)
	}
	if got := read(t, c); string(got) != "bc" {
		t.Errorf("got %q", got)
	}
	if s := c.Next(); s != channel.ErrEmpty {
		t.Errorf("Next at the end: %v", s)
	}
	if p.Room() != 4096-4-5-6 {
		t.Errorf("room %d before Release", p.Room())
	}
	c.Release()
	if p.Room() != 4092 {
		t.Errorf("room %d after Release", p.Room())
	}
}

func TestSizes(t *testing.T) {
	_, p, c := newRing(t, 4096)
	if s := p.Reserve(4093); s != channel.ErrTooLarge {
		t.Errorf("Reserve(4093): %v", s)
	}
	if s := p.Reserve(1<<64 - 1); s != channel.ErrTooLarge {
		t.Errorf("Reserve(max): %v", s)
	}
	if s := p.Put(make([]byte, 4092), nil); s != channel.OK {
		t.Fatalf("Put of the largest frame: %v", s)
	}
	if s := p.Reserve(0); s != channel.ErrFull {
		t.Errorf("Reserve(0) on a full ring: %v", s)
	}
	if p.Room() != 0 {
		t.Errorf("room %d of a full ring", p.Room())
	}
	p.Publish()
	if got := read(t, c); len(got) != 4092 {
		t.Errorf("got %d bytes", len(got))
	}
	c.Release()
	if s := p.Put(nil, nil); s != channel.OK {
		t.Errorf("Put of an empty frame: %v", s)
	}
	p.Publish()
	if got := read(t, c); len(got) != 0 {
		t.Errorf("got %d bytes of an empty frame", len(got))
	}
}

// A frame may be shorter than what was reserved, as when a socket had less.
func TestCommitLess(t *testing.T) {
	_, p, c := newRing(t, 4096)
	for i := range 300 {
		if s := p.Reserve(2000); s != channel.OK {
			t.Fatal(s)
		}
		if n := p.Fill(0, []byte("xyz")); n != 3 {
			t.Fatalf("filled %d", n)
		}
		a, b := p.Spans(3)
		if len(a)+len(b) != 1997 {
			t.Fatalf("spans of %d and %d bytes", len(a), len(b))
		}
		n := 3 + copy(a, "abc")
		if n < 6 {
			n += copy(b, "abc"[n-3:])
		}
		if s := p.Commit(uint64(n)); s != channel.OK {
			t.Fatal(s)
		}
		p.Publish()
		if got := read(t, c); string(got) != "xyzabc" {
			t.Fatalf("frame %d is %q", i, got)
		}
		c.Release()
	}
}

func TestStepsOutOfOrder(t *testing.T) {
	_, p, c := newRing(t, 4096)
	if s := p.Commit(0); s != channel.ErrOrder {
		t.Errorf("Commit without Reserve: %v", s)
	}
	p.Reserve(3)
	if s := p.Commit(4); s != channel.ErrOrder {
		t.Errorf("Commit of more than reserved: %v", s)
	}
	if n := p.Fill(1, []byte("abcdef")); n != 2 {
		t.Errorf("Fill wrote %d bytes into the 2 that are left", n)
	}
	if n := p.Fill(1<<63, []byte("x")); n != 0 {
		t.Errorf("Fill far out wrote %d bytes", n)
	}
	if s := c.Advance(); s != channel.ErrOrder {
		t.Errorf("Advance without Next: %v", s)
	}
	if n := c.Copy(make([]byte, 1), 0); n != 0 || c.Len() != 0 {
		t.Error("there is a frame where there is none")
	}
	if p.Publish() || c.Release() {
		t.Error("nothing done, and yet a doorbell")
	}
}

func TestPlace(t *testing.T) {
	m, err := channel.NewMemory(8192)
	if err != nil {
		t.Fatal(err)
	}
	defer runtime.KeepAlive(m)
	for _, tt := range []struct {
		name          string
		header, bytes uintptr
		capacity      uint64
		want          channel.Status
	}{
		{"good", m.Header, m.Bytes, 8192, channel.OK},
		{"not a power of two", m.Header, m.Bytes, 8192 - 4096 + 1, channel.ErrCapacity},
		{"three pages", m.Header, m.Bytes, 3 * 4096, channel.ErrCapacity},
		{"zero", m.Header, m.Bytes, 0, channel.ErrCapacity},
		{"small", m.Header, m.Bytes, 2048, channel.ErrCapacity},
		{"large", m.Header, m.Bytes, 128 << 20, channel.ErrCapacity},
		{"huge", m.Header, m.Bytes, 1 << 63, channel.ErrCapacity},
		{"header unaligned", m.Header + 8, m.Bytes, 8192, channel.ErrAlign},
		{"bytes unaligned", m.Header, m.Bytes + 32, 8192, channel.ErrAlign},
		{"no header", 0, m.Bytes, 8192, channel.ErrAlign},
		{"no bytes", m.Header, 0, 8192, channel.ErrAlign},
	} {
		var p channel.Producer
		var c channel.Consumer
		if s := p.Init(tt.header, tt.bytes, tt.capacity); s != tt.want || p.Status() != tt.want {
			t.Errorf("%s: producer: %v, want %v", tt.name, s, tt.want)
		}
		if s := c.Init(tt.header, tt.bytes, tt.capacity); s != tt.want || c.Status() != tt.want {
			t.Errorf("%s: consumer: %v, want %v", tt.name, s, tt.want)
		}
		if tt.want != channel.OK && (p.Reserve(1) != tt.want || c.Next() != tt.want || p.PrepareWait(1) || c.PreparePark()) {
			t.Errorf("%s: a ring that was refused works", tt.name)
		}
	}
	if _, err := channel.NewMemory(5000); !errors.Is(err, channel.ErrCapacity) {
		t.Errorf("NewMemory(5000): %v", err)
	}
}

func TestZeroValueRefuses(t *testing.T) {
	var p channel.Producer
	var c channel.Consumer
	if p.Reserve(1) != channel.ErrNotSetUp || p.Put(nil, nil) != channel.ErrNotSetUp || p.Publish() || p.Room() != 0 || p.PrepareWait(0) {
		t.Error("the zero Producer works")
	}
	if c.Next() != channel.ErrNotSetUp || c.Release() || c.PreparePark() {
		t.Error("the zero Consumer works")
	}
	p.CancelWait()
	c.CancelPark()
}

func TestDoorbellFlags(t *testing.T) {
	_, p, c := newRing(t, 4096)
	put := func() { p.Put([]byte("x"), nil) }
	put()
	if p.Publish() {
		t.Error("rang a consumer that was not parked")
	}
	if c.PreparePark() {
		t.Error("parked with a frame there")
	}
	read(t, c)
	if c.PreparePark() {
		t.Error("parked with room not released")
	}
	c.Release()
	if !c.PreparePark() {
		t.Fatal("does not park on an empty ring")
	}
	put()
	if !p.Publish() {
		t.Error("did not ring a parked consumer")
	}
	put()
	if p.Publish() {
		t.Error("rang twice for one park")
	}
	c.CancelPark()
	read(t, c)
	read(t, c)
	c.Release()

	p.Put(make([]byte, 4000), nil)
	if p.PrepareWait(500) {
		t.Error("waits with frames not published")
	}
	p.Publish()
	if p.PrepareWait(50) {
		t.Error("waits with room there")
	}
	if p.PrepareWait(5000) {
		t.Error("waits for what never fits")
	}
	if !p.PrepareWait(500) {
		t.Fatal("does not wait on a full ring")
	}
	read(t, c)
	if !c.Release() {
		t.Error("did not ring a waiting producer")
	}
	p.CancelWait()
	if s := p.Reserve(500); s != channel.OK {
		t.Errorf("no room after a ring: %v", s)
	}
}

func TestStatusNames(t *testing.T) {
	seen := map[string]bool{}
	for s := channel.OK; s <= channel.ErrCreditAbused; s++ {
		if seen[s.String()] || s.String() == channel.Status(255).String() {
			t.Errorf("status %d has no name of its own: %s", s, s)
		}
		seen[s.String()] = true
	}
	if channel.OK.Err() != nil || channel.ErrFull.Err() != error(channel.ErrFull) {
		t.Error("Err")
	}
}

// bell is a parker over two channels of Go.
type bell struct{ mine, theirs chan struct{} }

func (b bell) Park() bool { <-b.mine; return true }

func (b bell) Ring() {
	select {
	case b.theirs <- struct{}{}:
	default:
	}
}

func bells() (a, b bell) {
	x, y := make(chan struct{}, 1), make(chan struct{}, 1)
	return bell{x, y}, bell{y, x}
}

// Two goroutines that block on both ends: it ends only if no wake-up is lost.
func TestBlocking(t *testing.T) {
	_, p, c := newRing(t, 4096)
	pb, cb := bells()
	const n = 100_000
	go func() {
		b := make([]byte, 700)
		for i := range n {
			b[0], b[1], b[2] = byte(i), byte(i>>8), byte(i>>16)
			if s := p.Write(b[:3+i%698], pb); s != channel.OK {
				panic(s)
			}
		}
	}()
	for i := range n {
		if s := c.NextWait(cb); s != channel.OK {
			t.Fatal(s)
		}
		var b [700]byte
		m := c.Copy(b[:], 0)
		if m != 3+i%698 || b[0] != byte(i) || b[1] != byte(i>>8) || b[2] != byte(i>>16) {
			t.Fatalf("frame %d has %d bytes: % x", i, m, b[:3])
		}
		c.Advance()
	}
	t.Logf("waits: producer %d, consumer %d", p.Waits(), c.Waits())
}

type quitter struct{}

func (quitter) Park() bool { return false }
func (quitter) Ring()      {}

// A peer that does nothing keeps nobody longer than its own parker does.
func TestStalledPeer(t *testing.T) {
	_, p, c := newRing(t, 4096)
	if s := c.NextWait(quitter{}); s != channel.ErrStopped {
		t.Errorf("NextWait: %v", s)
	}
	p.Put(make([]byte, 4092), nil)
	if s := p.Write([]byte("x"), quitter{}); s != channel.ErrStopped {
		t.Errorf("Write: %v", s)
	}
	if s := p.Write(make([]byte, 4093), quitter{}); s != channel.ErrTooLarge {
		t.Errorf("Write of what never fits: %v", s)
	}
	if len(read(t, c)) != 4092 {
		t.Error("what was committed before the wait was not published")
	}
}

// A question is no frame, and one of a ring that is not set up is none.
func TestAsk(t *testing.T) {
	new(channel.Producer).Ask()
	if n := new(channel.Consumer).Asked(); n != 0 {
		t.Errorf("asked %d by nobody", n)
	}
	m, p, c := newRing(t, 4096)
	for n := range uint32(3) {
		if got := c.Asked(); got != n {
			t.Errorf("asked %d, want %d", got, n)
		}
		p.Ask()
	}
	if s := c.Next(); s != channel.ErrEmpty {
		t.Errorf("Next: %v", s)
	}
	if b := m.HeaderBytes(); b[144] != 3 {
		t.Errorf("header % x", b[128:192])
	}
}
