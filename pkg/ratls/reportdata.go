package ratls

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"time"

	"github.com/enclaveos/eos/pkg/sgx"
)

// minuteLayout is the text of a time in report data: UTC, to the minute.
const minuteLayout = "2006-01-02T15:04Z"

// QuoteTime is the text of t, "YYYY-MM-DDTHH:MMZ" in UTC, that deterministic report
// data has in it.
func QuoteTime(t time.Time) string { return t.UTC().Format(minuteLayout) }

// ParseQuoteTime is the inverse of QuoteTime.
func ParseQuoteTime(s string) (time.Time, error) {
	t, err := time.Parse(minuteLayout, s)
	if err != nil || QuoteTime(t) != s {
		return time.Time{}, fmt.Errorf("ratls: quote time %.32q is not of the form YYYY-MM-DDTHH:MMZ", s)
	}
	return t, nil
}

// reportData is the rule all report data follows:
//
//	SHA-512( SHA-256(SPKI DER) || binding )
//
// spki is the SubjectPublicKeyInfo of the key that the quote vouches for, in DER. What
// the binding is depends on the step: see DeterministicReportData, SessionReportData.
func reportData(spki []byte, binding ...[]byte) (rd [sgx.ReportDataSize]byte) {
	h := sha512.New()
	key := sha256.Sum256(spki)
	h.Write(key[:])
	for _, b := range binding {
		h.Write(b)
	}
	h.Sum(rd[:0])
	return rd
}

// DeterministicReportData is the report data of a quote in a leaf: the binding is the
// ASCII text of the certificate's NotBefore, to the minute. A deterministic answer to
// the session step has the same, with quote_time for NotBefore.
func DeterministicReportData(spki []byte, notBefore time.Time) [sgx.ReportDataSize]byte {
	return reportData(spki, []byte(QuoteTime(notBefore)))
}

// SessionReportData is the report data of a quote that is bound to one TLS session: the
// binding is the challenger's 32 bytes of context, and then what the exporter of the
// session makes of them.
func SessionReportData(spki []byte, context, exported [32]byte) [sgx.ReportDataSize]byte {
	return reportData(spki, context[:], exported[:])
}
