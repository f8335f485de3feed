//go:build linux && amd64

package softsgx

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"
)

// The arena is one reserved range of address space, cut into aligned blocks.
// There are two kinds, both found by rounding a stack pointer down:
//
//   - a control block for each OS thread that can enter enclaves, found by the
//     signal handler, since the thread's alternate signal stack is in it;
//   - an exit block for each TCS, found by landing, since RSP at EENTER points
//     into it. It belongs to the TCS and not to the thread, because a thread
//     may resume what another has entered, and the enclave then leaves with
//     the first one's RSP.
//
// A control block:
//
//	0x0000  control, page by page read-write
//	0x3000  guard
//	0x4000  alternate signal stack
//
// An exit block:
//
//	0x0000  exitBlock
//	0x1000  guard
//	0x4000  stack, which the enclave may use as a call's scratch memory
const (
	blockSize    = 0x10000
	arenaSize    = 1 << 30 // 16384 blocks
	altStackOff  = 0x4000
	altStackSize = blockSize - altStackOff
	exitStackOff = 0x4000
	// Each nested entry gets its own part of the stack, as far as there are.
	exitStackLevel  = 0x3000
	exitStackLevels = (blockSize - exitStackOff) / exitStackLevel
)

// Values of control.selector. They are the kernel's, see prctl(2),
// PR_SET_SYSCALL_USER_DISPATCH.
const (
	//lint:ignore U1000 the assembly has it, from go_asm.h
	selectorAllow = 0
	//lint:ignore U1000 the assembly has it, from go_asm.h
	selectorBlock = 1
)

// Values of control.kind.
const (
	leftEEXIT     = 1 // at landing: the exit registers are in place
	leftLanded    = 2 // at landing, but RSP was none of ours: registers are in gregs
	leftSignal    = 3 // by a signal in enclave code
	leftAbandoned = 4 // by a kick before the first instruction of enclave code, or never entered
	leftRefused   = 5 // XRSTOR or IRETQ found the state not to be one
)

// The second argument of enter.
const (
	howEnter  = 0 // at control.oentry, as EENTER does
	howResume = 1 // with the state in gregs, xsave, iret, fs and gs
)

// Flags that the host must not inherit from an enclave: TF, DF, NT, AC. And
// those it runs with: IF and the bit that is always set.
const (
	flagsForeign = 0x100 | 0x400 | 0x4000 | 0x40000
	flagsHost    = 0x202
	mxcsrSticky  = 0x3f // exceptions seen: nobody's loss
)

// Layout of the signal frame and of GPRSGX, as far as assembly touches it.
const (
	fxsaveSize = 512
	fpMagic    = 0x46505853 // FP_XSTATE_MAGIC1
	xsaveMax   = 0x2000
	gprURSP    = 144
	gprURBP    = 152
)

// Indices in gregs, from struct sigcontext.
const (
	gregR8 = iota
	gregR9
	gregR10
	gregR11
	gregR12
	gregR13
	gregR14
	gregR15
	gregRDI
	gregRSI
	gregRBP
	gregRBX
	gregRDX
	gregRAX
	gregRCX
	gregRSP
	gregRIP
	gregRFLAGS
	gregCS // and GS, FS, SS, 16 bits each
	gregErr
	gregTrapNo
	gregMask
	gregCR2
	gregCount
)

