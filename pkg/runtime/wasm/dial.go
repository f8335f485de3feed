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
	ip := plainIP(a.Addr())
	if clouds.Contains(ip) || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return fmt.Errorf("%s leads to %s: the allow-list must have the address itself", name, ip)
	}
	return nil
}

var (
	clouds = netip.MustParsePrefix("fd00:ec2::/32") // the link's services of AWS in IPv6
	nat64  = netip.MustParsePrefix("64:ff9b::/96")  // RFC 6052
)

// plainIP is the address of IPv4 that one of IPv6 stands for, or else the address.
func plainIP(ip netip.Addr) netip.Addr {
	if ip = ip.Unmap().WithZone(""); nat64.Contains(ip) {
		b := ip.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return ip
}
