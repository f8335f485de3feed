package goenclave

import "unsafe"

// pointer is an address in host memory, which the enclave has been given.
//
//go:noinline
func pointer(addr uint64) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&addr)) }

// words reads n words of host memory, as an enclave would.
//
//go:noinline
func words(addr uint64, n int) []uint64 {
	return append([]uint64(nil), unsafe.Slice((*uint64)(pointer(addr)), n)...)
}

//go:noinline
func text(addr, n uint64) string { return string(unsafe.Slice((*byte)(pointer(addr)), n)) }
