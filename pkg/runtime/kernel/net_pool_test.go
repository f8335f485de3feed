package kernel

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"strings"
	"testing"

	wire "github.com/enclaveos/eos/pkg/channel/wire"
)

// The receive window: the host may never have more under way than Window, the
// window grows as the program reads, and nothing is granted that has no place.
func TestReceiveWindow(t *testing.T) {
	n := newNet(t, 1<<20)
	_, _, s := n.pair()
	grant, peak, inQueue := wire.FirstWindow, 0, 0
	n.answer = func(m message) bool {
		if m.t == wire.TcpCredit {
			grant += int(le([]byte(m.payload)))
			if grant > wire.Window {
				t.Errorf("granted %d", grant)
			}
		}
		return true
	}
	rng := rand.New(rand.NewPCG(1, 2))
	in, out := sha256.New(), sha256.New()
	total := 0
	for total < 8<<20 {
		for grant > 0 && rng.IntN(4) != 0 {
			b := make([]byte, 1+rng.IntN(min(grant, 60000)))
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			n.send(wire.Append(nil, wire.TcpData, 7, b))
			in.Write(b)
			grant -= len(b)
			inQueue += len(b)
			total += len(b)
			n.events()
		}
		r, e := n.read(s, 1+rng.Uint64N(100000))
		if e != 0 && e != errAgain {
			t.Fatal(int64(e))
		}
		out.Write([]byte(r))
		inQueue -= len(r)
		peak = max(peak, grant+inQueue)
		if uint64(inQueue) != uint64(sockAt(fds[s].obj).buffered) {
			t.Fatal("bytes are lost")
		}
	}
	for inQueue > 0 {
		r, e := n.read(s, 100000)
		if e != 0 {
			t.Fatal(int64(e))
		}
		out.Write([]byte(r))
		inQueue -= len(r)
	}
	if !bytes.Equal(in.Sum(nil), out.Sum(nil)) {
		t.Error("read something else than was sent")
	}
	if peak != wire.Window {
		t.Errorf("the window grew to %d", peak)
	}
}

// A connection whose bytes nobody reads holds one page of the pool.
func TestFirstWindowIsOnePage(t *testing.T) {
	if wire.FirstWindow != chunkData {
		t.Errorf("a first window has %d bytes, a page of the pool holds %d", wire.FirstWindow, chunkData)
	}
}

// When the pool is nearly full new connections are sent away, when it is full the one
// whose bytes find no place is reset, and all is well again when somebody reads.
func TestPoolBound(t *testing.T) {
	n := newNet(t, 1<<20)
	end := mem.heap.end
	l, lid := n.listening(afInet, "127.0.0.1:80", "127.0.0.1:80")
	n.got = nil
	var socks []uint64
	refused := uint32(0)
	id := uint32(0)
	for refused == 0 {
		id++
		n.incoming(lid, id, "10.0.0.1:1000", "127.0.0.1:80")
		n.sendType(wire.TcpData, id, strings.Repeat("z", wire.FirstWindow))
		n.events()
		if s := n.call(sysAccept4, l, 0, 0, sockNonblok); !failed(s) {
			socks = append(socks, s)
		}
		for _, m := range n.got {
			refused = m.id
		}
		if pool.pages > poolLimit() || mem.heap.end < end-poolLimit()*pageSize {
			t.Fatalf("%d pages, limit %d", pool.pages, poolLimit())
		}
	}
	if refused != id || uint64(len(socks)) != uint64(id-1) || !poolFull(7) {
		t.Fatalf("%d was refused, %d are there, %d pages of %d", refused, len(socks), pool.used, poolLimit())
	}
	if !strings.Contains(n.stderr.String(), "--heap-size than 32MiB\n") || mem.wanted == 0 {
		t.Errorf("stderr: %q, %d bytes wanted", n.stderr.String(), mem.wanted)
	}
	n.take(wire.TcpClose)
	n.sendType(wire.TcpClose, id, "")
	n.events()
	// Go cannot have what the pool has.
	if r := mem.mmap(end-pageSize, pageSize, 3, mapAnonymous|mapFixed); r != errNoMem {
		t.Errorf("a page of the pool: %#x", r)
	}
	if net.dead || net.lost != 0 {
		t.Fatalf("dead %v (%v), lost %d", net.dead, net.status, net.lost)
	}
	// Windows do not grow any more, and the bound holds whatever the others send.
	for i, s := range socks {
		n.read(s, 4080)
		n.flush()
		for _, m := range n.got {
			if m.t == wire.TcpCredit {
				n.sendType(wire.TcpData, uint32(i+1), strings.Repeat("y", int(le([]byte(m.payload)))))
			}
		}
		n.got = nil
		n.events()
	}
	if net.dead || pool.pages > poolLimit() {
		t.Fatalf("dead %v (%v), %d pages, limit %d", net.dead, net.status, pool.pages, poolLimit())
	}
	n.call(sysClose, l)
	for _, s := range socks {
		n.call(sysClose, s)
	}
	n.flush()
	for i := uint32(1); i < id; i++ {
		n.sendType(wire.TcpClose, i, "")
		n.events()
	}
	n.sendType(wire.TcpClose, lid, "")
	n.events()
	n.empty()
}

