package goenclave_test

import "unsafe"

// hostWords is n words of host memory that the enclave has been given.
//
//go:noinline
func hostWords(addr uint64, n int) []uint64 {
	return unsafe.Slice((*uint64)(*(*unsafe.Pointer)(unsafe.Pointer(&addr))), n)
}
