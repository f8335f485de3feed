package attest

import (
	"encoding/binary"
	"fmt"

	"github.com/enclaveos/eos/pkg/sgx"
)

var le = binary.LittleEndian

// TEE says what kind of thing a quote is about.
type TEE uint32

// The kinds, with the numbers of the quote header.
const (
	SGX TEE = 0x00
	TDX TEE = 0x81
)

// String returns "SGX", "TDX" or the number.
func (t TEE) String() string {
	switch t {
	case SGX:
		return "SGX"
	case TDX:
		return "TDX"
	}
	return fmt.Sprintf("TEE type %#x", uint32(t))
}

// Kinds of certification data. Quotes with every kind are parsed; only
// CertPCKChain can be verified without asking anybody.
const (
	CertPPID             uint16 = 1
	CertPPIDRSA2048      uint16 = 2
	CertPPIDRSA3072      uint16 = 3
	CertPCKLeaf          uint16 = 4
	CertPCKChain         uint16 = 5
	CertQEReport         uint16 = 6 // around the others in a quote version 4
	CertPlatformManifest uint16 = 7
)

var certNames = map[uint16]string{
	CertPPID: "PPID", CertPPIDRSA2048: "PPID encrypted with RSA-2048", CertPPIDRSA3072: "PPID encrypted with RSA-3072",
	CertPCKLeaf: "PCK leaf certificate alone", CertPCKChain: "PCK certificate chain", CertQEReport: "QE report certification data",
	CertPlatformManifest: "platform manifest",
}

// certName returns for example "type 5 (PCK certificate chain)".
func certName(t uint16) string {
	name := certNames[t]
	if name == "" {
		name = "unknown"
	}
	return fmt.Sprintf("type %d (%s)", t, name)
}

// Sizes of the parts of a quote, in bytes.
const (
	quoteHeaderSize = 48
	sgxBodySize     = sgx.ReportBodySize
	ecdsaPartSize   = 64 + 64 // signature, attestation key
	attKeyECDSAP256 = 2
	maxQuotePadding = 16 << 10
)

// Quote is a parsed quote. Exactly one of Report and TD is set.
//
//	0   2  version                 3 or 4
//	2   2  attestation key type    2: ECDSA P-256
//	4   4  TEE type                reserved in version 3
//	8   2  QE SVN                  reserved in version 4
//	10  2  PCE SVN                 reserved in version 4
//	12 16  QE vendor id
//	28 20  user data
//	48  -  report: 384 bytes of SGX, 584 of TDX
//	    4  length of what follows
//	   64  signature over all before the length: r, s
//	   64  attestation key: x, y
//	    6  version 4: type 6 and length of what follows
//	  384  QE report
//	   64  signature of the PCK key over the QE report: r, s
//	    2  length of the authentication data
//	    -  authentication data
//	    2  type of the certification data
//	    4  length of the certification data
//	    -  certification data
type Quote struct {
	Version       uint16
	TEE           TEE
	QESVN, PCESVN uint16 // not in the formats' version 4, which has reserved bytes here
	QEVendorID    [16]byte
	UserData      [20]byte

	Report *sgx.ReportBody // the enclave's report, SGX
	TD     *TDReport       // the trust domain's report, TDX

	Signature         [64]byte // r then s, over SignedBytes
	AttestationKey    [64]byte // x then y
	QEReport          sgx.ReportBody
	QEReportSignature [64]byte // r then s, by the PCK key over QEReport
	QEAuthData        []byte
	CertType          uint16 // CertPCKChain
	CertData          []byte // PEM, as it is in the quote

	// Padding is the number of zero bytes behind the quote. Quoting services
	// hand out such buffers; no signature covers them, so they must be zero.
	Padding int
}

// bytesReader takes fields off the front of a byte string.
type bytesReader struct {
	b   []byte
	off int
	err *Error
}

// next returns n bytes, nil after an error.
func (r *bytesReader) next(n int, what string) []byte {
	if r.err != nil {
		return nil
	}
	if n > len(r.b)-r.off {
		r.err = &Error{Step: StepQuote, What: fmt.Sprintf("ends within the %s at offset %d", what, r.off),
			Want: fmt.Sprintf("%d bytes", n), Got: fmt.Sprintf("%d bytes", len(r.b)-r.off), Hint: "the quote was cut off; fetch it again"}
		return nil
	}
	r.off += n
	return r.b[r.off-n : r.off]
}

