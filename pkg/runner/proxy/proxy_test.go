//go:build linux

package proxy_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/channel"
	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runner/proxy"
)

func wantDead(t testing.TB, p *proxy.Proxy, s channel.Status) {
	t.Helper()
	err := p.Err()
	if !errors.Is(err, s) {
		t.Fatalf("the data plane's error is %v, want %v", err, s)
	}
	if !strings.Contains(err.Error(), "the enclave broke the rules") {
		t.Errorf("the error does not say who: %v", err)
	}
	p.Poll(-1) // must not wait
	if p.Flush() {
		t.Error("a dead data plane moves something")
	}
}

func TestConversation(t *testing.T) {
	e := start(t, proxy.Options{})
	l, addr := e.listen("127.0.0.1:0")
	id, c := e.accept(l, addr)
	io.WriteString(c, "hello")
	if got := e.read(id, 5); got != "hello" {
		t.Errorf("the enclave got %q", got)
	}
	e.data(id, "world")
	b := make([]byte, 5)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "world" {
		t.Errorf("the client got %q, %v", b, err)
	}
	// The client ends its direction, the enclave answers and ends the connection.
	c.CloseWrite()
	e.want(wire.TcpFin, id)
	e.data(id, "bye")
	e.shut(id)
	if rest, err := io.ReadAll(c); err != nil || string(rest) != "bye" {
		t.Errorf("the client got %q, %v", rest, err)
	}
	e.want(wire.TcpClose, id)
	e.shut(l)
	e.want(wire.TcpClose, l)
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("a closed listener listens")
	}
	if s := e.p.Stats(); s.Accepted != 1 || s.Open != 0 || s.In != 5 || s.Out != 8 {
		t.Errorf("stats %+v", s)
	}
}

// The enclave ends its direction and still reads.
func TestHalfCloseByEnclave(t *testing.T) {
	e := start(t, proxy.Options{})
	l, addr := e.listen("127.0.0.1:0")
	id, c := e.accept(l, addr)
	e.data(id, "request")
	e.send(wire.Append(nil, wire.TcpFin, id, nil))
	if b, err := io.ReadAll(c); err != nil || string(b) != "request" {
		t.Fatalf("the client got %q, %v", b, err)
	}
	io.WriteString(c, "answer")
	if got := e.read(id, 6); got != "answer" {
		t.Errorf("the enclave got %q", got)
	}
	c.Close()
	e.want(wire.TcpFin, id)
	e.shut(id)
	e.want(wire.TcpClose, id)
}

// What a program has written before it closed reaches a slow client.
func TestCloseWithUnsentData(t *testing.T) {
	e := start(t, proxy.Options{})
	l, addr := e.listen("127.0.0.1:0")
	id, c := e.accept(l, addr)
	want := sha256.New()
	total := flood(e, id, func(b []byte) { want.Write(b) })
	e.shut(id)
	e.want(wire.TcpClose, id)
	done := make(chan struct{})
	got := sha256.New()
	go func() {
		defer e.p.Interrupt()
		defer close(done)
		if n, err := io.Copy(got, c); err != nil || n != total {
			t.Errorf("the client got %d bytes of %d: %v", n, total, err)
		}
	}()
	for open := true; open; {
		select {
		case <-done:
			open = false
		default:
			e.p.Poll(time.Second)
		}
	}
	if !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		t.Error("the client got other bytes")
	}
}

// A reset throws away what the client has not had, and the client sees it.
func TestResetByEnclave(t *testing.T) {
	e := start(t, proxy.Options{})
	l, addr := e.listen("127.0.0.1:0")
	id, c := e.accept(l, addr)
	total := flood(e, id, func([]byte) {})
	e.send(wire.Append(nil, wire.TcpReset, id, nil))
	e.want(wire.TcpClose, id)
	n, err := io.Copy(io.Discard, c)
	if !errors.Is(err, syscall.ECONNRESET) || n >= total {
		t.Errorf("the client got %d bytes of %d and %v", n, total, err)
	}
}

