// Package wire is the codec of what travels in the rings of pkg/channel: messages
// of the data channel, requests and responses of the RPC channel. One frame of a
// ring holds exactly one of them. All numbers are little-endian.
//
// # Data channel
//
//	0  u8   type
//	1  u32  id: a connection or a listener
//	5       payload
//
//	type               from     id           payload
//	0x01 TcpNew        host     ingress      u32 listener id, "peer ip:port\nlocal ip:port"
//	0x02 TcpData       both     connection   1 to MaxData bytes
//	0x03 TcpClose      both     connection   empty: the connection is gone, both ways;
//	                            or listener  from the enclave: stop listening
//	0x04 DataReady     enclave  0            empty
//	0x05 TcpConnect    enclave  outbound     "host:port"
//	0x06 TcpConnected  host     outbound     "local ip:port\npeer ip:port"
//	0x07 Tick          host     0            empty
//	0x10 TcpListen     enclave  outbound     "host:port\n<backlog>", backlog in decimal
//	0x11 TcpListening  host     outbound     "ip:port": where the enclave may say that it listens
//	0x12 TcpFin        both     connection   empty: no more data from this side
//	0x13 TcpCredit     both     connection   u32 further bytes that the other side may send, not 0
//	0x14 TcpError      host     any          i32 errno of Linux, not 0; then a text for people
//	0x15 TcpReset      enclave  connection   empty: TcpClose that the peer is to see as RST
//	                                         (SO_LINGER with time 0)
//
// Ids from 1 to 0x3fffffff are connections that the host has accepted, chosen by the
// host; those from 0x80000000 on are connections and listeners of the enclave,
// chosen by the enclave. Types 0x01 to 0x07 and the ids are those of Enclave OS Mini; from
// 0x10 on they are ours, since it can neither listen on request, close one
// direction, hold back a fast sender, reset, nor say why a connection failed. TcpNew and
// TcpConnected tell both addresses and the listener, which it leaves out.
//
// Credit: at the start the enclave may send Window bytes of TcpData on a connection
// and the host FirstWindow bytes; after that as many as the other side's TcpCredit
// grants. The host grants what its socket has taken, the enclave what its program has
// read, or more to let the window grow. Who sends more than was granted lies, and so
// does who grants so much that more than Window bytes could be under way.
//
// The end of an id: the host ends it by exactly one TcpClose or TcpError, the
// enclave by exactly one TcpClose or TcpReset, in any order; after both it is free. A side that has ended
// an id ignores what still comes for it, but for the other's end.
//
// # RPC channel
//
//	request:   0 u64 id  8 u16 method   10 u32 length  14 payload
//	response:  0 u64 id  8 i32 status   12 u32 length  16 payload
//
//	method              request payload      response payload
//	0x0301 Log          i32 level, text      one way: no response
//	0x0310 StdioWrite   i32 fd, bytes        one way
//	0x0311 StdioRead    u32 max              bytes of standard input, none at its end
//	0x0312 Stats        u64s, as below       one way
//
// Stats is what the enclave tells of itself at its end, and whenever the host has
// raised Asked of the ring to the enclave: bytes of heap in use; the most there were;
// bytes of the first request that found no room, or 0; the most threads at one time;
// threads that there can be; bytes of heap that the image has; 1 if a thread was wanted
// for which there was no TCS. A newer enclave may tell more behind these.
//
// A request with id 0 wants no response. The low byte of another id says whom the
// response wakes: the index of a TCS, for requests of the kernel's own, or
// IDProgram for those of the program, whose methods the host is free to have. Of
// those at most MaxInFlight are without response, and request and response have at
// most MaxPayload bytes of payload. Which host function does one, and how, is
// package dispatch's.
//
// Package wire does not allocate (but for what its callers let append grow), does
// not panic and imports nothing: the kernel inside the Go runtime uses it too.
package wire

// Fault says what is wrong with a message. The zero value is no fault.
type Fault uint8

// The faults.
const (
	Sound       Fault = iota
	FaultShort        // shorter than its header
	FaultType         // unknown type, or one that this side does not send
	FaultID           // id out of the range of the type
	FaultLength       // payload of a wrong length
	FaultText         // payload that is not the text that it should be
	FaultValue        // a number out of bounds
)

// String names the fault.
func (f Fault) String() string {
	switch f {
	case Sound:
		return "sound"
	case FaultShort:
		return "shorter than its header"
	case FaultType:
		return "type that this side does not send"
	case FaultID:
		return "id out of the range of the type"
	case FaultLength:
		return "payload of a wrong length"
	case FaultText:
		return "payload is not the text that it should be"
	case FaultValue:
		return "number out of bounds"
	}
	return "unknown fault"
}

// Error makes a Fault usable as an error.
func (f Fault) Error() string { return "wire: " + f.String() }

func put16(b []byte, v uint16) []byte { return append(b, byte(v), byte(v>>8)) }

func put32(b []byte, v uint32) []byte {
	return append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
}

func put64(b []byte, v uint64) []byte { return put32(put32(b, uint32(v)), uint32(v>>32)) }

func get16(b []byte) uint16 { return uint16(b[0]) | uint16(b[1])<<8 }

func get32(b []byte) uint32 { return uint32(get16(b)) | uint32(get16(b[2:]))<<16 }

func get64(b []byte) uint64 { return uint64(get32(b)) | uint64(get32(b[4:]))<<32 }
