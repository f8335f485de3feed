package edp

import (
	"fmt"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
)

// The arena's units. A span holds equal slots of one size class, or is part of
// a large block.
const (
	spanShift    = 16
	spanSize     = 1 << spanShift
	minSlotShift = 4  // 16 bytes, what malloc aligns to
	maxSlotShift = 15 // 32 KiB: larger blocks take whole spans
	leafShift    = 10 // spans a leaf of the span table
	leafLen      = 1 << leafShift
	commitUnit   = 1 << 20

	// defaultMemoryLimit bounds what one enclave can have of host memory. It
	// is address space only: pages cost memory when they are touched.
	defaultMemoryLimit = 64 << 30
)

// hostOwned in a slot's word marks a block that the enclave may use and not
// free.
const hostOwned = 1 << 31

// arena is the memory that an enclave is given: arguments, buffers, queues. It
// lies outside the enclave, is never moved or unmapped while the enclave lives,
// and knows the exact extent of each block. Looking a pointer up takes no lock.
type arena struct {
	m       mapping
	lo      uint64 // address of the first byte
	size    uint64
	leaves  []atomic.Pointer[[leafLen]atomic.Pointer[span]]
	classes [maxSlotShift + 1]slotClass

	mu        sync.Mutex // guards what follows
	free      []spanRun  // sorted by start, never adjacent
	committed uint64     // bytes from lo that are accessible
}

// slotClass is the free slots of one size.
type slotClass struct {
	mu   sync.Mutex
	free []uint64 // addresses; the last one freed is used next
}

// span describes one span of small slots, or all spans of one large block.
type span struct {
	addr  uint64
	shift uint8           // log2 of the slot size; zero for a large block
	sizes []atomic.Uint32 // requested size of each slot, zero if free, with hostOwned

	large uint64 // requested size of a large block
	runs  uint64 // spans of a large block
}

// spanRun is n free spans.
type spanRun struct{ start, n uint64 }

// newArena reserves address space for limit bytes, or as much as the host
// allows.
func newArena(limit uint64) (*arena, error) {
	limit = max(limit, commitUnit)
	limit = (limit + spanSize - 1) &^ (spanSize - 1)
	m, err := reserve(limit)
	for err != nil && limit > 16*commitUnit {
		limit = limit / 2 &^ (spanSize - 1)
		m, err = reserve(limit)
	}
	if err != nil {
		return nil, fmt.Errorf("reserving %d bytes of address space for the enclave's buffers: %w", limit, err)
	}
	lo := m.addr()
	// Slots are aligned to their size because spans are aligned to theirs.
	skip := -lo & (spanSize - 1)
	n := (limit - skip) >> spanShift
	a := &arena{m: m, lo: lo + skip, size: n << spanShift, free: []spanRun{{0, n}}}
	a.leaves = make([]atomic.Pointer[[leafLen]atomic.Pointer[span]], (n+leafLen-1)>>leafShift)
	return a, nil
}

// close unmaps the arena. No slice of it may be in use.
func (a *arena) close() { a.m.unmap() }

// span returns what the span with that index is part of, or nil.
func (a *arena) span(i uint64) *span {
	leaf := a.leaves[i>>leafShift].Load()
	if leaf == nil {
		return nil
	}
	return leaf[i&(leafLen-1)].Load()
}

// setSpans makes n spans from index i part of s. The caller holds a.mu.
func (a *arena) setSpans(i, n uint64, s *span) {
	for ; n > 0; i, n = i+1, n-1 {
		leaf := a.leaves[i>>leafShift].Load()
		if leaf == nil {
			leaf = new([leafLen]atomic.Pointer[span])
			a.leaves[i>>leafShift].Store(leaf)
		}
		leaf[i&(leafLen-1)].Store(s)
	}
}

// alloc returns the address of a new block, or false if there is no memory for
// it. size is positive, align is a power of two. owned is hostOwned or zero.
func (a *arena) alloc(size, align uint64, owned uint32) (uint64, bool) {
	if size > a.size || align > a.size {
		return 0, false
	}
	shift := max(minSlotShift, bits.Len64(size-1), bits.Len64(align-1))
	if shift > maxSlotShift {
		return a.allocLarge(size, align)
	}
	c := &a.classes[shift]
	c.mu.Lock()
	if len(c.free) == 0 && !a.refill(c, uint8(shift)) {
		c.mu.Unlock()
		return 0, false
	}
	addr := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	c.mu.Unlock()
	s := a.span((addr - a.lo) >> spanShift)
	s.sizes[(addr-s.addr)>>shift].Store(uint32(size) | owned)
	return addr, true
}

// refill gives a class one more span. The caller holds c.mu.
func (a *arena) refill(c *slotClass, shift uint8) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	i, ok := a.take(1, 1)
	if !ok {
		return false
	}
	n := spanSize >> shift
	s := &span{addr: a.lo + i<<spanShift, shift: shift, sizes: make([]atomic.Uint32, n)}
	a.setSpans(i, 1, s)
	for k := n - 1; k >= 0; k-- {
		c.free = append(c.free, s.addr+uint64(k)<<shift)
	}
	return true
}

func (a *arena) allocLarge(size, align uint64) (uint64, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := (size + spanSize - 1) >> spanShift
	i, ok := a.take(n, max(align, spanSize))
	if !ok {
		return 0, false
	}
	s := &span{addr: a.lo + i<<spanShift, large: size, runs: n}
	a.setSpans(i, n, s)
	return s.addr, true
}

