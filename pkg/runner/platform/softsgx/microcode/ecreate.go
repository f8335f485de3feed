package microcode

import (
	"math/bits"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

// miscEntrySize is the size of each component of the MISC region of an SSA
// frame: EXINFO and CPINFO (SDM 38.9.2).
const miscEntrySize = sgx.EXINFOSize

// Create does ECREATE (SDM 40.3): it checks secs against what caps supports
// and begins the measurement. It keeps a copy of secs with the fields that
// only the processor writes cleared. The error is a *Fault that names the
// field.
func Create(secs *sgx.SECS, caps platform.Caps) (*Enclave, error) {
	if f := checkSECS(secs, caps); f != nil {
		return nil, f
	}
	e := &Enclave{secs: *secs, xsaveSize: caps.XSAVESize(secs.Attributes.XFRM), epcm: newEPCM(secs.Size)}
	e.secs.MREnclave, e.secs.MRSigner = sgx.Measurement{}, sgx.Measurement{}
	e.secs.ISVProdID, e.secs.ISVSVN = 0, 0
	e.measure.ecreate(secs.SSAFrameSize, secs.Size)
	return e, nil
}

// CheckSECS makes the checks of ECREATE and nothing else, so that a caller
// can have them before it chooses BASEADDR. The error is a *Fault.
func CheckSECS(secs *sgx.SECS, caps platform.Caps) error {
	if f := checkSECS(secs, caps); f != nil {
		return f
	}
	return nil
}

func checkSECS(s *sgx.SECS, caps platform.Caps) *Fault {
	const i = "ECREATE"
	// SIZE first: all other numbers depend on it.
	switch {
	case bits.OnesCount64(s.Size) != 1:
		return gp(i, "SIZE is %#x bytes, not a power of two", s.Size)
	case s.Size < 2*sgx.PageSize:
		return gp(i, "SIZE is %#x bytes, less than two pages", s.Size)
	case s.Size > caps.MaxSize:
		return gp(i, "SIZE is %#x bytes, the largest enclave of this platform is %#x", s.Size, caps.MaxSize)
	case s.BaseAddr&(s.Size-1) != 0:
		return gp(i, "BASEADDR %#x is not aligned to SIZE %#x", s.BaseAddr, s.Size)
	case !canonical(s.BaseAddr) || !canonical(s.BaseAddr+s.Size-1):
		return gp(i, "BASEADDR %#x is not canonical", s.BaseAddr)
	}
	if f := checkXFRM(s.Attributes.XFRM, caps.XFRM); f != nil {
		return f
	}
	flags := s.Attributes.Flags
	switch {
	case flags&sgx.AttrInit != 0:
		return gp(i, "ATTRIBUTES.INIT is set: only EINIT sets it")
	case flags&sgx.AttrMode64Bit == 0:
		// A processor accepts this; running 32-bit code would need a far
		// jump that the entry of a 64-bit host has no place for.
		return gp(i, "ATTRIBUTES.MODE64BIT is clear: 32-bit enclaves are not supported")
	case flags&^caps.Attributes != 0:
		return gp(i, "ATTRIBUTES has %s, this platform supports %s", flags&^caps.Attributes, caps.Attributes)
	case s.MiscSelect&^caps.MiscSelect != 0:
		return gp(i, "MISCSELECT has %s, this platform supports %s", s.MiscSelect&^caps.MiscSelect, caps.MiscSelect)
	}
	need := uint64(caps.XSAVESize(s.Attributes.XFRM)) +
		uint64(bits.OnesCount32(uint32(s.MiscSelect)))*miscEntrySize + sgx.GPRSGXSize
	if have := uint64(s.SSAFrameSize) * sgx.PageSize; have < need {
		return gp(i, "SSAFRAMESIZE is %d pages, a frame with XFRM %s needs %d bytes (%d pages)",
			s.SSAFrameSize, s.Attributes.XFRM, need, (need+sgx.PageSize-1)/sgx.PageSize)
	}
	if flags&sgx.AttrKSS == 0 {
		switch {
		case s.ConfigID != [64]byte{}:
			return gp(i, "CONFIGID is not zero, but ATTRIBUTES.KSS is clear")
		case s.ConfigSVN != 0:
			return gp(i, "CONFIGSVN is %d, but ATTRIBUTES.KSS is clear", s.ConfigSVN)
		}
	}
	if flags&sgx.AttrCET == 0 {
		switch {
		case s.CETAttributes != 0:
			return gp(i, "CET_ATTRIBUTES is %#x, but ATTRIBUTES.CET is clear", s.CETAttributes)
		case s.CETLegBitmapOffset != 0:
			return gp(i, "CET_LEG_BITMAP_OFFSET is %#x, but ATTRIBUTES.CET is clear", s.CETLegBitmapOffset)
		}
	}
	if s.CETLegBitmapOffset%sgx.PageSize != 0 {
		return gp(i, "CET_LEG_BITMAP_OFFSET %#x is not page aligned", s.CETLegBitmapOffset)
	}
	if s.CETAttributes&cetReserved != 0 {
		return gp(i, "CET_ATTRIBUTES is %#x: reserved bits %#x are set", s.CETAttributes, s.CETAttributes&cetReserved)
	}
	return nil
}

// cetReserved is the bits of CET_ATTRIBUTES that the SDM reserves (38.7.1).
const cetReserved = 0xc0

// checkXFRM refuses what XSETBV would refuse to load into XCR0 (SDM 38.7.2.1,
// vol. 1 13.3), and what the platform does not save.
func checkXFRM(x, supported sgx.XFRM) *Fault {
	const i = "ECREATE"
	if x&sgx.XFRMLegacy != sgx.XFRMLegacy {
		return gp(i, "XFRM is %s: X87 and SSE must be set", x)
	}
	if x&^supported != 0 {
		return gp(i, "XFRM has %s, this platform supports %s", x&^supported, supported)
	}
	// Components that exist together or not at all.
	for _, group := range [...]sgx.XFRM{sgx.XFRMAVX512, sgx.XFRMBndRegs | sgx.XFRMBndCSR, sgx.XFRMAMX} {
		if x&group != 0 && x&group != group {
			return gp(i, "XFRM is %s: %s must be set together", x, group)
		}
	}
	if x&sgx.XFRMAVX512 != 0 && x&sgx.XFRMAVX == 0 {
		return gp(i, "XFRM is %s: AVX512 needs AVX", x)
	}
	return nil
}

// canonical reports whether a has its top 17 bits equal, as linear addresses
// of 48 bits must.
func canonical(a uint64) bool { return uint64(int64(a)<<16>>16) == a }
