package attest

import (
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/enclaveos/eos/pkg/sgx"
)

// ParsePolicy reads the JSON form of a policy:
//
//	{
//	  "roots": ["Intel SGX Root CA"],
//	  "sgx": {
//	    "mrenclave": ["64 hex digits"],
//	    "mrsigner": "any",
//	    "isvprodid": [1],
//	    "min_isvsvn": 3,
//	    "attributes": {"flags": "0x5", "flags_mask": "0xfffffffffffffffd", "xfrm": "0x3", "xfrm_mask": "0x0"},
//	    "allow_debug": false
//	  },
//	  "tdx": {
//	    "mrtd": ["96 hex digits"], "rtmr0": "any", "rtmr1": "any", "rtmr2": "any", "rtmr3": "any",
//	    "attributes": "any"
//	  },
//	  "tcb": [
//	    {"status": "UpToDate", "advisories": [], "until": "forever"},
//	    {"status": "SWHardeningNeeded", "advisories": ["INTEL-SA-00615"], "until": "2026-12-31T00:00:00Z"}
//	  ],
//	  "extensions": [{"oid": "1.3.6.1.4.1.65230.1.1", "value": ["hex of the value"]}]
//	}
//
// Each criterion is a list of what is accepted, or "any". "sgx" or "tdx" may
// be left out, which refuses that kind; "allow_debug" is false and
// "extensions" empty unless said. Everything else must be there, once and
// spelt so, and the result passes [Policy.Check].
func ParsePolicy(b []byte) (Policy, error) {
	var p Policy
	err := parseJSON(b, p.read)
	if err != nil {
		return Policy{}, fmt.Errorf("policy: %w", err)
	}
	if err := p.check(); err != nil {
		return Policy{}, err
	}
	return p, nil
}

// UnmarshalJSON is ParsePolicy.
func (p *Policy) UnmarshalJSON(b []byte) error {
	v, err := ParsePolicy(b)
	if err == nil {
		*p = v
	}
	return err
}

func (p *Policy) read(r *reader) error {
	return r.object(func(key []byte) (err error) {
		switch string(key) {
		case "roots":
			p.Roots, err = readCriterion(r, r.str)
		case "sgx":
			p.SGX = &SGXPolicy{}
			err = p.SGX.read(r)
		case "tdx":
			p.TDX = &TDXPolicy{}
			err = p.TDX.read(r)
		case "tcb":
			err = r.list(maxLevels, func() error {
				rule, err := readTCBRule(r)
				p.TCB = append(p.TCB, rule)
				return err
			})
		case "extensions":
			err = r.list(maxLevels, func() error {
				rule, err := readExtensionRule(r)
				p.Extensions = append(p.Extensions, rule)
				return err
			})
		default:
			return errUnknownKey
		}
		return err
	})
}

func (s *SGXPolicy) read(r *reader) error {
	return r.object(func(key []byte) (err error) {
		switch string(key) {
		case "mrenclave":
			s.MREnclave, err = readCriterion(r, readHash[sgx.Measurement](r))
		case "mrsigner":
			s.MRSigner, err = readCriterion(r, readHash[sgx.Measurement](r))
		case "isvprodid":
			s.ISVProdID, err = readCriterion(r, r.uint16)
		case "min_isvsvn":
			s.MinISVSVN.set = true
			s.MinISVSVN.min, err = r.uint16()
		case "attributes":
			s.Attributes, err = readAttributes(r)
		case "allow_debug":
			s.AllowDebug, err = r.boolean()
		default:
			return errUnknownKey
		}
		return err
	})
}

func (t *TDXPolicy) read(r *reader) error {
	return r.object(func(key []byte) (err error) {
		switch string(key) {
		case "mrtd":
			t.MRTD, err = readCriterion(r, readHash[Hash48](r))
		case "rtmr0", "rtmr1", "rtmr2", "rtmr3":
			t.RTMR[key[4]-'0'], err = readCriterion(r, readHash[Hash48](r))
		case "attributes":
			t.Attributes, err = readAttributes(r)
		case "allow_debug":
			t.AllowDebug, err = r.boolean()
		default:
			return errUnknownKey
		}
		return err
	})
}

