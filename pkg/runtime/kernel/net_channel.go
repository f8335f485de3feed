package kernel

import (
	"sync/atomic"

	ring "github.com/enclaveos/eos/pkg/channel"
	wire "github.com/enclaveos/eos/pkg/channel/wire"
	wall "github.com/enclaveos/eos/pkg/wall"
)

// The data channel: sockets are messages to and from the host (package wire).
// Nothing here trusts a number of the host's: lengths, ids, credits and the order
// of messages are held against what this side knows, and the first lie ends the
// channel, for all sockets, with a word on stderr.
//
// Who calls the host does it without netLock. A thread that writes rings the host
// (NotifyData), which then moves the bytes on this same thread; a thread that waits
// for events parks in NotifyPark with a2 = 1, in which the host does the same.
var netLock uint32

var net struct {
	up   bool // the rings are initialised
	dead bool // a lie, or the other reason in status

	tx ring.Producer
	rx ring.Consumer

	oweHead, oweTail uint32 // sockets with messages that wait for room, index + 1
	full             uint32 // 1: somebody waits for room in the ring; read without netLock
	parked           uint32 // threads that are parked for the host's messages
	lost             uint32 // ids of the host's that did not fit the table and that it has not ended
	looked           uint64 // when the host last looked at its sockets for us

	// What netUnlock has to do.
	events  bool // a thread in epoll_wait must be woken
	blocked bool // a thread that is blocked on a socket must be woken
	bell    bool // the host must be rung

	status ring.Status // why the channel is dead
	fault  wire.Fault  // what was wrong with the message, if that is why
	tell   bool        // it has not yet been said on stderr
	short  uint32      // that there is too little heap has been said
}

// waitNet is what threads wait for that are blocked on a socket.
const waitNet = 3

// netReady reports whether there is a data channel, and initialises it. netLock
// is held.
func netReady() bool {
	if net.dead {
		return false
	}
	if !net.up {
		if atomic.LoadUint32(&data.state) != channelReady {
			return false
		}
		net.up = true
		s := net.tx.Init(uintptr(data.e2hHead), uintptr(data.e2hBytes), data.capacity)
		if s == ring.OK {
			s = net.rx.Init(uintptr(data.h2eHead), uintptr(data.h2eBytes), data.capacity)
		}
		if s != ring.OK {
			netDie(s, wire.Sound)
			return false
		}
	}
	return true
}

// netUnlock releases netLock and does what could not be done under it.
func netUnlock() {
	for {
		events, blocked, bell, tell := net.events, net.blocked, net.bell, net.tell
		short := pool.wantHeap
		net.events, net.blocked, net.bell, net.tell = false, false, false, false
		unlock(&netLock)
		if bell {
			notify(wall.NotifyData, 0, 0, 0)
		}
		if events {
			wake(waitPoll, 1)
		}
		if blocked {
			wake(waitNet, wall.MaxThreads)
		}
		if tell {
			netTell()
		}
		if short && atomic.CompareAndSwapUint32(&net.short, 0, 1) {
			mem.lacks(poolSlab)
			say("eos: the enclave is out of memory for connections: build it with a larger --heap-size than ", (boot().HeapEnd-boot().HeapLo)>>20, "MiB\n")
		}
		// The host has taken what was in the ring. Whoever found it full hears
		// of that here: the host does not ring for it.
		if !bell || atomic.LoadUint32(&net.full) == 0 {
			return
		}
		lock(&netLock)
		roomCame()
	}
}

// netDie ends the channel: every connection is reset.
func netDie(s ring.Status, f wire.Fault) {
	if net.dead {
		return
	}
	net.dead, net.status, net.fault, net.tell = true, s, f, true
	net.tx.Kill(s)
	net.rx.Kill(s)
	net.oweHead, net.oweTail, net.full = 0, 0, 0
	for i := uint32(0); i < sockTop; i++ {
		s := sockAt(i)
		if s.state == sockFree {
			continue
		}
		s.owing, s.owes = false, 0
		if s.id != 0 {
			s.unname()
		}
		switch s.state {
		case sockAsking, sockListening:
			s.err = errIO
			for q := sockPop(s); q != nil; q = sockPop(s) {
				sockDrop(q)
			}
			s.state = sockDead
		case sockConnecting, sockOpen:
			s.discard()
			s.err = errConnReset
			s.refused = s.state == sockConnecting
			s.state = sockDead
		}
		s.changed(pollIn | pollOut | pollErr | pollHup | pollRdHup)
		sockDrop(s)
	}
}

// netTell says on stderr why the channel has ended.
func netTell() { sayEnd("data", net.status, net.fault) }

// sayEnd says on stderr why a channel has ended.
func sayEnd(which string, s ring.Status, f wire.Fault) {
	var line [200]byte
	n := copy(line[:], "eos: the ")
	n += copy(line[n:], which)
	n += copy(line[n:], " channel has ended: ")
	n += copy(line[n:], s.String())
	if f != wire.Sound {
		n += copy(line[n:], ": ")
		n += copy(line[n:], f.String())
	}
	n += copy(line[n:], "\n")
	stdioWrite(nil, 2, addrOf(&line), uint64(n))
}

// netLie ends the channel because of a message that was well-formed but must not
// have come.
func netLie() { netDie(ring.ErrMessage, wire.Sound) }

// owe sends the messages of bits as soon as there is room, which mostly is now.
func (s *sock) owe(bits uint32) {
	if net.dead || s.id == 0 {
		return
	}
	s.owes |= bits
	if !s.owing {
		s.owing, s.oweNext = true, 0
		if net.oweHead == 0 {
			net.oweHead = s.idx + 1
		} else {
			sockAt(net.oweTail - 1).oweNext = s.idx + 1
		}
		net.oweTail = s.idx + 1
	}
	netSend()
}

