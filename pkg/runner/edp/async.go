package edp

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxAsync bounds the asynchronous usercalls that are under way; with more,
	// the usercall queue is not emptied and the enclave sees it full. It is
	// more than the connections of a busy server, each with its read.
	maxAsync = 16384
	// maxCancels bounds the cancels kept for usercalls that have not come. No
	// more than the usercall queue's length can be on their way.
	maxCancels = 1024
	// claimPoll is how often a slot is looked at that the enclave has claimed
	// and not written: its thread was interrupted in between.
	claimPoll = time.Millisecond
)

// asyncQueues serves the asynchronous queues. One goroutine owns them.
type asyncQueues struct {
	s                         *server
	usercalls, returns, cancl *fifo
	wake                      chan struct{}

	// inflight counts usercalls from before they leave the queue until their
	// return is in the other one.
	inflight atomic.Int64

	mu   sync.Mutex // guards done, which the usercalls' goroutines append to
	done []asyncReturn

	pending map[uint64]chan struct{} // cancellable ones under way, by id; closed to cancel
	early   []earlyCancel            // cancels whose usercall has not come
}

type asyncReturn struct {
	id, r1, r2  uint64
	cancellable bool
	cancel      chan struct{}
}

// earlyCancel is remembered until more than upTo usercalls have been read.
type earlyCancel struct{ id, upTo uint64 }

// asyncQueues is the usercall: it makes the queues and fills the descriptors.
func (s *server) asyncQueues(c *usercall) error {
	if c.args[0] == 0 || c.args[1] == 0 {
		return ResultInvalidInput
	}
	var desc [3][]byte
	for i := range desc {
		if c.args[i] == 0 {
			continue
		}
		b, err := s.buffer(c, c.args[i], fifoDescriptorSize)
		if err != nil {
			return err
		}
		desc[i] = b
	}
	s.mu.Lock()
	again := s.hasInit
	s.hasInit = true
	s.mu.Unlock()
	if again {
		return s.exit(c, true)
	}
	q := &asyncQueues{s: s, wake: make(chan struct{}, 1), pending: map[uint64]chan struct{}{}}
	var addrs [3]uint64
	for i, f := range []struct {
		q         **fifo
		name      string
		len, elem uint32
	}{
		{&q.usercalls, "usercall", usercallQueueLen, usercallElementSize},
		{&q.returns, "return", returnQueueLen, returnElementSize},
		{&q.cancl, "cancel", cancelQueueLen, cancelElementSize},
	} {
		n := fifoSize(f.len, f.elem)
		addr, ok := s.mem.alloc(n, 16, hostOwned)
		if !ok {
			return ResultOther
		}
		b, err := s.mem.bytes(addr, n)
		if err != nil {
			return ResultOther
		}
		clear(b)
		*f.q = newFifo(f.name, b, f.len, f.elem)
		addrs[i] = addr
	}
	for i, f := range []*fifo{q.usercalls, q.returns, q.cancl} {
		if desc[i] != nil {
			d := f.descriptor(addrs[i])
			copy(desc[i], d[:])
		}
	}
	s.async.Store(q)
	s.enterBusy()
	s.hold()
	go q.loop()
	return nil
}

// poke makes the owner look at the queues. The enclave asks for it by any
// synchronous usercall.
func (q *asyncQueues) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// loop looks at the queues whenever it is poked.
func (q *asyncQueues) loop() {
	defer q.s.release()
	defer q.s.unbusy()
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		again, err := q.look()
		if err != nil {
			q.s.end(err)
			return
		}
		if again {
			retry.Reset(claimPoll)
		}
		if !again && !q.s.library {
			q.s.endIfStuck(q.idle)
		}
		select {
		case <-q.wake:
		case <-retry.C:
		case <-q.s.done:
			return
		}
	}
}

// idle reports whether nothing is under way and nothing is in the queues that
// could yet wake a thread. What was taken out has sent its events, and only the
// caller, the owner, takes out.
func (q *asyncQueues) idle() bool {
	calls, err1 := q.usercalls.readerState()
	cancels, err2 := q.cancl.readerState()
	return err1 == nil && err2 == nil && calls == 0 && cancels == 0 && q.inflight.Load() == 0
}

