package channel

// Producer is the writing side of a ring. It holds no pointers that a garbage
// collector would care about; whoever makes it keeps the ring's memory alive. One
// goroutine or thread uses it at a time.
type Producer struct {
	header, bytes uintptr
	capacity      uint64
	mask          uint64

	head      uint64 // own cursor, with the frames not yet published
	published uint64 // own cursor as last published
	tail      uint64 // the peer's cursor as last seen and found sound
	reserved  uint64 // payload bytes of the reserved frame + 1, or 0
	status    Status
	waits     uint64
}

// Init sets up the producer of the ring at header and bytes. The capacity is the
// caller's own number, not the one in the header. The producer starts at cursor 0.
func (p *Producer) Init(header, bytes uintptr, capacity uint64) Status {
	*p = Producer{status: checkPlace(header, bytes, capacity)}
	if p.status != OK {
		return p.status
	}
	p.header, p.bytes, p.capacity, p.mask = header, bytes, capacity, capacity-1
	store64(header+offHead, 0)
	swap32(header+offProducerWaits, 0)
	return OK
}

// Status is OK, or why the ring is dead.
func (p *Producer) Status() Status {
	if p.capacity == 0 && p.status == OK {
		return ErrNotSetUp
	}
	return p.status
}

// Kill ends the ring with a reason of the caller's; the first reason stays.
func (p *Producer) Kill(s Status) {
	if p.status == OK && s.Dead() {
		p.status = s
	}
}

// Capacity is the size of the ring in bytes; a frame takes 4 more than its payload.
func (p *Producer) Capacity() uint64 { return p.capacity }

// Written is how many bytes have been published since the start.
func (p *Producer) Written() uint64 { return p.published }

// Waits is how often the producer was ready to park.
func (p *Producer) Waits() uint64 { return p.waits }

// Pending tells whether there are committed frames that are not published.
func (p *Producer) Pending() bool { return p.head != p.published }

// refresh reads the peer's cursor, once, and takes it if it is sound: not behind
// where it was, not ahead of what was published.
func (p *Producer) refresh() {
	t := load64(p.header + offTail)
	switch {
	case t-p.tail <= p.published-p.tail:
		p.tail = t
	case p.tail-t <= p.capacity:
		p.status = ErrCursorBack
	default:
		p.status = ErrCursorAhead
	}
}

// Room is the largest payload that Reserve would grant now.
func (p *Producer) Room() uint64 {
	if p.Status() != OK {
		return 0
	}
	p.refresh()
	if p.status != OK {
		return 0
	}
	free := p.capacity - (p.head - p.tail)
	if free < FrameHeader {
		return 0
	}
	return free - FrameHeader
}

// Reserve makes room for a frame with up to n bytes of payload: OK, ErrFull,
// ErrTooLarge or the reason of the ring's death. The payload is written by Fill or
// Spans; Commit makes it a frame. A further Reserve before that replaces this one.
func (p *Producer) Reserve(n uint64) Status {
	p.reserved = 0
	if s := p.Status(); s != OK {
		return s
	}
	if n > p.capacity-FrameHeader {
		return ErrTooLarge
	}
	if need := n + FrameHeader; need > p.capacity-(p.head-p.tail) {
		p.refresh()
		if p.status != OK {
			return p.status
		}
		if need > p.capacity-(p.head-p.tail) {
			return ErrFull
		}
	}
	p.reserved = n + 1
	return OK
}

// Fill copies b to offset off of the reserved payload and tells how much of it
// lay within.
func (p *Producer) Fill(off uint64, b []byte) int {
	x, y := p.Spans(off)
	n := copy(x, b)
	if n < len(b) {
		n += copy(y, b[n:])
	}
	return n
}

// Spans is the reserved payload from offset off on, where it lies in the ring: the
// second part is what lies behind the ring's end. It is shared memory: write only.
func (p *Producer) Spans(off uint64) (a, b []byte) {
	if p.reserved == 0 || off >= p.reserved-1 {
		return nil, nil
	}
	return spans(p.bytes, p.mask, p.head+FrameHeader+off, p.reserved-1-off)
}

// Commit makes the first n bytes of the reserved payload a frame. The peer sees it
// after Publish.
func (p *Producer) Commit(n uint64) Status {
	if p.reserved == 0 || n > p.reserved-1 {
		return ErrOrder
	}
	p.reserved = 0
	putLen(p.bytes, p.mask, p.head, uint32(n))
	p.head += FrameHeader + n
	return OK
}

// Put is Reserve, Fill and Commit of one payload given in up to two parts.
func (p *Producer) Put(a, b []byte) Status {
	n := uint64(len(a)) + uint64(len(b))
	if s := p.Reserve(n); s != OK {
		return s
	}
	p.Fill(0, a)
	if len(b) > 0 {
		p.Fill(uint64(len(a)), b)
	}
	return p.Commit(n)
}

// Publish shows all committed frames to the peer. It returns true when the peer has
// parked: then the caller has to ring its doorbell, once.
func (p *Producer) Publish() (ring bool) {
	if p.Status() != OK || p.head == p.published {
		return false
	}
	p.published = p.head
	store64(p.header+offHead, p.head) // a full fence: the load below cannot pass it
	return load32(p.header+offConsumerParked) != 0 && swap32(p.header+offConsumerParked, 0) != 0
}

// Ask raises the number that the consumer's Asked returns. It is no frame and takes no
// room; whoever asks has to wake the peer by himself. Any thread may call it.
func (p *Producer) Ask() {
	if p.capacity != 0 {
		add32(p.header+offAsked, 1)
	}
}

// PrepareWait is to be called before parking for want of room for a payload of n
// bytes. It returns true if the caller may park now: the peer will ring when it
// has released something. False: there is room, or the ring is dead, or frames are
// not published. CancelWait must be called after the park.
func (p *Producer) PrepareWait(n uint64) bool {
	if p.Status() != OK || p.Pending() {
		return false
	}
	swap32(p.header+offProducerWaits, 1) // a full fence: the load of the cursor cannot pass it
	if s := p.Reserve(n); s != ErrFull {
		p.reserved = 0
		p.CancelWait()
		return false
	}
	p.waits++
	return true
}

// CancelWait takes back the wish to be rung.
func (p *Producer) CancelWait() {
	if p.capacity != 0 {
		swap32(p.header+offProducerWaits, 0)
	}
}

// Parker is how a side waits and how it wakes the other.
type Parker interface {
	// Park returns when the peer has rung, or for any reason. False ends the wait.
	Park() bool
	// Ring wakes the peer from its Park, or lets its next Park return at once.
	Ring()
}

// ReserveWait is Reserve that waits for room: it spins for a moment, publishes what
// is committed, and parks.
func (p *Producer) ReserveWait(n uint64, k Parker) Status {
	for spin := 0; ; spin++ {
		s := p.Reserve(n)
		if s != ErrFull {
			return s
		}
		if p.Publish() {
			k.Ring()
		}
		if spin < spins || !p.PrepareWait(n) {
			continue
		}
		ok := k.Park()
		p.CancelWait()
		if !ok {
			return ErrStopped
		}
		spin = 0
	}
}

// Write puts one frame and publishes it, waiting for room.
func (p *Producer) Write(b []byte, k Parker) Status {
	s := p.ReserveWait(uint64(len(b)), k)
	if s != OK {
		return s
	}
	p.Fill(0, b)
	p.Commit(uint64(len(b)))
	if p.Publish() {
		k.Ring()
	}
	return OK
}
