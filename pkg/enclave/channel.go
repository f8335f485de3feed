package enclave

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/enclaveos/eos/pkg/channel/wire"
)

// Errors of a Channel.
var (
	// ErrChannelEnded says that the host has broken the rules of the ring, or that the
	// ring has ended with the program. What it did is on stderr.
	ErrChannelEnded = errors.New("the channel to the host has ended: its ring is broken")
	// ErrInFlight is the answer to requests that would be more than wire.MaxInFlight
	// without a response: a host ends a program that does not keep to that.
	ErrInFlight = errors.New("too many requests without a response: take some of the responses first")
)

// RequestError says why bytes are no requests.
type RequestError struct {
	Offset int // of the request
	What   string
}

func (e *RequestError) Error() string {
	return fmt.Sprintf("the request at byte %d of the batch: %s", e.Offset, e.What)
}

// countRequests counts the requests of a batch, all of which must be whole.
func countRequests(batch []byte) (n int, err error) {
	for at := 0; at < len(batch); n++ {
		b := batch[at:]
		if len(b) < wire.RequestSize {
			return 0, &RequestError{at, fmt.Sprintf("%d bytes, a header has %d", len(b), wire.RequestSize)}
		}
		payload := uint64(binary.LittleEndian.Uint32(b[10:]))
		switch {
		case b[0] != wire.IDProgram:
			return 0, &RequestError{at, fmt.Sprintf("its id ends in %#02x, those of programs in %#x", b[0], wire.IDProgram)}
		case payload > wire.MaxPayload:
			return 0, &RequestError{at, fmt.Sprintf("a payload of %d bytes, at most %d", payload, wire.MaxPayload)}
		case payload > uint64(len(b)-wire.RequestSize):
			return 0, &RequestError{at, fmt.Sprintf("a payload of %d bytes, %d are there", payload, len(b)-wire.RequestSize)}
		}
		at += wire.RequestSize + int(payload)
	}
	return n, nil
}
