package fromelf

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
)

// memory loads an image: the contents by address.
func memory(t *testing.T, image []byte) (header sgxs.Record, m map[uint64]*sgxs.Page) {
	t.Helper()
	r := sgxs.NewPageReader(bytes.NewReader(image))
	m = map[uint64]*sgxs.Page{}
	for {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		c := *p
		c.Data = bytes.Clone(p.Data)
		m[p.Offset] = &c
	}
	header, err := r.Header()
	if err != nil {
		t.Fatal(err)
	}
	return header, m
}

func peek(t *testing.T, m map[uint64]*sgxs.Page, addr uint64, n int) []byte {
	t.Helper()
	p := m[addr&^0xfff]
	if p == nil {
		t.Fatalf("no page at 0x%x", addr)
	}
	return p.Data[addr&0xfff:][:n]
}

// TestConvertValues checks what is stored at each symbol, with numbers worked
// out by hand: the segments of goodELF end at 0x5300.
func TestConvertValues(t *testing.T) {
	const heap, memory1 = 0x6000, 0x6000 + 0x4000 + 2*(0x10000+0x2000+0x1000+0x1000+2*0x1000)
	o := Options{HeapSize: 0x4000, StackSize: 0x2000, Threads: 2, SSAFrameSize: 2, Debug: true}
	common := map[string]uint64{
		"HEAP_BASE": heap, "HEAP_SIZE": 0x4000, "RELA": 0x4321, "RELACOUNT": 2, "CFGDATA_BASE": memory1,
		"TEXT_BASE": 0x1010, "TEXT_SIZE": 0x200, "ENCLAVE_SIZE": 0x40000,
	}
	newSet := map[string]uint64{"EH_FRM_OFFSET": 0x2228, "EH_FRM_LEN": 0x48, "EH_FRM_HDR_OFFSET": 0x2200, "EH_FRM_HDR_LEN": 0x24}
	oldSet := map[string]uint64{"EH_FRM_HDR_BASE": 0x2200, "EH_FRM_HDR_SIZE": 0x24}
	for _, x := range []struct {
		name            string
		old, new, sized bool
	}{{"new", false, true, true}, {"old", true, false, true}, {"both", true, true, true}, {"unsized", false, true, false}} {
		e := goodELF()
		if x.old {
			e.symbols = append(e.symbols, tSymbol{"EH_FRM_HDR_BASE", 0x2100, 8, 5}, tSymbol{"EH_FRM_HDR_SIZE", 0x2108, 8, 5})
		}
		if !x.new {
			e.dropSymbols(newUnwind...)
		}
		o := o
		o.Unsized = !x.sized
		out, l, err := convert(e.build(), o)
		if err != nil {
			t.Fatal(x.name, err)
		}
		header, m := memory(t, out)
		check := func(name string, want uint64, stored bool) {
			t.Helper()
			s := e.symbol(name)
			got, old := peek(t, m, s.addr, 8), e.segments[2].data[s.addr-0x2000:][:8]
			if stored && le.Uint64(got) != want || !stored && !bytes.Equal(got, old) {
				t.Errorf("%s: %s is %x, want 0x%x (stored: %v)", x.name, name, got, want, stored)
			}
		}
		for n, v := range common {
			check(n, v, n != "ENCLAVE_SIZE" || x.sized)
		}
		if x.old {
			for n, v := range oldSet {
				check(n, v, true)
			}
		}
		if x.new {
			for n, v := range newSet {
				check(n, v, !x.old) // with both sets only the old one
			}
		}
		d := e.symbol("DEBUG").addr
		if got := peek(t, m, d, 2); got[0] != 1 || got[1] != e.segments[2].data[d+1-0x2000] {
			t.Errorf("%s: DEBUG is %x", x.name, got)
		}
		want := sgxs.Record{Kind: sgxs.KindECreate, SSAFrameSize: 2, Size: 0x40000}
		if !x.sized {
			want = sgxs.Record{Kind: sgxs.KindUnsized, SSAFrameSize: 2, SizeOffset: e.symbol("ENCLAVE_SIZE").addr}
		}
		if !reflect.DeepEqual(header, want) {
			t.Errorf("%s: header %+v", x.name, header)
		}
		if l.HeapBase != heap || l.MemorySize != memory1 || l.Entry != 0x1020 {
			t.Errorf("%s: %+v", x.name, l)
		}
	}
}

