//go:build linux

package proxy_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/channel"
	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runner/proxy"
)

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
