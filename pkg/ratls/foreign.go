package ratls

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"

	"github.com/enclaveos/eos/pkg/attest"
)

// Identifiers under which other implementations put evidence. The first comes from an
// encoder that was given an encoded identifier.
var (
	oidGramine = asn1.ObjectIdentifier{0, 6, 9, 42, 840, 113741, 1337, 6}
	oidSDK     = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}
)

// formatOf names the form of the evidence in an extension, or is "" for none.
func formatOf(e pkix.Extension) string {
	switch {
	case e.Id.Equal(OIDDICE):
		return "DICE evidence (" + OIDDICE.String() + ", as Gramine, the Intel SGX SDK and RATS-TLS have it)"
	case e.Id.Equal(OIDTDXQuote):
		return "a TDX quote (" + OIDTDXQuote.String() + ")"
	case e.Id.Equal(oidGramine):
		return "Gramine's old form (" + oidGramine.String() + ")"
	case e.Id.Equal(oidSDK):
		return "the Intel SGX SDK's old form (" + oidSDK.String() + ")"
	}
	return ""
}

// DICEOf reads the evidence of the form DICE in a certificate, and checks that it is
// about the certificate's key and that its quote has the report data that makes it so.
// The quote's signature and origin are not checked: package attest does that. It is for
// certificates of other implementations, at rest: nothing is known about a session.
func DICEOf(cert *x509.Certificate) (*DICE, error) {
	for _, e := range cert.Extensions {
		if !e.Id.Equal(OIDDICE) {
			continue
		}
		d, err := ParseDICE(e.Value)
		if err != nil {
			return nil, err
		}
		if err := d.CheckKey(cert.RawSubjectPublicKeyInfo); err != nil {
			return nil, err
		}
		q, err := attest.ParseQuote(d.Quote)
		if err != nil {
			return nil, err
		}
		if got, want := q.ReportData(), d.ReportData(); got != want {
			return nil, &attest.Error{
				Step: StepBinding, What: "the quote is not about the claims next to it", Want: hex.EncodeToString(want[:]), Got: hex.EncodeToString(got[:]),
			}
		}
		return d, nil
	}
	return nil, &attest.Error{Step: StepEvidence, What: "the certificate has no DICE evidence", Want: OIDDICE.String()}
}

// GramineQuoteOf reads the quote in Gramine's old form, and checks that its report data is
// SHA-256 of the certificate's key (SubjectPublicKeyInfo in DER), then zeros. As with
// DICEOf, the quote itself is not verified.
func GramineQuoteOf(cert *x509.Certificate) ([]byte, error) {
	for _, e := range cert.Extensions {
		if !e.Id.Equal(oidGramine) {
			continue
		}
		q, err := attest.ParseQuote(e.Value)
		if err != nil {
			return nil, err
		}
		var want [64]byte
		key := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
		copy(want[:], key[:])
		if got := q.ReportData(); got != want {
			return nil, &attest.Error{
				Step: StepBinding, What: "the quote is about another key", Want: hex.EncodeToString(want[:]), Got: hex.EncodeToString(got[:]),
			}
		}
		return e.Value, nil
	}
	return nil, &attest.Error{Step: StepEvidence, What: "the certificate has no evidence in Gramine's old form", Want: oidGramine.String()}
}
