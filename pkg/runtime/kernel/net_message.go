package kernel

import (
	ring "github.com/enclaveos/eos/pkg/channel"
	wire "github.com/enclaveos/eos/pkg/channel/wire"
)

// netMessage takes the current message of the ring. netLock is held.
func netMessage() {
	n := net.rx.Len()
	var h [wire.HeaderSize]byte
	net.rx.Copy(h[:], 0)
	t, id, f := wire.Header(&h, n, wire.FromHost)
	if f != wire.Sound {
		netDie(ring.ErrMessage, f)
		return
	}
	if t == wire.TcpData {
		netData(id, uint32(n)-wire.HeaderSize)
		return
	}
	// Header has bounded the length. From here on only the copy counts, also for
	// what Header has seen: the host can have changed it.
	var buf [wire.MaxControl]byte
	m, f := wire.Parse(buf[:net.rx.Copy(buf[:], 0)], wire.FromHost)
	if f != wire.Sound {
		netDie(ring.ErrMessage, f)
		return
	}
	switch m.Type {
	case wire.Tick:
		return
	case wire.TcpNew:
		netNew(m)
		return
	}
	s := sockOf(m.ID)
	if s == nil {
		netStray(m)
		return
	}
	if s.hostEnd || m.Type == wire.TcpData {
		netLie()
		return
	}
	switch m.Type {
	case wire.TcpClose, wire.TcpError:
		errno := uint64(0)
		if m.Type == wire.TcpError {
			e, _ := m.Failure()
			errno = hostErrno(e)
		}
		s.hostEnd = true
		if !s.weEnded {
			s.ended(errno)
		}
		s.settle()
		return
	}
	if s.weEnded || s.owes&oweClose != 0 {
		return // it crosses our end of the id
	}
	switch {
	case m.Type == wire.TcpListening && s.state == sockAsking:
		s.local, _ = wire.ParseAddr(m.Payload)
		s.state = sockListening
		s.changedAll()
	case m.Type == wire.TcpConnected && s.state == sockConnecting:
		local, peer := m.Connected()
		s.local, _ = wire.ParseAddr(local)
		s.peer, _ = wire.ParseAddr(peer)
		s.state = sockOpen
		s.changed(pollOut)
	case m.Type == wire.TcpFin && s.state == sockOpen && !s.rxFin:
		s.rxFin = true
		s.changed(pollIn | pollRdHup | pollHup)
	case m.Type == wire.TcpCredit && s.state == sockOpen:
		if m.Credit() > wire.Window-s.txCredit {
			netDie(ring.ErrCreditAbused, wire.Sound)
			return
		}
		s.txCredit += m.Credit()
		if s.noSpace {
			s.noSpace = false
			s.changed(pollOut)
		} else {
			s.changed(0)
		}
	default:
		netLie()
	}
}

// changedAll is changed for those that wait for the answer of listen, which is no
// event.
func (s *sock) changedAll() {
	s.changed(0)
	s.seq++
	net.blocked = true
}

// ended takes the host's end of an id that we have not ended: a connection that is
// closed or reset (errno not 0), a connect or listen that has failed.
func (s *sock) ended(errno uint64) {
	switch s.state {
	case sockConnecting:
		s.err, s.refused = errno, true
		if errno == 0 {
			s.err = errConnReset
		}
	case sockAsking, sockListening:
		s.err = errno
		if errno == 0 {
			s.err = errConnAborted
		}
		for q := sockPop(s); q != nil; q = sockPop(s) {
			q.hangUp()
		}
		net.blocked = true
	default:
		s.err = errno
		if errno == 0 && !s.rxFin {
			s.err = errConnReset // the peer's end of its data has not been seen
		}
	}
	s.state = sockDead
	s.rxFin = true
	s.owes &= oweClose
	s.owe(oweClose)
	s.changed(pollIn | pollOut | pollErr | pollHup | pollRdHup)
	s.seq++
}

// netStray takes a message for an id that is not in use.
func netStray(m wire.Message) {
	switch {
	case net.lost == 0:
		netLie()
	case m.Type == wire.TcpClose || m.Type == wire.TcpError:
		net.lost--
	}
}