// netSend sends what is owed, as far as there is room.
func netSend() {
	for net.oweHead != 0 {
		s := sockAt(net.oweHead - 1)
		for s.owes != 0 {
			bit := s.owes & -s.owes
			if !s.send(bit) {
				if net.tx.Status() != ring.OK {
					netDie(net.tx.Status(), wire.Sound)
					return
				}
				atomic.StoreUint32(&net.full, 1)
				net.bell = true
				net.tx.Publish()
				return
			}
			s.owes &^= bit
		}
		net.oweHead = s.oweNext
		s.owing, s.oweNext = false, 0
		s.settle()
	}
	net.tx.Publish()
	net.bell = true
}

// send sends one message.
func (s *sock) send(bit uint32) bool {
	var text [64]byte // "[8 groups]:port"
	var buf [128]byte
	b := buf[:0]
	switch bit {
	case oweListen:
		b = wire.AppendListen(b, s.id, s.listenAddr(text[:0]), s.backlog)
	case oweConnect:
		b = wire.Append(b, wire.TcpConnect, s.id, wire.AppendAddr(text[:0], s.peer))
	case oweCredit:
		n := s.credit()
		if n == 0 {
			s.uncredited = 0
			s.windowTo(s.rxGrant + s.buffered)
			return true
		}
		b = wire.AppendCredit(b, s.id, n)
		if net.tx.Put(b, nil) != ring.OK {
			return false
		}
		s.rxGrant += n
		s.uncredited = 0
		s.windowTo(s.rxGrant + s.buffered)
		return true
	case oweFin:
		b = wire.Append(b, wire.TcpFin, s.id, nil)
	case oweClose:
		t := wire.TcpClose
		if s.opts[optLinger] != 0 && s.opts[optLingerTime] == 0 {
			t = wire.TcpReset
		}
		b = wire.Append(b, t, s.id, nil)
	}
	if net.tx.Put(b, nil) != ring.OK {
		return false
	}
	if bit == oweClose {
		s.weEnded = true
	}
	return true
}

// listenAddr is the address of a TcpListen. An empty host is both IPv4 and IPv6.
func (s *sock) listenAddr(b []byte) []byte {
	b = wire.AppendAddr(b, s.local)
	if s.family == afInet6 && !s.v6only && s.local.IP == ([16]byte{}) && !s.local.Is4 {
		b = append(b[:0], b[len("[::]"):]...)
	}
	return b
}

// roomCame goes on after the ring was full.
func roomCame() {
	if net.full == 0 || net.dead {
		return
	}
	if net.tx.Room() < wire.MaxControl {
		if net.tx.PrepareWait(wire.MaxControl) {
			return
		}
		if net.tx.Status() != ring.OK {
			netDie(net.tx.Status(), wire.Sound)
			return
		}
	}
	atomic.StoreUint32(&net.full, 0)
	net.tx.CancelWait()
	netSend()
	for i := uint32(0); i < sockTop && net.full == 0; i++ {
		if s := sockAt(i); s.state == sockOpen && s.noSpace {
			s.noSpace = false
			s.changed(pollOut)
		}
	}
}

// pumpLimit bounds the messages that are taken at one time.
const pumpLimit = 4096

// lookEvery is how often the host is asked to look at its sockets, in ns. The scheduler
// asks whenever a thread has nothing to do; then that thread tries to find work
// elsewhere and at last waits in the host, which looks first. Asking twice costs an OCALL
// more, and finds little that the wait does not.
const lookEvery = 100_000

// netPump takes the host's messages out of the ring. With look, the host looks at
// its sockets first, if there are none and it has not looked just now, or has to make
// room.
func netPump(t *thread, look bool) {
	if atomic.LoadUint32(&data.state) != channelReady {
		return
	}
	lock(&netLock)
	if !netReady() {
		netUnlock()
		return
	}
	if look && net.rx.Next() == ring.ErrEmpty && (net.full != 0 || now(false)-net.looked >= lookEvery) {
		net.bell = false
		unlock(&netLock)
		notify(wall.NotifyData, 1, 0, 0)
		lock(&netLock)
		net.looked = now(false)
	}
	netTake()
	netUnlock()
}

// netTake is netPump with netLock held.
func netTake() {
	for n := 0; !net.dead; n++ {
		st := net.rx.Next()
		if st == ring.OK && n < pumpLimit {
			netMessage()
			net.rx.Advance()
			continue
		}
		if net.rx.Release() {
			net.bell = true
		}
		switch {
		case st == ring.OK:
			net.events = true // somebody else shall go on
		case st != ring.ErrEmpty:
			netDie(st, wire.Sound)
			return
		case net.parked != 0 && !net.rx.PreparePark():
			// Those who are parked want to be rung still; but there is more.
			if n < pumpLimit {
				continue
			}
			net.events = true
		}
		break
	}
	roomCame()
}

// netPark tells the host that this thread is going to sleep until there are
// messages. False: it must not, there is something to be taken by netPump. The
// flag in the ring stays set as long as any thread sleeps; netUnpark ends it.
func netPark() bool {
	lock(&netLock)
	if netReady() && !net.rx.PreparePark() {
		unlock(&netLock)
		return false
	}
	net.parked++
	netUnlock()
	return true
}

func netUnpark() {
	lock(&netLock)
	net.looked = now(false)
	if net.parked--; net.parked == 0 && net.up {
		net.rx.CancelPark()
	}
	unlock(&netLock)
}
