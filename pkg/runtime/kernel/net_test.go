package kernel

import (
	"fmt"
	"strings"
	"testing"

	wire "github.com/enclaveos/eos/pkg/channel/wire"
)

const errConnRefused = ^uint64(111 - 1)

func TestSockSize(t *testing.T) {
	if sizeOf[sock]() > sockSize || sizeOf[chunk]() != pageSize {
		t.Fatalf("sock %d, chunk %d bytes", sizeOf[sock](), sizeOf[chunk]())
	}
}

func TestSocketErrnos(t *testing.T) {
	n := newNet(t, 64<<10)
	for _, c := range []struct{ family, typ, proto, want uint64 }{
		{1, sockStream, 0, errAFNoSupport}, {17, 3, 0, errAFNoSupport}, {0, sockStream, 0, errAFNoSupport},
		{afInet, 2, 0, errProtoNoSupport}, {afInet6, 2 | sockNonblok, 17, errProtoNoSupport}, {afInet, 3, 1, errProtoNoSupport},
		{afInet, sockStream, 262 /* MPTCP */, errProtoNoSupport}, {afInet, sockStream | 1<<25, 0, errInval},
	} {
		if r := n.call(sysSocket, c.family, c.typ, c.proto); r != c.want {
			t.Errorf("socket(%d, %#x, %d): %d, want %d", c.family, c.typ, c.proto, int64(r), int64(c.want))
		}
	}
	if r := n.call(sysSocketpair, 1, sockStream, 0, n.page); r != errAFNoSupport {
		t.Errorf("socketpair: %d", int64(r))
	}
	s4, s6 := n.socket(afInet), n.socket(afInet6)
	p4, n4 := n.addr("127.0.0.1:80")
	for _, c := range []struct {
		what      string
		got, want uint64
	}{
		{"connect of no descriptor", n.call(sysConnect, 99, p4, n4), errBadF},
		{"connect of stdout", n.call(sysConnect, 1, p4, n4), errNotSock},
		{"getsockopt of stdout", n.call(sysGetsockopt, 1, 1, 4, n.page, n.page), errNotSock},
		{"getpeername", n.call(sysGetpeername, s4, n.page+512, n.page), errNotConn},
		{"read", n.call(sysRead, s4, n.buf, 10), errNotConn},
		{"recvfrom", n.call(sysRecvfrom, s4, n.buf, 10, 0, 0, 0), errNotConn},
		{"write", n.call(sysWrite, s4, n.buf, 10), errPipe},
		{"shutdown", n.call(sysShutdown, s4, shutWr), errNotConn},
		{"shutdown how", n.call(sysShutdown, s4, 3), errInval},
		{"accept", n.call(sysAccept, s4, 0, 0), errInval},
		{"accept flags", n.call(sysAccept4, s4, 0, 0, 1), errInval},
		{"bind short", n.call(sysBind, s4, p4, 8), errInval},
		{"bind no family", n.call(sysBind, s4, p4, 1), errInval},
		{"bind other family", n.call(sysBind, s6, p4, n4), errAFNoSupport},
		{"connect other family", n.call(sysConnect, s6, p4, n4), errAFNoSupport},
		{"listen bad descriptor", n.call(sysListen, 1000, 1), errBadF},
		{"send out of band", n.call(sysSendto, s4, n.buf, 1, msgOOB, 0, 0), errOpNotSupp},
		{"recv out of band", n.call(sysRecvfrom, s4, n.buf, 1, msgOOB, 0, 0), errInval},
		{"ioctl TCGETS", n.call(sysIoctl, s4, 0x5401, n.page), errNotTTY},
		{"v6 option of a v4 socket", n.setOption(s4, solIPv6, 26, 1), errNoProtoOpt},
		{"unknown option", n.setOption(s4, solSocket, 77, 1), errNoProtoOpt},
		{"unknown level", n.setOption(s4, 132, 1, 1), errNoProtoOpt},
		{"unknown option to get", n.option(s4, solTCP, 11), errNoProtoOpt},
		{"SO_ERROR cannot be set", n.setOption(s4, solSocket, 4, 1), errNoProtoOpt},
		{"short option", n.call(sysSetsockopt, s4, solTCP, 1, n.page, 3), errInval},
		{"keepalive of nothing", n.setOption(s4, solTCP, 4, 0), errInval},
		{"bind", n.call(sysBind, s4, p4, n4), 0},
		{"bind again", n.call(sysBind, s4, p4, n4), errInval},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", c.what, int64(c.got), int64(c.want))
		}
	}
	if got := n.name(sysGetsockname, s4); got != "127.0.0.1:80" {
		t.Errorf("bound to %s", got)
	}
	if got := n.name(sysGetsockname, s6); got != "[::]:0" {
		t.Errorf("not bound: %s", got)
	}
	// A local end that the host cannot give.
	p4, n4 = n.addr("127.0.0.1:80")
	n.want("connect", n.call(sysConnect, s4, p4, n4), errAddrNotAvail)
	n.take()
	n.call(sysClose, s4)
	n.call(sysClose, s6)
	n.empty()
}

