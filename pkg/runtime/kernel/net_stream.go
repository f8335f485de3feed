package kernel

import (
	"sync/atomic"

	ring "github.com/enclaveos/eos/pkg/channel"
	wire "github.com/enclaveos/eos/pkg/channel/wire"
	wall "github.com/enclaveos/eos/pkg/wall"
)

// maxFrame is the most that is copied to the ring, or from the queue, in one go with
// netLock held.
const maxFrame = 64 << 10

func sockRead(t *thread, d *fd, p, size uint64) uint64 {
	return sockRecv(t, d.obj, d.flags&oNONBLOCK == 0, false, p, size)
}

func sockWrite(t *thread, d *fd, p, size uint64) uint64 {
	return sockSend(t, d.obj, d.flags&oNONBLOCK == 0, p, size)
}

// sockRecv reads up to size bytes, with block at least one.
func sockRecv(t *thread, i uint32, block, peek bool, p, size uint64) uint64 {
	for try := 0; ; try++ {
		lock(&netLock)
		s := sockAt(i)
		seq := s.seq
		r := s.recv(p, size, peek)
		if r == errAgain && try == 0 && netReady() {
			netTake() // it may lie in the ring already
			seq = s.seq
			r = s.recv(p, size, peek)
		}
		netUnlock()
		if r != errAgain || !block {
			return r
		}
		if !netWait(t, i, seq) {
			return errIntr
		}
	}
}

// recv is a read, with errAgain if there is nothing.
func (s *sock) recv(p, size uint64, peek bool) uint64 {
	if s.refs == 0 {
		return errBadF
	}
	switch s.state {
	case sockNew, sockAsking, sockListening:
		return errNotConn
	case sockConnecting:
		return errAgain
	}
	if size == 0 {
		return 0
	}
	if s.buffered != 0 {
		n := s.dequeue(p, size, peek)
		if !peek {
			s.consumed(uint32(n))
			s.changed(0)
		}
		return n
	}
	if s.err != 0 {
		return s.takeErr()
	}
	if s.rxFin || s.rxShut || s.state == sockDead {
		return 0
	}
	return errAgain
}

// takeErr returns the pending error and forgets it.
func (s *sock) takeErr() uint64 {
	e := s.err
	s.err = 0
	s.changed(0)
	return e
}

// sockSend writes size bytes, or as many as there is credit and room for; with block
// all.
func sockSend(t *thread, i uint32, block bool, p, size uint64) uint64 {
	done := uint64(0)
	for arm := false; ; {
		lock(&netLock)
		s := sockAt(i)
		seq := s.seq
		n := s.put(p+done, size-done, arm)
		full := net.full != 0
		netUnlock() // and the host has sent it
		switch {
		case failed(n) && done != 0:
			return done
		case failed(n):
			return n
		}
		done += n
		switch {
		case done == size:
			return done
		case n != 0:
			arm = false
		case !arm:
			// Perhaps the host has made room, or the credit has come.
			if full {
				notify(wall.NotifyData, 0, 0, 0)
			}
			netPump(t, false)
			arm = true
		case !block && done != 0:
			return done
		case !block:
			return errAgain
		case !netWait(t, i, seq):
			if done != 0 {
				return done
			}
			return errIntr
		}
	}
}

// put writes one message of data. It returns 0 if there is no credit or room; then,
// with arm, there will be an event when there is.
func (s *sock) put(p, size uint64, arm bool) uint64 {
	switch {
	case s.refs == 0:
		return errBadF
	case s.err != 0 && s.state != sockNew:
		return s.takeErr()
	case s.state == sockConnecting:
		s.noSpace = s.noSpace || arm
		return 0
	case s.state != sockOpen || s.txFin:
		return errPipe
	case size == 0:
		return 0
	}
	n := min(size, uint64(s.txCredit), maxFrame)
	if n != 0 && net.tx.Reserve(wire.HeaderSize+n) != ring.OK {
		room := net.tx.Room()
		if st := net.tx.Status(); st != ring.OK {
			netDie(st, wire.Sound)
			return s.takeErr()
		}
		// Small pieces are not worth it: rather let the host make room.
		if n = min(n, room-min(room, wire.HeaderSize)); n < minFrame {
			n = 0
			atomic.StoreUint32(&net.full, 1)
		} else {
			net.tx.Reserve(wire.HeaderSize + n)
		}
	}
	if n == 0 {
		s.noSpace = s.noSpace || arm
		s.changed(0)
		if arm {
			roomCame()
		}
		return 0
	}
	var h [wire.HeaderSize]byte
	net.tx.Fill(0, wire.AppendHeader(h[:0], wire.TcpData, s.id))
	net.tx.Fill(wire.HeaderSize, span(p, n))
	net.tx.Commit(wire.HeaderSize + n)
	net.tx.Publish()
	net.bell = true
	s.txCredit -= uint32(n)
	if s.txCredit == 0 {
		s.changed(0)
	}
	return n
}

const minFrame = 512

// netWait blocks t until something has happened to a socket since seq was read. It
// returns false if a signal ends the wait.
func netWait(t *thread, i, seq uint32) bool {
	lock(&netLock)
	sockAt(i).waited = true
	unlock(&netLock)
	for {
		netPump(t, false)
		lock(&waitLock)
		t.enqueue(waitNet)
		unlock(&waitLock)
		lock(&netLock)
		same := sockAt(i).seq == seq
		unlock(&netLock)
		if same && !t.deliverable() && netPark() {
			t.park(forever, 1)
			netUnpark()
		}
		t.dequeue()
		if !same {
			return true
		}
		if t.deliverable() {
			return false
		}
	}
}

const (
	shutRd   = 0
	shutWr   = 1
	shutRdWr = 2
)

func sockShutdown(i uint32, how uint64) uint64 {
	if how > shutRdWr {
		return errInval
	}
	lock(&netLock)
	s := sockAt(i)
	r := uint64(0)
	if s.state != sockOpen {
		r = errNotConn
	} else {
		if how != shutWr {
			s.rxShut = true
		}
		if how != shutRd && !s.txFin {
			s.txFin = true
			s.owe(oweFin)
		}
		s.changed(pollIn | pollOut | pollRdHup | pollHup)
	}
	netUnlock()
	return r
}

// sockDup makes one more descriptor of a socket.
func sockDup(i uint32) {
	lock(&netLock)
	s := sockAt(i)
	s.refs++
	s.dups = true
	unlock(&netLock)
}

// sockClose is the end of one descriptor. With the last one the connection ends;
// what was written before still goes out.
func sockClose(t *thread, i uint32) {
	lock(&netLock)
	s := sockAt(i)
	if s.refs != 0 {
		s.refs--
	}
	if s.refs == 0 {
		for q := sockPop(s); q != nil; q = sockPop(s) {
			q.hangUp()
		}
		s.hangUp()
	}
	netUnlock()
}

// hangUp ends a socket that has no descriptor any more, or is of no use to it.
func (s *sock) hangUp() {
	s.discard()
	s.state = sockDead
	s.owes &^= oweCredit
	if s.id != 0 && !s.weEnded {
		if s.owes&oweListen != 0 || s.owes&oweConnect != 0 {
			// The host has not heard of it yet.
			s.hostEnd, s.weEnded, s.owes = true, true, 0
		} else {
			s.owe(oweClose)
		}
	}
	s.settle()
}
