// Package issue makes what Intel makes for attestation, with keys of one's own:
// a hierarchy of certificates (root, PCK platform CA, TCB signing, PCK leaves
// with the SGX extensions), TCB info version 3, QE identity version 2, CRLs and
// signed quotes of versions 3 and 4. Forms are those of Intel's own documents,
// so that a verifier has one path for all roots.
//
// It is for the software platform, which is no protection, and for tests. A
// verifier that pins Intel's root refuses all of it.
//
// The package does not use the verifier's code: what both misunderstand in the
// same way no test would find.
package issue

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
)

// NewKey makes a P-256 key.
func NewKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// signRaw signs message with SHA-256 and returns r and s, 32 bytes each, big
// endian: the form of signatures in quotes and documents.
func signRaw(key *ecdsa.PrivateKey, message []byte) ([]byte, error) {
	digest := sha256.Sum256(message)
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return nil, err
	}
	out := make([]byte, 64)
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out, nil
}

// rawPublic is x and y of a P-256 key, 32 bytes each, big endian: the form of
// the attestation key in a quote.
func rawPublic(key *ecdsa.PublicKey) ([]byte, error) {
	b, err := key.Bytes() // 4, x, y
	if err != nil {
		return nil, err
	}
	return b[1:], nil
}