func TestNoDataChannel(t *testing.T) {
	n := newNet(t, 0)
	s := n.socket(afInet)
	p, size := n.addr("127.0.0.1:80")
	n.want("connect", n.call(sysConnect, s, p, size), errNetDown)
	n.want("listen", n.call(sysListen, s, 1), errNetDown)
	n.events()
	n.call(sysClose, s)
	n.empty()
}

// What package net asks at its start: IPv4, IPv6, and IPv4 on IPv6 sockets.
func TestProbes(t *testing.T) {
	n := newNet(t, 64<<10)
	for _, c := range []struct {
		addr   string
		v6only uint32
	}{{"[::1]:0", 1}, {"[::ffff:7f00:1]:0", 0}} {
		s := n.socket(afInet6)
		n.want("V6ONLY", n.setOption(s, solIPv6, 26, c.v6only), 0)
		p, size := n.addr(c.addr)
		n.want("bind "+c.addr, n.call(sysBind, s, p, size), 0)
		n.want("V6ONLY is", n.option(s, solIPv6, 26), uint64(c.v6only))
		n.want("close", n.call(sysClose, s), 0)
	}
	n.take()
	n.empty()
}

func TestOptions(t *testing.T) {
	n := newNet(t, 64<<10)
	s := n.socket(afInet6)
	for _, c := range []struct {
		level, name uint64
		set         uint32
		get         uint64
	}{
		{solTCP, 1, 7, 1}, {solTCP, 1, 0, 0}, {solSocket, 9, 1, 1}, {solTCP, 4, 15, 15}, {solTCP, 5, 16, 16}, {solTCP, 6, 3, 3},
		{solSocket, 2, 1, 1}, {solSocket, 15, 1, 1}, {solSocket, 8, 10000, 20000}, {solSocket, 7, 1, minBuf}, {solSocket, 8, 1 << 30, wire.Window},
		{solIPv6, 16, 9, 9}, {solIP, 2, 33, 33}, {solTCP, 18, 5000, 5000},
	} {
		n.want("setsockopt", n.setOption(s, c.level, c.name, c.set), 0)
		n.want(fmt.Sprintf("option %d.%d", c.level, c.name), n.option(s, c.level, c.name), c.get)
	}
	for _, c := range []struct{ level, name, set, get uint64 }{
		{solTCP, 999, errNoProtoOpt, errNoProtoOpt}, {solSocket, 999, errNoProtoOpt, errNoProtoOpt}, {99, 1, errNoProtoOpt, errOpNotSupp}, {solTCP, 2, errInval, 0},
	} {
		n.want("setsockopt", n.setOption(s, c.level, c.name, 1), c.set)
		n.want(fmt.Sprintf("getsockopt %d.%d", c.level, c.name), n.call(sysGetsockopt, s, c.level, c.name, n.page+8, n.page), c.get)
	}
	for _, c := range []struct{ name, want uint64 }{{3, sockStream}, {39, afInet6}, {38, protoTCP}, {30, 0}, {4, 0}} {
		n.want("SOL_SOCKET option", n.option(s, solSocket, c.name), c.want)
	}
	// struct linger
	*at[uint32](n.page + 8), *at[uint32](n.page + 12) = 1, 30
	n.want("SO_LINGER", n.call(sysSetsockopt, s, solSocket, 13, n.page+8, 8), 0)
	*at[uint32](n.page), *at[uint64](n.page + 8) = 8, 0
	n.want("SO_LINGER", n.call(sysGetsockopt, s, solSocket, 13, n.page+8, n.page), 0)
	n.want("linger", *at[uint64](n.page + 8), 30<<32|1)
}