// flood sends as much as it has credit for, until no more comes back.
func flood(e *enclave, id uint32, sent func([]byte)) (total int64) {
	credit, block := wire.Window, make([]byte, 32<<10)
	for i := 0; credit > 0; i++ {
		b := block[:min(len(block), credit)]
		for j := range b {
			b[j] = byte(i + j*7)
		}
		e.send(wire.Append(nil, wire.TcpData, id, b))
		sent(b)
		credit -= len(b)
		total += int64(len(b))
		for {
			m, ok := e.try()
			if !ok {
				break
			}
			if m.Type != wire.TcpCredit || m.ID != id {
				e.t.Fatalf("got %v of %#x", m.Type, m.ID)
			}
			credit += int(m.Credit())
		}
	}
	return total
}

// One client that reads nothing does not hinder another.
func TestSlowReader(t *testing.T) {
	e := start(t, proxy.Options{Capacity: 64 << 10})
	l, addr := e.listen("127.0.0.1:0")
	slow, sc := e.accept(l, addr)
	total := flood(e, slow, func([]byte) {})
	quick, qc := e.accept(l, addr)
	for i := range 100 {
		s := fmt.Sprintf("line %d\n", i)
		io.WriteString(qc, s)
		if got := e.read(quick, len(s)); got != s {
			t.Fatalf("the enclave got %q", got)
		}
		e.data(quick, s)
		b := make([]byte, len(s))
		if _, err := io.ReadFull(qc, b); err != nil || string(b) != s {
			t.Fatalf("the quick client got %q, %v", b, err)
		}
		e.send(wire.AppendCredit(nil, quick, uint32(len(s))))
	}
	// Now the slow one reads, and the credit comes.
	go io.CopyN(io.Discard, sc, total)
	for credit := 0; credit < wire.Window/2; {
		credit += int(e.want(wire.TcpCredit, slow).Credit())
	}
}

// A program that does not read stops its own client and nobody else.
func TestProgramThatDoesNotRead(t *testing.T) {
	e := start(t, proxy.Options{Capacity: 64 << 10})
	l, addr := e.listen("127.0.0.1:0")
	stuck, sc := e.accept(l, addr)
	quick, qc := e.accept(l, addr)
	sum := make(chan int64)
	go func() {
		var n int64
		b := make([]byte, 64<<10)
		for n < 16<<20 {
			m, err := sc.Write(b)
			n += int64(m)
			if err != nil {
				break
			}
		}
		sc.CloseWrite()
		sum <- n
	}()
	got := 0
	for got < wire.FirstWindow {
		got += len(e.want(wire.TcpData, stuck).Payload)
	}
	for range 50 {
		io.WriteString(qc, "x")
		e.read(quick, 1) // fails on any more data of the stuck one
	}
	// Credit for more than was consumed lets the window grow.
	e.send(wire.AppendCredit(nil, stuck, wire.Window))
	var total int64 = int64(got)
	unacked := 0
	for {
		m := e.recv()
		if m.Type == wire.TcpFin {
			break
		}
		total += int64(len(m.Payload))
		if unacked += len(m.Payload); unacked > 50<<10 {
			e.send(wire.AppendCredit(nil, stuck, uint32(unacked)))
			unacked = 0
		}
	}
	if n := <-sum; n != total {
		t.Errorf("the client sent %d bytes, the enclave got %d", n, total)
	}
}

func TestReset(t *testing.T) {
	e := start(t, proxy.Options{})
	l, addr := e.listen("127.0.0.1:0")
	id, c := e.accept(l, addr)
	io.WriteString(c, "last words")
	if got := e.read(id, 10); got != "last words" {
		t.Fatal(got)
	}
	c.SetLinger(0)
	c.Close()
	if errno, _ := e.want(wire.TcpError, id).Failure(); errno != int32(syscall.ECONNRESET) {
		t.Errorf("errno %d", errno)
	}
	e.data(id, "crosses") // is ignored, not refused
	e.send(wire.AppendCredit(nil, id, 10))
	e.shut(id)
	id2, c2 := e.accept(l, addr)
	io.WriteString(c2, "x")
	e.read(id2, 1)
	if e.p.Stats().Open != 1 {
		t.Errorf("%d connections are open", e.p.Stats().Open)
	}
}

