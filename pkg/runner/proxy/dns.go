//go:build linux

package proxy

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/enclaveos/eos/pkg/channel/wire"
)

// The enclave's Go resolver finds one name server, 127.0.0.53, and speaks TCP with
// it (RFC 1035, 4.2.2: each message has its length before it, u16 big-endian). This
// is that server. It asks the host's resolver, so names mean in the enclave what
// they mean on the host. An answer is as untrusted as any from the network.

const (
	dnsA, dnsNS, dnsCNAME, dnsPTR, dnsMX, dnsTXT, dnsAAAA, dnsSRV = 1, 2, 5, 12, 15, 16, 28, 33

	dnsOK, dnsFormat, dnsServer, dnsName, dnsNotImpl = 0, 1, 2, 3, 4

	dnsTTL      = 5    // seconds: the host's resolver has the cache
	dnsMaxAsks  = 64   // queries without an answer, per connection
	dnsMaxQuery = 1024 // bytes
)

// openStub makes an id a connection to the stub.
func (p *Proxy) openStub(c *sock) {
	c.kind = kindStub
	local := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(c.id%28000)+32768)
	c.hello = wire.AppendConnected(nil, c.id, wireAddr(local), wireAddr(netip.MustParseAddrPort(resolverAddr)))
	p.queue(c)
}

// stubData takes bytes of queries.
func (p *Proxy) stubData(c *sock, b []byte) {
	p.taken(c, len(b))
	c.query = append(c.query, b...)
	for len(c.query) >= 2 {
		n := int(binary.BigEndian.Uint16(c.query))
		if n < 12 || n > dnsMaxQuery || c.asks >= dnsMaxAsks || len(c.pending) > wire.Window {
			c.query = nil
			p.end(c, unix.ECONNRESET, "query that is no query")
			return
		}
		if len(c.query) < 2+n {
			return
		}
		q := append([]byte(nil), c.query[2:2+n]...)
		c.query = c.query[2+n:]
		c.asks++
		go func() {
			ctx, cancel := context.WithTimeout(p.ctx, resolveTime)
			defer cancel()
			a := answer(ctx, p.opt.Resolver, q)
			p.later(func() {
				c.asks--
				if p.ids[c.id] != c || c.enclaveEnded {
					return
				}
				c.pending = append(append(c.pending, byte(len(a)>>8), byte(len(a))), a...)
				c.eof = c.fin && c.asks == 0
				p.queue(c)
			})
		}()
	}
}

// stubFin ends the stub's direction behind its last answer.
func (p *Proxy) stubFin(c *sock) {
	c.eof = c.asks == 0
	p.queue(c)
}

// answer makes the answer to one query. It is never longer than 64 KiB - 1.
func answer(ctx context.Context, r *net.Resolver, q []byte) []byte {
	a := append([]byte(nil), q[:12]...)
	a[2] = 0x80 | q[2]&0x79 // an answer; opcode and recursion desired as asked
	a[3] = 0x80             // recursion available
	clear(a[4:])
	rcode := func(n byte) []byte { a[3] |= n; return a }
	if q[2]&0x80 != 0 || binary.BigEndian.Uint16(q[4:]) != 1 {
		return rcode(dnsFormat)
	}
	if q[2]&0x78 != 0 {
		return rcode(dnsNotImpl)
	}
	name, rest, ok := dnsNameOf(q[12:])
	if !ok || len(rest) < 4 {
		return rcode(dnsFormat)
	}
	a[5] = 1 // the question again
	a = append(a, q[12:len(q)-len(rest)+4]...)
	kind, class := binary.BigEndian.Uint16(rest), binary.BigEndian.Uint16(rest[2:])
	if class != 1 {
		return rcode(dnsNotImpl)
	}
	// Without the dot at the end the host looks into its hosts file and search
	// list as for any program of its own.
	if name != "." {
		name = strings.TrimSuffix(name, ".")
	}
	records, err := lookup(ctx, r, name, kind)
	if err != nil {
		var d *net.DNSError
		if errors.As(err, &d) && d.IsNotFound {
			if kind == dnsA || kind == dnsAAAA {
				// There may be addresses of the other family: then the name exists.
				if all, err := r.LookupNetIP(ctx, "ip", name); err == nil && len(all) > 0 {
					return a
				}
			}
			return rcode(dnsName)
		}
		return rcode(dnsServer)
	}
	count := uint16(0)
	for _, data := range records {
		if len(data) > 0xffff || len(a)+12+len(data) > 0xffff {
			break
		}
		a = append(a, 0xc0, 12) // the name is the question's
		a = binary.BigEndian.AppendUint16(a, kind)
		a = binary.BigEndian.AppendUint16(a, 1)
		a = binary.BigEndian.AppendUint32(a, dnsTTL)
		a = binary.BigEndian.AppendUint16(a, uint16(len(data)))
		a = append(a, data...)
		count++
	}
	binary.BigEndian.PutUint16(a[6:], count)
	return a
}

