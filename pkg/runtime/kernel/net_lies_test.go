package kernel

import (
	"strings"
	"testing"

	ring "github.com/enclaveos/eos/pkg/channel"
	wire "github.com/enclaveos/eos/pkg/channel/wire"
)

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
