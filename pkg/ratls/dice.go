package ratls

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"

	"github.com/enclaveos/eos/pkg/sgx"
)

// diceTag is the CBOR tag of an Intel TEE quote with claims.
const diceTag = 60000

// maxDICESize bounds the evidence: a quote with its chain is less than 10 KiB.
const maxDICESize = 64 << 10

// Hash algorithms of a hash entry (IANA, Named Information Hash Algorithm Registry).
const (
	hashSHA256 = 1
	hashSHA384 = 7
	hashSHA512 = 8
)

const claimPubkeyHash = "pubkey-hash"

// DICE is evidence in the interoperable form that Gramine, the Intel SGX SDK and
// RATS-TLS read, as it stands in the certificate extension OIDDICE:
//
//	60000([quote, claims])          quote, claims: byte strings
//	claims = {"pubkey-hash": hash, …} a map of text to byte strings, as bytes
//	hash   = [algorithm, value]     of the SubjectPublicKeyInfo in DER, as bytes
//
// The quote's report data is SHA-256(claims), then zeros. That is another report data
// than that of a quote under OIDQuote, so a leaf with both forms has two quotes.
type DICE struct {
	Quote  []byte
	Claims []Claim // in the order of the certificate; at least "pubkey-hash"

	raw []byte // the claims as hashed
}

// Claim is one of the custom claims.
type Claim struct {
	Name  string
	Value []byte
}

// DICEReportData is the report data that the quote of the form DICE must have to vouch
// for the key spki (SubjectPublicKeyInfo in DER).
func DICEReportData(spki []byte) [sgx.ReportDataSize]byte {
	return newDICE(spki, nil).ReportData()
}

// newDICE is the evidence that we make: of the claims, only the required one.
func newDICE(spki, quote []byte) *DICE {
	sum := sha256.Sum256(spki)
	entry := appendCBOR(nil, cborArray, 2)
	entry = appendCBOR(entry, cborUint, hashSHA256)
	entry = appendCBORString(entry, cborBytes, sum[:])
	d := &DICE{Quote: quote, Claims: []Claim{{claimPubkeyHash, entry}}}
	d.raw = appendCBOR(nil, cborMap, 1)
	d.raw = appendCBORString(d.raw, cborText, []byte(claimPubkeyHash))
	d.raw = appendCBORString(d.raw, cborBytes, entry)
	return d
}

// ReportData is what the claims make of the quote's report data.
func (d *DICE) ReportData() (rd [sgx.ReportDataSize]byte) {
	sum := sha256.Sum256(d.raw)
	copy(rd[:], sum[:])
	return rd
}

// AppendBinary appends the extension's value to b. The error is always nil.
func (d *DICE) AppendBinary(b []byte) ([]byte, error) {
	b = appendCBOR(b, cborTag, diceTag)
	b = appendCBOR(b, cborArray, 2)
	b = appendCBORString(b, cborBytes, d.Quote)
	return appendCBORString(b, cborBytes, d.raw), nil
}

// ParseDICE reads the value of the extension. It checks the form and nothing else: see
// CheckKey, and the quote's own verification.
func ParseDICE(b []byte) (*DICE, error) {
	d, err := parseDICE(b)
	if err != nil {
		return nil, fmt.Errorf("ratls: DICE evidence: %w", err)
	}
	return d, nil
}

func parseDICE(b []byte) (*DICE, error) {
	if len(b) > maxDICESize {
		return nil, fmt.Errorf("%d bytes, at most %d are allowed", len(b), maxDICESize)
	}
	r := cborReader{b}
	if err := r.count(cborTag, diceTag); err != nil {
		return nil, err
	}
	if err := r.count(cborArray, 2); err != nil {
		return nil, err
	}
	quote, err := r.string(cborBytes)
	if err != nil {
		return nil, fmt.Errorf("quote: %w", err)
	}
	claims, err := r.string(cborBytes)
	if err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	d := &DICE{Quote: quote, raw: claims}
	if d.Claims, err = parseClaims(claims); err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	if d.claim(claimPubkeyHash) == nil {
		return nil, fmt.Errorf("claims: no %q", claimPubkeyHash)
	}
	return d, nil
}

func parseClaims(b []byte) ([]Claim, error) {
	r := cborReader{b}
	n, err := r.head(cborMap)
	if err != nil {
		return nil, err
	}
	if n > uint64(len(r.b)) { // each claim is at least two bytes
		return nil, errCBORShort
	}
	var claims []Claim
	for range n {
		name, err := r.string(cborText)
		if err != nil {
			return nil, err
		}
		value, err := r.string(cborBytes)
		if err != nil {
			return nil, fmt.Errorf("%.32q: %w", name, err)
		}
		for _, c := range claims {
			if c.Name == string(name) {
				return nil, fmt.Errorf("%.32q comes twice", name)
			}
		}
		claims = append(claims, Claim{string(name), value})
		if len(claims) > MaxExtensions {
			return nil, fmt.Errorf("more than %d claims", MaxExtensions)
		}
	}
	return claims, r.end()
}

func (d *DICE) claim(name string) []byte {
	for _, c := range d.Claims {
		if c.Name == name {
			return c.Value
		}
	}
	return nil
}

// CheckKey checks that the claims are about the key spki (SubjectPublicKeyInfo in DER).
// With a verified quote whose report data is ReportData, an enclave vouches for the key.
func (d *DICE) CheckKey(spki []byte) error {
	r := cborReader{d.claim(claimPubkeyHash)}
	if err := r.count(cborArray, 2); err != nil {
		return fmt.Errorf("ratls: DICE evidence: %s: %w", claimPubkeyHash, err)
	}
	alg, err := r.head(cborUint)
	if err != nil {
		return fmt.Errorf("ratls: DICE evidence: %s: %w", claimPubkeyHash, err)
	}
	sum, err := r.string(cborBytes)
	if err == nil {
		err = r.end()
	}
	if err != nil {
		return fmt.Errorf("ratls: DICE evidence: %s: %w", claimPubkeyHash, err)
	}
	var want []byte
	switch alg {
	case hashSHA256:
		h := sha256.Sum256(spki)
		want = h[:]
	case hashSHA384:
		h := sha512.Sum384(spki)
		want = h[:]
	case hashSHA512:
		h := sha512.Sum512(spki)
		want = h[:]
	default:
		return fmt.Errorf("ratls: DICE evidence: %s: hash algorithm %d is not SHA-256 (1), SHA-384 (7) or SHA-512 (8)", claimPubkeyHash, alg)
	}
	if !bytes.Equal(sum, want) {
		return errors.New("ratls: DICE evidence: the claims are about another key than the certificate's")
	}
	return nil
}
