package attest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
)

// DefaultMaxCollateralAge is the limit that a Verifier without one uses.
const DefaultMaxCollateralAge = 7 * 24 * time.Hour

// Verifier finds out what is true about a quote. It is safe for concurrent
// use, and remembers chains, collateral and attestation keys that it
// verified, so that further quotes of a platform cost one signature check.
// Its fields must not change after the first use.
type Verifier struct {
	Roots *Roots           // nil trusts nothing
	Now   func() time.Time // nil is time.Now; the only clock

	// MaxCollateralAge bounds how long ago TCB info, QE identity and PCK CRL
	// may have been issued, even while they are valid; zero is
	// DefaultMaxCollateralAge. (The root CRL is issued once a year; only its
	// own date bounds it.)
	MaxCollateralAge time.Duration

	chains memo[*endorsement]
	qeKeys memo[struct{}]
}

// Verify verifies a quote with its collateral. It always returns a Result
// with what was found out; the error, an *Error, is nil only if every step
// held. What the quote then says may be appraised: see [Policy].
func (v *Verifier) Verify(quote []byte, c *Collateral) (*Result, error) {
	now := time.Now
	if v.Now != nil {
		now = v.Now
	}
	r := &Result{Time: now().UTC()}
	q, err := parseQuote(quote)
	if r.settle(StepQuote, err); err != nil {
		return r, err
	}
	r.Quote = q
	e := v.endorsed(q, c)
	for _, step := range verifySteps[1:8] {
		if err, done := e.steps[step]; done {
			if err == nil {
				err = e.validAt(step, r.Time)
			}
			r.settle(step, err)
		}
	}
	r.keep(e)
	v.signatures(r, e)
	r.tcbInfo(e)
	r.qeIdentity(e)
	v.age(r, e)
	r.level(e)
	for _, step := range Steps(q.TEE) {
		if !slices.Contains(r.Passed, step) && len(r.Failures) == 0 { // every step that is left out has a failure before it
			r.settle(step, &Error{What: "the step was not done", Hint: "this is an error of the verifier"})
		}
	}
	if len(r.Failures) > 0 {
		return r, r.Failures[0]
	}
	r.verified = true
	return r, nil
}

// verifySteps are the steps that must hold, in order.
var verifySteps = []Step{
	StepQuote, StepCollateral, StepPCKChain, StepPCKExtensions, StepTCBChain, StepRootCRL, StepPCKCRL, StepRevocation,
	StepQEReport, StepQEBinding, StepQuoteSignature, StepTCBInfo, StepQEIdentity, StepCollateralAge, StepTDXModule, StepTCBLevel,
}

// settle notes how a step ended and says whether it held.
func (r *Result) settle(step Step, err *Error) bool {
	if err == nil {
		r.Passed = append(r.Passed, step)
		return true
	}
	err.Step = step
	r.Failures = append(r.Failures, err)
	return false
}

// keep copies the facts of an endorsement.
func (r *Result) keep(e *endorsement) {
	if e.pin != nil {
		r.Root, r.Chain = e.pin.name, slices.Clone(e.chain)
	}
	if e.pck != nil {
		r.PCK = e.pck.clone()
	}
	f := &r.Collateral
	f.RootCRL, f.PCKCRL = e.rootCRL.validity(), e.pckCRL.validity()
	if t := e.tcbInfo; t != nil {
		f.TCBInfo, f.TCBEvaluation = Validity{t.IssueDate, t.NextUpdate}, t.EvaluationData
	}
	if q := e.qeID; q != nil {
		f.QEIdentity, f.QEEvaluation = Validity{q.IssueDate, q.NextUpdate}, q.EvaluationData
	}
	for _, w := range e.windows {
		if f.Expires.IsZero() || w.Expires.Before(f.Expires) {
			f.Expires, f.ExpiresFirst = w.Expires, w.what
		}
	}
}

