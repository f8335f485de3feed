package wire_test

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/enclaveos/eos/pkg/channel/wire"
)

func addr(s string) wire.Addr {
	ap := netip.MustParseAddrPort(s)
	ip := ap.Addr().As16()
	if ap.Addr().Is4() {
		ip = [16]byte{12: ip[12], 13: ip[13], 14: ip[14], 15: ip[15]} // without the prefix ffff
	}
	return wire.Addr{IP: ip, Is4: ap.Addr().Is4(), Port: ap.Port()}
}

// samples is one message of each type, with its bytes written by hand from the
// table in the package's text.
var samples = []struct {
	name string
	from wire.Side
	hex  string
	made []byte
}{
	{"TcpNew", wire.FromHost, "0107000000" + "00000080" + "312e322e332e343a35" + "0a" + "5b3a3a315d3a3830", wire.AppendNew(nil, 7, 0x80000000, addr("1.2.3.4:5"), addr("[::1]:80"))},
	{"TcpData", wire.FromHost, "02ffffff3f" + "00", wire.Append(nil, wire.TcpData, 0x3fffffff, []byte{0})},
	{"TcpClose", wire.FromEnclave, "0301000080", wire.Append(nil, wire.TcpClose, 0x80000001, nil)},
	{"DataReady", wire.FromEnclave, "0400000000", wire.Append(nil, wire.DataReady, 0, nil)},
	{"TcpConnect", wire.FromEnclave, "05ffffffff" + "613a31", wire.Append(nil, wire.TcpConnect, 0xffffffff, []byte("a:1"))},
	{"TcpConnected", wire.FromHost, "06ffffffff" + "312e322e332e343a35" + "0a" + "302e302e302e303a30", wire.AppendConnected(nil, 0xffffffff, addr("1.2.3.4:5"), addr("0.0.0.0:0"))},
	{"Tick", wire.FromHost, "0700000000", wire.Append(nil, wire.Tick, 0, nil)},
	{"TcpListen", wire.FromEnclave, "1000000080" + "3a38300a313238", wire.AppendListen(nil, 0x80000000, []byte(":80"), 128)},
	{"TcpListening", wire.FromHost, "1100000080" + "302e302e302e303a3830", wire.Append(nil, wire.TcpListening, 0x80000000, wire.AppendAddr(nil, addr("0.0.0.0:80")))},
	{"TcpFin", wire.FromEnclave, "1201000000", wire.Append(nil, wire.TcpFin, 1, nil)},
	{"TcpCredit", wire.FromEnclave, "1301000000" + "00000100", wire.AppendCredit(nil, 1, 0x10000)},
	{"TcpError", wire.FromHost, "1401000080" + "6f000000" + "6e6f", wire.AppendError(nil, 0x80000001, 111, "no")},
	{"TcpReset", wire.FromEnclave, "1501000080", wire.Append(nil, wire.TcpReset, 0x80000001, nil)},
}

func TestMessages(t *testing.T) {
	for _, tt := range samples {
		want, _ := hex.DecodeString(tt.hex)
		if !bytes.Equal(tt.made, want) {
			t.Errorf("%s: appended\n%x, want\n%x", tt.name, tt.made, want)
		}
		m, f := wire.Parse(want, tt.from)
		if f != wire.Sound || m.Type.String() != tt.name {
			t.Errorf("%s: parsed as %v: %v", tt.name, m.Type, f)
			continue
		}
		if got := wire.Append(nil, m.Type, m.ID, m.Payload); !bytes.Equal(got, want) {
			t.Errorf("%s: %x becomes %x", tt.name, want, got)
		}
		switch m.Type {
		case wire.TcpData, wire.TcpError, wire.TcpNew, wire.TcpListen, wire.TcpConnected, wire.TcpConnect, wire.TcpListening:
			// A text may be longer or shorter and still be one: only the fixed part is held.
			want = want[:wire.HeaderSize+map[wire.Type]int{wire.TcpError: 4, wire.TcpNew: 5}[m.Type]]
		}
		for n := range want {
			if _, f := wire.Parse(want[:n], tt.from); f == wire.Sound {
				t.Errorf("%s: prefix of %d bytes parses", tt.name, n)
			}
		}
		if m.Type != wire.TcpError && m.Type != wire.TcpData {
			if _, f := wire.Parse(append(want[:len(want):len(want)], 'x'), tt.from); f == wire.Sound {
				t.Errorf("%s: parses with a byte behind it", tt.name)
			}
		}
	}
}

