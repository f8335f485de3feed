package wall

import (
	"bytes"
	"strings"
	"testing"
)

func goodBoot() *Boot {
	return &Boot{
		Magic: BootMagic, Base: Base, Size: 1 << 30, Entry: Base + 0x401010, Blocks: Base + 0x800000, Threads: 5,
		StackLo: Base + 0x900000, StackHi: Base + 0x940000, MetaLo: Base + 0x950000, MetaHi: Base + 0xa00000,
		HeapLo: Base + 0x4000000, HeapEnd: Base + 0x8000000, HeapHi: Base + 0x10000000, CodeLo: Base + 0x10000000, CodeHi: Base + 0x10100000,
		Env: Base + 0x1000, EnvLen: 10, Info: Base + 0x100a, InfoLen: 1000,
		TextLo: Base + 0x401000, TextHi: Base + 0x501000, ZeroLo: Base + 0x700000, ZeroHi: Base + 0x701000,
	}
}

func TestParseBootRefuses(t *testing.T) {
	for _, c := range []struct {
		change func(*Boot)
		what   string
	}{
		{func(b *Boot) { b.Magic++ }, "EOSBOOT1"},
		{func(b *Boot) { b.Base += 4096 }, "base"},
		{func(b *Boot) { b.Size-- }, "power of two"},
		{func(b *Boot) { b.Size = 1 << 41 }, "power of two"},
		{func(b *Boot) { b.Size = 1 << 27 }, "misplaced"},
		{func(b *Boot) { b.Threads = 0 }, "threads"},
		{func(b *Boot) { b.Threads = 65 }, "threads"},
		{func(b *Boot) { b.Threads = 40 }, "misplaced"},
		{func(b *Boot) { b.Flags = 2 }, "flags"},
		{func(b *Boot) { b.Blocks = 0 }, "outside"},
		{func(b *Boot) { b.Blocks = 1<<64 - 4096 }, "outside"},
		{func(b *Boot) { b.Blocks++ }, "thread blocks"},
		{func(b *Boot) { b.Env = Base }, "environment"},
		{func(b *Boot) { b.EnvLen = 1<<64 - 1 }, "environment"},
		{func(b *Boot) { b.InfoLen = 1 << 40 }, "info"},
		{func(b *Boot) { b.Entry = b.TextHi }, "entry"},
		{func(b *Boot) { b.Entry = 0 }, "entry"},
		{func(b *Boot) { b.TextHi = b.TextLo - 1 }, "code"},
		{func(b *Boot) { b.ZeroLo++ }, "zero data"},
		{func(b *Boot) { b.StackLo = b.Blocks }, "stack"},
		{func(b *Boot) { b.MetaHi = b.HeapLo + 4096 }, "heap"},
		{func(b *Boot) { b.HeapEnd = b.HeapHi + 4096 }, "heap"},
		{func(b *Boot) { b.HeapEnd++ }, "heap"},
		{func(b *Boot) { b.CodeHi = Base + 1<<30 + 4096 }, "code area"},
	} {
		b := goodBoot()
		c.change(b)
		if _, err := ParseBoot(b.AppendBinary(nil)); err == nil || !strings.Contains(err.Error(), c.what) {
			t.Errorf("%v, want %q: %+v", err, c.what, b)
		}
	}
	// The size may still be open.
	b := goodBoot()
	b.Size = 0
	if _, err := ParseBoot(b.AppendBinary(nil)); err != nil {
		t.Error(err)
	}
}

func FuzzParseBoot(f *testing.F) {
	f.Add(goodBoot().AppendBinary(nil))
	f.Fuzz(func(t *testing.T, page []byte) {
		b, err := ParseBoot(page)
		if err != nil {
			return
		}
		if !bytes.Equal(b.AppendBinary(nil), page[:BootSize]) {
			t.Fatal("not the same bytes again")
		}
		for _, r := range [][2]uint64{{b.Env, b.Env + b.EnvLen}, {b.Info, b.Info + b.InfoLen}, {b.HeapLo, b.HeapEnd}, {b.CodeLo, b.CodeHi}, {b.Blocks, b.Blocks + b.Threads*BlockSize}} {
			if r[0] < Base || r[1] < r[0] || r[1] > Base+MaxSize || b.Size != 0 && r[1] > Base+b.Size {
				t.Fatalf("range %#x: %+v", r, b)
			}
		}
	})
}
