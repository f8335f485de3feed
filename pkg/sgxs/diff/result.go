package diff

import (
	"fmt"
	"io"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
)

// Image is one of the two sides.
type Image struct {
	Name    string    // for errors
	Stream  io.Reader // canonical
	Symbols *Symbols  // of the ELF that the image was made from; may be nil
}

// The bounds of a Result's lists.
const (
	MaxRegions = 1024
	MaxSymbols = 256
)

// Result is the comparison of two images, A and B.
type Result struct {
	// Same is set if every measured record is the same, and with it MRENCLAVE.
	Same bool `json:"same"`
	A    Side `json:"a"`
	B    Side `json:"b"`
	// First is the first measured record that differs; nil if Same.
	First *Difference `json:"first,omitempty"`
	// Regions cover all pages of both, in order of address.
	Regions     []Region `json:"regions"`
	MoreRegions int      `json:"more_regions,omitempty"` // that did not fit
	// Symbols are those in which measured data differs, in order of address.
	Symbols     []SymbolDiff `json:"symbols,omitempty"`
	MoreSymbols bool         `json:"more_symbols,omitempty"` // not all fitted
	// Pages that differ in measured records, and those that differ only in
	// what is loaded unmeasured.
	ChangedPages    uint64 `json:"changed_pages"`
	UnmeasuredPages uint64 `json:"unmeasured_pages"`
}

// Side is what there is to say about one image as a whole.
type Side struct {
	Sized        bool             `json:"sized"`
	MREnclave    *sgx.Measurement `json:"mrenclave,omitempty"` // nil if unsized
	Size         uint64           `json:"size,omitempty"`
	SizeOffset   uint64           `json:"size_offset,omitempty"` // if unsized
	SSAFrameSize uint32           `json:"ssaframesize"`
	Pages        uint64           `json:"pages"`
}

// Place is a place in the ELF that an image was made from.
type Place struct {
	Section string `json:"section,omitempty"`
	Symbol  string `json:"symbol,omitempty"`
	Offset  uint64 `json:"offset"` // from the symbol's start or, without one, the section's
}

// String returns for example "HEAP_SIZE in .rodata" or ".text+0x1f".
func (p *Place) String() string {
	name := p.Symbol
	if name == "" {
		name = p.Section
	}
	if p.Offset != 0 {
		name += fmt.Sprintf("+%#x", p.Offset)
	}
	if p.Symbol != "" && p.Section != "" {
		name += " in " + p.Section
	}
	return name
}

// Differing fields, by the names of the SDM.
const (
	FieldRecord       = "record"          // another kind of record
	FieldSSAFrameSize = "SSAFRAMESIZE"    // of ECREATE or UNSIZED
	FieldSize         = "SIZE"            // of ECREATE
	FieldSizeOffset   = "size offset"     // of UNSIZED
	FieldPage         = "page offset"     // of EADD: a page is in one image only
	FieldFlags        = "SECINFO.FLAGS"   // of EADD
	FieldChunk        = "chunk offset"    // of EEXTEND: another order
	FieldMeasured     = "measured chunks" // a chunk is measured in one image only
	FieldData         = "data"            // of EEXTEND
)

// At is where in a stream a record is. Both numbers are 0 if the stream ends
// before it.
type At struct {
	Record int64 `json:"record"` // the first is 1
	Pos    int64 `json:"pos"`    // bytes
}

// Difference is a record that differs.
type Difference struct {
	Field string `json:"field"`
	// FieldOff is the byte at which the records differ, counted from the start
	// of the record; for data, from the start of the chunk.
	FieldOff int    `json:"field_off"`
	AtA      At     `json:"at_a"`
	AtB      At     `json:"at_b"`
	A        string `json:"a"` // the value in A, in words
	B        string `json:"b"`
	// Page, Chunk and Addr are offsets in the enclave: of the page, of the
	// chunk and of the byte. Those that do not apply equal the one before.
	Page  uint64 `json:"page"`
	Chunk uint64 `json:"chunk"`
	Addr  uint64 `json:"addr"`
	// What the ELFs have at Addr, if they were given and have anything there.
	PlaceA *Place `json:"place_a,omitempty"`
	PlaceB *Place `json:"place_b,omitempty"`
}

// Region is a run of pages with the same flags in A and the same in B.
type Region struct {
	Start      uint64   `json:"start"`
	Pages      uint64   `json:"pages"`
	A          *Mapping `json:"a,omitempty"` // nil: not in A
	B          *Mapping `json:"b,omitempty"`
	Changed    uint64   `json:"changed_pages"`    // pages that differ in measured records
	Bytes      uint64   `json:"changed_bytes"`    // bytes of measured data that differ
	Unmeasured uint64   `json:"unmeasured_pages"` // pages that differ only in what is not measured
	Sections   []string `json:"sections,omitempty"`
}

// End returns the address behind the region.
func (r *Region) End() uint64 { return r.Start + r.Pages*sgx.PageSize }

// Mapping is how the pages of a region are mapped.
type Mapping struct {
	Flags    sgx.SecInfoFlags `json:"flags"`
	Words    string           `json:"words"`    // the flags, for example "REG r-x"
	Measured string           `json:"measured"` // "all", "none" or "partial"
}

func newMapping(p *sgxs.Page) *Mapping {
	return &Mapping{p.Flags, p.Flags.String(), measuredWord(p.Measured)}
}

func measuredWord(chunks uint16) string {
	switch chunks {
	case 0:
		return "none"
	case 1<<sgx.ChunksPerPage - 1:
		return "all"
	}
	return "partial"
}

// SymbolDiff is a symbol in which measured data differs.
type SymbolDiff struct {
	Place Place  `json:"place"` // Offset is that of the first differing byte
	Addr  uint64 `json:"addr"`  // of that byte
	Bytes uint64 `json:"bytes"` // how many differ
}