func TestContents(t *testing.T) {
	m, _ := wire.Parse(samples[0].made, wire.FromHost)
	if l, peer, local := m.New(); l != 0x80000000 || string(peer) != "1.2.3.4:5" || string(local) != "[::1]:80" {
		t.Error("TcpNew", l, string(peer), string(local))
	}
	m, _ = wire.Parse(samples[5].made, wire.FromHost)
	if local, peer := m.Connected(); string(local) != "1.2.3.4:5" || string(peer) != "0.0.0.0:0" {
		t.Error("TcpConnected", string(local), string(peer))
	}
	m, _ = wire.Parse(samples[7].made, wire.FromEnclave)
	if a, n, ok := m.Listen(); !ok || string(a) != ":80" || n != 128 {
		t.Error("TcpListen", string(a), n)
	}
	m, _ = wire.Parse(samples[10].made, wire.FromEnclave)
	if m.Credit() != 65536 {
		t.Error("TcpCredit", m.Credit())
	}
	m, f := wire.Parse(wire.AppendError(nil, 1, 104, "a\n\x1b"+string(make([]byte, 5000))), wire.FromHost)
	if f != wire.Sound {
		t.Fatal(f)
	}
	if e, text := m.Failure(); e != 104 || string(text[:5]) != "a????" || len(text) != wire.MaxControl-9 {
		t.Error("TcpError", e, string(text))
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		from wire.Side
		msg  []byte
		want wire.Fault
	}{
		{"nothing", wire.FromHost, nil, wire.FaultShort},
		{"unknown type", wire.FromHost, []byte{0x08, 1, 0, 0, 0}, wire.FaultType},
		{"type 0", wire.FromHost, []byte{0, 1, 0, 0, 0}, wire.FaultType},
		{"from nobody", 0, samples[1].made, wire.FaultType},
		{"TcpNew from the enclave", wire.FromEnclave, samples[0].made, wire.FaultType},
		{"TcpConnect from the host", wire.FromHost, samples[4].made, wire.FaultType},
		{"TcpListen from the host", wire.FromHost, samples[7].made, wire.FaultType},
		{"DataReady from the host", wire.FromHost, samples[3].made, wire.FaultType},
		{"Tick from the enclave", wire.FromEnclave, samples[6].made, wire.FaultType},
		{"TcpError from the enclave", wire.FromEnclave, samples[11].made, wire.FaultType},
		{"TcpConnected from the enclave", wire.FromEnclave, samples[5].made, wire.FaultType},
		{"TcpListening from the enclave", wire.FromEnclave, samples[8].made, wire.FaultType},
		{"TcpNew with an id of the enclave's", wire.FromHost, wire.AppendNew(nil, 0x80000000, 0x80000000, addr("1.2.3.4:5"), addr("1.2.3.4:5")), wire.FaultID},
		{"TcpConnect with an id of the host's", wire.FromEnclave, wire.Append(nil, wire.TcpConnect, 5, []byte("a:1")), wire.FaultID},
		{"TcpData with id 0", wire.FromHost, wire.Append(nil, wire.TcpData, 0, []byte("x")), wire.FaultID},
		{"TcpData with an id of nobody's", wire.FromHost, wire.Append(nil, wire.TcpData, 0x40000000, []byte("x")), wire.FaultID},
		{"Tick with an id", wire.FromHost, wire.Append(nil, wire.Tick, 1, nil), wire.FaultID},
		{"empty TcpData", wire.FromHost, wire.Append(nil, wire.TcpData, 1, nil), wire.FaultLength},
		{"long TcpData", wire.FromHost, wire.Append(nil, wire.TcpData, 1, make([]byte, wire.MaxData+1)), wire.FaultLength},
		{"TcpFin with a payload", wire.FromHost, wire.Append(nil, wire.TcpFin, 1, []byte("x")), wire.FaultLength},
		{"short TcpCredit", wire.FromHost, wire.Append(nil, wire.TcpCredit, 1, []byte("xyz")), wire.FaultLength},
		{"TcpCredit of 0", wire.FromHost, wire.AppendCredit(nil, 1, 0), wire.FaultValue},
		{"TcpError of 0", wire.FromHost, wire.AppendError(nil, 1, 0, ""), wire.FaultValue},
		{"TcpError of -1", wire.FromHost, wire.AppendError(nil, 1, -1, ""), wire.FaultValue},
		{"TcpError of 4096", wire.FromHost, wire.AppendError(nil, 1, 4096, ""), wire.FaultValue},
		{"TcpError with an escape", wire.FromHost, wire.Append(nil, wire.TcpError, 1, []byte("\x01\x00\x00\x00\x1b[2J")), wire.FaultText},
		{"TcpConnect without a port", wire.FromEnclave, wire.Append(nil, wire.TcpConnect, 0x80000000, []byte("host")), wire.FaultText},
		{"TcpConnect with two lines", wire.FromEnclave, wire.Append(nil, wire.TcpConnect, 0x80000000, []byte("h\n:1")), wire.FaultText},
		{"TcpListen without a backlog", wire.FromEnclave, wire.Append(nil, wire.TcpListen, 0x80000000, []byte(":1")), wire.FaultText},
		{"TcpListen with a backlog of 2^31", wire.FromEnclave, wire.Append(nil, wire.TcpListen, 0x80000000, []byte(":1\n2147483648")), wire.FaultText},
		{"TcpListening with a name", wire.FromHost, wire.Append(nil, wire.TcpListening, 0x80000000, []byte("localhost:1")), wire.FaultText},
		{"TcpConnected with one address", wire.FromHost, wire.Append(nil, wire.TcpConnected, 0x80000000, []byte("1.2.3.4:1")), wire.FaultText},
		{"long control message", wire.FromHost, wire.Append(nil, wire.TcpListening, 0x80000000, make([]byte, 1020)), wire.FaultLength},
	} {
		if _, f := wire.Parse(tt.msg, tt.from); f != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, f, tt.want)
		}
	}
}

