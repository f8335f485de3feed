package channel

import (
	"sync/atomic"
	"unsafe"
)

// pointer makes a pointer of an address outside the garbage-collected heap, or in
// an object that the ring's maker keeps alive.
func pointer(a uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&a)) }

// The atomics of Go are sequentially consistent: store64 and swap32 are full fences.

func load64(a uintptr) uint64     { return atomic.LoadUint64((*uint64)(pointer(a))) }
func store64(a uintptr, v uint64) { atomic.StoreUint64((*uint64)(pointer(a)), v) }
func load32(a uintptr) uint32     { return atomic.LoadUint32((*uint32)(pointer(a))) }
func add32(a uintptr, v uint32)   { atomic.AddUint32((*uint32)(pointer(a)), v) }
func swap32(a uintptr, v uint32) (old uint32) {
	return atomic.SwapUint32((*uint32)(pointer(a)), v)
}

// spans is n bytes of the ring from the cursor on, in up to two parts. n is at most
// the capacity.
func spans(bytes uintptr, mask, cursor, n uint64) (a, b []byte) {
	i := cursor & mask
	if first := mask + 1 - i; n > first {
		return unsafe.Slice((*byte)(pointer(bytes+uintptr(i))), first),
			unsafe.Slice((*byte)(pointer(bytes)), n-first)
	}
	return unsafe.Slice((*byte)(pointer(bytes+uintptr(i))), n), nil
}

// getLen reads a frame's length, each byte once.
func getLen(bytes uintptr, mask, cursor uint64) uint32 {
	i := cursor & mask
	if i+FrameHeader <= mask+1 {
		b := *(*[FrameHeader]byte)(pointer(bytes + uintptr(i)))
		return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
	}
	var v uint32
	for k := uint64(0); k < FrameHeader; k++ {
		v |= uint32(*(*byte)(pointer(bytes + uintptr((cursor+k)&mask)))) << (8 * k)
	}
	return v
}

// putLen writes a frame's length.
func putLen(bytes uintptr, mask, cursor uint64, v uint32) {
	if i := cursor & mask; i+FrameHeader <= mask+1 {
		*(*[FrameHeader]byte)(pointer(bytes + uintptr(i))) = [FrameHeader]byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)}
		return
	}
	for k := uint64(0); k < FrameHeader; k++ {
		*(*byte)(pointer(bytes + uintptr((cursor+k)&mask))) = byte(v >> (8 * k))
	}
}