func (r *bytesReader) u16(what string) int {
	if b := r.next(2, what); b != nil {
		return int(le.Uint16(b))
	}
	return 0
}

// length reads a 32-bit length, which may not exceed what is left.
func (r *bytesReader) length(what string) int {
	b := r.next(4, what)
	if b == nil {
		return 0
	}
	n := le.Uint32(b)
	if uint64(n) > uint64(len(r.b)-r.off) {
		r.err = &Error{Step: StepQuote, What: fmt.Sprintf("%s at offset %d", what, r.off-4),
			Want: fmt.Sprintf("at most %d bytes", len(r.b)-r.off), Got: fmt.Sprint(n), Hint: "the quote was cut off; fetch it again"}
		return 0
	}
	return int(n)
}

// ParseQuote reads a quote version 3 (SGX) or 4 (SGX, TDX) with an ECDSA
// P-256 signature. The error is an *Error of StepQuote. The bytes are read to
// the last; only zeros may follow the quote.
func ParseQuote(b []byte) (*Quote, error) {
	q, err := parseQuote(b)
	if err != nil {
		return nil, err
	}
	return q, nil
}

func parseQuote(b []byte) (*Quote, *Error) {
	r := &bytesReader{b: b}
	h := r.next(quoteHeaderSize, "header")
	if h == nil {
		return nil, r.err
	}
	q := &Quote{
		Version: le.Uint16(h), TEE: TEE(le.Uint32(h[4:])), QESVN: le.Uint16(h[8:]), PCESVN: le.Uint16(h[10:]),
		QEVendorID: [16]byte(h[12:28]), UserData: [20]byte(h[28:48]),
	}
	if err := q.checkHeader(le.Uint16(h[2:])); err != nil {
		return nil, err
	}
	if err := q.parseBody(r); err != nil {
		return nil, err
	}
	sigLen := r.length("length of the signature part")
	end := r.off + sigLen
	sig := &bytesReader{b: b[:end], off: r.off, err: r.err}
	if err := q.parseSignature(sig); err != nil {
		return nil, err
	}
	for i, c := range b[end:] {
		if c != 0 {
			return nil, &Error{Step: StepQuote, What: "bytes behind the quote", Want: "none, or zeros",
				Got: fmt.Sprintf("%#02x at offset %d", c, end+i), Hint: "hand in the quote alone"}
		}
	}
	if q.Padding = len(b) - end; q.Padding > maxQuotePadding {
		return nil, &Error{Step: StepQuote, What: "zeros behind the quote", Want: fmt.Sprintf("at most %d", maxQuotePadding),
			Got: fmt.Sprint(q.Padding), Hint: "hand in the quote alone"}
	}
	return q, nil
}

// checkHeader refuses what we cannot read, by name.
func (q *Quote) checkHeader(keyType uint16) *Error {
	e := func(what, want, got, hint string) *Error {
		return &Error{Step: StepQuote, What: what, Want: want, Got: got, Hint: hint}
	}
	switch {
	case q.Version == 1 && keyType == 0:
		return e("version", "3 or 4", "1 (an Open Enclave report, or an EPID quote)",
			"strip the 16-byte report header of Open Enclave and EGo first; EPID is retired")
	case q.Version == 2:
		return e("version", "3 or 4", "2 (EPID)", "EPID attestation is retired; ask for an ECDSA (DCAP) quote")
	case q.Version == 5:
		return e("version", "3 or 4", "5", "quote version 5 (TDX 1.5 and later) is not read; ask the quoting service for version 4")
	case q.Version != 3 && q.Version != 4:
		return e("version", "3 or 4", fmt.Sprint(q.Version), "these bytes are no DCAP quote")
	case keyType == 3:
		return e("attestation key type", "2 (ECDSA P-256)", "3 (ECDSA P-384)", "ask the quoting service for a P-256 quote")
	case keyType != attKeyECDSAP256:
		return e("attestation key type", "2 (ECDSA P-256)", fmt.Sprint(keyType), "these bytes are no DCAP ECDSA quote")
	case q.Version == 3 && q.TEE != SGX:
		return e("reserved bytes 4..7 of version 3", "0", fmt.Sprintf("%#x", uint32(q.TEE)), "these bytes are no DCAP quote")
	case q.TEE != SGX && q.TEE != TDX:
		return e("TEE type", "0 (SGX) or 0x81 (TDX)", fmt.Sprintf("%#x", uint32(q.TEE)), "these bytes are no DCAP quote")
	}
	return nil
}

