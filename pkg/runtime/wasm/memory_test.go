package wasm

import (
	"bytes"
	"math/rand/v2"
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
			if n := h.memory.inUse(); n != 0 || a.memory.now != 0 {
				t.Errorf("%s: %d bytes are in use, %d of the app", name, n, a.memory)
			}
		}
	}
}

// TestArena: whatever is taken, grown and given back, memory is zero when it is
// given out, nobody's lies in another's, and in the end it is whole again.
func TestArena(t *testing.T) {
	const limit = 1 << 16
	b := &memoryBudget{}
	b.bound(limit)
	var has [2]memoryUse
	type held struct {
		m    []byte
		app  int
		mark byte
	}
	var all []held
	r := rand.New(rand.NewPCG(1, 2))
	whole := func(h held) bool { return bytes.Count(h.m, []byte{h.mark}) == len(h.m) }
	var given, grown, refused int
	for i := range 4000 {
		size := 1 + r.Int64N(limit/8)
		switch app := r.IntN(2); r.IntN(3) {
		case 0:
			m := b.take(&has[app], size, size+size/4)
			if m == nil {
				refused++
				break
			}
			given++
			if int64(len(m)) != size || bytes.Count(m[:cap(m)], []byte{0}) != cap(m) {
				t.Fatalf("step %d: %d bytes that are not %d zeros", i, len(m), size)
			}
			all = append(all, held{m, app, byte(1 + i%255)})
		case 1:
			if len(all) == 0 {
				break
			}
			h := &all[r.IntN(len(all))]
			n := int64(cap(h.m)) + size
			m := b.grow(&has[h.app], h.m, n, n+n/4)
			if m == nil {
				break
			}
			grown++
			if int64(len(m)) != n || &m[0] != &h.m[0] || bytes.Count(m[len(h.m):cap(m)], []byte{0}) != cap(m)-len(h.m) {
				t.Fatalf("step %d: %d bytes have become %d", i, len(h.m), len(m))
			}
			h.m = m
		default:
			if len(all) == 0 {
				break
			}
			k := r.IntN(len(all))
			if !whole(all[k]) {
				t.Fatalf("step %d: somebody else has written there", i)
			}
			b.give(&has[all[k].app], all[k].m)
			all = append(all[:k], all[k+1:]...)
		}
		for _, h := range all {
			for k := range h.m {
				h.m[k] = h.mark
			}
		}
		if b.used != has[0].now+has[1].now || b.used > limit {
			t.Fatalf("step %d: %d bytes used, %+v by the apps", i, b.used, has)
		}
	}
	for _, h := range all {
		b.give(&has[h.app], h.m)
	}
	if b.used != 0 || len(b.holes) != 1 || b.holes[0] != (hole{0, limit}) || len(b.at) != 0 {
		t.Errorf("at the end: %d bytes used, holes %v", b.used, b.holes)
	}
	if given < 100 || grown < 100 || refused < 100 {
		t.Errorf("%d given, %d grown, %d refused: that tests little", given, grown, refused)
	}
}
