package channel

import "unsafe"

// Memory is the memory of one ring, for hosts and tests: header and bytes in Go's
// heap, aligned. It has to be kept alive while anybody uses the addresses; Go does
// not move it.
type Memory struct {
	Header, Bytes uintptr
	Capacity      uint64
	all           []byte
}

// NewMemory allocates a ring of the given capacity and publishes that in the header.
func NewMemory(capacity uint64) (*Memory, error) {
	if !CheckCapacity(capacity) {
		return nil, ErrCapacity
	}
	m := &Memory{Capacity: capacity, all: make([]byte, HeaderSize+capacity+Align)}
	base := uintptr(unsafe.Pointer(unsafe.SliceData(m.all)))
	m.Header = (base + Align - 1) &^ (Align - 1)
	m.Bytes = m.Header + HeaderSize
	store64(m.Header+offCapacity, capacity)
	return m, nil
}

// HeaderBytes and RingBytes are the two parts of the memory, raw.
func (m *Memory) HeaderBytes() []byte { return unsafe.Slice((*byte)(pointer(m.Header)), HeaderSize) }

// RingBytes is described at HeaderBytes.
func (m *Memory) RingBytes() []byte { return unsafe.Slice((*byte)(pointer(m.Bytes)), m.Capacity) }
