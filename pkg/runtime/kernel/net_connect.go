package kernel

import (
	wire "github.com/enclaveos/eos/pkg/channel/wire"
)

// Address families and types of sockets.
const (
	afInet  = 2
	afInet6 = 10

	sockStream  = 1
	sockTypes   = 0xf
	sockNonblok = oNONBLOCK
	sockCloexec = 0x80000

	protoTCP = 6
)

// answerTime is how long listen waits for the host.
const answerTime = 30 * second

// sockSocket is socket(2): there is TCP over IPv4 and IPv6, and nothing else.
func sockSocket(family, typ, proto uint64) uint64 {
	if family == afNetlink {
		return linkSocket(typ, proto)
	}
	if family != afInet && family != afInet6 {
		return errAFNoSupport
	}
	if typ&^(sockTypes|sockNonblok|sockCloexec) != 0 {
		return errInval
	}
	if typ&sockTypes != sockStream || proto != 0 && proto != protoTCP {
		return errProtoNoSupport
	}
	lock(&netLock)
	s := sockMake(uint8(family))
	if s != nil {
		s.refs = 1
	}
	netUnlock()
	if s == nil {
		return errNFile
	}
	return sockFD(s, uint32(typ))
}

// sockFD gives a descriptor to a socket which has one reference; without one left
// the socket ends.
func sockFD(s *sock, flags uint32) uint64 {
	n := fdNew(fdSocket, oRDWR|flags&oNONBLOCK, s.idx)
	lock(&netLock)
	if failed(n) {
		s.refs = 0
		s.hangUp()
	} else {
		s.fd = uint32(n)
		s.changed(0)
	}
	netUnlock()
	return n
}

// getAddr reads a socket address of the program's, for a socket of that family.
func getAddr(family uint8, p, n uint64) (a wire.Addr, e uint64) {
	if n < 2 {
		return a, errInval
	}
	f := *at[uint16](p)
	switch {
	case f == 0 && family == afInet && n >= 16: // AF_UNSPEC
	case f != uint16(family):
		return a, errAFNoSupport
	case f == afInet && n < 16 || f == afInet6 && n < 28:
		return a, errInval
	}
	b := span(p, n)
	a.Port = uint16(b[2])<<8 | uint16(b[3])
	if family == afInet {
		a.Is4 = true
		copy(a.IP[12:], b[4:8])
		return a, 0
	}
	copy(a.IP[:], b[8:24])
	if mapped(&a.IP) {
		a.Is4 = true
		a.IP[10], a.IP[11] = 0, 0
	}
	return a, 0
}

// mapped reports whether an IPv6 address stands for an IPv4 one.
func mapped(ip *[16]byte) bool {
	for i := 0; i < 10; i++ {
		if ip[i] != 0 {
			return false
		}
	}
	return ip[10] == 0xff && ip[11] == 0xff
}

// putAddr writes a socket address, cut to the length at lenp, and its length there.
// The host may have given an IPv6 address to an IPv4 socket: the family says so.
func putAddr(family uint8, a *wire.Addr, p, lenp uint64) uint64 {
	if p == 0 || lenp == 0 {
		return 0
	}
	room := uint64(*at[uint32](lenp))
	if int32(room) < 0 {
		return errInval
	}
	var b [28]byte
	n := uint64(16)
	b[2], b[3] = byte(a.Port>>8), byte(a.Port)
	if family == afInet && a.Is4 {
		b[0] = afInet
		copy(b[4:], a.IP[12:])
	} else {
		n = 28
		b[0] = afInet6
		copy(b[8:], a.IP[:])
		if a.Is4 {
			b[18], b[19] = 0xff, 0xff
		}
	}
	if k := min(n, room); k != 0 {
		copy(span(p, k), b[:k])
	}
	*at[uint32](lenp) = uint32(n)
	return 0
}

// sockBind is bind(2). Whether the address can be had shows at listen: the host does
// both in one.
func sockBind(i uint32, p, n uint64) uint64 {
	lock(&netLock)
	s := sockAt(i)
	a, e := getAddr(s.family, p, n)
	switch {
	case e != 0:
	case s.state != sockNew || s.bound:
		e = errInval
	case s.v6only && a.Is4:
		e = errInval
	default:
		s.local, s.bound = a, true
	}
	unlock(&netLock)
	return e
}

// sockListen is listen(2). It waits for the host's answer.
func sockListen(t *thread, i uint32, backlog uint64) uint64 {
	lock(&netLock)
	s := sockAt(i)
	s.backlog = uint32(min(max(int32(backlog), 1), 4096))
	switch {
	case s.state == sockListening:
		unlock(&netLock)
		return 0
	case s.state != sockNew:
		unlock(&netLock)
		return errInval
	case !netReady():
		netUnlock()
		return errNetDown
	}
	if !s.bound {
		s.local, s.bound = wire.Addr{Is4: s.family == afInet}, true
	}
	asked := s.local
	s.state = sockAsking
	s.named(newID())
	s.owe(oweListen)
	seq := s.seq
	netUnlock()

	deadline := now(false) + answerTime
	for {
		netPump(t, false)
		lock(&netLock)
		state, same := s.state, s.seq == seq
		e := s.err
		switch {
		case state == sockListening:
			unlock(&netLock)
			return 0
		case state != sockAsking:
			// As on Linux the socket is as good as new.
			s.err = 0
			if e == 0 {
				e = errConnAborted
			}
			s.fresh(asked)
			s.changed(0)
			netUnlock()
			return e
		}
		seq = s.seq
		unlock(&netLock)
		if same && !netSleep(t, deadline) {
			lock(&netLock)
			if s.state == sockAsking {
				s.hangUp()
			}
			netUnlock()
			return errTimedOut
		}
	}
}

