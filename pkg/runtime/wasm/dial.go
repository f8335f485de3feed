package wasm

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
)

// guarded connects for apps. Whoever owns a name of an allow-list says where it leads, so
// a name leads to no service of the host's own, nor to the link's, where clouds have
// theirs: to reach those, the list must have the address itself, or localhost.
type guarded struct{ resolver *net.Resolver }

// DialContext implements Dialer.
func (g guarded) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Resolver: g.resolver}
	if _, err := netip.ParseAddr(host); err != nil && !strings.EqualFold(host, "localhost") {
		d.Control = func(_, address string, _ syscall.RawConn) error { return public(host, address) }
	}
	return d.DialContext(ctx, network, address)
}

// public refuses addresses that a name may not lead to.
func public(name, address string) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := a.Addr().Unmap()
	if ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return fmt.Errorf("%s leads to %s: the allow-list must have the address itself", name, ip)
	}
	return nil
}
