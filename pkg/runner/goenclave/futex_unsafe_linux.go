package goenclave

import (
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// word is a word that threads sleep on.
type word struct{ atomic.Uint32 }

const (
	futexWaitPrivate = 0 | 128
	futexWakePrivate = 1 | 128
)

// sleep sleeps while the word is v, for at most d; a negative d is for ever. It
// may return early.
func (w *word) sleep(v uint32, d time.Duration) {
	var ts *syscall.Timespec
	if d >= 0 {
		t := syscall.NsecToTimespec(int64(d))
		ts = &t
	}
	syscall.Syscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(&w.Uint32)), futexWaitPrivate, uintptr(v),
		uintptr(unsafe.Pointer(ts)), 0, 0)
}

// wake wakes one who sleeps on the word.
func (w *word) wake() {
	syscall.Syscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(&w.Uint32)), futexWakePrivate, 1, 0, 0, 0)
}

// yield gives the processor to another thread of the host.
func yield() { syscall.Syscall(syscall.SYS_SCHED_YIELD, 0, 0, 0) }
