package kernel

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	wire "github.com/enclaveos/eos/pkg/channel/wire"
)

func TestThousandConnections(t *testing.T) {
	n := newNet(t, 1<<20)
	n.HeapEnd += 32 << 20
	l, lid := n.listening(afInet, "127.0.0.1:80", "127.0.0.1:80")
	rng := rand.New(rand.NewPCG(3, 4))
	const count = 1500
	ids := make([]uint32, 0, count)
	seen := map[uint32]bool{}
	for len(ids) < count {
		id := 1 + rng.Uint32N(wire.MaxIngress)
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	n.answer = func(m message) bool { return m.t == wire.TcpCredit }
	for round := 0; round < 2; round++ {
		socks := map[uint32]uint64{}
		for i, id := range ids {
			n.incoming(lid, id, fmt.Sprintf("10.0.%d.%d:1", i/256, i%256), "127.0.0.1:80")
			n.sendType(wire.TcpData, id, fmt.Sprint("hello ", id))
		}
		n.event(l, pollIn)
		for _, id := range ids {
			s := n.call(sysAccept4, l, 0, 0, sockNonblok)
			if failed(s) {
				t.Fatalf("accept: %d", int64(s))
			}
			n.watch(s)
			socks[id] = s
		}
		n.want("accept", n.call(sysAccept4, l, 0, 0, sockNonblok), errAgain)
		ready := map[uint64]bool{}
		for {
			ev := n.events()
			if len(ev) == 0 {
				break
			}
			for s := range ev {
				ready[s] = true
			}
		}
		if len(ready) != count {
			t.Fatalf("%d are ready", len(ready))
		}
		clear(n.data)
		for _, id := range ids {
			r, _ := n.read(socks[id], 100)
			if r != fmt.Sprint("hello ", id) {
				t.Fatalf("%#x: read %q", id, r)
			}
			n.want("write", n.write(socks[id], r), uint64(len(r)))
			if string(n.data[id]) != r {
				t.Fatalf("%#x: the host got %q", id, n.data[id])
			}
		}
		rng.Shuffle(count, func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		for i, id := range ids {
			if i%2 == 0 {
				n.call(sysClose, socks[id])
				n.sendType(wire.TcpClose, id, "")
			} else {
				n.sendType(wire.TcpFin, id, "")
				n.sendType(wire.TcpClose, id, "")
				if i%100 == 1 {
					n.events()
				}
				n.call(sysClose, socks[id])
			}
		}
		n.events()
		n.got = nil
		if net.dead {
			t.Fatal(net.status)
		}
	}
	n.call(sysClose, l)
	n.sendType(wire.TcpClose, lid, "")
	n.events()
	n.empty()
}

// Small rings wrap at every byte; both directions at once.
func TestWrapAround(t *testing.T) {
	n := newNet(t, 4<<10)
	_, _, s := n.pair()
	rng := rand.New(rand.NewPCG(5, 6))
	grant := wire.FirstWindow
	var sentIn, readIn, wrote bytes.Buffer
	n.answer = func(m message) bool {
		switch m.t {
		case wire.TcpCredit:
			grant += int(le([]byte(m.payload)))
		case wire.TcpData:
			n.send(wire.AppendCredit(nil, 7, uint32(len(m.payload))))
		}
		return true
	}
	for range 20000 {
		switch rng.IntN(3) {
		case 0:
			if k := min(grant, rng.IntN(900)); k > 0 && n.out.Room() > 1500 {
				b := bytes.Repeat([]byte{byte(rng.Uint32())}, k)
				n.send(wire.Append(nil, wire.TcpData, 7, b))
				sentIn.Write(b)
				grant -= k
			}
		case 1:
			r, e := n.read(s, 1+rng.Uint64N(3000))
			if e != 0 && e != errAgain {
				t.Fatal(int64(e))
			}
			readIn.WriteString(r)
		case 2:
			b := strings.Repeat(string(rune('a'+rng.IntN(26))), 1+rng.IntN(2000))
			r := n.write(s, b)
			if r == errAgain {
				continue
			}
			if failed(r) {
				t.Fatal(int64(r))
			}
			wrote.WriteString(b[:r])
		}
	}
	for {
		r, e := n.read(s, 3000)
		if e != 0 {
			break
		}
		readIn.WriteString(r)
	}
	if !bytes.Equal(sentIn.Bytes(), readIn.Bytes()) || sentIn.Len() < 1<<20 {
		t.Errorf("sent %d bytes, read %d", sentIn.Len(), readIn.Len())
	}
	if !bytes.Equal(wrote.Bytes(), n.data[7]) || wrote.Len() < 1<<20 {
		t.Errorf("wrote %d bytes, the host got %d", wrote.Len(), len(n.data[7]))
	}
	if net.dead {
		t.Error(net.status)
	}
}
