//go:build linux

package proxy

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/enclaveos/eos/pkg/channel"
	"github.com/enclaveos/eos/pkg/channel/wire"
)

// Publish maps a port that a program listens on to an address of the host.
type Publish struct {
	Host netip.AddrPort // an invalid address: the one that the program asked for
	Port uint16         // the program's port
}

// ParsePublish parses "[ip:]port:program-port" or "port".
func ParsePublish(s string) (Publish, error) {
	bad := fmt.Errorf("%q is not [ip:]port[:program port]", s)
	port := func(s string) (uint16, bool) {
		n, err := strconv.ParseUint(s, 10, 16)
		return uint16(n), err == nil
	}
	if n, ok := port(s); ok && n != 0 {
		return Publish{netip.AddrPortFrom(netip.Addr{}, n), n}, nil
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return Publish{}, bad
	}
	inner, ok := port(s[i+1:])
	if !ok || inner == 0 {
		return Publish{}, bad
	}
	if n, ok := port(s[:i]); ok {
		return Publish{netip.AddrPortFrom(netip.Addr{}, n), inner}, nil
	}
	ap, err := netip.ParseAddrPort(s[:i])
	if err != nil || ap.Addr().Zone() != "" {
		return Publish{}, bad
	}
	return Publish{ap, inner}, nil
}

// acceptTurn is how many connections a listener accepts before others have a turn.
const acceptTurn = 32

// listen makes a listener. Its address has an IP or nothing before the port. Nothing
// means both families, as far as the host has them; [::] means IPv6 alone.
func (p *Proxy) listen(c *sock, asked string, backlog int) {
	c.kind, c.asked = kindListener, asked
	host, port, _ := wire.SplitHostPort([]byte(asked))
	addr, both := netip.IPv6Unspecified(), len(host) == 0
	if !both {
		var err error
		if addr, err = netip.ParseAddr(string(host)); err != nil || addr.Zone() != "" {
			p.refuse(c, unix.EINVAL, "the host listens on IP addresses, not on "+strconv.Quote(string(host)))
			return
		}
	}
	at, mapped := netip.AddrPortFrom(addr, port), false
	for _, m := range p.opt.Publish {
		if m.Port == port {
			mapped = true
			if m.Host.Addr().IsValid() {
				at, both = m.Host, false
			} else {
				at = netip.AddrPortFrom(addr, m.Host.Port())
			}
		}
	}
	fd, got, err := listenSocket(at, both, backlog)
	if both && (err == unix.EAFNOSUPPORT || err == unix.EADDRNOTAVAIL) {
		fd, got, err = listenSocket(netip.AddrPortFrom(netip.IPv4Unspecified(), at.Port()), false, backlog) // a host without IPv6
	}
	if err != nil {
		if p.opt.Listening != nil {
			p.opt.Listening(asked, at.String(), err)
		}
		p.refuse(c, errnoOf(err), fmt.Sprintf("listen on %v: %v", at, err))
		return
	}
	c.fd = fd
	if err := p.watch(c, unix.EPOLLIN); err != nil {
		p.refuse(c, errnoOf(err), "epoll")
		return
	}
	if p.opt.Listening != nil {
		p.opt.Listening(asked, got.String(), nil)
	}
	says := got
	if mapped {
		says = netip.AddrPortFrom(addr, port) // the program need not know
	}
	c.hello = wire.Append(nil, wire.TcpListening, c.id, wire.AppendAddr(nil, wireAddr(says)))
	p.queue(c)
}

// listenSocket makes a listening socket, whose connections inherit its options. A
// socket for both families is one of IPv6 that takes IPv4 too.
func listenSocket(at netip.AddrPort, both bool, backlog int) (fd int, got netip.AddrPort, err error) {
	fd, err = tcpSocket(at.Addr())
	if err != nil {
		return -1, got, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
			fd = -1
		}
	}()
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return
	}
	if at.Addr().Is6() {
		only := 1
		if both {
			only = 0
		}
		if err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return
		}
	}
	if err = unix.Bind(fd, sockaddr(at)); err != nil {
		return
	}
	if err = unix.Listen(fd, backlog); err != nil {
		return
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return
	}
	return fd, addrPort(sa), nil
}

// accept accepts what is there, one turn of it. Each connection's TcpNew has to have
// room in the ring before it is accepted.
func (p *Proxy) accept(l *sock) channel.Status {
	for range acceptTurn {
		if p.conns >= p.opt.MaxConns || len(p.ids) >= maxIDs {
			p.paused = append(p.paused, l)
			l.readable = false
			return channel.OK
		}
		if p.h2e.Room() < wire.MaxControl {
			p.blocked = wire.MaxControl
			return statusOr(p.h2e.Status(), channel.ErrFull)
		}
		fd, sa, err := unix.Accept4(l.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
		case unix.EAGAIN:
			l.readable = false
			return channel.OK
		case unix.EINTR, unix.ECONNABORTED:
			continue
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			// Out of descriptors or memory: again when a connection has ended.
			p.paused = append(p.paused, l)
			l.readable = false
			return channel.OK
		default:
			p.closeFD(l)
			p.end(l, errnoOf(err), "accept")
			return channel.OK
		}
		c := &sock{kind: kindConn, id: p.ingressID(), fd: fd, grant: wire.FirstWindow, writable: true}
		p.conns++
		if err := p.watch(c, unix.EPOLLIN|unix.EPOLLRDHUP); err != nil {
			p.closeFD(c)
			continue
		}
		p.ids[c.id] = c
		p.stats.Accepted++
		p.stats.Peak = max(p.stats.Peak, p.conns)
		var local netip.AddrPort
		if sa, err := unix.Getsockname(fd); err == nil {
			local = addrPort(sa)
		}
		p.message = wire.AppendNew(p.message[:0], c.id, l.id, wireAddr(addrPort(sa)), wireAddr(local))
		if s := p.say(p.message); s != channel.OK {
			return s
		}
	}
	p.queue(l)
	return channel.OK
}

// ingressID is the next free id for a connection from outside.
func (p *Proxy) ingressID() uint32 {
	for {
		if p.nextID++; p.nextID > wire.MaxIngress {
			p.nextID = wire.MinIngress
		}
		if p.ids[p.nextID] == nil {
			return p.nextID
		}
	}
}

func statusOr(s, other channel.Status) channel.Status {
	if s != channel.OK {
		return s
	}
	return other
}
