package attest

import (
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/enclaveos/eos/pkg/sgx"
)

// Policy is what a relying party accepts. The zero value accepts nothing, and
// so does a policy that leaves a criterion out: whoever does not care says so
// with Any. See [ParsePolicy] for its JSON form.
type Policy struct {
	Roots      Criterion[string] // by name: IntelRootName, or as in Roots.Add
	SGX        *SGXPolicy        // nil: no SGX quote
	TDX        *TDXPolicy        // nil: no TDX quote
	TCB        []TCBRule         // one must accept
	Extensions []ExtensionRule   // each must hold
}

// SGXPolicy are the criteria for an enclave.
type SGXPolicy struct {
	MREnclave  Criterion[sgx.Measurement]
	MRSigner   Criterion[sgx.Measurement]
	ISVProdID  Criterion[uint16]
	MinISVSVN  Minimum
	Attributes Attributes // FLAGS and XFRM
	AllowDebug bool
}

// TDXPolicy are the criteria for a trust domain.
type TDXPolicy struct {
	MRTD       Criterion[Hash48]
	RTMR       [4]Criterion[Hash48]
	Attributes Attributes // TDATTRIBUTES and XFAM
	AllowDebug bool
}

// TCBRule accepts one status, with advisories that are listed, until a date.
// Revoked cannot be accepted.
type TCBRule struct {
	Status     TCBStatus
	Advisories Criterion[string] // each one that applies must be accepted; OneOf() accepts platforms without any
	Until      Deadline
}

// ExtensionRule wants an extension of the certificate that carried the quote,
// once, with one of the values, which are raw bytes.
type ExtensionRule struct {
	OID   asn1.ObjectIdentifier
	Value Criterion[string]
}

// Extension is an extension of the certificate that carried the quote. What
// it says is true only if the quote's report data binds that certificate,
// which is for the caller to check.
type Extension struct {
	OID   asn1.ObjectIdentifier
	Value []byte
}

// Hash48 is a measurement of TDX (SHA-384).
type Hash48 [48]byte

// String returns 96 lower-case hex digits.
func (h Hash48) String() string { return hex.EncodeToString(h[:]) }

// Criterion is a set of accepted values. The zero value accepts none and is
// incomplete; Any and OneOf say what is meant.
type Criterion[T comparable] struct {
	any    bool
	values []T // nil: not said
}

// Any accepts every value.
func Any[T comparable]() Criterion[T] { return Criterion[T]{any: true} }

// OneOf accepts the values listed; none, if none is.
func OneOf[T comparable](v ...T) Criterion[T] {
	return Criterion[T]{values: append(make([]T, 0, len(v)), v...)}
}

// IsAny says whether c accepts every value.
func (c Criterion[T]) IsAny() bool { return c.any }

// Values returns a copy of the values of OneOf.
func (c Criterion[T]) Values() []T { return slices.Clone(c.values) }

func (c Criterion[T]) said() bool       { return c.any || c.values != nil }
func (c Criterion[T]) accepts(v T) bool { return c.any || slices.Contains(c.values, v) }

// check compares one value; show writes values for the message.
func (c Criterion[T]) check(step Step, what string, v T, show func(T) string) *Error {
	if c.accepts(v) {
		return nil
	}
	var want []string
	for _, w := range c.values {
		want = append(want, show(w))
	}
	if want == nil {
		want = []string{"nothing"}
	}
	return &Error{Step: step, What: what, Want: strings.Join(want, " or "), Got: show(v)}
}

// Minimum is a lower bound that must be said: the zero value accepts nothing.
type Minimum struct {
	set bool
	min uint16
}

// AtLeast accepts n and more.
func AtLeast(n uint16) Minimum { return Minimum{true, n} }

// Attributes is a criterion over attribute bits; the zero value accepts
// nothing.
type Attributes struct {
	set, any                         bool
	flags, flagsMask, xfrm, xfrmMask uint64
}

// AnyAttributes accepts all attribute bits. Debug is still not allowed unless
// the policy allows it by name.
func AnyAttributes() Attributes { return Attributes{set: true, any: true} }

// AttributeBits accepts attributes that equal the given bits under the masks.
func AttributeBits(flags, flagsMask, xfrm, xfrmMask uint64) Attributes {
	return Attributes{true, false, flags, flagsMask, xfrm, xfrmMask}
}

// Deadline is a date that must be said: the zero value has always passed.
type Deadline struct {
	forever bool
	t       time.Time
}

// Forever never passes.
func Forever() Deadline { return Deadline{forever: true} }