func TestHalfClose(t *testing.T) {
	n := newNet(t, 64<<10)
	_, _, s := n.pair()
	n.sendType(wire.TcpData, 7, "last words")
	n.sendType(wire.TcpFin, 7, "")
	n.event(s, pollIn|pollOut|pollRdHup)
	if r, _ := n.read(s, 4); r != "last" {
		t.Errorf("read %q", r)
	}
	*at[uint64](n.page) = 0
	n.want("FIONREAD", n.call(sysIoctl, s, ioFIONREAD, n.page), 0)
	n.want("FIONREAD", *at[uint64](n.page), 6)
	n.want("peek", n.call(sysRecvfrom, s, n.buf, 100, msgPeek, 0, 0), 6)
	if r, _ := n.read(s, 100); r != " words" {
		t.Errorf("read %q", r)
	}
	for range 2 {
		r, e := n.read(s, 100)
		if r != "" || e != 0 {
			t.Errorf("at the end: %q %d", r, int64(e))
		}
	}
	// The other direction is open still.
	n.want("write", n.write(s, "answer"), 6)
	n.want("shutdown", n.call(sysShutdown, s, shutWr), 0)
	n.take(wire.TcpFin)
	n.want("shutdown", n.call(sysShutdown, s, shutWr), 0)
	n.take()
	n.want("write", n.write(s, "x"), errPipe)
	n.event(s, pollIn|pollOut|pollRdHup|pollHup)
	if string(n.data[7]) != "answer" {
		t.Errorf("the host got %q", n.data[7])
	}
	n.sendType(wire.TcpClose, 7, "")
	n.events()
	n.take(wire.TcpClose)
	if r, e := n.read(s, 1); r != "" || e != 0 {
		t.Errorf("after the end: %q %d", r, int64(e))
	}
	n.want("close", n.call(sysClose, s), 0)
	n.take()
}

// After shutdown(SHUT_RD) what comes is thrown away, and the peer is not held back.
func TestShutdownRead(t *testing.T) {
	n := newNet(t, 1<<20)
	_, _, s := n.pair()
	n.want("shutdown", n.call(sysShutdown, s, shutRd), 0)
	n.event(s, pollIn|pollOut|pollRdHup)
	grant, credited := wire.FirstWindow, 0
	n.answer = func(m message) bool {
		if m.t == wire.TcpCredit {
			c := int(le([]byte(m.payload)))
			grant += c
			credited += c
		}
		return true
	}
	for i := 0; i < 100; i++ {
		k := min(grant, 10000)
		if k == 0 {
			t.Fatal("the peer is held back")
		}
		n.sendType(wire.TcpData, 7, strings.Repeat("x", k))
		grant -= k
		n.events()
	}
	if r, e := n.read(s, 1); r != "" || e != 0 {
		t.Errorf("read %q %d", r, int64(e))
	}
	if pool.used != uint64(sockTop+perPage-1)/perPage {
		t.Error("it was kept")
	}
}

func TestReset(t *testing.T) {
	n := newNet(t, 64<<10)
	l, lid, s := n.pair()
	n.sendType(wire.TcpData, 7, "data")
	n.fail(7, 104)
	n.event(s, pollIn|pollOut|pollErr|pollHup|pollRdHup)
	n.take(wire.TcpClose)
	if r, _ := n.read(s, 100); r != "data" {
		t.Errorf("read %q", r)
	}
	_, e := n.read(s, 100)
	n.want("read", e, errConnReset)
	if r, e := n.read(s, 100); r != "" || e != 0 {
		t.Errorf("then %q %d", r, int64(e))
	}
	n.want("write", n.write(s, "x"), errPipe)
	n.call(sysClose, s)
	n.take()

	s = n.accepted(l, lid, 9, "10.0.0.1:1000", "127.0.0.1:80")
	n.fail(9, 104)
	n.events()
	n.want("write", n.write(s, "x"), errConnReset)
	n.want("write", n.write(s, "x"), errPipe)
	n.call(sysClose, s)
	// The id is free again.
	s = n.accepted(l, lid, 9, "10.0.0.1:1000", "127.0.0.1:80")
	// The host ends it without the end of the data: the program must not take it
	// for the whole.
	n.sendType(wire.TcpClose, 9, "")
	n.events()
	_, e = n.read(s, 100)
	n.want("read", e, errConnReset)
	n.call(sysClose, s)
	n.call(sysClose, l)
	n.sendType(wire.TcpClose, lid, "")
	n.events()
	n.empty()
}

