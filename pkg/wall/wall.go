// Package wall is all that a host and a Go enclave know of each other: four
// ways in, one way out, and the boot page in which the image says how it is
// laid out. Everything rich goes through the rings of pkg/channel.
//
// The list of what crosses it is boundary.txt, which a test generates from this file.
//
// It imports nothing, because both sides of the wall, the builder of images and
// the kernel inside the Go runtime share it.
package wall

// ECall is a way into an enclave. On a TCS that is not waiting for the answer
// of an OCALL, EENTER with RDI = the number is the call; RSI, RDX, R8, R9 are
// its arguments. It ends by EEXIT with RDI = ExitReturn and RSI = the result.
type ECall uint64

// The ECALLs.
//
//	ECallInitChannel      RSI = address of a ChannelDesc: the RPC ring pair
//	ECallInitDataChannel  RSI = address of a ChannelDesc: the data ring pair
//	ECallRun              first TCS: RSI = address of a RunDesc; starts the program.
//	                      further TCSs: starts the thread that was asked for by
//	                      NotifySpawn; refused on any other
//	ECallShutdown         asks the program to end; later entries are refused. The
//	                      program sees SIGINT if RSI = ShutdownInterrupt, else SIGTERM
const (
	ECallInitChannel     ECall = 1
	ECallInitDataChannel ECall = 2
	ECallRun             ECall = 3
	ECallShutdown        ECall = 4
)

// ShutdownInterrupt is the argument of ECallShutdown when somebody has pressed Ctrl-C.
const ShutdownInterrupt = 2

// The values of RDI at EEXIT.
const (
	ExitReturn = 0 // an ECALL has ended: RSI = result, 0 or a Refusal
	ExitNotify = 1 // ocall_notify(RSI = kind, RDX, R8, R9); answered by EENTER with RSI = result
	ExitAEX    = 2 // the exception handler at CSSA 1 has ended: RSI = 1 resume, 0 fatal (RDX = vector, R8 = RIP, R9 = address)
)

// Notify is a kind of the one OCALL.
type Notify uint64

// The kinds of ocall_notify.
//
//	NotifyPark    a1 = timeout ns (all ones: none), a2 = 1 if this thread polls
//	              the data channel meanwhile. Returns when the thread has been
//	              woken, when the timeout is over, when data is there, or for no
//	              reason at all
//	NotifyWake    a1 = index of the TCS to wake
//	NotifySpawn   a1 = index of the TCS on which to call ECallRun
//	NotifyExit    a1 = 0: this thread has ended, its TCS may be spawned again;
//	              a1 = 1: the program has ended with exit code a2
//	NotifyYield   give the processor to somebody else
//	NotifyKick    a1 = index of the TCS to interrupt by an AEX
//	NotifyData    the data ring has messages for the host; a1 = 1: look for
//	              messages of the host's as well
//	NotifyRPC     the RPC ring has messages for the host, or room that it waited
//	              for; a1 = RPCLooks, RPCOnly, both or 0
const (
	NotifyPark  Notify = 1
	NotifyWake  Notify = 2
	NotifySpawn Notify = 3
	NotifyExit  Notify = 4
	NotifyYield Notify = 5
	NotifyKick  Notify = 6
	NotifyData  Notify = 7
	NotifyRPC   Notify = 8
)

// The bits of a1 of NotifyRPC.
const (
	// RPCLooks: this thread will look at the ring from the host when it is back, and
	// need not be told what is there by then.
	RPCLooks = 1 << 0
	// RPCOnly: this thread has written nothing to stdout or stderr. It is not made to
	// wait for who reads them.
	RPCOnly = 1 << 1
)

// Refusal is a negative result of an ECALL, as two's complement in RSI.
type Refusal int64

// The refusals.
const (
	RefusedCall     Refusal = -1 // no such ECALL
	RefusedState    Refusal = -2 // not now: twice, too early, or after shutdown
	RefusedPointer  Refusal = -3 // memory that does not lie wholly outside the enclave, or is not aligned
	RefusedSize     Refusal = -4 // a capacity or length out of bounds
	RefusedThread   Refusal = -5 // this TCS was not asked for
	RefusedPlatform Refusal = -6 // ATTRIBUTES.XFRM without AVX, or MISCSELECT without EXINFO
)

// ChannelDesc, in host memory, 8-byte aligned, copied once: five u64.
//
//	0   address of the e2h header (ring from enclave to host)
//	8   address of the e2h bytes
//	16  address of the h2e header
//	24  address of the h2e bytes
//	32  capacity of each ring in bytes: a power of two, 4 KiB to 64 MiB
const ChannelDescSize = 40

// RunDesc, in host memory, 8-byte aligned, copied once. All of it is
// untrusted.
//
//	0   u64  address of the arguments: NUL-terminated strings, argv[0] first
//	8   u64  their length in bytes, at most MaxArgs
//	16  u64  number of arguments, at most MaxArgc
//	24  u64  address of the clock page
//	32  u64  number of processors
//	40  u64  flags: bit 0 RunInUse; the others are ignored
//
// The clock page, 8-byte aligned: u32 sequence (odd while it is written), u32 zero,
// u64 TSC base, u64 nanoseconds per tick * 2^32, u64 monotonic base ns, u64 wall-clock base ns.
const (
	RunDescSize   = 48
	ClockPageSize = 40
	MaxArgs       = 64 << 10
	MaxArgc       = 1024

	// RunInUse says that the processor has XGETBV with ECX = 1, which tells the
	// state components that are in use: CPUID leaf 0DH, sub-leaf 1, EAX bit 2.
	RunInUse = 1
)
