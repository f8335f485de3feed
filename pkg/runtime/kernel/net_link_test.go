package kernel

import (
	"syscall"
	"testing"
)

// What Go's own parser makes of the answers is the loopback interface.
func TestNetlink(t *testing.T) {
	e := newEnclave(t)
	e.boot(t)
	th := threadAt(0)
	p := e.user(t, pageSize)
	call := func(nr uint64, args ...uint64) uint64 {
		args = append(args, make([]uint64, 6-len(args))...)
		return trap(&frame{ax: nr, di: args[0], si: args[1], dx: args[2], r10: args[3], r8: args[4], r9: args[5]}, th)
	}
	ask := func(s uint64, typ uint16, size uint64) []syscall.NetlinkMessage {
		t.Helper()
		zero(p, netlinkHeader)
		*at[uint16](p + 4), *at[uint32](p + 8) = typ, 7
		if r := call(sysSendto, s, p, 17, 0, p+100, 12); r != 17 {
			t.Fatalf("sendto: %d", int64(r))
		}
		*at[uint32](p + 200) = 12
		n := call(sysRecvfrom, s, p+256, size, 0, p+100, p+200)
		if failed(n) {
			t.Fatalf("recvfrom: %d", int64(n))
		}
		if *at[uint16](p + 100) != afNetlink || *at[uint32](p + 200) != 12 {
			t.Error("from whom?")
		}
		msgs, err := syscall.ParseNetlinkMessage(span(p+256, n))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range msgs {
			if m.Header.Seq != 7 || m.Header.Pid != pid || m.Header.Flags != syscall.NLM_F_MULTI {
				t.Errorf("%+v", m.Header)
			}
		}
		if msgs[len(msgs)-1].Header.Type != syscall.NLMSG_DONE {
			t.Error("no end")
		}
		return msgs[:len(msgs)-1]
	}
	attrs := func(m *syscall.NetlinkMessage) map[uint16]string {
		t.Helper()
		list, err := syscall.ParseNetlinkRouteAttr(m)
		if err != nil {
			t.Fatal(err)
		}
		found := map[uint16]string{}
		for _, a := range list {
			found[a.Attr.Type] = string(a.Value)
		}
		return found
	}

	s := call(sysSocket, afNetlink, sockRaw|sockCloexec, netlinkRoute)
	if failed(s) || call(sysBind, s, p, 12) != 0 {
		t.Fatalf("socket: %d", int64(s))
	}
	*at[uint32](p + 200) = 12
	if r := call(sysGetsockname, s, p+100, p+200); r != 0 || *at[uint32](p + 104) != pid {
		t.Errorf("getsockname: %d", int64(r))
	}
	links := ask(s, syscall.RTM_GETLINK, 1000)
	if len(links) != 1 || links[0].Header.Type != syscall.RTM_NEWLINK {
		t.Fatalf("%+v", links)
	}
	if a := attrs(&links[0]); a[syscall.IFLA_IFNAME] != "lo\x00" || a[syscall.IFLA_MTU] != "\x00\x00\x01\x00" {
		t.Errorf("%v", a)
	}
	addrs := ask(s, syscall.RTM_GETADDR, 1000)
	if len(addrs) != 2 || attrs(&addrs[0])[syscall.IFA_LOCAL] != "\x7f\x00\x00\x01" || len(attrs(&addrs[1])[syscall.IFA_ADDRESS]) != 16 {
		t.Errorf("%+v", addrs)
	}

	for _, c := range []struct {
		what      string
		got, want uint64
	}{
		{"an answer without a question", call(sysRecvfrom, s, p, 1000), errAgain},
		{"a question that is too short", call(sysSendto, s, p, 15), errInval},
		{"another question", func() uint64 { *at[uint16](p + 4) = 19; return call(sysSendto, s, p, 17) }(), errOpNotSupp},
		{"too little room", func() uint64 {
			*at[uint16](p + 4) = rtmGetAddr
			call(sysSendto, s, p, 17)
			return call(sysRecvfrom, s, p, 100)
		}(), errMsgSize},
		{"listen", call(sysListen, s, 1), errOpNotSupp},
		{"read", call(sysRead, s, p, 100), errBadF},
		{"another protocol", call(sysSocket, afNetlink, sockRaw, 9), errProtoNoSupport},
		{"a stream", call(sysSocket, afNetlink, sockStream, netlinkRoute), errProtoNoSupport},
		{"close", call(sysClose, s), 0},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", c.what, int64(c.got), int64(c.want))
		}
	}
}

func TestSysinfo(t *testing.T) {
	e := newEnclave(t)
	e.boot(t)
	p := e.user(t, pageSize)
	if r := trap(&frame{ax: sysSysinfo, di: p}, threadAt(0)); r != 0 {
		t.Fatal(int64(r))
	}
	total, free := load(p+32), load(p+40)
	if total != e.HeapEnd-e.HeapLo || free == 0 || free >= total || *at[uint32](p + 104) != 1 {
		t.Errorf("%d of %d free", free, total)
	}
}
