package main

import (
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/dispatch"
)

// What --stats advises is taken by build.
func TestFitFlags(t *testing.T) {
	for _, s := range []dispatch.Stats{
		{HeapHigh: 1, HeapSize: 64 << 20, ThreadsHigh: 5},
		{HeapHigh: 2300 << 20, HeapSize: 4 << 30, ThreadsHigh: 6},
		{HeapHigh: 5 << 20, HeapRefused: 7 << 20, HeapSize: 9<<20 + 4096, ThreadsHigh: 8, NoThread: true},
	} {
		flags := strings.Fields(fitFlags(s))
		var heap sizeFlag
		if len(flags) != 4 || flags[0] != "--heap-size" || flags[2] != "--threads" {
			t.Fatalf("%q", flags)
		}
		if err := heap.Set(flags[1]); err != nil || uint64(heap) < s.HeapHigh || heap%4096 != 0 {
			t.Errorf("%+v: %q, %v", s, flags, err)
		}
	}
}
