package fromgo

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/wall"
)

var le = binary.LittleEndian

const pageSize = sgx.PageSize

// maxFile bounds what is read of an ELF into memory.
const maxFile = 1 << 30

// program is a linked Go program, relocated to wall.Base.
type program struct {
	segments     []segment // ascending, not overlapping, page aligned
	entry        uint64    // offsets from wall.Base, here and below
	text, etext  uint64
	zero         span // whole pages of zeros at the end of the data
	funcs        []function
	relocations  int
	relocSection span
}

// span is a range of offsets.
type span struct{ lo, hi uint64 }

func (s span) size() uint64 { return s.hi - s.lo }

// segment is a run of pages with their content. All of it is in the file.
type segment struct {
	off   uint64
	flags sgx.SecInfoFlags
	data  []byte // whole pages
}

func (s *segment) end() uint64 { return s.off + uint64(len(s.data)) }

// function is a function's symbol.
type function struct {
	name       string
	addr, size uint64
}

// elfError says that what the Go linker made is not what is known of it.
func elfError(format string, args ...any) error {
	return fmt.Errorf("linked program: "+format, args...)
}

// readProgram reads and relocates the ELF of size bytes.
func readProgram(r io.ReaderAt, size int64) (*program, error) {
	if size > maxFile {
		return nil, elfError("%d MiB is too big", size>>20)
	}
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, elfError("%v", err)
	}
	if f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB || f.Machine != elf.EM_X86_64 || f.Type != elf.ET_DYN {
		return nil, elfError("%v %v %v, want a position-independent executable for x86-64", f.Class, f.Type, f.Machine)
	}
	p := &program{entry: f.Entry}
	for _, step := range []func(*elf.File) error{p.load, p.checkDynamic, p.relocate, p.protect, p.readSymbols} {
		if err := step(f); err != nil {
			return nil, err
		}
	}
	if s := p.at(p.entry, 1); s == nil || s.flags&sgx.SecInfoX == 0 {
		return nil, elfError("entry %#x is not code", p.entry)
	}
	return p, nil
}

// load reads the segments. What lies in the last page of the file's part is
// filled with zeros; whole pages of zeros behind it become p.zero.
func (p *program) load(f *elf.File) error {
	var total uint64
	for _, h := range f.Progs {
		if h.Type != elf.PT_LOAD || h.Memsz == 0 {
			continue
		}
		end := h.Vaddr + h.Memsz
		switch {
		case h.Filesz > h.Memsz || end < h.Vaddr || end > maxImage || h.Filesz > maxFile:
			return elfError("segment at %#x of %#x bytes", h.Vaddr, h.Memsz)
		case h.Flags&elf.PF_W != 0 && h.Flags&elf.PF_X != 0 || h.Flags&elf.PF_R == 0:
			return elfError("segment at %#x has permissions %v", h.Vaddr, h.Flags)
		}
		if total += h.Filesz; total > maxFile {
			return elfError("its segments have %d MiB and more", total>>20)
		}
		off := h.Vaddr &^ (pageSize - 1)
		fileEnd := pageUp(h.Vaddr + h.Filesz)
		s := segment{off: off, flags: sgx.SecInfoREGR, data: make([]byte, fileEnd-off)}
		if _, err := h.ReadAt(s.data[h.Vaddr-off:][:h.Filesz], 0); err != nil && !errors.Is(err, io.EOF) {
			return elfError("segment at %#x: %v", h.Vaddr, err)
		}
		if h.Flags&elf.PF_W != 0 {
			s.flags |= sgx.SecInfoW
		}
		if h.Flags&elf.PF_X != 0 {
			s.flags |= sgx.SecInfoX
		}
		if zero := (span{fileEnd, pageUp(end)}); zero.hi > zero.lo {
			if p.zero.size() != 0 || s.flags&sgx.SecInfoW == 0 {
				return elfError("zeros behind the segment at %#x", h.Vaddr)
			}
			p.zero = zero
		}
		p.segments = append(p.segments, s)
	}
	if len(p.segments) == 0 {
		return elfError("no segments")
	}
	slices.SortFunc(p.segments, func(a, b segment) int { return cmp.Compare(a.off, b.off) })
	for i := 1; i < len(p.segments); i++ {
		if p.segments[i].off < p.segments[i-1].end() {
			return elfError("segments at %#x and %#x overlap", p.segments[i-1].off, p.segments[i].off)
		}
	}
	if last := p.segments[len(p.segments)-1]; p.zero.size() != 0 && p.zero.lo != last.end() {
		return elfError("zeros at %#x are not at the end", p.zero.lo)
	}
	if p.zero.size() == 0 {
		p.zero.lo = p.segments[len(p.segments)-1].end()
		p.zero.hi = p.zero.lo
	}
	return nil
}