// The client answers and goes away while the enclave still sends: the answer is not lost.
func TestAnswerBeforeReset(t *testing.T) {
	e := start(t, proxy.Options{})
	l, addr := e.listen("127.0.0.1:0")
	id, c := e.accept(l, addr)
	e.data(id, "request")
	io.WriteString(c, "go away")
	c.Close()     // with the request unread: a reset
	for range 3 { // the first write may still work, the next ones do not
		e.data(id, "more")
	}
	if got := e.read(id, 7); got != "go away" {
		t.Errorf("got %q", got)
	}
	e.want(wire.TcpError, id)
}

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

func TestLies(t *testing.T) {
	listener := uint32(wire.MinOutbound)
	for _, tt := range []struct {
		name string
		want channel.Status
		lie  func(e *enclave, id uint32)
	}{
		{"unknown type", channel.ErrMessage, func(e *enclave, id uint32) { e.put([]byte{99, 0, 0, 0, 0}) }},
		{"short message", channel.ErrMessage, func(e *enclave, id uint32) { e.put([]byte{2, 0, 0}) }},
		{"empty frame", channel.ErrMessage, func(e *enclave, id uint32) { e.put(nil) }},
		{"message of the host's", channel.ErrMessage, func(e *enclave, id uint32) { e.put(wire.Append(nil, wire.Tick, 0, nil)) }},
		{"data for nobody", channel.ErrMessage, func(e *enclave, id uint32) { e.put(wire.Append(nil, wire.TcpData, id+1, []byte("x"))) }},
		{"data for a listener", channel.ErrMessage, func(e *enclave, id uint32) { e.put(wire.Append(nil, wire.TcpData, listener, []byte("x"))) }},
		{"fin for a listener", channel.ErrMessage, func(e *enclave, id uint32) { e.put(wire.Append(nil, wire.TcpFin, listener, nil)) }},
		{"fin for nobody", channel.ErrMessage, func(e *enclave, id uint32) { e.put(wire.Append(nil, wire.TcpFin, id+1, nil)) }},
		{"close for nobody", channel.ErrMessage, func(e *enclave, id uint32) { e.put(wire.Append(nil, wire.TcpClose, id+1, nil)) }},
		{"id in use", channel.ErrMessage, func(e *enclave, id uint32) { e.put(wire.AppendListen(nil, listener, []byte("127.0.0.1:0"), 1)) }},
		{"data behind fin", channel.ErrMessage, func(e *enclave, id uint32) {
			e.put(wire.Append(nil, wire.TcpFin, id, nil))
			e.put(wire.Append(nil, wire.TcpData, id, []byte("x")))
		}},
		{"two fins", channel.ErrMessage, func(e *enclave, id uint32) {
			e.put(wire.Append(nil, wire.TcpFin, id, nil))
			e.put(wire.Append(nil, wire.TcpFin, id, nil))
		}},
		{"two closes", channel.ErrMessage, func(e *enclave, id uint32) {
			e.put(wire.Append(nil, wire.TcpClose, id, nil))
			e.put(wire.Append(nil, wire.TcpClose, id, nil))
		}},
		{"credit for what was not sent", channel.ErrCreditAbused, func(e *enclave, id uint32) {
			e.put(wire.AppendCredit(nil, id, wire.Window-wire.FirstWindow))
			e.put(wire.AppendCredit(nil, id, 1))
		}},
		{"credit of 4 GiB", channel.ErrCreditAbused, func(e *enclave, id uint32) { e.put(wire.AppendCredit(nil, id, 1<<32-1)) }},
		{"data without credit", channel.ErrCreditAbused, func(e *enclave, id uint32) {
			for range 400 {
				if e.out.Put(wire.Append(nil, wire.TcpData, id, make([]byte, 64<<10)), nil) != channel.OK {
					e.out.Publish()
					e.p.Flush()
				}
			}
			e.out.Publish()
		}},
		{"cursor", channel.ErrCursorAhead, func(e *enclave, id uint32) {
			m, _ := e.p.Rings()
			m.HeaderBytes()[7] = 1
		}},
		{"frame length", channel.ErrFrameLength, func(e *enclave, id uint32) {
			m, _ := e.p.Rings()
			at := e.out.Written()
			e.out.Put([]byte("x"), nil)
			m.RingBytes()[at] = 2
			e.out.Publish()
		}},
		{"cursor of the other ring", channel.ErrCursorAhead, func(e *enclave, id uint32) {
			_, m := e.p.Rings()
			m.HeaderBytes()[64+7] = 1
			for range 3 { // until the ring to the enclave is full
				e.put(wire.Append(nil, wire.TcpClose, id, nil))
				break
			}
			for i := range uint32(9000) {
				e.put(wire.Append(nil, wire.TcpConnect, listener+100+i, []byte(":1")))
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := start(t, proxy.Options{Capacity: 256 << 10})
			l, addr := e.listen("127.0.0.1:0")
			id, c := e.accept(l, addr)
			tt.lie(e, id)
			e.dead(tt.want)
			if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client's connection was not ended: %v", err)
			}
		})
	}
}

