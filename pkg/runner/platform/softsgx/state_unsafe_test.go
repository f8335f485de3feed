//go:build linux && amd64

package softsgx

import (
	"syscall"
	"testing"
	"unsafe"
)

// threadState is what bindThread changes and the kernel tells.
type threadState struct {
	mask  uint64
	stack altStack
}

func hostThreadState(t *testing.T) (s threadState) {
	t.Helper()
	if _, _, e := syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, 0, 0, uintptr(unsafe.Pointer(&s.mask)), 8, 0, 0); e != 0 {
		t.Fatal(e)
	}
	if _, _, e := syscall.RawSyscall(syscall.SYS_SIGALTSTACK, 0, uintptr(unsafe.Pointer(&s.stack)), 0); e != 0 {
		t.Fatal(e)
	}
	return s
}

// addressOf returns the address of memory that does not move: it escapes.
func addressOf(p *[16]byte) uint64 { return uint64(uintptr(unsafe.Pointer(p))) }
