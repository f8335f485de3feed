//go:build linux && amd64

package softsgx

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"
)

// osThread is an OS thread that can enter enclaves.
type osThread struct {
	*control
	tid      int
	refs     int // Threads on it
	oldMask  uint64
	oldStack altStack
	noCPUID  bool
	cs, ss   uint64
}

// altStack is the kernel's stack_t.
type altStack struct {
	sp    uintptr
	flags uint64
	size  uintptr
}

var osThreads struct {
	sync.Mutex
	byID map[int]*osThread
}

func hostState() (fs, gs, cs, ss uint64, mxcsr uint32, fcw uint16)

const (
	prSetSyscallUserDispatch = 59
	sudOff                   = 0
	sudExclusive             = 1 // all system calls, but for one range
	archSetCPUID             = 0x1012
)

// bindThread locks the calling goroutine to its thread and makes the thread
// able to enter enclaves. If it is already, it is counted once more.
func bindThread() (*osThread, error) {
	runtime.LockOSThread()
	osThreads.Lock()
	defer osThreads.Unlock()
	tid := syscall.Gettid()
	if t := osThreads.byID[tid]; t != nil {
		// A goroutine may have ended without Close, and its thread with it;
		// then this is another thread with the same id.
		if t.isCurrent() {
			t.refs++
			return t, nil
		}
		delete(osThreads.byID, tid)
	}
	t, err := newOSThread(tid)
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("software platform: preparing a thread: %w", err)
	}
	if osThreads.byID == nil {
		osThreads.byID = make(map[int]*osThread)
	}
	osThreads.byID[tid] = t
	return t, nil
}

func (t *osThread) isCurrent() bool {
	var s altStack
	syscall.RawSyscall(syscall.SYS_SIGALTSTACK, 0, uintptr(unsafe.Pointer(&s)), 0)
	return s.sp == t.addr()+altStackOff
}

func newOSThread(tid int) (*osThread, error) {
	c, err := newControl()
	if err != nil {
		return nil, err
	}
	t := &osThread{control: c, tid: tid, refs: 1}
	c.hostFS, c.hostGS, t.cs, t.ss, c.hostMXCSR, c.hostFCW = hostState()
	c.hostMXCSR &^= mxcsrSticky
	if cpu().xfrm&xfrmAVX != 0 {
		c.avx = 1
	}
	// PKRU is left as the host has it.
	c.rfbm = cpu().xcr0 &^ xfrmPKRU

	mask := ^uint64(0)
	for _, s := range append(syncSignals[:], sigKick) {
		mask &^= 1 << (s - 1)
	}
	const setMask = 2
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, setMask,
		uintptr(unsafe.Pointer(&mask)), uintptr(unsafe.Pointer(&t.oldMask)), 8, 0, 0); errno != 0 {
		freeBlock(c.addr())
		return nil, fmt.Errorf("signal mask: %w", errno)
	}
	s := altStack{sp: c.addr() + altStackOff, size: altStackSize}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SIGALTSTACK,
		uintptr(unsafe.Pointer(&s)), uintptr(unsafe.Pointer(&t.oldStack)), 0); errno != 0 {
		t.restore()
		return nil, fmt.Errorf("signal stack: %w", errno)
	}
	if err := setSyscallDispatch(c); err != nil {
		t.restore()
		return nil, err
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_ARCH_PRCTL, archSetCPUID, 0, 0); errno == 0 {
		t.noCPUID = true
	}
	return t, nil
}

// setSyscallDispatch makes every system call of the thread a SIGSYS while
// c.selector says so, but for the one that returns from a signal.
func setSyscallDispatch(c *control) error {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, prSetSyscallUserDispatch, sudExclusive,
		restorerStart, restorerSize, uintptr(unsafe.Pointer(&c.selector)), 0)
	if errno != 0 {
		return fmt.Errorf("syscall user dispatch: %w (it needs Linux 5.11 or newer, "+
			"and a container must allow prctl)", errno)
	}
	return nil
}

// unbind undoes bindThread. It must run on the thread.
func (t *osThread) unbind() {
	osThreads.Lock()
	defer osThreads.Unlock()
	if t.refs--; t.refs == 0 {
		delete(osThreads.byID, t.tid)
		t.restore()
	}
	runtime.UnlockOSThread()
}

// restore gives the thread back what it had. What has not been set needs no
// more than these same calls, so it serves for half-made threads too.
func (t *osThread) restore() {
	if t.noCPUID {
		syscall.RawSyscall(syscall.SYS_ARCH_PRCTL, archSetCPUID, 1, 0)
	}
	syscall.RawSyscall6(syscall.SYS_PRCTL, prSetSyscallUserDispatch, sudOff, 0, 0, 0, 0)
	if t.oldStack != (altStack{}) {
		syscall.RawSyscall(syscall.SYS_SIGALTSTACK, uintptr(unsafe.Pointer(&t.oldStack)), 0, 0)
	}
	const setMask = 2
	syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, setMask, uintptr(unsafe.Pointer(&t.oldMask)), 0, 8, 0, 0)
	freeBlock(t.addr())
}

// kickThread sends sigKick to a thread of this process that is bound.
func (t *osThread) kickThread() {
	for {
		_, _, errno := syscall.RawSyscall(syscall.SYS_TGKILL, uintptr(syscall.Getpid()), uintptr(t.tid), sigKick)
		if errno != syscall.EAGAIN { // the queue of signals is full: it empties
			return
		}
		runtime.Gosched()
	}
}

// forward sends the thread again what a program sent it while it was inside.
// It is outside now, so that the signal is the host's.
func (t *osThread) forward() {
	for sig := uintptr(1); t.foreign != 0; sig++ {
		if t.foreign>>sig&1 != 0 {
			t.foreign &^= 1 << sig
			syscall.RawSyscall(syscall.SYS_TGKILL, uintptr(syscall.Getpid()), uintptr(t.tid), sig)
		}
	}
}

// kernelFSGSBASE reports whether programs may use RDFSBASE and its family:
// bit 1 of AT_HWCAP2 in the auxiliary vector.
func kernelFSGSBASE() bool {
	const atHWCap2 = 26
	b, err := os.ReadFile("/proc/self/auxv")
	if err != nil {
		return false
	}
	for ; len(b) >= 16; b = b[16:] {
		if le.Uint64(b) == atHWCap2 {
			return le.Uint64(b[8:])&2 != 0
		}
	}
	return false
}
