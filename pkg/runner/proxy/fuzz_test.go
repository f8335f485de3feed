//go:build linux

package proxy

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"testing"

	"github.com/enclaveos/eos/pkg/channel"
	"github.com/enclaveos/eos/pkg/channel/wire"
)

// FuzzAnswer has an enclave ask anything of the name server.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'x', 0, 0, 1, 0, 1})
	f.Add([]byte{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, '1', 7, 'i', 'n', '-', 'a', 'd', 'd', 'r', 4, 'a', 'r', 'p', 'a', 0, 0, 12, 0, 1})
	r := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("down") }}
	f.Fuzz(func(t *testing.T, q []byte) {
		if len(q) < 12 || len(q) > dnsMaxQuery {
			return // refused before
		}
		a := answer(t.Context(), r, q)
		if len(a) < 12 || len(a) > 0xffff || a[0] != q[0] || a[1] != q[1] || a[2]&0x80 == 0 {
			t.Fatalf("% x is answered by % x", q, a)
		}
		if n := binary.BigEndian.Uint16(a[4:]); n > 1 || n == 1 && string(a[12:min(len(a), 14)]) != string(q[12:14]) {
			t.Fatalf("% x is answered by % x", q, a)
		}
	})
}

// FuzzName: what is read as a name becomes the same bytes again.
func FuzzName(f *testing.F) {
	f.Add([]byte("\x03www\x07example\x03com\x00rest"))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		name, rest, ok := dnsNameOf(b)
		if !ok {
			return
		}
		again, ok := dnsNameBytes(name)
		if !ok || string(again)+string(rest) != string(b) {
			t.Fatalf("%q becomes %q and %q", b, again, rest)
		}
	})
}

func FuzzParsePublish(f *testing.F) {
	for _, s := range []string{"80", "8080:80", "127.0.0.1:8080:80", "[::1]:1:2", ":", "a:b:c", "00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParsePublish(s)
		if (err == nil) != (m.Port != 0) || err != nil && m != (Publish{}) {
			t.Fatalf("%q: %v, %v", s, m, err)
		}
	})
}

// FuzzEnclave has an enclave say anything, with a connection there to say it of. It
// may end the data plane; it must not do more.
func FuzzEnclave(f *testing.F) {
	f.Add([]byte{5, byte(wire.TcpData), 1, 0, 0, 0, 'x', 4, byte(wire.TcpClose), 1, 0, 0, 0})
	f.Add([]byte{8, byte(wire.TcpCredit), 1, 0, 0, 0, 1, 0, 0, 0, 4, byte(wire.TcpFin), 1, 0, 0, 0})
	f.Add([]byte{4, byte(wire.TcpClose), 0, 0, 0, 0x80, 4, byte(wire.TcpClose), 0, 0, 0, 0x80})
	f.Fuzz(func(t *testing.T, script []byte) {
		p, err := New(Options{Capacity: 4096})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close(0)
		e2h, h2e := p.Rings()
		var out channel.Producer
		var in channel.Consumer
		out.Init(e2h.Header, e2h.Bytes, e2h.Capacity)
		in.Init(h2e.Header, h2e.Bytes, h2e.Capacity)
		say := func(m []byte) {
			out.Put(m, nil)
			out.Publish()
			p.Poll(0)
		}
		say(wire.AppendListen(nil, wire.MinOutbound, []byte("127.0.0.1:0"), 1))
		say(wire.Append(nil, wire.TcpConnect, wire.MinOutbound+1, []byte(resolverAddr)))
		if in.Next() != channel.OK {
			t.Fatal("no answer")
		}
		b := make([]byte, in.Len())
		in.Copy(b, 0)
		c, err := net.Dial("tcp", string(b[wire.HeaderSize:])) // becomes connection 1
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		p.Poll(0)
		for len(script) > 0 && p.Err() == nil {
			n := min(1+int(script[0]), len(script))
			m := script[1:n]
			script = script[n:]
			if len(m) > 0 && (m[0] == byte(wire.TcpConnect) || m[0] == byte(wire.TcpListen)) {
				continue // a fuzz test stays at home
			}
			say(m)
			for in.Next() == channel.OK {
				b := make([]byte, in.Len())
				in.Copy(b, 0)
				in.Advance()
				if _, f := wire.Parse(b, wire.FromHost); f != wire.Sound {
					t.Fatalf("the host says %x: %v", b, f)
				}
			}
			in.Release()
		}
		if s := in.Status(); s != channel.OK {
			t.Fatal(s)
		}
	})
}
