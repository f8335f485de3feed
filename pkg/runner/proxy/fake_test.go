//go:build linux

package proxy_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/channel"
	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runner/proxy"
)

// enclave plays the enclave's side of the wall, in one goroutine.
type enclave struct {
	t    testing.TB
	p    *proxy.Proxy
	out  channel.Producer
	in   channel.Consumer
	next uint32
}

func start(t testing.TB, o proxy.Options) *enclave {
	t.Helper()
	p, err := proxy.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(0) })
	e := &enclave{t: t, p: p, next: wire.MinOutbound}
	e2h, h2e := p.Rings()
	if s := e.out.Init(e2h.Header, e2h.Bytes, e2h.Capacity); s != channel.OK {
		t.Fatal(s)
	}
	if s := e.in.Init(h2e.Header, h2e.Bytes, h2e.Capacity); s != channel.OK {
		t.Fatal(s)
	}
	return e
}

// id is a new id of the enclave's.
func (e *enclave) id() uint32 {
	e.next++
	return e.next - 1
}

// put writes a message without telling the host.
func (e *enclave) put(m []byte) {
	e.t.Helper()
	for {
		s := e.out.Put(m, nil)
		if s == channel.ErrFull {
			e.out.Publish()
			e.p.Flush()
			continue
		}
		if s != channel.OK {
			e.t.Fatal("put:", s)
		}
		break
	}
	e.out.Publish()
}

func (e *enclave) send(m []byte) {
	e.t.Helper()
	e.put(m)
	e.p.Flush()
}

func (e *enclave) data(id uint32, b string) {
	e.t.Helper()
	e.send(wire.Append(nil, wire.TcpData, id, []byte(b)))
}

// try takes the next message, if there is one.
func (e *enclave) try() (wire.Message, bool) {
	e.t.Helper()
	switch s := e.in.Next(); s {
	case channel.OK:
	case channel.ErrEmpty:
		if e.in.Release() {
			e.p.Flush()
		}
		return wire.Message{}, false
	default:
		e.t.Fatal("next:", s)
	}
	b := make([]byte, e.in.Len())
	e.in.Copy(b, 0)
	e.in.Advance()
	m, f := wire.Parse(b, wire.FromHost)
	if f != wire.Sound {
		e.t.Fatalf("the host sent %x: %v", b, f)
	}
	return m, true
}

// recv waits for the next message; a test that hangs here is ended by go test.
func (e *enclave) recv() wire.Message {
	e.t.Helper()
	for {
		if m, ok := e.try(); ok {
			return m
		}
		if err := e.p.Err(); err != nil {
			e.t.Fatal("the data plane has ended:", err)
		}
		if e.in.PreparePark() {
			e.p.Poll(-1)
		}
		e.in.CancelPark()
	}
}

// want waits for the next message and holds its type and id.
func (e *enclave) want(t wire.Type, id uint32) wire.Message {
	e.t.Helper()
	m := e.recv()
	if m.Type != t || m.ID != id {
		e.t.Fatalf("got %v of id %#x with %q, want %v of %#x", m.Type, m.ID, m.Payload, t, id)
	}
	return m
}

// listen makes a listener and gives its id and address.
func (e *enclave) listen(addr string) (uint32, string) {
	e.t.Helper()
	id := e.id()
	e.send(wire.AppendListen(nil, id, []byte(addr), 128))
	return id, string(e.want(wire.TcpListening, id).Payload)
}

// accept dials the address and takes the connection on the enclave's side.
func (e *enclave) accept(listener uint32, addr string) (uint32, *net.TCPConn) {
	e.t.Helper()
	c := dial(e.t, addr)
	m := e.recv()
	if m.Type != wire.TcpNew {
		e.t.Fatalf("got %v, want TcpNew", m.Type)
	}
	l, peer, local := m.New()
	if l != listener || string(peer) != c.LocalAddr().String() || string(local) != c.RemoteAddr().String() {
		e.t.Fatalf("TcpNew of listener %#x, peer %s, local %s; the client is %v to %v", l, peer, local, c.LocalAddr(), c.RemoteAddr())
	}
	return m.ID, c
}

func (e *enclave) shut(id uint32) {
	e.t.Helper()
	e.send(wire.Append(nil, wire.TcpClose, id, nil))
}

// read takes TcpData of an id until n bytes are there.
func (e *enclave) read(id uint32, n int) string {
	e.t.Helper()
	var b []byte
	for len(b) < n {
		b = append(b, e.want(wire.TcpData, id).Payload...)
	}
	return string(b)
}

// dead wants the data plane to end for a reason.
func (e *enclave) dead(s channel.Status) {
	e.t.Helper()
	e.p.Flush()
	wantDead(e.t, e.p, s)
}

func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute)) // a test that fails should not hang
	return c.(*net.TCPConn)
}

func port(t testing.TB, addr string) uint16 {
	t.Helper()
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return ap.Port()
}

// want2 waits for a message of one of two types.
func (e *enclave) want2(a, b wire.Type, id uint32) wire.Message {
	e.t.Helper()
	m := e.recv()
	if m.Type != a && m.Type != b || m.ID != id {
		e.t.Fatalf("got %v of id %#x, want %v or %v of %#x", m.Type, m.ID, a, b, id)
	}
	return m
}