// signatures does the steps from the PCK key to the quote. The way to an
// attestation key is remembered under its hash.
func (v *Verifier) signatures(r *Result, e *endorsement) {
	q := r.Quote
	if e.pckKey != nil {
		report, _ := q.QEReport.AppendBinary(nil)
		h := sha256.New()
		h.Write(e.leafHash[:])
		h.Write(report)
		h.Write(q.QEReportSignature[:])
		known := [32]byte(h.Sum(nil))
		var err *Error
		if _, ok := v.qeKeys.get(known); !ok {
			if !verifyRaw(e.pckKey, report, &q.QEReportSignature) {
				err = &Error{What: "signature over the QE report", Want: "by the PCK key", Got: "no match",
					Hint: "the QE report or the certificate was altered or exchanged"}
			} else {
				v.qeKeys.put(known, struct{}{})
			}
		}
		r.settle(StepQEReport, err)
	}

	want := [64]byte{}
	sum := sha256.Sum256(append(q.AttestationKey[:len(q.AttestationKey):len(q.AttestationKey)], q.QEAuthData...))
	copy(want[:], sum[:])
	var err *Error
	if q.QEReport.ReportData != want {
		err = &Error{What: "report data of the QE report", Want: hex.EncodeToString(want[:]), Got: hex.EncodeToString(q.QEReport.ReportData[:]),
			Hint: "the quoting enclave did not vouch for this attestation key"}
	}
	r.settle(StepQEBinding, err)

	err = nil
	if key, kerr := parseRawKey(&q.AttestationKey); kerr != nil {
		err = &Error{What: "attestation key", Want: "a point on P-256", Got: hex.EncodeToString(q.AttestationKey[:])}
	} else if !verifyRaw(key, q.SignedBytes(), &q.Signature) {
		err = &Error{What: "signature over the quote", Want: "by the attestation key", Got: "no match", Hint: "the quote was altered"}
	}
	r.settle(StepQuoteSignature, err)
}

// age does StepCollateralAge.
func (v *Verifier) age(r *Result, e *endorsement) {
	if e.tcbInfo == nil || e.qeID == nil || e.pckCRL == nil {
		return
	}
	max := v.MaxCollateralAge
	if max == 0 {
		max = DefaultMaxCollateralAge
	}
	var err *Error
	for _, d := range []struct {
		what   string
		issued time.Time
	}{{"TCB info", e.tcbInfo.IssueDate}, {"QE identity", e.qeID.IssueDate}, {"CRL of the PCK CA", e.pckCRL.list.ThisUpdate}} {
		if age := r.Time.Sub(d.issued); age > max && err == nil {
			err = &Error{What: d.what + " is too old", Want: "issued at most " + max.String() + " ago", Got: age.Truncate(time.Second).String() + " ago",
				Hint: "fetch current collateral, or allow older"}
		}
	}
	r.settle(StepCollateralAge, err)
}

// tcbInfo does StepTCBInfo.
func (r *Result) tcbInfo(e *endorsement) {
	err, done := e.steps[StepTCBInfo]
	if !done {
		return
	}
	if err == nil {
		err = e.validAt(StepTCBInfo, r.Time)
	}
	if err == nil && e.pck == nil {
		return
	}
	if err == nil {
		err = r.ofPlatform(e)
	}
	r.settle(StepTCBInfo, err)
}

// ofPlatform checks that TCB info is about this kind of quote and platform.
func (r *Result) ofPlatform(e *endorsement) *Error {
	t, pck := e.tcbInfo, e.pck
	hint := "fetch the TCB info of this FMSPC, for SGX or TDX as the quote is"
	switch {
	case t.ID != r.Quote.TEE.String():
		return &Error{What: "kind of the TCB info", Want: r.Quote.TEE.String(), Got: t.ID, Hint: hint}
	case t.FMSPC != pck.FMSPC:
		return &Error{What: "FMSPC of the TCB info", Want: fmt.Sprintf("%X", pck.FMSPC[:]), Got: fmt.Sprintf("%X", t.FMSPC[:]), Hint: hint}
	case t.PCEID != pck.PCEID:
		return &Error{What: "PCE id of the TCB info", Want: fmt.Sprintf("%X", pck.PCEID[:]), Got: fmt.Sprintf("%X", t.PCEID[:]), Hint: hint}
	}
	return nil
}

// qeIdentity does StepQEIdentity.
func (r *Result) qeIdentity(e *endorsement) {
	err, done := e.steps[StepQEIdentity]
	if !done {
		return
	}
	if err == nil {
		err = e.validAt(StepQEIdentity, r.Time)
	}
	if match := r.matchQE(e); err == nil {
		err = match
	}
	r.settle(StepQEIdentity, err)
}
