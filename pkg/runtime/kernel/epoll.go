package kernel

import "sync/atomic"

// There is one epoll instance: the Go runtime needs no second. A descriptor
// whose state changes is put in a queue by pollReady; epoll_wait takes it from
// there. Registrations are edge-triggered, except the eventfd's.
var (
	pollLock   uint32
	pollOpen   uint32
	pollHead   uint32 // first in the ready queue plus one; 0: empty
	pollTail   uint32
	eventCount uint64 // of the one eventfd
	eventOpen  uint32
)

// Events and operations of epoll.
const (
	pollIn    = 1
	pollOut   = 4
	pollErr   = 8
	pollHup   = 0x10
	pollRdHup = 0x2000
	pollMask  = 0x201f

	epollAdd = 1
	epollDel = 2
	epollMod = 3

	epollEventSize = 12
)

func epollCreate() uint64 {
	if !atomic.CompareAndSwapUint32(&pollOpen, 0, 1) {
		return errMFile
	}
	r := fdNew(fdEpoll, oRDWR, 0)
	if failed(r) {
		atomic.StoreUint32(&pollOpen, 0)
	}
	return r
}

func pollClose() { atomic.StoreUint32(&pollOpen, 0) }

func epollCtl(ep, op, n, event uint64) uint64 {
	e, d := fdAt(ep), fdAt(n)
	if e == nil || d == nil {
		return errBadF
	}
	if e.kind != fdEpoll {
		return errInval
	}
	switch d.kind {
	case fdEvent, fdSocket, fdPipeOut, fdPipeIn, fdRPC:
	default:
		return errPerm // always ready: Go then uses it as a blocking file
	}
	switch op {
	case epollDel:
		pollForget(uint32(n))
		return 0
	case epollAdd, epollMod:
	default:
		return errInval
	}
	lock(&pollLock)
	if op == epollAdd && d.want != 0 {
		unlock(&pollLock)
		return errExist
	}
	d.want = *at[uint32](event)&pollMask | pollErr | pollHup
	d.data = *at[uint64](event + 4)
	unlock(&pollLock)
	pollReady(uint32(n), pollState(n, d))
	return 0
}

// pollState is what a descriptor is ready for now.
func pollState(n uint64, d *fd) uint32 {
	switch d.kind {
	case fdEvent:
		if atomic.LoadUint64(&eventCount) != 0 {
			return pollIn
		}
	case fdSocket:
		return sockReady(d.obj)
	case fdPipeOut, fdPipeIn:
		return pipeReady(d.kind, d.obj)
	case fdRPC:
		return rpcReady()
	}
	return 0
}

// pollReady says that a descriptor has become ready for events. Any thread may
// call it, holding none of fdLock, pollLock, waitLock.
func pollReady(n, events uint32) {
	if pollMark(n, events) {
		wake(waitPoll, 1)
	}
}

// pollMark is pollReady for those who hold netLock: it reports whether a thread
// in epoll_wait has to be woken.
func pollMark(n, events uint32) bool {
	d := &fds[n]
	lock(&pollLock)
	if d.want&events == 0 {
		unlock(&pollLock)
		return false
	}
	d.ready |= events
	pollQueue(d, n)
	unlock(&pollLock)
	return true
}

// pollQueue appends d, which is descriptor n, to the ready queue. pollLock is held.
func pollQueue(d *fd, n uint32) {
	if d.queued {
		return
	}
	d.queued, d.next = true, 0
	if pollHead == 0 {
		pollHead = n + 1
	} else {
		fds[pollTail].next = n + 1
	}
	pollTail = n
}

// pollForget ends a registration.
func pollForget(n uint32) {
	lock(&pollLock)
	d := &fds[n]
	d.want, d.ready = 0, 0
	if d.queued {
		prev := uint32(0)
		for i := pollHead; i != 0; i = fds[i-1].next {
			if i-1 != n {
				prev = i
				continue
			}
			if prev == 0 {
				pollHead = d.next
			} else {
				fds[prev-1].next = d.next
				if pollTail == n {
					pollTail = prev - 1
				}
			}
			break
		}
		d.queued, d.next = false, 0
	}
	unlock(&pollLock)
}

