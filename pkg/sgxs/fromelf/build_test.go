package fromelf

import (
	"bytes"
	"io"
)

// program builder: makes ELFs piece by piece, sound ones by default, so that a
// test can bend one thing at a time.

type tSegment struct {
	typ, flags   uint32
	vaddr, memsz uint64
	data         []byte // contents in the file

	off, filesz uint64 // set by build, unless fixed
	fixed       bool
}

type tSection struct {
	name       string
	typ        uint32
	flags      uint64
	addr, size uint64
	data       []byte // contents; nil: those of the segment at addr
	off        uint64 // set by build, unless fixed
	fixed      bool
	link       uint32
}

type tSymbol struct {
	name       string
	addr, size uint64
	shndx      uint16
}

type tELF struct {
	segments []tSegment
	sections []tSection // without the null section and .shstrtab
	symbols  []tSymbol  // without the null symbol
	dynamic  [][2]uint64
	relocs   [][3]uint64 // offset, symbol<<32|type, addend
	patch    []func(b []byte)

	shoff uint64 // set by build
}

const (
	tTextAddr = 0x1000
	tROAddr   = 0x2000
	tRWAddr   = 0x3100
)

// goodELF has the shape of a real program: R, RX, R and RW segments, the last
// with an unaligned address and .bss.
func goodELF() *tELF {
	fill := func(n int, seed byte) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = seed + byte(i*7)
		}
		return b
	}
	e := &tELF{
		segments: []tSegment{
			{typ: ptLoad, flags: pfR, vaddr: 0, memsz: 0x500, data: fill(0x500, 1)},
			{typ: ptLoad, flags: pfR | pfX, vaddr: tTextAddr, memsz: 0x240, data: fill(0x240, 2)},
			{typ: ptLoad, flags: pfR, vaddr: tROAddr, memsz: 0x300, data: fill(0x300, 3)},
			{typ: ptLoad, flags: pfR | pfW, vaddr: tRWAddr, memsz: 0x2200, data: fill(0x180, 4)},
			{typ: ptDynamic, flags: pfR | pfW, vaddr: tRWAddr},
			{typ: 0x6474e551, flags: pfR | pfW}, // GNU_STACK
		},
		sections: []tSection{
			{name: ".dynsym", typ: shtDynSym, link: 2},
			{name: ".dynstr", typ: shtStrTab},
			{name: ".rela.dyn", typ: shtRela},
			{name: ".text", typ: shtProgBits, flags: shfAlloc, addr: tTextAddr + 0x10, size: 0x200},
			{name: ".eh_frame_hdr", typ: shtProgBits, flags: shfAlloc, addr: tROAddr + 0x200, size: 0x24},
			{name: ".eh_frame", typ: shtProgBits, flags: shfAlloc, addr: tROAddr + 0x228, size: 0x48},
			{name: ".data", typ: shtProgBits, flags: shfAlloc, addr: tRWAddr, size: 0x180},
			{name: ".bss", typ: shtNoBits, flags: shfAlloc, addr: tRWAddr + 0x180, size: 0x2080, fixed: true, off: 1 << 40},
			{name: noteSection, typ: shtNote, data: note("toolchain-version", 1)},
		},
		dynamic: [][2]uint64{{7, 0x4321}, {8, 48}, {9, 24}, {dtRelaCount, 2}, {0, 0}},
		relocs:  [][3]uint64{{tRWAddr, rX86Relative, 0x1010}, {tRWAddr + 0x2200 - 8, rX86Relative, 0x1020}},
	}
	e.symbols = append(e.symbols, tSymbol{"sgx_entry", tTextAddr + 0x20, 0, 4})
	addr := uint64(tROAddr + 0x20)
	for _, m := range mandatory[1:] {
		e.symbols = append(e.symbols, tSymbol{m.name, addr, m.size, 5})
		addr += 8
	}
	for _, n := range newUnwind {
		e.symbols = append(e.symbols, tSymbol{n, addr, 8, 5})
		addr += 8
	}
	return e
}

func note(name string, version uint32) []byte {
	b := le.AppendUint32(nil, uint32(len(name)+1))
	b = le.AppendUint32(b, 4)
	b = le.AppendUint32(b, 1)
	b = append(b, name...)
	b = append(b, make([]byte, 4-len(name)%4)...)
	return le.AppendUint32(b, version)
}

func (e *tELF) section(name string) *tSection {
	for i := range e.sections {
		if e.sections[i].name == name {
			return &e.sections[i]
		}
	}
	return nil
}

func (e *tELF) symbol(name string) *tSymbol {
	for i := range e.symbols {
		if e.symbols[i].name == name {
			return &e.symbols[i]
		}
	}
	return nil
}

func (e *tELF) dropSymbols(names ...string) {
	for _, n := range names {
		for i := range e.symbols {
			if e.symbols[i].name == n {
				e.symbols = append(e.symbols[:i:i], e.symbols[i+1:]...)
				break
			}
		}
	}
}

