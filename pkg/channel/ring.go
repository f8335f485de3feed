// Package channel is a ring for one producer and one consumer that do not trust
// each other, in memory that both can write: the host's side and the enclave's side
// of the wall share nothing else while a program runs.
//
// # Layout
//
// A ring is a header of 256 bytes and, elsewhere, its bytes. Both are aligned to 64
// bytes. All numbers are little-endian.
//
//	  0  u64  head: the producer's cursor
//	  8       zero to 63
//	 64  u64  tail: the consumer's cursor
//	 72       zero to 127
//	128  u64  capacity: written by whoever makes the ring, read by nobody
//	136  u32  producer waits: 1 while the producer wants to be rung for room
//	140       zero
//	144  u32  asked: raised by the producer when it wants to hear of the consumer
//	148       zero to 191
//	192  u32  consumer parked: 1 while the consumer wants to be rung for frames
//	196       zero to 255
//
// Cursors count bytes since the start and never wrap; a byte's place is the cursor
// modulo the capacity, a power of two from 4 KiB to 64 MiB. A frame is
//
//	0  u32  length of the payload
//	4       payload
//
// without padding, and may wrap at any byte. It can be as long as the capacity
// allows: capacity - 4.
//
// Head, tail, capacity and frames lie where Enclave OS Mini has them. The two flags
// lie in fields that it leaves unused (it has no doorbell: an idle side spins). Each
// has a cache line without a cursor, since it is read after each publication and
// rarely written. Asked is ours, too: what is asked for is for the two sides to know,
// and whoever ignores it has missed nothing else. Differences in meaning: a frame may be longer than 4 MiB if the
// ring is, and a length that lies ends the ring where Enclave OS Mini skips four
// bytes and goes on with whatever it finds there.
//
// # Trust
//
// Each side keeps its own cursor and the capacity in its own memory and only
// publishes copies. It reads each shared word once, holds it against its own
// numbers, and then uses the copy (the Go memory model forbids a compiler to read
// it again). The peer's cursor may only move forward, within what the ring can
// hold. Whoever breaks that ends the ring: its Status says how, and stays. A flag
// of the peer's is a hint: to lie about it costs a wake-up, or the peer's own one.
//
// # Doorbell
//
// Who wants to sleep sets its flag, then looks at the peer's cursor again, then
// sleeps. Who has moved its cursor looks at the peer's flag then, and rings if it is
// set. Each "then" is a full fence between a store and a load: without it, both
// sides could miss each other.
//
// The files status.go, ring.go, ring_unsafe.go, producer.go and consumer.go do not
// allocate, do not panic and import nothing but unsafe and sync/atomic: the kernel
// inside the Go runtime is built with them.
package channel

// HeaderSize is the size of a ring's header in bytes.
const HeaderSize = 256

// FrameHeader is what a frame takes besides its payload.
const FrameHeader = 4

// Bounds of the capacity, and the alignment of header and bytes.
const (
	MinCapacity = 4 << 10
	MaxCapacity = 64 << 20
	Align       = 64
)

// Offsets in the header.
const (
	offHead           = 0
	offTail           = 64
	offCapacity       = 128
	offProducerWaits  = 136
	offAsked          = 144
	offConsumerParked = 192
)

// spins is how often a side looks again before it parks: some hundred nanoseconds,
// less than a doorbell costs.
const spins = 100

// CheckCapacity tells whether a ring can have this many bytes.
func CheckCapacity(capacity uint64) bool {
	return capacity >= MinCapacity && capacity <= MaxCapacity && capacity&(capacity-1) == 0
}

func checkPlace(header, bytes uintptr, capacity uint64) Status {
	switch {
	case !CheckCapacity(capacity):
		return ErrCapacity
	case header == 0 || bytes == 0 || header%Align != 0 || bytes%Align != 0:
		return ErrAlign
	}
	return OK
}
