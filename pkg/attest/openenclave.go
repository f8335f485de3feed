package attest

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"fmt"
)

// OEHeaderSize is the size of the header that Open Enclave and EGo put before
// a report or quote.
//
//	0  4  version   1
//	4  4  type      1 local (a REPORT), 2 remote (a quote)
//	8  8  length of what follows
const OEHeaderSize = 16

// OEType says what follows the header.
type OEType uint32

// The types.
const (
	OELocal  OEType = 1
	OERemote OEType = 2
)

// OIDOpenEnclave is the certificate extension in which Open Enclave and EGo
// carry a quote behind its header. The value is these raw bytes.
var OIDOpenEnclave = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 105, 1}

// IsOEReport says whether b begins with an Open Enclave header. No quote does.
func IsOEReport(b []byte) bool {
	return len(b) >= OEHeaderSize && le.Uint32(b) == 1 && (OEType(le.Uint32(b[4:])) == OELocal || OEType(le.Uint32(b[4:])) == OERemote)
}

// ParseOEReport takes the header off. The report or quote behind it is not
// looked into; it must be exactly as long as the header says.
func ParseOEReport(b []byte) (t OEType, content []byte, err error) {
	e := func(what, want, got string) *Error {
		return &Error{Step: StepQuote, What: what + " of the Open Enclave header", Want: want, Got: got}
	}
	if len(b) < OEHeaderSize {
		return 0, nil, e("length", fmt.Sprintf("%d bytes", OEHeaderSize), fmt.Sprint(len(b)))
	}
	if v := le.Uint32(b); v != 1 {
		return 0, nil, e("version", "1", fmt.Sprint(v))
	}
	if t = OEType(le.Uint32(b[4:])); t != OELocal && t != OERemote {
		return 0, nil, e("report type", "1 (local) or 2 (remote)", fmt.Sprint(uint32(t)))
	}
	if n := le.Uint64(b[8:]); n != uint64(len(b)-OEHeaderSize) {
		return 0, nil, e("report size", fmt.Sprint(len(b)-OEHeaderSize), fmt.Sprint(n))
	}
	return t, b[OEHeaderSize:], nil
}

// AppendOEReport appends the header and content to dst.
func AppendOEReport(dst []byte, t OEType, content []byte) []byte {
	dst = le.AppendUint32(le.AppendUint32(dst, 1), uint32(t))
	return append(le.AppendUint64(dst, uint64(len(content))), content...)
}

// OEExtension returns the extension that carries a quote in a certificate.
func OEExtension(quote []byte) pkix.Extension {
	return pkix.Extension{Id: OIDOpenEnclave, Value: AppendOEReport(nil, OERemote, quote)}
}

// EGoReportData returns the report data that binds a quote to a public key as
// EGo does: SHA-256 of the SPKI, then zeros.
func EGoReportData(spki []byte) (data [64]byte) {
	sum := sha256.Sum256(spki)
	copy(data[:], sum[:])
	return data
}

// OpenEnclaveReportData returns the report data that binds a quote to a public
// key as Open Enclave does: SHA-256 of the SPKI in PEM and a zero byte, then
// zeros.
func OpenEnclaveReportData(spki []byte) (data [64]byte) {
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
	sum := sha256.Sum256(append(text, 0))
	copy(data[:], sum[:])
	return data
}

// QuoteOfOECertificate returns the quote in a certificate of Open Enclave or
// EGo, after checking that the quote's report data binds the certificate's
// key in the form of either. Verify the quote then; the binding alone says
// nothing. Errors are an *Error of StepQuote or StepBinding.
func QuoteOfOECertificate(cert *x509.Certificate) ([]byte, error) {
	var value []byte
	for _, x := range cert.Extensions { // x509 refuses one that comes twice
		if x.Id.Equal(OIDOpenEnclave) {
			value = x.Value
		}
	}
	if value == nil {
		return nil, &Error{Step: StepQuote, What: "no extension " + OIDOpenEnclave.String() + " in the certificate", Want: "one", Got: "none"}
	}
	t, quote, err := ParseOEReport(value)
	if err != nil {
		return nil, err
	}
	if t != OERemote {
		return nil, &Error{Step: StepQuote, What: "report type", Want: "2 (remote)", Got: "1 (local)", Hint: "only a quote can be verified on another machine"}
	}
	q, err := ParseQuote(quote)
	if err != nil {
		return nil, err
	}
	data, ego := q.ReportData(), EGoReportData(cert.RawSubjectPublicKeyInfo)
	if oe := OpenEnclaveReportData(cert.RawSubjectPublicKeyInfo); data != ego && data != oe {
		return nil, &Error{Step: StepBinding, What: "report data", Want: hex.EncodeToString(ego[:32]) + " (EGo) or " + hex.EncodeToString(oe[:32]) + " (Open Enclave)",
			Got: hex.EncodeToString(data[:]), Hint: "the quote is of another key: it was taken from another certificate"}
	}
	return bytes.Clone(quote), nil
}