// look does all that can be done now. again asks for another look soon. The
// work is bounded: what the enclave adds meanwhile is left to the next look,
// which comes at once.
func (q *asyncQueues) look() (again bool, err error) {
	var id [8]byte
	for range cancelQueueLen {
		n, ok, claimed, wake, err := q.cancl.pop(id[:0])
		if err != nil {
			return false, err
		}
		if wake {
			q.s.sendAll(EvCancelQNotFull)
		}
		if !ok {
			again = claimed
			break
		}
		if err := q.cancel(n); err != nil {
			return false, err
		}
	}
	var p [usercallElementSize - 8]byte
	for k := 0; q.inflight.Load() < maxAsync; k++ {
		if k == usercallQueueLen {
			q.poke()
			break
		}
		q.inflight.Add(1)
		n, ok, claimed, wake, err := q.usercalls.pop(p[:])
		if !ok || err != nil {
			q.inflight.Add(-1)
			if err != nil {
				return false, err
			}
			again = again || claimed
			break
		}
		if wake {
			q.s.sendAll(EvUsercallQNotFull)
		}
		q.start(n, &p)
		q.forget()
	}
	full, err := q.flush()
	return again || full, err
}

// cancel gives up the usercall with that id, or the one that is to come.
func (q *asyncQueues) cancel(id uint64) error {
	if ch := q.pending[id]; ch != nil {
		delete(q.pending, id)
		close(ch)
		return nil
	}
	n, err := q.usercalls.readerState()
	if err != nil {
		return err
	}
	if len(q.early) == maxCancels {
		q.early = append(q.early[:0], q.early[1:]...)
	}
	q.early = append(q.early, earlyCancel{id, q.usercalls.total + uint64(n)})
	return nil
}

// forget drops the cancels whose usercall should have come by now.
func (q *asyncQueues) forget() {
	keep := q.early[:0]
	for _, c := range q.early {
		if q.usercalls.total <= c.upTo {
			keep = append(keep, c)
		}
	}
	q.early = keep
}

// cancelled reports whether a cancel came before the usercall, and drops it.
func (q *asyncQueues) cancelled(id uint64) bool {
	for i, c := range q.early {
		if c.id == id {
			q.early = append(q.early[:i], q.early[i+1:]...)
			return true
		}
	}
	return false
}

// cancellable reports whether a usercall can be given up.
func (n Number) cancellable() bool {
	switch n {
	case CallRead, CallReadAlloc, CallWrite, CallAcceptStream, CallConnectStream, CallWait:
		return true
	}
	return false
}

// start serves one usercall on a goroutine of its own.
func (q *asyncQueues) start(id uint64, p *[usercallElementSize - 8]byte) {
	c := usercall{call: call{done: q.s.done}, number: Number(le.Uint64(p[:]))}
	for i := range c.args {
		c.args[i] = le.Uint64(p[8+8*i:])
	}
	r := asyncReturn{id: id}
	if c.number.cancellable() {
		if q.cancelled(id) {
			r.r1 = uint64(ResultInterrupted)
			q.finish(r)
			return
		}
		r.cancellable, r.cancel = true, make(chan struct{})
		c.cancel = r.cancel
		// Of two with the same id, the later one is what a cancel means.
		q.pending[id] = r.cancel
	}
	q.s.enterBusy()
	q.s.hold()
	go func() {
		defer q.s.release()
		defer q.s.unbusy()
		var err error
		if c.number == 0 {
			err = c.bad("the number 0 is none")
		} else {
			r.r1, r.r2, err = q.s.serve(&c)
		}
		switch {
		case err == nil:
			q.finish(r)
		case err == errStopped:
		case err == errExit:
			q.s.end(nil)
		default:
			q.s.end(err)
		}
	}()
}

// finish queues a return.
func (q *asyncQueues) finish(r asyncReturn) {
	q.mu.Lock()
	q.done = append(q.done, r)
	q.mu.Unlock()
	q.poke()
}

// flush moves returns to their queue. full says that some did not fit: the
// enclave tells of room by a synchronous usercall.
func (q *asyncQueues) flush() (full bool, err error) {
	q.mu.Lock()
	done := q.done
	q.done = nil
	q.mu.Unlock()
	var p [returnElementSize - 8]byte
	for i, r := range done {
		if r.cancellable && q.pending[r.id] == r.cancel {
			delete(q.pending, r.id)
		}
		le.PutUint64(p[:], r.r1)
		le.PutUint64(p[8:], r.r2)
		ok, wake, err := q.returns.push(r.id, p[:])
		if err != nil {
			return false, err
		}
		if !ok {
			q.mu.Lock()
			q.done = append(done[i:], q.done...)
			q.mu.Unlock()
			return true, nil
		}
		if wake {
			q.s.sendAll(EvReturnQNotEmpty)
		}
		q.inflight.Add(-1)
	}
	return false, nil
}
