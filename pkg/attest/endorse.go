package attest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"strings"
	"time"
)

// endorsement is everything about a quote's certificates and collateral that
// does not depend on the time or on the rest of the quote. Parts are nil where
// a step did not hold.
type endorsement struct {
	steps   map[Step]*Error // steps that were done: nil if they held
	windows []window

	pin      *pin
	chain    []*x509.Certificate // PCK leaf, CA, root
	pckKey   *ecdsa.PublicKey
	pck      *PCKExtensions
	tcbInfo  *TCBInfo
	qeID     *QEIdentity
	rootCRL  *crl
	pckCRL   *crl
	good     bool // every step held
	leafHash [32]byte
}

// window is a validity that the clock must lie in.
type window struct {
	step Step
	what string
	Validity
}

// scene is the work on one endorsement.
type scene struct {
	roots    *Roots
	e        *endorsement
	certs    []*x509.Certificate
	verified []edge
}

type edge struct{ child, parent *x509.Certificate }

// endorsed returns the endorsement of a quote, from memory if it was verified
// before with the same bytes.
func (v *Verifier) endorsed(q *Quote, c *Collateral) *endorsement {
	key := endorsementKey(q, c)
	if e, ok := v.chains.get(key); ok {
		return e
	}
	s := &scene{roots: v.Roots, e: &endorsement{steps: make(map[Step]*Error)}}
	s.pckChain(q, c)
	s.collateral(c)
	s.e.good = true
	for _, step := range []Step{StepCollateral, StepPCKChain, StepPCKExtensions, StepTCBChain, StepRootCRL, StepPCKCRL, StepRevocation, StepTCBInfo, StepQEIdentity} {
		if err, done := s.e.steps[step]; err != nil || !done {
			s.e.good = false
		}
	}
	if s.e.good {
		v.chains.put(key, s.e)
	}
	return s.e
}

// endorsementKey hashes all that an endorsement depends on, each part behind
// its length.
func endorsementKey(q *Quote, c *Collateral) [32]byte {
	h := sha256.New()
	part := func(b []byte) {
		h.Write(binary.LittleEndian.AppendUint64(make([]byte, 0, 8), uint64(len(b))))
		h.Write(b)
	}
	part([]byte{byte(q.CertType), byte(q.CertType >> 8)})
	part(q.CertData)
	if c != nil {
		part(c.TCBInfo.Body)
		part(c.TCBInfo.Signature[:])
		part(c.TCBInfoChain)
		part(c.QEIdentity.Body)
		part(c.QEIdentity.Signature[:])
		part(c.QEIdentityChain)
		part(c.PCKCRL)
		part(c.RootCRL)
		part(c.PCKChain)
	}
	return [32]byte(h.Sum(nil))
}

// done notes how a step ended and says whether it held.
func (s *scene) done(step Step, err *Error) bool {
	if err != nil {
		err.Step = step
	}
	s.e.steps[step] = err
	return err == nil
}

func (s *scene) certWindow(step Step, c *x509.Certificate) {
	s.e.windows = append(s.e.windows, window{step, "certificate " + quoteCN(c), Validity{c.NotBefore, c.NotAfter}})
}

// pckChain does StepPCKChain and StepPCKExtensions.
func (s *scene) pckChain(q *Quote, c *Collateral) {
	err := s.pckPath(q, c)
	if !s.done(StepPCKChain, err) {
		return
	}
	for _, c := range s.e.chain {
		s.certWindow(StepPCKChain, c)
	}
	ext, xerr := pckExtensions(s.e.chain[0])
	if xerr != nil {
		s.done(StepPCKExtensions, &Error{What: "PCK certificate", Err: xerr})
		return
	}
	s.e.pck = ext
	s.done(StepPCKExtensions, nil)
}

