//go:build linux

package proxy

import (
	"golang.org/x/sys/unix"

	"github.com/enclaveos/eos/pkg/channel"
	"github.com/enclaveos/eos/pkg/channel/wire"
)

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
