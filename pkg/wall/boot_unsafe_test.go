package wall

import (
	"testing"
	"unsafe"
)

func TestBootLayout(t *testing.T) {
	if n := unsafe.Sizeof(Boot{}); n != BootSize {
		t.Errorf("Boot has %d bytes, BootSize is %d", n, BootSize)
	}
	b := goodBoot().AppendBinary([]byte("x"))
	if len(b) != 1+BootSize || !IsBoot(b[1:]) || IsBoot(b) || IsBoot(b[1:8]) {
		t.Fatalf("%d bytes: %x", len(b), b)
	}
	b = b[1:]
	// As the kernel sees it.
	if got := (*Boot)(unsafe.Pointer(&b[0])); *got != *goodBoot() {
		t.Errorf("in memory: %+v", got)
	}
	got, err := ParseBoot(append(b, make([]byte, 4096-BootSize)...))
	if err != nil || *got != *goodBoot() {
		t.Errorf("%+v, %v", got, err)
	}
	for n := range BootSize {
		if _, err := ParseBoot(b[:n]); err == nil {
			t.Errorf("%d bytes are a boot page", n)
		}
	}
}
