//go:build linux

package proxy

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/enclaveos/eos/pkg/channel/wire"
)

// tcpSocket makes a non-blocking socket with the options that Go gives to each
// connection of its own: no delay, keep-alive after 15 s every 15 s.
func tcpSocket(a netip.Addr) (int, error) {
	family := unix.AF_INET6
	if a.Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, err
	}
	for _, o := range [...][3]int{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
	} {
		if err := unix.SetsockoptInt(fd, o[0], o[1], o[2]); err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// addrPort is the address of an IP socket; 0.0.0.0:0 of any other.
func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
}

func wireAddr(a netip.AddrPort) wire.Addr {
	w := wire.Addr{Port: a.Port()}
	switch {
	case a.Addr().Is4():
		w.Is4 = true
		v4 := a.Addr().As4()
		copy(w.IP[12:], v4[:])
	case a.Addr().Is6():
		w.IP = a.Addr().As16()
	default:
		w.Is4 = true
	}
	return w
}

func epollWait(fd int, events []unix.EpollEvent, ms int) (int, error) {
	if ms == 0 {
		return epollLook(fd, events)
	}
	for {
		n, err := unix.EpollWait(fd, events, ms)
		if err == unix.EINTR {
			if ms > 0 {
				return 0, nil // the caller knows what time is left
			}
			continue
		}
		return max(n, 0), err
	}
}