// maxImage bounds the addresses of a program.
const maxImage = 16 << 30

func pageUp(n uint64) uint64 { return (n + pageSize - 1) &^ (pageSize - 1) }

// at returns the segment that holds n bytes at off, nil if there is none.
func (p *program) at(off, n uint64) *segment {
	for i := range p.segments {
		if s := &p.segments[i]; off >= s.off && off < s.end() && n <= s.end()-off {
			return s
		}
	}
	return nil
}

// Tags of the dynamic section that a Go program may have. All others mean that
// something else must be loaded with it, or run before it.
var dynamicTags = []elf.DynTag{
	elf.DT_HASH, elf.DT_SYMTAB, elf.DT_SYMENT, elf.DT_STRTAB, elf.DT_STRSZ, elf.DT_RELA, elf.DT_RELASZ, elf.DT_RELAENT,
	elf.DT_PLTGOT, elf.DT_DEBUG, elf.DT_FLAGS, elf.DT_FLAGS_1, elf.DT_NULL,
}

func (p *program) checkDynamic(f *elf.File) error {
	s := f.Section(".dynamic")
	if s == nil {
		return nil
	}
	b, err := s.Data()
	if err != nil {
		return elfError("dynamic section: %v", err)
	}
	var rela span
	for ; len(b) >= 16; b = b[16:] {
		tag, val := elf.DynTag(le.Uint64(b)), le.Uint64(b[8:])
		if !slices.Contains(dynamicTags, tag) {
			return elfError("dynamic section has %v", tag)
		}
		switch tag {
		case elf.DT_RELA:
			rela.lo = val
		case elf.DT_RELASZ:
			rela.hi = val
		case elf.DT_NULL:
			rela.hi += rela.lo
			p.relocSection = rela
			return nil
		}
	}
	return elfError("dynamic section has no end")
}

const relaSize = 24

// relocate applies the relocations: each is an address in the program that
// becomes one in the enclave.
func (p *program) relocate(f *elf.File) error {
	n := p.relocSection.size()
	if n == 0 {
		return nil
	}
	s := p.at(p.relocSection.lo, n)
	if s == nil || n%relaSize != 0 {
		return elfError("relocations at %#x of %#x bytes", p.relocSection.lo, n)
	}
	for b := s.data[p.relocSection.lo-s.off:][:n]; len(b) > 0; b = b[relaSize:] {
		off, info, addend := le.Uint64(b), le.Uint64(b[8:]), le.Uint64(b[16:])
		if typ := elf.R_X86_64(uint32(info)); typ != elf.R_X86_64_RELATIVE || info>>32 != 0 {
			return elfError("relocation at %#x is %v of symbol %d", off, typ, info>>32)
		}
		to := p.at(off, 8)
		if to == nil || to.flags&sgx.SecInfoW == 0 {
			return elfError("relocation at %#x is not in data", off)
		}
		le.PutUint64(to.data[off-to.off:], wall.Base+addend)
		p.relocations++
	}
	return nil
}

// protect takes the write permission from what needed it for relocations only.
func (p *program) protect(f *elf.File) error {
	for _, h := range f.Progs {
		if h.Type != elf.PT_GNU_RELRO {
			continue
		}
		s := p.at(h.Vaddr, h.Filesz)
		// A part of a segment would have to be split off.
		if s == nil || s.off != h.Vaddr || pageUp(h.Vaddr+h.Memsz) != s.end() {
			return elfError("RELRO at %#x of %#x bytes is not a segment", h.Vaddr, h.Memsz)
		}
		s.flags &^= sgx.SecInfoW
	}
	return nil
}

// readSymbols keeps the functions, ascending.
func (p *program) readSymbols(f *elf.File) error {
	syms, err := f.Symbols()
	if err != nil {
		return elfError("symbols: %v", err)
	}
	for _, s := range syms {
		switch s.Name {
		case "runtime.text":
			p.text = s.Value
		case "runtime.etext":
			p.etext = s.Value
		}
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Size > 0 {
			p.funcs = append(p.funcs, function{s.Name, s.Value, s.Size})
		}
	}
	slices.SortFunc(p.funcs, func(a, b function) int {
		return cmp.Or(cmp.Compare(a.addr, b.addr), cmp.Compare(a.size, b.size), cmp.Compare(a.name, b.name))
	})
	if t := p.at(p.text, p.etext-p.text); p.text >= p.etext || t == nil || t.flags&sgx.SecInfoX == 0 {
		return elfError("code from %#x to %#x", p.text, p.etext)
	}
	return nil
}
