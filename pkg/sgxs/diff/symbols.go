package diff

import (
	"cmp"
	"debug/elf"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
)

// Symbols are the sections and symbols of an ELF file, by address. The offset
// of a byte in an image made from it is its address in the file. A nil Symbols
// has none.
type Symbols struct {
	secs []elf.SectionHeader // allocated ones, by address
	syms []elf.Symbol        // by address
}

// ReadSymbols reads the section headers and symbol tables of an ELF file.
func ReadSymbols(r io.ReaderAt) (*Symbols, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("reading ELF: %w", err)
	}
	s := new(Symbols)
	for _, sec := range f.Sections {
		if sec.Flags&elf.SHF_ALLOC != 0 && sec.Size != 0 {
			s.secs = append(s.secs, sec.SectionHeader)
		}
	}
	slices.SortStableFunc(s.secs, func(a, b elf.SectionHeader) int { return cmp.Compare(a.Addr, b.Addr) })
	// A file may have either table or both; the dynamic one names what the
	// converter writes. Neither is fine: then there are sections only.
	dyn, _ := f.DynamicSymbols()
	syms, _ := f.Symbols()
	for _, sym := range append(dyn, syms...) {
		switch elf.ST_TYPE(sym.Info) {
		case elf.STT_NOTYPE, elf.STT_OBJECT, elf.STT_FUNC:
			if sym.Name != "" && sym.Section != elf.SHN_UNDEF && sym.Section != elf.SHN_ABS {
				s.syms = append(s.syms, sym)
			}
		}
	}
	slices.SortStableFunc(s.syms, func(a, b elf.Symbol) int {
		return cmp.Or(cmp.Compare(a.Value, b.Value), cmp.Compare(a.Size, b.Size), cmp.Compare(a.Name, b.Name))
	})
	s.syms = slices.CompactFunc(s.syms, func(a, b elf.Symbol) bool {
		return a.Value == b.Value && a.Size == b.Size && a.Name == b.Name
	})
	return s, nil
}

// nearby is how many symbols before an address are looked at for one that
// reaches it: nested symbols are few.
const nearby = 32

// Find returns what is at an address: the section, and the symbol that holds
// it. It is nil if there is neither.
func (s *Symbols) Find(addr uint64) *Place {
	p, _ := s.locate(addr)
	if p == (Place{}) {
		return nil
	}
	return &p
}

// locate is Find; the same symbol, or none, is at all addresses up to end.
func (s *Symbols) locate(addr uint64) (p Place, end uint64) {
	end = math.MaxUint64
	if s == nil {
		return p, end
	}
	for i := range s.secs {
		sec := &s.secs[i]
		if addr-sec.Addr < sec.Size {
			p, end = Place{Section: sec.Name, Offset: addr - sec.Addr}, sec.Addr+sec.Size
			break
		}
		if sec.Addr > addr {
			end = sec.Addr
			break
		}
	}
	i := sort.Search(len(s.syms), func(i int) bool { return s.syms[i].Value > addr })
	if i < len(s.syms) {
		end = min(end, s.syms[i].Value)
	}
	for j := i - 1; j >= 0 && j >= i-nearby; j-- {
		if sym := &s.syms[j]; addr-sym.Value < sym.Size {
			return Place{p.Section, sym.Name, addr - sym.Value}, min(end, sym.Value+sym.Size)
		}
	}
	// Assembly has symbols without a size: they reach to the next one.
	if i > 0 && p.Section != "" {
		if sym := &s.syms[i-1]; sym.Size == 0 && addr-sym.Value <= p.Offset {
			return Place{p.Section, sym.Name, addr - sym.Value}, end
		}
	}
	return p, end
}

// sections returns the names of the sections that touch start..end.
func (s *Symbols) sections(start, end uint64) []string {
	if s == nil {
		return nil
	}
	var names []string
	for i := range s.secs {
		if sec := &s.secs[i]; sec.Addr < end && sec.Addr+sec.Size > start && sec.Type != elf.SHT_NOTE {
			names = append(names, sec.Name)
		}
	}
	return names
}
