package edp

import (
	"sync/atomic"
	"unsafe"
)

// userMem is memory as the enclave sees it. It is not inlined: Go 1.26's
// compiler fails on a copy to a pointer that it has seen to be a number.
//
//go:noinline
func userMem(addr, n uint64) []byte {
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&addr))), n)
}

// word is an atomic word of it.
func word(addr uint64) *uint64 { return (*uint64)(*(*unsafe.Pointer)(unsafe.Pointer(&addr))) }

func loadWord(addr uint64) uint64     { return atomic.LoadUint64(word(addr)) }
func storeWord(addr uint64, v uint64) { atomic.StoreUint64(word(addr), v) }

// bytesOf is memory that is aligned for words.
func bytesOf(w []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(w))), 8*len(w))
}
