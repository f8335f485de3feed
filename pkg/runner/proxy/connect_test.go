//go:build linux

package proxy_test

import (
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runner/proxy"
)

func TestConnect(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, portText, _ := net.SplitHostPort(l.Addr().String())
	for _, to := range []string{l.Addr().String(), "localhost:" + portText} {
		e := start(t, proxy.Options{})
		id := e.id()
		e.send(wire.Append(nil, wire.TcpConnect, id, []byte(to)))
		local, peer := e.want(wire.TcpConnected, id).Connected()
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if string(local) != c.RemoteAddr().String() || string(peer) != l.Addr().String() {
			t.Errorf("%s: connected from %s to %s", to, local, peer)
		}
		e.data(id, "ping")
		b := make([]byte, 4)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "ping" {
			t.Errorf("%s: the server got %q, %v", to, b, err)
		}
		io.WriteString(c, "pong")
		if got := e.read(id, 4); got != "pong" {
			t.Errorf("%s: the enclave got %q", to, got)
		}
		c.Close()
		e.want(wire.TcpFin, id)
		e.shut(id)
		e.want(wire.TcpClose, id)
	}
}

func TestConnectErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	e := start(t, proxy.Options{})
	for _, tt := range []struct {
		to   string
		want syscall.Errno
		text string
	}{
		{nobody, syscall.ECONNREFUSED, "refused"},
		{"no-such-host.invalid:80", syscall.EHOSTUNREACH, "host's lookup of no-such-host.invalid"},
		{":80", syscall.EINVAL, "no host"},
	} {
		id := e.id()
		e.send(wire.Append(nil, wire.TcpConnect, id, []byte(tt.to)))
		errno, text := e.want(wire.TcpError, id).Failure()
		if errno != int32(tt.want) || !strings.Contains(string(text), tt.text) {
			t.Errorf("%s: errno %d, %q; want %d, %q", tt.to, errno, text, tt.want, tt.text)
		}
		e.shut(id)
	}
}

// The enclave gives up while the connection is being made.
func TestConnectThenClose(t *testing.T) {
	e := start(t, proxy.Options{})
	for _, to := range []string{"192.0.2.1:80", "no-such-host.invalid:80"} {
		id := e.id()
		e.put(wire.Append(nil, wire.TcpConnect, id, []byte(to)))
		e.put(wire.Append(nil, wire.TcpClose, id, nil))
		e.p.Flush()
		if m := e.recv(); m.ID != id || m.Type != wire.TcpClose && m.Type != wire.TcpError {
			t.Errorf("%s: %v of %#x", to, m.Type, m.ID)
		}
	}
}