// TestConvertThreads checks the pages of the threads.
func TestConvertThreads(t *testing.T) {
	elf := goodELF().build()
	for _, library := range []bool{false, true} {
		out, _, err := convert(elf, Options{HeapSize: 0x1000, StackSize: 0x3000, Threads: 3, SSAFrameSize: 1, Library: library})
		if err != nil {
			t.Fatal(err)
		}
		_, m := memory(t, out)
		for i := range uint64(3) {
			tls := 0x7000 + i*0x16000 + 0x13000
			p := m[tls]
			second := uint64(0)
			if i > 0 && !library {
				second = 1
			}
			if le.Uint64(p.Data) != tls || le.Uint64(p.Data[8:]) != second || p.Flags != sgx.SecInfoREGRW || p.Measured != 0xffff {
				t.Errorf("thread %d: TLS page %x", i, p.Data[:32])
			}
			tcs, err := sgx.ParseTCS(m[tls+0x1000].Data)
			want := &sgx.TCS{OSSA: tls + 0x2000, NSSA: 1, OEntry: 0x1020, OFSBase: tls, OGSBase: tls, FSLimit: 0xfff, GSLimit: 0xfff}
			if err != nil || *tcs != *want || m[tls+0x1000].Flags != sgx.SecInfoTCS {
				t.Errorf("thread %d: TCS %+v, %v", i, tcs, err)
			}
			if m[tls+0x2000].Present != 0 || m[tls-0x1000].Present != 0 || m[tls-0x4000] != nil {
				t.Errorf("thread %d: SSA, stack or guard", i)
			}
		}
	}
	// No thread, no SSA, no heap.
	for _, o := range []Options{{}, {StackSize: 0x1000, Threads: 1}, {HeapSize: 0x1000}} {
		out, l, err := convert(elf, o)
		if err != nil {
			t.Fatal(o, err)
		}
		checkLayout(t, l, out)
	}
}

// TestConvertAccepted bends what is not looked at: the image stays the same, or
// is accepted at least.
func TestConvertAccepted(t *testing.T) {
	want, _, err := convert(goodELF().build(), testOptions)
	if err != nil {
		t.Fatal(err)
	}
	patch := func(off int, v ...byte) func(*tELF) {
		return func(e *tELF) { e.patch = append(e.patch, func(b []byte) { copy(b[off:], v) }) }
	}
	for name, bend := range map[string]func(*tELF){
		"big-endian flag": patch(5, 2),
		"ELF version":     patch(6, 9, 9, 9),
		"ET_EXEC":         patch(16, 2),
		"machine":         patch(18, 0xff, 0xff),
		"entry point":     patch(24, 1, 2, 3, 4, 5, 6, 7, 8),
		"header size":     patch(52, 1),
		"version 0":       func(e *tELF) { e.section(noteSection).data = note("toolchain-version", 0) },
		"note type":       func(e *tELF) { n := note("toolchain-version", 1); n[8] = 77; e.section(noteSection).data = n },
		"further note":    func(e *tELF) { e.section(noteSection).data = append(note("toolchain-version", 1), note("more", 9)...) },
		"note cut before its version": func(e *tELF) {
			e.section(noteSection).data = note("toolchain-version", 1)
			e.patch = append(e.patch, func(b []byte) { b[e.shoff+64*9+32] = 32 })
		},
		"PT_TLS": func(e *tELF) {
			e.segments = append(e.segments, tSegment{typ: 7, flags: pfR, vaddr: 0x3000, memsz: 0x80})
		},
		"PT_NULL outside": func(e *tELF) { e.segments = append(e.segments, tSegment{fixed: true, off: 1 << 50, filesz: 1 << 50}) },
		"unknown segment": func(e *tELF) {
			e.segments = append(e.segments, tSegment{typ: 9, fixed: true, off: 1 << 50, filesz: 1 << 50})
		},
		"second PT_DYNAMIC": func(e *tELF) { e.segments = append(e.segments, tSegment{typ: ptDynamic, data: make([]byte, 3)}) },
		"tags ignored": func(e *tELF) {
			e.dynamic = append(e.dynamic, [2]uint64{22}, [2]uint64{3}, [2]uint64{30}, [2]uint64{0x6ffffffb}, [2]uint64{0x7fffffff})
		},
		"symbol absolute": func(e *tELF) { e.symbol("ENCLAVE_SIZE").shndx = 0xfff1 },
		"other symbols": func(e *tELF) {
			e.symbols = append(e.symbols, tSymbol{"a", 0, 0, 1}, tSymbol{"a", 0, 0, 1}, tSymbol{"HEAP_BAS", 0, 0, 1})
		},
		"long symbol":        func(e *tELF) { e.symbols = append(e.symbols, tSymbol{strings.Repeat("s", 200_000), 0, 0, 1}) },
		"long section":       func(e *tELF) { e.section(".bss").name = strings.Repeat("n", 200_000) },
		"size of sgx_entry":  func(e *tELF) { e.symbol("sgx_entry").size = 99 },
		"incomplete old set": func(e *tELF) { e.symbols = append(e.symbols, tSymbol{"EH_FRM_HDR_BASE", 0, 0, 1}) },
		"null section":       func(e *tELF) { e.sections = append(e.sections, tSection{typ: 0, fixed: true, off: 1 << 50, size: 9}) },
		"user section":       func(e *tELF) { e.sections = append(e.sections, tSection{name: ".x", typ: 0xffffffff, data: []byte{1}}) },
		"second .text":       func(e *tELF) { e.sections = append(e.sections, tSection{name: ".text", typ: shtProgBits, addr: 9}) },
		"empty .text_no_sgx": func(e *tELF) {
			e.sections = append(e.sections, tSection{name: ".text_no_sgx", typ: shtProgBits, addr: 0x1100})
		},
		"flags beyond rwx": func(e *tELF) { e.segments[0].flags |= 0xfffffff8 },
	} {
		e := goodELF()
		bend(e)
		if out, _, err := convert(e.build(), testOptions); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !bytes.Equal(out, want) {
			t.Errorf("%s: another image", name)
		}
	}
}

