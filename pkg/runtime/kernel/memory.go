package kernel

import wall "github.com/enclaveos/eos/pkg/wall"

// Memory. All pages are there from the start; what mmap does is bookkeeping, in
// two bitmaps with one bit a page from the meta area's start to the code area's
// end, which are themselves at the start of the meta area:
//
//	taken  belongs to a mapping
//	live   has been handed out to be used, so its content is the program's
//
// A page that is handed out is zero: the pages were not measured, so what they
// hold at first is the host's choice, and what they hold later is the program's
// former data.
type memory struct {
	lock             uint32
	lo, hi           uint64 // range of the bitmaps
	meta, heap, code area
	taken, liveBits  uint64 // addresses of the bitmaps
	live             uint64 // pages
	used, usedMax    uint64 // of them in the heap area, and the most
	noCode           bool   // it has been said that other memory is never executable
	wanted           uint64 // bytes of the first request that did not fit
}

// area is a part of the address range that mappings are made in.
type area struct {
	lo, end, hi uint64 // pages exist up to end
	next        uint64 // where to look first
}

const (
	pageSize  = 4096
	arenaSize = 64 << 20 // Go reserves its heap in such pieces and aligned to them
	largeSize = 16 << 20 // mappings from here on lie in the heap area

	protRead     = 1
	protExec     = 4
	mapFixed     = 0x10
	mapAnonymous = 0x20
	mapNoReplace = 0x100000

	madvDontNeed = 4
	madvFree     = 8
)

var mem memory

// init prepares for the areas of b. The bitmaps' memory must be the kernel's.
func (m *memory) init(b *wall.Boot) {
	m.meta = area{lo: b.MetaLo, end: b.MetaHi, hi: b.MetaHi, next: b.MetaLo}
	m.heap = area{lo: b.HeapLo, end: b.HeapEnd, hi: b.HeapHi, next: b.HeapLo}
	m.code = area{lo: b.CodeLo, end: b.CodeHi, hi: b.CodeHi, next: b.CodeLo}
	m.lo, m.hi = b.MetaLo, b.HeapHi
	if b.CodeHi > b.CodeLo && b.CodeHi > m.hi {
		m.hi = b.CodeHi
	}
	size := roundUp((m.hi-m.lo)/pageSize/8+8, pageSize)
	m.taken = b.MetaLo
	m.liveBits = b.MetaLo + size
	zero(m.taken, 2*size)
	m.mark(m.taken, b.MetaLo, 2*size, true)
}

func roundUp(x, to uint64) uint64 { return (x + to - 1) &^ (to - 1) }

func (a *area) has(lo, n uint64) bool { return lo >= a.lo && lo < a.hi && n <= a.hi-lo }

// areaOf is the area that all of a range lies in.
func (m *memory) areaOf(lo, n uint64) *area {
	switch {
	case m.heap.has(lo, n):
		return &m.heap
	case m.meta.has(lo, n):
		return &m.meta
	case m.code.has(lo, n):
		return &m.code
	}
	return nil
}

// bit reports the bit of the page at addr.
func (m *memory) bit(bits, addr uint64) bool {
	i := (addr - m.lo) / pageSize
	return *at[uint64](bits + i/64*8)>>(i%64)&1 != 0
}

// mark sets or clears the bits of a range and returns how many have changed.
func (m *memory) mark(bits, addr, n uint64, on bool) (changed uint64) {
	for i, end := (addr-m.lo)/pageSize, (addr+n-m.lo)/pageSize; i < end; {
		w := at[uint64](bits + i/64*8)
		if on && *w == ^uint64(0) && i%64 == 0 && i+64 <= end || !on && *w == 0 {
			i = i&^63 + 64
			continue
		}
		b := uint64(1) << (i % 64)
		if on && *w&b == 0 {
			*w |= b
			changed++
		} else if !on && *w&b != 0 {
			*w &^= b
			changed++
		}
		i++
	}
	return changed
}

