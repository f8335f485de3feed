package kernel

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	ring "github.com/enclaveos/eos/pkg/channel"
	wire "github.com/enclaveos/eos/pkg/channel/wire"
	wall "github.com/enclaveos/eos/pkg/wall"
)

// netTest is an enclave with a data channel and, at its other end, a host that
// follows a script.
type netTest struct {
	*enclave
	*testing.T
	th   *thread
	page uint64 // of the program: addresses, lengths, events
	buf  uint64 // of the program: data
	ep   uint64

	in     *ring.Consumer // the enclave's messages
	out    *ring.Producer
	got    []message            // what has come, but for TcpData
	data   map[uint32][]byte    // what has come as TcpData
	answer func(m message) bool // the script; false: keep the message in got
	park   func()               // what happens while the enclave is parked
	rings  int                  // NotifyData with a1 = 0
	looks  int                  // NotifyData with a1 = 1
	mute   bool                 // the host does not look at its ring

	rpcIn  *ring.Consumer
	stderr strings.Builder
}

type message struct {
	t       wire.Type
	id      uint32
	payload string
}

const bufSize = 1 << 20

// resetNet puts the kernel's network in the state of an image.
func resetNet() {
	netLock, pollLock, pollOpen, pollHead, pollTail, eventCount, eventOpen = 0, 0, 0, 0, 0, 0, 0
	net.up, net.dead, net.events, net.blocked, net.bell, net.tell = false, false, false, false, false, false
	net.full = 0
	net.tx, net.rx = ring.Producer{}, ring.Consumer{}
	net.oweHead, net.oweTail, net.parked, net.lost, net.short, net.status, net.fault = 0, 0, 0, 0, 0, ring.OK, wire.Sound
	pool.free, pool.pages, pool.used, pool.grown, pool.wantHeap = 0, 0, 0, 0, false
	sockPages = [maxSocks / perPage]uint64{}
	sockByID = [sockHeads]uint32{}
	sockTop, sockFrees, nextID = 0, 0, 0
}

func newNet(t *testing.T, capacity uint64) *netTest {
	t.Helper()
	e := newEnclave(t)
	resetNet()
	e.boot(t)
	n := &netTest{enclave: e, T: t, th: threadAt(0), data: map[uint32][]byte{}}
	n.th.state = stateBusy
	desc, rpcIn, _ := e.channels(t, 64<<10)
	if r := initChannel(&rpc, desc); r != 0 {
		t.Fatal(r)
	}
	n.rpcIn = rpcIn
	if capacity != 0 {
		var desc uint64
		desc, n.in, n.out = e.channels(t, capacity)
		if r := initChannel(&data, desc); r != 0 {
			t.Fatal(r)
		}
	}
	n.page, n.buf = e.user(t, pageSize), e.user(t, bufSize)
	machine.ocall = func(kind, a1, a2, a3 uint64) uint64 {
		switch wall.Notify(kind) {
		case wall.NotifyData:
			if a1 == 0 {
				n.rings++
			} else {
				n.looks++
			}
			n.flush()
		case wall.NotifyPark:
			n.flush()
			if n.park == nil {
				t.Fatal("parked for ever")
			}
			n.park()
		case wall.NotifyRPC:
			for n.rpcIn.Next() == ring.OK {
				b := make([]byte, n.rpcIn.Len())
				n.rpcIn.Copy(b, 0)
				n.rpcIn.Advance()
				if len(b) > 18 && binary.LittleEndian.Uint16(b[8:]) == uint16(wire.StdioWrite) {
					n.stderr.Write(b[18:])
				}
			}
			n.rpcIn.Release()
		}
		return 0
	}
	n.ep = n.call(sysEpollCreate1, 0)
	return n
}

// call is a system call.
func (n *netTest) call(nr uint64, args ...uint64) uint64 { return n.callOn(n.th, nr, args...) }

func (n *netTest) callOn(th *thread, nr uint64, args ...uint64) uint64 {
	f := new(frame)
	f.ax = nr
	for i, p := range []*uint64{&f.di, &f.si, &f.dx, &f.r10, &f.r8, &f.r9} {
		if i < len(args) {
			*p = args[i]
		}
	}
	return trap(f, th)
}

