package fromelf

import "fmt"

// Types of sections that matter.
const (
	shtNull         = 0
	shtProgBits     = 1
	shtSymTab       = 2
	shtStrTab       = 3
	shtRela         = 4
	shtHash         = 5
	shtDynamic      = 6
	shtNote         = 7
	shtNoBits       = 8
	shtRel          = 9
	shtDynSym       = 11
	shtInitArray    = 14
	shtFiniArray    = 15
	shtPreInitArray = 16
	shtGroup        = 17
	shtSymTabShndx  = 18
)

// sectionTypeNames are the Fortanix tool's words for the types.
var sectionTypeNames = [...]string{
	"Null", "ProgBits", "SymTab", "StrTab", "Rela", "Hash", "Dynamic", "Note", "NoBits", "Rel", "ShLib", "DynSym",
	14: "InitArray", 15: "FiniArray", 16: "PreInitArray", 17: "Group", 18: "SymTabShIndex",
}

// knownSectionType tells whether the Fortanix tool knows the type; it refuses
// ELFs with others, SHT_RELR (19) among them.
func knownSectionType(t uint32) bool { return sectionTypeName(t) != "" }

func sectionTypeName(t uint32) string {
	switch {
	case t < uint32(len(sectionTypeNames)):
		return sectionTypeNames[t]
	case t >= 0x80000000:
		return fmt.Sprintf("User(%d)", t)
	case t >= 0x70000000:
		return fmt.Sprintf("ProcessorSpecific(%d)", t)
	case t >= 0x60000000:
		return fmt.Sprintf("OsSpecific(%d)", t)
	}
	return ""
}

// sectionForms are what the contents of a section must be: at least min bytes,
// the rest a whole number of entries, at an aligned file offset.
var sectionForms = map[uint32]struct{ min, entry, align uint64 }{
	shtSymTab:       {0, symbolSize, 8},
	shtDynSym:       {0, symbolSize, 8},
	shtRela:         {0, relaSize, 8},
	shtHash:         {12, 1, 4},
	shtDynamic:      {0, dynamicSize, 8},
	shtNote:         {12, 1, 4},
	shtRel:          {0, 16, 8},
	shtInitArray:    {0, 8, 8},
	shtFiniArray:    {0, 8, 8},
	shtPreInitArray: {0, 8, 8},
	shtGroup:        {4, 4, 4},
	shtSymTabShndx:  {0, 4, 4},
}

// checkSectionData tells whether the contents of a section lie in the file and
// have the form of their type.
func (f *elfFile) checkSectionData(name string, s *section) error {
	if s.typ == shtNull || s.typ == shtNoBits {
		return nil
	}
	if name == "" {
		name = "A section of type " + sectionTypeName(s.typ)
	}
	form, ok := sectionForms[s.typ]
	if !ok {
		form.entry, form.align = 1, 1
	}
	if err := f.checkRange(name, s.offset, s.bytes, form.align); err != nil {
		return err
	}
	if s.bytes < form.min || (s.bytes-form.min)%form.entry != 0 {
		return refuse(hintDamaged, "Loading ELF file: %s is not a whole number of entries: %d bytes", name, s.bytes)
	}
	return nil
}