// netNew takes a new connection.
func netNew(m wire.Message) {
	id, peer, local := m.New()
	l := sockOf(id)
	if l == nil || l.hostEnd || sockOf(m.ID) != nil || l.id < wire.MinOutbound {
		netLie()
		return
	}
	var s *sock
	if !poolFull(7) {
		s = sockMake(l.family)
	} else {
		pool.wantHeap = true
	}
	if s == nil {
		// There is no place even for remembering the id: what comes for it
		// is ignored until the host has ended it.
		var b [wire.HeaderSize]byte
		if net.tx.Put(wire.Append(b[:0], wire.TcpClose, m.ID, nil), nil) != ring.OK {
			netLie() // it fills both rings
			return
		}
		net.tx.Publish()
		net.bell = true
		net.lost++
		return
	}
	s.named(m.ID)
	if l.weEnded || l.owes&oweClose != 0 || l.state != sockListening {
		if !l.weEnded && l.owes&oweClose == 0 {
			netLie()
			return
		}
		s.state = sockDead
		s.owe(oweClose)
		return
	}
	s.grants()
	s.state = sockOpen
	s.bound = true
	s.peer, _ = wire.ParseAddr(peer)
	s.local, _ = wire.ParseAddr(local)
	s.opts = l.opts
	s.listener = l.idx + 1
	if l.qHead == 0 {
		l.qHead = s.idx + 1
	} else {
		sockAt(l.qTail - 1).qNext = s.idx + 1
	}
	l.qTail = s.idx + 1
	s.changed(0)
	l.changed(pollIn)
}

// sockPop takes the first connection out of a listener's queue.
func sockPop(l *sock) *sock {
	if l.qHead == 0 {
		return nil
	}
	s := sockAt(l.qHead - 1)
	l.qHead = s.qNext
	s.qNext, s.listener = 0, 0
	l.changed(0)
	return s
}

// netData takes a TcpData with n bytes of payload.
func netData(id, n uint32) {
	s := sockOf(id)
	switch {
	case s == nil && net.lost != 0:
		return
	case s == nil || s.hostEnd:
		netLie()
		return
	case s.weEnded || s.owes&oweClose != 0:
		return
	case s.state != sockOpen || s.rxFin:
		netLie()
		return
	case n > s.rxGrant:
		netDie(ring.ErrCreditAbused, wire.Sound)
		return
	}
	s.rxGrant -= n
	if s.rxShut {
		s.consumed(n)
		return
	}
	a, b := net.rx.Spans(wire.HeaderSize)
	if !s.queue(a) || !s.queue(b) {
		// Not even the granted bytes find room.
		s.err = errNoBufs
		s.state = sockDead
		s.hangUp()
		s.changed(pollIn | pollOut | pollErr | pollHup | pollRdHup)
		return
	}
	s.changed(pollIn)
}

// queue appends bytes of the ring to what has been received. They are copied once
// and not looked at.
func (s *sock) queue(b []byte) bool {
	for len(b) > 0 {
		if s.last == 0 || at[chunk](s.last).to == chunkData {
			p := poolTake()
			if p == 0 {
				return false
			}
			c := at[chunk](p)
			c.next, c.from, c.to = 0, 0, 0
			if s.last == 0 {
				s.first = p
			} else {
				at[chunk](s.last).next = p
			}
			s.last = p
		}
		c := at[chunk](s.last)
		n := copy(c.data[c.to:], b)
		c.to += uint32(n)
		s.buffered += uint32(n)
		b = b[n:]
	}
	return true
}

// dequeue moves up to n received bytes to p, which leaves them in the queue if peek
// is true. It returns how many.
func (s *sock) dequeue(p, n uint64, peek bool) uint64 {
	done := uint64(0)
	for a := s.first; a != 0 && done < n; {
		c := at[chunk](a)
		k := min(n-done, uint64(c.to-c.from))
		copy(span(p+done, k), c.data[c.from:uint64(c.from)+k])
		done += k
		if peek {
			a = c.next
			continue
		}
		c.from += uint32(k)
		s.buffered -= uint32(k)
		if c.from != c.to {
			break
		}
		a = c.next
		poolGive(s.first)
		s.first = a
		if a == 0 {
			s.last = 0
		}
	}
	return done
}

// consumed notes that n received bytes are gone, and tells the host if it is worth
// a message.
func (s *sock) consumed(n uint32) {
	if s.id == 0 || s.hostEnd || s.state != sockOpen {
		return
	}
	s.uncredited += n
	worth := s.window / 4
	if s.window == wire.FirstWindow {
		worth = wire.FirstWindow / 2 // a handshake and a request shall do without
	}
	if s.uncredited >= worth && !s.rxFin {
		s.owe(oweCredit)
	}
}

// credit is how much the host shall be told to have been consumed: more than was,
// as long as the window can grow, less, when there are too many large ones.
func (s *sock) credit() uint32 {
	n := s.uncredited
	limit := min(s.opts[optRcvBuf], wire.Window)
	switch {
	case s.window > wire.FirstWindow && poolFull(6):
		n -= min(n, s.window-wire.FirstWindow)
	case s.window < limit:
		grow := s.window
		if s.window == wire.FirstWindow {
			grow *= 3 // it is being read: most have something to say then
		}
		if grow = min(grow, limit-s.window); poolGrows(grow) {
			n += grow
		}
	}
	return n
}
