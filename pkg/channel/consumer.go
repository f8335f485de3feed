package channel

// Consumer is the reading side of a ring. What is said of Producer holds for it.
type Consumer struct {
	header, bytes uintptr
	capacity      uint64
	mask          uint64

	tail     uint64 // own cursor, with the frames not yet released
	released uint64 // own cursor as last published
	head     uint64 // the peer's cursor as last seen and found sound
	frame    uint64 // payload bytes of the current frame + 1, or 0
	status   Status
	waits    uint64
}

// Init sets up the consumer of the ring at header and bytes. The capacity is the
// caller's own number, not the one in the header. The consumer starts at cursor 0.
func (c *Consumer) Init(header, bytes uintptr, capacity uint64) Status {
	*c = Consumer{status: checkPlace(header, bytes, capacity)}
	if c.status != OK {
		return c.status
	}
	c.header, c.bytes, c.capacity, c.mask = header, bytes, capacity, capacity-1
	store64(header+offTail, 0)
	swap32(header+offConsumerParked, 0)
	return OK
}

// Status is OK, or why the ring is dead.
func (c *Consumer) Status() Status {
	if c.capacity == 0 && c.status == OK {
		return ErrNotSetUp
	}
	return c.status
}

// Kill ends the ring with a reason of the caller's; the first reason stays.
func (c *Consumer) Kill(s Status) {
	if c.status == OK && s.Dead() {
		c.status = s
	}
}

// Capacity is the size of the ring in bytes.
func (c *Consumer) Capacity() uint64 { return c.capacity }

// Read is how many bytes have been released since the start.
func (c *Consumer) Read() uint64 { return c.released }

// Waits is how often the consumer was ready to park.
func (c *Consumer) Waits() uint64 { return c.waits }

// refresh reads the peer's cursor, once, and takes it if it is sound: not behind
// where it was, not further than the ring is large.
func (c *Consumer) refresh() {
	h := load64(c.header + offHead)
	switch {
	case h-c.head <= c.capacity-(c.head-c.released):
		c.head = h
	case c.head-h <= c.capacity:
		c.status = ErrCursorBack
	default:
		c.status = ErrCursorAhead
	}
}

// Next makes the next frame the current one: OK, ErrEmpty or the reason of the
// ring's death. The frame's length is read once, here. Calling it again without
// Advance gives the same frame.
func (c *Consumer) Next() Status {
	if s := c.Status(); s != OK {
		return s
	}
	if c.frame != 0 {
		return OK
	}
	if c.tail == c.head {
		c.refresh()
		if c.status != OK {
			return c.status
		}
		if c.tail == c.head {
			return ErrEmpty
		}
	}
	have := c.head - c.tail
	if have < FrameHeader {
		c.status = ErrFrameCut
		return c.status
	}
	n := uint64(getLen(c.bytes, c.mask, c.tail))
	if n > have-FrameHeader {
		c.status = ErrFrameLength
		return c.status
	}
	c.frame = n + 1
	return OK
}

// Len is the length of the current frame's payload.
func (c *Consumer) Len() uint64 {
	if c.frame == 0 {
		return 0
	}
	return c.frame - 1
}

// Copy copies the current payload from offset off on to dst and tells how much.
// What has been copied is the caller's own; the peer cannot change it any more.
func (c *Consumer) Copy(dst []byte, off uint64) int {
	a, b := c.Spans(off)
	n := copy(dst, a)
	if n < len(dst) {
		n += copy(dst[n:], b)
	}
	return n
}

// Spans is the current payload from offset off on, where it lies in the ring: the
// second part is what lies behind the ring's end. It is shared memory that the peer
// may rewrite at any time: copy each byte out once, decide only on the copy.
func (c *Consumer) Spans(off uint64) (a, b []byte) {
	if c.frame == 0 || off >= c.frame-1 {
		return nil, nil
	}
	return spans(c.bytes, c.mask, c.tail+FrameHeader+off, c.frame-1-off)
}

// Advance is done with the current frame. The peer gets its room after Release.
func (c *Consumer) Advance() Status {
	if c.frame == 0 {
		return ErrOrder
	}
	c.tail += FrameHeader + c.frame - 1
	c.frame = 0
	return OK
}

// Unreleased is the room that Release would give to the peer.
func (c *Consumer) Unreleased() uint64 { return c.tail - c.released }

// Release gives the room of all frames that were advanced over to the peer. It
// returns true when the peer waits for room: then the caller has to ring its
// doorbell, once.
func (c *Consumer) Release() (ring bool) {
	if c.Status() != OK || c.tail == c.released {
		return false
	}
	c.released = c.tail
	store64(c.header+offTail, c.tail) // a full fence: the load below cannot pass it
	return load32(c.header+offProducerWaits) != 0 && swap32(c.header+offProducerWaits, 0) != 0
}

// PreparePark is to be called before parking for want of frames. It returns true if
// the caller may park now: the peer will ring when it has published something.
// False: there is a frame, or the ring is dead, or room is not released. CancelPark
// must be called after the park.
func (c *Consumer) PreparePark() bool {
	if c.Status() != OK || c.tail != c.released {
		return false
	}
	swap32(c.header+offConsumerParked, 1) // a full fence: the load of the cursor cannot pass it
	if c.Next() != ErrEmpty {
		c.CancelPark()
		return false
	}
	c.waits++
	return true
}

// CancelPark takes back the wish to be rung.
func (c *Consumer) CancelPark() {
	if c.capacity != 0 {
		swap32(c.header+offConsumerParked, 0)
	}
}

// Asked is a number of the peer's, which it raises to ask for something (see
// Producer.Ask): a hint, like the flags. Any thread may call it.
func (c *Consumer) Asked() uint32 {
	if c.capacity == 0 {
		return 0
	}
	return load32(c.header + offAsked)
}

// NextWait is Next that waits for a frame: it spins for a moment, releases what was
// read, and parks.
func (c *Consumer) NextWait(k Parker) Status {
	for spin := 0; ; spin++ {
		s := c.Next()
		if s != ErrEmpty {
			return s
		}
		if c.Release() {
			k.Ring()
		}
		if spin < spins || !c.PreparePark() {
			continue
		}
		ok := k.Park()
		c.CancelPark()
		if !ok {
			return ErrStopped
		}
		spin = 0
	}
}
