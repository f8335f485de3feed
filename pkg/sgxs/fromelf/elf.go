package fromelf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"unicode/utf8"
)

var le = binary.LittleEndian

// Numbers of the ELF-64 format (gABI 4, x86-64 psABI).
const (
	headerSize  = 64
	sectionSize = 64
	segmentSize = 56
	symbolSize  = 24
	relaSize    = 24
	dynamicSize = 16

	shnUndef     = 0
	shnLoReserve = 0xff00

	maxName = 1 << 18 // of a section or symbol, bytes; longer ones are refused
)

// section is a section header.
//
//	0   4  sh_name     24  8  sh_offset   44  4  sh_info
//	4   4  sh_type     32  8  sh_size     48  8  sh_addralign
//	8   8  sh_flags    40  4  sh_link     56  8  sh_entsize
//	16  8  sh_addr
type section struct {
	name, typ, link            uint32
	flags, addr, offset, bytes uint64
}

func parseSection(b []byte) section {
	return section{
		name: le.Uint32(b), typ: le.Uint32(b[4:]), flags: le.Uint64(b[8:]), addr: le.Uint64(b[16:]),
		offset: le.Uint64(b[24:]), bytes: le.Uint64(b[32:]), link: le.Uint32(b[40:]),
	}
}

// segment is a program header.
//
//	0  4  p_type     16  8  p_vaddr    40  8  p_memsz
//	4  4  p_flags    24  8  p_paddr    48  8  p_align
//	8  8  p_offset   32  8  p_filesz
type segment struct {
	typ, flags                   uint32
	offset, vaddr, filesz, memsz uint64
}

const (
	ptLoad    = 1
	ptDynamic = 2

	pfX = 1
	pfW = 2
	pfR = 4
)

// elfFile is the ELF as it is read: little-endian and of class 64, whatever its
// header says of the byte order.
type elfFile struct {
	r     io.ReaderAt
	size  uint64
	phoff uint64
	phent uint16
	phnum uint16

	sections []section
	names    []string // of sections[:len(names)]; cut to maxWanted+1 bytes
	strings  uint64   // file offset of the section names
	noNames  error    // why there are none

	window    [1024]byte // the last part of the file that a name was read from
	windowOff uint64
	windowLen int
}

// maxWanted is the length of the longest name that is looked for.
const maxWanted = len(noteSection)

// load reads the ELF header and the section headers.
func load(r io.ReaderAt, size int64) (*elfFile, error) {
	f := &elfFile{r: r, size: uint64(max(size, 0))}
	var h [headerSize]byte
	n := int(min(f.size, headerSize))
	if n < 16 {
		return nil, refuse(hintTarget, "Loading ELF file: File is shorter than the first ELF header part")
	}
	if err := f.readAt(h[:n], 0); err != nil {
		return nil, err
	}
	if string(h[:4]) != "\x7fELF" {
		return nil, refuse(hintTarget, "Loading ELF file: Did not find ELF magic number")
	}
	switch h[4] {
	case 1:
		return nil, refuse(hintTarget, "Only 64-bit ELF supported!")
	case 2:
	default:
		return nil, refuse(hintTarget, "Loading ELF file: Invalid ELF class")
	}
	if n < headerSize {
		return nil, refuse(hintDamaged, "Loading ELF file: File is shorter than the ELF header")
	}
	f.phoff, f.phent, f.phnum = le.Uint64(h[32:]), le.Uint16(h[54:]), le.Uint16(h[56:])
	shoff, shent, shnum, shstrndx := le.Uint64(h[40:]), le.Uint16(h[58:]), le.Uint16(h[60:]), le.Uint16(h[62:])
	if err := f.loadSections(shoff, uint64(shent), shnum); err != nil {
		return nil, err
	}
	f.strings, f.noNames = f.sectionNames(shoff, uint64(shent), shstrndx)
	return f, nil
}

func (f *elfFile) loadSections(off, entry uint64, n uint16) error {
	if n == 0 {
		return nil
	}
	if n > shnLoReserve {
		return refuse(hintDamaged, "Loading ELF file: %d section headers, more than there can be", n)
	}
	if entry < sectionSize {
		return refuse(hintDamaged, "Loading ELF file: Section headers of %d bytes, expected %d", entry, sectionSize)
	}
	if err := f.checkRange("Section header table", off, uint64(n)*entry, 8); err != nil {
		return err
	}
	if entry%8 != 0 && n > 1 {
		return refuse(hintDamaged, "Loading ELF file: Section headers of %d bytes, not a multiple of 8", entry)
	}
	f.sections = make([]section, n)
	f.names = make([]string, 0, n)
	return f.entries(off, uint64(n)*entry, entry, func(i uint64, b []byte) error {
		f.sections[i] = parseSection(b)
		return nil
	})
}

// sectionNames returns the file offset of the section names. The index is not
// limited by the number of sections, and the names not by their section's size,
// as in the Fortanix tool.
func (f *elfFile) sectionNames(off, entry uint64, index uint16) (uint64, error) {
	if len(f.sections) == 0 {
		return 0, nil
	}
	at := off + uint64(index)*entry // within the file's size and 2^32: no overflow
	if index >= shnLoReserve || f.checkRange("", at, entry, 8) != nil {
		return 0, refuse(hintDamaged, "Loading ELF file: There is no section %d with the section names", index)
	}
	var b [sectionSize]byte
	if err := f.readAt(b[:], at); err != nil {
		return 0, err
	}
	s := parseSection(b[:])
	if s.offset > f.size {
		return 0, refuse(hintDamaged, "Loading ELF file: Section names at 0x%x lie outside of the file", s.offset)
	}
	return s.offset, nil
}

