package wire

// Type is the type of a message of the data channel.
type Type uint8

// The types.
const (
	TcpNew       Type = 0x01
	TcpData      Type = 0x02
	TcpClose     Type = 0x03
	DataReady    Type = 0x04
	TcpConnect   Type = 0x05
	TcpConnected Type = 0x06
	Tick         Type = 0x07
	TcpListen    Type = 0x10
	TcpListening Type = 0x11
	TcpFin       Type = 0x12
	TcpCredit    Type = 0x13
	TcpError     Type = 0x14
	TcpReset     Type = 0x15
)

// String is the name of the type.
func (t Type) String() string {
	switch t {
	case TcpNew:
		return "TcpNew"
	case TcpData:
		return "TcpData"
	case TcpClose:
		return "TcpClose"
	case DataReady:
		return "DataReady"
	case TcpConnect:
		return "TcpConnect"
	case TcpConnected:
		return "TcpConnected"
	case Tick:
		return "Tick"
	case TcpListen:
		return "TcpListen"
	case TcpListening:
		return "TcpListening"
	case TcpFin:
		return "TcpFin"
	case TcpCredit:
		return "TcpCredit"
	case TcpError:
		return "TcpError"
	case TcpReset:
		return "TcpReset"
	}
	return "unknown"
}

// Sizes in bytes.
const (
	HeaderSize = 5         // of a message
	MaxData    = 1 << 20   // payload of a TcpData
	MaxControl = 1024      // any other message, with its header
	Window     = 256 << 10 // most that may be under way in one direction of a connection

	// FirstWindow is what the host may send on a new connection. It is small, so that
	// connections whose bytes nobody reads bind little memory of an enclave, a page each;
	// the enclave lets it grow for those that are read.
	FirstWindow = 4080
)

// Bounds of ids.
const (
	MinIngress  = 1
	MaxIngress  = 0x3fffffff
	MinOutbound = 0x80000000
)

// Side is who has sent a message.
type Side uint8

// The sides.
const (
	FromHost    Side = 1
	FromEnclave Side = 2
)

// Message is a message of the data channel. Payload is part of what was parsed.
type Message struct {
	Type    Type
	ID      uint32
	Payload []byte
}

func ingress(id uint32) bool  { return id >= MinIngress && id <= MaxIngress }
func outbound(id uint32) bool { return id >= MinOutbound }

// Header takes the first five bytes of a message of n bytes apart and holds type,
// id and length against the rules for a message of that side. It is how to look at a
// TcpData without copying its payload; other messages are copied whole, at most
// MaxControl bytes, and given to Parse.
func Header(h *[HeaderSize]byte, n uint64, from Side) (Type, uint32, Fault) {
	t, id := Type(h[0]), get32(h[1:])
	if n < HeaderSize {
		return 0, 0, FaultShort
	}
	n -= HeaderSize
	host := from == FromHost
	lo, hi := uint64(0), uint64(0) // payload bytes
	ids := ingress(id) || outbound(id)
	sends := true
	switch t {
	case TcpNew:
		sends, ids, lo, hi = host, ingress(id), 4+1, MaxControl-HeaderSize
	case TcpData:
		lo, hi = 1, MaxData
	case TcpClose, TcpFin:
	case TcpReset:
		sends = !host
	case DataReady:
		sends, ids = !host, id == 0
	case TcpConnect, TcpListen:
		sends, ids, lo, hi = !host, outbound(id), 1, MaxControl-HeaderSize
	case TcpConnected, TcpListening:
		sends, ids, lo, hi = host, outbound(id), 1, MaxControl-HeaderSize
	case Tick:
		sends, ids = host, id == 0
	case TcpCredit:
		lo, hi = 4, 4
	case TcpError:
		sends, lo, hi = host, 4, MaxControl-HeaderSize
	default:
		sends = false
	}
	switch {
	case !sends || from != FromHost && from != FromEnclave:
		return 0, 0, FaultType
	case !ids:
		return 0, 0, FaultID
	case n < lo || n > hi:
		return 0, 0, FaultLength
	}
	return t, id, Sound
}

