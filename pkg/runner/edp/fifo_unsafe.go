package edp

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// fifo is one asynchronous queue: a ring of equal elements and one word of
// offsets, in memory that the enclave shares and may write anything to.
//
//	offsets  low half: read, high half: write; both modulo 2*len
//	element  8 bytes id, zero while not written; then the data
//
// Equal offsets: empty. Offsets len apart: full. An offset names the element
// that was used last, in its low bits; the first element ever goes to slot 1.
//
// Our own offset is kept in pos and is only published; the other side's is read
// once for each operation and checked.
type fifo struct {
	name    string
	mem     []byte
	offsets *uint64
	len     uint32 // elements, a power of two
	elem    uint32 // bytes of an element
	pos     uint32 // our offset: read for a queue from the enclave, else write
	total   uint64 // elements that we have read or written in all
}

// newFifo lays a queue over memory: the elements, then the word of offsets.
// Both are 8-byte aligned.
func newFifo(name string, mem []byte, length, elem uint32) *fifo {
	n := length * elem
	return &fifo{name: name, mem: mem[:n:n], offsets: (*uint64)(unsafe.Pointer(&mem[n])), len: length, elem: elem}
}

// fifoSize is the memory of a queue in bytes.
func fifoSize(length, elem uint32) uint64 { return uint64(length*elem) + 8 }

// descriptor is the queue's FifoDescriptor, if its memory begins at addr.
func (f *fifo) descriptor(addr uint64) (b [fifoDescriptorSize]byte) {
	le.PutUint64(b[:], addr)
	le.PutUint64(b[8:], uint64(f.len))
	le.PutUint64(b[16:], addr+uint64(len(f.mem)))
	return b
}

func (f *fifo) id(slot uint32) *uint64 {
	return (*uint64)(unsafe.Pointer(&f.mem[slot*f.elem]))
}

func (f *fifo) lie(format string, a ...any) error {
	return &QueueError{Queue: f.name, What: fmt.Sprintf(format, a...)}
}

// readerState is what one look at the offsets of a queue from the enclave
// tells.
func (f *fifo) readerState() (waiting uint32, err error) {
	o := atomic.LoadUint64(f.offsets)
	read, write := uint32(o), uint32(o>>32)
	switch {
	case read != f.pos:
		return 0, f.lie("the read offset is %d and should be %d: only the host moves it", read, f.pos)
	case write >= 2*f.len:
		return 0, f.lie("the write offset is %d, with a length of %d", write, f.len)
	}
	waiting = (write - read) & (2*f.len - 1)
	if waiting > f.len {
		return 0, f.lie("the offsets %d and %d are more than the length of %d apart", read, write, f.len)
	}
	return waiting, nil
}

// pop copies the next element's data to p. ok is false if there is none, or if
// its id is not written yet: then claimed is true. wake says that the writer
// may be waiting for room.
func (f *fifo) pop(p []byte) (id uint64, ok, claimed, wake bool, err error) {
	n, err := f.readerState()
	if err != nil || n == 0 {
		return 0, false, false, false, err
	}
	next := (f.pos + 1) & (2*f.len - 1)
	slot := next & (f.len - 1)
	idp := f.id(slot)
	id = atomic.LoadUint64(idp)
	if id == 0 {
		return 0, false, true, false, nil
	}
	copy(p, f.mem[slot*f.elem+8:(slot+1)*f.elem])
	atomic.StoreUint64(idp, 0)
	after := atomic.AddUint64(f.offsets, uint64(next)-uint64(f.pos))
	// At the wrap the addition borrows from nothing: the low half goes from
	// 2*len-1 to 0 by subtracting.
	before := after - (uint64(next) - uint64(f.pos))
	full := (uint32(before>>32)-f.pos)&(2*f.len-1) == f.len
	f.pos = next
	f.total++
	return id, true, false, full || n == f.len, nil
}

// push writes an element of the queue to the enclave. ok is false if there is
// no room. wake says that the reader may be waiting.
func (f *fifo) push(id uint64, p []byte) (ok, wake bool, err error) {
	o := atomic.LoadUint64(f.offsets)
	read, write := uint32(o), uint32(o>>32)
	switch {
	case write != f.pos:
		return false, false, f.lie("the write offset is %d and should be %d: only the host moves it", write, f.pos)
	case read >= 2*f.len:
		return false, false, f.lie("the read offset is %d, with a length of %d", read, f.len)
	}
	n := (write - read) & (2*f.len - 1)
	switch {
	case n > f.len:
		return false, false, f.lie("the offsets %d and %d are more than the length of %d apart", read, write, f.len)
	case n == f.len:
		return false, false, nil
	}
	next := (f.pos + 1) & (2*f.len - 1)
	slot := next & (f.len - 1)
	// The enclave takes an element when the offset has moved and the id is
	// there, in this order, so the offset can go first and the id last.
	for {
		if !atomic.CompareAndSwapUint64(f.offsets, o, uint64(next)<<32|uint64(uint32(o))) {
			o = atomic.LoadUint64(f.offsets)
			read = uint32(o)
			if uint32(o>>32) != f.pos || read >= 2*f.len || (f.pos-read)&(2*f.len-1) > n {
				return false, false, f.lie("the offsets became %#x while the host wrote", o)
			}
			n = (f.pos - read) & (2*f.len - 1)
			continue
		}
		break
	}
	copy(f.mem[slot*f.elem+8:(slot+1)*f.elem], p)
	atomic.StoreUint64(f.id(slot), id)
	f.pos = next
	f.total++
	return true, n == 0, nil
}
