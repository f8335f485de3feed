package wasm

import (
	"context"
	"encoding/binary"
	"math"
	"time"

	"github.com/tetratelabs/wazero/api"
)

// pollName is the function of WASI that is ours and not wazero's, whose poll_oneoff
// knows no absolute time, and sleeps for ever when it is asked for writing only.
const pollName = "poll_oneoff"

var pollParams = []api.ValueType{api.ValueTypeI32, api.ValueTypeI32, api.ValueTypeI32, api.ValueTypeI32}

// WASI's subscription and event. Numbers are little-endian.
//
//	subscription                 event
//	0  8  what the event repeats 0  8  likewise
//	8  1  kind                   8  2  errno
//	16 4  clock, or descriptor   10 1  kind
//	24 8  time of a clock        16 16 zeros
//	40 2  1: absolute
const (
	subscriptionSize = 48
	eventSize        = 32

	eventClock = 0
	eventRead  = 1
	eventWrite = 2

	clockRealtime  = 0
	clockMonotonic = 1
)

// Errors of WASI.
const (
	wasiSuccess = 0
	wasiBadf    = 8
	wasiFault   = 21
	wasiInval   = 28
)

// maxSubscriptions bounds those of one call.
const maxSubscriptions = 4096

// poll is poll_oneoff: (in, out, n, count out) -> errno. Files, the standard streams
// and connections are always ready: reading from a connection waits.
func poll(ctx context.Context, mod api.Module, stack []uint64) {
	stack[0] = uint64(instanceOf(ctx).poll(mod.Memory(), uint32(stack[0]), uint32(stack[1]), uint32(stack[2]), uint32(stack[3])))
}

func (in *instance) poll(memory api.Memory, from, to, n, count uint32) uint32 {
	if n == 0 || n > maxSubscriptions {
		return wasiInval
	}
	in.chargeBytes(int(n) * subscriptionSize)
	subs, ok := memory.Read(from, n*subscriptionSize)
	if !ok {
		return wasiFault
	}
	if _, ok := memory.Read(to, n*eventSize); !ok {
		return wasiFault
	}
	if _, ok := memory.Read(count, 4); !ok {
		return wasiFault
	}
	list := make([]subscription, n)
	next := time.Duration(math.MaxInt64)
	for i := range list {
		if list[i], ok = in.subscription(subs[i*subscriptionSize:]); !ok {
			return wasiInval
		}
		next = min(next, list[i].wait)
	}
	next = max(next, 0) // what is over is not more ready than what is ready now
	if next > 0 {
		in.sleep(int64(next))
	}
	var events []byte
	for _, s := range list {
		if s.wait <= next {
			e := binary.LittleEndian.AppendUint64(nil, s.userdata)
			e = binary.LittleEndian.AppendUint16(e, s.errno)
			events = append(append(append(events, e...), s.kind), make([]byte, eventSize-11)...)
		}
	}
	memory.Write(to, events) // there is memory, as said above; likewise for the next
	memory.WriteUint32Le(count, uint32(len(events)/eventSize))
	return wasiSuccess
}

// subscription is what is waited for, and how long: a time of zero or less is now.
type subscription struct {
	userdata uint64
	errno    uint16
	kind     byte
	wait     time.Duration
}

// subscription reads one. It reports false for one that makes no sense.
func (in *instance) subscription(b []byte) (s subscription, ok bool) {
	s.userdata, s.kind = binary.LittleEndian.Uint64(b), b[8]
	what := binary.LittleEndian.Uint32(b[16:])
	switch s.kind {
	case eventRead, eventWrite:
		if what > math.MaxInt32 {
			s.errno = wasiBadf
		}
		return s, true
	case eventClock:
	default:
		return s, false
	}
	at := int64(min(binary.LittleEndian.Uint64(b[24:]), math.MaxInt64))
	s.wait = time.Duration(at)
	switch flags := binary.LittleEndian.Uint16(b[40:]); {
	case what > clockMonotonic || flags > 1:
		return s, false
	case flags == 1 && what == clockRealtime:
		s.wait -= time.Duration(time.Now().UnixNano())
	case flags == 1:
		s.wait -= time.Since(epoch)
	}
	return s, true
}
