package sign

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"math/big"
	"slices"

	"github.com/enclaveos/eos/pkg/sgx"
)

// What the processor wants of a signer's key (SDM 38.13).
const (
	KeyBits  = 3072
	KeySize  = KeyBits / 8 // bytes of MODULUS, SIGNATURE, Q1 and Q2
	Exponent = 3
)

// FieldError says which field of a SIGSTRUCT the processor would refuse.
type FieldError struct {
	Field string        // the SDM's name
	Code  sgx.ErrorCode // what EINIT answers
	What  string
}

func (e *FieldError) Error() string { return fmt.Sprintf("SIGSTRUCT: %s %s", e.Field, e.What) }

// Unwrap returns the error code of EINIT.
func (e *FieldError) Unwrap() error { return e.Code }

// CheckKey reports why pub cannot be a signer of enclaves, or nil.
func CheckKey(pub *rsa.PublicKey) error {
	if n := pub.N.BitLen(); n != KeyBits {
		return fmt.Errorf("key size is %d bits, want %d", n, KeyBits)
	}
	if pub.E != Exponent {
		return fmt.Errorf("key's public exponent is %d, want %d", pub.E, Exponent)
	}
	if pub.N.Bit(0) == 0 {
		return fmt.Errorf("key's modulus is even")
	}
	return nil
}

// Digest returns what the signature of s signs: SHA-256 of the 256 bytes of
// SignedBytes.
func Digest(s *sgx.SigStruct) [sha256.Size]byte { return sha256.Sum256(s.SignedBytes()) }

// Sign signs s with key, which must be RSA of 3072 bits with exponent 3, and
// fills MODULUS, EXPONENT, SIGNATURE, Q1 and Q2. The result is verified; on an
// error s is as before. The same fields and key give the same bytes.
func Sign(s *sgx.SigStruct, key crypto.Signer) error {
	pub, ok := key.Public().(*rsa.PublicKey)
	if !ok {
		return fmt.Errorf("key is %T, want RSA of %d bits", key.Public(), KeyBits)
	}
	if err := CheckKey(pub); err != nil {
		return err
	}
	d := Digest(s)
	sig, err := key.Sign(rand.Reader, d[:], crypto.SHA256)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	return Join(s, pub, sig)
}

// Join fills MODULUS, EXPONENT, SIGNATURE, Q1 and Q2 of s from a signature
// made elsewhere: the 384 bytes, big-endian, of RSASSA-PKCS1-v1_5 over
// Digest(s). The result is verified; on an error s is as before.
func Join(s *sgx.SigStruct, pub *rsa.PublicKey, sig []byte) error {
	if err := CheckKey(pub); err != nil {
		return err
	}
	if len(sig) != KeySize {
		return fmt.Errorf("signature has %d bytes, want %d", len(sig), KeySize)
	}
	t, err := join(s, pub, sig)
	if err != nil {
		turned := slices.Clone(sig)
		slices.Reverse(turned)
		if _, e := join(s, pub, turned); e == nil {
			return fmt.Errorf("signature is little-endian: reverse its %d bytes", KeySize)
		}
		return fmt.Errorf("%w: signature of other fields, another key or another padding", err)
	}
	*s = *t
	return nil
}

func join(s *sgx.SigStruct, pub *rsa.PublicKey, sig []byte) (*sgx.SigStruct, error) {
	t := *s
	t.Exponent = Exponent
	putNumber(&t.Modulus, pub.N)
	n := new(big.Int).SetBytes(sig)
	if n.Cmp(pub.N) >= 0 {
		return nil, badSignature("SIGNATURE", "is not smaller than MODULUS")
	}
	putNumber(&t.Signature, n)
	q1, q2 := Q1Q2(n, pub.N)
	putNumber(&t.Q1, q1)
	putNumber(&t.Q2, q2)
	return &t, Verify(&t)
}

