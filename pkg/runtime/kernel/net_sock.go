package kernel

import (
	"sync/atomic"

	wire "github.com/enclaveos/eos/pkg/channel/wire"
)

// sock is a socket. It lives in a page of the pool; netLock guards it.
//
// It is found by its index from a descriptor and by its id from a message. The id
// is in use from the first message until both sides have sent their end of it
// (TcpClose; the host also TcpError): a socket whose descriptor is closed stays
// until then.
type sock struct {
	idx      uint32
	id       uint32 // on the data channel; 0: none
	chain    uint32 // next socket with the same hash, index + 1; or next free one
	refs     uint32 // descriptors
	fd       uint32 // the descriptor, if there has never been but one
	events   uint32 // what it is ready for; read without netLock
	listener uint32 // index + 1 of the listener in whose queue it is
	owes     uint32 // messages that wait for room in the ring
	oweNext  uint32 // next socket with such messages, index + 1
	seq      uint32 // counts the changes that a waiting thread waits for

	state   uint8
	family  uint8
	dups    bool // there is or was more than one descriptor
	bound   bool
	v6only  bool
	owing   bool // is in the list of sockets with messages that wait
	weEnded bool // TcpClose has been sent
	hostEnd bool // TcpClose or TcpError has come
	rxFin   bool // the peer sends no more
	rxShut  bool // shutdown(SHUT_RD)
	txFin   bool // shutdown(SHUT_WR)
	noSpace bool // a write found no room; a change will be an event
	waited  bool // a thread is blocked on this socket
	refused bool // connect has failed

	err        uint64 // pending error, as SO_ERROR and the next call give it; 0: none
	first      uint64 // received bytes: first chunk
	last       uint64 // last chunk
	buffered   uint32 // received bytes
	uncredited uint32 // bytes read of which the host has not been told
	window     uint32 // bytes that the host may have under way and in our queue
	rxGrant    uint32 // bytes that the host may send now
	txCredit   uint32 // bytes that we may send now

	// Of a listener: unaccepted connections, linked by qNext (index + 1).
	qHead, qTail, qNext uint32
	backlog             uint32

	local, peer wire.Addr
	opts        [optCount]uint32
}

// States of a socket.
const (
	sockFree   = iota
	sockNew    // may be bound
	sockAsking // listen waits for the host's answer
	sockListening
	sockConnecting
	sockOpen
	sockDead // was one of the last two; nothing will come or go any more
)

// Bits of owes, in the order of sending.
const (
	oweListen = 1 << iota
	oweConnect
	oweCredit
	oweFin
	oweClose
)

const (
	sockSize  = 512
	perPage   = pageSize / sockSize
	maxSocks  = 16384 // connections that have a descriptor, wait to be accepted, or for the host's end
	sockHeads = 4096
)

var (
	sockPages [maxSocks / perPage]uint64
	sockTop   uint32            // sockets made so far
	sockFrees uint32            // list of free ones, index + 1
	sockByID  [sockHeads]uint32 // hash chains, index + 1
	nextID    uint32            // outbound ids are handed out in turn
)

// sockAt is the socket with an index below sockTop.
func sockAt(i uint32) *sock {
	return at[sock](sockPages[i/perPage] + uint64(i%perPage)*sockSize)
}

// sockMake makes a socket, or returns nil.
func sockMake(family uint8) *sock {
	i := sockFrees
	if i != 0 {
		sockFrees = sockAt(i - 1).chain
		i--
	} else {
		i = sockTop
		if i >= maxSocks {
			return nil
		}
		if i%perPage == 0 {
			p := poolTake()
			if p == 0 {
				return nil
			}
			sockPages[i/perPage] = p
		}
		sockTop++
	}
	s := sockAt(i)
	*s = sock{idx: i, state: sockNew, family: family}
	s.opts = optDefaults
	return s
}

// sockDrop frees a socket that nobody can reach any more.
func sockDrop(s *sock) {
	if s.refs != 0 || s.listener != 0 || s.id != 0 || s.owing || s.state == sockFree {
		return
	}
	s.discard()
	s.state = sockFree
	s.chain = sockFrees
	sockFrees = s.idx + 1
}

func hash(id uint32) uint32 { return id * 0x9e3779b1 >> 20 }

// sockOf is the socket with an id, or nil.
func sockOf(id uint32) *sock {
	for i := sockByID[hash(id)]; i != 0; {
		s := sockAt(i - 1)
		if s.id == id {
			return s
		}
		i = s.chain
	}
	return nil
}

// named gives s the id, which is not in use.
func (s *sock) named(id uint32) {
	s.id = id
	h := &sockByID[hash(id)]
	s.chain = *h
	*h = s.idx + 1
	s.weEnded, s.hostEnd = false, false
}

// grants sets the windows of a new connection.
func (s *sock) grants() {
	s.rxGrant, s.txCredit = wire.FirstWindow, wire.Window
	s.windowTo(wire.FirstWindow)
}

// newID is an outbound id that is not in use.
func newID() uint32 {
	for {
		id := wire.MinOutbound | nextID&^wire.MinOutbound
		nextID++
		if sockOf(id) == nil {
			return id
		}
	}
}

// settle frees the id if both sides have ended it, and the socket if nothing is
// left of it.
func (s *sock) settle() {
	if s.id != 0 && s.weEnded && s.hostEnd {
		s.unname()
	}
	sockDrop(s)
}

func (s *sock) unname() {
	for p := &sockByID[hash(s.id)]; *p != 0; {
		o := sockAt(*p - 1)
		if o == s {
			*p = s.chain
			break
		}
		p = &o.chain
	}
	s.id, s.chain = 0, 0
	s.rxGrant, s.txCredit, s.uncredited = 0, 0, 0
	s.windowTo(s.buffered)
}

// discard gives back the received bytes: no more will be read.
func (s *sock) discard() {
	for c := s.first; c != 0; {
		next := at[chunk](c).next
		poolGive(c)
		c = next
	}
	s.first, s.last, s.buffered = 0, 0, 0
	s.windowTo(0)
}

// ready computes what s is ready for, as tcp_poll of Linux does.
func (s *sock) ready() uint32 {
	e := uint32(0)
	if s.err != 0 {
		e |= pollErr
	}
	switch s.state {
	case sockNew:
		return e | pollOut | pollHup
	case sockAsking, sockListening:
		if s.qHead != 0 {
			e |= pollIn
		}
		return e
	case sockConnecting:
		return e
	case sockDead:
		return e | pollIn | pollOut | pollRdHup | pollHup
	}
	if s.rxFin || s.rxShut {
		e |= pollIn | pollRdHup
		if s.txFin {
			e |= pollHup
		}
	}
	if s.buffered != 0 {
		e |= pollIn
	}
	if s.txCredit != 0 || s.txFin {
		e |= pollOut
	}
	return e
}

// changed makes the state of s known; those of events that are true now happen
// to whoever polls it. net.events tells netUnlock to wake somebody.
func (s *sock) changed(events uint32) {
	e := s.ready()
	atomic.StoreUint32(&s.events, e)
	if events &= e; events == 0 {
		return
	}
	s.seq++
	if s.waited {
		net.blocked = true
	}
	if s.refs == 0 {
		return
	}
	if !s.dups {
		net.events = pollMark(s.fd, events) || net.events
		return
	}
	for i := range fds {
		if fds[i].kind == fdSocket && fds[i].obj == s.idx {
			net.events = pollMark(uint32(i), events) || net.events
		}
	}
}

// sockReady is what a socket is ready for now.
func sockReady(i uint32) uint32 { return atomic.LoadUint32(&sockAt(i).events) }
