package kernel

import (
	"sync/atomic"

	wall "github.com/enclaveos/eos/pkg/wall"
)

// thread is a thread area: the page of a TCS's block that GS points to. It is
// zero in the measured image. Assembly knows the offsets of the upper part.
//
//	0    8  address of this area
//	8    4  state
//	16   8  the program's SP while in the kernel
//	24   8  kernel SP during an OCALL
//	32   8  FS base
//	40  24  the host's SP, BP and return address, from the last EENTER
//	64  32  a g for the kernel stack: low end, high end, two stack guards
//	96  32  a g for the exception stack
//	128  8  pending signals: bit n-1 for signal n
//	136  8  registers for sigreturn
//	144  8  not 0: XGETBV with ECX = 1 tells which registers are in use
//	192     frame with which a new thread starts
//	0x400   XSAVE image that means the initial state
type thread struct {
	self                   uint64
	state                  uint32
	idx                    uint32
	usp, osp               uint64
	fs                     uint64
	hostSP, hostBP, hostPC uint64
	kernelG, exceptionG    [4]uint64
	pending                uint64
	gregs                  uint64
	inUse                  uint64
	_                      [5]uint64
	start                  frame

	// The rest is for Go code only.
	sigmask        uint64 // blocked signals
	altSP, altSize uint64
	altFlags       uint32
	woken          uint32 // 1: the wait is over; guarded by waitLock, read without
	waitAddr       uint64 // what it waits for; guarded by waitLock
	booted         uint32 // of thread 0: 0 no, 1 being done, 2 done
}

// States of a thread.
const (
	stateIdle    = 0 // free; may make an ECALL
	stateSpawned = 1 // has a start frame, waits for ECallRun
	stateBusy    = 2 // inside
	stateOcall   = 3 // outside, an answer is awaited; set in assembly only
)

// frame is what a system call saves: the trap frame of eosSyscall. The names
// are those of the registers.
type frame struct {
	ax, di, si, dx, r10, r8, r9, ret, sp, bx, bp, r12, r13, r14, r15 uint64
}

// bootAt is where the boot page is.
var bootAt uint64 = wall.Base + wall.BootOff

func boot() *wall.Boot { return at[wall.Boot](bootAt) }

func threadAt(i uint64) *thread {
	return at[thread](boot().Blocks + i*wall.BlockSize + wall.BlockTPA)
}

// block is the address of the thread's block.
func (t *thread) block() uint64 { return boot().Blocks + uint64(t.idx)*wall.BlockSize }

// usable is the number of threads that the program can have. The last block is
// kept free, so that ecall_shutdown finds a way in.
func usable() uint64 {
	if n := boot().Threads; n > 1 {
		return n - 1
	}
	return 1
}

// Process and thread numbers, as the program sees them.
const pid = 1000

func (t *thread) tid() uint64 { return pid + uint64(t.idx) }

var (
	threadsMax uint32 // most threads at one time
	outOfTCS   uint32 // 1: there was no TCS when one was wanted; 2: it has been said
	reserved   uint32 // TCSs that have been promised by reserveThread
)

// reserveThread promises a TCS to the next clone, if there is one left.
func reserveThread() bool {
	for {
		n, free := atomic.LoadUint32(&reserved), uint32(0)
		for i := uint64(1); i < usable(); i++ {
			if atomic.LoadUint32(&threadAt(i).state) == stateIdle {
				free++
			}
		}
		if free <= n {
			atomic.CompareAndSwapUint32(&outOfTCS, 0, 1)
			return false
		}
		if atomic.CompareAndSwapUint32(&reserved, n, n+1) {
			return true
		}
	}
}

// redeem ends a promise, if there is any: who has cloned without one was the
// first.
func redeem() {
	for {
		n := atomic.LoadUint32(&reserved)
		if n == 0 || atomic.CompareAndSwapUint32(&reserved, n, n-1) {
			return
		}
	}
}

// sayThreads says, once, that there were too few TCSs.
func sayThreads() {
	if atomic.LoadUint32(&outOfTCS) == 1 && atomic.CompareAndSwapUint32(&outOfTCS, 1, 2) {
		say("eos: the enclave is out of threads: build it with a larger --threads than ", usable(), "\n")
	}
}

// countThreads keeps the high-water mark.
func countThreads() uint32 {
	var n uint32
	for i := uint64(0); i < usable(); i++ {
		if atomic.LoadUint32(&threadAt(i).state) != stateIdle {
			n++
		}
	}
	if n > atomic.LoadUint32(&threadsMax) {
		atomic.StoreUint32(&threadsMax, n)
	}
	return n
}

// Flags of clone.
const (
	cloneVM     = 0x100
	cloneThread = 0x10000
	cloneSetTLS = 0x80000
)

// clone starts a thread with the caller's registers, on a free TCS.
func clone(f *frame, t *thread) uint64 {
	if f.di&(cloneVM|cloneThread) != cloneVM|cloneThread {
		return errPerm // processes cannot be made
	}
	for i := uint64(1); i < usable(); i++ {
		w := threadAt(i)
		if !atomic.CompareAndSwapUint32(&w.state, stateIdle, stateBusy) {
			continue
		}
		redeem()
		w.start = *f
		if f.si != 0 {
			w.start.sp = f.si
		}
		w.fs = t.fs
		if f.di&cloneSetTLS != 0 {
			w.fs = f.r8
		}
		w.sigmask = t.sigmask
		w.altSP, w.altSize, w.altFlags = 0, 0, ssDisable
		w.woken = 0
		atomic.StoreUint64(&w.pending, 0)
		atomic.StoreUint32(&w.state, stateSpawned)
		countThreads()
		notify(wall.NotifySpawn, i, 0, 0)
		return w.tid()
	}
	atomic.CompareAndSwapUint32(&outOfTCS, 0, 1)
	sayThreads()
	return errAgain
}

// exitThread is the end of a thread. It does not return.
func exitThread(t *thread) {
	lock(&waitLock)
	t.endWait()
	unlock(&waitLock)
	t.altFlags = ssDisable
	if t.idx == 0 {
		// The first TCS stays taken: a further ECallRun on it must not look
		// like a start.
		for {
			notify(wall.NotifyPark, ^uint64(0), 0, 0)
		}
	}
	threadExit(uint64(wall.NotifyExit))
}
