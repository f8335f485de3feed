package wasm

import (
	"testing"
)

// TestFailedInstances: an instance that does not come to be leaves nothing behind.
func TestFailedInstances(t *testing.T) {
	const head = "\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00" // type () -> ()
	const memory = "\x05\x03\x01\x00\x02\x07\x05\x01\x01f\x00\x00" // two pages; function 0 is f
	for name, module := range map[string]string{
		"a start function that traps": head + "\x03\x03\x02\x00\x00" + memory + "\x08\x01\x01\x0a\x08\x02\x02\x00\x0b\x03\x00\x00\x0b",
		"data outside of the memory":  head + "\x03\x02\x01\x00" + memory + "\x0a\x04\x01\x02\x00\x0b\x0b\x07\x01\x00\x41\x7f\x0b\x01x",
	} {
		for _, engine := range []EngineKind{Interpreter, Compiler} {
			h := newHost(t, engine)
			h.Memory = 4 << 16
			a := load(t, h, "bad", []byte(module))
			for range 5 { // more than there is memory for
				_, err := call(t, a, "f", `{}`)
				fault(t, name, err, FaultGuest, "the app trapped")
			}
			if n := h.memory.inUse(); n != 0 || a.memory != 0 {
				t.Errorf("%s: %d bytes are in use, %d of the app", name, n, a.memory)
			}
		}
	}
}

// TestWaste: what is in use and what waits for the garbage collector are within the
// limit together.
func TestWaste(t *testing.T) {
	b := &memoryBudget{limit: 64 << 16}
	var has, other int64
	held := b.take(&other, 30<<16, 30<<16)
	for i := range 200 {
		n := int64(1+i*7%30) << 16
		m := b.take(&has, n, n)
		if m == nil || b.used+b.idle+b.waste > b.limit {
			t.Fatalf("step %d: %d bytes used, %d kept, %d wasted, of %d", i, b.used, b.idle, b.waste, b.limit)
		}
		b.give(&has, m)
	}
	b.give(&other, held)
	if b.used != 0 || b.idle > b.limit {
		t.Errorf("%d bytes used, %d kept", b.used, b.idle)
	}
}
