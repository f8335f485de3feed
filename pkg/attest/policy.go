package attest

import (
	"encoding/asn1"
	"time"

	"github.com/enclaveos/eos/pkg/sgx"
)

// Criterion is a set of accepted values. The zero value accepts none; Any
// must be said. In JSON it is "any" or an array of values.
type Criterion[T comparable] struct {
	any    bool
	values []T
}

// Any accepts every value.
func Any[T comparable]() Criterion[T] { return Criterion[T]{any: true} }

// OneOf accepts the values listed.
func OneOf[T comparable](v ...T) Criterion[T] { return Criterion[T]{values: append([]T(nil), v...)} }

// Hash48 is a measurement of TDX (SHA-384); in JSON 96 hex digits.
type Hash48 [48]byte

// Policy is what a relying party accepts. The zero value accepts nothing, and
// neither does a policy that leaves a criterion out.
type Policy struct {
	SGX        *SGXPolicy        `json:"sgx,omitempty"` // nil: no SGX quote
	TDX        *TDXPolicy        `json:"tdx,omitempty"` // nil: no TDX quote
	Roots      Criterion[string] `json:"roots"`         // by name: "Intel SGX Root CA"
	TCB        []TCBRule         `json:"tcb"`           // one must accept
	Extensions []ExtensionRule   `json:"extensions,omitempty"`
}

// SGXPolicy are the criteria for an enclave.
type SGXPolicy struct {
	MREnclave  Criterion[sgx.Measurement] `json:"mrenclave"`
	MRSigner   Criterion[sgx.Measurement] `json:"mrsigner"`
	ISVProdID  Criterion[uint16]          `json:"isvprodid"`
	MinISVSVN  Minimum                    `json:"min_isvsvn"`
	Attributes Attributes                 `json:"attributes"`
	AllowDebug bool                       `json:"allow_debug,omitempty"`
}

// TDXPolicy are the criteria for a trust domain.
type TDXPolicy struct {
	MRTD       Criterion[Hash48]    `json:"mrtd"`
	RTMR       [4]Criterion[Hash48] `json:"rtmr"`
	Attributes Attributes           `json:"attributes"` // TDATTRIBUTES and XFAM
	AllowDebug bool                 `json:"allow_debug,omitempty"`
}

// Minimum is a lower bound that must be said: the zero value accepts nothing.
type Minimum struct {
	set bool
	min uint16
}

// AtLeast accepts n and more.
func AtLeast(n uint16) Minimum { return Minimum{true, n} }

// Attributes is a criterion over attribute bits; the zero value accepts
// nothing. In JSON it is "any" or {"flags", "flags_mask", "xfrm", "xfrm_mask"}.
type Attributes struct {
	set                              bool
	flags, flagsMask, xfrm, xfrmMask uint64
}

// AnyAttributes accepts all attribute bits; debug is asked for elsewhere.
func AnyAttributes() Attributes { return Attributes{set: true} }

// AttributeBits accepts attributes that equal the given bits under the masks.
func AttributeBits(flags, flagsMask, xfrm, xfrmMask uint64) Attributes {
	return Attributes{true, flags, flagsMask, xfrm, xfrmMask}
}

// TCBRule accepts one status with advisories that are listed, until a date.
type TCBRule struct {
	Status     TCBStatus         `json:"status"`
	Advisories Criterion[string] `json:"advisories"` // each one found must be accepted
	Until      Deadline          `json:"until"`
}

// Deadline is a date that must be said: the zero value has always passed. In
// JSON it is "forever" or RFC 3339.
type Deadline struct {
	forever bool
	t       time.Time
}

// Forever never passes.
func Forever() Deadline { return Deadline{forever: true} }

// Until passes at t.
func Until(t time.Time) Deadline { return Deadline{t: t} }

// ExtensionRule wants an extension of the certificate that carried the quote.
type ExtensionRule struct {
	OID   asn1.ObjectIdentifier
	Value Criterion[string] // raw bytes of the value; hex in JSON
}

// Appraise says whether r is acceptable. It wants a Result of Verify without
// failure; extensions are those of the certificate that carried the quote.
func (p Policy) Appraise(r *Result, extensions ...Extension) error {
	return &Error{Step: StepPolicy, What: "not written yet"}
}

// Extension is an extension of a certificate, its value raw.
type Extension struct {
	OID   asn1.ObjectIdentifier
	Value []byte
}
