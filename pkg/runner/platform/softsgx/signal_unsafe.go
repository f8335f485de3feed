//go:build linux && amd64

package softsgx

import (
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"unsafe"
)

// sigKick is the signal of Interrupt, a real-time signal that neither the C
// library nor the Go runtime uses.
const sigKick = 62

// syncSignals are those of exceptions.
var syncSignals = [...]uint32{
	uint32(syscall.SIGILL), uint32(syscall.SIGSEGV), uint32(syscall.SIGBUS),
	uint32(syscall.SIGFPE), uint32(syscall.SIGTRAP), uint32(syscall.SIGSYS),
}

// goHandlers are the handlers that were there before, by signal. Assembly
// reads them.
var goHandlers [65]uintptr

// Where the parts of the assembly are. The handler judges by them what was
// interrupted: an enclave, an entry, an exit, or itself.
var (
	handlerStart, handlerSize   uintptr
	restorerStart, restorerSize uintptr
	leaveStart, leaveSize       uintptr
	entryStart, entrySize       uintptr
	landingStart, landingSize   uintptr
)

func codeAddrs() (handler, restorer, leave, entry, landing uintptr)

// sigaction is the kernel's struct.
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

const (
	saSigInfo  = 0x4
	saRestorer = 0x04000000
	saOnStack  = 0x08000000
	saNoDefer  = 0x40000000
)

// installHandlers puts sigHandler in front of the Go runtime's handlers, once
// in the life of the process. It cannot be undone: another package may have
// put its own in front by then.
//
// The mask is empty and the signal itself not blocked, so that the handler can
// be left by a jump.
var installHandlers = sync.OnceValue(func() error {
	handlerStart, restorerStart, leaveStart, entryStart, landingStart = codeAddrs()
	handlerSize, restorerSize, leaveSize = codeSize(handlerStart), codeSize(restorerStart), codeSize(leaveStart)
	entrySize, landingSize = codeSize(entryStart), codeSize(landingStart)
	for _, s := range append(syncSignals[:], sigKick) {
		var old sigaction
		if err := rtSigaction(s, nil, &old); err != nil {
			return err
		}
		if old.handler <= 1 || old.flags&saOnStack == 0 {
			return fmt.Errorf("software platform: the Go runtime does not handle signal %d; "+
				"it must be the main program, not a library of one", s)
		}
		goHandlers[s] = old.handler
		sa := sigaction{handlerStart, saSigInfo | saOnStack | saNoDefer | saRestorer, restorerStart, 0}
		if err := rtSigaction(s, &sa, nil); err != nil {
			return err
		}
	}
	return nil
})

func rtSigaction(sig uint32, act, old *sigaction) error {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(act)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
	if errno != 0 {
		return fmt.Errorf("software platform: handler of signal %d: %w", sig, errno)
	}
	return nil
}

// codeSize returns the length of the function that starts at pc.
func codeSize(pc uintptr) uintptr {
	f := runtime.FuncForPC(pc)
	n := uintptr(1)
	for g := f; g != nil && g.Entry() == f.Entry(); n++ {
		g = runtime.FuncForPC(pc + n)
	}
	return n - 1
}