// dnsNameOf reads a name without compression: a query has no place to point to.
func dnsNameOf(b []byte) (name string, rest []byte, ok bool) {
	var s strings.Builder
	for n := 0; ; {
		if len(b) == 0 {
			return "", nil, false
		}
		l := int(b[0])
		b = b[1:]
		if l == 0 {
			if s.Len() == 0 {
				return ".", b, true
			}
			return s.String(), b, true
		}
		if n += l + 1; l > 63 || l > len(b) || n > 254 {
			return "", nil, false
		}
		for _, c := range b[:l] {
			if c <= ' ' || c >= 0x7f || c == '.' {
				return "", nil, false
			}
		}
		s.Write(b[:l])
		s.WriteByte('.')
		b = b[l:]
	}
}

// dnsNameBytes is the inverse of dnsNameOf.
func dnsNameBytes(name string) ([]byte, bool) {
	var b []byte
	for _, l := range strings.Split(strings.TrimSuffix(name, "."), ".") {
		if l == "" && name == "." {
			break
		}
		if l == "" || len(l) > 63 {
			return nil, false
		}
		b = append(append(b, byte(len(l))), l...)
	}
	return append(b, 0), len(b) < 255
}

// lookup asks the host's resolver and gives the data of the records.
func lookup(ctx context.Context, r *net.Resolver, name string, kind uint16) (records [][]byte, err error) {
	named := func(prefix []byte, name string) {
		if b, ok := dnsNameBytes(name); ok {
			records = append(records, append(prefix, b...))
		}
	}
	switch kind {
	case dnsA, dnsAAAA:
		network := "ip4"
		if kind == dnsAAAA {
			network = "ip6"
		}
		addrs, err := r.LookupNetIP(ctx, network, name)
		for _, a := range addrs {
			records = append(records, a.Unmap().AsSlice())
		}
		return records, err
	case dnsCNAME:
		cname, err := r.LookupCNAME(ctx, name)
		if err == nil && !strings.EqualFold(strings.TrimSuffix(cname, "."), name) {
			named(nil, cname)
		}
		return records, err
	case dnsNS:
		all, err := r.LookupNS(ctx, name)
		for _, x := range all {
			named(nil, x.Host)
		}
		return records, err
	case dnsMX:
		all, err := r.LookupMX(ctx, name)
		for _, x := range all {
			named([]byte{byte(x.Pref >> 8), byte(x.Pref)}, x.Host)
		}
		return records, err
	case dnsSRV:
		_, all, err := r.LookupSRV(ctx, "", "", name)
		for _, x := range all {
			named([]byte{byte(x.Priority >> 8), byte(x.Priority), byte(x.Weight >> 8), byte(x.Weight), byte(x.Port >> 8), byte(x.Port)}, x.Target)
		}
		return records, err
	case dnsTXT:
		all, err := r.LookupTXT(ctx, name)
		for _, x := range all {
			var b []byte
			for len(x) > 0 || b == nil {
				n := min(len(x), 255)
				b = append(append(b, byte(n)), x[:n]...)
				x = x[n:]
			}
			records = append(records, b)
		}
		return records, err
	case dnsPTR:
		ip, ok := reverseAddr(name)
		if !ok {
			return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
		}
		all, err := r.LookupAddr(ctx, ip.String())
		for _, x := range all {
			named(nil, x)
		}
		return records, err
	}
	return nil, nil // no records of other types
}

// reverseAddr is the address of a name below in-addr.arpa or ip6.arpa.
func reverseAddr(name string) (netip.Addr, bool) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if s, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		l := strings.Split(s, ".")
		if len(l) != 4 {
			return netip.Addr{}, false
		}
		a, err := netip.ParseAddr(l[3] + "." + l[2] + "." + l[1] + "." + l[0])
		return a, err == nil
	}
	if s, ok := strings.CutSuffix(name, ".ip6.arpa"); ok && len(s) == 63 {
		var b []byte // 32 digits, the last one first, with dots between
		for i := 62; i >= 0; i -= 2 {
			b = append(b, s[i])
			if len(b)%5 == 4 && i > 0 {
				b = append(b, ':')
			}
		}
		a, err := netip.ParseAddr(string(b))
		return a, err == nil
	}
	return netip.Addr{}, false
}
