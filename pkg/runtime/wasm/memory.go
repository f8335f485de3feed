package wasm

import (
	"runtime"
	"sync"
	"time"

	"github.com/tetratelabs/wazero/experimental"
)

// memoryBudget bounds the linear memory of all instances together, so that no app
// takes the enclave's heap from the others. It keeps memory that instances have left,
// to be used again: a new slice for each call would keep the garbage collector busy.
type memoryBudget struct {
	limit int64 // bytes; 0: none

	mu    sync.Mutex
	used  int64         // by instances
	idle  int64         // kept
	waste int64         // neither used nor kept, since the last collection
	free  [][]byte      // what is kept, all zeros up to the capacity
	freed chan struct{} // closed when an instance gives memory back
}

// maxIdle bounds what is kept, where the limit does not.
const maxIdle = 256 << 20

// fits reports whether an app that has so much may have n bytes more: three quarters
// of all at most, so that the others go on, whatever one does. The caller holds b.mu.
func (b *memoryBudget) fits(has, n int64) bool {
	return b.limit <= 0 || b.used+n <= b.limit && (has == 0 || has+n <= b.limit/4*3)
}

// take gives an app zeroed memory of size bytes, with a capacity of room if there is
// that much; nil if not even size bytes are left.
func (b *memoryBudget) take(has *int64, size, room int64) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.fits(*has, room) {
		room = size
	}
	if !b.fits(*has, size) {
		return nil
	}
	best := -1
	for i, f := range b.free {
		c := int64(cap(f))
		if c >= size && c <= 2*room && (best < 0 || c < int64(cap(b.free[best]))) && b.fits(*has, c) {
			best = i
		}
	}
	if best >= 0 {
		f := b.free[best]
		b.drop(best)
		b.used += int64(cap(f))
		*has += int64(cap(f))
		return f[:size]
	}
	b.used += room
	*has += room
	for len(b.free) > 0 && b.limit > 0 && b.used+b.idle > b.limit {
		b.waste += int64(cap(b.free[0]))
		b.drop(0)
	}
	b.collect()
	return make([]byte, size, room)
}

// collect waits for the garbage collector when what was given up and what is in use
// are more than the limit: a heap that grows faster than it is collected is the end
// of the enclave. The caller holds b.mu.
func (b *memoryBudget) collect() {
	if b.limit > 0 && b.used+b.idle+b.waste > b.limit {
		runtime.GC()
		b.waste = 0
	}
}

// drop forgets what is kept at i. The caller holds b.mu.
func (b *memoryBudget) drop(i int) {
	last := len(b.free) - 1
	b.idle -= int64(cap(b.free[i]))
	b.free[i] = b.free[last]
	b.free[last] = nil
	b.free = b.free[:last]
}

// give takes an app's memory back.
func (b *memoryBudget) give(has *int64, m []byte) {
	clear(m) // no instance sees another's; what lies behind was never used
	b.mu.Lock()
	defer b.mu.Unlock()
	c := int64(cap(m))
	b.used -= c
	*has -= c
	limit := int64(maxIdle)
	if b.limit > 0 {
		limit = min(limit, b.limit-b.used)
	}
	if c > 0 && b.idle+c <= limit {
		b.free = append(b.free, m[:0])
		b.idle += c
	} else {
		b.waste += c
	}
	if b.freed != nil {
		close(b.freed)
		b.freed = nil
	}
}

// inUse is the memory of all instances.
func (b *memoryBudget) inUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// change returns a channel that is closed when memory is given back.
func (b *memoryBudget) change() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.freed == nil {
		b.freed = make(chan struct{})
	}
	return b.freed
}

// linearMemory is the memory of one instance.
type linearMemory struct {
	in  *instance
	buf []byte
	max int64
}

// Allocate implements experimental.MemoryAllocator.
func (in *instance) Allocate(_, max uint64) experimental.LinearMemory {
	in.memory = &linearMemory{in: in, max: int64(max)}
	return in.memory
}

// Reallocate is nil, and memory.grow -1, when the budget is spent. The first pages are
// waited for, as long as the call has time: other calls end. Then there is a panic, for
// newInstance to catch.
func (m *linearMemory) Reallocate(size uint64) []byte {
	n := int64(size)
	if m.buf == nil {
		m.buf = m.in.firstMemory(n)
		return m.buf
	}
	if int64(cap(m.buf)) >= n {
		m.buf = m.buf[:n]
		return m.buf
	}
	// Room for some growth: each step copies everything.
	b := m.in.app.budget.take(&m.in.app.memory, n, min(max(n+n/4, n), max(m.max, n)))
	if b == nil {
		return nil
	}
	copy(b, m.buf)
	m.in.app.budget.give(&m.in.app.memory, m.buf)
	m.buf = b
	return b
}

// firstMemory waits for the memory that an instance begins with.
func (in *instance) firstMemory(n int64) []byte {
	budget := in.app.budget
	over := time.NewTimer(time.Until(in.end))
	defer over.Stop()
	for {
		change := budget.change()
		if b := budget.take(&in.app.memory, n, n); b != nil {
			return b
		}
		select {
		case <-change:
		case <-over.C:
			panic(faultf(FaultBusy, "no memory left for another instance of %d KiB", n>>10))
		case <-in.ctx.Done():
			panic(faultf(FaultBusy, "the caller has gone"))
		}
	}
}

// Free implements experimental.LinearMemory.
func (m *linearMemory) Free() {
	if m.buf != nil {
		m.in.app.budget.give(&m.in.app.memory, m.buf)
	}
	m.buf = nil
}
