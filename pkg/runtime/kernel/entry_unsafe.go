package kernel

import _ "unsafe" // for linkname

// What the assembly in package runtime calls. The linknames let it.

//go:linkname Enter

// Enter is an ECALL: the entry code at CSSA 0, on a thread that waits for no
// answer. a2 to a4 are not used by any ECALL yet.
func Enter(t *thread, ecall, a1, a2, a3, a4 uint64) (action, value uint64) {
	return enter(t, ecall, a1)
}

//go:linkname Trap

// Trap is a system call.
func Trap(f *frame, t *thread) uint64 { return trap(f, t) }

//go:linkname Deliver

// Deliver is called before the kernel is left when a signal is pending.
func Deliver(f *frame, t *thread) bool { return deliver(f, t) }

// ReserveThread is asked by the Go scheduler, on the program's side, before it makes
// a thread: it promises the next clone that there will be a TCS.
func ReserveThread() bool { return reserveThread() }

// HeapSize is asked by the Go runtime, on the program's side.
func HeapSize() uintptr { return uintptr(boot().HeapEnd - boot().HeapLo) }

//go:linkname Exception

// Exception is the entry code at CSSA 1.
func Exception(t *thread) (resume, vector, ip, addr uint64) { return exception(t) }