// pollTake writes up to limit events and returns how many. A socket is reported for
// what it is ready for now, if anything has happened to it. An eventfd stays in the
// queue until it is read: Go looks at it without reading when it does not block, and
// leaves it to the thread that does.
func pollTake(events, limit uint64) uint64 {
	n := uint64(0)
	event := uint32(0) // descriptor of the eventfd, plus one
	lock(&pollLock)
	for n < limit && pollHead != 0 {
		i := pollHead - 1
		d := &fds[i]
		pollHead = d.next
		d.queued, d.next = false, 0
		got := d.ready & d.want
		d.ready = 0
		switch d.kind {
		case fdEvent:
			if atomic.LoadUint64(&eventCount) == 0 {
				continue // has been read meanwhile
			}
			event = i + 1
		case fdSocket:
			got = sockReady(d.obj) & d.want
		}
		if got != 0 {
			*at[uint32](events + epollEventSize*n) = got
			*at[uint64](events + epollEventSize*n + 4) = d.data
			n++
		}
	}
	if event != 0 {
		d := &fds[event-1]
		d.ready |= pollIn
		pollQueue(d, event-1)
	}
	unlock(&pollLock)
	return n
}

func pollEmpty() bool {
	lock(&pollLock)
	empty := pollHead == 0
	unlock(&pollLock)
	return empty
}

// epollWait waits for events, and takes what the data channel has brought
// meanwhile. The timeout is in ns; forever is none.
func epollWait(t *thread, ep, events, limit, timeout uint64) uint64 {
	e := fdAt(ep)
	if e == nil || e.kind != fdEpoll {
		return errBadF
	}
	if int32(limit) <= 0 {
		return errInval
	}
	limit &= 0x7fffffff
	deadline := timeout
	if timeout != 0 && timeout != forever {
		deadline = now(false) + timeout
	}
	for first := true; ; first = false {
		rpcPump()
		netPump(t, first && timeout == 0 && pollEmpty())
		if n := pollTake(events, limit); n != 0 || timeout == 0 {
			return n
		}
		lock(&waitLock)
		t.enqueue(waitPoll)
		unlock(&waitLock)
		inTime := true
		if pollEmpty() && atomic.LoadUint32(&t.woken) == 0 && !t.deliverable() && netPark() {
			if rpcPark() {
				inTime = t.park(deadline, 1)
				rpcUnpark()
			}
			netUnpark()
		}
		t.dequeue()
		if t.deliverable() {
			return errIntr
		}
		if !inTime {
			rpcPump()
			netPump(t, false)
			return pollTake(events, limit)
		}
	}
}

// eventfd

func eventCreate(initial, flags uint64) uint64 {
	if !atomic.CompareAndSwapUint32(&eventOpen, 0, 1) {
		return errMFile
	}
	atomic.StoreUint64(&eventCount, initial)
	return fdNew(fdEvent, oRDWR|uint32(flags)&oNONBLOCK, 0)
}

func eventRead(t *thread, n, p, size uint64) uint64 {
	if size < 8 {
		return errInval
	}
	for {
		v := atomic.LoadUint64(&eventCount)
		if v == 0 {
			return errAgain // only ever used without blocking
		}
		if atomic.CompareAndSwapUint64(&eventCount, v, 0) {
			*at[uint64](p) = v
			return 8
		}
	}
}

func eventWrite(n, p, size uint64) uint64 {
	if size < 8 {
		return errInval
	}
	v := *at[uint64](p)
	for {
		old := atomic.LoadUint64(&eventCount)
		if v > ^uint64(0)-1-old {
			return errAgain
		}
		if atomic.CompareAndSwapUint64(&eventCount, old, old+v) {
			break
		}
	}
	pollReady(uint32(n), pollIn)
	return 8
}
