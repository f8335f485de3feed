package attest

import (
	"crypto/sha256"
	"crypto/x509"
)

// Roots are the keys that a chain may end in. A root is pinned by its key
// (SHA-256 of the SPKI), not by its certificate: Intel's has two editions.
// The zero value trusts nothing.
type Roots struct{ pins []pin }

type pin struct {
	name string
	spki [32]byte
	cert *x509.Certificate
}

// IntelRootName is Result.Root of a chain that ends in Intel's root.
const IntelRootName = "Intel SGX Root CA"

// intelSPKI is the SHA-256 of the SPKI of Intel SGX Root CA.
var intelSPKI = [32]byte{
	0xa0, 0xaf, 0x03, 0x12, 0x89, 0xf5, 0xd5, 0xd4, 0x13, 0x2f, 0x91, 0x86, 0x06, 0x8a, 0x7f, 0xc1,
	0x36, 0x28, 0x63, 0x3b, 0xa2, 0x35, 0x77, 0x74, 0x72, 0xe2, 0x9b, 0x6b, 0x6c, 0x67, 0xa4, 0x9e,
}

// IntelRoots returns roots with Intel's production root only.
func IntelRoots() *Roots { return &Roots{pins: []pin{{name: IntelRootName, spki: intelSPKI}}} }

// Add trusts the key of cert under a name, which Result.Root repeats. The
// name must not be Intel's.
func (r *Roots) Add(name string, cert *x509.Certificate) {
	if name == IntelRootName || name == "" {
		panic("attest: a root needs a name of its own")
	}
	r.pins = append(r.pins, pin{name, sha256.Sum256(cert.RawSubjectPublicKeyInfo), cert})
}
