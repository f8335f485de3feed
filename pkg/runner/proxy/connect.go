//go:build linux

package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/enclaveos/eos/pkg/channel/wire"
)

// resolverAddr is where the enclave's resolver looks for its name server.
const resolverAddr = "127.0.0.53:53"

// resolveTime bounds a look-up.
const resolveTime = 15 * time.Second

// connect begins a connection. The host resolves names.
func (p *Proxy) connect(c *sock, to string) {
	c.kind = kindConnecting
	if to == resolverAddr {
		p.openStub(c)
		return
	}
	if p.conns >= p.opt.MaxConns {
		p.refuse(c, unix.EAGAIN, "too many connections")
		return
	}
	host, port, _ := wire.SplitHostPort([]byte(to))
	if len(host) == 0 {
		p.refuse(c, unix.EINVAL, "no host to connect to")
		return
	}
	if a, err := netip.ParseAddr(string(host)); err == nil {
		c.addrs = []unix.Sockaddr{sockaddr(netip.AddrPortFrom(a, port))}
		p.connectNext(c, unix.EHOSTUNREACH)
		return
	}
	name := string(host)
	go func() {
		ctx, cancel := context.WithTimeout(p.ctx, resolveTime)
		defer cancel()
		addrs, err := p.opt.Resolver.LookupNetIP(ctx, "ip", name)
		p.later(func() {
			if p.ids[c.id] != c || c.enclaveEnded {
				return
			}
			if err != nil || len(addrs) == 0 {
				p.refuse(c, unix.EHOSTUNREACH, lookupText(name, err))
				return
			}
			for _, a := range addrs {
				c.addrs = append(c.addrs, sockaddr(netip.AddrPortFrom(a.Unmap(), port)))
			}
			p.connectNext(c, unix.EHOSTUNREACH)
		})
	}()
}

// lookupText says that it was the host that did not find a name, and why.
func lookupText(name string, err error) string {
	var d *net.DNSError
	switch {
	case err == nil:
		return fmt.Sprintf("host's lookup of %s: no addresses", name)
	case errors.As(err, &d):
		return fmt.Sprintf("host's lookup of %s: %s", name, d.Err)
	}
	return fmt.Sprintf("host's lookup of %s: %v", name, err)
}

// connectNext tries the next address; last is why the one before failed.
func (p *Proxy) connectNext(c *sock, last unix.Errno) {
	for len(c.addrs) > 0 {
		to := c.addrs[0]
		c.addrs = c.addrs[1:]
		fd, err := tcpSocket(addrPort(to).Addr())
		if err != nil {
			last = errnoOf(err)
			continue
		}
		c.fd = fd
		err = unix.Connect(fd, to)
		if err == nil || err == unix.EINPROGRESS {
			if err := p.watch(c, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP); err != nil {
				last = errnoOf(err)
				p.closeFD(c)
				continue
			}
			return // epoll tells, even if it is connected already
		}
		last = errnoOf(err)
		p.closeFD(c)
	}
	p.refuse(c, last, "")
}

// connectDone looks at what became of a connect.
func (p *Proxy) connectDone(c *sock) {
	errno, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		errno = int(errnoOf(err))
	}
	var peer unix.Sockaddr
	if errno == 0 {
		if peer, err = unix.Getpeername(c.fd); err == unix.ENOTCONN {
			return // not yet
		} else if err != nil {
			errno = int(errnoOf(err))
		}
	}
	if errno != 0 {
		p.closeFD(c)
		p.connectNext(c, unix.Errno(errno))
		return
	}
	var local netip.AddrPort
	if sa, err := unix.Getsockname(c.fd); err == nil {
		local = addrPort(sa)
	}
	c.kind, c.writable, c.addrs = kindConn, true, nil
	p.conns++
	p.stats.Connected++
	p.stats.Peak = max(p.stats.Peak, p.conns)
	c.hello = wire.AppendConnected(nil, c.id, wireAddr(local), wireAddr(addrPort(peer)))
	c.readable = true // an event that came with this one would be lost
	p.queue(c)
}
