package wasm

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/tetratelabs/wazero/experimental"
)

// memoryBudget bounds the linear memory of all instances together, so that no app
// takes the enclave's heap from the others. With a limit, all of it is one arena that
// is made before there are guests: a heap that has become too fragmented for a slice of
// many megabytes is the end of the enclave, an arena without such a hole is a
// memory.grow that fails. Without a limit it keeps memory that instances have left, to
// be used again: a new slice for each call would keep the garbage collector busy.
type memoryBudget struct {
	limit int64 // bytes; 0: none

	mu     sync.Mutex
	used   int64         // by instances
	beside int64         // what they take of the heap beside it
	freed  chan struct{} // closed when an instance gives memory back

	arena []byte // with a limit: zeros, where it is not used
	holes []hole // of the arena, by offset, no two adjacent
	at    map[*byte]int64

	free [][]byte // without a limit: what is kept, all zeros up to the capacity
	idle int64    // bytes of it
}

// hole is a part of the arena that is not used.
type hole struct{ off, size int64 }

// maxIdle bounds what is kept without a limit.
const maxIdle = 256 << 20

// bound sets the limit, once.
func (b *memoryBudget) bound(limit int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if limit > 0 && b.arena == nil {
		b.limit, b.arena, b.holes, b.at = limit, make([]byte, limit), []hole{{0, limit}}, map[*byte]int64{}
	}
}

// fits reports whether an app that has so much may have n bytes more: three quarters
// of all at most, so that the others go on, whatever one does. The caller holds b.mu.
func (b *memoryBudget) fits(has, n int64) bool {
	return b.limit <= 0 || b.used+n <= b.limit && (has == 0 || has+n <= b.limit/4*3)
}

// take gives an app zeroed memory of size bytes, with a capacity of room if there is
// that much; nil if not even size bytes are left.
func (b *memoryBudget) take(has *memoryUse, size, room int64) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.fits(has.now, room) {
		room = size
	}
	if !b.fits(has.now, size) {
		return nil
	}
	var m []byte
	switch {
	case size == 0:
		return []byte{}
	case b.arena == nil:
		m = b.kept(size, room)
	default:
		if m = b.carve(size, room); m == nil {
			m = b.carve(size, size)
		}
	}
	b.used += int64(cap(m))
	has.add(int64(cap(m)))
	return m
}

