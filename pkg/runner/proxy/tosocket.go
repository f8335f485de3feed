//go:build linux

package proxy

import (
	"time"

	"golang.org/x/sys/unix"
)

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
