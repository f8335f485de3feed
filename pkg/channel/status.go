package channel

// Status is the outcome of a step on a ring. The zero value is success.
//
// ErrEmpty and ErrFull are about now, ErrTooLarge and ErrOrder about the caller's
// request, ErrStopped about the caller's parker; the ring goes on. All others end
// the ring for good: they say in what way the peer lied, or that the ring was
// never set up.
type Status uint8

// The statuses. The order matters to Dead.
const (
	OK          Status = iota
	ErrEmpty           // nothing to read now
	ErrFull            // no room now
	ErrTooLarge        // the frame could not fit an empty ring either
	ErrOrder           // a step out of order: Commit without Reserve, Advance without Next
	ErrStopped         // the parker gave up waiting

	ErrNotSetUp     // the zero Producer or Consumer
	ErrCapacity     // capacity: not a power of two from MinCapacity to MaxCapacity
	ErrAlign        // header or bytes at an address that is not aligned
	ErrCursorBack   // the peer's cursor moved back
	ErrCursorAhead  // the peer's cursor is further than it can be
	ErrFrameCut     // fewer bytes were published than a frame's length takes
	ErrFrameLength  // a frame's length is more than was published
	ErrClosed       // ended by its own side, by Kill
	ErrMessage      // the frame was whole and its content broke the rules; by Kill
	ErrCreditAbused // the peer sent more than it was granted; by Kill
)

// Dead tells whether the ring has ended: every later step gives the same status.
func (s Status) Dead() bool { return s >= ErrNotSetUp }

// String names the status.
func (s Status) String() string {
	switch s {
	case OK:
		return "ok"
	case ErrEmpty:
		return "ring is empty"
	case ErrFull:
		return "ring is full"
	case ErrTooLarge:
		return "frame is larger than the ring"
	case ErrOrder:
		return "step out of order"
	case ErrStopped:
		return "stopped waiting"
	case ErrNotSetUp:
		return "ring is not set up"
	case ErrCapacity:
		return "capacity is not a power of two from 4 KiB to 64 MiB"
	case ErrAlign:
		return "ring memory is not aligned to 64 bytes"
	case ErrCursorBack:
		return "peer moved its cursor back"
	case ErrCursorAhead:
		return "peer's cursor is out of bounds"
	case ErrFrameCut:
		return "peer published part of a frame header"
	case ErrFrameLength:
		return "frame is longer than what the peer published"
	case ErrClosed:
		return "ring is closed"
	case ErrMessage:
		return "peer sent a malformed message"
	case ErrCreditAbused:
		return "peer sent more than it was granted"
	}
	return "unknown ring status"
}

// Error makes a Status usable as an error; see Err.
func (s Status) Error() string { return "channel: " + s.String() }