// flush is the host's: it takes all messages of the enclave.
func (n *netTest) flush() {
	if n.in == nil || n.mute {
		return
	}
	for n.in.Next() == ring.OK {
		b := make([]byte, n.in.Len())
		n.in.Copy(b, 0)
		n.in.Advance()
		m, f := wire.Parse(b, wire.FromEnclave)
		if f != wire.Sound {
			n.Fatalf("the enclave sent %x: %v", b, f)
		}
		msg := message{m.Type, m.ID, string(m.Payload)}
		if m.Type == wire.TcpData {
			n.data[m.ID] = append(n.data[m.ID], m.Payload...)
		}
		if n.answer != nil && n.answer(msg) || m.Type == wire.TcpData {
			continue
		}
		n.got = append(n.got, msg)
	}
	n.in.Release()
	if s := n.in.Status(); s != ring.OK {
		n.Fatalf("ring from the enclave: %v", s)
	}
}

// send is a message of the host's.
func (n *netTest) send(b []byte) {
	n.Helper()
	if s := n.out.Put(b, nil); s != ring.OK {
		n.Fatalf("host's ring: %v", s)
	}
	n.out.Publish()
}

func (n *netTest) sendType(t wire.Type, id uint32, payload string) {
	n.Helper()
	n.send(wire.Append(nil, t, id, []byte(payload)))
}

func (n *netTest) fail(id uint32, errno int32) {
	n.Helper()
	n.send(wire.AppendError(nil, id, errno, "no"))
}

// take returns the messages that have come, which must be of these types.
func (n *netTest) take(want ...wire.Type) []message {
	n.Helper()
	n.flush()
	got := n.got
	n.got = nil
	ok := len(got) == len(want)
	for i := 0; ok && i < len(got); i++ {
		ok = got[i].t == want[i]
	}
	if !ok {
		n.Fatalf("messages %v, want %v", got, want)
	}
	return got
}

func (n *netTest) want(what string, got, want uint64) {
	n.Helper()
	if got != want {
		n.Fatalf("%s: %d, want %d", what, int64(got), int64(want))
	}
}

// The program's side.

func (n *netTest) socket(family uint64) uint64 {
	n.Helper()
	r := n.call(sysSocket, family, sockStream|sockNonblok|sockCloexec, 0)
	if failed(r) {
		n.Fatalf("socket: %d", int64(r))
	}
	return r
}

// addr writes a socket address to the page and returns its place and length.
func (n *netTest) addr(s string) (p, size uint64) {
	a, ok := wire.ParseAddr([]byte(s))
	if !ok {
		n.Fatal(s)
	}
	family := uint8(afInet6)
	if a.Is4 {
		family = afInet
	}
	p = n.page + 512
	*at[uint32](n.page) = 128
	putAddr(family, &a, p, n.page)
	return p, uint64(*at[uint32](n.page))
}

// name is getsockname or getpeername.
func (n *netTest) name(nr, s uint64) string {
	n.Helper()
	*at[uint32](n.page) = 128
	if r := n.call(nr, s, n.page+512, n.page); r != 0 {
		return fmt.Sprintf("errno %d", -int64(r))
	}
	return n.addrAt(n.page+512, *at[uint32](n.page))
}

func (n *netTest) addrAt(p uint64, size uint32) string {
	n.Helper()
	family := *at[uint16](p)
	if family == afInet && size != 16 || family == afInet6 && size != 28 {
		n.Fatalf("address of family %d with %d bytes", family, size)
	}
	a, e := getAddr(uint8(family), p, uint64(size))
	if e != 0 {
		n.Fatalf("address: %d", int64(e))
	}
	return string(wire.AppendAddr(nil, a))
}

func (n *netTest) option(s, level, name uint64) uint64 {
	*at[uint32](n.page) = 4
	if r := n.call(sysGetsockopt, s, level, name, n.page+8, n.page); r != 0 {
		return r
	}
	return uint64(*at[uint32](n.page + 8))
}