// 1000 connections at a time through an echo.
func TestManyConnections(t *testing.T) {
	const clients, rounds = 1000, 5
	e := start(t, proxy.Options{Capacity: 1 << 20})
	id := e.id()
	e.send(wire.AppendListen(nil, id, []byte("127.0.0.1:0"), clients))
	addr := string(e.want(wire.TcpListening, id).Payload)
	var wg sync.WaitGroup
	errs := make(chan error, clients)
	all := make(chan struct{}) // closed when all are accepted
	for i := range clients {
		wg.Go(func() {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				errs <- err
				return
			}
			defer c.Close()
			<-all
			msg := []byte(strings.Repeat(fmt.Sprintf("client %d ", i), 20+i%200))
			got := make([]byte, len(msg))
			for range rounds {
				if _, err := c.Write(msg); err != nil {
					errs <- err
					return
				}
				if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, msg) {
					errs <- fmt.Errorf("client %d: echo differs: %v", i, err)
					return
				}
			}
		})
	}
	go func() { wg.Wait(); close(errs) }()
	for accepted, ended := 0, 0; ended < clients; {
		m := e.recv()
		switch m.Type {
		case wire.TcpNew:
			if accepted++; accepted == clients {
				close(all)
			}
		case wire.TcpData:
			e.put(wire.Append(nil, wire.TcpData, m.ID, m.Payload))
			e.put(wire.AppendCredit(nil, m.ID, uint32(len(m.Payload))))
		case wire.TcpFin:
			e.put(wire.Append(nil, wire.TcpClose, m.ID, nil))
		case wire.TcpClose:
			ended++
		case wire.TcpCredit:
		default:
			t.Fatalf("%v %s", m.Type, m.Payload)
		}
	}
	for err := range errs {
		t.Error(err)
	}
	if s := e.p.Stats(); s.Accepted != clients || s.Peak != clients || s.Open != 0 || s.In != s.Out {
		t.Errorf("%+v", s)
	}
}

// Connections beyond the limit wait in the backlog.
func TestMaxConns(t *testing.T) {
	e := start(t, proxy.Options{MaxConns: 2})
	l, addr := e.listen("127.0.0.1:0")
	a, _ := e.accept(l, addr)
	e.accept(l, addr)
	c := dial(t, addr)
	e.p.Poll(0)
	if m, ok := e.try(); ok {
		t.Fatalf("%v beyond the limit", m.Type)
	}
	e.shut(a)
	for range 2 {
		switch m := e.recv(); m.Type {
		case wire.TcpClose:
			if m.ID != a {
				t.Errorf("TcpClose of %#x", m.ID)
			}
		case wire.TcpNew:
			if _, peer, _ := m.New(); string(peer) != c.LocalAddr().String() {
				t.Errorf("accepted %s", peer)
			}
		default:
			t.Errorf("%v", m.Type)
		}
	}
}

