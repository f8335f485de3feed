package wire

// Addr is an IP address and a port. The IP address has 16 bytes; IPv4 addresses
// are in the last four.
type Addr struct {
	IP   [16]byte
	Is4  bool
	Port uint16
}

// ParseAddr parses "1.2.3.4:80" or "[2001:db8::1]:80", without names and zones. It
// accepts what netip.ParseAddrPort does, but for zones and for IPv4 addresses in
// the tail of IPv6 ones.
func ParseAddr(b []byte) (a Addr, ok bool) {
	host, port, ok := SplitHostPort(b)
	if !ok {
		return Addr{}, false
	}
	a.Port = port
	if b[0] == '[' {
		ok = parse6(&a, host)
	} else {
		ok = parse4(&a, host)
	}
	if !ok {
		return Addr{}, false
	}
	return a, true
}

// SplitHostPort splits "host:port": host is a name, an IPv4 address, an IPv6 address
// that was in brackets, or empty; port is decimal, 0 to 65535.
func SplitHostPort(b []byte) (host []byte, port uint16, ok bool) {
	i := len(b) - 1
	for i >= 0 && b[i] != ':' {
		i--
	}
	if i < 0 {
		return nil, 0, false
	}
	host = b[:i]
	if i > 0 && host[0] == '[' {
		if host[i-1] != ']' || i == 2 {
			return nil, 0, false
		}
		host = host[1 : i-1]
		for _, c := range host {
			if c <= ' ' || c >= 0x7f || c == '[' || c == ']' {
				return nil, 0, false
			}
		}
	} else {
		if len(host) > MaxHost {
			return nil, 0, false
		}
		for _, c := range host {
			if c <= ' ' || c >= 0x7f || c == ':' || c == '[' || c == ']' {
				return nil, 0, false
			}
		}
	}
	n, ok := parseNumber(b[i+1:], 65535)
	return host, uint16(n), ok
}

// MaxHost is the longest name of a host, as in DNS.
const MaxHost = 255

// parseNumber parses a decimal number of the canonical form.
func parseNumber(b []byte, limit uint32) (uint32, bool) {
	if len(b) == 0 || len(b) > 10 || len(b) > 1 && b[0] == '0' {
		return 0, false
	}
	n := uint64(0)
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return uint32(n), n <= uint64(limit)
}

func appendNumber(b []byte, n uint64) []byte {
	if n >= 10 {
		b = appendNumber(b, n/10)
	}
	return append(b, byte('0'+n%10))
}

func parse4(a *Addr, b []byte) bool {
	a.Is4 = true
	for i := 12; i < 16; i++ {
		end := 0
		for end < len(b) && b[end] != '.' {
			end++
		}
		n, ok := parseNumber(b[:end], 255)
		if !ok || (i == 15) != (end == len(b)) {
			return false
		}
		a.IP[i] = byte(n)
		if i < 15 {
			b = b[end+1:]
		}
	}
	return true
}

func parse6(a *Addr, b []byte) bool {
	gap, n := -1, 0 // place of "::", bytes written
	if len(b) >= 2 && b[0] == ':' && b[1] == ':' {
		gap, b = 0, b[2:]
	}
	for len(b) > 0 {
		v, end := uint32(0), 0
		for end < len(b) && b[end] != ':' {
			c := b[end]
			switch {
			case c >= '0' && c <= '9':
				c -= '0'
			case c >= 'a' && c <= 'f':
				c -= 'a' - 10
			case c >= 'A' && c <= 'F':
				c -= 'A' - 10
			default:
				return false
			}
			v = v<<4 | uint32(c)
			end++
		}
		if end == 0 || end > 4 || n == 16 {
			return false
		}
		a.IP[n], a.IP[n+1] = byte(v>>8), byte(v)
		n += 2
		if end == len(b) {
			break
		}
		b = b[end+1:] // behind the colon
		if len(b) == 0 {
			return false
		}
		if b[0] == ':' {
			if gap >= 0 {
				return false
			}
			gap, b = n, b[1:]
		}
	}
	if n == 16 {
		return gap < 0
	}
	if gap < 0 {
		return false
	}
	k := 16 - n
	for i := 15; i >= gap; i-- {
		if i-k >= gap {
			a.IP[i] = a.IP[i-k]
		} else {
			a.IP[i] = 0
		}
	}
	return true
}

// AppendAddr appends the canonical form of an address: RFC 5952 for IPv6, except
// that addresses with an IPv4 tail are written like all others.
func AppendAddr(b []byte, a Addr) []byte {
	if a.Is4 {
		for i := 12; i < 16; i++ {
			if i > 12 {
				b = append(b, '.')
			}
			b = appendNumber(b, uint64(a.IP[i]))
		}
	} else {
		b = append6(append(b, '['), &a.IP)
		b = append(b, ']')
	}
	return appendNumber(append(b, ':'), uint64(a.Port))
}

func append6(b []byte, ip *[16]byte) []byte {
	from, to := 16, 16 // the longest run of two or more zero groups, the first of equals
	for i := 0; i < 16; i += 2 {
		j := i
		for j < 16 && ip[j] == 0 && ip[j+1] == 0 {
			j += 2
		}
		if j-i > 2 && j-i > to-from {
			from, to = i, j
		}
	}
	for i := 0; i < 16; i += 2 {
		if i == from {
			b = append(b, ':', ':')
			i = to
			if i == 16 {
				break
			}
		} else if i > 0 {
			b = append(b, ':')
		}
		v, started := uint32(ip[i])<<8|uint32(ip[i+1]), false
		for shift := 12; shift >= 0; shift -= 4 {
			d := byte(v >> shift & 15)
			if d != 0 || started || shift == 0 {
				b = append(b, "0123456789abcdef"[d])
				started = true
			}
		}
	}
	return b
}