// control is the head of a control block. It is written by assembly and by the
// signal handler, and it is not Go memory. While the selector is
// selectorBlock the thread is inside an enclave; this byte is the one truth
// about it.
type control struct {
	none     uint64 // always zero: no exit block, if an enclave's RSP claims it
	selector uint8
	avx      uint8
	kick     atomic.Uint32 // the enclave is to be left soon

	hostSP, hostBP, hostFS, hostGS uint64
	hostMXCSR                      uint32
	hostFCW                        uint16
	mxcsr                          uint32 // scratch of landing

	exit   uintptr // the *exitBlock of the TCS
	kind   uint64  // how the enclave was left
	oentry uint64  // for EENTER: where to,
	stack  uint64  // RSP,
	gprsgx uintptr // the GPRSGX of the SSA frame in use,
	tcs    uint64  // RBX,
	cssa   uint64  // RAX
	fs, gs uint64  // base inside, for an entry and after an exit

	rdi, rsi, rdx, r8, r9, r10 uint64 // at EENTER and EEXIT

	sig, sigCode uint32
	sigAddr      uint64
	foreign      uint64 // signals, 1<<number, that a program sent while inside
	rfbm         uint64 // components that XRSTOR loads or resets
	gregs        [gregCount]uint64
	iret         [5]uint64 // RIP, CS, RFLAGS, RSP, SS
	xsaveLen     uint64
	_            [xsaveOff - controlHead]byte
	xsave        [xsaveMax]byte // aligned to 64 bytes
}

const (
	controlHead = 448 // bytes above xsaveLen and including it
	xsaveOff    = 0x1000
	controlSize = xsaveOff + xsaveMax
)

// exitBlock is the head of an exit block.
type exitBlock struct {
	owner uintptr // the *control of the thread inside, zero if there is none
}

var arenaBase uintptr // read by assembly; zero until the arena is made

var arena struct {
	sync.Mutex
	next uintptr   // never used from here on
	free []uintptr // used and given back
}

// newBlock returns a block whose first head bytes are zero; all from stack on
// is writable, too, but has what it had.
func newBlock(head, stack uintptr) (uintptr, error) {
	arena.Lock()
	defer arena.Unlock()
	if arenaBase == 0 {
		a, err := reserve(arenaSize, blockSize, 0)
		if err != nil {
			return 0, fmt.Errorf("reserving %d MiB of address space for thread stacks: %w", arenaSize>>20, err)
		}
		arenaBase, arena.next = a, a
	}
	var b uintptr
	if n := len(arena.free); n > 0 {
		b = arena.free[n-1]
		arena.free = arena.free[:n-1]
		if err := protect(b, blockSize, 0); err != nil {
			return 0, err
		}
	} else if b = arena.next; b < arenaBase+arenaSize {
		arena.next += blockSize
	} else {
		return 0, errors.New("too many threads and TCSs in use")
	}
	for _, r := range [2][2]uintptr{{b, head}, {b + stack, blockSize - stack}} {
		if err := protect(r[0], r[1], protR|protW); err != nil {
			arena.free = append(arena.free, b)
			return 0, err
		}
	}
	clear(memory(b, head))
	return b, nil
}

func freeBlock(b uintptr) {
	discard(b, blockSize)
	arena.Lock()
	arena.free = append(arena.free, b)
	arena.Unlock()
}

func newControl() (*control, error) {
	b, err := newBlock(controlSize, altStackOff)
	if err != nil {
		return nil, err
	}
	return (*control)(pointer(b)), nil
}

func newExitBlock() (uintptr, error) { return newBlock(0x1000, exitStackOff) }

func (c *control) addr() uintptr { return uintptr(unsafe.Pointer(c)) }

// exitStack returns RSP for an entry with cssa frames in use.
func exitStack(block uintptr, cssa uint32) uint64 {
	level := min(uintptr(cssa), exitStackLevels-1)
	return uint64(block + blockSize - level*exitStackLevel - 64)
}

// enter runs an enclave until it is left; c.kind then says how.
//
//go:noescape
func enter(c *control, how uint64)

// The goroutine is in a system call as far as the scheduler can tell: its P
// can be taken away and its stack is not moved.
//
//go:linkname entersyscall runtime.entersyscall
//go:noescape
func entersyscall()

//go:linkname exitsyscall runtime.exitsyscall
//go:noescape
func exitsyscall()

// run is enter with the scheduler told.
//
//go:nosplit
//go:norace
//go:noinline
func (c *control) run(how uint64) {
	entersyscall()
	enter(c, how)
	exitsyscall()
}