func (q *Quote) parseBody(r *bytesReader) *Error {
	if q.TEE == TDX {
		if b := r.next(TDReportSize, "TD report"); b != nil {
			q.TD = parseTDReport([TDReportSize]byte(b))
		}
		return r.err
	}
	b := r.next(sgxBodySize, "report")
	if b == nil {
		return r.err
	}
	var err error
	if q.Report, err = sgx.ParseReportBody(b); err != nil {
		return &Error{Step: StepQuote, What: "report", Err: err}
	}
	return nil
}

// parseSignature reads the signature part to its last byte.
func (q *Quote) parseSignature(r *bytesReader) *Error {
	if b := r.next(ecdsaPartSize, "signature"); b != nil {
		q.Signature, q.AttestationKey = [64]byte(b[:64]), [64]byte(b[64:])
	}
	if q.Version >= 4 {
		if t := uint16(r.u16("type of the certification data")); r.err == nil && t != CertQEReport {
			return &Error{Step: StepQuote, What: "outer certification data of version 4", Want: certName(CertQEReport), Got: certName(t)}
		}
		n := r.length("length of the QE report certification data")
		if r.err == nil && n != len(r.b)-r.off {
			return &Error{Step: StepQuote, What: "length of the QE report certification data",
				Want: fmt.Sprint(len(r.b) - r.off), Got: fmt.Sprint(n)}
		}
	}
	if b := r.next(sgx.ReportBodySize, "QE report"); b != nil {
		qe, err := sgx.ParseReportBody(b)
		if err != nil {
			return &Error{Step: StepQuote, What: "QE report", Err: err}
		}
		q.QEReport = *qe
	}
	if b := r.next(64, "QE report signature"); b != nil {
		q.QEReportSignature = [64]byte(b)
	}
	q.QEAuthData = append([]byte(nil), r.next(r.u16("length of the QE authentication data"), "QE authentication data")...)
	q.CertType = uint16(r.u16("type of the certification data"))
	q.CertData = append([]byte(nil), r.next(r.length("length of the certification data"), "certification data")...)
	if r.err == nil && r.off != len(r.b) {
		return &Error{Step: StepQuote, What: "bytes left in the signature part", Want: "0", Got: fmt.Sprint(len(r.b) - r.off)}
	}
	return r.err
}

// SignedBytes returns what the attestation key signs: header and report.
func (q *Quote) SignedBytes() []byte {
	b := make([]byte, quoteHeaderSize, quoteHeaderSize+TDReportSize)
	le.PutUint16(b, q.Version)
	le.PutUint16(b[2:], attKeyECDSAP256)
	le.PutUint32(b[4:], uint32(q.TEE))
	le.PutUint16(b[8:], q.QESVN)
	le.PutUint16(b[10:], q.PCESVN)
	copy(b[12:], q.QEVendorID[:])
	copy(b[28:], q.UserData[:])
	switch {
	case q.TD != nil:
		b = q.TD.append(b)
	case q.Report != nil:
		b, _ = q.Report.AppendBinary(b) // its error is always nil
	}
	return b
}

