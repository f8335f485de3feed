package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/attest/attesttest"
)

// signaturesOfQuote is how many signatures are checked for a quote with everything
// that belongs to it: three of the PCK's chain, one of the collateral's signer, two
// documents, two revocation lists, the quoting enclave's report, and the quote.
const signaturesOfQuote = 10

// attestRows verify quotes.
func attestRows() []row {
	mint := func(b *testing.B) (*attest.Verifier, *attesttest.Evidence) {
		p := attesttest.New(b)
		return &attest.Verifier{Roots: p.Roots(), Now: func() time.Time { return attesttest.Now }}, p.Mint()
	}
	verify := func(b *testing.B, v *attest.Verifier, e *attesttest.Evidence) {
		if _, err := v.Verify(e.Quote, e.Collateral); err != nil {
			b.Fatal(err)
		}
	}
	signatures := func(n int) side {
		return side{name: map[int]string{1: "one ECDSA verification", signaturesOfQuote: "its ten ECDSA verifications"}[n], run: func(b *testing.B) {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			check(err)
			digest := sha256.Sum256([]byte("a quote"))
			sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
			check(err)
			for b.Loop() {
				for range n {
					if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], sig) {
						b.Fatal("bad signature")
					}
				}
			}
		}}
	}
	return []row{
		{"verify a quote, first of its platform", side{name: "eos", run: func(b *testing.B) {
			v, e := mint(b)
			for b.Loop() {
				verify(b, &attest.Verifier{Roots: v.Roots, Now: v.Now}, e)
			}
		}}, signatures(signaturesOfQuote), "time ≤ 1.2"},
		{"verify a further quote", side{name: "eos", run: func(b *testing.B) {
			v, e := mint(b)
			for b.Loop() {
				verify(b, v, e)
			}
		}}, signatures(1), "≤ 200 µs"},
	}
}