func TestAddr(t *testing.T) {
	for _, s := range []string{"0.0.0.0:0", "255.255.255.255:65535", "1.2.3.4:80", "[::]:1", "[::1]:2", "[2001:db8::1]:443", "[1:2:3:4:5:6:7:8]:9",
		"[1::]:1", "[1:0:0:2::]:1", "[1:0:2::3]:1", "[fe80::1:0:0:1]:5", "[0:1::]:1"} {
		a, ok := wire.ParseAddr([]byte(s))
		ap := netip.MustParseAddrPort(s)
		if !ok || a != (wire.Addr{IP: a.IP, Is4: ap.Addr().Is4(), Port: ap.Port()}) {
			t.Errorf("%s: %v %v", s, a, ok)
			continue
		}
		if got := addr(s); got != a {
			t.Errorf("%s: parsed %v, want %v", s, a, got)
		}
		if got := string(wire.AppendAddr(nil, a)); got != ap.String() {
			t.Errorf("%s becomes %s, want %s", s, got, ap)
		}
	}
	for _, s := range []string{"", ":", ":80", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:080", "1.2.3:80", "1.2.3.4.5:80", "1.2.3.04:80", "1.2.3.256:80", "1..2.3:80",
		"::1:80", "[::1]", "[::1]80", "[]:80", "[:]:1", "[:::]:1", "[1:2:3:4:5:6:7]:1", "[1:2:3:4:5:6:7:8:9]:1", "[1:2:3:4:5:6:7::8]x:1", "[1::2::3]:1", "[12345::]:1", "[::1%eth0]:1", "[g::]:1",
		"[1:2:3:4:5:6:7:]:1", "[:1:2:3:4:5:6:7]:1", "[1.2.3.4]:1", "name:80", "[::1]:80 ", "[[::1]]:80", "1.2.3.4:-1", "1.2.3.4:+1", "1.2.3.4:99999999999", "[1:2:3:4:5:6:7:8::]:1"} {
		if a, ok := wire.ParseAddr([]byte(s)); ok {
			t.Errorf("%q parses as %v", s, a)
		}
	}
}

func TestRPC(t *testing.T) {
	want, _ := hex.DecodeString("0807060504030201" + "1003" + "06000000" + "02000000" + "6869")
	got := wire.AppendRequest(nil, wire.Request{ID: 0x0102030405060708, Method: wire.StdioWrite, Payload: wire.AppendStdioWrite(nil, 2, []byte("hi"))})
	if !bytes.Equal(got, want) {
		t.Errorf("request %x, want %x", got, want)
	}
	r, f := wire.ParseRequest(want)
	fd, data, f2 := wire.ParseStdioWrite(r.Payload)
	if f != 0 || f2 != 0 || r.ID != 0x0102030405060708 || r.Method != wire.StdioWrite || fd != 2 || string(data) != "hi" {
		t.Error(r, f, fd, data, f2)
	}
	for n := range want {
		if _, f := wire.ParseRequest(want[:n]); f == wire.Sound {
			t.Errorf("prefix of %d bytes of a request parses", n)
		}
	}
	if _, f := wire.ParseRequest(append(want, 0)); f != wire.FaultLength {
		t.Error("a byte behind a request:", f)
	}

	want, _ = hex.DecodeString("0100000000000000" + "ffffffff" + "01000000" + "78")
	got = wire.AppendResponse(nil, wire.Response{ID: 1, Status: -1, Payload: []byte("x")})
	if !bytes.Equal(got, want) {
		t.Errorf("response %x, want %x", got, want)
	}
	p, f := wire.ParseResponse(want)
	if f != 0 || p.ID != 1 || p.Status != -1 || string(p.Payload) != "x" {
		t.Error(p, f)
	}
	for n := range want {
		if _, f := wire.ParseResponse(want[:n]); f == wire.Sound {
			t.Errorf("prefix of %d bytes of a response parses", n)
		}
	}
	if _, f := wire.ParseResponse(append(want, 0)); f != wire.FaultLength {
		t.Error("a byte behind a response:", f)
	}

	if _, _, f := wire.ParseStdioWrite([]byte{0, 0, 0, 0}); f != wire.FaultValue {
		t.Error("StdioWrite to fd 0:", f)
	}
	if _, _, f := wire.ParseStdioWrite([]byte{1, 0, 0}); f != wire.FaultLength {
		t.Error("short StdioWrite:", f)
	}
	if n, f := wire.ParseStdioRead(wire.AppendStdioRead(nil, 77)); n != 77 || f != 0 {
		t.Error("StdioRead:", n, f)
	}
	if _, f := wire.ParseStdioRead(wire.AppendStdioRead(nil, 0)); f != wire.FaultValue {
		t.Error("StdioRead of 0:", f)
	}
	if _, f := wire.ParseStdioRead(make([]byte, 5)); f != wire.FaultLength {
		t.Error("long StdioRead:", f)
	}
	if l, text, f := wire.ParseLog(wire.AppendLog(nil, -3, []byte("t"))); l != -3 || string(text) != "t" || f != 0 {
		t.Error("Log:", l, text, f)
	}
}

