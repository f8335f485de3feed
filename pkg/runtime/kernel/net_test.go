package kernel

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	ring "github.com/enclaveos/eos/pkg/channel"
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
		{1, sockStream, 0, errAFNoSupport}, {16, 3, 0, errAFNoSupport}, {0, sockStream, 0, errAFNoSupport},
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

func TestListen(t *testing.T) {
	for _, c := range []struct {
		family      uint64
		v6only      uint32
		bind, asks  string
		says, local string
	}{
		{afInet6, 0, "[::]:443", ":443", "[::]:443", "[::]:443"},
		{afInet6, 1, "[::]:443", "[::]:443", "[::]:443", "[::]:443"},
		{afInet, 0, "0.0.0.0:0", "0.0.0.0:0", "0.0.0.0:4711", "0.0.0.0:4711"},
		{afInet6, 0, "[::ffff:7f00:1]:80", "127.0.0.1:80", "127.0.0.1:80", "127.0.0.1:80"},
		{afInet6, 0, "[::1]:80", "[::1]:80", "[::1]:80", "[::1]:80"},
	} {
		n := newNet(t, 64<<10)
		s := n.socket(c.family)
		if c.family == afInet6 {
			n.setOption(s, solIPv6, 26, c.v6only)
		}
		p, size := n.addr(c.bind)
		n.want("bind", n.call(sysBind, s, p, size), 0)
		var id uint32
		n.answer = func(m message) bool {
			if m.t == wire.TcpListen {
				if m.payload != c.asks+"\n77" {
					t.Errorf("bound to %s, asks for %q", c.bind, m.payload)
				}
				id = m.id
				n.sendType(wire.TcpListening, m.id, c.says)
			}
			return true
		}
		n.want("listen", n.call(sysListen, s, 77), 0)
		n.want("listen again", n.call(sysListen, s, 77), 0)
		if got := n.name(sysGetsockname, s); got != c.local {
			t.Errorf("listens on %s, want %s", got, c.local)
		}
		n.want("SO_ACCEPTCONN", n.option(s, solSocket, 30), 1)
		n.want("accept", n.call(sysAccept4, s, 0, 0, 0x800), errAgain)
		n.want("connect", n.call(sysConnect, s, p, size), errIsConn)
		n.answer = nil
		n.call(sysClose, s)
		n.take(wire.TcpClose)
		n.sendType(wire.TcpClose, id, "")
		n.events()
		n.empty()
	}
}

func TestListenRefused(t *testing.T) {
	n := newNet(t, 64<<10)
	s := n.socket(afInet)
	p, size := n.addr("127.0.0.1:80")
	n.want("bind", n.call(sysBind, s, p, size), 0)
	asked := 0
	n.answer = func(m message) bool {
		if m.t != wire.TcpListen {
			return false
		}
		if asked++; asked == 1 {
			n.fail(m.id, 98)
		} else {
			n.sendType(wire.TcpListening, m.id, "127.0.0.1:80")
		}
		return true
	}
	n.want("listen", n.call(sysListen, s, 1), ^uint64(98-1))
	n.take(wire.TcpClose)
	n.want("SO_ERROR", n.option(s, solSocket, 4), 0)
	// The address is free now.
	n.want("listen", n.call(sysListen, s, 1), 0)
	n.call(sysClose, s)
	n.sendType(wire.TcpClose, n.take(wire.TcpClose)[0].id, "")
	n.events()
	n.empty()
}