func readTCBRule(r *reader) (TCBRule, error) {
	var rule TCBRule
	err := r.object(func(key []byte) (err error) {
		switch string(key) {
		case "status":
			rule.Status, err = r.status()
		case "advisories":
			rule.Advisories, err = readCriterion(r, r.str)
		case "until":
			var s string
			if s, err = r.str(); err != nil || s == "forever" {
				rule.Until = Forever()
				return err
			}
			rule.Until.t, err = time.Parse(time.RFC3339, s)
			if err != nil || rule.Until.t.IsZero() || s != rule.Until.t.UTC().Format(time.RFC3339) {
				return r.errorf("date %q: want YYYY-MM-DDThh:mm:ssZ or \"forever\"", s)
			}
		default:
			return errUnknownKey
		}
		return err
	})
	return rule, err
}

func readExtensionRule(r *reader) (ExtensionRule, error) {
	var x ExtensionRule
	err := r.object(func(key []byte) (err error) {
		switch string(key) {
		case "oid":
			var s string
			if s, err = r.str(); err == nil {
				x.OID, err = parseOID(s)
			}
		case "value":
			x.Value, err = readCriterion(r, func() (string, error) {
				b, err := r.hexBytes()
				return string(b), err
			})
		default:
			return errUnknownKey
		}
		return err
	})
	return x, err
}

func parseOID(s string) (asn1.ObjectIdentifier, error) {
	var oid asn1.ObjectIdentifier
	for _, arc := range strings.Split(s, ".") {
		n, err := strconv.Atoi(arc)
		if err != nil || n < 0 || strconv.Itoa(n) != arc {
			return nil, fmt.Errorf("OID %q: want numbers and dots", s)
		}
		oid = append(oid, n)
	}
	if len(oid) < 2 {
		return nil, fmt.Errorf("OID %q: want numbers and dots", s)
	}
	return oid, nil
}

func readAttributes(r *reader) (Attributes, error) {
	if r.peek() == '"' {
		return AnyAttributes(), r.word("any")
	}
	a := Attributes{set: true}
	err := r.object(func(key []byte) (err error) {
		switch string(key) {
		case "flags":
			a.flags, err = r.hex64()
		case "flags_mask":
			a.flagsMask, err = r.hex64()
		case "xfrm":
			a.xfrm, err = r.hex64()
		case "xfrm_mask":
			a.xfrmMask, err = r.hex64()
		default:
			return errUnknownKey
		}
		return err
	}, "flags", "flags_mask", "xfrm", "xfrm_mask")
	if err == nil && (a.flags&^a.flagsMask != 0 || a.xfrm&^a.xfrmMask != 0) {
		err = r.errorf("attributes: a bit is wanted that its mask leaves out: nothing could match")
	}
	return a, err
}

// readCriterion reads "any" or an array of values.
func readCriterion[T comparable](r *reader, value func() (T, error)) (Criterion[T], error) {
	if r.peek() == '"' {
		return Any[T](), r.word("any")
	}
	c := Criterion[T]{values: []T{}}
	err := r.list(4096, func() error {
		v, err := value()
		c.values = append(c.values, v)
		return err
	})
	return c, err
}

func readHash[T ~[32]byte | ~[48]byte](r *reader) func() (T, error) {
	return func() (T, error) {
		var h T
		s, err := r.hexBytes()
		if err == nil && len(s) != len(h) {
			err = r.errorf("want %d hex digits", 2*len(h))
		}
		if err != nil {
			return h, err
		}
		for i := range s {
			h[i] = s[i]
		}
		return h, nil
	}
}

var errUnknownKey = errors.New("unknown key")

func (r *reader) word(w string) error {
	s, err := r.str()
	if err == nil && s != w {
		err = r.errorf("%q: want a list, or %q", s, w)
	}
	return err
}

func (r *reader) uint16() (uint16, error) {
	n, err := r.number(1<<16 - 1)
	return uint16(n), err
}