// free reports whether no page of a range is taken; if one is, the address
// behind it.
func (m *memory) free(addr, n uint64) (ok bool, after uint64) {
	for i, end := (addr-m.lo)/pageSize, (addr+n-m.lo)/pageSize; i < end; {
		w := *at[uint64](m.taken + i/64*8)
		if w == 0 {
			i = i&^63 + 64
			continue
		}
		if w>>(i%64)&1 != 0 {
			return false, m.lo + (i+1)*pageSize
		}
		i++
	}
	return true, 0
}

// find returns the lowest free range of n bytes in a, or 0. reach is how far
// pages must exist: a mere reservation may lie beyond.
func (m *memory) find(a *area, n, align, reach uint64) uint64 {
	start := a.next
	for p := roundUp(start, align); ; {
		if p+n > reach || p+n < p {
			if start == a.lo {
				return 0
			}
			start = a.lo
			p = roundUp(start, align)
			continue
		}
		ok, after := m.free(p, n)
		if ok {
			a.next = p + n
			return p
		}
		p = roundUp(after, align)
	}
}

// mmap makes an anonymous mapping. Hints are taken only where there is nothing
// yet; anywhere else the answer is ENOMEM, after which Go asks for any address.
func (m *memory) mmap(addr, n, prot, flags uint64) uint64 {
	if n == 0 || addr%pageSize != 0 && flags&mapFixed != 0 {
		return errInval
	}
	if flags&mapAnonymous == 0 {
		return errNoSys
	}
	r := uint64(errNoMem)
	lock(&m.lock)
	if n <= m.hi-m.lo {
		n = roundUp(n, pageSize)
		r = m.place(addr, n, prot, flags)
	}
	first := r == errNoMem && addr == 0 || prot != 0 && r == errNoMem && m.areaOf(addr, n) == &m.heap
	// Who asks for code can do without, and who wants nothing but zeros to read, too.
	first = first && m.wanted == 0 && prot&protExec == 0 && prot != protRead
	if first {
		m.wanted = n
	}
	unlock(&m.lock)
	if first {
		b := boot() // heap.end is lower when sockets have taken some of it
		say("eos: the enclave is out of memory: build it with a larger --heap-size than ", (b.HeapEnd-b.HeapLo)>>20, "MiB\n")
	}
	return r
}

// lacks notes that n bytes of the heap were wanted in vain, if that is the first time.
func (m *memory) lacks(n uint64) {
	lock(&m.lock)
	if m.wanted == 0 {
		m.wanted = n
	}
	unlock(&m.lock)
}

func (m *memory) place(addr, n, prot, flags uint64) uint64 {
	switch {
	case flags&mapNoReplace != 0 || addr != 0 && flags&mapFixed == 0:
		addr &^= pageSize - 1
		if m.areaOf(addr, n) == nil {
			return errNoMem
		}
		if ok, _ := m.free(addr, n); !ok {
			if flags&mapNoReplace != 0 {
				return errExist
			}
			return errNoMem
		}
	case flags&mapFixed != 0:
	case prot&protExec != 0:
		addr = m.find(&m.code, n, pageSize, m.code.end)
	case n >= largeSize:
		addr = m.find(&m.heap, n, arenaSize, m.heap.hi)
	default:
		if addr = m.find(&m.meta, n, pageSize, m.meta.end); addr == 0 {
			addr = m.find(&m.heap, n, pageSize, m.heap.end)
		}
	}
	a := m.areaOf(addr, n)
	if a == nil || addr < m.taken+2*(m.liveBits-m.taken) {
		return errNoMem
	}
	if prot != 0 {
		if addr+n > a.end {
			return errNoMem
		}
		m.fresh(addr, n)
	} else {
		m.hand(addr, n, false)
	}
	m.mark(m.taken, addr, n, true)
	return addr
}

// fresh makes the pages of a range zero and live. Of a page that has never been
// handed out the content is looked at first: it is most probably zero, and on
// the software platform a page that is not written costs no memory.
func (m *memory) fresh(addr, n uint64) {
	for p := addr; p < addr+n; p += pageSize {
		if m.bit(m.liveBits, p) || !isZero(p) {
			zero(p, pageSize)
		}
	}
	m.hand(addr, n, true)
}

