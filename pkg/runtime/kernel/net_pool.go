package kernel

import wire "github.com/enclaveos/eos/pkg/channel/wire"

// The pool: pages for what has been received and not yet read, and for the table
// of sockets. They are taken from the top of the heap area as they are needed, where
// Go's heap, which grows from below, has not been yet, and stay in the pool. netLock
// guards it.
//
// Every connection may have wire.FirstWindow bytes unread; that most have nothing
// unread is what allows there to be many. What a window has grown beyond that sums up
// to half of the pool at most, so readers that are slow all at once cannot fill it.
// When it is full all the same, the connection whose bytes find no place is reset.

// chunk is a page of received bytes, in the queue of a connection.
type chunk struct {
	next     uint64 // address of the next chunk, 0 at the end
	from, to uint32 // the bytes in use
	data     [chunkData]byte
}

const (
	chunkData = pageSize - 16
	poolSlab  = 64 << 10 // the pool grows by so much
	poolMin   = 1 << 20  // bound of the pool with the smallest heap; comes from elsewhere if need be
)

var pool struct {
	free     uint64 // list of free pages, by their first word
	pages    uint64 // pages of the pool
	used     uint64 // of them in use
	grown    uint64 // bytes: the sum of what windows have beyond the first
	wantHeap bool   // something was refused for want of pages
}

// poolLimit bounds the pool: an eighth of the heap, in pages. Go's own limit
// (GOMEMLIMIT) leaves as much.
func poolLimit() uint64 {
	b := boot()
	return max((b.HeapEnd-b.HeapLo)/8, poolMin) / pageSize
}

// poolFull reports whether so many eighths of the pool are in use.
func poolFull(eighths uint64) bool { return pool.used*8 >= poolLimit()*eighths }

// poolGrows reports whether a window may grow by n bytes: by a quarter of what there is
// left for that, so that those who come late get something, too.
func poolGrows(n uint32) bool { return pool.grown+4*uint64(n) <= poolLimit()*pageSize/2 }

// windowTo makes the window of s n bytes large.
func (s *sock) windowTo(n uint32) {
	pool.grown += uint64(max(n, wire.FirstWindow)) - uint64(max(s.window, wire.FirstWindow))
	s.window = n
}

// poolTake takes a page, or returns 0. Its content is what it was.
func poolTake() uint64 {
	if pool.free == 0 && !poolGrow() {
		pool.wantHeap = true
		return 0
	}
	p := pool.free
	pool.free = *at[uint64](p)
	pool.used++
	return p
}

func poolGrow() bool {
	if pool.pages+poolSlab/pageSize > poolLimit() {
		return false
	}
	p := mem.top(poolSlab)
	if p == 0 {
		const readWrite = 3
		if pool.pages >= poolMin/pageSize {
			return false
		}
		if p = mem.mmap(0, poolSlab, readWrite, mapAnonymous); failed(p) {
			return false
		}
	}
	for end := p + poolSlab; p < end; p += pageSize {
		*at[uint64](p) = pool.free
		pool.free = p
	}
	pool.pages += poolSlab / pageSize
	return true
}

func poolGive(p uint64) {
	*at[uint64](p) = pool.free
	pool.free = p
	pool.used--
}

// top takes n bytes off the end of the heap area, or returns 0 if Go has been there.
// What they hold is not looked at.
func (m *memory) top(n uint64) uint64 {
	lock(&m.lock)
	p := m.heap.end - n
	ok := m.heap.end-m.heap.lo > n
	for a := p; ok && a < p+n; a += pageSize {
		ok = !m.bit(m.liveBits, a)
	}
	if ok {
		m.heap.end = p
		m.hand(p, n, true)
	} else {
		p = 0
	}
	unlock(&m.lock)
	return p
}
