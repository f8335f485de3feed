package attest

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
)

// Roots are the keys that a chain may end in. A root is pinned by its key
// (SHA-256 of the SPKI), not by its certificate: Intel's has two editions,
// and real quotes carry either. The zero value trusts nothing.
type Roots struct{ list []*pin }

type pin struct {
	name string
	spki [32]byte
	cert *x509.Certificate // nil of Intel's, which comes with each chain
}

// IntelRootName is Result.Root of a chain that ends in Intel's root.
const IntelRootName = "Intel SGX Root CA"

// intelSPKI is the SHA-256 of the SPKI of Intel SGX Root CA.
var intelSPKI = [32]byte{
	0xa0, 0xaf, 0x03, 0x12, 0x89, 0xf5, 0xd5, 0xd4, 0x13, 0x2f, 0x91, 0x86, 0x06, 0x8a, 0x7f, 0xc1,
	0x36, 0x28, 0x63, 0x3b, 0xa2, 0x35, 0x77, 0x74, 0x72, 0xe2, 0x9b, 0x6b, 0x6c, 0x67, 0xa4, 0x9e,
}

// intelQEVendor is the QE vendor id in every quote of Intel's enclaves.
var intelQEVendor = [16]byte{0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07}

// IntelRoots returns roots with Intel's production root only.
func IntelRoots() *Roots { return &Roots{list: []*pin{{name: IntelRootName, spki: intelSPKI}}} }

// Add trusts the key of cert under a name, which Result.Root repeats. The
// name must not be empty and not be another key's. A key that is trusted already
// keeps its name.
func (r *Roots) Add(name string, cert *x509.Certificate) error {
	if r.find(cert) != nil {
		return nil
	}
	if name == "" || name == IntelRootName || slices.ContainsFunc(r.list, func(p *pin) bool { return p.name == name }) {
		return fmt.Errorf("attest: root %q: want a name of its own", name)
	}
	r.list = append(r.list, &pin{name, sha256.Sum256(cert.RawSubjectPublicKeyInfo), cert})
	return nil
}

func (r *Roots) pins() []*pin {
	if r == nil {
		return nil
	}
	return r.list
}

// find returns the pin of cert's key, nil if there is none.
func (r *Roots) find(cert *x509.Certificate) *pin {
	spki := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	for _, p := range r.pins() {
		if p.spki == spki {
			return p
		}
	}
	return nil
}

// names lists the pins for messages.
func (r *Roots) names() string {
	var s []string
	for _, p := range r.pins() {
		s = append(s, fmt.Sprintf("%q", p.name))
	}
	if s == nil {
		return "none: no root is trusted"
	}
	return strings.Join(s, " or ")
}
