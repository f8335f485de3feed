// Package channeltest has a hostile peer for the rings of pkg/channel: it moves
// cursors where they must not go, lies about lengths, rewrites what was read, stalls
// and scribbles. Whoever uses a ring can hold its code against it.
package channeltest

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/enclaveos/eos/pkg/channel"
)

// Peer is the other side of a ring, with no manners.
type Peer struct{ m *channel.Memory }

// New makes the peer of a ring.
func New(m *channel.Memory) *Peer { return &Peer{m} }

func (p *Peer) word(off uintptr) *uint64 {
	return (*uint64)(unsafe.Pointer(&p.m.HeaderBytes()[off]))
}

// SetHead and SetTail move the cursor of the producer and of the consumer.
func (p *Peer) SetHead(v uint64) { atomic.StoreUint64(p.word(0), v) }

// SetTail is described at SetHead.
func (p *Peer) SetTail(v uint64) { atomic.StoreUint64(p.word(64), v) }

// SetFlags sets both doorbell flags, all four bytes of them.
func (p *Peer) SetFlags(v uint32) {
	for _, off := range []uintptr{136, 192} {
		atomic.StoreUint32((*uint32)(unsafe.Pointer(p.word(off))), v)
	}
}

// Write writes bytes behind a cursor.
func (p *Peer) Write(cursor uint64, b []byte) {
	ring := p.m.RingBytes()
	for i, c := range b {
		ring[(cursor+uint64(i))&(p.m.Capacity-1)] = c
	}
}

// Frame writes a frame with a length of the caller's choice behind a cursor and gives
// the cursor behind what was written.
func (p *Peer) Frame(cursor uint64, length uint32, payload []byte) uint64 {
	p.Write(cursor, []byte{byte(length), byte(length >> 8), byte(length >> 16), byte(length >> 24)})
	p.Write(cursor+4, payload)
	return cursor + 4 + uint64(len(payload))
}

// Lie is one way to break the rules of a ring.
type Lie struct {
	Name string
	// At is where the victim's ring stands when the lie is told: this many bytes have
	// been written and read before.
	At uint64
	// Tell tells the lie.
	Tell func(p *Peer, at, capacity uint64)
	Want channel.Status
}

// ProducerLies are what a producer can do to a consumer whose ring is empty and whose
// cursor is at At.
var ProducerLies = []Lie{
	{"cursor one back", 100, func(p *Peer, at, c uint64) { p.SetHead(at - 1) }, channel.ErrCursorBack},
	{"cursor to zero", 100, func(p *Peer, at, c uint64) { p.SetHead(0) }, channel.ErrCursorBack},
	{"cursor one beyond the ring", 100, func(p *Peer, at, c uint64) { p.SetHead(at + c + 1) }, channel.ErrCursorAhead},
	{"cursor far ahead", 0, func(p *Peer, at, c uint64) { p.SetHead(1 << 63) }, channel.ErrCursorAhead},
	{"cursor below zero", 0, func(p *Peer, at, c uint64) { p.SetHead(1<<64 - 1) }, channel.ErrCursorBack},
	{"one byte of a header", 0, func(p *Peer, at, c uint64) { p.SetHead(at + 1) }, channel.ErrFrameCut},
	{"three bytes of a header", 4094, func(p *Peer, at, c uint64) { p.SetHead(at + 3) }, channel.ErrFrameCut},
	{"length one too long", 0, func(p *Peer, at, c uint64) { p.SetHead(p.Frame(at, 4, []byte("abc"))) }, channel.ErrFrameLength},
	{"length of 4 GiB", 0, func(p *Peer, at, c uint64) { p.SetHead(p.Frame(at, 1<<32-1, []byte("abc"))) }, channel.ErrFrameLength},
	{"length of the capacity", 0, func(p *Peer, at, c uint64) { p.Frame(at, uint32(c), nil); p.SetHead(at + c) }, channel.ErrFrameLength},
	{"length over the wrap", 4093, func(p *Peer, at, c uint64) { p.SetHead(p.Frame(at, 10, []byte("123456789"))) }, channel.ErrFrameLength},
	{"length that wraps a sum", 0, func(p *Peer, at, c uint64) { p.SetHead(p.Frame(at, 1<<32-4, nil)) }, channel.ErrFrameLength},
}

// ConsumerLies are what a consumer can do to a producer whose cursor is at At, with
// an empty ring. The victim then fills the ring until it has to look.
var ConsumerLies = []Lie{
	{"cursor one back", 100, func(p *Peer, at, c uint64) { p.SetTail(at - 1) }, channel.ErrCursorBack},
	{"cursor to zero", 100, func(p *Peer, at, c uint64) { p.SetTail(0) }, channel.ErrCursorBack},
	{"cursor beyond what was written", 100, func(p *Peer, at, c uint64) { p.SetTail(at + c + 1) }, channel.ErrCursorAhead},
	{"cursor far ahead", 0, func(p *Peer, at, c uint64) { p.SetTail(1 << 63) }, channel.ErrCursorAhead},
	{"cursor below zero", 0, func(p *Peer, at, c uint64) { p.SetTail(1<<64 - 1) }, channel.ErrCursorBack},
}

// Storm writes random nonsense, often nearly right, all over the ring until the
// returned function is called: into cursors, flags, lengths and payloads. The race
// detector does not see it, as it would not see a real peer.
func (p *Peer) Storm(seed uint64) (stop func()) {
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		rnd := rand.New(rand.NewPCG(seed, 1))
		for !done.Load() {
			p.scribble(rnd)
		}
	})
	return func() { done.Store(true); wg.Wait() }
}

//go:norace
func (p *Peer) scribble(rnd *rand.Rand) {
	header, ring := p.m.HeaderBytes(), p.m.RingBytes()
	off := []uintptr{0, 64, 128, 136, 144, 192}[rnd.IntN(6)]
	w := (*uint64)(unsafe.Pointer(&header[off]))
	switch rnd.IntN(8) {
	case 0:
		*w = rnd.Uint64()
	case 1:
		*w += rnd.Uint64N(p.m.Capacity)
	case 2:
		*w -= rnd.Uint64N(64)
	default:
		i := rnd.Uint64N(p.m.Capacity - 4)
		*(*uint32)(unsafe.Pointer(&ring[i&^3])) = rnd.Uint32() >> rnd.IntN(32)
	}
}
