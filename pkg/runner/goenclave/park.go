package goenclave

import (
	"sync"
	"time"
)

// parking is where the host's thread of a TCS waits until another thread of the
// program wakes it. A wake that comes first is kept: the next wait returns at once.
type parking struct{ word }

// Values of parking.
const (
	parkNone    = iota
	parkToken   // woken
	parkAsleep  // on the word
	parkPolling // in the data plane
)

// wait waits to be woken, at most d; a negative d is for ever.
func (p *parking) wait(d time.Duration) {
	if p.CompareAndSwap(parkNone, parkAsleep) {
		p.sleep(parkAsleep, d)
	}
	p.Store(parkNone)
}

// wakeUp leaves a token, and wakes who waits; interrupt is for one that polls.
func (p *parking) wakeUp(interrupt func()) {
	switch p.Swap(parkToken) {
	case parkAsleep:
		p.wake()
	case parkPolling:
		interrupt()
	}
}

// polls sees to it that one thread polls the data plane at a time.
type polls struct {
	data DataPlane

	mu     sync.Mutex
	poller *parking
	queue  []*parking // others that want to
	kicked bool       // the next one is not to wait
}

// wait waits to be woken, at most d, and meanwhile polls the data plane, if there is
// one, and nobody else does. When the one who does comes back, one of the others is sent off as
// well, without having been woken: it will come again and find the place free.
func (q *polls) wait(p *parking, d time.Duration) {
	q.mu.Lock()
	switch {
	case q.kicked:
		q.kicked = false
		q.mu.Unlock()
		return
	case q.poller != nil:
		q.queue = append(q.queue, p)
		q.mu.Unlock()
		p.wait(d)
	case q.data == nil:
		q.poller = p
		q.mu.Unlock()
		p.wait(d)
	default:
		q.poller = p
		q.mu.Unlock()
		if p.CompareAndSwap(parkNone, parkPolling) {
			q.data.Poll(d)
		}
		p.Store(parkNone)
	}
	q.leave(p)
}

// kick makes the thread that polls come back, or the next one not wait.
func (q *polls) kick() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.poller == nil {
		q.kicked = true
		return
	}
	q.poller.wakeUp(q.interrupt)
}

func (q *polls) interrupt() {
	if q.data != nil {
		q.data.Interrupt()
	}
}

// leave takes p out and, if the place is free, sends for the next.
func (q *polls) leave(p *parking) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.poller == p {
		q.poller = nil
	}
	for i, w := range q.queue {
		if w == p {
			q.queue = append(q.queue[:i], q.queue[i+1:]...)
			break
		}
	}
	if q.poller == nil && len(q.queue) > 0 {
		q.queue[0].wakeUp(q.interrupt)
	}
}

// look polls without waiting, unless somebody polls already.
func (q *polls) look(p *parking) {
	q.mu.Lock()
	if q.poller != nil {
		q.mu.Unlock()
		q.data.Flush()
		return
	}
	q.poller = p
	q.mu.Unlock()
	q.data.Poll(0)
	q.leave(p)
}
