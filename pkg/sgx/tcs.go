package sgx

// TCSSize is the size of a TCS in bytes: one page.
const TCSSize = 4096

// TCSFlags is the FLAGS field of a TCS (SDM 38.8.1).
type TCSFlags uint64

// The bits of TCSFlags.
const (
	TCSDebugOptIn TCSFlags = 1 << 0
	TCSAEXNotify  TCSFlags = 1 << 1
)

// TCS is a thread's control structure (SDM 38.8). Offsets are relative to the
// enclave's base.
//
//	0    8  reserved (the processor's state)
//	8    8  FLAGS
//	16   8  OSSA        first SSA frame, page aligned
//	24   4  CSSA        SSA frames in use; zero at EADD
//	28   4  NSSA        number of SSA frames
//	32   8  OENTRY      entry point
//	40   8  AEP         the processor's; zero at EADD
//	48   8  OFSBASGX    FS base inside
//	56   8  OGSBASGX    GS base inside
//	64   4  FSLIMIT
//	68   4  GSLIMIT
//	72   8  OCETSSA
//	80   8  PREVSSP
//	88 4008 reserved
type TCS struct {
	Flags   TCSFlags
	OSSA    uint64
	CSSA    uint32
	NSSA    uint32
	OEntry  uint64
	AEP     uint64
	OFSBase uint64
	OGSBase uint64
	FSLimit uint32
	GSLimit uint32
	OCETSSA uint64
	PrevSSP uint64
}

var tcsLayout = layout{"TCS", TCSSize, [][2]int{{0, 8}, {88, 4008}}}

// ParseTCS reads exactly TCSSize bytes.
func ParseTCS(b []byte) (*TCS, error) {
	if err := tcsLayout.check(b); err != nil {
		return nil, err
	}
	return &TCS{
		Flags:   TCSFlags(le.Uint64(b[8:])),
		OSSA:    le.Uint64(b[16:]),
		CSSA:    le.Uint32(b[24:]),
		NSSA:    le.Uint32(b[28:]),
		OEntry:  le.Uint64(b[32:]),
		AEP:     le.Uint64(b[40:]),
		OFSBase: le.Uint64(b[48:]),
		OGSBase: le.Uint64(b[56:]),
		FSLimit: le.Uint32(b[64:]),
		GSLimit: le.Uint32(b[68:]),
		OCETSSA: le.Uint64(b[72:]),
		PrevSSP: le.Uint64(b[80:]),
	}, nil
}

// AppendBinary appends the TCSSize bytes of t to dst. The error is always nil.
func (t *TCS) AppendBinary(dst []byte) ([]byte, error) {
	dst, b := grow(dst, TCSSize)
	le.PutUint64(b[8:], uint64(t.Flags))
	le.PutUint64(b[16:], t.OSSA)
	le.PutUint32(b[24:], t.CSSA)
	le.PutUint32(b[28:], t.NSSA)
	le.PutUint64(b[32:], t.OEntry)
	le.PutUint64(b[40:], t.AEP)
	le.PutUint64(b[48:], t.OFSBase)
	le.PutUint64(b[56:], t.OGSBase)
	le.PutUint32(b[64:], t.FSLimit)
	le.PutUint32(b[68:], t.GSLimit)
	le.PutUint64(b[72:], t.OCETSSA)
	le.PutUint64(b[80:], t.PrevSSP)
	return dst, nil
}