// pckPath takes the chain from the quote, or from the collateral if the quote
// carries something else. That the chain is the quote's shows at
// StepQEReport.
func (s *scene) pckPath(q *Quote, c *Collateral) *Error {
	chain := q.CertData
	switch {
	case q.CertType == CertPCKChain:
	case c != nil && len(c.PCKChain) > 0:
		chain = c.PCKChain
	default:
		return &Error{What: "certification data", Want: certName(CertPCKChain), Got: certName(q.CertType),
			Hint: "the quoting service has no PCK certificate for its platform: set up its collateral provider (PCCS), so that quotes carry the chain, or put the chain into the collateral"}
	}
	certs, err := s.parsePEM(chain)
	if err != nil {
		return &Error{What: "PCK certificate chain", Err: err}
	}
	leaf, e := leafOf(certs)
	if e != nil {
		return e
	}
	path, pin, e := s.path(leaf, certs, 3)
	if e != nil {
		return e
	}
	if e := role(leaf, pin, cnPCKLeaf); e != nil {
		return e
	}
	if e := role(path[1], pin, cnPlatformCA, cnProcessorCA); e != nil {
		return e
	}
	key, e := signingKey(leaf)
	if e != nil {
		return e
	}
	s.e.chain, s.e.pin, s.e.pckKey = path, pin, key
	s.e.leafHash = sha256.Sum256(leaf.Raw)
	return nil
}

// signingKey returns the key of a certificate whose key signs data.
func signingKey(c *x509.Certificate) (*ecdsa.PublicKey, *Error) {
	key, ok := c.PublicKey.(*ecdsa.PublicKey)
	switch {
	case !ok || key.Curve != elliptic.P256():
		return nil, &Error{What: "key of " + quoteCN(c), Want: "ECDSA P-256", Got: c.PublicKeyAlgorithm.String()}
	case c.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return nil, &Error{What: "key usage of " + quoteCN(c), Want: "digitalSignature", Got: "none"}
	}
	return key, nil
}

// collateral does the steps of the collateral, as far as its parts are there.
func (s *scene) collateral(c *Collateral) {
	if !s.done(StepCollateral, missing(c)) && c == nil {
		return
	}
	s.crls(c)
	tcbSigner, tcbErr := s.signer(c.TCBInfoChain)
	qeSigner, qeErr := tcbSigner, tcbErr
	if string(c.QEIdentityChain) != string(c.TCBInfoChain) {
		qeSigner, qeErr = s.signer(c.QEIdentityChain)
	}
	if tcbErr == nil {
		tcbErr = qeErr
	}
	if s.done(StepTCBChain, tcbErr) && s.e.rootCRL != nil {
		for _, c := range []*x509.Certificate{tcbSigner, qeSigner} {
			if err := s.e.rootCRL.check(c); err != nil {
				s.done(StepRevocation, err)
			}
		}
	}
	if tcbSigner != nil {
		s.done(StepTCBInfo, s.tcbInfo(&c.TCBInfo, tcbSigner))
	}
	if qeSigner != nil {
		s.done(StepQEIdentity, s.qeIdentity(&c.QEIdentity, qeSigner))
	}
}

// missing names the parts of the collateral that are not there.
func missing(c *Collateral) *Error {
	if c == nil {
		return &Error{What: "no collateral", Want: "TCB info, QE identity and CRLs", Hint: "fetch it, or hand in a bundle"}
	}
	var parts []string
	for _, p := range []struct {
		b    []byte
		name string
	}{
		{c.TCBInfo.Body, "TCB info"}, {c.TCBInfoChain, "TCB info chain"}, {c.QEIdentity.Body, "QE identity"},
		{c.QEIdentityChain, "QE identity chain"}, {c.PCKCRL, "PCK CRL"}, {c.RootCRL, "root CRL"},
	} {
		if len(p.b) == 0 {
			parts = append(parts, p.name)
		}
	}
	if parts == nil {
		return nil
	}
	return &Error{What: "collateral is incomplete", Want: "every part", Got: "no " + strings.Join(parts, ", no "), Hint: "fetch it again"}
}

// crls does StepRootCRL, StepPCKCRL and StepRevocation. The lists are checked
// with the CAs of the quote's chain, so without that there are none.
func (s *scene) crls(c *Collateral) {
	if s.e.chain == nil {
		return
	}
	leaf, ca, root := s.e.chain[0], s.e.chain[1], s.e.chain[2]
	var err *Error
	if s.e.rootCRL, err = parseCRL(c.RootCRL, root); s.done(StepRootCRL, err) {
		s.crlWindow(StepRootCRL, "CRL of the root", s.e.rootCRL)
	}
	if s.e.pckCRL, err = parseCRL(c.PCKCRL, ca); s.done(StepPCKCRL, err) {
		s.crlWindow(StepPCKCRL, "CRL of the PCK CA", s.e.pckCRL)
	}
	if s.e.pckCRL != nil {
		if err := s.e.pckCRL.check(leaf); err != nil {
			s.done(StepRevocation, err)
			return
		}
	}
	if s.e.rootCRL != nil {
		if err := s.e.rootCRL.check(ca); err != nil {
			s.done(StepRevocation, err)
			return
		}
	}
	if s.e.pckCRL != nil && s.e.rootCRL != nil {
		s.done(StepRevocation, nil)
	}
}

