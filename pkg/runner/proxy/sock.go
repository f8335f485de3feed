//go:build linux

package proxy

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/enclaveos/eos/pkg/channel"
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

// queue notes that a socket has something for the enclave.
func (p *Proxy) queue(c *sock) {
	if !c.queued {
		c.queued = true
		p.ready = append(p.ready, c)
	}
}

// fill gives each socket that has something for the enclave a turn, until the ring
// is full, and publishes it all at once.
func (p *Proxy) fill() {
	if p.blocked != 0 {
		p.h2e.CancelWait()
		p.blocked = 0
	}
again:
	for n := len(p.ready) - p.readyHead; n > 0 && p.err == nil; n-- {
		c := p.ready[p.readyHead]
		p.ready[p.readyHead] = nil
		p.readyHead++
		c.queued = false
		if s := p.tell(c); s != channel.OK {
			if s != channel.ErrFull {
				p.lie(s, "ring to the enclave")
				return
			}
			p.readyHead--
			p.ready[p.readyHead] = c
			c.queued = true
			p.stats.Full++
			break
		}
		p.blocked = 0
	}
	if p.readyHead == len(p.ready) {
		p.ready, p.readyHead = p.ready[:0], 0
	} else if p.readyHead > 1024 && p.readyHead > len(p.ready)/2 {
		n := copy(p.ready, p.ready[p.readyHead:])
		clear(p.ready[n:])
		p.ready, p.readyHead = p.ready[:n], 0
	}
	p.h2e.Publish() // Poll returns, or Flush kicks it: the doorbell is that
	if p.blocked != 0 && !p.h2e.PrepareWait(p.blocked) {
		if s := p.h2e.Status(); s != channel.OK {
			p.lie(s, "ring to the enclave")
			return
		}
		p.blocked = 0
		goto again // it has made room meanwhile
	}
}

// say puts one message into the ring.
func (p *Proxy) say(m []byte) channel.Status {
	s := p.h2e.Put(m, nil)
	if s == channel.ErrFull {
		p.blocked = uint64(len(m))
	}
	return s
}

// tell says what there is to say of one socket, in order.
func (p *Proxy) tell(c *sock) channel.Status {
	if c.ended {
		return channel.OK
	}
	if c.hello != nil {
		if s := p.say(c.hello); s != channel.OK {
			return s
		}
		c.hello = nil
	}
	if c.kind == kindListener && c.readable && c.bye == nil {
		if s := p.accept(c); s != channel.OK {
			return s
		}
	}
	if c.writeErr != 0 && (c.eof || c.grant == 0) && !c.enclaveEnded && c.bye == nil {
		// No read will find out: without this the enclave would go on to write
		// to nobody.
		p.reset(c, c.writeErr)
	}
	if c.consumed >= creditStep && !c.enclaveEnded && c.bye == nil {
		p.message = wire.AppendCredit(p.message[:0], c.id, uint32(c.consumed))
		if s := p.say(p.message); s != channel.OK {
			return s
		}
		c.unacked -= c.consumed
		c.consumed = 0
	}
	if !c.enclaveEnded && c.grant > 0 {
		var s channel.Status
		if c.kind == kindConn && c.readable && !c.eof {
			s = p.read(c)
		} else if c.kind == kindStub && len(c.pending) > 0 {
			s = p.readPending(c)
		}
		if s != channel.OK {
			return s
		}
	}
	if c.eof && !c.finSaid && !c.enclaveEnded && c.bye == nil {
		p.message = wire.Append(p.message[:0], wire.TcpFin, c.id, nil)
		if s := p.say(p.message); s != channel.OK {
			return s
		}
		c.finSaid = true
	}
	if c.bye != nil {
		if s := p.say(c.bye); s != channel.OK {
			return s
		}
		c.bye, c.ended = nil, true
		p.forget(c)
	}
	return channel.OK
}

// reserve makes room for a TcpData with up to want bytes and writes its header.
func (p *Proxy) reserve(c *sock, want int) (a []byte, s channel.Status) {
	if s = p.h2e.Reserve(uint64(wire.HeaderSize + want)); s == channel.ErrFull {
		least := min(want, minRead)
		room := p.h2e.Room()
		if room < uint64(wire.HeaderSize+least) {
			p.blocked = uint64(wire.HeaderSize + least)
			return nil, s
		}
		s = p.h2e.Reserve(min(room, uint64(wire.HeaderSize+want)))
	}
	if s != channel.OK {
		return nil, s
	}
	p.message = wire.AppendHeader(p.message[:0], wire.TcpData, c.id)
	p.h2e.Fill(0, p.message)
	a, _ = p.h2e.Spans(wire.HeaderSize) // a message that wraps ends at the ring's end
	return a, channel.OK
}

