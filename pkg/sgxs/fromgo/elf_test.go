package fromgo

import (
	"bytes"
	"debug/elf"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// linked is the hello program as it was linked.
func linked(t testing.TB) []byte {
	t.Helper()
	b, err := Prepare(t.Context(), defaults(filepath.Join(goapps, "hello")))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var out bytes.Buffer
	if _, err := b.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// programHeader returns the bytes of the n-th header of a type.
func programHeader(t *testing.T, b []byte, typ elf.ProgType, n int) []byte {
	t.Helper()
	for at := le.Uint64(b[32:]); ; at += 56 {
		if h := b[at : at+56]; elf.ProgType(le.Uint32(h)) == typ {
			if n == 0 {
				return h
			}
			n--
		}
	}
}

// sectionBytes returns the file's bytes of a section.
func sectionBytes(t *testing.T, b []byte, name string) []byte {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	s := f.Section(name)
	return b[s.Offset : s.Offset+s.FileSize]
}

// What the linker of a later Go might do, and must not pass unseen.
func TestReadProgramRefuses(t *testing.T) {
	good := linked(t)
	if _, err := readProgram(bytes.NewReader(good), int64(len(good))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(b []byte)
		what   string
	}{
		{"no PIE", func(b []byte) { b[16] = 2 }, "position-independent"},
		{"machine", func(b []byte) { b[18] = 183 }, "position-independent"},
		{"entry", func(b []byte) { le.PutUint64(b[24:], 0x10) }, "entry 0x10 is not code"},
		{"entry in data", func(b []byte) { le.PutUint64(b[24:], le.Uint64(programHeader(t, b, elf.PT_LOAD, 3)[16:])) }, "is not code"},
		{"writable code", func(b []byte) { programHeader(t, b, elf.PT_LOAD, 0)[4] = 7 }, "permissions"},
		{"unreadable segment", func(b []byte) { programHeader(t, b, elf.PT_LOAD, 1)[4] = 0 }, "permissions"},
		{"zeros in code", func(b []byte) {
			h := programHeader(t, b, elf.PT_LOAD, 1)
			le.PutUint64(h[40:], le.Uint64(h[40:])+1<<16)
		}, "zeros behind"},
		{"overlap", func(b []byte) {
			h := programHeader(t, b, elf.PT_LOAD, 1)
			le.PutUint64(h[16:], le.Uint64(h[16:])-0x1000)
		}, "overlap"},
		{"too high", func(b []byte) { le.PutUint64(programHeader(t, b, elf.PT_LOAD, 3)[16:], 1<<40) }, "segment at 0x10000000000"},
		{"wraps", func(b []byte) { le.PutUint64(programHeader(t, b, elf.PT_LOAD, 3)[40:], 1<<64-1) }, "segment at"},
		{"file bigger than memory", func(b []byte) { le.PutUint64(programHeader(t, b, elf.PT_LOAD, 3)[40:], 1) }, "segment at"},
		{"RELRO of a part", func(b []byte) { h := programHeader(t, b, elf.PT_GNU_RELRO, 0); le.PutUint64(h[40:], 0x1000) }, "RELRO"},
		{"needs a library", func(b []byte) { le.PutUint64(sectionBytes(t, b, ".dynamic"), uint64(elf.DT_NEEDED)) }, "DT_NEEDED"},
		{"has an initialiser", func(b []byte) { le.PutUint64(sectionBytes(t, b, ".dynamic"), uint64(elf.DT_INIT_ARRAY)) }, "DT_INIT_ARRAY"},
		{"dynamic section without an end", func(b []byte) {
			d := sectionBytes(t, b, ".dynamic")
			for ; len(d) > 0; d = d[16:] {
				if le.Uint64(d) == 0 {
					le.PutUint64(d, uint64(elf.DT_DEBUG))
				}
			}
		}, "no end"},
		{"other relocation", func(b []byte) { le.PutUint32(sectionBytes(t, b, ".rela")[8:], uint32(elf.R_X86_64_64)) }, "R_X86_64_64"},
		{"relocation with a symbol", func(b []byte) { le.PutUint32(sectionBytes(t, b, ".rela")[12:], 1) }, "of symbol 1"},
		{"relocation of code", func(b []byte) { le.PutUint64(sectionBytes(t, b, ".rela"), le.Uint64(b[24:])) }, "is not in data"},
		{"relocation of nothing", func(b []byte) { le.PutUint64(sectionBytes(t, b, ".rela"), 1<<50) }, "is not in data"},
	} {
		b := slices.Clone(good)
		c.change(b)
		if _, err := readProgram(bytes.NewReader(b), int64(len(b))); err == nil || !strings.Contains(err.Error(), c.what) {
			t.Errorf("%s: %v, want %q", c.name, err, c.what)
		}
	}
	for n := 0; n < len(good); n += len(good)/200 + 1 {
		if _, err := readProgram(bytes.NewReader(good[:n]), int64(n)); err == nil {
			t.Errorf("its first %d bytes are a program", n)
		}
	}
}

func BenchmarkBuildHello(b *testing.B) {
	for b.Loop() {
		mustBuild(b, defaults("hello"))
	}
}