func (n *netTest) setOption(s, level, name uint64, v uint32) uint64 {
	*at[uint32](n.page + 8) = v
	return n.call(sysSetsockopt, s, level, name, n.page+8, 4)
}

func (n *netTest) write(s uint64, b string) uint64 {
	put(n.buf, b)
	return n.call(sysWrite, s, n.buf, uint64(len(b)))
}

// read returns what is there, or the errno.
func (n *netTest) read(s, size uint64) (string, uint64) {
	r := n.call(sysRead, s, n.buf, size)
	if failed(r) {
		return "", r
	}
	return string(span(n.buf, r+1)[:r]), 0
}

// watch registers a socket as Go's netpoller does.
func (n *netTest) watch(s uint64) {
	n.Helper()
	*at[uint32](n.page) = pollIn | pollOut | pollRdHup | 1<<31
	*at[uint64](n.page + 4) = s
	n.want("epoll_ctl", n.call(sysEpollCtl, n.ep, epollAdd, s, n.page), 0)
}

// events is epoll_wait without blocking: what happened to which descriptor.
func (n *netTest) events() map[uint64]uint32 {
	n.Helper()
	r := n.call(sysEpollPwait, n.ep, n.page, 128, 0)
	if failed(r) {
		n.Fatalf("epoll_wait: %d", int64(r))
	}
	m := map[uint64]uint32{}
	for i := uint64(0); i < r; i++ {
		m[*at[uint64](n.page + 12*i + 4)] = *at[uint32](n.page + 12*i)
	}
	return m
}

func (n *netTest) event(s uint64, want uint32) {
	n.Helper()
	if got := n.events(); got[s] != want {
		n.Fatalf("events %#x, want %#x", got, want)
	}
}

// listening is a listener with its id on the channel.
func (n *netTest) listening(family uint64, addr, says string) (s uint64, id uint32) {
	n.Helper()
	s = n.socket(family)
	p, size := n.addr(addr)
	n.want("bind", n.call(sysBind, s, p, size), 0)
	n.answer = func(m message) bool {
		if m.t != wire.TcpListen {
			return false
		}
		id = m.id
		n.got = append(n.got, m)
		n.sendType(wire.TcpListening, m.id, says)
		return true
	}
	n.want("listen", n.call(sysListen, s, 128), 0)
	n.answer = nil
	n.watch(s)
	return s, id
}

// accepted is a connection that the host has opened with an id.
func (n *netTest) accepted(l uint64, lid, id uint32, peer, local string) uint64 {
	n.Helper()
	n.incoming(lid, id, peer, local)
	n.events()
	s := n.call(sysAccept4, l, 0, 0, sockNonblok|sockCloexec)
	if failed(s) {
		n.Fatalf("accept: %d", int64(s))
	}
	return s
}

func (n *netTest) incoming(lid, id uint32, peer, local string) {
	n.Helper()
	p, _ := wire.ParseAddr([]byte(peer))
	l, _ := wire.ParseAddr([]byte(local))
	n.send(wire.AppendNew(nil, id, lid, p, l))
}

// pair is a listener and a connection to it.
func (n *netTest) pair() (l uint64, lid uint32, s uint64) {
	n.Helper()
	l, lid = n.listening(afInet, "127.0.0.1:80", "127.0.0.1:80")
	s = n.accepted(l, lid, 7, "10.0.0.1:1000", "127.0.0.1:80")
	n.watch(s)
	n.events()
	n.got = nil
	return l, lid, s
}

// empty checks that nothing is left of all sockets.
func (n *netTest) empty() {
	n.Helper()
	for i := uint32(0); i < sockTop; i++ {
		if s := sockAt(i); s.state != sockFree {
			n.Fatalf("socket %d is left: state %d, id %#x, refs %d", i, s.state, s.id, s.refs)
		}
	}
	if pool.grown != 0 || pool.used != uint64(sockTop+perPage-1)/perPage {
		n.Fatalf("pool: %d bytes grown, %d pages used by %d sockets", pool.grown, pool.used, sockTop)
	}
	for _, h := range sockByID {
		if h != 0 {
			n.Fatal("an id is left")
		}
	}
}