// TestConvertTextNoSGX cuts the section off at the end of its segment and
// overwrites it elsewhere.
func TestConvertTextNoSGX(t *testing.T) {
	for _, x := range []struct {
		name       string
		memsz      uint64
		addr, size uint64
		pages      int  // of the RX segment
		cut        bool // else NOPs
	}{
		{"middle", 0x1500, 0x1100, 0x80, 2, false},
		{"end", 0x1500, 0x1100, 0x1400, 1, true},
		{"end, rest of the page", 0x1500, 0x2400, 0x100, 2, true},
		{"end, to the page's start", 0x1500, 0x2000, 0x500, 1, true},
		{"whole", 0x1500, 0x1000, 0x1500, 0, true},
		{"before the end", 0x1500, 0x2400, 0xff, 2, false},
	} {
		e := goodELF()
		data := bytes.Repeat([]byte{0xcc}, int(x.memsz))
		e.segments[1].data, e.segments[1].memsz = data, x.memsz
		for i := 2; i < 4; i++ {
			e.segments[i].vaddr += 0x10000
		}
		for i := range e.symbols[1:] {
			e.symbols[1+i].addr += 0x10000
		}
		for i := range e.relocs {
			e.relocs[i][0] += 0x10000
		}
		e.sections = append(e.sections, tSection{name: ".text_no_sgx", typ: shtProgBits, addr: x.addr, size: x.size})
		out, l, err := convert(e.build(), testOptions)
		if err != nil {
			t.Fatal(x.name, err)
		}
		want := bytes.Clone(data)
		fill := byte(0x90)
		if x.cut {
			fill = 0
		}
		copy(want[x.addr-0x1000:], bytes.Repeat([]byte{fill}, int(x.size)))
		_, m := memory(t, out)
		pages := 0
		for off := uint64(0x1000); off < 0x10000; off += 0x1000 {
			if m[off] == nil {
				continue
			}
			pages++
			p := make([]byte, 4096)
			copy(p, want[min(len(want), int(off-0x1000)):])
			if !bytes.Equal(m[off].Data, p) {
				t.Errorf("%s: page 0x%x differs", x.name, off)
			}
		}
		if pages != x.pages {
			t.Errorf("%s: %d pages, want %d", x.name, pages, x.pages)
		}
		if l.HeapBase != 0x16000 {
			t.Errorf("%s: heap at 0x%x", x.name, l.HeapBase)
		}
		checkLayout(t, l, out)
	}
	// The heap starts behind the segment as it was, also where that is the last.
	e := goodELF()
	e.segments[3].flags, e.segments[3].memsz = pfR|pfW|pfX, 0x2000
	e.segments[3].data = make([]byte, 0x2000)
	e.relocs[1][0] = tRWAddr
	e.sections = append(e.sections, tSection{name: ".text_no_sgx", typ: shtProgBits, addr: 0x3800, size: 0x5100 - 0x3800})
	out, l, err := convert(e.build(), testOptions)
	if err != nil || l.HeapBase != 0x6000 {
		t.Fatalf("heap at 0x%x, %v", l.HeapBase, err)
	}
	if _, m := memory(t, out); m[0x4000] != nil || m[0x5000] != nil || m[0x6000] == nil {
		t.Error("no hole where the section was cut off")
	}
}

// TestConvertMeasure compares MRENCLAVE with the SHA-256 of the image, which it
// is for sized images of this converter.
func TestConvertMeasure(t *testing.T) {
	o := testOptions
	o.Measure = true
	out, l, err := convert(goodELF().build(), o)
	if err != nil || l.MREnclave != sha256.Sum256(out) {
		t.Errorf("%v, %v", l.MREnclave, err)
	}
	o.Unsized = true
	if _, l, err := convert(goodELF().build(), o); err != nil || l.MREnclave != (sgx.Measurement{}) {
		t.Errorf("unsized: %v, %v", l.MREnclave, err)
	}
}

