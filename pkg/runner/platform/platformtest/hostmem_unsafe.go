package platformtest

import "unsafe"

// address returns where b lies. The caller keeps b alive while an enclave uses
// it; the Go heap does not move.
func address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }
