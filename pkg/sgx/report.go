package sgx

// Sizes of the structures of local attestation, in bytes.
const (
	ReportBodySize = 384
	ReportSize     = 432
	TargetInfoSize = 512
	ReportDataSize = 64
)

// ReportBody is the part of a REPORT that its MAC covers, and the part that a
// quote carries (SDM 38.15).
//
//	0   16  CPUSVN
//	16   4  MISCSELECT
//	20   1  CET_ATTRIBUTES
//	21  11  reserved
//	32  16  ISVEXTPRODID
//	48  16  ATTRIBUTES
//	64  32  MRENCLAVE
//	96  32  reserved
//	128 32  MRSIGNER
//	160 32  reserved
//	192 64  CONFIGID
//	256  2  ISVPRODID
//	258  2  ISVSVN
//	260  2  CONFIGSVN
//	262 42  reserved
//	304 16  ISVFAMILYID
//	320 64  REPORTDATA
type ReportBody struct {
	CPUSVN        [16]byte
	MiscSelect    MiscSelect
	CETAttributes uint8
	ISVExtProdID  [16]byte
	Attributes    Attributes
	MREnclave     Measurement
	MRSigner      Measurement
	ConfigID      [64]byte
	ISVProdID     uint16
	ISVSVN        uint16
	ConfigSVN     uint16
	ISVFamilyID   [16]byte
	ReportData    [ReportDataSize]byte
}

var reportBodyLayout = layout{"REPORT body", ReportBodySize, [][2]int{{21, 11}, {96, 32}, {160, 32}, {262, 42}}}

// ParseReportBody reads exactly ReportBodySize bytes.
func ParseReportBody(b []byte) (*ReportBody, error) {
	if err := reportBodyLayout.check(b); err != nil {
		return nil, err
	}
	return &ReportBody{
		CPUSVN:        [16]byte(b[:16]),
		MiscSelect:    MiscSelect(le.Uint32(b[16:])),
		CETAttributes: b[20],
		ISVExtProdID:  [16]byte(b[32:48]),
		Attributes:    getAttributes(b[48:]),
		MREnclave:     Measurement(b[64:96]),
		MRSigner:      Measurement(b[128:160]),
		ConfigID:      [64]byte(b[192:256]),
		ISVProdID:     le.Uint16(b[256:]),
		ISVSVN:        le.Uint16(b[258:]),
		ConfigSVN:     le.Uint16(b[260:]),
		ISVFamilyID:   [16]byte(b[304:320]),
		ReportData:    [64]byte(b[320:384]),
	}, nil
}

// AppendBinary appends the ReportBodySize bytes of r to dst. The error is
// always nil.
func (r *ReportBody) AppendBinary(dst []byte) ([]byte, error) {
	dst, b := grow(dst, ReportBodySize)
	copy(b, r.CPUSVN[:])
	le.PutUint32(b[16:], uint32(r.MiscSelect))
	b[20] = r.CETAttributes
	copy(b[32:], r.ISVExtProdID[:])
	r.Attributes.put(b[48:])
	copy(b[64:], r.MREnclave[:])
	copy(b[128:], r.MRSigner[:])
	copy(b[192:], r.ConfigID[:])
	le.PutUint16(b[256:], r.ISVProdID)
	le.PutUint16(b[258:], r.ISVSVN)
	le.PutUint16(b[260:], r.ConfigSVN)
	copy(b[304:], r.ISVFamilyID[:])
	copy(b[320:], r.ReportData[:])
	return dst, nil
}

// Report is what EREPORT makes (SDM 38.15): a body and its AES-CMAC under the
// target's report key.
//
//	0   384  body
//	384  32  KEYID
//	416  16  MAC
type Report struct {
	Body  ReportBody
	KeyID [32]byte
	MAC   [16]byte
}

// ParseReport reads exactly ReportSize bytes. It does not check the MAC.
func ParseReport(b []byte) (*Report, error) {
	if len(b) != ReportSize {
		return nil, (&layout{name: "REPORT", size: ReportSize}).check(b)
	}
	body, err := ParseReportBody(b[:ReportBodySize])
	if err != nil {
		return nil, err
	}
	return &Report{*body, [32]byte(b[384:416]), [16]byte(b[416:432])}, nil
}

// AppendBinary appends the ReportSize bytes of r to dst. The error is always
// nil.
func (r *Report) AppendBinary(dst []byte) ([]byte, error) {
	dst, _ = r.Body.AppendBinary(dst)
	dst = append(dst, r.KeyID[:]...)
	return append(dst, r.MAC[:]...), nil
}

// TargetInfo names the enclave that a REPORT is for (SDM 38.16).
//
//	0   32  MEASUREMENT   the target's MRENCLAVE
//	32  16  ATTRIBUTES
//	48   1  CET_ATTRIBUTES
//	49   1  reserved
//	50   2  CONFIGSVN
//	52   4  MISCSELECT
//	56   8  reserved
//	64  64  CONFIGID
//	128 384 reserved
type TargetInfo struct {
	MREnclave     Measurement
	Attributes    Attributes
	CETAttributes uint8
	ConfigSVN     uint16
	MiscSelect    MiscSelect
	ConfigID      [64]byte
}

var targetInfoLayout = layout{"TARGETINFO", TargetInfoSize, [][2]int{{49, 1}, {56, 8}, {128, 384}}}

// ParseTargetInfo reads exactly TargetInfoSize bytes.
func ParseTargetInfo(b []byte) (*TargetInfo, error) {
	if err := targetInfoLayout.check(b); err != nil {
		return nil, err
	}
	return &TargetInfo{
		MREnclave:     Measurement(b[:32]),
		Attributes:    getAttributes(b[32:]),
		CETAttributes: b[48],
		ConfigSVN:     le.Uint16(b[50:]),
		MiscSelect:    MiscSelect(le.Uint32(b[52:])),
		ConfigID:      [64]byte(b[64:128]),
	}, nil
}

// AppendBinary appends the TargetInfoSize bytes of t to dst. The error is
// always nil.
func (t *TargetInfo) AppendBinary(dst []byte) ([]byte, error) {
	dst, b := grow(dst, TargetInfoSize)
	copy(b, t.MREnclave[:])
	t.Attributes.put(b[32:])
	b[48] = t.CETAttributes
	le.PutUint16(b[50:], t.ConfigSVN)
	le.PutUint32(b[52:], uint32(t.MiscSelect))
	copy(b[64:], t.ConfigID[:])
	return dst, nil
}
