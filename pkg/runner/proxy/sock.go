//go:build linux

package proxy

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/enclaveos/eos/pkg/channel/wire"
)

type kind uint8

const (
	kindConn       kind = iota // a connection
	kindConnecting             // a connection to be: names are resolved, or connect is under way
	kindListener
	kindStub // a connection to the resolver that the host plays
)

// sock is what an id stands for.
//
// The host ends an id by one TcpClose or TcpError, the enclave by one TcpClose; then
// it is forgotten. The socket is closed when there is no more use for it, which is
// earlier (it was reset) or later (it still has data for a slow client).
type sock struct {
	kind   kind
	id     uint32
	fd     int // -1: none
	slot   uint32
	queued bool // is in Proxy.ready

	// To the enclave, said in this order.
	hello    []byte // TcpNew, TcpConnected or TcpListening
	readable bool   // epoll said so, and no read has found the opposite
	hangup   bool   // the other end is known: a short read does not mean that it is empty
	pending  []byte // data that does not come from a socket (kindStub)
	grant    int    // bytes that may be sent to the enclave
	eof      bool   // all data was read
	finSaid  bool
	bye      []byte // TcpClose or TcpError
	ended    bool   // bye was said

	// From the enclave.
	outBuf       []byte // what the socket did not take,
	outOff       int    // from here on
	unacked      int    // bytes received and not given credit for
	consumed     int    // bytes of them that the socket has taken
	writable     bool
	wantOut      bool       // epoll tells of writability
	writeErr     unix.Errno // the socket takes no more
	fin          bool       // the enclave ends its direction
	finDone      bool
	enclaveEnded bool

	addrs []unix.Sockaddr // kindConnecting: what is left to be tried
	asked string          // kindListener
	query []byte          // kindStub: bytes of queries not yet complete
	asks  int             // kindStub: queries without an answer
}

// chunk is how much of a socket is read at a time before others have their turn.
const chunk = 64 << 10

// minRead is the room in the ring below which no socket is read: less would make
// many small messages.
const minRead = 2 << 10

// creditStep is how much a socket has to take before the enclave is told.
const creditStep = wire.Window / 4

// watch gives a socket to epoll.
func (p *Proxy) watch(c *sock, events uint32) error {
	if n := len(p.free); n > 0 {
		c.slot, p.free = p.free[n-1], p.free[:n-1]
	} else {
		c.slot = uint32(len(p.slots))
		p.slots = append(p.slots, nil)
	}
	p.slots[c.slot] = c
	c.wantOut = events&unix.EPOLLOUT != 0
	e := unix.EpollEvent{Events: events | unix.EPOLLET, Fd: int32(c.slot), Pad: int32(c.fd)}
	err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, c.fd, &e)
	if err != nil {
		p.slots[c.slot] = nil
		p.free = append(p.free, c.slot)
		c.slot = 0
	}
	return err
}

// bySlot finds the socket of an event. Events of a socket that was closed after
// epoll_wait find another one or none; one too many is harmless.
func (p *Proxy) bySlot(e *unix.EpollEvent) *sock {
	if e.Fd <= 0 || int(e.Fd) >= len(p.slots) {
		return nil
	}
	if c := p.slots[e.Fd]; c != nil && c.fd == int(e.Pad) {
		return c
	}
	return nil
}

func (p *Proxy) event1(e *unix.EpollEvent) {
	c := p.bySlot(e)
	if c == nil {
		return
	}
	if c.kind == kindConnecting {
		if e.Events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			p.connectDone(c)
		}
		return
	}
	if e.Events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0 && c.kind == kindConn {
		c.writable = true
		p.flushOut(c)
	}
	if e.Events&(unix.EPOLLRDHUP|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		c.hangup = true
	}
	if e.Events&^unix.EPOLLOUT != 0 {
		c.readable = true
		p.queue(c)
	}
}

// closeFD is done with the socket.
func (p *Proxy) closeFD(c *sock) {
	if c.fd < 0 {
		return
	}
	unix.Close(c.fd)
	c.fd = -1
	c.outBuf, c.outOff = nil, 0
	c.readable = false
	if c.slot != 0 {
		p.slots[c.slot] = nil
		p.free = append(p.free, c.slot)
		c.slot = 0
	}
	if c.kind == kindConn {
		p.gone()
	}
	delete(p.lingering, c)
}

// gone counts a connection that has ended.
func (p *Proxy) gone() {
	p.conns--
	p.resume()
}

// resume lets listeners accept again that could not.
func (p *Proxy) resume() {
	for _, l := range p.paused {
		if l.fd >= 0 {
			l.readable = true
			p.queue(l)
		}
	}
	p.paused = p.paused[:0]
}

// forget drops the id when both sides have ended it.
func (p *Proxy) forget(c *sock) {
	if c.ended && c.enclaveEnded {
		delete(p.ids, c.id)
	}
}

// end has the host end an id: by TcpError if errno is not 0. What was read before is
// told before.
func (p *Proxy) end(c *sock, errno unix.Errno, text string) {
	if c.bye != nil || c.ended {
		return
	}
	if errno != 0 {
		if text == "" {
			text = errno.Error()
		}
		c.bye = wire.AppendError(nil, c.id, int32(errno), text)
	} else {
		c.bye = wire.Append(nil, wire.TcpClose, c.id, nil)
	}
	p.queue(c)
}

// reset ends a connection that has broken.
func (p *Proxy) reset(c *sock, errno unix.Errno) {
	p.closeFD(c)
	p.end(c, errno, "")
}

func errnoOf(err error) unix.Errno {
	var e unix.Errno
	if errors.As(err, &e) && e != 0 {
		return e
	}
	return unix.EIO
}
