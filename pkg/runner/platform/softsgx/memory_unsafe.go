//go:build linux && amd64

package softsgx

import (
	"fmt"
	"syscall"
	"unsafe"
)

// Protections of memory, the kernel's values.
const (
	protR = syscall.PROT_READ
	protW = syscall.PROT_WRITE
	protX = syscall.PROT_EXEC
)

const mapFixedNoReplace = 0x100000

// reserveFlags take address space without memory.
const reserveFlags = syscall.MAP_PRIVATE | syscall.MAP_ANON | syscall.MAP_NORESERVE

// reserveAt reserves n bytes at base.
func reserveAt(base, n uintptr) error {
	a, _, errno := syscall.Syscall6(syscall.SYS_MMAP, base, n, 0, reserveFlags|mapFixedNoReplace, ^uintptr(0), 0)
	if errno != 0 {
		return errno
	}
	if a != base { // a kernel before 4.17 takes the address as a hint
		unmap(a, n)
		return syscall.EEXIST
	}
	return nil
}

// reserve reserves n bytes at a multiple of align, a power of two, and before
// bytes in front of that. It returns the aligned address.
func reserve(n, align, before uintptr) (uintptr, error) {
	// A range that is align larger has such a place; the rest is given back.
	whole := before + n + align
	a, _, errno := syscall.Syscall6(syscall.SYS_MMAP, 0, whole, 0, reserveFlags, ^uintptr(0), 0)
	if errno != 0 {
		return 0, errno
	}
	start := (a + before + align - 1) &^ (align - 1)
	unmap(a, start-before-a)
	unmap(start+n, a+whole-start-n)
	return start, nil
}

func unmap(a, n uintptr) {
	if n != 0 {
		syscall.Syscall(syscall.SYS_MUNMAP, a, n, 0)
	}
}

func protect(a, n uintptr, prot int) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_MPROTECT, a, n, uintptr(prot)); errno != 0 {
		return fmt.Errorf("protecting %#x bytes of memory: %w", n, errno)
	}
	return nil
}

// discard makes memory zero again and gives it back to the system.
func discard(a, n uintptr) { syscall.Syscall(syscall.SYS_MADVISE, a, n, syscall.MADV_DONTNEED) }

// memory returns n bytes at address a, which are not the Go runtime's.
func memory(a, n uintptr) []byte { return unsafe.Slice((*byte)(pointer(a)), n) }

// pointer makes an address of mapped memory a pointer, in the one form that
// neither vet nor the compiler's pointer checks take for arithmetic on Go
// memory.
func pointer(a uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&a)) }
