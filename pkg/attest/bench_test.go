package attest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/attest/attesttest"
)

// subject is a quote to measure with: a real one, if the folder of real quotes
// is there, else a minted one, whose documents are shorter.
type subject struct {
	quote []byte
	coll  *attest.Collateral
	roots *attest.Roots
	now   time.Time
}

func benchSubject(b *testing.B) *subject {
	b.Helper()
	dir := os.Getenv("EOS_VECTORS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "vectors")
	}
	dir = filepath.Join(dir, "quotes", "phala-sgx")
	quote, err := os.ReadFile(filepath.Join(dir, "sgx_quote"))
	if err != nil {
		p := attesttest.New(b)
		e := p.Mint()
		return &subject{e.Quote, e.Collateral, p.Roots(), attesttest.Now}
	}
	text, err := os.ReadFile(filepath.Join(dir, "sgx_quote_collateral.json"))
	if err != nil {
		b.Fatal(err)
	}
	c, err := attest.ParseCollateral(text)
	if err != nil {
		b.Fatal(err)
	}
	return &subject{quote, c, attest.IntelRoots(), time.Date(2025, 6, 20, 0, 0, 0, 0, time.UTC)}
}

func (s *subject) verifier() *attest.Verifier {
	return &attest.Verifier{Roots: s.roots, Now: func() time.Time { return s.now }}
}

// The verification of a quote of a platform never seen before, with
// collateral never seen before.
func BenchmarkVerifyCold(b *testing.B) {
	s := benchSubject(b)
	for b.Loop() {
		if _, err := s.verifier().Verify(s.quote, s.coll); err != nil {
			b.Fatal(err)
		}
	}
}

// A further quote of a platform that was verified before.
func BenchmarkVerifyWarm(b *testing.B) {
	s := benchSubject(b)
	v := s.verifier()
	for b.Loop() {
		if _, err := v.Verify(s.quote, s.coll); err != nil {
			b.Fatal(err)
		}
	}
}

// The signature checks of BenchmarkVerifyCold and nothing else.
func BenchmarkSignatureChecks(b *testing.B) {
	check := signatureChecks(b, benchSubject(b))
	for b.Loop() {
		check()
	}
}

// The two side by side: how many times the cost of its signature checks a
// cold verification has, from the fastest round of each.
func BenchmarkVerifyColdRatio(b *testing.B) {
	s := benchSubject(b)
	check := signatureChecks(b, s)
	cold, bare := time.Hour, time.Hour
	for b.Loop() {
		t0 := time.Now()
		check()
		t1 := time.Now()
		if _, err := s.verifier().Verify(s.quote, s.coll); err != nil {
			b.Fatal(err)
		}
		bare, cold = min(bare, t1.Sub(t0)), min(cold, time.Since(t1))
	}
	b.ReportMetric(float64(cold)/float64(bare), "x-signatures")
}

// signatureChecks returns a function that does the ten: three of the PCK
// chain, one more of the signing certificate, two texts, two CRLs, QE report
// and quote.
func signatureChecks(b *testing.B, s *subject) func() {
	r, err := s.verifier().Verify(s.quote, s.coll)
	if err != nil {
		b.Fatal(err)
	}
	type check struct {
		key      *ecdsa.PublicKey
		sum, sig []byte
	}
	var checks []check
	add := func(key any, msg, sig []byte) {
		sum := sha256.Sum256(msg)
		checks = append(checks, check{key.(*ecdsa.PublicKey), sum[:], sig})
	}
	raw := func(key any, msg []byte, sig [64]byte) {
		der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])})
		if err != nil {
			b.Fatal(err)
		}
		add(key, msg, der)
	}
	leaf, ca, root := r.Chain[0], r.Chain[1], r.Chain[2]
	block, _ := pem.Decode(s.coll.TCBInfoChain)
	signing, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		b.Fatal(err)
	}
	for _, p := range [][2]*x509.Certificate{{leaf, ca}, {ca, root}, {root, root}, {signing, root}} {
		add(p[1].PublicKey, p[0].RawTBSCertificate, p[0].Signature)
	}
	pckCRL, err := x509.ParseRevocationList(s.coll.PCKCRL)
	if err != nil {
		b.Fatal(err)
	}
	rootCRL, err := x509.ParseRevocationList(s.coll.RootCRL)
	if err != nil {
		b.Fatal(err)
	}
	add(ca.PublicKey, pckCRL.RawTBSRevocationList, pckCRL.Signature)
	add(root.PublicKey, rootCRL.RawTBSRevocationList, rootCRL.Signature)
	raw(signing.PublicKey, s.coll.TCBInfo.Body, s.coll.TCBInfo.Signature)
	raw(signing.PublicKey, s.coll.QEIdentity.Body, s.coll.QEIdentity.Signature)
	qe, _ := r.Quote.QEReport.AppendBinary(nil) // its error is always nil
	raw(leaf.PublicKey, qe, r.Quote.QEReportSignature)
	ak, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, r.Quote.AttestationKey[:]...))
	if err != nil {
		b.Fatal(err)
	}
	raw(ak, r.Quote.SignedBytes(), r.Quote.Signature)
	return func() {
		for _, c := range checks {
			if !ecdsa.VerifyASN1(c.key, c.sum, c.sig) {
				b.Fatal("a signature does not match")
			}
		}
	}
}