// take removes n spans at an address that is a multiple of align from the free
// runs and makes them accessible. The caller holds a.mu.
func (a *arena) take(n, align uint64) (start uint64, ok bool) {
	for k, r := range a.free {
		first := r.start
		if align > spanSize {
			addr := a.lo + first<<spanShift
			first += (-addr & (align - 1)) >> spanShift
		}
		end := r.start + r.n
		if first > end || end-first < n {
			continue
		}
		if !a.commit((first + n) << spanShift) {
			return 0, false
		}
		before := spanRun{r.start, first - r.start}
		after := spanRun{first + n, end - first - n}
		var rest []spanRun
		for _, x := range []spanRun{before, after} {
			if x.n > 0 {
				rest = append(rest, x)
			}
		}
		a.free = slices.Replace(a.free, k, k+1, rest...)
		return first, true
	}
	return 0, false
}

// commit makes the first n bytes accessible. The caller holds a.mu.
func (a *arena) commit(n uint64) bool {
	if n <= a.committed {
		return true
	}
	end := min((n+commitUnit-1)&^(commitUnit-1), a.size)
	if a.m.commit(a.lo-a.m.addr()+a.committed, end-a.committed) != nil {
		return false
	}
	a.committed = end
	return true
}

// give returns n spans to the free runs. The caller holds a.mu.
func (a *arena) give(start, n uint64) {
	k, _ := slices.BinarySearchFunc(a.free, start, func(r spanRun, s uint64) int {
		if r.start < s {
			return -1
		}
		return 1
	})
	a.free = slices.Insert(a.free, k, spanRun{start, n})
	if k+1 < len(a.free) && start+n == a.free[k+1].start {
		a.free[k].n += a.free[k+1].n
		a.free = slices.Delete(a.free, k+1, k+2)
	}
	if k > 0 && a.free[k-1].start+a.free[k-1].n == start {
		a.free[k-1].n += a.free[k].n
		a.free = slices.Delete(a.free, k, k+1)
	}
}

// freeBlock takes back a block of exactly size bytes. The error says what is
// wrong with the pair; nothing has changed then.
func (a *arena) freeBlock(addr, size uint64) error {
	off := addr - a.lo
	if off >= a.size {
		return fmt.Errorf("%#x is not in user memory", addr)
	}
	s := a.span(off >> spanShift)
	switch {
	case s == nil:
		return fmt.Errorf("%#x is not in a block of user memory", addr)
	case s.shift == 0:
		return a.freeLarge(s, addr, size)
	}
	slot := (addr - s.addr) >> s.shift
	w := s.sizes[slot].Load()
	switch have := uint64(w &^ hostOwned); {
	case w == 0:
		return fmt.Errorf("%#x is not in a block of user memory: freed before, or never allocated", addr)
	case w&hostOwned != 0:
		return fmt.Errorf("%#x belongs to the host", addr)
	case addr != s.addr+slot<<s.shift:
		return fmt.Errorf("%#x is not the start of a block: it is %d bytes into one", addr, addr-(s.addr+slot<<s.shift))
	case size != have:
		return fmt.Errorf("the block at %#x has %d bytes, not %d", addr, have, size)
	case !s.sizes[slot].CompareAndSwap(w, 0):
		return fmt.Errorf("%#x is being freed by another thread too", addr)
	}
	c := &a.classes[s.shift]
	c.mu.Lock()
	c.free = append(c.free, addr)
	c.mu.Unlock()
	return nil
}

func (a *arena) freeLarge(s *span, addr, size uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := (s.addr - a.lo) >> spanShift
	switch {
	case a.span(i) != s:
		return fmt.Errorf("%#x is being freed by another thread too", addr)
	case addr != s.addr:
		return fmt.Errorf("%#x is not the start of a block: it is %d bytes into one", addr, addr-s.addr)
	case size != s.large:
		return fmt.Errorf("the block at %#x has %d bytes, not %d", addr, s.large, size)
	}
	a.setSpans(i, s.runs, nil)
	a.m.discard(s.addr-a.m.addr(), s.runs<<spanShift)
	a.give(i, s.runs)
	return nil
}

// bytes returns the n bytes at addr, which must lie wholly inside one block
// that has been handed out. n is not zero. The enclave can write to them at any
// time: copy what is to be checked.
func (a *arena) bytes(addr, n uint64) ([]byte, error) {
	off := addr - a.lo
	if off >= a.size {
		return nil, fmt.Errorf("%d bytes at %#x are not in user memory", n, addr)
	}
	s := a.span(off >> spanShift)
	if s == nil {
		return nil, fmt.Errorf("%d bytes at %#x are not in a block of user memory", n, addr)
	}
	start, have := s.addr, s.large
	if s.shift != 0 {
		slot := (addr - s.addr) >> s.shift
		start = s.addr + slot<<s.shift
		have = uint64(s.sizes[slot].Load() &^ hostOwned)
	}
	if have == 0 {
		return nil, fmt.Errorf("%d bytes at %#x are not in a block of user memory: freed before, or never allocated", n, addr)
	}
	if in := addr - start; in > have || n > have-in {
		return nil, fmt.Errorf("%d bytes at %#x run past the end of the block of %d bytes at %#x", n, addr, have, start)
	}
	return a.m.slice(addr-a.m.addr(), n), nil
}
