package kernel

import (
	"testing"

	wire "github.com/enclaveos/eos/pkg/channel/wire"
)

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
