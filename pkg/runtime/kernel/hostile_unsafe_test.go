package kernel_test

import "unsafe"

// word and octet are the host's memory at an address.
func word(addr uint64) *uint64 { return (*uint64)(unsafe.Add(unsafe.Pointer(nil), addr)) }
func octet(addr uint64) *byte  { return (*byte)(unsafe.Add(unsafe.Pointer(nil), addr)) }