func TestAccept(t *testing.T) {
	n := newNet(t, 64<<10)
	l, lid := n.listening(afInet6, "[::]:80", "[::]:80")
	n.event(l, 0)
	n.incoming(lid, 5, "10.1.2.3:4000", "127.0.0.1:80")
	n.incoming(lid, 0x3fffffff, "[2001:db8::7]:5000", "[::1]:80")
	n.incoming(lid, 6, "10.1.2.3:4001", "127.0.0.1:80")
	n.sendType(wire.TcpData, 5, "early")
	n.event(l, pollIn)
	n.event(l, 0) // an edge
	*at[uint32](n.page) = 28
	a := n.call(sysAccept4, l, n.page+512, n.page, sockNonblok|sockCloexec)
	if got := n.addrAt(n.page+512, *at[uint32](n.page)); got != "10.1.2.3:4000" || *at[uint16](n.page + 512) != afInet6 {
		t.Errorf("accepted from %s, family %d", got, *at[uint16](n.page + 512))
	}
	n.watch(a)
	n.event(a, pollIn|pollOut)
	if got := n.name(sysGetsockname, a); got != "127.0.0.1:80" {
		t.Errorf("local end %s", got)
	}
	if r, _ := n.read(a, 100); r != "early" {
		t.Errorf("read %q", r)
	}
	b := n.call(sysAccept, l, 0, 0)
	if got := n.name(sysGetpeername, b); got != "[2001:db8::7]:5000" {
		t.Errorf("peer %s", got)
	}
	if d := fdAt(b); d.flags&oNONBLOCK != 0 {
		t.Error("accept made a descriptor that does not block")
	}
	// Closing the listener ends who was not accepted; a connection that crosses is
	// sent away.
	n.got = nil
	n.call(sysClose, l)
	got := n.take(wire.TcpClose, wire.TcpClose)
	if got[0].id != 6 || got[1].id != lid {
		t.Errorf("closed %v", got)
	}
	n.incoming(lid, 8, "10.1.2.3:4002", "127.0.0.1:80")
	n.sendType(wire.TcpData, 8, "crossing")
	n.sendType(wire.TcpData, 6, "crossing")
	n.sendType(wire.TcpFin, 6, "")
	n.events()
	if got := n.take(wire.TcpClose); got[0].id != 8 {
		t.Errorf("closed %v", got)
	}
	for _, id := range []uint32{6, 8, lid} {
		n.sendType(wire.TcpClose, id, "")
	}
	n.call(sysClose, a)
	n.call(sysClose, b)
	n.take(wire.TcpClose, wire.TcpClose)
	n.fail(5, 104)
	n.sendType(wire.TcpClose, 0x3fffffff, "")
	n.events()
	n.empty()
	if net.dead {
		t.Error(net.status)
	}
}

func TestConnect(t *testing.T) {
	n := newNet(t, 64<<10)
	s := n.socket(afInet)
	p, size := n.addr("93.184.216.34:80")
	n.want("connect", n.call(sysConnect, s, p, size), errInProgress)
	got := n.take(wire.TcpConnect)
	if got[0].payload != "93.184.216.34:80" {
		t.Errorf("asks for %q", got[0].payload)
	}
	n.watch(s)
	n.event(s, 0)
	n.want("connect", n.call(sysConnect, s, p, size), errAlready)
	n.want("getpeername", n.call(sysGetpeername, s, p, n.page), errNotConn)
	n.want("write", n.write(s, "x"), errAgain)
	_, e := n.read(s, 1)
	n.want("read", e, errAgain)
	n.sendType(wire.TcpConnected, got[0].id, "192.168.0.2:40000\n93.184.216.34:80")
	n.event(s, pollOut)
	n.want("SO_ERROR", n.option(s, solSocket, 4), 0)
	if l, r := n.name(sysGetsockname, s), n.name(sysGetpeername, s); l != "192.168.0.2:40000" || r != "93.184.216.34:80" {
		t.Errorf("%s to %s", l, r)
	}
	n.want("connect", n.call(sysConnect, s, p, size), errIsConn)
	n.want("write", n.write(s, "GET"), 3)
	if string(n.data[got[0].id]) != "GET" {
		t.Errorf("the host got %q", n.data[got[0].id])
	}
	n.call(sysClose, s)
	n.take(wire.TcpClose)
	n.sendType(wire.TcpClose, got[0].id, "")
	n.events()
	n.empty()
}

