//go:build linux

package proxy_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runner/proxy"
)

// pipe is a connection of the enclave's as a net.Conn, so that Go's own resolver can
// be the one that asks the stub. It is used by one goroutine, which is the enclave.
type pipe struct {
	net.Conn // for the methods that nobody calls
	e        *enclave
	id       uint32
	rest     []byte
}

func (p *pipe) Write(b []byte) (int, error) {
	p.e.send(wire.Append(nil, wire.TcpData, p.id, b))
	return len(b), nil
}

func (p *pipe) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		switch m := p.e.recv(); m.Type {
		case wire.TcpData:
			p.rest = m.Payload
			p.e.send(wire.AppendCredit(nil, p.id, uint32(len(m.Payload))))
		default:
			return 0, io.EOF
		}
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func (e *enclave) openStub() *pipe {
	e.t.Helper()
	id := e.id()
	e.send(wire.Append(nil, wire.TcpConnect, id, []byte("127.0.0.53:53")))
	if _, peer := e.want(wire.TcpConnected, id).Connected(); string(peer) != "127.0.0.53:53" {
		e.t.Errorf("connected to %s", peer)
	}
	return &pipe{e: e, id: id}
}

// query is a DNS query over TCP, with its length before it.
func query(id uint16, name string, kind uint16) []byte {
	q := binary.BigEndian.AppendUint16(nil, id)
	q = append(q, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0) // recursion desired, one question
	for l := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		q = append(append(q, byte(len(l))), l...)
	}
	q = binary.BigEndian.AppendUint16(append(q, 0), kind)
	q = append(q, 0, 1)
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...)
}

func (p *pipe) answer() []byte {
	p.e.t.Helper()
	var l [2]byte
	if _, err := io.ReadFull(p, l[:]); err != nil {
		p.e.t.Fatal(err)
	}
	b := make([]byte, binary.BigEndian.Uint16(l[:]))
	if _, err := io.ReadFull(p, b); err != nil {
		p.e.t.Fatal(err)
	}
	return b
}

// An address that the host's hosts file knows comes back as a record.
func TestDNS(t *testing.T) {
	addrs, err := net.DefaultResolver.LookupNetIP(context.Background(), "ip4", "localhost")
	if err != nil || !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.Unmap() == netip.MustParseAddr("127.0.0.1") }) {
		t.Fatalf("this host does not know localhost: %v, %v", addrs, err)
	}
	e := start(t, proxy.Options{})
	s := e.openStub()
	q := query(0x1234, "localhost.", 1)
	for _, part := range [][]byte{q[:1], q[1:20], q[20:]} { // as a stream may cut it
		s.Write(part)
	}
	a := s.answer()
	want := append([]byte(nil), q[2:]...)
	want[2], want[3] = 0x81, 0x80
	if len(a) < len(want)+16 || a[0] != 0x12 || a[1] != 0x34 || a[2] != 0x81 || a[3] != 0x80 || !slices.Equal(a[12:len(want)], want[12:]) {
		t.Fatalf("answer % x to % x", a, q)
	}
	record := a[len(want) : len(want)+16]
	if !slices.Equal(record, []byte{0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 127, 0, 0, 1}) {
		t.Errorf("record % x", record)
	}
	if n := binary.BigEndian.Uint16(a[6:]); int(n)*16 != len(a)-len(want) {
		t.Errorf("%d records in %d bytes", n, len(a)-len(want))
	}

	// Several at once, and the client's end of its direction.
	s.Write(append(query(1, "localhost.", 1), query(2, "1.0.0.127.in-addr.arpa.", 12)...))
	s.e.send(wire.Append(nil, wire.TcpFin, s.id, nil))
	ids := []byte{s.answer()[1], s.answer()[1]}
	if slices.Sort(ids); !slices.Equal(ids, []byte{1, 2}) {
		t.Errorf("answers to %v", ids)
	}
	e.want(wire.TcpFin, s.id)
	e.shut(s.id)
	e.want(wire.TcpClose, s.id)
}

func TestDNSErrors(t *testing.T) {
	down := errors.New("resolver is down")
	e := start(t, proxy.Options{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, down }}})
	s := e.openStub()
	for _, tt := range []struct {
		name string
		q    []byte
		code byte
	}{
		{"resolver down", query(1, "name.example.", 1), 2},
		{"not an address below in-addr.arpa", query(1, "x.in-addr.arpa.", 12), 3},
		{"type without records", query(1, "localhost.", 99), 0},
		{"other class", func() []byte { q := query(1, "localhost.", 1); q[len(q)-1] = 3; return q }(), 4},
		{"other opcode", func() []byte { q := query(1, "localhost.", 1); q[4] |= 0x10; return q }(), 4},
		{"two questions", func() []byte { q := query(1, "localhost.", 1); q[7] = 2; return q }(), 1},
		{"an answer", func() []byte { q := query(1, "localhost.", 1); q[4] |= 0x80; return q }(), 1},
		{"name that is cut", func() []byte { q := query(1, "localhost.", 1); q[14] = 63; return q }(), 1},
		{"pointer in the name", func() []byte { q := query(1, "localhost.", 1); q[14] = 0xc0; return q }(), 1},
	} {
		s.Write(tt.q)
		if a := s.answer(); a[3]&15 != tt.code || binary.BigEndian.Uint16(a[6:]) != 0 {
			t.Errorf("%s: answer % x, want code %d", tt.name, a, tt.code)
		}
	}
	// What cannot be a query ends the connection.
	s.Write([]byte{0xff, 0xff, 1, 2, 3})
	e.want(wire.TcpError, s.id)
	e.shut(s.id)
}
