package main

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"testing"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sign"
)

// signRows sign and verify a SIGSTRUCT beside the bare RSA operation.
func signRows() []row {
	key := sign.DebugKey()
	s, err := sign.Dummy(sgx.Measurement{1}, sgx.XFRMLegacy)
	check(err)
	digest := sha256.Sum256(s.SignedBytes())
	raw, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	check(err)
	loop := func(f func() error) func(*testing.B) {
		return func(b *testing.B) {
			for b.Loop() {
				check(f())
			}
		}
	}
	return []row{
		{"sign a SIGSTRUCT", side{name: "eos", run: loop(func() error { return sign.Sign(s, key) })},
			side{name: "bare RSA-3072 signature", run: loop(func() error {
				_, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
				return err
			})}, ""},
		{"verify a SIGSTRUCT", side{name: "eos", run: loop(func() error { return sign.Verify(s) })},
			side{name: "bare RSA-3072 verification", run: loop(func() error {
				return rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest[:], raw)
			})}, ""},
	}
}
