package fromelf

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"testing"
)

func open(t *testing.T, e *tELF) *Symbolizer {
	t.Helper()
	z, err := Open(bytes.NewReader(e.build()))
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestSymbolizerLookup(t *testing.T) {
	e := goodELF()
	const text, bss = 4, 8 // section numbers
	e.symbols = []tSymbol{
		{"outer", 0x1010, 0x100, text}, {"inner", 0x1020, 0x10, text}, {"alias", 0x1020, 0x20, text},
		{"label", 0x1180, 0, text}, {"label2", 0x1190, 0, text}, {"zero", 0x4000, 0x800, bss},
		{"undefined", 0x1200, 8, 0}, {"absolute", 0x1200, 8, 0xfff1}, {"unloaded", 0x1200, 8, 9}, {"", 0x1200, 8, text},
		{"wraps", 1<<64 - 8, 16, text}, {"other section", 0x2000, 0x4000, text},
	}
	z := open(t, e)
	for _, x := range []struct {
		off             uint64
		section, symbol string
		delta           uint64
		ok              bool
	}{
		{0, "", "", 0, false},
		{0x100f, "", "", 0, false},
		{0x1010, ".text", "outer", 0, true},
		{0x101f, ".text", "outer", 0xf, true},
		{0x1020, ".text", "inner", 0, true},
		{0x1030, ".text", "alias", 0x10, true},
		{0x1040, ".text", "outer", 0x30, true},
		{0x110f, ".text", "outer", 0xff, true},
		{0x1110, ".text", "", 0x100, true},
		{0x1180, ".text", "label", 0, true},
		{0x118f, ".text", "label", 0xf, true},
		{0x1200, ".text", "label2", 0x70, true},
		{0x1210, "", "", 0, false},
		{0x2200, ".eh_frame_hdr", "", 0, true},
		{0x2224, "", "", 0, false},
		{0x3280, ".bss", "", 0, true},
		{0x47ff, ".bss", "zero", 0x7ff, true},
		{0x52ff, ".bss", "", 0x207f, true},
		{0x5300, "", "", 0, false},
		{1<<64 - 1, "", "", 0, false},
	} {
		section, symbol, delta, ok := z.Lookup(x.off)
		if section != x.section || symbol != x.symbol || delta != x.delta || ok != x.ok {
			t.Errorf("0x%x: %s %s+0x%x %v, want %s %s+0x%x %v", x.off, section, symbol, delta, ok, x.section, x.symbol, x.delta, x.ok)
		}
	}
	if b := z.Biggest(3); len(b) != 3 || b[0].Name != "other section" || b[1] != (Symbol{"zero", ".bss", 0x4000, 0x800}) || b[2].Name != "outer" {
		t.Errorf("biggest %v", b)
	}
	if n := len(z.Biggest(100)); n != 5 {
		t.Errorf("%d symbols with a size", n)
	}
	if len(z.Biggest(0)) != 0 || len(z.Biggest(-1)) != 0 {
		t.Error("none were asked for")
	}
}

// TestSymbolizerOracle compares with package debug/elf on the test binary.
func TestSymbolizerOracle(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := Open(f)
	if err != nil {
		t.Skipf("SKIPPED: the test binary is no ELF of class 64: %v", err)
	}
	ef, err := elf.NewFile(f)
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := ef.Symbols()
	if err != nil {
		t.Skipf("SKIPPED: the test binary is stripped: %v", err)
	}
	n := 0
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC || s.Size == 0 || int(s.Section) >= len(ef.Sections) {
			continue
		}
		n++
		section, symbol, delta, ok := z.Lookup(s.Value + s.Size - 1)
		if !ok || section != ef.Sections[s.Section].Name || symbol == "" || delta >= s.Size {
			t.Errorf("%s: %s %s+0x%x %v", s.Name, section, symbol, delta, ok)
		}
	}
	if n < 1000 {
		t.Errorf("only %d functions", n)
	}
	b := z.Biggest(10)
	for i := range b[1:] {
		if b[i].Size < b[i+1].Size {
			t.Error("not sorted by size")
		}
	}
}

func TestSymbolizerSize(t *testing.T) {
	for n := range 300 {
		if got := sizeOf(bytes.NewReader(make([]byte, n))); got != int64(n) {
			t.Errorf("%d bytes: %d", n, got)
		}
	}
}

// TestSymbolizerDamaged: whatever is cut off, there is an *Error or a result.
func TestSymbolizerDamaged(t *testing.T) {
	b := goodELF().build()
	for n := range b {
		if _, err := Open(bytes.NewReader(b[:n])); err == nil || !errors.As(err, new(*Error)) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

func FuzzSymbolizer(f *testing.F) {
	f.Add(goodELF().build(), uint64(0x1020))
	f.Fuzz(func(t *testing.T, b []byte, off uint64) {
		z, err := Open(bytes.NewReader(b))
		if err != nil {
			if !errors.As(err, new(*Error)) {
				t.Fatal(err)
			}
			return
		}
		if section, symbol, _, ok := z.Lookup(off); !ok && section+symbol != "" {
			t.Fatalf("%s %s, but not ok", section, symbol)
		}
		z.Biggest(5)
	})
}
