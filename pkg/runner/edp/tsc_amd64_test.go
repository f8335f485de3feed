package edp

import "testing"

func TestTSCRate(t *testing.T) {
	for _, tt := range []struct {
		leaf15  [3]uint32
		baseMHz uint32
		want    uint64
	}{
		{[3]uint32{2, 168, 24_000_000}, 0, 2_016_000_000},
		{[3]uint32{2, 168, 24_000_000}, 2000, 2_016_000_000},
		{[3]uint32{2, 168, 0}, 2100, 2_100_000_000},
		{[3]uint32{0, 168, 24_000_000}, 0, 0},
		{[3]uint32{}, 0, 0},
		{[3]uint32{1, 0xffffffff, 0xffffffff}, 0, 0xffffffff * 0xffffffff},
	} {
		if got := tscRate(tt.leaf15, tt.baseMHz); got != tt.want {
			t.Errorf("tscRate(%d, %d) is %d, want %d", tt.leaf15, tt.baseMHz, got, tt.want)
		}
	}
	if eax, ebx, ecx, edx := cpuid(0, 0); eax == 0 || ebx == 0 || ecx == 0 || edx == 0 {
		t.Errorf("CPUID leaf 0 is %#x %#x %#x %#x", eax, ebx, ecx, edx)
	}
}
