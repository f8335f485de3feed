package kernel

import (
	"testing"

	ring "github.com/enclaveos/eos/pkg/channel"
	wire "github.com/enclaveos/eos/pkg/channel/wire"
)

// FuzzNet is a program and a host that do what the input says, in any order: system
// calls, messages that are right or nearly right, and garbage in the ring. Nothing
// may crash or block, and the books must balance after every step.
func FuzzNet(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20})
	f.Add([]byte{0, 0, 1, 1, 10, 1, 3, 2, 11, 2, 2, 20, 4, 2, 12, 2, 5, 2, 6, 2})
	f.Add([]byte("listen and connect and send and receive and close and so on and on"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 400 {
			in = in[:400]
		}
		n := newNet(t, 8<<10)
		n.park = func() { netDie(ring.ErrClosed, wire.Sound) } // whoever waits for an answer
		var ids []uint32
		n.answer = func(m message) bool {
			if m.t == wire.TcpConnect || m.t == wire.TcpListen {
				ids = append(ids, m.id)
			}
			if m.t == wire.TcpListen {
				if m.id%3 == 0 {
					n.fail(m.id, 98)
				} else {
					n.sendType(wire.TcpListening, m.id, "127.0.0.1:80")
				}
			}
			return true
		}
		fd := map[uint64]bool{}
		next := func() uint64 {
			if len(in) == 0 {
				return 0
			}
			b := in[0]
			in = in[1:]
			return uint64(b)
		}
		pick := func() uint64 { // a descriptor, mostly of a socket
			k := next() % 16
			for s := range fd {
				if s%16 == k {
					return s
				}
			}
			return k
		}
		id := func() uint32 {
			k := next()
			if k%2 == 0 && len(ids) > 0 {
				return ids[k/2%uint64(len(ids))]
			}
			return uint32(k/2%8) + 1
		}
		send := func(b []byte) {
			if n.out.Put(b, nil) == ring.OK {
				n.out.Publish()
			}
		}
		for len(in) > 0 {
			switch next() % 24 {
			case 0, 1:
				s := n.call(sysSocket, afInet, sockStream|sockNonblok, 0)
				if !failed(s) {
					fd[s] = true
					n.call(sysFcntl, s, fSetFL, oNONBLOCK)
				}
			case 2:
				s := pick()
				n.call(sysListen, s, next())
				if d := fdAt(s); d != nil && d.kind == fdSocket && fd[s] {
					n.watch2(s)
				}
			case 3:
				s := pick()
				p, size := n.addr("10.0.0.1:80")
				if fd[s] {
					n.call(sysConnect, s, p, size)
					n.watch2(s)
				}
			case 4, 5:
				if s := pick(); fd[s] {
					n.call(sysRead, s, n.buf, next()*next())
				}
			case 6, 7:
				if s := pick(); fd[s] {
					n.call(sysWrite, s, n.buf, next()*next())
				}
			case 8:
				s := pick()
				if fd[s] {
					n.call(sysClose, s)
					delete(fd, s)
				}
			case 9:
				if s := pick(); fd[s] {
					if r := n.call(sysAccept4, s, 0, 0, sockNonblok); !failed(r) {
						fd[r] = true
						n.watch2(r)
					}
				}
			case 10:
				if s := pick(); fd[s] {
					n.call(sysShutdown, s, next()%4)
				}
			case 11:
				n.events()
			case 12:
				if s := pick(); fd[s] {
					if r := n.call(sysDup, s); !failed(r) {
						fd[r] = true
					}
				}
			case 13:
				n.mute = !n.mute
			case 14:
				a := wire.Addr{Is4: true, Port: 1}
				send(wire.AppendNew(nil, uint32(next()%8)+1, id(), a, a))
			case 15, 16:
				send(append(wire.AppendHeader(nil, wire.TcpData, id()), make([]byte, 1+next()*3)...))
			case 17:
				send(wire.AppendCredit(nil, id(), uint32(next()+1)))
			case 18:
				send(wire.Append(nil, wire.TcpFin, id(), nil))
			case 19:
				send(wire.Append(nil, wire.TcpClose, id(), nil))
			case 20:
				send(wire.AppendError(nil, id(), int32(next()+1), "text"))
			case 21:
				send(wire.Append(nil, wire.TcpConnected, id(), []byte("1.1.1.1:1\n[::1]:2")))
			case 22:
				k := int(next() % 40)
				k = min(k, len(in))
				send(in[:k])
				in = in[k:]
			case 23:
				if next()%16 == 0 { // the cursors
					store(data.h2eHead+8*(next()%32), load(data.h2eHead)+next()-100)
				} else {
					netPump(n.th, false)
				}
			}
			n.balance()
		}
		n.mute = false
		for s := range fd {
			n.call(sysClose, s)
		}
		lock(&netLock)
		netDie(ring.ErrClosed, wire.Sound)
		netUnlock()
		n.empty()
	})
}

func (n *netTest) watch2(s uint64) {
	*at[uint32](n.page) = pollIn | pollOut | pollRdHup | 1<<31
	*at[uint64](n.page + 4) = s
	n.call(sysEpollCtl, n.ep, epollAdd, s, n.page)
}

// balance checks that windows, queues, pages and lists agree.
func (n *netTest) balance() {
	n.Helper()
	grown, pages := uint64(0), uint64(sockTop+perPage-1)/perPage
	for i := uint32(0); i < sockTop; i++ {
		s := sockAt(i)
		grown += uint64(max(s.window, wire.FirstWindow) - wire.FirstWindow)
		bytes := uint32(0)
		for c := s.first; c != 0; c = at[chunk](c).next {
			k := at[chunk](c)
			if k.from >= k.to || k.to > chunkData {
				n.Fatalf("socket %d: chunk from %d to %d", i, k.from, k.to)
			}
			bytes += k.to - k.from
			pages++
		}
		if bytes != s.buffered {
			n.Fatalf("socket %d: %d bytes in chunks, %d counted", i, bytes, s.buffered)
		}
		if s.state == sockOpen && s.id != 0 && s.window != s.rxGrant+s.buffered+s.uncredited {
			n.Fatalf("socket %d: window %d, granted %d, buffered %d, uncredited %d", i, s.window, s.rxGrant, s.buffered, s.uncredited)
		}
		if s.window > wire.Window || s.txCredit > wire.Window {
			n.Fatalf("socket %d: window %d, credit %d", i, s.window, s.txCredit)
		}
		if s.id != 0 && sockOf(s.id) != s {
			n.Fatalf("socket %d is not found by its id", i)
		}
		if s.state == sockFree && (s.id != 0 || s.refs != 0 || s.owing || s.buffered != 0) {
			n.Fatalf("socket %d is free and in use", i)
		}
		if e := s.ready(); s.state != sockFree && s.refs != 0 && e != s.events {
			n.Fatalf("socket %d: ready for %#x, said %#x", i, e, s.events)
		}
	}
	if grown != pool.grown || pages != pool.used {
		n.Fatalf("pool: %d grown, sockets %d; %d pages, sockets %d", pool.grown, grown, pool.used, pages)
	}
	if netLock != 0 || net.bell && !net.dead {
		n.Fatal("left behind")
	}
	for i := range fds {
		if fds[i].kind == fdSocket && sockAt(fds[i].obj).state == sockFree {
			n.Fatalf("descriptor %d has a free socket", i)
		}
	}
}