func (s *scene) crlWindow(step Step, what string, c *crl) {
	s.e.windows = append(s.e.windows, window{step, what, c.validity()})
}

func (c *crl) validity() Validity {
	if c == nil {
		return Validity{}
	}
	return Validity{c.list.ThisUpdate, c.list.NextUpdate}
}

// signer verifies the chain of a signing certificate: issued by the same root
// as the PCK chain, directly, and with no other role.
func (s *scene) signer(chain []byte) (*x509.Certificate, *Error) {
	certs, err := s.parsePEM(chain)
	if err != nil {
		return nil, &Error{What: "chain of the signing certificate", Err: err}
	}
	var leaf *x509.Certificate
	for _, c := range certs {
		if !c.IsCA && c != leaf {
			if leaf != nil {
				return nil, &Error{What: "signing certificates in the chain", Want: "1", Got: pathNames(certs)}
			}
			leaf = c
		}
	}
	if leaf == nil {
		return nil, &Error{What: "signing certificate", Want: "one that is no CA", Got: pathNames(certs)}
	}
	path, pin, e := s.path(leaf, certs, 2)
	if e != nil {
		return nil, e
	}
	if s.e.pin != nil && pin != s.e.pin {
		return nil, &Error{What: "root of the signing certificate", Want: "that of the PCK chain, " + s.e.pin.name, Got: pin.name,
			Hint: "collateral of one owner does not speak for platforms of another"}
	}
	if e := role(leaf, pin, cnTCBSigning); e != nil {
		return nil, e
	}
	if _, e := signingKey(leaf); e != nil {
		return nil, e
	}
	for _, c := range path {
		s.certWindow(StepTCBChain, c)
	}
	return leaf, nil
}

func (s *scene) tcbInfo(doc *SignedJSON, signer *x509.Certificate) *Error {
	if err := s.document("TCB info", doc, signer); err != nil {
		return err
	}
	t, err := ParseTCBInfo(doc.Body)
	if err != nil {
		return &Error{What: "form", Err: err}
	}
	s.e.tcbInfo = t
	s.e.windows = append(s.e.windows, window{StepTCBInfo, "TCB info", Validity{t.IssueDate, t.NextUpdate}})
	return nil
}

func (s *scene) qeIdentity(doc *SignedJSON, signer *x509.Certificate) *Error {
	if err := s.document("QE identity", doc, signer); err != nil {
		return err
	}
	q, err := ParseQEIdentity(doc.Body)
	if err != nil {
		return &Error{What: "form", Err: err}
	}
	s.e.qeID = q
	s.e.windows = append(s.e.windows, window{StepQEIdentity, "QE identity", Validity{q.IssueDate, q.NextUpdate}})
	return nil
}

// document verifies the signature of a text before anything reads the text.
func (s *scene) document(name string, doc *SignedJSON, signer *x509.Certificate) *Error {
	key, e := signingKey(signer)
	if e != nil {
		return e
	}
	if !verifyRaw(key, doc.Body, &doc.Signature) {
		return &Error{What: "signature of the " + name, Want: "by " + quoteCN(signer), Got: "no match",
			Hint: "the text was altered or reformatted: the signature is over its exact bytes"}
	}
	return nil
}

// validAt checks the dates of a step.
func (e *endorsement) validAt(step Step, now time.Time) *Error {
	for _, w := range e.windows {
		if w.step != step {
			continue
		}
		var what, hint string
		switch {
		case now.Before(w.Issued):
			what, hint = " is not valid yet", "check the clock"
		case now.After(w.Expires):
			what, hint = " has expired", "fetch current collateral; if a certificate expired, the platform needs a new one"
		default:
			continue
		}
		return &Error{Step: step, What: w.what + what, Got: now.UTC().Format(time.RFC3339), Hint: hint,
			Want: w.Issued.UTC().Format(time.RFC3339) + " to " + w.Expires.UTC().Format(time.RFC3339)}
	}
	return nil
}
