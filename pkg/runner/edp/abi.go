package edp

import "fmt"

// Number is what an enclave asks for: the value of RDI when it leaves by EEXIT.
// Zero is a return from the entry point.
type Number uint64

// The usercalls, in the order in which the ABI declares them.
const (
	CallRead Number = iota + 1
	CallReadAlloc
	CallWrite
	CallFlush
	CallClose
	CallBindStream
	CallAcceptStream
	CallConnectStream
	CallLaunchThread
	CallExit
	CallWait
	CallSend
	CallInsecureTime
	CallAlloc
	CallFree
	CallAsyncQueues
)

// UserDefined is the bit that marks numbers which the ABI leaves to the
// application: see Options.UserCalls.
const UserDefined Number = 0x80000000

// calls has one row for each usercall: its name and how many of the four
// argument registers it uses. The others must be zero.
var calls = [...]struct {
	name string
	args int
}{
	CallRead:          {"read", 3},
	CallReadAlloc:     {"read_alloc", 2},
	CallWrite:         {"write", 3},
	CallFlush:         {"flush", 1},
	CallClose:         {"close", 1},
	CallBindStream:    {"bind_stream", 3},
	CallAcceptStream:  {"accept_stream", 3},
	CallConnectStream: {"connect_stream", 4},
	CallLaunchThread:  {"launch_thread", 0},
	CallExit:          {"exit", 1},
	CallWait:          {"wait", 2},
	CallSend:          {"send", 2},
	CallInsecureTime:  {"insecure_time", 0},
	CallAlloc:         {"alloc", 2},
	CallFree:          {"free", 3},
	CallAsyncQueues:   {"async_queues", 3},
}

// known reports whether n is one of the ABI's usercalls.
func (n Number) known() bool { return n >= CallRead && n <= CallAsyncQueues }

// String returns the ABI's name, or the number in hex.
func (n Number) String() string {
	if n.known() {
		return calls[n].name
	}
	return fmt.Sprintf("usercall %#x", uint64(n))
}

// The file descriptors that are open from the start.
const (
	FdStdin  = 0
	FdStdout = 1
	FdStderr = 2
)

// The events of wait and send. An event set is a combination of them.
const (
	EvUsercallQNotFull  = 1 << 0
	EvReturnQNotEmpty   = 1 << 1
	EvUnpark            = 1 << 2
	EvCancelQNotFull    = 1 << 3
	evAll               = EvUsercallQNotFull | EvReturnQNotEmpty | EvUnpark | EvCancelQNotFull
	waitNo              = 0
	waitIndefinite      = ^uint64(0)
	maxTimeoutNs        = 1 << 55 // about 417 days; longer waits are cut to this
	debugBufferSize     = 1024    // bytes behind R10 at each entry
	readAllocMax        = 8192    // most that one read_alloc returns
	byteBufferSize      = 16      // ByteBuffer: data pointer, length
	fifoDescriptorSize  = 24      // FifoDescriptor: data pointer, length, offsets pointer
	maxAddrLen          = 1 << 16 // longest address of bind_stream and connect_stream
	maxAllocSize        = 1<<63 - 1
	usercallQueueLen    = 16
	returnQueueLen      = 1024
	cancelQueueLen      = 2 * usercallQueueLen
	usercallElementSize = 48 // id, RDI, RSI, RDX, R8, R9
	returnElementSize   = 24 // id, RSI, RDX
	cancelElementSize   = 8  // id
)
