package attest

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"testing"
	"time"
)

// The verification of a quote of a platform never seen before, with
// collateral never seen before.
func BenchmarkVerifyCold(b *testing.B) {
	quote, c := phala(b, "sgx")
	for b.Loop() {
		if _, err := intel("2025-07-01T00:00:00Z").Verify(quote, c); err != nil {
			b.Fatal(err)
		}
	}
}

// A further quote of a platform that was verified before.
func BenchmarkVerifyWarm(b *testing.B) {
	quote, c := phala(b, "sgx")
	v := intel("2025-07-01T00:00:00Z")
	for b.Loop() {
		if _, err := v.Verify(quote, c); err != nil {
			b.Fatal(err)
		}
	}
}

// The signature checks of BenchmarkVerifyCold and nothing else: three of the
// PCK chain, one more of the signing certificate, two texts, two CRLs, QE
// report and quote.
func BenchmarkSignatureChecks(b *testing.B) {
	check := signatureChecks(b)
	for b.Loop() {
		check()
	}
}

// The two side by side: how many times the cost of its signature checks a
// cold verification has, from the fastest round of each.
func BenchmarkVerifyColdRatio(b *testing.B) {
	quote, c := phala(b, "sgx")
	check := signatureChecks(b)
	cold, bare := time.Hour, time.Hour
	for b.Loop() {
		t0 := time.Now()
		check()
		t1 := time.Now()
		if _, err := intel("2025-07-01T00:00:00Z").Verify(quote, c); err != nil {
			b.Fatal(err)
		}
		bare, cold = min(bare, t1.Sub(t0)), min(cold, time.Since(t1))
	}
	b.ReportMetric(float64(cold)/float64(bare), "x-signatures")
}

func signatureChecks(b *testing.B) func() {
	quote, c := phala(b, "sgx")
	r, err := intel("2025-07-01T00:00:00Z").Verify(quote, c)
	if err != nil {
		b.Fatal(err)
	}
	s := &scene{roots: IntelRoots()}
	signing, err := s.parsePEM(c.TCBInfoChain)
	if err != nil {
		b.Fatal(err)
	}
	leaf, ca, root := r.Chain[0], r.Chain[1], r.Chain[2]
	type check struct {
		key      *ecdsa.PublicKey
		sum, sig []byte
	}
	var checks []check
	add := func(by *x509.Certificate, msg, sig []byte) {
		sum := sha256.Sum256(msg)
		checks = append(checks, check{by.PublicKey.(*ecdsa.PublicKey), sum[:], sig})
	}
	raw := func(key *ecdsa.PublicKey, msg []byte, sig *[64]byte) {
		sum := sha256.Sum256(msg)
		checks = append(checks, check{key, sum[:], derSignature(sig)})
	}
	for _, p := range [][2]*x509.Certificate{{leaf, ca}, {ca, root}, {root, root}, {signing[0], root}} {
		add(p[1], p[0].RawTBSCertificate, p[0].Signature)
	}
	pckCRL, _ := x509.ParseRevocationList(c.PCKCRL)
	rootCRL, _ := x509.ParseRevocationList(c.RootCRL)
	add(ca, pckCRL.RawTBSRevocationList, pckCRL.Signature)
	add(root, rootCRL.RawTBSRevocationList, rootCRL.Signature)
	raw(signing[0].PublicKey.(*ecdsa.PublicKey), c.TCBInfo.Body, &c.TCBInfo.Signature)
	raw(signing[0].PublicKey.(*ecdsa.PublicKey), c.QEIdentity.Body, &c.QEIdentity.Signature)
	qe, _ := r.Quote.QEReport.AppendBinary(nil)
	raw(leaf.PublicKey.(*ecdsa.PublicKey), qe, &r.Quote.QEReportSignature)
	ak, err := parseRawKey(&r.Quote.AttestationKey)
	if err != nil {
		b.Fatal(err)
	}
	raw(ak, r.Quote.SignedBytes(), &r.Quote.Signature)
	return func() {
		for _, c := range checks {
			if !ecdsa.VerifyASN1(c.key, c.sum, c.sig) {
				b.Fatal("a signature does not match")
			}
		}
	}
}