// Verify checks what the processor checks at EINIT without looking at the
// enclave: VENDOR, EXPONENT, the size of MODULUS, SIGNATURE over Digest(s),
// Q1 and Q2. (HEADER, HEADER2 and reserved bytes are checked by
// sgx.ParseSigStruct.) The error is a *FieldError.
func Verify(s *sgx.SigStruct) error {
	if s.Vendor != 0 && s.Vendor != sgx.VendorIntel {
		return &FieldError{"VENDOR", sgx.InvalidSigStruct, fmt.Sprintf("is %#x, want 0 or %#x", s.Vendor, sgx.VendorIntel)}
	}
	if s.Exponent != Exponent {
		return &FieldError{"EXPONENT", sgx.InvalidSigStruct, fmt.Sprintf("is %d, want %d", s.Exponent, Exponent)}
	}
	pub := PublicKey(s)
	if err := CheckKey(pub); err != nil {
		return badSignature("MODULUS", err.Error())
	}
	sig := number(&s.Signature)
	if sig.Cmp(pub.N) >= 0 {
		return badSignature("SIGNATURE", "is not smaller than MODULUS")
	}
	d := Digest(s)
	if rsa.VerifyPKCS1v15(pub, crypto.SHA256, d[:], sig.FillBytes(make([]byte, KeySize))) != nil {
		return badSignature("SIGNATURE", "does not match the signed fields and MODULUS")
	}
	q1, q2 := Q1Q2(sig, pub.N)
	var want [KeySize]byte
	if putNumber(&want, q1); !bytes.Equal(want[:], s.Q1[:]) {
		return badSignature("Q1", "is not floor(SIGNATURE² / MODULUS)")
	}
	if putNumber(&want, q2); !bytes.Equal(want[:], s.Q2[:]) {
		return badSignature("Q2", "is not floor((SIGNATURE³ - Q1·SIGNATURE·MODULUS) / MODULUS)")
	}
	return nil
}

func badSignature(field, what string) error {
	return &FieldError{field, sgx.InvalidSignature, what}
}

// PublicKey returns the key that s names as its signer; see CheckKey.
func PublicKey(s *sgx.SigStruct) *rsa.PublicKey {
	return &rsa.PublicKey{N: number(&s.Modulus), E: int(s.Exponent)}
}

// MRSigner returns the identity that enclaves signed by pub have.
func MRSigner(pub *rsa.PublicKey) (sgx.Measurement, error) {
	if err := CheckKey(pub); err != nil {
		return sgx.Measurement{}, err
	}
	var s sgx.SigStruct
	putNumber(&s.Modulus, pub.N)
	return s.MRSigner(), nil
}

// Q1Q2 returns the two quotients with which the processor checks a signature
// s under modulus n without dividing (SDM 38.13):
//
//	Q1 = floor(s² / n)
//	Q2 = floor((s³ - Q1·s·n) / n)
//
// With r = s² mod n the second is floor(s·r / n), so no number here exceeds
// twice the length of n. n must be positive and s smaller than n.
func Q1Q2(s, n *big.Int) (q1, q2 *big.Int) {
	r := new(big.Int).Mul(s, s)
	q1, r = new(big.Int).QuoRem(r, n, r)
	q2 = r.Mul(r, s)
	return q1, q2.Quo(q2, n)
}

// number reads a little-endian number.
func number(b *[KeySize]byte) *big.Int {
	c := *b
	slices.Reverse(c[:])
	return new(big.Int).SetBytes(c[:])
}

// putNumber writes n, of at most 384 bytes, little-endian with zeros above.
func putNumber(b *[KeySize]byte, n *big.Int) {
	n.FillBytes(b[:])
	slices.Reverse(b[:])
}

// VerifyBy is Verify, and says too whether pub is the signer.
func VerifyBy(s *sgx.SigStruct, pub *rsa.PublicKey) error {
	if err := Verify(s); err != nil {
		return err
	}
	want, err := MRSigner(pub)
	if err != nil {
		return err
	}
	if got := s.MRSigner(); got != want {
		return fmt.Errorf("SIGSTRUCT is signed by another key: MRSIGNER is %v, want %v", got, want)
	}
	return nil
}
