package wire

// Method is a method of the RPC channel.
type Method uint16

// The methods.
const (
	Log        Method = 0x0301
	StdioWrite Method = 0x0310
	StdioRead  Method = 0x0311
	Stats      Method = 0x0312
)

// String is the name of the method, or its number.
func (m Method) String() string {
	switch m {
	case Log:
		return "Log"
	case StdioWrite:
		return "StdioWrite"
	case StdioRead:
		return "StdioRead"
	case Stats:
		return "Stats"
	}
	b := [6]byte{'0', 'x'}
	for i := range 4 {
		b[2+i] = "0123456789abcdef"[m>>(12-4*i)&15]
	}
	return string(b[:])
}

// Sizes in bytes.
const (
	RequestSize  = 14      // header of a request
	ResponseSize = 16      // header of a response
	MaxRPC       = 4 << 20 // a request or a response with its header
)

// Requests of the program's own, by its descriptor for them (package rpc), as
// opposed to those of the kernel's. The low byte of an id says whom the response
// wakes: it is the index of a TCS, which IDProgram is none of, or IDProgram.
const (
	IDProgram   = 0xff
	MaxPayload  = 1<<20 + 64<<10 // of a request of the program's, and of its response
	MaxInFlight = 1024           // such requests without response
)

// The values of a response's status.
const (
	StatusOK          int32 = 0
	StatusError       int32 = -1
	StatusTooLarge    int32 = -11 // the response would be larger than MaxPayload
	StatusUnsupported int32 = -10
)

// Request is a request. Payload is part of what was parsed.
type Request struct {
	ID      uint64
	Method  Method
	Payload []byte
}

// ParseRequest is the strict parser of a whole request. It does not know methods.
func ParseRequest(b []byte) (Request, Fault) {
	if len(b) < RequestSize {
		return Request{}, FaultShort
	}
	if len(b) > MaxRPC || uint64(get32(b[10:])) != uint64(len(b)-RequestSize) {
		return Request{}, FaultLength
	}
	return Request{get64(b), Method(get16(b[8:])), b[RequestSize:]}, Sound
}

// AppendRequest appends a request.
func AppendRequest(b []byte, r Request) []byte {
	return append(AppendRequestHeader(b, r.ID, r.Method, uint32(len(r.Payload))), r.Payload...)
}

// AppendRequestHeader appends the header of a request with n bytes of payload.
func AppendRequestHeader(b []byte, id uint64, m Method, n uint32) []byte {
	return put32(put16(put64(b, id), uint16(m)), n)
}

// Response is a response. Payload is part of what was parsed.
type Response struct {
	ID      uint64
	Status  int32
	Payload []byte
}

// ParseResponse is the strict parser of a whole response.
func ParseResponse(b []byte) (Response, Fault) {
	if len(b) < ResponseSize {
		return Response{}, FaultShort
	}
	if len(b) > MaxRPC || uint64(get32(b[12:])) != uint64(len(b)-ResponseSize) {
		return Response{}, FaultLength
	}
	return Response{get64(b), int32(get32(b[8:])), b[ResponseSize:]}, Sound
}

// AppendResponse appends a response.
func AppendResponse(b []byte, r Response) []byte {
	return append(AppendResponseHeader(b, r.ID, r.Status, uint32(len(r.Payload))), r.Payload...)
}

// AppendResponseHeader appends the header of a response with n bytes of payload.
func AppendResponseHeader(b []byte, id uint64, status int32, n uint32) []byte {
	return put32(put32(put64(b, id), uint32(status)), n)
}

// AppendStdioWrite appends the payload of a StdioWrite.
func AppendStdioWrite(b []byte, fd int32, data []byte) []byte {
	return append(put32(b, uint32(fd)), data...)
}

// ParseStdioWrite takes the payload of a StdioWrite apart: fd 1 or 2 and its bytes.
func ParseStdioWrite(b []byte) (fd int32, data []byte, f Fault) {
	return parseTagged(b, 1, 2)
}

// AppendStdioRead appends the payload of a StdioRead.
func AppendStdioRead(b []byte, max uint32) []byte { return put32(b, max) }

// ParseStdioRead takes the payload of a StdioRead apart.
func ParseStdioRead(b []byte) (max uint32, f Fault) {
	if len(b) != 4 {
		return 0, FaultLength
	}
	if get32(b) == 0 {
		return 0, FaultValue
	}
	return get32(b), Sound
}

// AppendLog appends the payload of a Log.
func AppendLog(b []byte, level int32, text []byte) []byte {
	return append(put32(b, uint32(level)), text...)
}

// ParseLog takes the payload of a Log apart.
func ParseLog(b []byte) (level int32, text []byte, f Fault) {
	return parseTagged(b, -1<<31, 1<<31-1)
}

func parseTagged(b []byte, lo, hi int32) (int32, []byte, Fault) {
	if len(b) < 4 {
		return 0, nil, FaultLength
	}
	v := int32(get32(b))
	if v < lo || v > hi {
		return 0, nil, FaultValue
	}
	return v, b[4:], Sound
}