// A codec that is used inside the Go runtime must not allocate.
func TestNoAllocation(t *testing.T) {
	buf := make([]byte, 0, wire.MaxControl)
	a := addr("[2001:db8::1]:443")
	if n := testing.AllocsPerRun(100, func() {
		m := wire.AppendNew(buf[:0], 7, 0x80000000, a, a)
		if _, f := wire.Parse(m, wire.FromHost); f != wire.Sound {
			t.Error(f)
		}
		m = wire.AppendListen(buf[:0], 0x80000000, []byte("h:1"), 5)
		if _, f := wire.Parse(m, wire.FromEnclave); f != wire.Sound {
			t.Error(f)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzMessage(f *testing.F) {
	for _, s := range samples {
		f.Add(s.made, s.from == wire.FromHost)
	}
	f.Fuzz(func(t *testing.T, b []byte, host bool) {
		from := wire.FromEnclave
		if host {
			from = wire.FromHost
		}
		m, fault := wire.Parse(b, from)
		if fault != wire.Sound {
			if m.Type != 0 || m.Payload != nil {
				t.Error("a refused message has a content")
			}
			return
		}
		var again []byte
		switch m.Type {
		case wire.TcpListen:
			addr, n, _ := m.Listen()
			again = wire.AppendListen(nil, m.ID, addr, n)
		case wire.TcpCredit:
			again = wire.AppendCredit(nil, m.ID, m.Credit())
		default:
			again = wire.Append(nil, m.Type, m.ID, m.Payload)
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%x becomes %x", b, again)
		}
	})
}

func FuzzAddr(f *testing.F) {
	for _, s := range []string{"1.2.3.4:5", "[::1]:80", "[1:2:3:4:5:6:7:8]:9", "[1::8]:0", ":80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, ok := wire.ParseAddr([]byte(s))
		ap, err := netip.ParseAddrPort(s)
		zone := err == nil && ap.Addr().Zone() != ""
		tail := err == nil && ap.Addr().Is6() && bytes.ContainsRune([]byte(s), '.')
		if ok != (err == nil && !zone && !tail) && !(err == nil && ap.Port() < 10000 && !ok) {
			t.Fatalf("%q: %v %v, netip: %v %v", s, a, ok, ap, err)
		}
		if !ok {
			return
		}
		if a.IP != ap.Addr().As16() && !a.Is4 || a.Port != ap.Port() || a.Is4 != ap.Addr().Is4() {
			t.Errorf("%q: %v, netip: %v", s, a, ap)
		}
		if b, ok := wire.ParseAddr(wire.AppendAddr(nil, a)); !ok || b != a {
			t.Errorf("%q: %v becomes %v", s, a, b)
		}
	})
}

func FuzzRPC(f *testing.F) {
	f.Add(wire.AppendRequest(nil, wire.Request{ID: 1, Method: 2, Payload: []byte("x")}))
	f.Add(wire.AppendResponse(nil, wire.Response{ID: 1, Status: 2, Payload: []byte("x")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, f := wire.ParseRequest(b); f == wire.Sound && !bytes.Equal(wire.AppendRequest(nil, r), b) {
			t.Errorf("request %x changes", b)
		}
		if r, f := wire.ParseResponse(b); f == wire.Sound && !bytes.Equal(wire.AppendResponse(nil, r), b) {
			t.Errorf("response %x changes", b)
		}
		wire.ParseStdioWrite(b)
		wire.ParseStdioRead(b)
		wire.ParseLog(b)
	})
}