// fresh makes a socket new whose listen has failed. Its id may still be in use, and
// then is given to a socket of its own.
func (s *sock) fresh(local wire.Addr) {
	if net.dead || s.refs == 0 {
		return
	}
	if s.id != 0 {
		if s.owing {
			return // the ring is full: it stays dead
		}
		o := sockMake(s.family)
		if o == nil {
			return
		}
		id, we, host := s.id, s.weEnded, s.hostEnd
		s.unname()
		o.state = sockDead
		o.named(id)
		o.weEnded, o.hostEnd = we, host
		o.settle()
	}
	s.weEnded, s.hostEnd, s.rxFin = false, false, false
	s.state, s.local = sockNew, local
}

// netSleep parks t until the host has messages, somebody wakes it, or the deadline.
// It returns false after the deadline.
func netSleep(t *thread, deadline uint64) bool {
	lock(&waitLock)
	t.enqueue(waitNet)
	unlock(&waitLock)
	inTime := true
	if netPark() {
		inTime = t.park(deadline, 1)
		netUnpark()
	}
	t.dequeue()
	return inTime
}

// sockAccept is accept4(2).
func sockAccept(t *thread, n uint64, p, lenp, flags uint64) uint64 {
	if flags&^(sockNonblok|sockCloexec) != 0 {
		return errInval
	}
	d := fdAt(n)
	i := d.obj
	for try := 0; ; try++ {
		lock(&netLock)
		l := sockAt(i)
		seq := l.seq
		e := errAgain
		var s *sock
		switch {
		case l.err != 0 && (l.state == sockDead || l.state == sockListening):
			e = l.takeErr()
		case l.state != sockListening:
			e = errInval
		case l.qHead == 0 && try == 0:
			netTake()
			seq = l.seq
		}
		if e == errAgain && l.state == sockListening {
			if s = sockPop(l); s != nil {
				s.refs = 1
			}
		}
		netUnlock()
		switch {
		case s != nil:
			r := sockFD(s, uint32(flags))
			if !failed(r) {
				if e := putAddr(s.family, &s.peer, p, lenp); e != 0 {
					closeFD(t, r)
					return e
				}
			}
			return r
		case e != errAgain || d.flags&oNONBLOCK != 0:
			return e
		case !netWait(t, i, seq):
			return errIntr
		}
	}
}

// sockConnect is connect(2).
func sockConnect(t *thread, n, p, size uint64) uint64 {
	d := fdAt(n)
	i := d.obj
	block := d.flags&oNONBLOCK == 0
	for begun := false; ; begun = true {
		lock(&netLock)
		s := sockAt(i)
		seq := s.seq
		e := s.connect(p, size, begun)
		if e == errInProgress || e == errAlready {
			// A host that knows at once has answered at once.
			bell := net.bell
			netUnlock()
			if bell || begun {
				netPump(t, false)
			}
			if !block {
				return e
			}
			if !netWait(t, i, seq) {
				return errIntr
			}
			continue
		}
		netUnlock()
		return e
	}
}

// connect is one step of connect; begun says that this call has asked already.
func (s *sock) connect(p, size uint64, begun bool) uint64 {
	switch s.state {
	case sockNew:
	case sockConnecting:
		return errAlready
	case sockOpen:
		if begun {
			return 0
		}
		return errIsConn
	case sockDead:
		if s.err != 0 {
			return s.takeErr()
		}
		return errConnAborted
	default:
		return errIsConn
	}
	a, e := getAddr(s.family, p, size)
	switch {
	case e != 0:
		return e
	case a.Is4 && s.v6only:
		return errNetUnreach
	case s.bound && !anywhere(&s.local):
		return errAddrNotAvail // the host chooses the local end
	case !netReady():
		return errNetDown
	}
	s.peer = a
	s.state = sockConnecting
	s.bound = true
	s.named(newID())
	s.grants()
	s.changed(0)
	s.owe(oweConnect)
	return errInProgress
}

// anywhere reports whether an address that a socket is bound to leaves the choice of
// the local end open.
func anywhere(a *wire.Addr) bool {
	return a.Port == 0 && (a.IP == [16]byte{} || a.Is4 && a.IP[12] == 127 || a.IP == [16]byte{15: 1})
}

// sockName is getsockname(2) and getpeername(2).
func sockName(i uint32, peer bool, p, lenp uint64) uint64 {
	lock(&netLock)
	s := sockAt(i)
	r, a := uint64(0), s.local
	if !s.bound {
		a.Is4 = s.family == afInet
	}
	if peer {
		a = s.peer
		if s.state != sockOpen && (s.state != sockDead || s.refused) || s.peer == (wire.Addr{}) {
			r = errNotConn
		}
	}
	family := s.family
	unlock(&netLock)
	if r != 0 {
		return r
	}
	return putAddr(family, &a, p, lenp)
}
