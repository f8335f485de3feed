//go:build linux

package proxy

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lock is a mutex for goroutines that are threads: those of an enclave are locked
// to theirs, and to put such a goroutine to sleep and to wake it costs the Go
// scheduler four futex calls and another thread. This lock needs two, and none
// where a moment's patience does.
type lock struct{ word atomic.Uint32 }

// Values of lock.
const (
	lockFree  = iota
	lockHeld  // and nobody waits
	lockAwait // held, and somebody may be waiting
)

// Operations of futex(2), with FUTEX_PRIVATE_FLAG.
const (
	futexWaitPrivate = 0 | 128
	futexWakePrivate = 1 | 128
)

// lockSpins is how often Lock looks again before it sleeps: two or three
// microseconds, about what the holder needs to send what it has, and less than a sleep
// and a wake-up cost.
const lockSpins = 3000

func (l *lock) TryLock() bool { return l.word.CompareAndSwap(lockFree, lockHeld) }

func (l *lock) Lock() {
	for range lockSpins {
		if l.word.Load() == lockFree && l.TryLock() {
			return
		}
	}
	for l.word.Swap(lockAwait) != lockFree {
		l.futex(futexWaitPrivate, lockAwait)
	}
}

func (l *lock) Unlock() {
	if l.word.Swap(lockFree) == lockAwait {
		l.futex(futexWakePrivate, 1)
	}
}

func (l *lock) futex(op, value uintptr) {
	unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&l.word)), op, value, 0, 0, 0)
}
