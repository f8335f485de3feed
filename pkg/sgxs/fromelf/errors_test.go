package fromelf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
)

// TestConvertErrors bends a sound ELF in one way and expects one message. The
// texts are the Fortanix tool's, except those of cases marked as ours: there it
// crashes or leaves a value out.
func TestConvertErrors(t *testing.T) {
	const ours = true
	shdr := func(e *tELF, i, field int, v uint64, n int) { // i counts the null section
		e.patch = append(e.patch, func(b []byte) {
			var x [8]byte
			binary.LittleEndian.PutUint64(x[:], v)
			copy(b[e.shoff+uint64(64*i+field):], x[:n])
		})
	}
	set := func(off int, v ...byte) func(e *tELF) {
		return func(e *tELF) { e.patch = append(e.patch, func(b []byte) { copy(b[off:], v) }) }
	}
	rename := func(section, name string) func(*tELF) { return func(e *tELF) { e.section(section).name = name } }
	dyn := func(tag uint64) func(*tELF) {
		return func(e *tELF) { e.dynamic = append(e.dynamic, [2]uint64{tag, 1}) } // behind DT_NULL
	}
	size := func(name string, n uint64) func(*tELF) { return func(e *tELF) { e.symbol(name).size = n } }
	noteBytes := func(b ...[]byte) func(*tELF) {
		return func(e *tELF) { e.section(noteSection).data = bytes.Join(b, nil) }
	}
	u32 := func(v ...uint32) (b []byte) {
		for _, v := range v {
			b = le.AppendUint32(b, v)
		}
		return b
	}
	drop := func(names ...string) func(*tELF) { return func(e *tELF) { e.dropSymbols(names...) } }
	type test struct {
		name string
		bend func(e *tELF)
		want string
		ours bool
	}
	tests := []test{
		{"class 32", set(4, 1), "Only 64-bit ELF supported!", false},
		{"class 0", set(4, 0), "Loading ELF file: Invalid ELF class", false},
		{"class 3", set(4, 3), "Loading ELF file: Invalid ELF class", false},
		{"magic", set(0, 0x7e), "Loading ELF file: Did not find ELF magic number", false},

		{"no note", rename(noteSection, ".note.other"), "Could not find .note.x86_64-fortanix-unknown-sgx header!", false},
		{"no sections", set(60, 0, 0), "Could not find .note.x86_64-fortanix-unknown-sgx header!", false},
		{"note is PROGBITS", func(e *tELF) { e.section(noteSection).typ = shtProgBits }, "Invalid type Ok(ProgBits) for section: .note.x86_64-fortanix-unknown-sgx", false},
		{"note is OS specific", func(e *tELF) { e.section(noteSection).typ = 0x60000001 }, "Invalid type Ok(OsSpecific(1610612737)) for section: .note.x86_64-fortanix-unknown-sgx", false},
		{"note is processor specific", func(e *tELF) { e.section(noteSection).typ = 0x70000001 }, "Invalid type Ok(ProcessorSpecific(1879048193)) for section: .note.x86_64-fortanix-unknown-sgx", false},
		{"note is the user's", func(e *tELF) { e.section(noteSection).typ = 0x80000001 }, "Invalid type Ok(User(2147483649)) for section: .note.x86_64-fortanix-unknown-sgx", false},
		{"note of unknown type", func(e *tELF) { e.section(noteSection).typ = 12 }, "Could not find .note.x86_64-fortanix-unknown-sgx header!", false},
		{"note of another name", noteBytes(note("toolchain-versiom", 1)), "Expecting 'toolchain-version' as name for .note.x86_64-fortanix-unknown-sgx", false},
		{"second note counts not", noteBytes(note("x", 1), note("toolchain-version", 1)), "Expecting 'toolchain-version' as name for .note.x86_64-fortanix-unknown-sgx", false},
		{"note of 8 bytes", noteBytes(u32(18, 8, 1), []byte("toolchain-version\x00\x00\x00"), u32(1, 0)), "Expecting 32 bit 'toolchain-version' in .note.x86_64-fortanix-unknown-sgx", false},
		{"note of version 2", noteBytes(note("toolchain-version", 2)), "Update required for 'fortanix-sgx-tools'. ELF file has toolchain version 2, installed tools supports up to version 1", false},
		{"note of version 2^32-1", noteBytes(note("toolchain-version", 1<<32-1)), "Update required for 'fortanix-sgx-tools'. ELF file has toolchain version 4294967295, installed tools supports up to version 1", false},
		{"short note", noteBytes(u32(18, 4)), "Section .note.x86_64-fortanix-unknown-sgx is too short for a note: 8 bytes", ours},
		{"note name size", noteBytes(u32(17, 4, 1), []byte("toolchain-version\x00\x00\x00"), u32(1)), "The note in .note.x86_64-fortanix-unknown-sgx has a name of 18 bytes, but says 17", ours},
		{"note name size 0", noteBytes(u32(0, 4, 1), []byte("\x00\x00\x00\x00"), u32(1)), "The note in .note.x86_64-fortanix-unknown-sgx has a name of 1 bytes, but says 0", ours},

		{"no dynsym", rename(".dynsym", ".dynsyn"), "Could not find dynamic symbol table!", false},
		{"dynsym is SYMTAB", func(e *tELF) { e.section(".dynsym").typ = shtSymTab }, ".dynsym section is not a dynamic symbol table!", false},
		{"no dynstr", rename(".dynstr", ".dynstrr"), "no .dynstr section", false},
		{"undefined symbol", func(e *tELF) { e.symbols = append(e.symbols, tSymbol{"memcpy", 0, 0, 0}) }, "Found undefined dynamic symbol: memcpy", false},
		{"undefined before twice", func(e *tELF) {
			e.symbols = append([]tSymbol{{"memcpy", 0, 0, 0}}, append(e.symbols, *e.symbol("DEBUG"))...)
		}, "Found undefined dynamic symbol: memcpy", false},
		{"symbol twice", func(e *tELF) { e.symbols = append(e.symbols, *e.symbol("DEBUG")) }, "Found symbol twice: DEBUG", false},
		{"optional symbol twice", func(e *tELF) { e.symbols = append(e.symbols, *e.symbol("EH_FRM_LEN")) }, "Found symbol twice: EH_FRM_LEN", false},
		{"two missing", drop("TEXT_SIZE", "HEAP_BASE"), "These dynamic symbols are missing: HEAP_BASE, TEXT_SIZE", false},
		{"all missing", func(e *tELF) { e.symbols = nil }, "These dynamic symbols are missing: sgx_entry, HEAP_BASE, HEAP_SIZE, RELA, RELACOUNT, ENCLAVE_SIZE, CFGDATA_BASE, DEBUG, TEXT_BASE, TEXT_SIZE", false},
		{"all missing, no dynstr", func(e *tELF) { e.symbols = nil; e.dropSection(".dynstr") }, "These dynamic symbols are missing: sgx_entry, HEAP_BASE, HEAP_SIZE, RELA, RELACOUNT, ENCLAVE_SIZE, CFGDATA_BASE, DEBUG, TEXT_BASE, TEXT_SIZE", false},
		{"ENCLAVE_SIZE unaligned", func(e *tELF) { e.symbol("ENCLAVE_SIZE").addr++ }, "ENCLAVE_SIZE symbol is not naturally aligned", false},
		{"no unwind set", drop("EH_FRM_LEN"), "Missing EH Frame header symbols, application must either have (EH_FRM_HDR_BASE/EH_FRM_HDR_SIZE) or (EH_FRM_OFFSET, EH_FRM_LEN, EH_FRM_HDR_OFFSET, EH_FRM_HDR_LEN", false},
		{"size of EH_FRM_LEN", size("EH_FRM_LEN", 4), "Dynamic symbol EH_FRM_LEN doesn't have the right size. Expected size 8, got 4.", false},
		{"size of EH_FRM_HDR_SIZE", func(e *tELF) {
			e.symbols = append(e.symbols, tSymbol{"EH_FRM_HDR_BASE", 0x2000, 8, 5}, tSymbol{"EH_FRM_HDR_SIZE", 0x2000, 7, 5})
		}, "Dynamic symbol EH_FRM_HDR_SIZE doesn't have the right size. Expected size 8, got 7.", false},
		{"dynsym is no whole table", func(e *tELF) { s := e.section(".dynsym"); s.data = make([]byte, 25) }, "Loading ELF file: .dynsym is not a whole number of entries: 25 bytes", ours},
		{"symbol name outside", func(e *tELF) {
			e.section(".dynsym").data = append(make([]byte, 24), append(u32(1<<20), make([]byte, 20)...)...)
		}, "The name of dynamic symbol 1 lies outside of .dynstr", ours},

		{"no PT_DYNAMIC", func(e *tELF) { e.segments[4].typ = 0 }, "Could not found dynamic section!", false},
		{"no program headers", set(56, 0, 0), "Could not found dynamic section!", false},
		{"program headers at 0", set(32, 0), "Could not found dynamic section!", false},
		{"program header size 0", set(54, 0), "Could not found dynamic section!", false},
		{"tag 31", dyn(31), "Invalid tag value", false},
		{"tag 36", dyn(36), "Invalid tag value", false},
		{"tag 0x6000000c", dyn(0x6000000c), "Invalid tag value", false},
		{"tag 2^31", dyn(1 << 31), "Invalid tag value", false},
		{"DT_RELA twice", dyn(7), "Found dynamic entry twice: DT_RELA", false},
		{"DT_RELACOUNT twice", dyn(dtRelaCount), "Found dynamic entry twice: DT_RELACOUNT", false},
		{"no DT_RELACOUNT", func(e *tELF) { e.dynamic[3][0] = 0 }, "DT_RELA found, but DT_RELACOUNT not found", false},
		{"no DT_RELA", func(e *tELF) { e.dynamic[0][0] = 0 }, "DT_RELACOUNT found, but DT_RELA not found", false},
		{"PT_DYNAMIC is no whole table", func(e *tELF) { e.segments[4].data = make([]byte, 17) }, "PT_DYNAMIC is not a whole number of entries: 17 bytes", ours},

		{"relocation type", func(e *tELF) { e.relocs[1][1] = 3<<32 | 1 }, "Invalid relocation: section=3 type=1", false},
		{"relocation with symbol", func(e *tELF) { e.relocs[1][1] = 3<<32 | 8 }, "Invalid relocation: section=3 type=8", false},
		{"relocation of text", func(e *tELF) { e.relocs[1][0] = 0x1010 }, "Relocation at 0x0000000000001010 outside of writable segments", false},
		{"relocation before data", func(e *tELF) { e.relocs[0][0]-- }, "Relocation at 0x00000000000030ff outside of writable segments", false},
		{"relocation over the end", func(e *tELF) { e.relocs[1][0]++ }, "Relocation at 0x00000000000052f9 outside of writable segments", false},
		{"relocation at the top", func(e *tELF) { e.relocs[1][0] = 1<<64 - 4 }, "Relocation at 0xfffffffffffffffc outside of writable segments", false},
		{"too few relocations", func(e *tELF) { e.relocs = e.relocs[:1] }, "Expected 2 relocations, found 1", false},
		{"relocations of another section", func(e *tELF) {
			e.sections = append(e.sections, tSection{name: ".odd", typ: shtRela, data: make([]byte, 24)})
		}, "Invalid relocation: section=0 type=0", false},
		{"no DT_RELACOUNT but relocations", func(e *tELF) { e.dynamic = nil }, "Expected 0 relocations, found 2", false},
		{"SHT_RELR", func(e *tELF) { e.section(".data").typ = 19 }, "Invalid sh type", false},
		{"section outside of the file", func(e *tELF) { shdr(e, 4, 24, 1<<40, 8) }, "Loading ELF file: A section of type ProgBits (offset 0x10000000000, size 0x200) lies outside of the file", ours},
		{"section wraps around", func(e *tELF) { shdr(e, 4, 24, 1<<64-0x100, 8) }, "Loading ELF file: A section of type ProgBits (offset 0xffffffffffffff00, size 0x200) lies outside of the file", ours},

		{"no .eh_frame", rename(".eh_frame", ".eh_fram"), "Could not find .eh_frame!", false},
		{"no .eh_frame_hdr", rename(".eh_frame_hdr", ".eh_frame_hd"), "Could not find .eh_frame_hdr!", false},
		{"no .text", rename(".text", ".texts"), "Could not find .text!", false},

		{"no LOAD", func(e *tELF) {
			e.segments = e.segments[4:]
			e.relocs, e.dynamic = nil, nil
		}, "No loadable segments found", false},
		{"first page executable", func(e *tELF) { e.segments[0].flags |= pfX }, "First page of the enclave should not be executable", false},
		{"shared page", func(e *tELF) { e.segments[2].vaddr = 0x1fff; e.symbol("HEAP_BASE").addr += 0x40 }, "The stream is not canonical.", false},
		{"segments out of order", func(e *tELF) { e.segments[2], e.segments[1] = e.segments[1], e.segments[2] }, "The stream is not canonical.", false},
		{"segment outside of the file", func(e *tELF) {
			e.segments[0].fixed, e.segments[0].filesz = true, 1<<30
		}, "Loading ELF file: Segment 0 (offset 0x0, size 0x40000000) lies outside of the file", ours},
		{"segment wraps around", func(e *tELF) { e.segments[3].memsz = 1<<64 - 0x1000; e.relocs, e.dynamic = nil, nil },
			"Segment 3 (address 0x3100, size 0xfffffffffffff000) ends beyond the address space", ours},
		{"symbol in no segment", func(e *tELF) { e.symbol("HEAP_BASE").addr = 0x100000 }, "Symbol HEAP_BASE at 0x100000 does not lie in a loadable segment: its value cannot be stored", ours},
		{"symbol in a gap", func(e *tELF) { e.symbol("DEBUG").addr = 0x1800 }, "Symbol DEBUG at 0x1800 does not lie in a loadable segment: its value cannot be stored", ours},
		{"symbol over the end", func(e *tELF) { e.symbol("RELA").addr = 0x22f9 }, "Symbol RELA at 0x22f9 does not lie in a loadable segment: its value cannot be stored", ours},
		{"symbol at the top", func(e *tELF) { e.symbol("RELA").addr = 1<<64 - 4 }, "Symbol RELA at 0xfffffffffffffffc does not lie in a loadable segment: its value cannot be stored", ours},
		{"symbol in .bss", func(e *tELF) { e.symbol("CFGDATA_BASE").addr = 0x3400 }, "Symbol CFGDATA_BASE at 0x3400 lies in .bss: the file has no contents there that could be overwritten", ours},
		{"symbol half in .bss", func(e *tELF) { e.symbol("CFGDATA_BASE").addr = 0x3279 }, "Symbol CFGDATA_BASE at 0x3279 lies in .bss: the file has no contents there that could be overwritten", ours},
		{"symbol where .text_no_sgx is cut off", func(e *tELF) {
			e.sections = append(e.sections, tSection{name: ".text_no_sgx", typ: shtProgBits, addr: 0x22e0, size: 0x20})
			e.symbol("RELA").addr = 0x22dc
		}, "Symbol RELA at 0x22dc lies in .text_no_sgx, which is cut off: its value cannot be stored", ours},
		{"symbol inside of .text_no_sgx", func(e *tELF) {
			e.sections = append(e.sections, tSection{name: ".text_no_sgx", typ: shtProgBits, addr: 0x22e0, size: 0x20})
			e.symbol("RELA").addr = 0x22e8
		}, "Symbol RELA at 0x22e8 does not lie in a loadable segment: its value cannot be stored", ours},
		{".text_no_sgx over the end", func(e *tELF) {
			e.sections = append(e.sections, tSection{name: ".text_no_sgx", typ: shtNoBits, addr: 0x1200, size: 1 << 60})
		}, "Section .text_no_sgx at 0x1200 does not lie in a loadable segment: its value cannot be stored", ours},

		{"section headers outside", set(40, 0, 0, 0, 1), "Loading ELF file: Section header table (offset 0x1000", ours},
		{"section headers unaligned", func(e *tELF) { e.patch = append(e.patch, func(b []byte) { b[40]++; b[60]-- }) }, "Loading ELF file: Section header table (offset 0x", ours},
		{"section header size", set(58, 63), "Loading ELF file: Section headers of 63 bytes, expected 64", ours},
		{"too many sections", set(60, 1, 0xff), "Loading ELF file: 65281 section headers, more than there can be", ours},
		{"section names", set(62, 0, 0xff), "Loading ELF file: There is no section 65280 with the section names", ours},
		{"program header size", set(54, 55), "Loading ELF file: Program headers of 55 bytes, expected 56", ours},
		{"program headers outside", set(32, 0, 0, 0, 1), "Loading ELF file: Program header table (offset 0x1000000, size 0x150) lies outside of the file", ours},
		{"name of a section outside", func(e *tELF) { shdr(e, 1, 0, 1<<31, 4) }, "Loading ELF file: The name of a section lies outside of the file", ours},
	}
	for _, m := range mandatory {
		tests = append(tests, test{"no " + m.name, drop(m.name), "These dynamic symbols are missing: " + m.name, false})
		if m.size != 0 {
			tests = append(tests, test{"size of " + m.name, size(m.name, m.size+1),
				"Dynamic symbol " + m.name + " doesn't have the right size. Expected size " + string('0'+byte(m.size)) + ", got " + string('1'+byte(m.size)) + ".", false})
		}
	}
	for tag, what := range unsupported {
		tests = append(tests, test{"tag", dyn(tag), "Unsupported dynamic entry: " + what, false})
	}
	for _, x := range tests {
		e := goodELF()
		x.bend(e)
		out, l, err := convert(e.build(), testOptions)
		var refused *Error
		if !errors.As(err, &refused) {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		if refused.Msg != x.want && !(x.ours && strings.HasPrefix(refused.Msg, x.want)) {
			t.Errorf("%s:\n got %s\nwant %s", x.name, refused.Msg, x.want)
		}
		if l != nil || len(out) != 0 {
			t.Errorf("%s: %d bytes were written", x.name, len(out))
		}
		if strings.ContainsAny(refused.Msg+refused.Hint, "\n") {
			t.Errorf("%s: more than a line: %q", x.name, refused.Msg)
		}
	}
}

// TestConvertOptionErrors has the errors that depend on the options.
func TestConvertOptionErrors(t *testing.T) {
	const page = "The given offset is not a multiple of the page size."
	elf := goodELF().build()
	for _, x := range []struct {
		o    Options
		want string
	}{
		{Options{HeapSize: 0x1234, StackSize: 0x1000, Threads: 1}, page},
		{Options{HeapSize: 0x1000, StackSize: 0x1001, Threads: 1}, page},
		{Options{HeapSize: 0x800, StackSize: 0x800, Threads: 1}, page},
		{Options{HeapSize: 1 << 63, Threads: 1}, "The enclave does not fit into the address space: heap 0x8000000000000000, 1 threads with a stack of 0x0 each"},
		{Options{HeapSize: 1<<64 - 4096}, "The enclave does not fit into the address space: heap 0xfffffffffffff000, 0 threads with a stack of 0x0 each"},
		{Options{StackSize: 1<<64 - 4096, Threads: 1}, "The enclave does not fit into the address space: heap 0x0, 1 threads with a stack of 0xfffffffffffff000 each"},
		{Options{StackSize: 1 << 40, Threads: 1<<32 - 1}, "The enclave does not fit into the address space: heap 0x0, 4294967295 threads with a stack of 0x10000000000 each"},
	} {
		if out, _, err := convert(elf, x.o); err == nil || err.Error() != x.want || len(out) != 0 {
			t.Errorf("%+v: %v", x.o, err)
		}
	}
	// Without a thread nothing lies behind the heap, and nothing is noticed.
	if _, l, err := convert(elf, Options{HeapSize: 0x1234}); err != nil || l.MemorySize != 0x6000+0x1234 {
		t.Errorf("unaligned heap without threads: %+v %v", l, err)
	}
}

// TestConvertTruncated cuts a sound ELF off at each length: never accepted, and
// never anything but an Error.
func TestConvertTruncated(t *testing.T) {
	elf := goodELF().build()
	for n := range elf {
		out, _, err := convert(elf[:n], testOptions)
		var refused *Error
		if !errors.As(err, &refused) || len(out) != 0 {
			t.Fatalf("%d of %d bytes: %v", n, len(elf), err)
		}
	}
}

// TestConvertReadErrors has files that fail to be read, or end early.
func TestConvertReadErrors(t *testing.T) {
	elf := goodELF().build()
	boom := errors.New("boom")
	for _, err := range []error{boom, io.EOF, nil} {
		want := err
		if err != boom {
			want = io.ErrUnexpectedEOF
		}
		for n := range int64(len(elf)) {
			var out bytes.Buffer
			_, got := Convert(&out, &failingReader{bytes.NewReader(elf), n, err}, int64(len(elf)), testOptions)
			if !errors.Is(got, want) {
				t.Fatalf("reads up to %d: %v", n, got)
			}
		}
	}
}

// TestConvertWriteErrors has a destination that fails.
func TestConvertWriteErrors(t *testing.T) {
	elf := goodELF().build()
	boom := errors.New("boom")
	r, w := io.Pipe()
	r.CloseWithError(boom)
	if _, err := Convert(w, bytes.NewReader(elf), int64(len(elf)), testOptions); !errors.Is(err, boom) {
		t.Error(err)
	}
}
