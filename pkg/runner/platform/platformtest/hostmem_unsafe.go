package platformtest

import (
	"runtime"
	"testing"
	"unsafe"
)

// hostMemory returns n bytes of the host for an enclave to use, and their
// address. They are pinned until the test ends: a slice whose address is only
// known as a number may lie on a stack, which moves.
func hostMemory(t testing.TB, n int) ([]byte, uint64) {
	b := make([]byte, n)
	var p runtime.Pinner
	p.Pin(&b[0])
	t.Cleanup(p.Unpin)
	return b, uint64(uintptr(unsafe.Pointer(&b[0])))
}