// carve takes memory from the smallest hole that has room; nil if there is none. The
// caller holds b.mu.
func (b *memoryBudget) carve(size, room int64) []byte {
	best := -1
	for i, h := range b.holes {
		if h.size >= room && (best < 0 || h.size < b.holes[best].size) {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	off := b.holes[best].off
	b.shrink(best, room)
	b.at[&b.arena[off]] = off
	return b.arena[off : off+size : off+room]
}

// shrink takes n bytes from the beginning of a hole. The caller holds b.mu.
func (b *memoryBudget) shrink(i int, n int64) {
	b.holes[i].off += n
	b.holes[i].size -= n
	if b.holes[i].size == 0 {
		b.holes = slices.Delete(b.holes, i, i+1)
	}
}

// grow makes an app's memory larger where it lies, to size bytes and a capacity of room
// if there is that much; nil if something else lies behind it.
func (b *memoryBudget) grow(has *memoryUse, m []byte, size, room int64) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.arena == nil || cap(m) == 0 {
		return nil
	}
	c := int64(cap(m))
	off := b.at[&m[:1][0]]
	i, ok := slices.BinarySearchFunc(b.holes, off+c, func(h hole, end int64) int { return cmp.Compare(h.off, end) })
	if !ok {
		return nil
	}
	more := min(room-c, b.holes[i].size)
	if !b.fits(has.now, more) {
		more = size - c
	}
	if more < size-c || !b.fits(has.now, more) || more > b.holes[i].size {
		return nil
	}
	b.shrink(i, more)
	b.used += more
	has.add(more)
	return b.arena[off : off+size : off+c+more]
}

// kept is memory that was used before, or is made. The caller holds b.mu.
func (b *memoryBudget) kept(size, room int64) []byte {
	best := -1
	for i, f := range b.free {
		if c := int64(cap(f)); c >= size && c <= 2*room && (best < 0 || c < int64(cap(b.free[best]))) {
			best = i
		}
	}
	if best < 0 {
		return make([]byte, size, room)
	}
	f := b.free[best]
	b.idle -= int64(cap(f))
	b.free = slices.Delete(b.free, best, best+1)
	return f[:size]
}

// give takes an app's memory back.
func (b *memoryBudget) give(has *memoryUse, m []byte) {
	clear(m) // no instance sees another's; what lies behind was never used
	b.mu.Lock()
	defer b.mu.Unlock()
	c := int64(cap(m))
	if c == 0 {
		return
	}
	b.used -= c
	has.now -= c
	switch first := &m[:1][0]; {
	case b.arena != nil:
		b.fill(b.at[first], c)
		delete(b.at, first)
	case b.idle+c <= maxIdle:
		b.free = append(b.free, m[:0])
		b.idle += c
	}
	b.signal()
}

// fill makes a hole, one with those beside it. The caller holds b.mu.
func (b *memoryBudget) fill(off, size int64) {
	i, _ := slices.BinarySearchFunc(b.holes, off, func(h hole, off int64) int { return cmp.Compare(h.off, off) })
	b.holes = slices.Insert(b.holes, i, hole{off, size})
	if i+1 < len(b.holes) && off+size == b.holes[i+1].off {
		b.holes[i].size += b.holes[i+1].size
		b.holes = slices.Delete(b.holes, i+1, i+2)
	}
	if i > 0 && b.holes[i-1].off+b.holes[i-1].size == off {
		b.holes[i-1].size += b.holes[i].size
		b.holes = slices.Delete(b.holes, i, i+1)
	}
}

// memoryUse is the memory of an app's instances. The budget's lock guards it.
type memoryUse struct {
	now, peak int64
	beside    int64 // what its instances take beside their memory
}

func (u *memoryUse) add(n int64) {
	u.now += n
	u.peak = max(u.peak, u.now)
}

// of returns what an app has and has had.
func (b *memoryBudget) of(u *memoryUse) memoryUse {
	b.mu.Lock()
	defer b.mu.Unlock()
	return *u
}

// inUse is the memory of all instances.
func (b *memoryBudget) inUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// admit says whether an app may have an instance that takes n bytes of the heap beside its
// memory. All together may take as much as their memory may.
func (b *memoryBudget) admit(has *memoryUse, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limit > 0 && (b.beside+n > b.limit || has.beside > 0 && has.beside+n > b.limit/4*3) {
		return false
	}
	b.beside += n
	has.beside += n
	return true
}

// could says whether n bytes beside an instance's own memory are little enough to be waited
// for.
func (b *memoryBudget) could(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.limit <= 0 || n <= b.limit/4
}

// dismiss says that such an instance is gone.
func (b *memoryBudget) dismiss(has *memoryUse, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.beside -= n
	has.beside -= n
	b.signal()
}

// signal wakes those that wait for a change. The caller holds b.mu.
func (b *memoryBudget) signal() {
	if b.freed != nil {
		close(b.freed)
		b.freed = nil
	}
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
	// Room for some growth: where the next bytes are taken, each step copies everything.
	budget, has := m.in.app.budget, &m.in.app.memory
	room := min(n+n/4, max(m.max, n)) &^ 4095
	if b := budget.grow(has, m.buf, n, max(n, room)); b != nil {
		m.buf = b
		return b
	}
	b := budget.take(has, n, max(n, room))
	for b == nil && !m.in.spare && m.in.app.host.pools.giveWay() {
		b = budget.take(has, n, max(n, room))
	}
	if b == nil {
		return nil
	}
	copy(b, m.buf)
	budget.give(has, m.buf)
	m.buf = b
	return b
}

// firstMemory waits for the memory that an instance begins with.
func (in *instance) firstMemory(n int64) (m []byte) {
	if f := in.await(func() bool {
		m = in.app.budget.take(&in.app.memory, n, n)
		return m != nil
	}, n); f != nil {
		panic(f)
	}
	return m
}

// await waits for n bytes to be free, but not for an instance that nobody waits for.
func (in *instance) await(got func() bool, n int64) *Fault {
	over := time.NewTimer(time.Until(in.end))
	defer over.Stop()
	for {
		change := in.app.budget.change()
		if got() {
			return nil
		}
		if in.spare {
			return faultf(FaultBusy, "no memory left")
		}
		if in.app.host.pools.giveWay() {
			continue
		}
		select {
		case <-change:
		case <-over.C:
			return faultf(FaultBusy, "no memory left for %d KiB", n>>10)
		case <-in.ctx.Done():
			return faultf(FaultBusy, "the caller has gone")
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
