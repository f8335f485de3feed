package kernel

import (
	"sync/atomic"

	wall "github.com/enclaveos/eos/pkg/wall"
)

// The two channels, as ECallInitChannel and ECallInitDataChannel have given
// them. Addresses and capacity are ours from then on.
type channel struct {
	state              uint32 // 0 none, 1 being made, 2 there, 3 ended by a lie of the host
	e2hHead, e2hBytes  uint64
	h2eHead, h2eBytes  uint64
	capacity           uint64
	produced, consumed uint64 // our own cursors
}

const (
	channelNone = iota
	channelMaking
	channelReady
	channelEnded
)

var rpc, data channel

// A ring's header: the producer's cursor and the consumer's, on cache lines of
// their own.
const (
	ringHead       = 0
	ringTail       = 64
	ringHeaderSize = 256
	ringAlign      = 64
	minCapacity    = 4 << 10
	maxCapacity    = 64 << 20
)

// initChannel is ECallInitChannel and ECallInitDataChannel.
func initChannel(c *channel, desc uint64) wall.Refusal {
	if !outside(desc, wall.ChannelDescSize, 8) {
		return wall.RefusedPointer
	}
	if !atomic.CompareAndSwapUint32(&c.state, channelNone, channelMaking) {
		return wall.RefusedState
	}
	n := channel{e2hHead: load(desc), e2hBytes: load(desc + 8), h2eHead: load(desc + 16), h2eBytes: load(desc + 24), capacity: load(desc + 32)}
	r := wall.Refusal(0)
	switch {
	case n.capacity < minCapacity || n.capacity > maxCapacity || n.capacity&(n.capacity-1) != 0:
		r = wall.RefusedSize
	case !outside(n.e2hHead, ringHeaderSize, ringAlign) || !outside(n.h2eHead, ringHeaderSize, ringAlign) ||
		!outside(n.e2hBytes, n.capacity, ringAlign) || !outside(n.h2eBytes, n.capacity, ringAlign):
		r = wall.RefusedPointer
	}
	if r != 0 {
		atomic.StoreUint32(&c.state, channelNone)
		return r
	}
	c.e2hHead, c.e2hBytes, c.h2eHead, c.h2eBytes, c.capacity = n.e2hHead, n.e2hBytes, n.h2eHead, n.h2eBytes, n.capacity
	atomic.StoreUint32(&c.state, channelReady)
	return 0
}

// outside reports whether n bytes at addr are ordinary memory that lies wholly
// outside the enclave. A hole there is a fault, which harms only the host.
func outside(addr, n, align uint64) bool {
	b := boot()
	const canonical = 1 << 47
	return addr >= pageSize && addr%align == 0 && n <= canonical && addr <= canonical-n &&
		(addr+n <= b.Base || addr >= b.Base+b.Size)
}

// put writes bytes to a ring at a cursor; they may wrap.
func (c *channel) put(cursor, p, n uint64) {
	i := cursor & (c.capacity - 1)
	first := min(n, c.capacity-i)
	move(c.e2hBytes+i, p, first)
	move(c.e2hBytes, p+first, n-first)
}

// get reads bytes from a ring.
func (c *channel) get(cursor, p, n uint64) {
	i := cursor & (c.capacity - 1)
	first := min(n, c.capacity-i)
	move(p, c.h2eBytes+i, first)
	move(p+first, c.h2eBytes, n-first)
}

// space is the room for messages to the host. A consumer's cursor that is none
// ends the channel.
func (c *channel) space() uint64 {
	used := c.produced - load(c.e2hHead+ringTail)
	if used > c.capacity {
		atomic.StoreUint32(&c.state, channelEnded)
		return 0
	}
	return c.capacity - used
}

// available is how many bytes the host has written.
func (c *channel) available() uint64 {
	n := load(c.h2eHead+ringHead) - c.consumed
	if n > c.capacity {
		atomic.StoreUint32(&c.state, channelEnded)
		return 0
	}
	return n
}

// RPC messages: a frame is a u32 length and a request, u64 id, u16 method, u32
// length, payload.
const (
	methodStdioWrite = 0x0310
	methodStdioRead  = 0x0311
	methodStats      = 0x0312

	frameHeader    = 4
	requestHeader  = 14
	responseHeader = 16

	maxStdio = 64 << 10 // bytes of one message
)

var rpcLock uint32

// request is the first part of a message: what goes before the bytes that are
// copied from the program's memory.
type request struct {
	bytes [96]byte
	n     uint64
}

func (r *request) put(v, size uint64) {
	for i := uint64(0); i < size; i++ {
		r.bytes[r.n] = byte(v)
		v >>= 8
		r.n++
	}
}

// begin starts a request whose payload will have size bytes.
func (r *request) begin(id, method, size uint64) {
	r.n = 0
	r.put(requestHeader+size, 4)
	r.put(id, 8)
	r.put(method, 2)
	r.put(size, 4)
}

// send puts a request in the RPC ring, with n more bytes at p, and rings. It
// waits for room as long as the host takes to make some.
func (r *request) send(p, n uint64) bool {
	for {
		if atomic.LoadUint32(&rpc.state) != channelReady {
			return false
		}
		lock(&rpcLock)
		if rpc.space() >= r.n+n {
			rpc.put(rpc.produced, addrOf(&r.bytes), r.n)
			rpc.put(rpc.produced+r.n, p, n)
			rpc.produced += r.n + n
			store(rpc.e2hHead+ringHead, rpc.produced)
			unlock(&rpcLock)
			ocall(uint64(wall.NotifyRPC), 0, 0, 0)
			return true
		}
		unlock(&rpcLock)
		ocall(uint64(wall.NotifyRPC), 0, 0, 0)
		ocall(uint64(wall.NotifyPark), 1_000_000, 0, 0)
	}
}
