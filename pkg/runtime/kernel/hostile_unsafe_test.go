package kernel_test

import "unsafe"

// word and octet are the host's memory at an address.
//
//go:nocheckptr
func word(addr uint64) *uint64 { return (*uint64)(unsafe.Add(unsafe.Pointer(nil), addr)) }

//go:nocheckptr
func octet(addr uint64) *byte { return (*byte)(unsafe.Add(unsafe.Pointer(nil), addr)) }