// Until passes at t.
func Until(t time.Time) Deadline { return Deadline{t: t} }

// Check says what is missing in p, or what it asks for that cannot be.
func (p Policy) Check() error {
	if err := p.check(); err != nil {
		return err
	}
	return nil
}

func (p Policy) check() *Error {
	e := func(what, hint string) *Error { return &Error{Step: StepPolicy, What: what, Hint: hint} }
	missing := func(name string) *Error {
		return e(name+" is not said", `list what is accepted, or say "any" if it does not matter`)
	}
	if !p.Roots.said() {
		return missing("roots")
	}
	if p.SGX == nil && p.TDX == nil {
		return e("neither SGX nor TDX is accepted", `add "sgx" or "tdx"`)
	}
	if s := p.SGX; s != nil {
		for _, c := range []struct {
			said bool
			name string
		}{
			{s.MREnclave.said(), "sgx.mrenclave"}, {s.MRSigner.said(), "sgx.mrsigner"}, {s.ISVProdID.said(), "sgx.isvprodid"},
			{s.MinISVSVN.set, "sgx.min_isvsvn"}, {s.Attributes.set, "sgx.attributes"},
		} {
			if !c.said {
				return missing(c.name)
			}
		}
	}
	if t := p.TDX; t != nil {
		if !t.MRTD.said() {
			return missing("tdx.mrtd")
		}
		for i, c := range t.RTMR {
			if !c.said() {
				return missing(fmt.Sprintf("tdx.rtmr%d", i))
			}
		}
		if !t.Attributes.set {
			return missing("tdx.attributes")
		}
	}
	if len(p.TCB) == 0 {
		return e("no TCB status is accepted", `add a rule to "tcb", for example {"status": "UpToDate", "advisories": [], "until": "forever"}`)
	}
	for i, rule := range p.TCB {
		switch {
		case rule.Status == StatusUnknown || rule.Status >= Revoked:
			return e(fmt.Sprintf("tcb[%d] accepts %v, which cannot be accepted", i, rule.Status), "remove the rule")
		case !rule.Advisories.said():
			return missing(fmt.Sprintf("tcb[%d].advisories", i))
		case !rule.Until.forever && rule.Until.t.IsZero():
			return missing(fmt.Sprintf("tcb[%d].until", i))
		}
	}
	for i, x := range p.Extensions {
		if len(x.OID) < 2 || !x.Value.said() {
			return missing(fmt.Sprintf("extensions[%d]", i))
		}
	}
	return nil
}

// Appraise says whether what r found is acceptable, at the time of r. It wants
// a Result of a Verify without failure. The extensions are those of the certificate that
// carried the quote, if there is one. The error is an *Error.
func (p Policy) Appraise(r *Result, extensions ...Extension) error {
	if err := p.appraise(r, extensions); err != nil {
		return err
	}
	return nil
}

func (p Policy) appraise(r *Result, extensions []Extension) *Error {
	if r == nil || !r.verified || len(r.Failures) > 0 {
		return &Error{Step: StepPolicy, What: "the quote was not verified", Hint: "only what is true can be acceptable: see why Verify refused it"}
	}
	if err := p.check(); err != nil {
		return err
	}
	if err := p.Roots.check(StepPolicyRoot, "root of the platform", r.Root, func(s string) string { return fmt.Sprintf("%q", s) }); err != nil {
		return err
	}
	if err := p.identity(r.Quote); err != nil {
		return err
	}
	if err := p.tcb(r); err != nil {
		return err
	}
	for _, rule := range p.Extensions {
		if err := rule.check(extensions); err != nil {
			return err
		}
	}
	return nil
}

func (p Policy) identity(q *Quote) *Error {
	if q.TEE == SGX && p.SGX != nil {
		return p.SGX.check(q)
	}
	if q.TEE == TDX && p.TDX != nil {
		return p.TDX.check(q)
	}
	accepted := SGX
	if q.TEE == SGX {
		accepted = TDX
	}
	return &Error{Step: StepPolicyTEE, What: "kind of quote", Want: accepted.String(), Got: q.TEE.String(),
		Hint: fmt.Sprintf("the policy has no criteria for %v", q.TEE)}
}

func debugError(what string) *Error {
	return &Error{Step: StepPolicyDebug, What: what, Want: "not debug", Got: "debug",
		Hint: "a debugger can read and change it; allow debug in the policy for tests only"}
}