// Clients that send and whose bytes the program does not read, some of which have once
// been read and have large windows, leave room for others.
func TestStuckConnections(t *testing.T) {
	n := newNet(t, 1<<20)
	l, lid := n.listening(afInet, "127.0.0.1:80", "127.0.0.1:80")
	grant := map[uint32]int{}
	n.answer = func(m message) bool {
		switch m.t {
		case wire.TcpCredit:
			grant[m.id] += int(le([]byte(m.payload)))
		case wire.TcpClose:
			t.Fatalf("%d was sent away, %d pages of %d", m.id, pool.used, poolLimit())
		}
		return true
	}
	client := func(id uint32) uint64 {
		n.incoming(lid, id, "10.0.0.1:1000", "127.0.0.1:80")
		n.events()
		grant[id] = wire.FirstWindow
		return n.call(sysAccept4, l, 0, 0, sockNonblok)
	}
	fill := func(id uint32) {
		for grant[id] > 0 {
			k := min(grant[id], 16<<10)
			n.sendType(wire.TcpData, id, strings.Repeat("z", k))
			n.events()
			grant[id] -= k
		}
	}
	const hogs, stuck = 30, 300
	for id := uint32(1); id <= hogs; id++ {
		s := client(id)
		for range 20 { // as long as it is read its window grows
			fill(id)
			n.read(s, 1<<20)
			n.flush()
		}
		fill(id)
	}
	for id := uint32(hogs + 1); id <= hogs+stuck; id++ {
		client(id)
		fill(id)
	}
	s := client(hogs + stuck + 1)
	n.sendType(wire.TcpData, hogs+stuck+1, "hello")
	n.events()
	if r, e := n.read(s, 100); e != 0 || r != "hello" {
		t.Errorf("%q, %d", r, int64(e))
	}
	if net.dead || n.stderr.String() != "" {
		t.Errorf("dead %v, stderr %q", net.dead, n.stderr.String())
	}
}

// No page left at all: the connection is reset, not the channel.
func TestPoolEmpty(t *testing.T) {
	n := newNet(t, 1<<20)
	_, _, s := n.pair()
	var taken []uint64
	for p := poolTake(); p != 0; p = poolTake() {
		taken = append(taken, p)
	}
	n.sendType(wire.TcpData, 7, "no place")
	n.event(s, pollIn|pollOut|pollErr|pollHup|pollRdHup)
	n.take(wire.TcpClose)
	_, e := n.read(s, 1)
	n.want("read", e, errNoBufs)
	for _, p := range taken {
		poolGive(p)
	}
	n.sendType(wire.TcpData, 7, "crossing")
	n.sendType(wire.TcpClose, 7, "")
	n.events()
	if net.dead {
		t.Error(net.status)
	}
}