func TestConnectFails(t *testing.T) {
	n := newNet(t, 64<<10)
	for _, c := range []struct {
		errno int32
		want  uint64
	}{{111, errConnRefused}, {110, errTimedOut}, {113, ^uint64(113 - 1)}, {11, errIO}, {4095, errIO}, {0, errConnReset}} {
		s := n.socket(afInet)
		p, size := n.addr("10.0.0.1:1")
		n.want("connect", n.call(sysConnect, s, p, size), errInProgress)
		n.watch(s)
		n.event(s, 0)
		id := n.take(wire.TcpConnect)[0].id
		if c.errno != 0 {
			n.fail(id, c.errno)
		} else {
			n.sendType(wire.TcpClose, id, "")
		}
		n.event(s, pollIn|pollOut|pollErr|pollHup|pollRdHup)
		n.take(wire.TcpClose)
		n.want("SO_ERROR", n.option(s, solSocket, 4), -c.want)
		n.want("SO_ERROR", n.option(s, solSocket, 4), 0)
		n.want("getpeername", n.call(sysGetpeername, s, p, n.page), errNotConn)
		n.want("connect", n.call(sysConnect, s, p, size), errConnAborted)
		n.call(sysClose, s)
		n.take()
	}
	n.empty()

	// A socket that blocks, an answer at once and one later.
	for _, c := range []struct {
		now   bool
		errno int32
		want  uint64
	}{{true, 111, errConnRefused}, {false, 111, errConnRefused}, {true, 0, 0}, {false, 0, 0}} {
		var id uint32
		reply := func() {
			if c.errno != 0 {
				n.fail(id, c.errno)
			} else {
				n.sendType(wire.TcpConnected, id, "1.1.1.1:1\n10.0.0.1:1")
			}
		}
		n.answer = func(m message) bool {
			if m.t == wire.TcpConnect {
				id = m.id
				if c.now {
					reply()
				}
			}
			return true
		}
		n.park = nil
		if !c.now {
			n.park = func() { n.park = nil; reply() }
		}
		s := n.call(sysSocket, afInet, sockStream, 0)
		p, size := n.addr("10.0.0.1:1")
		n.want("connect", n.call(sysConnect, s, p, size), c.want)
		n.call(sysClose, s)
		if c.errno == 0 {
			n.sendType(wire.TcpClose, id, "")
		}
		n.events()
	}
	n.empty()
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

func TestDup(t *testing.T) {
	n := newNet(t, 64<<10)
	_, _, s := n.pair()
	d := n.call(sysFcntl, s, fDupFDCloexec, 0)
	n.watch(d)
	n.events()
	n.sendType(wire.TcpData, 7, "both")
	ev := n.events()
	if ev[s] != pollIn|pollOut || ev[d] != pollIn|pollOut {
		t.Errorf("events %v", ev)
	}
	n.call(sysClose, s)
	n.take()
	if r, _ := n.read(d, 10); r != "both" {
		t.Errorf("read %q", r)
	}
	n.sendType(wire.TcpData, 7, "one")
	if ev := n.events(); ev[d] != pollIn|pollOut || len(ev) != 1 {
		t.Errorf("events %v", ev)
	}
	n.call(sysClose, d)
	n.take(wire.TcpClose)
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

// What the host must not do, and what is said of it.
func TestLies(t *testing.T) {
	type script func(n *netTest, lid uint32, l, s uint64)
	raw := func(b ...byte) script { return func(n *netTest, lid uint32, l, s uint64) { n.send(b) } }
	typ := func(ty wire.Type, id uint32, payload string) script {
		return func(n *netTest, lid uint32, l, s uint64) { n.sendType(ty, id, payload) }
	}
	for name, c := range map[string]struct {
		lie    script
		status ring.Status
		fault  wire.Fault
	}{
		"short message":         {raw(2, 0, 0), ring.ErrMessage, wire.FaultShort},
		"empty frame":           {raw(), ring.ErrMessage, wire.FaultShort},
		"unknown type":          {raw(0x99, 7, 0, 0, 0), ring.ErrMessage, wire.FaultType},
		"a type of ours":        {typ(wire.TcpConnect, 0x80000000, "1.2.3.4:5"), ring.ErrMessage, wire.FaultType},
		"id of nobody":          {typ(wire.TcpData, 8, "x"), ring.ErrMessage, wire.Sound},
		"fin of nobody":         {typ(wire.TcpFin, 8, ""), ring.ErrMessage, wire.Sound},
		"close of nobody":       {typ(wire.TcpClose, 0x80001234, ""), ring.ErrMessage, wire.Sound},
		"id out of range":       {typ(wire.TcpData, 0x40000000, "x"), ring.ErrMessage, wire.FaultID},
		"no data":               {typ(wire.TcpData, 7, ""), ring.ErrMessage, wire.FaultLength},
		"close with a payload":  {typ(wire.TcpClose, 7, "x"), ring.ErrMessage, wire.FaultLength},
		"too long":              {typ(wire.TcpError, 7, strings.Repeat("e", wire.MaxControl)), ring.ErrMessage, wire.FaultLength},
		"credit of nothing":     {typ(wire.TcpCredit, 7, "\x00\x00\x00\x00"), ring.ErrMessage, wire.FaultValue},
		"too much credit":       {typ(wire.TcpCredit, 7, "\x01\x00\x00\x00"), ring.ErrCreditAbused, wire.Sound},
		"overflowing credit":    {typ(wire.TcpCredit, 7, "\xff\xff\xff\xff"), ring.ErrCreditAbused, wire.Sound},
		"more than granted":     {typ(wire.TcpData, 7, strings.Repeat("x", wire.FirstWindow+1)), ring.ErrCreditAbused, wire.Sound},
		"errno of nothing":      {typ(wire.TcpError, 7, "\x00\x00\x00\x00"), ring.ErrMessage, wire.FaultValue},
		"connected unasked":     {typ(wire.TcpConnected, 0x80000000, "1.1.1.1:1\n1.1.1.1:1"), ring.ErrMessage, wire.Sound},
		"connected an incoming": {typ(wire.TcpConnected, 7, "1.1.1.1:1\n1.1.1.1:1"), ring.ErrMessage, wire.FaultID},
		"address of garbage":    {typ(wire.TcpListening, 0x80000000, "example.com:80"), ring.ErrMessage, wire.FaultText},
		"listening twice": {func(n *netTest, lid uint32, l, s uint64) { n.sendType(wire.TcpListening, lid, "1.1.1.1:1") },
			ring.ErrMessage, wire.Sound},
		"data for a listener": {func(n *netTest, lid uint32, l, s uint64) { n.sendType(wire.TcpData, lid, "x") }, ring.ErrMessage, wire.Sound},
		"new with an id in use": {func(n *netTest, lid uint32, l, s uint64) { n.incoming(lid, 7, "1.1.1.1:1", "1.1.1.1:1") },
			ring.ErrMessage, wire.Sound},
		"new for no listener": {func(n *netTest, lid uint32, l, s uint64) { n.incoming(lid+1, 9, "1.1.1.1:1", "1.1.1.1:1") },
			ring.ErrMessage, wire.Sound},
		"new for a connection": {func(n *netTest, lid uint32, l, s uint64) { n.incoming(7, 9, "1.1.1.1:1", "1.1.1.1:1") },
			ring.ErrMessage, wire.Sound},
		"fin twice": {func(n *netTest, lid uint32, l, s uint64) {
			n.sendType(wire.TcpFin, 7, "")
			n.sendType(wire.TcpFin, 7, "")
		}, ring.ErrMessage, wire.Sound},
		"data behind the fin": {func(n *netTest, lid uint32, l, s uint64) {
			n.sendType(wire.TcpFin, 7, "")
			n.sendType(wire.TcpData, 7, "x")
		}, ring.ErrMessage, wire.Sound},
		"data behind the end": {func(n *netTest, lid uint32, l, s uint64) {
			n.sendType(wire.TcpClose, 7, "")
			n.sendType(wire.TcpData, 7, "x")
		}, ring.ErrMessage, wire.Sound},
		"end twice": {func(n *netTest, lid uint32, l, s uint64) {
			n.call(sysClose, s)
			n.sendType(wire.TcpClose, 7, "")
			n.sendType(wire.TcpClose, 7, "")
		}, ring.ErrMessage, wire.Sound},
		"cursor back": {func(n *netTest, lid uint32, l, s uint64) { store(data.h2eHead, load(data.h2eHead)-8) },
			ring.ErrCursorBack, wire.Sound},
		"cursor far ahead": {func(n *netTest, lid uint32, l, s uint64) { store(data.h2eHead, load(data.h2eHead)+1<<40) },
			ring.ErrCursorAhead, wire.Sound},
		"half a frame header": {func(n *netTest, lid uint32, l, s uint64) { store(data.h2eHead, load(data.h2eHead)+3) },
			ring.ErrFrameCut, wire.Sound},
		"consumer ahead": {func(n *netTest, lid uint32, l, s uint64) {
			store(data.e2hHead+64, load(data.e2hHead)+1<<40)
			n.mute = true
			for !net.dead {
				if r := n.write(s, strings.Repeat("x", 60000)); r == errAgain {
					n.Fatal("not seen")
				}
			}
		}, ring.ErrCursorAhead, wire.Sound},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNet(t, 128<<10)
			l, lid, s := n.pair()
			asking := n.socket(afInet)
			p, size := n.addr("10.0.0.1:1")
			n.want("connect", n.call(sysConnect, asking, p, size), errInProgress)
			n.watch(asking)
			n.events()
			closed := name == "end twice"
			c.lie(n, lid, l, s)
			ev := n.events()
			if !net.dead || net.status != c.status || net.fault != c.fault {
				t.Fatalf("dead %v: %v, %v; want %v, %v", net.dead, net.status, net.fault, c.status, c.fault)
			}
			if out := n.stderr.String(); strings.Count(out, "data channel has ended: "+c.status.String()) != 1 ||
				c.fault != wire.Sound && !strings.Contains(out, c.fault.String()) {
				t.Errorf("stderr %q", out)
			}
			// Everybody hears of it, and nothing blocks.
			for _, d := range []uint64{l, s, asking} {
				if d == s && closed {
					continue
				}
				if ev[d]&(pollErr|pollHup) == 0 && name != "consumer ahead" {
					t.Errorf("events of %d: %#x", d, ev[d])
				}
			}
			if !closed && name != "consumer ahead" {
				for { // what had come before may still be read
					r, e := n.read(s, 100)
					if r == "" {
						n.want("read", e, errConnReset)
						break
					}
				}
			}
			n.want("SO_ERROR", n.option(asking, solSocket, 4), 104)
			n.want("accept", n.call(sysAccept4, l, 0, 0, 0), errIO)
			n.want("accept", n.call(sysAccept4, l, 0, 0, 0), errInval)
			if !closed {
				n.want("write", n.write(s, "x"), errPipe)
			}
			c := n.socket(afInet)
			n.want("connect", n.call(sysConnect, c, p, size), errNetDown)
			n.want("listen", n.call(sysListen, c, 1), errNetDown)
			for _, d := range []uint64{l, s, asking, c} {
				n.call(sysClose, d)
			}
			n.empty()
		})
	}
}

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