// checkRange tells whether what lies within the file, at an offset that is a
// multiple of align.
func (f *elfFile) checkRange(what string, off, n, align uint64) error {
	if off > f.size || n > f.size-off {
		return refuse(hintDamaged, "Loading ELF file: %s (offset 0x%x, size 0x%x) lies outside of the file", what, off, n)
	}
	if off%align != 0 {
		return refuse(hintDamaged, "Loading ELF file: %s (offset 0x%x) is not %d-byte aligned", what, off, align)
	}
	return nil
}

// readAt fills b; the range must have been checked.
func (f *elfFile) readAt(b []byte, off uint64) error {
	if off > math.MaxInt64 {
		return io.ErrUnexpectedEOF
	}
	n, err := f.r.ReadAt(b, int64(off))
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("reading the ELF file at 0x%x: %w", off, err)
}

// stringAt returns the NUL-terminated string at off that ends before limit.
func (f *elfFile) stringAt(off, limit uint64) (string, error) {
	var s []byte
	for at := off; ; {
		b, err := f.peek(at, limit)
		if err != nil {
			return "", err
		}
		i := bytes.IndexByte(b, 0)
		if i < 0 {
			i = len(b)
		}
		s = append(s, b[:i]...)
		switch {
		case len(b) == 0:
			return "", refuse(hintDamaged, "Loading ELF file: The name at 0x%x is not terminated", off)
		case len(s) > maxName:
			return "", refuse(hintDamaged, "Loading ELF file: The name at 0x%x is longer than %d bytes", off, maxName)
		case i == len(b):
			at += uint64(i)
			continue
		case !utf8.Valid(s):
			return "", refuse(hintDamaged, "Loading ELF file: The name at 0x%x is not UTF-8", off)
		}
		return string(s), nil
	}
}

// peek returns some bytes at off and before limit, none at limit.
func (f *elfFile) peek(off, limit uint64) ([]byte, error) {
	if off >= limit {
		return nil, nil
	}
	if off < f.windowOff || off >= f.windowOff+uint64(f.windowLen) {
		n := min(limit-off, uint64(len(f.window)))
		if err := f.readAt(f.window[:n], off); err != nil {
			return nil, err
		}
		f.windowOff, f.windowLen = off, int(n)
	}
	b := f.window[off-f.windowOff : f.windowLen]
	return b[:min(uint64(len(b)), limit-off)], nil
}

// find returns the first section of that name, or nil. As in the Fortanix tool
// the sections before it must have sound names.
func (f *elfFile) find(name string) (*section, error) {
	for i := range f.sections {
		if i == len(f.names) {
			n, err := f.readName(&f.sections[i])
			if err != nil {
				return nil, err
			}
			f.names = append(f.names, n)
		}
		if f.names[i] == name {
			return &f.sections[i], nil
		}
	}
	return nil, nil
}

func (f *elfFile) readName(s *section) (string, error) {
	if s.typ == shtNull || !knownSectionType(s.typ) {
		return "", nil
	}
	if f.noNames != nil {
		return "", f.noNames
	}
	if uint64(s.name) > f.size-f.strings {
		return "", refuse(hintDamaged, "Loading ELF file: The name of a section lies outside of the file")
	}
	n, err := f.stringAt(f.strings+uint64(s.name), f.size)
	return n[:min(len(n), maxWanted+1)], err
}

// segments reads the program headers; there are none where their offset or entry
// size is zero.
func (f *elfFile) segments() ([]segment, error) {
	entry := uint64(f.phent)
	if f.phnum == 0 || f.phoff == 0 || entry == 0 {
		return nil, nil
	}
	if entry < segmentSize || entry%8 != 0 && f.phnum > 1 {
		return nil, refuse(hintDamaged, "Loading ELF file: Program headers of %d bytes, expected %d", entry, segmentSize)
	}
	if err := f.checkRange("Program header table", f.phoff, uint64(f.phnum)*entry, 8); err != nil {
		return nil, err
	}
	s := make([]segment, f.phnum)
	err := f.entries(f.phoff, uint64(f.phnum)*entry, entry, func(i uint64, b []byte) error {
		s[i] = segment{
			typ: le.Uint32(b), flags: le.Uint32(b[4:]), offset: le.Uint64(b[8:]), vaddr: le.Uint64(b[16:]),
			filesz: le.Uint64(b[32:]), memsz: le.Uint64(b[40:]),
		}
		return nil
	})
	return s, err
}

// entries calls do for each entry of a table that lies within the file and is a
// whole number of entries.
func (f *elfFile) entries(off, n, entry uint64, do func(i uint64, b []byte) error) error {
	buf := make([]byte, min(n, entry*max(1, 1<<16/entry)))
	for i := uint64(0); n > 0; {
		b := buf[:min(n, uint64(len(buf)))]
		if err := f.readAt(b, off); err != nil {
			return err
		}
		off, n = off+uint64(len(b)), n-uint64(len(b))
		for ; len(b) > 0; b, i = b[entry:], i+1 {
			if err := do(i, b[:entry]); err != nil {
				return err
			}
		}
	}
	return nil
}
