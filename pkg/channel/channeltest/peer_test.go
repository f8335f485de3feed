package channeltest_test

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/enclaveos/eos/pkg/channel"
	"github.com/enclaveos/eos/pkg/channel/channeltest"
)

const capacity = 4096

// ring gives the two sides of a ring through which at bytes have gone.
func ring(t testing.TB, at uint64) (*channel.Memory, *channel.Producer, *channel.Consumer) {
	t.Helper()
	m, err := channel.NewMemory(capacity)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { runtime.KeepAlive(m) })
	p, c := new(channel.Producer), new(channel.Consumer)
	p.Init(m.Header, m.Bytes, capacity)
	c.Init(m.Header, m.Bytes, capacity)
	for at > 0 {
		n := min(at, 2000)
		if at-n < 4 && at != n {
			n -= 4
		}
		if s := p.Put(make([]byte, n-4), nil); s != channel.OK {
			t.Fatal(s)
		}
		p.Publish()
		if s := c.Next(); s != channel.OK {
			t.Fatal(s)
		}
		c.Advance()
		c.Release()
		p.Room() // looks at the consumer's cursor
		at -= n
	}
	return m, p, c
}

func TestProducerLies(t *testing.T) {
	for _, l := range channeltest.ProducerLies {
		m, _, c := ring(t, l.At)
		if s := c.Next(); s != channel.ErrEmpty {
			t.Fatalf("%s: before the lie: %v", l.Name, s)
		}
		l.Tell(channeltest.New(m), l.At, capacity)
		if s := c.Next(); s != l.Want {
			t.Errorf("%s: %v, want %v", l.Name, s, l.Want)
		}
		// The ring stays dead, even when the peer makes it good again.
		channeltest.New(m).SetHead(l.At)
		if s := c.Next(); s != l.Want || c.Status() != l.Want || c.Len() != 0 || c.PreparePark() || c.Release() {
			t.Errorf("%s: goes on after the lie: %v", l.Name, s)
		}
		c.Kill(channel.ErrMessage)
		if c.Status() != l.Want {
			t.Errorf("%s: the reason changes to %v", l.Name, c.Status())
		}
	}
}

func TestConsumerLies(t *testing.T) {
	for _, l := range channeltest.ConsumerLies {
		m, p, _ := ring(t, l.At)
		l.Tell(channeltest.New(m), l.At, capacity)
		if s := p.Put(make([]byte, 4092), nil); s != channel.OK {
			t.Errorf("%s: a frame for which there was room: %v", l.Name, s)
		}
		p.Publish()
		if s := p.Reserve(1); s != l.Want {
			t.Errorf("%s: %v, want %v", l.Name, s, l.Want)
		}
		channeltest.New(m).SetTail(l.At)
		if s := p.Put(nil, nil); s != l.Want || p.Status() != l.Want || p.Publish() || p.Room() != 0 || p.PrepareWait(1) {
			t.Errorf("%s: goes on after the lie: %v", l.Name, s)
		}
	}
}

// A consumer's claim to have read what was committed but not published is a lie.
func TestReadBeforePublished(t *testing.T) {
	m, p, _ := ring(t, 0)
	p.Put(make([]byte, 4000), nil)
	channeltest.New(m).SetTail(4004)
	if s := p.Reserve(1000); s != channel.ErrCursorAhead {
		t.Errorf("%v", s)
	}
}

// The capacity in the header is for people: nobody believes it.
func TestCapacityWord(t *testing.T) {
	m, p, c := ring(t, 0)
	binary.LittleEndian.PutUint64(m.HeaderBytes()[128:], 1<<40)
	for range 100 {
		if s := p.Put(make([]byte, 1000), nil); s != channel.OK {
			t.Fatal(s)
		}
		p.Publish()
		if s := c.Next(); s != channel.OK || c.Len() != 1000 {
			t.Fatal(s)
		}
		c.Advance()
		c.Release()
	}
}

