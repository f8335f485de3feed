package kernel

import (
	"sync/atomic"

	ring "github.com/enclaveos/eos/pkg/channel"
	wire "github.com/enclaveos/eos/pkg/channel/wire"
	wall "github.com/enclaveos/eos/pkg/wall"
)

// The two channels, as ECallInitChannel and ECallInitDataChannel have given
// them. Addresses and capacity are ours from then on.
type pair struct {
	state             uint32 // 0 none, 1 being made, 2 there
	e2hHead, e2hBytes uint64 // ring to the host: header and bytes
	h2eHead, h2eBytes uint64
	capacity          uint64
}

const (
	channelNone = iota
	channelMaking
	channelReady
)

var rpc, data pair

// initChannel is ECallInitChannel and ECallInitDataChannel.
func initChannel(c *pair, desc uint64) wall.Refusal {
	if !outside(desc, wall.ChannelDescSize, 8) {
		return wall.RefusedPointer
	}
	if !atomic.CompareAndSwapUint32(&c.state, channelNone, channelMaking) {
		return wall.RefusedState
	}
	n := pair{e2hHead: load(desc), e2hBytes: load(desc + 8), h2eHead: load(desc + 16), h2eBytes: load(desc + 24), capacity: load(desc + 32)}
	r := wall.Refusal(0)
	switch {
	case !ring.CheckCapacity(n.capacity):
		r = wall.RefusedSize
	case !outside(n.e2hHead, ring.HeaderSize, ring.Align) || !outside(n.h2eHead, ring.HeaderSize, ring.Align) ||
		!outside(n.e2hBytes, n.capacity, ring.Align) || !outside(n.h2eBytes, n.capacity, ring.Align):
		r = wall.RefusedPointer
	}
	if r != 0 {
		atomic.StoreUint32(&c.state, channelNone)
		return r
	}
	if c == &rpc {
		rpcOut.Init(uintptr(n.e2hHead), uintptr(n.e2hBytes), n.capacity)
		rpcIn.Init(uintptr(n.h2eHead), uintptr(n.h2eBytes), n.capacity)
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

// maxStdio is the most bytes of one message of the RPC channel.
const maxStdio = 64 << 10

// The RPC channel: requests go out, each whole, by any thread; responses come in
// for stdin and for the program's own requests (rpcfile.go).
var (
	rpcLock   uint32
	rpcOut    ring.Producer // guarded by rpcLock
	rpcInLock uint32
	rpcIn     ring.Consumer // guarded by rpcInLock
)

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
func (r *request) begin(id uint64, method wire.Method, size uint64) {
	r.n = 0
	r.put(id, 8)
	r.put(uint64(method), 2)
	r.put(size, 4)
}

// send puts a request in the RPC ring, with n more bytes at p, and rings, with a1 of
// NotifyRPC. It waits for room as long as the host takes to make some.
func (r *request) send(p, n, a1 uint64) bool {
	if atomic.LoadUint32(&rpc.state) != channelReady {
		return false
	}
	for {
		lock(&rpcLock)
		s := rpcOut.Reserve(r.n + n)
		if s == ring.OK {
			rpcOut.Fill(0, r.bytes[:r.n])
			if n != 0 {
				rpcOut.Fill(r.n, span(p, n))
			}
			rpcOut.Commit(r.n + n)
			rpcOut.Publish()
		}
		unlock(&rpcLock)
		ocall(uint64(wall.NotifyRPC), a1, 0, 0)
		if s != ring.ErrFull {
			return s == ring.OK
		}
		ocall(uint64(wall.NotifyPark), 1_000_000, 0, 0)
	}
}
