package kernel

import (
	"sync/atomic"
	"unsafe"
)

// at is the T at an address.
//
//go:nocheckptr
func at[T any](addr uint64) *T { return (*T)(unsafe.Add(unsafe.Pointer(nil), addr)) }

// addrOf is the address of a variable that never moves: a global, or one in a
// thread area.
func addrOf[T any](p *T) uint64 { return uint64(uintptr(unsafe.Pointer(p))) }

// span is the n bytes at addr; n must be at least 1. If it were inlined the
// compiler of Go 1.26 would fail where it copies a constant number of bytes:
// an address is no pointer to it.
//
//go:noinline
func span(addr, n uint64) []byte { return unsafe.Slice(at[byte](addr), n) }

// zero clears n bytes.
func zero(addr, n uint64) {
	if n != 0 {
		clear(span(addr, n))
	}
}

// move copies n bytes; the ranges may overlap.
func move(dst, src, n uint64) {
	if n != 0 {
		copy(span(dst, n), span(src, n))
	}
}

// load and store are single, whole accesses, as shared words need them.
func load(addr uint64) uint64       { return atomic.LoadUint64(at[uint64](addr)) }
func store(addr, v uint64)          { atomic.StoreUint64(at[uint64](addr), v) }
func load32(addr uint64) uint32     { return atomic.LoadUint32(at[uint32](addr)) }
func store32(addr uint64, v uint32) { atomic.StoreUint32(at[uint32](addr), v) }