// What was read once is not believed a second time: length and copies stay.
func TestRewriteAfterRead(t *testing.T) {
	for _, at := range []uint64{0, 4090, 4093, 4000} {
		m, p, c := ring(t, at)
		p.Put(bytes.Repeat([]byte("good"), 20), nil)
		p.Publish()
		if s := c.Next(); s != channel.OK || c.Len() != 80 {
			t.Fatal(s)
		}
		peer := channeltest.New(m)
		peer.Frame(at, 1<<31, bytes.Repeat([]byte("evil"), 20))
		peer.SetHead(at + 4)
		if s := c.Next(); s != channel.OK || c.Len() != 80 {
			t.Errorf("at %d: the frame changed: %v, %d bytes", at, s, c.Len())
		}
		a, b := c.Spans(0)
		if len(a)+len(b) != 80 {
			t.Errorf("at %d: spans of %d bytes", at, len(a)+len(b))
		}
		big := bytes.Repeat([]byte{0xaa}, 200)
		if n := c.Copy(big, 0); n != 80 || big[80] != 0xaa {
			t.Errorf("at %d: copied %d bytes", at, n)
		}
		c.Advance()
		if s := c.Next(); s != channel.ErrCursorBack {
			t.Errorf("at %d: head was moved back: %v", at, s)
		}
	}
}

type counter struct{ parks, rings int }

func (k *counter) Park() bool { k.parks++; return k.parks < 1000 }
func (k *counter) Ring()      { k.rings++ }

// A peer that stalls, or that plays with the flags, costs wake-ups and no more.
func TestStallAndFlags(t *testing.T) {
	m, p, c := ring(t, 0)
	peer := channeltest.New(m)
	k := new(counter)
	if s := c.NextWait(k); s != channel.ErrStopped || k.parks != 1000 {
		t.Errorf("NextWait: %v after %d parks", s, k.parks)
	}
	k = new(counter)
	for range 10 {
		peer.SetFlags(0xffffffff)
		p.Put([]byte("x"), nil)
		if !p.Publish() {
			t.Error("no ring though the flag was set")
		}
	}
	p.Put(make([]byte, 4000), nil)
	if s := p.Write(make([]byte, 200), k); s != channel.ErrStopped {
		t.Errorf("Write: %v", s)
	}
	for range 10 {
		if s := c.Next(); s != channel.OK || c.Len() != 1 {
			t.Fatal(s)
		}
		c.Advance()
	}
}

// While a peer scribbles over everything, both sides end with a reason; what they
// give out stays within the ring. A bound that failed would crash the test or hit
// the canaries.
func TestStorm(t *testing.T) {
	reasons := map[channel.Status]int{}
	// Which lie is seen first is chance: more storms until each has been.
	missing := func() bool { return reasons[channel.ErrCursorAhead] == 0 || reasons[channel.ErrCursorBack] == 0 }
	for seed := uint64(0); seed < 300 || missing() && seed < 10000; seed++ {
		m, p, c := ring(t, seed*13%5000/4*4)
		stop := channeltest.New(m).Storm(seed)
		buf := make([]byte, capacity+64)
		for range 100000 {
			if s := p.Put(buf[:seed%300], nil); s != channel.OK && s != channel.ErrFull {
				break
			}
			p.Publish()
			if p.PrepareWait(4000) {
				p.CancelWait()
			}
		}
		for range 100000 {
			s := c.Next()
			if s == channel.OK {
				if c.Len() > capacity-4 {
					t.Fatalf("frame of %d bytes", c.Len())
				}
				if n := c.Copy(buf, 0); uint64(n) != c.Len() {
					t.Fatalf("copied %d of %d bytes", n, c.Len())
				}
				c.Advance()
				c.Release()
				continue
			}
			if s.Dead() {
				break
			}
			if c.PreparePark() {
				c.CancelPark()
			}
		}
		stop()
		reasons[p.Status()]++
		reasons[c.Status()]++
	}
	t.Log(reasons)
	for _, s := range []channel.Status{channel.ErrCursorAhead, channel.ErrCursorBack} {
		if reasons[s] == 0 {
			t.Errorf("no ring ended by %v", s)
		}
	}
}

