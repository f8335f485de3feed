package sgx

import (
	"fmt"
	"strings"
)

// Units of enclave memory.
const (
	PageSize      = 4096 // an EPC page: the unit of EADD
	ChunkSize     = 256  // the unit of EEXTEND
	ChunksPerPage = PageSize / ChunkSize
)

// PageType is the EPC page type, SECINFO.FLAGS bits 15:8 (SDM 38.12).
type PageType uint8

// The page types.
const (
	PageSECS    PageType = 0
	PageTCS     PageType = 1
	PageREG     PageType = 2
	PageVA      PageType = 3
	PageTRIM    PageType = 4
	PageSSFirst PageType = 5
	PageSSRest  PageType = 6
)

// String returns the SDM's name of the page type, without "PT_".
func (t PageType) String() string {
	names := [...]string{"SECS", "TCS", "REG", "VA", "TRIM", "SS_FIRST", "SS_REST"}
	if int(t) < len(names) {
		return names[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// SecInfoFlags is the FLAGS field of a SECINFO (SDM 38.11): permissions in
// the low bits, the page type in bits 15:8.
//
//	bit 0  R         bit 3  PENDING
//	bit 1  W         bit 4  MODIFIED
//	bit 2  X         bit 5  PR (permission restriction)
//	bits 15:8 page type
type SecInfoFlags uint64

// The bits of SecInfoFlags.
const (
	SecInfoR        SecInfoFlags = 1 << 0
	SecInfoW        SecInfoFlags = 1 << 1
	SecInfoX        SecInfoFlags = 1 << 2
	SecInfoPending  SecInfoFlags = 1 << 3
	SecInfoModified SecInfoFlags = 1 << 4
	SecInfoPR       SecInfoFlags = 1 << 5

	SecInfoPerm     = SecInfoR | SecInfoW | SecInfoX
	secInfoTypeMask = SecInfoFlags(0xff00)
	secInfoKnown    = SecInfoPerm | SecInfoPending | SecInfoModified | SecInfoPR | secInfoTypeMask
)

// The values that images are made of.
const (
	SecInfoTCS   = SecInfoFlags(PageTCS) << 8
	SecInfoREG   = SecInfoFlags(PageREG) << 8
	SecInfoREGR  = SecInfoREG | SecInfoR
	SecInfoREGRW = SecInfoREG | SecInfoR | SecInfoW
	SecInfoREGRX = SecInfoREG | SecInfoR | SecInfoX
)

// PageType returns bits 15:8.
func (f SecInfoFlags) PageType() PageType { return PageType(f >> 8) }

// Unknown returns the bits that the SDM reserves.
func (f SecInfoFlags) Unknown() SecInfoFlags { return f &^ secInfoKnown }

// Perm returns the permissions as in a memory map: "rwx" with "-" for what is
// not allowed.
func (f SecInfoFlags) Perm() string {
	b := [3]byte{'-', '-', '-'}
	for i, c := range []byte("rwx") {
		if f&(1<<i) != 0 {
			b[i] = c
		}
	}
	return string(b[:])
}

// String returns for example "REG r-x" or "TCS ---"; further flags follow.
func (f SecInfoFlags) String() string {
	s := []string{f.PageType().String(), f.Perm()}
	for _, x := range []struct {
		bit  SecInfoFlags
		name string
	}{{SecInfoPending, "PENDING"}, {SecInfoModified, "MODIFIED"}, {SecInfoPR, "PR"}} {
		if f&x.bit != 0 {
			s = append(s, x.name)
		}
	}
	if u := f.Unknown(); u != 0 {
		s = append(s, fmt.Sprintf("%#x", uint64(u)))
	}
	return strings.Join(s, " ")
}
