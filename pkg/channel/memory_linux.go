package channel

import "syscall"

// allocate returns zeroed memory that is not of Go's heap: rings are large, mostly
// not touched, and would make the collector run more often for nothing.
func allocate(n uint64) ([]byte, error) {
	return syscall.Mmap(-1, 0, int(n), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
}

func release(b []byte) { _ = syscall.Munmap(b) }
