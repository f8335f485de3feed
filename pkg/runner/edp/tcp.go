package edp

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ConnectTCP connects to addr, "host:port", over TCP, trying each address of
// the host. It is what Options.Connect is by default, and what a hook can hand
// on to. Text of another form is ResultInvalidInput.
func ConnectTCP(ctx context.Context, addr string) (net.Conn, error) {
	addrs, err := resolve(ctx, addr)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	for _, a := range addrs {
		var c net.Conn
		if c, err = d.DialContext(ctx, "tcp", a.String()); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// BindTCP listens at addr, "host:port", over TCP. It is what Options.Bind is by
// default, and what a hook can hand on to.
func BindTCP(ctx context.Context, addr string) (net.Listener, error) {
	addrs, err := resolve(ctx, addr)
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	for _, a := range addrs {
		var l net.Listener
		if l, err = lc.Listen(ctx, "tcp", a.String()); err == nil {
			return l, nil
		}
	}
	return nil, err
}

// resolve turns "host:port" into addresses, at least one. The port is a
// number, never a service name.
func resolve(ctx context.Context, addr string) ([]netip.AddrPort, error) {
	if a, err := netip.ParseAddrPort(addr); err == nil {
		return []netip.AddrPort{a}, nil
	}
	i := strings.LastIndexByte(addr, ':')
	if i < 0 {
		return nil, ResultInvalidInput
	}
	port, err := strconv.ParseUint(addr[i+1:], 10, 16)
	if err != nil {
		return nil, ResultInvalidInput
	}
	// An empty host is no address to a resolver; to package net it would be
	// all of them.
	if i == 0 {
		return nil, ResultOther
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", addr[:i])
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, ResultOther
	}
	addrs := make([]netip.AddrPort, len(ips))
	for i, ip := range ips {
		addrs[i] = netip.AddrPortFrom(ip.Unmap(), uint16(port))
	}
	return addrs, nil
}

// addrText checks what the enclave passed as an address and copies it.
func addrText(b []byte) (string, error) {
	s := string(b)
	if !utf8.ValidString(s) {
		return "", ResultConnectionRefused
	}
	return s, nil
}

// netAddr is the text of an address for the enclave.
func netAddr(a net.Addr) string {
	if a == nil {
		return "error"
	}
	return a.String()
}
