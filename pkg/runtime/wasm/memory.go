package wasm

import (
	"sync"
	"sync/atomic"

	"github.com/tetratelabs/wazero/experimental"
)

// memoryBudget bounds the linear memory of all instances together, so that no app
// takes the enclave's heap from the others.
type memoryBudget struct {
	limit int64 // bytes; 0: none
	used  atomic.Int64
}

func (b *memoryBudget) take(n int64) bool {
	if b.used.Add(n) > b.limit && b.limit > 0 {
		b.used.Add(-n)
		return false
	}
	return true
}

// slabs are memories that an app's instances have used, to be used again: a new
// slice for each call would keep the garbage collector busy.
type slabs struct {
	mu   sync.Mutex
	free [][]byte
}

const keepSlabs = 4

func (s *slabs) get(size uint64) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, b := range s.free {
		if uint64(cap(b)) >= size {
			s.free[i] = s.free[len(s.free)-1]
			s.free = s.free[:len(s.free)-1]
			return b
		}
	}
	return nil
}

func (s *slabs) put(b []byte) {
	clear(b) // no instance sees another's
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) < keepSlabs {
		s.free = append(s.free, b[:0])
		return
	}
	for i := range s.free { // keep the larger ones
		if cap(s.free[i]) < cap(b) {
			s.free[i], b = b[:0], s.free[i]
		}
	}
}

// linearMemory is the memory of one instance.
type linearMemory struct {
	budget *memoryBudget
	slabs  *slabs
	buf    []byte
	max    uint64
}

func (a *App) Allocate(_, max uint64) experimental.LinearMemory {
	return &linearMemory{budget: a.budget, slabs: &a.slabs, max: max}
}

// Reallocate is nil, and memory.grow -1, when the budget is spent. An instance that
// does not get its first pages cannot begin, which is a panic for instantiate to
// catch.
func (m *linearMemory) Reallocate(size uint64) []byte {
	if !m.budget.take(int64(size) - int64(len(m.buf))) {
		if m.buf == nil {
			panic(faultf(FaultBusy, "no memory left for another instance"))
		}
		return nil
	}
	if uint64(cap(m.buf)) >= size {
		m.buf = m.buf[:size]
		return m.buf
	}
	b := m.slabs.get(size)
	if b == nil {
		// Room for some growth: each step would copy everything.
		room := size
		if m.buf != nil {
			room = min(max(size+size/4, size), m.max)
		}
		b = make([]byte, 0, room)
	}
	b = b[:size]
	copy(b, m.buf)
	m.buf = b
	return b
}

func (m *linearMemory) Free() {
	m.budget.take(-int64(len(m.buf)))
	if m.buf != nil {
		m.slabs.put(m.buf)
	}
	m.buf = nil
}
