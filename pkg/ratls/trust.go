package ratls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/sgx"
)

// Steps at which this package refuses, besides those of package attest.
const (
	StepTLS      attest.Step = "ratls-tls"      // not TLS 1.3, or no certificate
	StepChain    attest.Step = "ratls-chain"    // the certificate does not lead to Trust.CAs
	StepDates    attest.Step = "ratls-dates"    // the certificate is out of date, or the evidence too old
	StepEvidence attest.Step = "ratls-evidence" // no evidence, or none of a form that is read here
	StepBinding  attest.Step = "ratls-binding"  // good evidence, about another key or session
	StepSession  attest.Step = "ratls-session"  // the session step was not answered
)

// Trust says whom one accepts at the other end. The zero value accepts nobody.
type Trust struct {
	Verifier *attest.Verifier
	Policy   attest.Policy

	// Collateral finds what is needed to verify a quote. The quote has been parsed
	// and nothing about it is known to be true.
	Collateral func(ctx context.Context, q *attest.Quote) (*attest.Collateral, error)

	// CAs, if not nil, must have signed the certificate as well, and the name in it
	// must be the one that was dialled. No evidence is replaced by that.
	CAs *x509.CertPool

	// MaxAge bounds the age of evidence that several connections share, by the
	// minute in it. Zero means DefaultMaxAge.
	MaxAge time.Duration
}

// DefaultMaxAge is the life of a leaf and a little: clocks differ.
const DefaultMaxAge = MaxLifetime + clockSkew

// clockSkew is by how much the other side's clock may be wrong.
const clockSkew = 5 * time.Minute

func (t *Trust) check() error {
	switch {
	case t.Verifier == nil:
		return errors.New("ratls: trust needs a verifier, which knows the roots (attest.Verifier)")
	case t.Collateral == nil:
		return errors.New("ratls: trust needs a source of collateral")
	}
	return nil
}

func (t *Trust) now() time.Time {
	if t.Verifier.Now != nil {
		return t.Verifier.Now()
	}
	return time.Now()
}

func (t *Trust) maxAge() time.Duration {
	if t.MaxAge == 0 {
		return DefaultMaxAge
	}
	return t.MaxAge
}

// RefusedError is why a peer was not accepted. Err has the step; it is an *attest.Error
// for all but failures of the network.
type RefusedError struct {
	Chain  []*x509.Certificate // what the peer showed, leaf first; nil if nothing
	Result *attest.Result      // what was found out about its evidence; nil if there was none
	Err    error
}

func (e *RefusedError) Error() string { return "ratls: peer refused: " + e.Err.Error() }

// Unwrap returns Err.
func (e *RefusedError) Unwrap() error { return e.Err }

// verify finds out what is true about a quote, and whether it is about what it is to
// be about (want), comes from somebody whom the policy accepts, and with claims that
// it accepts.
func (t *Trust) verify(ctx context.Context, quote []byte, want [sgx.ReportDataSize]byte, exts []Extension) (*attest.Result, error) {
	q, err := attest.ParseQuote(quote)
	if err != nil {
		return nil, err
	}
	if got := q.ReportData(); got != want {
		return &attest.Result{Time: t.now(), Quote: q}, &attest.Error{
			Step: StepBinding, What: "the quote is about another key, minute or session (report data)",
			Want: hex.EncodeToString(want[:]), Got: hex.EncodeToString(got[:]),
			Hint: "somebody else's evidence was shown: do not trust this connection",
		}
	}
	c, missing := t.Collateral(ctx, q)
	result, err := t.Verifier.Verify(quote, c) // without collateral it finds out what it can
	if missing != nil {
		return result, &attest.Error{Step: attest.StepCollateral, What: "no collateral for the platform", Err: missing}
	}
	if err != nil {
		return result, err
	}
	return result, t.Policy.Appraise(result, exts...)
}

// leg is the direction in which evidence goes.
type leg int

const (
	serverLeg leg = iota // the server's, to the client
	clientLeg            // the client's, to the server
)

