package channel

import (
	"fmt"
	"runtime"
	"unsafe"
)

// Memory is the memory of one ring, for hosts and tests: header and bytes, aligned. It
// has to be kept alive while anybody uses the addresses, or the slices of its methods.
type Memory struct {
	Header, Bytes uintptr
	Capacity      uint64
}

// NewMemory allocates a ring of the given capacity and publishes that in the header.
func NewMemory(capacity uint64) (*Memory, error) {
	if !CheckCapacity(capacity) {
		return nil, ErrCapacity
	}
	all, err := allocate(HeaderSize + capacity + Align)
	if err != nil {
		return nil, fmt.Errorf("%d bytes for a ring: %w", capacity, err)
	}
	m := &Memory{Capacity: capacity}
	runtime.AddCleanup(m, release, all)
	base := uintptr(unsafe.Pointer(unsafe.SliceData(all)))
	m.Header = (base + Align - 1) &^ (Align - 1)
	m.Bytes = m.Header + HeaderSize
	store64(m.Header+offCapacity, capacity)
	return m, nil
}

// HeaderBytes and RingBytes are the two parts of the memory, raw.
func (m *Memory) HeaderBytes() []byte { return unsafe.Slice((*byte)(pointer(m.Header)), HeaderSize) }

// RingBytes is described at HeaderBytes.
func (m *Memory) RingBytes() []byte { return unsafe.Slice((*byte)(pointer(m.Bytes)), m.Capacity) }
