//go:build linux

package proxy_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runner/proxy"
)

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