// Parse is the strict parser of a whole message of the given side.
func Parse(b []byte, from Side) (Message, Fault) {
	if len(b) < HeaderSize {
		return Message{}, FaultShort
	}
	t, id, f := Header((*[HeaderSize]byte)(b), uint64(len(b)), from)
	if f != Sound {
		return Message{}, f
	}
	m := Message{t, id, b[HeaderSize:]}
	ok := true
	switch t {
	case TcpNew:
		_, peer, local := m.New()
		_, ok1 := ParseAddr(peer)
		_, ok2 := ParseAddr(local)
		ok = ok1 && ok2
	case TcpConnected:
		local, peer := m.Connected()
		_, ok1 := ParseAddr(local)
		_, ok2 := ParseAddr(peer)
		ok = ok1 && ok2
	case TcpListening:
		_, ok = ParseAddr(m.Payload)
	case TcpConnect:
		_, _, ok = SplitHostPort(m.Payload)
	case TcpListen:
		_, _, ok = m.Listen()
	case TcpCredit:
		if m.Credit() == 0 {
			return Message{}, FaultValue
		}
	case TcpError:
		errno, text := m.Failure()
		if errno <= 0 || errno > MaxErrno {
			return Message{}, FaultValue
		}
		for _, c := range text {
			ok = ok && c >= ' ' && c != 0x7f
		}
	}
	if !ok {
		return Message{}, FaultText
	}
	return m, Sound
}

// MaxErrno is the largest errno of Linux.
const MaxErrno = 4095

// cut splits at the first newline; the second part is nil if there is none.
func cut(b []byte) (x, y []byte) {
	for i, c := range b {
		if c == '\n' {
			return b[:i], b[i+1:]
		}
	}
	return b, nil
}

// New is the content of a TcpNew that Parse has accepted.
func (m Message) New() (listener uint32, peer, local []byte) {
	peer, local = cut(m.Payload[4:])
	return get32(m.Payload), peer, local
}

// Connected is the content of a TcpConnected that Parse has accepted.
func (m Message) Connected() (local, peer []byte) { return cut(m.Payload) }

// Credit is the content of a TcpCredit that Parse has accepted.
func (m Message) Credit() uint32 { return get32(m.Payload) }

// Failure is the content of a TcpError that Parse has accepted.
func (m Message) Failure() (errno int32, text []byte) {
	return int32(get32(m.Payload)), m.Payload[4:]
}

// Listen is the content of a TcpListen; ok is true for those that Parse accepts.
func (m Message) Listen() (addr []byte, backlog uint32, ok bool) {
	addr, number := cut(m.Payload)
	_, _, ok = SplitHostPort(addr)
	backlog, good := parseNumber(number, 1<<31-1)
	return addr, backlog, ok && good
}

// AppendHeader appends the first five bytes of a message.
func AppendHeader(b []byte, t Type, id uint32) []byte { return put32(append(b, byte(t)), id) }

// Append appends a message whose payload is given.
func Append(b []byte, t Type, id uint32, payload []byte) []byte {
	return append(AppendHeader(b, t, id), payload...)
}

// AppendNew appends a TcpNew.
func AppendNew(b []byte, id, listener uint32, peer, local Addr) []byte {
	b = put32(AppendHeader(b, TcpNew, id), listener)
	return AppendAddr(append(AppendAddr(b, peer), '\n'), local)
}

// AppendConnected appends a TcpConnected.
func AppendConnected(b []byte, id uint32, local, peer Addr) []byte {
	b = AppendHeader(b, TcpConnected, id)
	return AppendAddr(append(AppendAddr(b, local), '\n'), peer)
}

// AppendListen appends a TcpListen; addr is "host:port".
func AppendListen(b []byte, id uint32, addr []byte, backlog uint32) []byte {
	b = append(Append(b, TcpListen, id, addr), '\n')
	return appendNumber(b, uint64(backlog))
}

// AppendCredit appends a TcpCredit.
func AppendCredit(b []byte, id, consumed uint32) []byte {
	return put32(AppendHeader(b, TcpCredit, id), consumed)
}

// AppendError appends a TcpError. Of the text it takes what fits; what people should
// not have on their terminal becomes a question mark.
func AppendError(b []byte, id uint32, errno int32, text string) []byte {
	b = put32(AppendHeader(b, TcpError, id), uint32(errno))
	for i := 0; i < len(text) && i < MaxControl-HeaderSize-4; i++ {
		c := text[i]
		if c < ' ' || c >= 0x7f {
			c = '?'
		}
		b = append(b, c)
	}
	return b
}