func TestInterrupt(t *testing.T) {
	e := start(t, proxy.Options{})
	e.p.Interrupt()
	e.p.Poll(-1) // returns for the Interrupt before it
	go e.p.Interrupt()
	e.p.Poll(-1)
	e.p.Poll(time.Microsecond)
	e.p.Poll(0)
	done := make(chan struct{})
	go func() { e.p.Poll(-1); close(done) }()
	e.p.Close(0)
	<-done
	e.p.Interrupt()
	e.p.Poll(-1)
}

// A Poll that waits is told of what a Flush on another thread has to say.
func TestFlushEndsPoll(t *testing.T) {
	e := start(t, proxy.Options{})
	done := make(chan struct{})
	go func() { e.p.Poll(-1); close(done) }()
	e.send(wire.AppendListen(nil, e.id(), []byte("127.0.0.1:0"), 1))
	<-done
	e.want(wire.TcpListening, wire.MinOutbound)
}

// An enclave that waits for room in its own ring is told when there is some.
func TestRoomEndsPoll(t *testing.T) {
	e := start(t, proxy.Options{Capacity: 4096})
	m := wire.Append(nil, wire.DataReady, 0, nil)
	for e.out.Put(m, nil) == channel.OK {
	}
	e.out.Publish()
	if !e.out.PrepareWait(uint64(len(m))) {
		t.Fatal("there is room")
	}
	e.p.Poll(-1)
	e.out.CancelWait()
	if s := e.out.Put(m, nil); s != channel.OK {
		t.Error(s)
	}
}

// Many threads flush at once; all that they have said arrives.
func TestFlushFromManyThreads(t *testing.T) {
	e := start(t, proxy.Options{})
	l, addr := e.listen("127.0.0.1:0")
	id, c := e.accept(l, addr)
	const total = 200_000
	var mu sync.Mutex
	go func() {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range total / 4 / 10 {
					mu.Lock()
					e.out.Put(wire.Append(nil, wire.TcpData, id, []byte("0123456789")), nil)
					e.out.Publish()
					mu.Unlock()
					e.p.Flush()
				}
			})
		}
		wg.Wait()
	}()
	if _, err := io.ReadFull(c, make([]byte, total)); err != nil {
		t.Error(err)
	}
}

// At the end clients get what the program has written.
func TestCloseDelivers(t *testing.T) {
	e := start(t, proxy.Options{})
	l, addr := e.listen("127.0.0.1:0")
	id, c := e.accept(l, addr)
	total := flood(e, id, func([]byte) {})
	e.put(wire.Append(nil, wire.TcpClose, id, nil))
	got := make(chan int64)
	go func() {
		n, _ := io.Copy(io.Discard, c)
		got <- n
	}()
	if err := e.p.Close(time.Minute); err != nil {
		t.Error(err)
	}
	if n := <-got; n != total {
		t.Errorf("the client got %d bytes of %d", n, total)
	}
}

// A ring that is smaller than a window fills up; nothing is lost, and the host goes on
// when the enclave has made room.
func TestSmallRing(t *testing.T) {
	e := start(t, proxy.Options{Capacity: channel.MinCapacity})
	l, addr := e.listen("127.0.0.1:0")
	id, c := e.accept(l, addr)
	sent, got := sha256.New(), sha256.New()
	all := make(chan struct{})
	go func() {
		defer close(all)
		b := make([]byte, 1000)
		for i := range 1000 {
			for j := range b {
				b[j] = byte(i*j + i)
			}
			sent.Write(b)
			c.Write(b)
		}
		c.CloseWrite()
	}()
	full := false
	for {
		// Let the ring fill up, as an enclave that is busy does.
		for i := 0; i < 100 && !full; i++ {
			e.p.Poll(time.Millisecond)
			full = e.p.Stats().Full > 0
		}
		m := e.want2(wire.TcpData, wire.TcpFin, id)
		if m.Type == wire.TcpFin {
			break
		}
		got.Write(m.Payload)
		e.put(wire.AppendCredit(nil, id, uint32(len(m.Payload))))
	}
	<-all
	if !bytes.Equal(got.Sum(nil), sent.Sum(nil)) {
		t.Error("the enclave got other bytes")
	}
	if !full {
		t.Error("the ring was never full")
	}
}