// hex64 reads a string such as "0x5".
func (r *reader) hex64() (uint64, error) {
	s, err := r.str()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 64)
	if err != nil || !strings.HasPrefix(s, "0x") {
		return 0, r.errorf("%q: want a string of 0x and up to 16 hex digits", s)
	}
	return n, nil
}

// The JSON form, in the order in which it is written.
type (
	policyJSON struct {
		Roots      any             `json:"roots"`
		SGX        *sgxJSON        `json:"sgx,omitempty"`
		TDX        *tdxJSON        `json:"tdx,omitempty"`
		TCB        []tcbRuleJSON   `json:"tcb"`
		Extensions []extensionJSON `json:"extensions,omitempty"`
	}
	sgxJSON struct {
		MREnclave  any    `json:"mrenclave"`
		MRSigner   any    `json:"mrsigner"`
		ISVProdID  any    `json:"isvprodid"`
		MinISVSVN  uint16 `json:"min_isvsvn"`
		Attributes any    `json:"attributes"`
		AllowDebug bool   `json:"allow_debug"`
	}
	tdxJSON struct {
		MRTD       any  `json:"mrtd"`
		RTMR0      any  `json:"rtmr0"`
		RTMR1      any  `json:"rtmr1"`
		RTMR2      any  `json:"rtmr2"`
		RTMR3      any  `json:"rtmr3"`
		Attributes any  `json:"attributes"`
		AllowDebug bool `json:"allow_debug"`
	}
	attributesJSON struct {
		Flags     string `json:"flags"`
		FlagsMask string `json:"flags_mask"`
		XFRM      string `json:"xfrm"`
		XFRMMask  string `json:"xfrm_mask"`
	}
	tcbRuleJSON struct {
		Status     TCBStatus `json:"status"`
		Advisories any       `json:"advisories"`
		Until      string    `json:"until"`
	}
	extensionJSON struct {
		OID   string `json:"oid"`
		Value any    `json:"value"`
	}
)

// MarshalJSON writes what ParsePolicy reads. A policy that does not pass Check
// has no JSON form.
func (p Policy) MarshalJSON() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	j := policyJSON{Roots: criterionJSON(p.Roots, func(s string) any { return s }), TCB: []tcbRuleJSON{}}
	if s := p.SGX; s != nil {
		hash := func(m sgx.Measurement) any { return m.String() }
		j.SGX = &sgxJSON{criterionJSON(s.MREnclave, hash), criterionJSON(s.MRSigner, hash),
			criterionJSON(s.ISVProdID, func(n uint16) any { return n }), s.MinISVSVN.min, s.Attributes.json(), s.AllowDebug}
	}
	if t := p.TDX; t != nil {
		hash := func(h Hash48) any { return h.String() }
		j.TDX = &tdxJSON{criterionJSON(t.MRTD, hash), criterionJSON(t.RTMR[0], hash), criterionJSON(t.RTMR[1], hash),
			criterionJSON(t.RTMR[2], hash), criterionJSON(t.RTMR[3], hash), t.Attributes.json(), t.AllowDebug}
	}
	for _, r := range p.TCB {
		until := "forever"
		if !r.Until.forever {
			until = r.Until.t.UTC().Format(time.RFC3339)
		}
		j.TCB = append(j.TCB, tcbRuleJSON{r.Status, criterionJSON(r.Advisories, func(s string) any { return s }), until})
	}
	for _, x := range p.Extensions {
		j.Extensions = append(j.Extensions, extensionJSON{x.OID.String(),
			criterionJSON(x.Value, func(s string) any { return hex.EncodeToString([]byte(s)) })})
	}
	return json.Marshal(j)
}

func criterionJSON[T comparable](c Criterion[T], one func(T) any) any {
	if c.any {
		return "any"
	}
	list := []any{}
	for _, v := range c.values {
		list = append(list, one(v))
	}
	return list
}

func (a Attributes) json() any {
	if a.any {
		return "any"
	}
	h := func(n uint64) string { return fmt.Sprintf("%#x", n) }
	return attributesJSON{h(a.flags), h(a.flagsMask), h(a.xfrm), h(a.xfrmMask)}
}
