//go:build linux

package proxy_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runner/proxy"
)

func TestListenErrors(t *testing.T) {
	e := start(t, proxy.Options{})
	_, addr := e.listen("127.0.0.1:0")
	for _, tt := range []struct {
		addr string
		want syscall.Errno
	}{
		{addr, syscall.EADDRINUSE},
		{"192.0.2.77:0", syscall.EADDRNOTAVAIL},
		{"localhost:0", syscall.EINVAL},
	} {
		id := e.id()
		e.send(wire.AppendListen(nil, id, []byte(tt.addr), 1))
		errno, text := e.want(wire.TcpError, id).Failure()
		if errno != int32(tt.want) || len(text) == 0 {
			t.Errorf("%s: errno %d, %q; want %d", tt.addr, errno, text, tt.want)
		}
		e.shut(id)
	}
	// An id that both have ended may be used again.
	e.send(wire.AppendListen(nil, e.next-1, []byte("127.0.0.1:0"), 1))
	e.want(wire.TcpListening, e.next-1)
}

// No host means both families, where there are two; [::] means IPv6 alone.
func TestListenEverywhere(t *testing.T) {
	e := start(t, proxy.Options{})
	l, addr := e.listen(":0")
	e.accept(l, fmt.Sprintf("127.0.0.1:%d", port(t, addr)))
	l4, addr := e.listen("0.0.0.0:0")
	e.accept(l4, fmt.Sprintf("127.0.0.1:%d", port(t, addr)))
	id := e.id()
	e.send(wire.AppendListen(nil, id, []byte("[::]:0"), 1))
	switch m := e.recv(); m.Type {
	case wire.TcpListening:
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port(t, string(m.Payload)))); err == nil {
			c.Close()
			t.Error("[::] takes IPv4 connections")
		}
		e.accept(id, fmt.Sprintf("[::1]:%d", port(t, string(m.Payload))))
	case wire.TcpError: // a host without IPv6 says so
		if errno, _ := m.Failure(); errno != int32(syscall.EAFNOSUPPORT) && errno != int32(syscall.EADDRNOTAVAIL) {
			t.Errorf("errno %d", errno)
		}
	}
}

func TestPublish(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	var asked, got string
	var failed error
	o := proxy.Options{Listening: func(a, g string, err error) { asked, got, failed = a, g, err }}
	for _, s := range []string{"127.0.0.1:0:8443", taken.Addr().String() + ":8444"} {
		m, err := proxy.ParsePublish(s)
		if err != nil {
			t.Fatal(err)
		}
		o.Publish = append(o.Publish, m)
	}
	e := start(t, o)
	l, says := e.listen("0.0.0.0:8443")
	if says != "0.0.0.0:8443" || asked != "0.0.0.0:8443" || !strings.HasPrefix(got, "127.0.0.1:") || failed != nil {
		t.Errorf("the program is told %s, people are told %s for %s, %v", says, got, asked, failed)
	}
	e.accept(l, got)
	// What people are told of an address that is taken is not the program's.
	id := e.id()
	e.send(wire.AppendListen(nil, id, []byte("0.0.0.0:8444"), 10))
	e.want(wire.TcpError, id)
	if asked != "0.0.0.0:8444" || got != taken.Addr().String() || !errors.Is(failed, syscall.EADDRINUSE) {
		t.Errorf("people are told %s for %s, %v", got, asked, failed)
	}
}

func TestParsePublish(t *testing.T) {
	for s, want := range map[string]proxy.Publish{
		"8080":                  {Host: netip.AddrPortFrom(netip.Addr{}, 8080), Port: 8080},
		"8080:80":               {Host: netip.AddrPortFrom(netip.Addr{}, 8080), Port: 80},
		"127.0.0.1:8080:80":     {Host: netip.MustParseAddrPort("127.0.0.1:8080"), Port: 80},
		"[::1]:8080:80":         {Host: netip.MustParseAddrPort("[::1]:8080"), Port: 80},
		"":                      {},
		"x":                     {},
		"80:x":                  {},
		"80:0":                  {},
		"80:65536":              {},
		"localhost:80:80":       {},
		"127.0.0.1:80:80:80":    {},
		"[fe80::1%lo]:8080:443": {},
	} {
		got, err := proxy.ParsePublish(s)
		if (err == nil) != (want != proxy.Publish{}) || err == nil && got != want {
			t.Errorf("%q: %v, %v; want %v", s, got, err, want)
		}
	}
}