func (s *SGXPolicy) check(q *Quote) *Error {
	r := q.Report
	if q.Debug() && !s.AllowDebug {
		return debugError("enclave")
	}
	if err := s.Attributes.check("FLAGS", "XFRM", uint64(r.Attributes.Flags), uint64(r.Attributes.XFRM)); err != nil {
		return err
	}
	if err := s.MREnclave.check(StepPolicyMREnclave, "MRENCLAVE", r.MREnclave, sgx.Measurement.String); err != nil {
		return err
	}
	if err := s.MRSigner.check(StepPolicyMRSigner, "MRSIGNER", r.MRSigner, sgx.Measurement.String); err != nil {
		return err
	}
	if err := s.ISVProdID.check(StepPolicyISVProdID, "ISVPRODID", r.ISVProdID, func(n uint16) string { return fmt.Sprint(n) }); err != nil {
		return err
	}
	if r.ISVSVN < s.MinISVSVN.min {
		return &Error{Step: StepPolicyISVSVN, What: "ISVSVN", Want: fmt.Sprintf("at least %d", s.MinISVSVN.min), Got: fmt.Sprint(r.ISVSVN),
			Hint: "the enclave is an older release than the policy accepts"}
	}
	return nil
}

func (t *TDXPolicy) check(q *Quote) *Error {
	if q.Debug() && !t.AllowDebug {
		return debugError("trust domain")
	}
	if err := t.Attributes.check("TDATTRIBUTES", "XFAM", q.TD.TDAttributes, q.TD.XFAM); err != nil {
		return err
	}
	if err := t.MRTD.check(StepPolicyMRTD, "MRTD", q.TD.MRTD, Hash48.String); err != nil {
		return err
	}
	for i, c := range t.RTMR {
		if err := c.check(StepPolicyRTMR, fmt.Sprintf("RTMR%d", i), q.TD.RTMR[i], Hash48.String); err != nil {
			return err
		}
	}
	return nil
}

func (a Attributes) check(flagsName, xfrmName string, flags, xfrm uint64) *Error {
	if a.any {
		return nil
	}
	for _, c := range []struct {
		name             string
		want, mask, have uint64
	}{{flagsName, a.flags, a.flagsMask, flags}, {xfrmName, a.xfrm, a.xfrmMask, xfrm}} {
		if c.have&c.mask != c.want {
			return &Error{Step: StepPolicyAttributes, What: c.name, Want: fmt.Sprintf("%#x under the mask %#x", c.want, c.mask), Got: fmt.Sprintf("%#x", c.have)}
		}
	}
	return nil
}

// tcb wants one rule that accepts status, advisories and date; the error is
// about the rule that came closest.
func (p Policy) tcb(r *Result) *Error {
	var statuses []string
	var near *Error
	for _, rule := range p.TCB {
		statuses = append(statuses, rule.Status.String())
		if rule.Status != r.Status {
			continue
		}
		var refused []string
		for _, a := range r.Advisories {
			if !rule.Advisories.accepts(a) {
				refused = append(refused, a)
			}
		}
		switch {
		case refused != nil:
			near = &Error{Step: StepPolicyTCB, What: "advisories of TCB status " + r.Status.String(),
				Want: "none but " + strings.Join(rule.Advisories.values, ", "), Got: strings.Join(refused, ", "),
				Hint: "read the advisories; accept them by name if they do not concern you"}
			if len(rule.Advisories.values) == 0 {
				near.Want = "none"
			}
		case !rule.Until.forever && !r.Time.Before(rule.Until.t):
			near = &Error{Step: StepPolicyTCB, What: "TCB status " + r.Status.String() + " was accepted for a time",
				Want: "before " + rule.Until.t.UTC().Format(time.RFC3339), Got: r.Time.Format(time.RFC3339), Hint: "update the platform, or prolong the rule"}
		default:
			return nil
		}
	}
	if near != nil {
		return near
	}
	return &Error{Step: StepPolicyTCB, What: "TCB status", Want: strings.Join(statuses, " or "), Got: r.Status.String(),
		Hint: "update the platform, or accept the status by name with its advisories"}
}

func (x ExtensionRule) check(extensions []Extension) *Error {
	var found *Extension
	for i := range extensions {
		if extensions[i].OID.Equal(x.OID) {
			if found != nil {
				return &Error{Step: StepPolicyExtension, What: "extension " + x.OID.String(), Want: "once", Got: "twice"}
			}
			found = &extensions[i]
		}
	}
	if found == nil {
		return &Error{Step: StepPolicyExtension, What: "extension " + x.OID.String(), Want: "in the certificate", Got: "none"}
	}
	return x.Value.check(StepPolicyExtension, "extension "+x.OID.String(), string(found.Value), func(s string) string { return hex.EncodeToString([]byte(s)) })
}
