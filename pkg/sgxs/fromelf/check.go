package fromelf

import (
	"cmp"
	"slices"
	"strings"
)

// program is what the checks have found in an ELF.
type program struct {
	*elfFile
	symbols              map[string]symbol
	rela, relaCount      uint64 // of PT_DYNAMIC; 0 where absent
	phdrs                []segment
	text, ehFrame, ehHdr *section
	textNoSGX            *section // nil where absent
}

// symbol is what matters of an entry of .dynsym.
//
//	0  4  st_name    5  1  st_other   8   8  st_value
//	4  1  st_info    6  2  st_shndx   16  8  st_size
type symbol struct{ addr, size uint64 }

const noteSection = ".note.x86_64-fortanix-unknown-sgx"

// maxToolchain is the highest version of the toolchain note that is known.
const maxToolchain = 1

// The symbols of the runtime, in the order in which they are reported. The size
// of sgx_entry is not checked.
var mandatory = []struct {
	name string
	size uint64
}{
	{"sgx_entry", 0}, {"HEAP_BASE", 8}, {"HEAP_SIZE", 8}, {"RELA", 8}, {"RELACOUNT", 8}, {"ENCLAVE_SIZE", 8},
	{"CFGDATA_BASE", 8}, {"DEBUG", 1}, {"TEXT_BASE", 8}, {"TEXT_SIZE", 8},
}

// The symbols for unwinding, of older and of newer runtimes; of size 8. One set
// must be complete. The old one is taken where both are.
var (
	oldUnwind = []string{"EH_FRM_HDR_BASE", "EH_FRM_HDR_SIZE"}
	newUnwind = []string{"EH_FRM_OFFSET", "EH_FRM_LEN", "EH_FRM_HDR_OFFSET", "EH_FRM_HDR_LEN"}
)

