package wasm

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/enclaveos/eos/pkg/manifest"
)

// TestLargeModules: what an image has may take long to compile; what is loaded at run
// time, beside others, may not.
func TestLargeModules(t *testing.T) {
	leb := func(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }
	sec := func(id byte, b []byte) []byte { return slices.Concat([]byte{id}, leb(len(b)), b) }
	// (func (export "f") (block) (block) ...)
	body := slices.Concat([]byte{0}, bytes.Repeat([]byte{0x02, 0x40, 0x0b}, 10_001), []byte{0x0b})
	code := slices.Concat([]byte("\x00asm\x01\x00\x00\x00"), sec(1, []byte{1, 0x60, 0, 0}), sec(3, []byte{1, 0}),
		sec(7, []byte("\x01\x01f\x00\x00")), sec(10, slices.Concat([]byte{1}, leb(len(body)), body)))
	h := newHost(t, Interpreter)
	func() { // what there is no room for is not even read
		var now runtime.MemStats
		runtime.ReadMemStats(&now)
		defer debug.SetMemoryLimit(debug.SetMemoryLimit(int64(now.HeapAlloc)))
		if _, err := h.Load(t.Context(), manifest.NewApp("a"), make([]byte, 8<<20)); err == nil || !strings.Contains(err.Error(), "build it with a larger --heap-size") {
			t.Errorf("without room: %v", err)
		}
	}()
	if _, err := h.Load(t.Context(), manifest.NewApp("a"), code); err == nil || !strings.Contains(err.Error(), "more than 1000 loops or 10000 blocks") {
		t.Errorf("at run time: %v", err)
	}
	a, err := h.load(t.Context(), manifest.NewApp("a"), code, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := call(t, a, "f", `{}`); err != nil || !a.BuiltIn {
		t.Errorf("built in: %v", err)
	}
}

// TestNoCodeMemory: the engine's panic is told with what to do.
func TestNoCodeMemory(t *testing.T) {
	for p, want := range map[any]string{syscall.ENOMEM: "larger --code-size", "surprise": "the engine gave up: surprise"} {
		if err := gaveUp(p); !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", p, err)
		}
	}
}