func (p *Proxy) commit(c *sock, n int) {
	p.h2e.Commit(uint64(wire.HeaderSize + n))
	c.grant -= n
	p.stats.In += uint64(n)
}

// read moves up to a chunk from the socket into the ring.
func (p *Proxy) read(c *sock) channel.Status {
	a, s := p.reserve(c, min(c.grant, chunk, int(p.opt.Capacity/4)))
	if s != channel.OK {
		return s
	}
	n, err := readSocket(c.fd, a)
	switch {
	case err == unix.EAGAIN:
		c.readable = false
		return channel.OK
	case err != 0:
		if c.writeErr != 0 {
			err = c.writeErr
		}
		p.reset(c, err)
		return channel.OK
	case n == 0:
		c.eof, c.readable = true, false
		if c.writeErr != 0 {
			p.reset(c, c.writeErr)
		}
		return channel.OK
	}
	p.commit(c, n)
	if n < len(a) && !c.hangup {
		c.readable = false // there was no more
	}
	if c.readable && c.grant > 0 {
		p.queue(c)
	}
	return channel.OK
}

func (p *Proxy) readPending(c *sock) channel.Status {
	a, s := p.reserve(c, min(c.grant, len(c.pending), chunk, int(p.opt.Capacity/4)))
	if s != channel.OK {
		return s
	}
	n := copy(a, c.pending)
	c.pending = c.pending[n:]
	p.commit(c, n)
	if len(c.pending) > 0 && c.grant > 0 {
		p.queue(c)
	}
	return channel.OK
}

// reset ends a connection that has broken.
func (p *Proxy) reset(c *sock, errno unix.Errno) {
	p.closeFD(c)
	p.end(c, errno, "")
}

// send gives data of the enclave to a connection's socket, and what that does not
// take to its buffer.
func (p *Proxy) send(c *sock, b []byte) {
	if c.writeErr != 0 || c.fd < 0 {
		p.taken(c, len(b))
		return
	}
	if c.outLen() == 0 && c.writable {
		b = b[p.write(c, b):]
		if c.writeErr != 0 {
			p.taken(c, len(b))
			return
		}
	}
	if len(b) == 0 {
		return
	}
	if c.outOff > 0 && len(c.outBuf)+len(b) > cap(c.outBuf) {
		c.outBuf = c.outBuf[:copy(c.outBuf, c.outBuf[c.outOff:])]
		c.outOff = 0
	}
	c.outBuf = append(c.outBuf, b...)
}

// outLen is how much the socket has not taken yet.
func (c *sock) outLen() int { return len(c.outBuf) - c.outOff }

// write writes as much as the socket takes.
func (p *Proxy) write(c *sock, b []byte) (done int) {
	for len(b) > 0 && c.writable {
		n, err := writeSocket(c.fd, b)
		switch {
		case err == unix.EAGAIN:
			c.writable = false
			if !c.wantOut {
				c.wantOut = true
				e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLOUT | unix.EPOLLET, Fd: int32(c.slot), Pad: int32(c.fd)}
				if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_MOD, c.fd, &e); err != nil {
					c.writeErr = unix.ECONNABORTED
				}
			}
		case err != 0:
			// What came before the other end went away can still be read; then
			// the enclave is told.
			c.writeErr, c.hangup, c.readable = err, true, true
			p.queue(c)
			return done
		default:
			done += n
			b = b[n:]
			p.stats.Out += uint64(n)
			p.taken(c, n)
		}
	}
	return done
}

// taken counts bytes of the enclave's that need no more room here.
func (p *Proxy) taken(c *sock, n int) {
	c.consumed += n
	if c.consumed >= creditStep {
		p.queue(c)
	}
}

// flushOut writes what a socket did not take before, then does what was to be done
// behind it.
func (p *Proxy) flushOut(c *sock) {
	if c.fd < 0 {
		return
	}
	if c.outLen() > 0 {
		c.outOff += p.write(c, c.outBuf[c.outOff:])
		if c.writeErr != 0 {
			p.taken(c, c.outLen())
			c.outOff = len(c.outBuf)
		}
	}
	if c.outLen() > 0 {
		return
	}
	c.outBuf, c.outOff = c.outBuf[:0], 0
	if cap(c.outBuf) > chunk {
		c.outBuf = nil // most connections never need it again
	}
	if c.fin && !c.finDone {
		c.finDone = true
		if c.writeErr == 0 {
			unix.Shutdown(c.fd, unix.SHUT_WR)
		}
	}
	if c.enclaveEnded {
		p.closeFD(c)
	}
}

// endLingering closes what has had its time.
func (p *Proxy) endLingering(now time.Time) {
	for c, t := range p.lingering {
		if now.After(t) {
			p.closeFD(c)
		}
	}
}

func errnoOf(err error) unix.Errno {
	var e unix.Errno
	if errors.As(err, &e) && e != 0 {
		return e
	}
	return unix.EIO
}