// Without credit a write is held back, and goes on when it comes.
func TestSendWindow(t *testing.T) {
	n := newNet(t, 1<<20)
	_, _, s := n.pair()
	big := strings.Repeat("0123456789abcdef", 40<<10) // 640 KiB
	n.want("write", n.write(s, big), wire.Window)
	n.want("write", n.write(s, big), errAgain)
	n.event(s, 0)
	if len(n.data[7]) != wire.Window {
		t.Fatalf("the host got %d bytes", len(n.data[7]))
	}
	n.send(wire.AppendCredit(nil, 7, 1000))
	n.event(s, pollOut)
	n.want("write", n.write(s, big[wire.Window:]), 1000)
	n.want("write", n.write(s, "x"), errAgain)
	// Credit that comes while the host flushes is used in the same call.
	n.answer = func(m message) bool {
		if m.t == wire.TcpData {
			n.send(wire.AppendCredit(nil, 7, uint32(len(m.payload))))
		}
		return true
	}
	n.send(wire.AppendCredit(nil, 7, wire.Window))
	rest := big[wire.Window+1000:]
	n.want("write", n.write(s, rest), uint64(len(rest)))
	if string(n.data[7]) != big {
		t.Error("the host got something else")
	}
}

// A host that does not take its messages fills the ring: writes are held back,
// control messages wait, and all go on when there is room.
func TestRingFull(t *testing.T) {
	n := newNet(t, 8<<10)
	l, lid, s := n.pair()
	n.mute = true
	sent := uint64(0)
	for {
		r := n.write(s, strings.Repeat("y", 3000))
		if r == errAgain {
			break
		}
		if failed(r) {
			t.Fatal(int64(r))
		}
		sent += r
	}
	n.want("write", n.write(s, "x"), errAgain)
	n.event(s, 0)
	// More control messages than there is room for.
	var socks []uint64
	for range 300 {
		c := n.socket(afInet)
		p, size := n.addr("10.0.0.1:1")
		n.want("connect", n.call(sysConnect, c, p, size), errInProgress)
		socks = append(socks, c)
	}
	for _, c := range socks[100:] {
		n.call(sysClose, c) // those of which the host has not heard leave no trace
	}
	n.call(sysShutdown, s, shutWr)
	n.mute = false
	n.flush()
	for range 100 {
		n.events()
	}
	if uint64(len(n.data[7])) != sent {
		t.Errorf("the host got %d bytes, want %d", len(n.data[7]), sent)
	}
	count := map[wire.Type]int{}
	for _, m := range n.got {
		count[m.t]++
		if m.t == wire.TcpConnect || m.t == wire.TcpClose {
			continue
		}
	}
	if count[wire.TcpFin] != 1 || count[wire.TcpConnect] < 100 || count[wire.TcpConnect] != 100+count[wire.TcpClose] {
		t.Errorf("messages %v", count)
	}
	if net.full != 0 || net.oweHead != 0 {
		t.Error("something still waits")
	}
	n.call(sysClose, l)
	_ = lid
}

// EPOLLOUT comes when the host makes room in the ring.
func TestRingFullThenRoom(t *testing.T) {
	n := newNet(t, 8<<10)
	_, _, s := n.pair()
	n.mute = true
	for n.write(s, strings.Repeat("y", 3000)) != errAgain {
	}
	n.event(s, 0)
	n.mute = false
	n.event(s, pollOut) // looking makes room
	n.want("write", n.write(s, "x"), 1)
}

// A thread that asks for events without waiting makes the host look at its sockets, but
// not each time: the host has just been there.
func TestLooks(t *testing.T) {
	n := newNet(t, 1<<20)
	n.pair()
	tsc := uint64(1 << 40)
	machine.readTSC = func() uint64 { return tsc }
	later := func(ns uint64) { tsc += ns<<32/load(clockPage+16) + 1 }
	later(second)
	looks := n.looks
	n.events()
	n.events()
	later(lookEvery / 2)
	n.events()
	if n.looks != looks+1 {
		t.Errorf("%d looks at once, want 1", n.looks-looks)
	}
	later(lookEvery)
	n.events()
	if n.looks != looks+2 {
		t.Errorf("%d looks when it is time again, want 2", n.looks-looks)
	}
}
