//go:build linux && amd64

package softsgx

import (
	"testing"
	"unsafe"
)

// Assembly takes the offsets of control from go_asm.h, which the compiler
// makes. What it does not check is here.
func TestLayout(t *testing.T) {
	var c control
	if o := unsafe.Offsetof(c.xsave); o != xsaveOff || o%64 != 0 {
		t.Errorf("control.xsave is at %#x, want %#x: XRSTOR needs 64-byte alignment", o, xsaveOff)
	}
	if s := unsafe.Sizeof(c); s != controlSize || s > altStackOff-0x1000 {
		t.Errorf("control has %#x bytes, want %#x and a guard page before the signal stack", s, controlSize)
	}
	if o := unsafe.Offsetof(c.none); o != unsafe.Offsetof(exitBlock{}.owner) {
		t.Errorf("control.none is at %#x: an RSP into a control block must find no owner there", o)
	}
	if err := installHandlers(); err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]uintptr{"handler": handlerSize, "leave": leaveSize, "entry": entrySize, "landing": landingSize} {
		if n < 64 || n > 1024 {
			t.Errorf("%s has %d bytes", name, n)
		}
	}
}