// hand notes that a range, of one area, is handed out to be used, or no longer.
func (m *memory) hand(addr, n uint64, on bool) {
	changed := m.mark(m.liveBits, addr, n, on)
	if !on {
		changed = -changed
	}
	m.live += changed
	if m.heap.has(addr, n) {
		m.used += changed
		m.usedMax = max(m.usedMax, m.used)
	}
}

func isZero(page uint64) bool {
	for p := page; p < page+pageSize; p += 64 {
		w := at[[8]uint64](p)
		if w[0]|w[1]|w[2]|w[3]|w[4]|w[5]|w[6]|w[7] != 0 {
			return false
		}
	}
	return true
}

func (m *memory) munmap(addr, n uint64) uint64 {
	n = roundUp(n, pageSize)
	if addr%pageSize != 0 || n == 0 {
		return errInval
	}
	a := m.areaOf(addr, n)
	if a == nil || addr < m.taken+2*(m.liveBits-m.taken) {
		return 0 // as Linux: nothing is mapped there
	}
	lock(&m.lock)
	// The content stays until the pages are handed out again, unless they are
	// the program's secrets for ever: clearing now costs the same.
	for p := addr; p < addr+n; p += pageSize {
		if m.bit(m.liveBits, p) {
			zero(p, pageSize)
		}
	}
	m.hand(addr, n, false)
	m.mark(m.taken, addr, n, false)
	if addr < a.next {
		a.next = addr
	}
	unlock(&m.lock)
	return 0
}

// mprotect gives pages out that had been reserved. Permissions themselves are those
// of the image and do not change. What would be believed to protect, and does not,
// is refused: to make pages inaccessible that are in use, and to make pages
// executable that are not of the code area. To take only the right to write is
// answered as if it were done: compilers ask for it, of pages that they have
// written.
func (m *memory) mprotect(addr, n, prot uint64) uint64 {
	n = roundUp(n, pageSize)
	if addr%pageSize != 0 {
		return errInval
	}
	a := m.areaOf(addr, n)
	if a == nil {
		b := boot()
		if addr >= b.Base && addr < b.Base+b.Size && n <= b.Base+b.Size-addr {
			return 0 // the program's own text and data
		}
		return errNoMem
	}
	if n == 0 {
		return 0
	}
	if prot&protExec != 0 && a != &m.code {
		lock(&m.lock)
		first := !m.noCode
		m.noCode = true
		unlock(&m.lock)
		if first {
			sayText("eos: the program may not execute memory that it has not mapped as executable; eos build --code-size is for compilers that do\n")
		}
		return errAcces
	}
	if prot == 0 {
		lock(&m.lock)
		used := m.inUse(addr, n)
		unlock(&m.lock)
		if used {
			return errAcces
		}
		return 0
	}
	if addr+n > a.end {
		return errNoMem
	}
	lock(&m.lock)
	for p := addr; p < addr+n; p += pageSize {
		if !m.bit(m.liveBits, p) {
			m.fresh(p, pageSize)
		}
	}
	m.mark(m.taken, addr, n, true)
	unlock(&m.lock)
	return 0
}

// inUse reports whether any page of a range has been handed out.
func (m *memory) inUse(addr, n uint64) bool {
	for p := addr; p < addr+n; p += pageSize {
		if m.bit(m.liveBits, p) {
			return true
		}
	}
	return false
}

// madvise: Go relies on zero pages after MADV_DONTNEED. MADV_FREE may keep them.
func (m *memory) madvise(addr, n, advice uint64) uint64 {
	n = roundUp(n, pageSize)
	if addr%pageSize != 0 {
		return errInval
	}
	if advice != madvDontNeed {
		return 0
	}
	if m.areaOf(addr, n) == nil {
		return errNoMem
	}
	for p := addr; p < addr+n; p += pageSize {
		if m.bit(m.liveBits, p) && !isZero(p) {
			zero(p, pageSize)
		}
	}
	return 0
}
