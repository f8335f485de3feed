package issue

import (
	"fmt"
	"time"
)

// Hierarchy is the certificates that a vendor of platforms has.
type Hierarchy struct {
	Root      *Identity // self-signed
	CA        *Identity // PCK platform CA
	TCBSigner *Identity // signs TCB info and QE identity
	options   Options
}

// Options says how a hierarchy is called.
type Options struct {
	// Prefix is put before "SGX Root CA", "SGX PCK Platform CA", "SGX PCK
	// Certificate" and "SGX TCB Signing": "Intel" in Intel's names.
	Prefix string
	// Subject is the rest of the names.
	Subject Name
	// NotBefore is when all certificates begin. They end in 2049.
	NotBefore time.Time
	// CRL is the address below which the CRLs would be.
	CRL string
}

// The roles of certificates: what follows Options.Prefix and " SGX " in their
// names.
const (
	RootCA     = "Root CA"
	PlatformCA = "PCK Platform CA"
	PCKLeaf    = "PCK Certificate"
	TCBSigning = "TCB Signing"
)

// Template is what Intel has in the certificate of a role, but for the SGX
// extension.
func (o *Options) Template(role string) Template {
	t := Template{Subject: o.Subject, NotBefore: o.NotBefore, NotAfter: forever, CRL: o.CRL + "/IntelSGXRootCA.der"}
	t.Subject.CommonName = o.Prefix + " SGX " + role
	switch role {
	case RootCA:
		t.CA, t.PathLen = true, 1
	case PlatformCA:
		t.CA = true
	case PCKLeaf:
		t.CRL = o.CRL + "/sgx/certification/v4/pckcrl?ca=platform&encoding=der"
	}
	return t
}

// New makes a hierarchy with new keys.
func New(o Options) (*Hierarchy, error) {
	h := &Hierarchy{options: o}
	for _, c := range []struct {
		to   **Identity
		role string
	}{{&h.Root, RootCA}, {&h.CA, PlatformCA}, {&h.TCBSigner, TCBSigning}} {
		key, err := NewKey()
		if err != nil {
			return nil, err
		}
		if *c.to, err = Issue(h.Root, o.Template(c.role), key); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// PCK makes a machine's key and its certificate.
func (h *Hierarchy) PCK(e *PCKExtensions) (*Identity, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	x, err := e.Extension()
	if err != nil {
		return nil, fmt.Errorf("PCK certificate: %w", err)
	}
	t := h.options.Template(PCKLeaf)
	t.Extensions = append(t.Extensions, x)
	return Issue(h.CA, t, key)
}

// PCKChain is the chain of a PCK certificate as quotes carry it: leaf, platform
// CA, root.
func (h *Hierarchy) PCKChain(pck *Identity) []byte { return Chain(pck, h.CA, h.Root) }

// TCBChain is the chain of the two documents.
func (h *Hierarchy) TCBChain() []byte { return Chain(h.TCBSigner, h.Root) }

// CRLChain is the chain of the platform CA's CRL.
func (h *Hierarchy) CRLChain() []byte { return Chain(h.CA, h.Root) }
