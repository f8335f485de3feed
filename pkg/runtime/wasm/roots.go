package wasm

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"hash"
	"sync"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// authorities are the certificate authorities that https_fetch believes. What the host
// has in its file system does not matter.
type authorities struct {
	pool *x509.CertPool
	// hash is SHA-256 over, for each authority in order, the length of its
	// certificate (u32 big-endian) and the certificate in DER.
	hash [32]byte
}

// newAuthorities are these, which the runtime has sealed at its first start; those of
// the runtime if there are none.
func newAuthorities(cas []*x509.Certificate) *authorities {
	if cas == nil {
		return mozillas()
	}
	a, h := &authorities{pool: x509.NewCertPool()}, sha256.New()
	for _, c := range cas {
		a.pool.AddCert(c)
		hashAuthority(h, c.Raw)
	}
	h.Sum(a.hash[:0])
	return a
}

// mozillas are Mozilla's as they were when the runtime was built: part of the measured
// code.
var mozillas = sync.OnceValue(func() *authorities {
	a, h := &authorities{pool: x509.NewCertPool()}, sha256.New()
	for r := range bundle.Roots() {
		hashAuthority(h, r.Certificate)
		c, err := x509.ParseCertificate(r.Certificate)
		if err != nil {
			continue // one authority less
		}
		if r.Constraint != nil {
			a.pool.AddCertWithConstraint(c, r.Constraint)
		} else {
			a.pool.AddCert(c)
		}
	}
	h.Sum(a.hash[:0])
	return a
})

func hashAuthority(h hash.Hash, der []byte) {
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(der))))
	h.Write(der)
}