// TestConvertMemory converts images much bigger than what may be allocated.
func TestConvertMemory(t *testing.T) {
	const limit = 4 << 20 // in all, not at a time
	big := goodELF()
	big.segments[3].memsz = 256 << 20
	for _, x := range []struct {
		name string
		elf  []byte
		o    Options
	}{
		{"4 GiB heap", goodELF().build(), Options{HeapSize: 4 << 30, StackSize: 0x20000, Threads: 4, SSAFrameSize: 1}},
		{"256 MiB segment", big.build(), testOptions},
		{"10000 threads", goodELF().build(), Options{StackSize: 0x2000, Threads: 10000, SSAFrameSize: 1}},
	} {
		if x.name == "256 MiB segment" {
			x.elf = func() []byte {
				big.relocs[1][0] = tRWAddr
				return big.build()
			}()
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := Convert(io.Discard, bytes.NewReader(x.elf), int64(len(x.elf)), x.o); err != nil {
			t.Fatal(x.name, err)
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > limit {
			t.Errorf("%s: allocated %d bytes", x.name, took)
		}
	}
}

// FuzzConvert: no panic, refusals are of type Error and write nothing, and what
// is accepted is a canonical stream of the size that the layout tells.
func FuzzConvert(f *testing.F) {
	f.Add(goodELF().build(), uint64(0x4000), uint64(0x2000), uint32(2), uint32(1), byte(0))
	e := goodELF()
	e.sections = append(e.sections, tSection{name: ".text_no_sgx", typ: shtProgBits, addr: 0x1200, size: 0x40})
	f.Add(e.build(), uint64(0x1234), uint64(0), uint32(0), uint32(0), byte(7))
	full := errors.New("enough")
	f.Fuzz(func(t *testing.T, elf []byte, heap, stack uint64, threads, ssa uint32, flags byte) {
		o := Options{heap, stack, threads, ssa, flags&1 != 0, flags&2 != 0, flags&4 != 0, flags&8 != 0}
		out := &limited{max: 4 << 20, err: full}
		l, err := Convert(out, bytes.NewReader(elf), int64(len(elf)), o)
		if err == full {
			return
		}
		if err != nil {
			if !errors.As(err, new(*Error)) || out.Len() != 0 {
				t.Fatalf("%v, %d bytes written", err, out.Len())
			}
			return
		}
		r := sgxs.NewCanonicalReader(&out.Buffer)
		n := uint64(0)
		for {
			rec, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if rec.Kind == sgxs.KindEAdd {
				n += sgx.PageSize
			}
		}
		want := uint64(0)
		for r := range l.Regions() {
			if r.Mapped {
				want += r.Size
			}
		}
		if n != want {
			t.Fatalf("0x%x bytes of pages, the layout tells 0x%x", n, want)
		}
	})
}

// limited is a buffer that refuses to grow beyond a size.
type limited struct {
	bytes.Buffer
	max int
	err error
}

func (l *limited) Write(b []byte) (int, error) {
	if l.Len()+len(b) > l.max {
		return 0, l.err
	}
	return l.Buffer.Write(b)
}

// BenchmarkConvert converts 64 MiB of segment, beside writing as many bytes as
// come out in pieces of the writer's size.
func BenchmarkConvert(b *testing.B) {
	e := goodELF()
	e.segments[3].data = bytes.Repeat([]byte("enclave!"), 8<<20)
	e.segments[3].memsz = 64 << 20
	e.relocs[1][0] = tRWAddr
	elf := e.build()
	out, _, err := convert(elf, testOptions)
	if err != nil {
		b.Fatal(err)
	}
	to := func(b *testing.B) *os.File {
		f, err := os.Create(filepath.Join(b.TempDir(), "out"))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { f.Close() })
		b.SetBytes(int64(len(out)))
		return f
	}
	for _, measure := range []bool{false, true} {
		b.Run(fmt.Sprintf("convert/measure=%v", measure), func(b *testing.B) {
			f, o := to(b), testOptions
			o.Measure = measure
			for b.Loop() {
				f.Seek(0, io.SeekStart)
				if _, err := Convert(f, bytes.NewReader(elf), int64(len(elf)), o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("raw write", func(b *testing.B) {
		f := to(b)
		for b.Loop() {
			f.Seek(0, io.SeekStart)
			for p := out; len(p) > 0; {
				n := min(len(p), 512<<10)
				if _, err := f.Write(p[:n]); err != nil {
					b.Fatal(err)
				}
				p = p[n:]
			}
		}
	})
}