// checkLeaf checks what a certificate alone can prove: the chain, if CAs are given, the
// dates, and the evidence in it, if there is any. The result is nil if there is none,
// which is good enough only if the session step follows.
func (t *Trust) checkLeaf(ctx context.Context, chain []*x509.Certificate, which leg) (*attest.Result, error) {
	leaf, now := chain[0], t.now()
	refused := func(r *attest.Result, err error) (*attest.Result, error) {
		return r, &RefusedError{chain, r, err}
	}
	if now.Add(clockSkew).Before(leaf.NotBefore) || now.After(leaf.NotAfter.Add(clockSkew)) {
		return refused(nil, &attest.Error{
			Step: StepDates, What: "the certificate is not valid now",
			Want: leaf.NotBefore.Format(time.RFC3339) + " to " + leaf.NotAfter.Format(time.RFC3339), Got: now.UTC().Format(time.RFC3339),
			Hint: "compare the clocks of both machines",
		})
	}
	if t.CAs != nil {
		if err := t.checkChain(chain, which, now); err != nil {
			return refused(nil, err)
		}
	}
	e, err := findEvidence(leaf)
	if err != nil {
		return refused(nil, err)
	}
	if e == nil {
		return nil, nil
	}
	if age := now.Sub(leaf.NotBefore); age > t.maxAge() {
		return refused(nil, &attest.Error{
			Step: StepDates, What: "the evidence in the certificate is too old",
			Want: "at most " + t.maxAge().String(), Got: age.String(),
		})
	}
	if !leaf.NotBefore.Equal(leaf.NotBefore.Truncate(time.Minute)) {
		return refused(nil, &attest.Error{
			Step: StepBinding, What: "NotBefore has seconds, which the quote does not cover", Got: leaf.NotBefore.Format(time.RFC3339),
		})
	}
	r, err := t.verify(ctx, e, DeterministicReportData(leaf.RawSubjectPublicKeyInfo, leaf.NotBefore), claims(leaf))
	if err != nil {
		return refused(r, err)
	}
	return r, nil
}

// checkChain checks the chain to CAs. That the name is the right one is checked by
// checkName, where the name is known.
func (t *Trust) checkChain(chain []*x509.Certificate, which leg, now time.Time) error {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	usage := x509.ExtKeyUsageServerAuth
	if which == clientLeg {
		usage = x509.ExtKeyUsageClientAuth
	}
	if now.Before(chain[0].NotBefore) {
		now = chain[0].NotBefore // within clockSkew
	} else if now.After(chain[0].NotAfter) {
		now = chain[0].NotAfter
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: t.CAs, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}})
	if err != nil {
		return &attest.Error{Step: StepChain, What: "the certificate does not lead to a CA that is trusted", Err: err}
	}
	return nil
}

// claims are the extensions of a leaf that are the enclave's statements: those below Arc.
func claims(leaf *x509.Certificate) []Extension {
	var exts []Extension
	for _, e := range leaf.Extensions {
		if len(e.Id) > len(Arc) && e.Id[:len(Arc)].Equal(Arc) {
			exts = append(exts, Extension{OID: e.Id, Value: e.Value})
		}
	}
	return exts
}

// findEvidence finds the quote in a leaf, which is nil if the leaf has no evidence at
// all. Evidence that is there and cannot be read is an error that names its form.
func findEvidence(leaf *x509.Certificate) (quote []byte, err error) {
	var others []string
	for _, e := range leaf.Extensions {
		if e.Id.Equal(OIDQuote) {
			if quote != nil {
				return nil, &attest.Error{Step: StepEvidence, What: "two quotes in one certificate"}
			}
			quote = e.Value
			continue
		}
		if f := formatOf(e); f != "" {
			others = append(others, f)
		}
	}
	if quote != nil || len(others) == 0 {
		return quote, nil
	}
	return nil, &attest.Error{
		Step: StepEvidence, What: "the certificate has no evidence of a form that binds it as is done here",
		Want: OIDQuote.String() + " (" + OIDName(OIDQuote) + ")", Got: fmt.Sprint(others),
		Hint: "this server is not one of eos or Enclave OS",
	}
}

// state checks what must hold of every connection.
func checkState(s *tls.ConnectionState) error {
	switch {
	case s.Version != tls.VersionTLS13:
		return &attest.Error{Step: StepTLS, What: "the TLS version", Want: tls.VersionName(tls.VersionTLS13), Got: tls.VersionName(s.Version)}
	case s.DidResume:
		return &attest.Error{Step: StepTLS, What: "the session was resumed: there was no certificate"}
	case len(s.PeerCertificates) == 0:
		return &attest.Error{Step: StepTLS, What: "no certificate was shown"}
	}
	return nil
}