// FuzzConsumer has a script of a peer's deeds, two bytes and up to 8 of data each, go
// against a consumer, and holds that against a plain model of what is allowed.
func FuzzConsumer(f *testing.F) {
	f.Add([]byte{0, 8, 4, 0, 0, 0, 'a', 'b', 'c', 'd', 1, 8, 2, 0})
	f.Add([]byte{0, 8, 200, 0, 0, 0, 'a', 'b', 'c', 'd', 1, 8, 2, 0})
	f.Add([]byte{1, 255, 2, 0, 1, 3, 2, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		m, _, c := ring(t, 0)
		peer := channeltest.New(m)
		var head, tail, written uint64 // the peer's and the victim's cursors as they should be
		lied := false
		for len(script) >= 2 {
			op, arg := script[0], uint64(script[1])
			script = script[2:]
			switch op % 4 {
			case 0: // write up to 8 bytes
				n := min(arg%9, uint64(len(script)))
				peer.Write(written, script[:n])
				written += n
				script = script[n:]
			case 1: // move the cursor by a signed amount
				head += uint64(int64(int8(arg)))
				peer.SetHead(head)
				written = head
			case 2:
				s := c.Next()
				if c.Status() == channel.OK && head-tail > capacity && s != channel.OK {
					t.Fatalf("a cursor %d ahead is believed: %v", head-tail, s)
				}
				if s == channel.OK {
					if c.Len()+4 > capacity {
						t.Fatalf("frame of %d bytes", c.Len())
					}
					b := make([]byte, c.Len())
					c.Copy(b, 0)
					tail += 4 + c.Len()
					c.Advance()
				} else if s.Dead() {
					lied = true
				}
				if lied && !c.Status().Dead() {
					t.Fatal("a dead ring lives")
				}
			case 3:
				c.Release()
				if got := binary.LittleEndian.Uint64(m.HeaderBytes()[64:]); got > tail {
					t.Fatalf("released up to %d, read up to %d", got, tail)
				}
			}
		}
	})
}

// FuzzProducer moves the consumer's cursor by a script. The producer must never
// write over what the consumer has, by its own last sound word, not released.
func FuzzProducer(f *testing.F) {
	f.Add([]byte{10, 0, 200, 0, 10, 200})
	f.Fuzz(func(t *testing.T, script []byte) {
		m, p, _ := ring(t, 0)
		peer := channeltest.New(m)
		var tail, head uint64
		for len(script) >= 2 {
			n, move := uint64(script[0])*16, uint64(int64(int8(script[1]))*16)
			script = script[2:]
			if s := p.Put(make([]byte, n), nil); s == channel.OK {
				head += n + 4
			}
			p.Publish()
			if p.Status() == channel.OK && head != p.Written() {
				t.Fatalf("written %d, want %d", p.Written(), head)
			}
			if p.Status() == channel.OK && p.Room()+4 > capacity {
				t.Fatalf("room for %d bytes", p.Room())
			}
			old := tail
			tail += move
			peer.SetTail(tail)
			sound := tail-old <= head-old
			if got := p.Room(); sound && p.Status() == channel.OK && got != max(capacity-(head-tail), 4)-4 {
				t.Fatalf("room %d with %d of %d bytes in use", got, head-tail, capacity)
			} else if !sound && !p.Status().Dead() {
				t.Fatalf("tail %d after %d with head %d is believed", tail, old, head)
			}
			if p.Status().Dead() {
				if p.Put(nil, nil) != p.Status() || p.Publish() {
					t.Fatal("a dead ring lives")
				}
				return
			}
		}
	})
}