func (e *tELF) dropSection(name string) {
	for i := range e.sections {
		if e.sections[i].name == name {
			e.sections = append(e.sections[:i:i], e.sections[i+1:]...)
			return
		}
	}
}

// build lays the pieces out: header, program headers, contents, section names,
// section headers.
func (e *tELF) build() []byte {
	b := make([]byte, headerSize+segmentSize*len(e.segments))
	put := func(data []byte) uint64 {
		for len(b)%8 != 0 {
			b = append(b, 0)
		}
		off := uint64(len(b))
		b = append(b, data...)
		return off
	}
	var dynamic []byte
	for _, d := range e.dynamic {
		dynamic = le.AppendUint64(le.AppendUint64(dynamic, d[0]), d[1])
	}
	for i := range e.segments {
		s := &e.segments[i]
		data := s.data
		if s.typ == ptDynamic && data == nil {
			data = dynamic
		}
		if !s.fixed {
			s.off, s.filesz = put(data), uint64(len(data))
		}
		p := b[headerSize+segmentSize*i:]
		le.PutUint32(p, s.typ)
		le.PutUint32(p[4:], s.flags)
		le.PutUint64(p[8:], s.off)
		le.PutUint64(p[16:], s.vaddr)
		le.PutUint64(p[32:], s.filesz)
		le.PutUint64(p[40:], s.memsz)
	}
	syms, strs := make([]byte, symbolSize), []byte{0}
	for _, s := range e.symbols {
		syms = le.AppendUint32(syms, uint32(len(strs)))
		syms = append(syms, 0x10, 3)
		syms = le.AppendUint16(syms, s.shndx)
		syms = le.AppendUint64(le.AppendUint64(syms, s.addr), s.size)
		strs = append(append(strs, s.name...), 0)
	}
	var relas []byte
	for _, r := range e.relocs {
		relas = le.AppendUint64(le.AppendUint64(le.AppendUint64(relas, r[0]), r[1]), r[2])
	}
	heads := make([]byte, sectionSize)
	names := []byte{0}
	for i := range e.sections {
		s := &e.sections[i]
		data := s.data
		if data == nil && !s.fixed {
			switch s.name {
			case ".dynsym":
				data = syms
			case ".dynstr":
				data = strs
			case ".rela.dyn":
				data = relas
			}
		}
		switch {
		case s.fixed:
		case data != nil:
			s.off, s.size = put(data), uint64(len(data))
		default:
			for _, g := range e.segments {
				if g.typ == ptLoad && s.addr >= g.vaddr && s.addr-g.vaddr < g.filesz {
					s.off = g.off + s.addr - g.vaddr
				}
			}
		}
		heads = le.AppendUint32(heads, uint32(len(names)))
		heads = le.AppendUint32(heads, s.typ)
		heads = le.AppendUint64(heads, s.flags)
		heads = le.AppendUint64(heads, s.addr)
		heads = le.AppendUint64(heads, s.off)
		heads = le.AppendUint64(heads, s.size)
		heads = le.AppendUint32(heads, s.link)
		heads = append(heads, make([]byte, 20)...)
		names = append(append(names, s.name...), 0)
	}
	heads = le.AppendUint32(heads, uint32(len(names)))
	names = append(names, ".shstrtab\x00"...)
	heads = le.AppendUint32(heads, shtStrTab)
	heads = le.AppendUint64(heads, 0)
	heads = le.AppendUint64(heads, 0)
	heads = le.AppendUint64(heads, put(names))
	heads = le.AppendUint64(heads, uint64(len(names)))
	heads = append(heads, make([]byte, 24)...)
	e.shoff = put(heads)

	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 3)
	le.PutUint16(b[18:], 62)
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[32:], headerSize)
	le.PutUint64(b[40:], e.shoff)
	le.PutUint16(b[52:], headerSize)
	le.PutUint16(b[54:], segmentSize)
	le.PutUint16(b[56:], uint16(len(e.segments)))
	le.PutUint16(b[58:], sectionSize)
	le.PutUint16(b[60:], uint16(len(e.sections)+2))
	le.PutUint16(b[62:], uint16(len(e.sections)+1))
	for _, p := range e.patch {
		p(b)
	}
	return b
}

func convert(elf []byte, o Options) ([]byte, *Layout, error) {
	var out bytes.Buffer
	l, err := Convert(&out, bytes.NewReader(elf), int64(len(elf)), o)
	return out.Bytes(), l, err
}

var testOptions = Options{HeapSize: 0x4000, StackSize: 0x2000, Threads: 1, SSAFrameSize: 1}

// failingReader fails every read at and after a limit.
type failingReader struct {
	io.ReaderAt
	limit int64
	err   error
}

func (r *failingReader) ReadAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) > r.limit {
		return 0, r.err
	}
	return r.ReaderAt.ReadAt(b, off)
}
