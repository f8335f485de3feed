package attest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// SignedJSON is a JSON text and its signature. The signature is over exactly
// these bytes, so they are kept as they came.
type SignedJSON struct {
	Body      []byte   // the value of "tcbInfo" or "enclaveIdentity"
	Signature [64]byte // ECDSA P-256, r then s
}

// Names of a SignedJSON's body in a response of the PCS.
const (
	NameTCBInfo    = "tcbInfo"
	NameQEIdentity = "enclaveIdentity"
)

// ParseSignedJSON takes a response of the PCS apart: {name: body,
// "signature": hex}. It does not look into the body.
func ParseSignedJSON(name string, response []byte) (SignedJSON, error) {
	var s SignedJSON
	err := parseJSON(response, func(r *reader) error {
		return r.object(func(key []byte) (err error) {
			switch string(key) {
			case name:
				s.Body, err = r.raw()
				s.Body = bytes.Clone(s.Body)
			case "signature":
				err = r.hex(s.Signature[:])
			default:
				return errUnknownKey
			}
			return err
		}, name, "signature")
	})
	if err != nil {
		return SignedJSON{}, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// Response is the inverse of ParseSignedJSON.
func (s *SignedJSON) Response(name string) []byte {
	return fmt.Appendf(nil, `{"%s":%s,"signature":"%x"}`, name, s.Body, s.Signature[:])
}

// Collateral is what Intel, or whoever owns the root, says about a platform.
type Collateral struct {
	TCBInfo         SignedJSON
	TCBInfoChain    []byte // PEM: signing certificate, root
	QEIdentity      SignedJSON
	QEIdentityChain []byte // PEM: signing certificate, root
	PCKCRL          []byte // DER
	PCKCRLChain     []byte // PEM: PCK CA, root. For other verifiers: ours takes the CA of the quote's own, verified chain
	RootCRL         []byte // DER
	PCKChain        []byte // PEM, may be empty: PCK leaf, CA, root, for a quote that does not carry them
}

// MaxCollateralSize bounds a bundle; Intel's are about 15 KiB.
const MaxCollateralSize = 1 << 20

// ParseCollateral reads a bundle, in which collateral is kept for later or
// carried to where there is no network:
//
//	{"pck_crl_issuer_chain": PEM, "root_ca_crl": hex of DER, "pck_crl": hex of DER,
//	 "tcb_info_issuer_chain": PEM, "tcb_info": signed text, "tcb_info_signature": hex,
//	 "qe_identity_issuer_chain": PEM, "qe_identity": signed text, "qe_identity_signature": hex,
//	 "pck_certificate_chain": PEM}
//
// These are the names of dcap-qvl, so its bundles can be read and it can read
// ours. The last may be missing or null; another that is missing, or one that
// is not known or there twice, is an error.
func ParseCollateral(b []byte) (*Collateral, error) {
	if len(b) > MaxCollateralSize {
		return nil, fmt.Errorf("collateral bundle: %d bytes, want at most %d", len(b), MaxCollateralSize)
	}
	c := &Collateral{}
	text := func(r *reader, dst *[]byte) error {
		s, err := r.str()
		*dst = append([]byte(nil), s...)
		return err
	}
	err := parseJSON(b, func(r *reader) error {
		return r.object(func(key []byte) (err error) {
			switch string(key) {
			case "pck_crl_issuer_chain":
				err = text(r, &c.PCKCRLChain)
			case "root_ca_crl":
				c.RootCRL, err = r.hexBytes()
			case "pck_crl":
				c.PCKCRL, err = r.hexBytes()
			case "tcb_info_issuer_chain":
				err = text(r, &c.TCBInfoChain)
			case "tcb_info":
				err = text(r, &c.TCBInfo.Body)
			case "tcb_info_signature":
				err = r.hex(c.TCBInfo.Signature[:])
			case "qe_identity_issuer_chain":
				err = text(r, &c.QEIdentityChain)
			case "qe_identity":
				err = text(r, &c.QEIdentity.Body)
			case "qe_identity_signature":
				err = r.hex(c.QEIdentity.Signature[:])
			case "pck_certificate_chain":
				if r.peek() == 'n' {
					return r.skip() // null, or an error
				}
				err = text(r, &c.PCKChain)
			default:
				return errUnknownKey
			}
			return err
		}, "pck_crl_issuer_chain", "root_ca_crl", "pck_crl", "tcb_info_issuer_chain", "tcb_info", "tcb_info_signature",
			"qe_identity_issuer_chain", "qe_identity", "qe_identity_signature")
	})
	if err != nil {
		return nil, fmt.Errorf("collateral bundle: %w", err)
	}
	return c, nil
}

// hexBytes reads a string of hex digits of any length.
func (r *reader) hexBytes() ([]byte, error) {
	s, err := r.str()
	if err != nil {
		return nil, err
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		return nil, r.errorf("want hex digits")
	}
	return b, nil
}

// bundle has the order in which the keys are written.
type bundle struct {
	PCKCRLChain         string `json:"pck_crl_issuer_chain"`
	RootCRL             string `json:"root_ca_crl"`
	PCKCRL              string `json:"pck_crl"`
	TCBInfoChain        string `json:"tcb_info_issuer_chain"`
	TCBInfo             string `json:"tcb_info"`
	TCBInfoSignature    string `json:"tcb_info_signature"`
	QEIdentityChain     string `json:"qe_identity_issuer_chain"`
	QEIdentity          string `json:"qe_identity"`
	QEIdentitySignature string `json:"qe_identity_signature"`
	PCKChain            string `json:"pck_certificate_chain,omitempty"`
}

// MarshalJSON writes the bundle that ParseCollateral reads.
func (c *Collateral) MarshalJSON() ([]byte, error) {
	return json.Marshal(bundle{
		PCKCRLChain: string(c.PCKCRLChain), RootCRL: hex.EncodeToString(c.RootCRL), PCKCRL: hex.EncodeToString(c.PCKCRL),
		TCBInfoChain: string(c.TCBInfoChain), TCBInfo: string(c.TCBInfo.Body), TCBInfoSignature: hex.EncodeToString(c.TCBInfo.Signature[:]),
		QEIdentityChain: string(c.QEIdentityChain), QEIdentity: string(c.QEIdentity.Body), QEIdentitySignature: hex.EncodeToString(c.QEIdentity.Signature[:]),
		PCKChain: string(c.PCKChain),
	})
}

// UnmarshalJSON is ParseCollateral.
func (c *Collateral) UnmarshalJSON(b []byte) error {
	v, err := ParseCollateral(b)
	if err == nil {
		*c = *v
	}
	return err
}
