package goenclave

import (
	"sync/atomic"
	"unsafe"
)

// hostMemory is memory that the enclave reads: 8-byte aligned, in the host's heap,
// which does not move. It has to be kept alive while the enclave uses it.
type hostMemory []uint64

func newHostMemory(bytes int) hostMemory { return make(hostMemory, (bytes+7)/8) }

func (m hostMemory) addr() uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(m)))) }

// store writes word i. The enclave may read it at the same time.
func (m hostMemory) store(i int, v uint64) { atomic.StoreUint64(&m[i], v) }

// bytes is the memory as bytes, for what is written before the enclave knows it.
func (m hostMemory) bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(m))), 8*len(m))
}
