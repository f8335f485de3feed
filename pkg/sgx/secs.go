package sgx

// SECSSize is the size of a SECS in bytes: one page.
const SECSSize = 4096

// SECS is the enclave's control structure as given to ECREATE and kept by the
// processor (SDM 38.7). The fields that only the processor writes (MRENCLAVE,
// MRSIGNER, the product ids) are zero at ECREATE.
//
//	0     8  SIZE              power of two, bytes
//	8     8  BASEADDR          aligned to SIZE
//	16    4  SSAFRAMESIZE      pages
//	20    4  MISCSELECT
//	24    8  CET_LEG_BITMAP_OFFSET
//	32    1  CET_ATTRIBUTES
//	33   15  reserved
//	48   16  ATTRIBUTES
//	64   32  MRENCLAVE
//	96   32  reserved
//	128  32  MRSIGNER
//	160  32  reserved
//	192  64  CONFIGID
//	256   2  ISVPRODID
//	258   2  ISVSVN
//	260   2  CONFIGSVN
//	262 3834 reserved
type SECS struct {
	Size               uint64
	BaseAddr           uint64
	SSAFrameSize       uint32
	MiscSelect         MiscSelect
	CETLegBitmapOffset uint64
	CETAttributes      uint8
	Attributes         Attributes
	MREnclave          Measurement
	MRSigner           Measurement
	ConfigID           [64]byte
	ISVProdID          uint16
	ISVSVN             uint16
	ConfigSVN          uint16
}

var secsLayout = layout{"SECS", SECSSize, [][2]int{{33, 15}, {96, 32}, {160, 32}, {262, 3834}}}

// ParseSECS reads exactly SECSSize bytes.
func ParseSECS(b []byte) (*SECS, error) {
	if err := secsLayout.check(b); err != nil {
		return nil, err
	}
	return &SECS{
		Size:               le.Uint64(b),
		BaseAddr:           le.Uint64(b[8:]),
		SSAFrameSize:       le.Uint32(b[16:]),
		MiscSelect:         MiscSelect(le.Uint32(b[20:])),
		CETLegBitmapOffset: le.Uint64(b[24:]),
		CETAttributes:      b[32],
		Attributes:         getAttributes(b[48:]),
		MREnclave:          Measurement(b[64:96]),
		MRSigner:           Measurement(b[128:160]),
		ConfigID:           [64]byte(b[192:256]),
		ISVProdID:          le.Uint16(b[256:]),
		ISVSVN:             le.Uint16(b[258:]),
		ConfigSVN:          le.Uint16(b[260:]),
	}, nil
}

// AppendBinary appends the SECSSize bytes of s to dst. The error is always nil.
func (s *SECS) AppendBinary(dst []byte) ([]byte, error) {
	dst, b := grow(dst, SECSSize)
	le.PutUint64(b, s.Size)
	le.PutUint64(b[8:], s.BaseAddr)
	le.PutUint32(b[16:], s.SSAFrameSize)
	le.PutUint32(b[20:], uint32(s.MiscSelect))
	le.PutUint64(b[24:], s.CETLegBitmapOffset)
	b[32] = s.CETAttributes
	s.Attributes.put(b[48:])
	copy(b[64:], s.MREnclave[:])
	copy(b[128:], s.MRSigner[:])
	copy(b[192:], s.ConfigID[:])
	le.PutUint16(b[256:], s.ISVProdID)
	le.PutUint16(b[258:], s.ISVSVN)
	le.PutUint16(b[260:], s.ConfigSVN)
	return dst, nil
}

// grow extends dst by n zero bytes and returns both the whole and the new part.
func grow(dst []byte, n int) (whole, added []byte) {
	dst = append(dst, make([]byte, n)...)
	return dst, dst[len(dst)-n:]
}
