//go:build linux

package proxy

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/enclaveos/eos/pkg/channel"
	"github.com/enclaveos/eos/pkg/channel/wire"
)

// drain takes all messages of the enclave's.
func (p *Proxy) drain() {
	for p.err == nil {
		switch s := p.e2h.Next(); s {
		case channel.OK:
			p.take()
			p.e2h.Advance()
			if p.e2h.Unreleased() >= p.opt.Capacity/4 {
				p.release()
			}
		case channel.ErrEmpty:
			p.release()
			return
		default:
			p.lie(s, "ring from the enclave")
			return
		}
	}
}

func (p *Proxy) release() {
	if p.e2h.Release() {
		p.bell = true
	}
}

// take takes the current message.
func (p *Proxy) take() {
	n := p.e2h.Len()
	var h [wire.HeaderSize]byte
	p.e2h.Copy(h[:], 0)
	t, id, f := wire.Header(&h, n, wire.FromEnclave)
	if f != wire.Sound {
		p.lie(channel.ErrMessage, "message of %d bytes beginning with %x: %v", n, h, f)
		return
	}
	if t == wire.TcpData {
		p.data(id, int(n-wire.HeaderSize))
		return
	}
	// From here on only the copy counts.
	b := p.control[:p.e2h.Copy(p.control[:], 0)]
	m, f := wire.Parse(b, wire.FromEnclave)
	if f != wire.Sound || uint64(len(b)) != n {
		p.lie(channel.ErrMessage, "%v of id %#x: %v", t, id, f)
		return
	}
	switch m.Type {
	case wire.DataReady:
		return
	case wire.TcpListen, wire.TcpConnect:
		if p.ids[m.ID] != nil {
			p.lie(channel.ErrMessage, "%v with id %#x, which is in use", m.Type, m.ID)
			return
		}
		if len(p.ids) >= maxIDs {
			p.lie(channel.ErrMessage, "more than %d ids that it has not closed", maxIDs)
			return
		}
		c := &sock{id: m.ID, fd: -1, grant: wire.FirstWindow}
		p.ids[m.ID] = c
		if m.Type == wire.TcpListen {
			addr, backlog, _ := m.Listen()
			p.listen(c, string(addr), int(backlog))
		} else {
			p.connect(c, string(m.Payload))
		}
		return
	}
	c := p.ids[m.ID]
	if c == nil {
		p.lie(channel.ErrMessage, "%v for id %#x, which is not in use", m.Type, m.ID)
		return
	}
	if m.Type == wire.TcpClose || m.Type == wire.TcpReset {
		p.enclaveClose(c, m.Type == wire.TcpReset)
		return
	}
	if c.bye != nil || c.ended {
		return // it crosses our word that this id has ended
	}
	if c.kind != kindConn && c.kind != kindStub || c.enclaveEnded {
		p.lie(channel.ErrMessage, "%v for id %#x, which is not a connection", m.Type, m.ID)
		return
	}
	switch m.Type {
	case wire.TcpFin:
		if c.fin {
			p.lie(channel.ErrMessage, "second TcpFin of id %#x", m.ID)
			return
		}
		c.fin = true
		if c.kind == kindStub {
			p.stubFin(c)
			return
		}
		p.flushOut(c)
	case wire.TcpCredit:
		n := m.Credit()
		if uint64(n) > uint64(wire.Window-c.grant) {
			p.lie(channel.ErrCreditAbused, "credit of %d bytes for id %#x on top of %d", n, m.ID, c.grant)
			return
		}
		c.grant += int(n)
		if c.readable || len(c.pending) > 0 {
			p.queue(c)
		}
	}
}

// data takes a TcpData with n bytes, without a copy if the socket takes them at once.
func (p *Proxy) data(id uint32, n int) {
	c := p.ids[id]
	switch {
	case c == nil:
		p.lie(channel.ErrMessage, "TcpData for id %#x, which is not in use", id)
		return
	case c.bye != nil || c.ended:
		return
	case c.kind != kindConn && c.kind != kindStub || c.enclaveEnded:
		p.lie(channel.ErrMessage, "TcpData for id %#x, which is not a connection", id)
		return
	case c.fin:
		p.lie(channel.ErrMessage, "TcpData behind the TcpFin of id %#x", id)
		return
	}
	if c.unacked += n; c.unacked > wire.Window {
		p.lie(channel.ErrCreditAbused, "%d bytes for id %#x without credit", c.unacked-wire.Window, id)
		return
	}
	a, b := p.e2h.Spans(wire.HeaderSize)
	for _, part := range [][]byte{a, b} {
		switch {
		case len(part) == 0:
		case c.kind == kindStub:
			p.stubData(c, part)
		default:
			p.send(c, part)
		}
	}
}

// enclaveClose takes the enclave's end of an id.
func (p *Proxy) enclaveClose(c *sock, reset bool) {
	if c.enclaveEnded {
		p.lie(channel.ErrMessage, "second TcpClose of id %#x", c.id)
		return
	}
	c.enclaveEnded = true
	c.hello, c.pending = nil, nil
	switch {
	case c.kind == kindConn && c.fd >= 0 && reset:
		// What the peer has not had it does not get: closing sends RST.
		_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		p.closeFD(c)
	case c.kind == kindConn && c.outLen() > 0 && c.fd >= 0:
		p.lingering[c] = time.Now().Add(lingerTime)
		c.fin = true
	default:
		p.closeFD(c)
	}
	p.end(c, 0, "")
	p.forget(c)
}

// refuse ends an id that has not come to be a connection or listener.
func (p *Proxy) refuse(c *sock, errno unix.Errno, text string) {
	p.stats.Failed++
	c.kind = kindConnecting
	p.closeFD(c)
	p.end(c, errno, text)
}
