package ratls

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"

	"github.com/enclaveos/eos/pkg/attest"
)

// Proof is what an enclave at the other end must have proven, and has proven. The
// package's documentation tells what each means.
type Proof int

const (
	// ProofSession is evidence for this very session; evidence in the leaf, if there
	// is some, has been checked too.
	ProofSession Proof = iota
	// ProofLeaf is evidence in the leaf: about the server's key, and not the session.
	ProofLeaf
	// ProofCertificate is evidence in a certificate at rest: whoever showed it need
	// not have its key. VerifyCertificate gives it; a client cannot ask for it.
	ProofCertificate
)

func (p Proof) String() string {
	switch p {
	case ProofSession:
		return "session"
	case ProofLeaf:
		return "leaf"
	case ProofCertificate:
		return "certificate"
	}
	return "unknown"
}

// Peer is an enclave at the other end of a connection, verified and appraised. Only a
// check makes one: a Peer of your own says nothing.
type Peer struct {
	cert   *x509.Certificate
	chain  []*x509.Certificate
	result *attest.Result
	proof  Proof
}

// Proof is what has been proven.
func (p *Peer) Proof() Proof {
	if p.result == nil {
		return -1
	}
	return p.proof
}

// Result is what was found out about the evidence. It must not be changed.
func (p *Peer) Result() *attest.Result { return p.result }

// Certificate is the leaf. It must not be changed.
func (p *Peer) Certificate() *x509.Certificate { return p.cert }

// Chain is the leaf and what was sent with it. It must not be changed.
func (p *Peer) Chain() []*x509.Certificate { return slices.Clone(p.chain) }

// Claims are what the peer says of its configuration: all extensions below Arc.
func (p *Peer) Claims() []Extension {
	if p.cert == nil {
		return nil
	}
	return claims(p.cert)
}

// Claim is the raw value of one of them.
func (p *Peer) Claim(id asn1.ObjectIdentifier) ([]byte, bool) {
	for _, e := range p.Claims() {
		if e.OID.Equal(id) {
			return slices.Clone(e.Value), true
		}
	}
	return nil, false
}
