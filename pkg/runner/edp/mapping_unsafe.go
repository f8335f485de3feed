//go:build linux

package edp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapping is reserved address space. Offsets count from its first byte.
type mapping struct{ mem []byte }

// reserve maps n bytes without access; they cost nothing until they are
// committed and touched.
func reserve(n uint64) (mapping, error) {
	b, err := unix.Mmap(-1, 0, int(n), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	return mapping{b}, err
}

func (m mapping) addr() uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(m.mem)))) }

// commit makes n bytes at off accessible.
func (m mapping) commit(off, n uint64) error {
	return unix.Mprotect(m.mem[off:off+n], unix.PROT_READ|unix.PROT_WRITE)
}

// discard gives the memory behind n bytes at off back; they read as zero.
func (m mapping) discard(off, n uint64) {
	// On failure the old bytes stay, which is allowed.
	_ = unix.Madvise(m.mem[off:off+n], unix.MADV_DONTNEED)
}

func (m mapping) slice(off, n uint64) []byte { return m.mem[off : off+n : off+n] }

func (m mapping) unmap() { _ = unix.Munmap(m.mem) }