// AppendBinary appends the quote to dst. It is an error if the quote has not
// exactly the report of its TEE, or parts that are too long for the format.
func (q *Quote) AppendBinary(dst []byte) ([]byte, error) {
	if (q.TEE == TDX) != (q.TD != nil) || (q.TEE == SGX) != (q.Report != nil) {
		return dst, fmt.Errorf("attest: quote of %v without its report, or with the other's", q.TEE)
	}
	if len(q.QEAuthData) > 0xffff || len(q.CertData) > 1<<24 {
		return dst, fmt.Errorf("attest: %d bytes of authentication data, %d of certification data: too long", len(q.QEAuthData), len(q.CertData))
	}
	inner, _ := q.QEReport.AppendBinary(nil)
	inner = append(inner, q.QEReportSignature[:]...)
	inner = append(le.AppendUint16(inner, uint16(len(q.QEAuthData))), q.QEAuthData...)
	inner = le.AppendUint32(le.AppendUint16(inner, q.CertType), uint32(len(q.CertData)))
	inner = append(inner, q.CertData...)
	size := ecdsaPartSize + len(inner)
	if q.Version >= 4 {
		size += 6
	}
	dst = append(dst, q.SignedBytes()...)
	dst = le.AppendUint32(dst, uint32(size))
	dst = append(append(dst, q.Signature[:]...), q.AttestationKey[:]...)
	if q.Version >= 4 {
		dst = le.AppendUint32(le.AppendUint16(dst, CertQEReport), uint32(len(inner)))
	}
	dst = append(dst, inner...)
	return append(dst, make([]byte, q.Padding)...), nil
}

// ReportData returns the 64 bytes that the enclave or TD chose.
func (q *Quote) ReportData() [64]byte {
	if q.TD != nil {
		return q.TD.ReportData
	}
	return q.Report.ReportData
}

// Debug says whether a debugger may read and write the enclave or TD, which
// makes everything that it says worthless.
func (q *Quote) Debug() bool {
	if q.TD != nil {
		return q.TD.TDAttributes&tdAttrTUD != 0
	}
	return q.Report.Attributes.Flags&sgx.AttrDebug != 0
}

// tdAttrTUD are the bits of TDATTRIBUTES that make a TD untrusted: DEBUG and
// the seven bits reserved for the same purpose.
const tdAttrTUD = 0xff

// TDReportSize is the size of a TDReport in bytes.
const TDReportSize = 584

// TDReport is the body of a TDX quote version 4 (TD report of TDX 1.0).
//
//	0   16  TEE_TCB_SVN
//	16  48  MRSEAM
//	64  48  MRSIGNERSEAM
//	112  8  SEAMATTRIBUTES
//	120  8  TDATTRIBUTES
//	128  8  XFAM
//	136 48  MRTD
//	184 48  MRCONFIGID
//	232 48  MROWNER
//	280 48  MROWNERCONFIG
//	328 192 RTMR0..RTMR3
//	520 64  REPORTDATA
type TDReport struct {
	TEETCBSVN      [16]byte // [0] is the TDX module's SVN, [1] its major version
	MRSEAM         [48]byte
	MRSignerSEAM   [48]byte
	SEAMAttributes [8]byte
	TDAttributes   uint64
	XFAM           uint64
	MRTD           [48]byte
	MRConfigID     [48]byte
	MROwner        [48]byte
	MROwnerConfig  [48]byte
	RTMR           [4][48]byte
	ReportData     [64]byte
}

func parseTDReport(b [TDReportSize]byte) *TDReport {
	t := &TDReport{
		TEETCBSVN: [16]byte(b[:16]), MRSEAM: [48]byte(b[16:64]), MRSignerSEAM: [48]byte(b[64:112]), SEAMAttributes: [8]byte(b[112:120]),
		TDAttributes: le.Uint64(b[120:]), XFAM: le.Uint64(b[128:]), MRTD: [48]byte(b[136:184]), MRConfigID: [48]byte(b[184:232]),
		MROwner: [48]byte(b[232:280]), MROwnerConfig: [48]byte(b[280:328]), ReportData: [64]byte(b[520:584]),
	}
	for i := range t.RTMR {
		t.RTMR[i] = [48]byte(b[328+48*i:])
	}
	return t
}

func (t *TDReport) append(dst []byte) []byte {
	dst = append(dst, t.TEETCBSVN[:]...)
	dst = append(dst, t.MRSEAM[:]...)
	dst = append(dst, t.MRSignerSEAM[:]...)
	dst = append(dst, t.SEAMAttributes[:]...)
	dst = le.AppendUint64(le.AppendUint64(dst, t.TDAttributes), t.XFAM)
	for _, m := range [][48]byte{t.MRTD, t.MRConfigID, t.MROwner, t.MROwnerConfig, t.RTMR[0], t.RTMR[1], t.RTMR[2], t.RTMR[3]} {
		dst = append(dst, m[:]...)
	}
	return append(dst, t.ReportData[:]...)
}
