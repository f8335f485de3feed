package ratls

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"

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
		got := q.Report
		switch {
		case got != nil && got.ReportData == d.ReportData():
		case q.TD != nil && q.TD.ReportData == d.ReportData():
		default:
			want := d.ReportData()
			return nil, &attest.Error{Step: StepBinding, What: "the quote is not about the claims next to it", Want: fmt.Sprintf("report data %x", want)}
		}
		return d, nil
	}
	return nil, &attest.Error{Step: StepEvidence, What: "the certificate has no DICE evidence", Want: OIDDICE.String()}
}
