package kernel

// The pool: pages for what has been received and not yet read, and for the table
// of sockets. They come out of the program's heap and meta area, as they are
// needed, and stay in the pool. netLock guards it.

// chunk is a page of received bytes, in the queue of a connection.
type chunk struct {
	next     uint64 // address of the next chunk, 0 at the end
	from, to uint32 // the bytes in use
	data     [chunkData]byte
}

const (
	chunkData = pageSize - 16
	poolSlab  = 64 << 10 // the pool grows by so much
	poolMin   = 2 << 20  // bound of the pool with the smallest heap
)

var pool struct {
	free     uint64 // list of free pages, by their first word
	pages    uint64 // pages of the pool
	used     uint64 // of them in use
	granted  uint64 // bytes: the sum of all windows
	wantHeap bool   // something was refused for want of pages
}

// poolLimit bounds the pool: half of the heap, in pages. A heap full of unread
// bytes would leave no room for the program that shall read them.
func poolLimit() uint64 {
	b := boot()
	return max((b.HeapEnd-b.HeapLo)/2, poolMin) / pageSize
}

// poolFits reports whether n more bytes may be granted, so that windows do not sum
// up to more than so many quarters of the pool.
func poolFits(n uint32, quarters uint64) bool {
	return pool.granted+uint64(n) <= poolLimit()*pageSize/4*quarters
}

// windowTo makes the window of s n bytes large.
func (s *sock) windowTo(n uint32) {
	pool.granted += uint64(n) - uint64(s.window)
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
	const readWrite = 3
	p := mem.mmap(0, poolSlab, readWrite, mapAnonymous)
	if failed(p) {
		return false
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
