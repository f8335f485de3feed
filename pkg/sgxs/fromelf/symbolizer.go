package fromelf

import (
	"cmp"
	"io"
	"slices"
	"sort"
	"strings"
)

// Symbol is a named piece of a program.
type Symbol struct {
	Name    string
	Section string
	Addr    uint64 // offset from the enclave's base
	Size    uint64 // bytes; 0 for labels
}

// Symbolizer tells which section and symbol of an ELF lie at an offset of the
// image made from it. It holds the symbol table in memory.
type Symbolizer struct {
	sections []namedSection // sorted by address, not overlapping in sound files
	symbols  []Symbol       // sorted by address; of one address the smallest last
	reach    []uint64       // of symbols[:i+1]: the highest end
}

type namedSection struct {
	name       string
	addr, size uint64
}

const (
	shfAlloc = 2
	shfTLS   = 0x400

	sttFunc = 2 // the types above it do not name contents

	maxLabel = 256 // of a section's name
)

// Open reads the sections and symbols (.symtab, or else .dynsym) of an ELF that
// need not be convertible. An *Error tells that it is no sound ELF.
func Open(elf io.ReaderAt) (*Symbolizer, error) {
	f, err := load(elf, sizeOf(elf))
	if err != nil {
		return nil, err
	}
	z := &Symbolizer{}
	names := make([]string, len(f.sections))
	table := -1
	for i, s := range f.sections {
		if n, err := f.stringAt(f.strings+uint64(s.name), f.size); err == nil && f.noNames == nil {
			names[i] = strings.Clone(n[:min(len(n), maxLabel)])
		}
		if s.flags&shfAlloc != 0 && s.flags&shfTLS == 0 && s.bytes != 0 && s.addr+s.bytes > s.addr {
			z.sections = append(z.sections, namedSection{names[i], s.addr, s.bytes})
		}
		if s.typ == shtSymTab || s.typ == shtDynSym && table < 0 {
			table = i
		}
	}
	slices.SortStableFunc(z.sections, func(a, b namedSection) int { return cmp.Compare(a.addr, b.addr) })
	if table >= 0 {
		if err := z.read(f, &f.sections[table], names); err != nil {
			return nil, err
		}
	}
	return z, nil
}

// sizeOf finds the size of what r reads, by trying.
func sizeOf(r io.ReaderAt) int64 {
	var b [1]byte
	lo, hi := int64(0), int64(1) // readable before lo, not at hi
	for hi > 0 && hi < 1<<62 {
		if n, _ := r.ReadAt(b[:], hi); n == 0 {
			break
		}
		lo, hi = hi+1, hi*2
	}
	return lo + int64(sort.Search(int(hi-lo), func(i int) bool {
		n, _ := r.ReadAt(b[:], lo+int64(i))
		return n == 0
	}))
}

// read reads a symbol table. Its strings are read whole, as far as the file goes.
func (z *Symbolizer) read(f *elfFile, table *section, names []string) error {
	if int64(table.link) >= int64(len(f.sections)) {
		return refuse(hintDamaged, "Loading ELF file: The symbol table has no names")
	}
	str := f.sections[table.link]
	if err := f.checkRange("The symbols' names", str.offset, str.bytes, 1); err != nil {
		return err
	}
	if err := f.checkRange("The symbol table", table.offset, table.bytes, 1); err != nil {
		return err
	}
	var all strings.Builder
	if _, err := io.Copy(&all, io.NewSectionReader(f.r, int64(str.offset), int64(str.bytes))); err != nil {
		return err
	}
	labels := all.String()
	err := f.entries(table.offset, table.bytes-table.bytes%symbolSize, symbolSize, func(i uint64, b []byte) error {
		s := Symbol{Addr: le.Uint64(b[8:]), Size: le.Uint64(b[16:])}
		typ, shndx := b[4]&15, le.Uint16(b[6:])
		if typ > sttFunc || shndx == shnUndef || int(shndx) >= len(names) || s.Addr+s.Size < s.Addr {
			return nil
		}
		if f.sections[shndx].flags&shfAlloc == 0 {
			return nil
		}
		if off := uint64(le.Uint32(b)); off < uint64(len(labels)) {
			n := labels[off:]
			n = n[:min(len(n), maxName)]
			s.Name, _, _ = strings.Cut(n, "\x00")
		}
		if s.Name == "" {
			return nil
		}
		s.Section = names[shndx]
		z.symbols = append(z.symbols, s)
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(z.symbols, func(a, b Symbol) int {
		return cmp.Or(cmp.Compare(a.Addr, b.Addr), cmp.Compare(b.Size, a.Size))
	})
	z.reach = make([]uint64, len(z.symbols))
	end := uint64(0)
	for i, s := range z.symbols {
		end = max(end, s.Addr+s.Size)
		z.reach[i] = end
	}
	return nil
}

// Lookup names what lies at an offset from the enclave's base: the section, and
// the innermost symbol there, or else the last label before it in the section.
// delta is the distance from the symbol or, where symbol is empty, from the
// section's start. ok is false where there is no section.
func (z *Symbolizer) Lookup(off uint64) (section, symbol string, delta uint64, ok bool) {
	i, found := slices.BinarySearchFunc(z.sections, off, func(s namedSection, off uint64) int { return cmp.Compare(s.addr, off) })
	for found && i+1 < len(z.sections) && z.sections[i+1].addr == off {
		i++
	}
	if !found {
		i--
	}
	if i < 0 || off-z.sections[i].addr >= z.sections[i].size {
		return "", "", 0, false
	}
	sec := z.sections[i]
	label := -1
	n, _ := slices.BinarySearchFunc(z.symbols, off, func(s Symbol, off uint64) int {
		if s.Addr <= off {
			return -1
		}
		return 1
	})
	for j := n - 1; j >= 0 && z.symbols[j].Addr >= sec.addr; j-- {
		s := z.symbols[j]
		if off < s.Addr+s.Size {
			return sec.name, s.Name, off - s.Addr, true
		}
		if s.Size == 0 && label < 0 {
			label = j
		}
		if z.reach[j] <= off && label >= 0 {
			break
		}
	}
	if label >= 0 {
		s := z.symbols[label]
		return sec.name, s.Name, off - s.Addr, true
	}
	return sec.name, "", off - sec.addr, true
}

// Biggest returns the n biggest symbols, the biggest first, each address once.
func (z *Symbolizer) Biggest(n int) []Symbol {
	s := slices.CompactFunc(slices.Clone(z.symbols), func(a, b Symbol) bool { return a.Addr == b.Addr && a.Size == b.Size })
	s = slices.DeleteFunc(s, func(s Symbol) bool { return s.Size == 0 })
	slices.SortStableFunc(s, func(a, b Symbol) int { return cmp.Compare(b.Size, a.Size) })
	return s[:max(0, min(n, len(s)))]
}
