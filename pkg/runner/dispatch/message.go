package dispatch

import (
	"encoding/binary"
	"fmt"
)

// maxRead bounds what one StdioRead gets.
const maxRead = 64 << 10

// A ProtocolError says how the enclave broke the rules of the RPC channel. It
// wraps a channel.Status or a wire.Fault, if it was one of those.
type ProtocolError struct{ Err error }

func (e *ProtocolError) Error() string { return "the enclave broke the RPC channel: " + e.Err.Error() }

// Unwrap returns Err.
func (e *ProtocolError) Unwrap() error { return e.Err }

func broken(format string, a ...any) error { return &ProtocolError{fmt.Errorf(format, a...)} }

// Stats is what an enclave says of itself when it ends. None of it can be checked
// by the host.
type Stats struct {
	Heap        uint64 // bytes of heap that the Go runtime has in use
	HeapHigh    uint64 // the most it had
	HeapRefused uint64 // bytes of the first request that there was no room for; 0 if none
	ThreadsHigh uint64 // most threads at one time
	Threads     uint64 // threads that the program can have
	HeapSize    uint64 // bytes of heap that the image has
}

// parseStats takes more words than it knows: they are a newer kernel's.
func parseStats(b []byte) (Stats, error) {
	var w [6]uint64
	if len(b) < 8*len(w) {
		return Stats{}, broken("statistics of %d bytes, want %d", len(b), 8*len(w))
	}
	for i := range w {
		w[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return Stats{w[0], w[1], w[2], w[3], w[4], w[5]}, nil
}