// check runs all checks on an ELF, in the order of the Fortanix tool.
func check(f *elfFile) (*program, error) {
	p := &program{elfFile: f}
	for _, step := range []func() error{p.checkNote, p.checkSymbols, p.checkDynamic, p.checkRelocations, p.checkSections} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// checkNote reads the version of the toolchain: the first note of the section
// must be
//
//	0  4  name size 18       12  20  "toolchain-version", NUL, padding
//	4  4  descriptor size 4  32   4  version
//	8  4  type, ignored
func (p *program) checkNote() error {
	s, err := p.find(noteSection)
	if err != nil {
		return err
	}
	if s == nil {
		return refuse(hintTarget, "Could not find %s header!", noteSection)
	}
	if s.typ != shtNote {
		return refuse(hintTarget, "Invalid type Ok(%s) for section: %s", sectionTypeName(s.typ), noteSection)
	}
	if err := p.checkRange(noteSection, s.offset, s.bytes, 4); err != nil {
		return err
	}
	if s.bytes < 12 {
		return refuse(hintDamaged, "Section %s is too short for a note: %d bytes", noteSection, s.bytes)
	}
	var h [12]byte
	if err := p.readAt(h[:], s.offset); err != nil {
		return err
	}
	nameSize, descSize := le.Uint32(h[:]), le.Uint32(h[4:])
	name, err := p.stringAt(s.offset+12, s.offset+s.bytes)
	if err != nil {
		return err
	}
	if uint64(nameSize) != uint64(len(name))+1 {
		return refuse(hintDamaged, "The note in %s has a name of %d bytes, but says %d", noteSection, len(name)+1, nameSize)
	}
	if name != "toolchain-version" {
		return refuse(hintTarget, "Expecting 'toolchain-version' as name for %s", noteSection)
	}
	if descSize != 4 {
		return refuse(hintTarget, "Expecting 32 bit 'toolchain-version' in %s", noteSection)
	}
	// The descriptor may lie beyond the section's end, as in the Fortanix tool.
	at := s.offset + 12 + (uint64(nameSize)+3)&^3
	if err := p.checkRange(noteSection, at, 4, 1); err != nil {
		return err
	}
	if err := p.readAt(h[:4], at); err != nil {
		return err
	}
	if v := le.Uint32(h[:]); v > maxToolchain {
		return refuse("this toolchain is newer than eos: update eos, or build with an older toolchain",
			"Update required for 'fortanix-sgx-tools'. ELF file has toolchain version %d, installed tools supports up to version %d",
			v, maxToolchain)
	}
	return nil
}

// checkSymbols finds the runtime's symbols in .dynsym.
func (p *program) checkSymbols() error {
	s, err := p.find(".dynsym")
	if err != nil {
		return err
	}
	if s == nil {
		return refuse(hintTarget, "Could not find dynamic symbol table!")
	}
	if s.typ != shtDynSym {
		return refuse(hintTarget, ".dynsym section is not a dynamic symbol table!")
	}
	if err := p.checkSectionData(".dynsym", s); err != nil {
		return err
	}
	if err := p.readSymbols(s); err != nil {
		return err
	}
	var missing []string
	for _, m := range mandatory {
		if _, ok := p.symbols[m.name]; !ok {
			missing = append(missing, m.name)
		}
	}
	if missing != nil {
		return refuse(hintTarget, "These dynamic symbols are missing: %s", strings.Join(missing, ", "))
	}
	for _, m := range mandatory[1:] {
		if err := p.checkSymbolSize(m.name, m.size); err != nil {
			return err
		}
	}
	if p.symbols["ENCLAVE_SIZE"].addr%8 != 0 {
		return refuse("align ENCLAVE_SIZE to 8 bytes", "ENCLAVE_SIZE symbol is not naturally aligned")
	}
	set := p.unwindSet()
	if set == nil {
		return refuse(hintTarget, "Missing EH Frame header symbols, application must either have (%s) or (%s",
			strings.Join(oldUnwind, "/"), strings.Join(newUnwind, ", "))
	}
	for _, name := range set {
		if err := p.checkSymbolSize(name, 8); err != nil {
			return err
		}
	}
	return nil
}

// unwindSet returns the set of unwind symbols that is in use, nil for none.
func (p *program) unwindSet() []string {
	for _, set := range [][]string{oldUnwind, newUnwind} {
		if !slices.ContainsFunc(set, func(n string) bool { _, ok := p.symbols[n]; return !ok }) {
			return set
		}
	}
	return nil
}

func (p *program) checkSymbolSize(name string, want uint64) error {
	if got := p.symbols[name].size; got != want {
		return refuse(hintTarget, "Dynamic symbol %s doesn't have the right size. Expected size %d, got %d.", name, want, got)
	}
	return nil
}

func (p *program) readSymbols(dynsym *section) error {
	p.symbols = map[string]symbol{}
	wanted := map[string]bool{}
	for _, m := range mandatory {
		wanted[m.name] = true
	}
	for _, n := range slices.Concat(oldUnwind, newUnwind) {
		wanted[n] = true
	}
	var dynstr *section
	return p.entries(dynsym.offset, dynsym.bytes, symbolSize, func(i uint64, b []byte) error {
		if i == 0 {
			return nil
		}
		if dynstr == nil {
			s, err := p.find(".dynstr")
			if err != nil {
				return err
			}
			if s == nil {
				return refuse(hintTarget, "no .dynstr section")
			}
			if err := p.checkRange(".dynstr", s.offset, s.bytes, 1); err != nil {
				return err
			}
			dynstr = s
		}
		off := uint64(le.Uint32(b))
		if off > dynstr.bytes {
			return refuse(hintDamaged, "The name of dynamic symbol %d lies outside of .dynstr", i)
		}
		name, err := p.stringAt(dynstr.offset+off, dynstr.offset+dynstr.bytes)
		if err != nil {
			return err
		}
		if le.Uint16(b[6:]) == shnUndef {
			return refuse(hintStatic, "Found undefined dynamic symbol: %s", name)
		}
		if !wanted[name] {
			return nil
		}
		if _, ok := p.symbols[name]; ok {
			return refuse("", "Found symbol twice: %s", name)
		}
		p.symbols[name] = symbol{addr: le.Uint64(b[8:]), size: le.Uint64(b[16:])}
		return nil
	})
}

// Tags of PT_DYNAMIC that matter.
const (
	dtRela      = 7
	dtRelaCount = 0x6ffffff9
)

// unsupported names the tags that an enclave cannot have.
var unsupported = map[uint64]string{
	2: "PLT/GOT", 20: "PLT/GOT", 23: "PLT/GOT", // PLTRELSZ, PLTREL, JMPREL
	12: ".init functions", 25: ".init functions", 27: ".init functions", // INIT, INIT_ARRAY, INIT_ARRAYSZ
	13: ".fini functions", 26: ".fini functions", 28: ".fini functions", // FINI, FINI_ARRAY, FINI_ARRAYSZ
	17: "relocations with implicit addend", 18: "relocations with implicit addend", // REL, RELSZ
	19: "relocations with implicit addend", 0x6ffffffa: "relocations with implicit addend", // RELENT, RELCOUNT
}

func knownTag(t uint64) bool {
	return t <= 30 || 32 <= t && t <= 34 || 0x6000000d <= t && t <= 0x7fffffff
}

// checkDynamic reads the whole first PT_DYNAMIC, also what follows DT_NULL.
func (p *program) checkDynamic() error {
	var err error
	if p.phdrs, err = p.segments(); err != nil {
		return err
	}
	i := slices.IndexFunc(p.phdrs, func(s segment) bool { return s.typ == ptDynamic })
	if i < 0 {
		return refuse(hintStatic, "Could not found dynamic section!")
	}
	d := p.phdrs[i]
	if err := p.checkRange("PT_DYNAMIC", d.offset, d.filesz, 8); err != nil {
		return err
	}
	if d.filesz%dynamicSize != 0 {
		return refuse(hintDamaged, "PT_DYNAMIC is not a whole number of entries: %d bytes", d.filesz)
	}
	seen := map[uint64]bool{}
	err = p.entries(d.offset, d.filesz, dynamicSize, func(_ uint64, b []byte) error {
		tag, value := le.Uint64(b), le.Uint64(b[8:])
		if !knownTag(tag) {
			return refuse(hintStatic, "Invalid tag value")
		}
		if what := unsupported[tag]; what != "" {
			return refuse(hintStatic, "Unsupported dynamic entry: %s", what)
		}
		if tag != dtRela && tag != dtRelaCount {
			return nil
		}
		if seen[tag] {
			return refuse("", "Found dynamic entry twice: %s", map[uint64]string{dtRela: "DT_RELA", dtRelaCount: "DT_RELACOUNT"}[tag])
		}
		seen[tag] = true
		if tag == dtRela {
			p.rela = value
		} else {
			p.relaCount = value
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case seen[dtRela] && !seen[dtRelaCount]:
		return refuse("link with -z combreloc", "DT_RELA found, but DT_RELACOUNT not found")
	case seen[dtRelaCount] && !seen[dtRela]:
		return refuse("", "DT_RELACOUNT found, but DT_RELA not found")
	}
	return nil
}

// rX86Relative is the one type of relocation that the runtime applies.
const rX86Relative = 8

// checkRelocations looks at all sections of relocations, whatever their names.
func (p *program) checkRelocations() error {
	writable := newRanges(p.phdrs)
	count := uint64(0)
	for i := range p.sections {
		s := &p.sections[i]
		if !knownSectionType(s.typ) {
			return refuse(hintStatic, "Invalid sh type")
		}
		if err := p.checkSectionData("", s); err != nil {
			return err
		}
		if s.typ != shtRela {
			continue
		}
		count += s.bytes / relaSize
		err := p.entries(s.offset, s.bytes, relaSize, func(_ uint64, b []byte) error {
			off, typ, sym := le.Uint64(b), le.Uint32(b[8:]), le.Uint32(b[12:])
			if sym != 0 || typ != rX86Relative {
				return refuse(hintStatic, "Invalid relocation: section=%d type=%d", sym, typ)
			}
			if !writable.contain(off, 8) {
				return refuse("link with -z notext off: relocated data must be in a writable segment",
					"Relocation at 0x%016x outside of writable segments", off)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if count != p.relaCount {
		return refuse(hintStatic, "Expected %d relocations, found %d", p.relaCount, count)
	}
	return nil
}

// ranges are the writable segments, sorted by start; end is the highest end of
// the segments so far.
type ranges []struct{ start, end uint64 }

func newRanges(phdrs []segment) ranges {
	var r ranges
	for _, s := range phdrs {
		if s.typ == ptLoad && s.flags&pfW != 0 && s.vaddr+s.memsz >= s.vaddr {
			r = append(r, struct{ start, end uint64 }{s.vaddr, s.vaddr + s.memsz})
		}
	}
	slices.SortFunc(r, func(a, b struct{ start, end uint64 }) int { return cmp.Compare(a.start, b.start) })
	for i := range r[min(1, len(r)):] {
		r[i+1].end = max(r[i+1].end, r[i].end)
	}
	return r
}

// contain tells whether n bytes at off lie wholly in one segment.
func (r ranges) contain(off, n uint64) bool {
	i, _ := slices.BinarySearchFunc(r, off, func(e struct{ start, end uint64 }, off uint64) int {
		if e.start <= off {
			return -1
		}
		return 1
	})
	return i > 0 && off+n >= off && off+n <= r[i-1].end
}

// checkSections finds the sections whose addresses the runtime is told.
func (p *program) checkSections() error {
	for _, s := range []struct {
		name string
		to   **section
	}{{".eh_frame", &p.ehFrame}, {".eh_frame_hdr", &p.ehHdr}, {".text", &p.text}} {
		found, err := p.find(s.name)
		if err != nil {
			return err
		}
		if found == nil {
			return refuse(hintTarget, "Could not find %s!", s.name)
		}
		*s.to = found
	}
	var err error
	p.textNoSGX, err = p.find(".text_no_sgx")
	return err
}
