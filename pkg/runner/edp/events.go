package edp

import (
	"math/bits"
	"sync"
	"time"
)

// eventQueue is the multiset of event sets that were sent to one TCS and not
// yet taken. It is kept while the TCS is not running. Only the thread of the
// TCS waits on it.
type eventQueue struct {
	mu      sync.Mutex
	counts  [evAll + 1]uint64
	pending uint32 // bit i is set if counts[i] is not zero
	mask    uint64 // of the wait in progress
	blocked bool   // a wait without timeout is in progress and found nothing
	wake    chan struct{}
}

func newEventQueue() *eventQueue { return &eventQueue{wake: make(chan struct{}, 1)} }

// intersects has, for each mask, a bit for each event set that has an event in
// common with it.
var intersects = func() (t [evAll + 1]uint32) {
	for mask := range t {
		for set := range t {
			if set&mask != 0 {
				t[mask] |= 1 << set
			}
		}
	}
	return t
}()

// push adds an event set, which is not empty.
func (q *eventQueue) push(set uint64) {
	q.mu.Lock()
	q.counts[set]++
	q.pending |= 1 << set
	wake := intersects[q.mask]&(1<<set) != 0
	if wake {
		q.blocked = false
	}
	q.mu.Unlock()
	if wake {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// take removes and returns the numerically highest event set that has an event
// in common with mask.
func (q *eventQueue) take(mask uint64) (set uint64, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	m := q.pending & intersects[mask]
	if m == 0 {
		return 0, false
	}
	set = uint64(31 - bits.LeadingZeros32(m))
	q.remove(set)
	return set, true
}

func (q *eventQueue) remove(set uint64) {
	if q.counts[set]--; q.counts[set] == 0 {
		q.pending &^= 1 << set
	}
}

// begin starts a wait: it removes and returns the numerically lowest event set
// that has an event in common with mask, or says that there is none yet.
func (q *eventQueue) begin(mask uint64, indefinite bool) (set uint64, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if m := q.pending & intersects[mask]; m != 0 {
		set = uint64(bits.TrailingZeros32(m))
		q.remove(set)
		q.mask, q.blocked = 0, false
		return set, true
	}
	q.mask, q.blocked = mask, indefinite
	return 0, false
}

// end gives a wait up.
func (q *eventQueue) end() {
	q.mu.Lock()
	q.mask, q.blocked = 0, false
	q.mu.Unlock()
}

// wait is the blocking form of the usercall: the numerically lowest event set
// that has an event in common with mask. timeout is in nanoseconds.
// onIndefinite is called each time before the thread blocks for good.
func (q *eventQueue) wait(mask, timeout uint64, stop <-chan struct{}, onIndefinite func()) (set uint64, err error) {
	indefinite := timeout == waitIndefinite
	if set, ok := q.begin(mask, indefinite); ok {
		return set, nil
	}
	var expired <-chan time.Time
	if !indefinite {
		t := time.NewTimer(time.Duration(min(timeout, maxTimeoutNs)))
		defer t.Stop()
		expired = t.C
	}
	for {
		if indefinite {
			onIndefinite()
		}
		select {
		case <-q.wake:
			if set, ok := q.begin(mask, indefinite); ok {
				return set, nil
			}
		case <-expired:
			// An event that came at the same moment must not wait for the
			// next call.
			if set, ok := q.begin(mask, false); ok {
				return set, nil
			}
			q.end()
			return 0, ResultTimedOut
		case <-stop:
			q.end()
			return 0, errStopped
		}
	}
}

// allStuck reports whether, at one moment, each of the threads waits without
// timeout and nothing is there for it. Looking at one after the other would
// miss that the first is woken by the last just before that one waits too. Only
// one caller at a time; push holds no two locks.
func allStuck(qs []*eventQueue) bool {
	stuck := true
	for _, q := range qs {
		q.mu.Lock()
		stuck = stuck && q.blocked
	}
	for _, q := range qs {
		q.mu.Unlock()
	}
	return stuck
}
