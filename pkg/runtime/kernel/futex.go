package kernel

import (
	"sync/atomic"

	wall "github.com/enclaveos/eos/pkg/wall"
)

// Waiting. A thread that waits says for which address, under waitLock, and then
// parks outside until its woken word says that the wait is over. The host may
// wake it at will and may not wake it: the first is harmless, the second is
// the host's right. There is no queue: wake looks at all that wait, of which there
// are at most wall.MaxThreads.
var (
	waitLock uint32
	waiters  uint64 // bit i: thread i has a waitAddr; guarded by waitLock
)

// Addresses to wait for that are no futex.
const (
	waitSleep = 1 // nobody wakes it
	waitPoll  = 2 // epoll_wait
)

// How a wait has ended.
const (
	waitWoken = iota
	waitTimeout
	waitSignal
)

// forever is the deadline of a wait without one.
const forever = ^uint64(0)

// enqueue makes t wait for addr. waitLock is held.
func (t *thread) enqueue(addr uint64) {
	t.waitAddr = addr
	waiters |= 1 << t.idx
	atomic.StoreUint32(&t.woken, 0)
}

// dequeue ends t's wait, however it has ended, and reports whether it has been
// woken.
func (t *thread) dequeue() bool {
	lock(&waitLock)
	t.endWait()
	woken := t.woken != 0
	unlock(&waitLock)
	return woken
}

// endWait takes t's address away. waitLock is held.
func (t *thread) endWait() {
	t.waitAddr = 0
	waiters &^= 1 << t.idx
}

// wait parks t, which has been enqueued, until deadline (monotonic time).
func (t *thread) wait(deadline uint64) int {
	for {
		if atomic.LoadUint32(&t.woken) != 0 {
			return waitWoken
		}
		if t.deliverable() {
			if t.dequeue() {
				return waitWoken
			}
			return waitSignal
		}
		if !t.park(deadline, 0) {
			if t.dequeue() {
				return waitWoken
			}
			return waitTimeout
		}
	}
}

// park is one NotifyPark; it reports false if the deadline has passed already.
func (t *thread) park(deadline, poll uint64) bool {
	sayThreads()
	left := forever
	if deadline != forever {
		n := now(false)
		if n >= deadline {
			return false
		}
		left = deadline - n
	}
	notify(wall.NotifyPark, left, poll, 0)
	tellStats()
	return true
}

// wake ends the wait of up to n threads for addr and returns how many.
func wake(addr, n uint64) uint64 {
	var mask, count uint64
	lock(&waitLock)
	// Each thread's area is a page of its own: those that do not wait are not touched.
	for i, m := uint64(0), waiters; m != 0 && count < n; i, m = i+1, m>>1 {
		if m&1 == 0 {
			continue
		}
		if w := threadAt(i); w.waitAddr == addr {
			w.endWait()
			atomic.StoreUint32(&w.woken, 1)
			mask |= 1 << i
			count++
		}
	}
	unlock(&waitLock)
	for i := uint64(0); mask != 0; i++ {
		if mask&1 != 0 {
			notify(wall.NotifyWake, i, 0, 0)
		}
		mask >>= 1
	}
	return count
}

const (
	futexWait = 0
	futexWake = 1
)

func futex(t *thread, f *frame) uint64 {
	switch f.si & 0x7f {
	case futexWait:
		deadline := forever
		if f.r10 != 0 {
			ns, ok := timespec(f.r10)
			if !ok {
				return errInval
			}
			deadline = now(false) + ns
		}
		lock(&waitLock)
		if load32(f.di) != uint32(f.dx) {
			unlock(&waitLock)
			return errAgain
		}
		t.enqueue(f.di)
		unlock(&waitLock)
		switch t.wait(deadline) {
		case waitTimeout:
			return errTimedOut
		case waitSignal:
			return errIntr
		}
		return 0
	case futexWake:
		if int32(f.dx) <= 0 {
			return 0
		}
		return wake(f.di, f.dx&0x7fffffff)
	}
	return errNoSys
}

// A sleep of up to spinSleep ns does not leave the enclave: that alone takes longer, and
// the Go scheduler sleeps 3 µs each time that it looks for work at a thread that is just
// starting some. The pauses are bounded, since the clock is the host's.
const (
	spinSleep  = 5_000
	spinPauses = 1_000
)

func nanosleep(t *thread, req, rem uint64) uint64 {
	ns, ok := timespec(req)
	if !ok {
		return errInval
	}
	start := now(false)
	if ns <= spinSleep {
		for n := 0; n < spinPauses && now(false)-start < ns; n++ {
			pause()
		}
		return 0
	}
	deadline := start + ns
	lock(&waitLock)
	t.enqueue(waitSleep)
	unlock(&waitLock)
	if t.wait(deadline) != waitSignal {
		return 0
	}
	if rem != 0 {
		left := uint64(0)
		if n := now(false); n < deadline {
			left = deadline - n
		}
		setTimespec(rem, left)
	}
	return errIntr
}
