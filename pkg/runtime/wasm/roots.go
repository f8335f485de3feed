package wasm

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"sync"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// roots are the certificate authorities that https_fetch believes: Mozilla's, as they
// were when the runtime was built. They are part of the measured code; what the host
// has in its file system does not matter.
var roots = sync.OnceValue(func() *x509.CertPool {
	pool := x509.NewCertPool()
	for r := range bundle.Roots() {
		c, err := x509.ParseCertificate(r.Certificate)
		if err != nil {
			continue // one authority less
		}
		if r.Constraint != nil {
			pool.AddCertWithConstraint(c, r.Constraint)
		} else {
			pool.AddCert(c)
		}
	}
	return pool
})

// rootsHash is SHA-256 over, for each authority in the order of the bundle, the length of
// its certificate (u32 big-endian) and the certificate in DER.
var rootsHash = sync.OnceValue(func() (sum [32]byte) {
	h := sha256.New()
	for r := range bundle.Roots() {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(r.Certificate))))
		h.Write(r.Certificate)
	}
	h.Sum(sum[:0])
	return sum
})
