package enclave

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"

	"github.com/enclaveos/eos/pkg/sgx"
)

// sealInfo is HKDF's info; another version of the blob has another.
const sealInfo = "enclaveos seal v1"

// Errors of Unseal.
var (
	// ErrNotAuthentic is the answer to a blob that is for this enclave, as far as its
	// header tells, but does not open.
	ErrNotAuthentic = errors.New("sealed blob: not authentic: it has been changed, comes from another machine, or was sealed with other additional data")
	// ErrNewer is the answer to a blob of a higher ISVSVN, CONFIGSVN or CPUSVN than
	// this enclave's: one does not get the keys of what comes later.
	ErrNewer = errors.New("sealed blob: sealed by a newer version")
)

// OtherEnclaveError says that a blob is not this enclave's to open.
type OtherEnclaveError struct {
	What         string // the field that differs, by its SGX name
	Sealed, Here string // its values in the enclave that has sealed, and in this one
}

func (e *OtherEnclaveError) Error() string {
	return fmt.Sprintf("sealed blob: sealed by another enclave: its %s was %s, here it is %s", e.What, e.Sealed, e.Here)
}

// Seal encrypts plaintext so that only an enclave that policy names can open it:
// exactly one of sgx.PolicyMREnclave and sgx.PolicyMRSigner, with or without bits of
// sgx.PolicyKSS; else the error is ErrPolicy. Unseal must be given the same
// additional data, which is not part of the result and may be nil. The result is a
// new slice, Overhead bytes longer than plaintext, which has fewer than 4 GiB.
func Seal(policy sgx.KeyPolicy, plaintext, additional []byte) ([]byte, error) {
	return seal(kernel{}, policy, plaintext, additional)
}

// Unseal opens a blob. What can go wrong is ErrNotEnclave, a *BlobError for bytes
// that are no blob, an *OtherEnclaveError, ErrNewer and ErrNotAuthentic.
func Unseal(blob, additional []byte) ([]byte, error) { return unseal(kernel{}, blob, additional) }

func seal(p processor, policy sgx.KeyPolicy, plaintext, additional []byte) ([]byte, error) {
	if !p.present() {
		return nil, ErrNotEnclave
	}
	if err := checkPolicy(policy); err != nil {
		return nil, err
	}
	if uint64(len(plaintext)) > math.MaxUint32 {
		return nil, fmt.Errorf("sealing: %d bytes are too many, at most %d fit in a blob", len(plaintext), uint32(math.MaxUint32))
	}
	s, err := self(p)
	if err != nil {
		return nil, err
	}
	b := Blob{
		Policy: policy, ISVProdID: s.ISVProdID, ISVSVN: s.ISVSVN,
		Flags: s.Attributes.Flags & SealedFlags, CPUSVN: s.CPUSVN, Identity: identity(s, policy),
		Ciphertext: plaintext, // for its length
	}
	if policy&sgx.PolicyConfigID != 0 {
		b.ConfigSVN = s.ConfigSVN
	}
	rand.Read(b.KeyID[:]) // never fails
	rand.Read(b.Nonce[:])
	aead, err := b.cipher(p)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, Overhead+len(plaintext))
	out = b.appendHeader(out)
	return aead.Seal(out, b.Nonce[:], plaintext, join(out, additional)), nil
}

func unseal(p processor, blob, additional []byte) ([]byte, error) {
	if !p.present() {
		return nil, ErrNotEnclave
	}
	b, err := ParseBlob(blob)
	if err != nil {
		return nil, err
	}
	s, err := self(p)
	if err != nil {
		return nil, err
	}
	// The key decides; this is only so that the error says why.
	if err := b.mine(s); err != nil {
		return nil, err
	}
	aead, err := b.cipher(p)
	if err != nil {
		return nil, err
	}
	plaintext, err := aead.Open(nil, b.Nonce[:], blob[BlobHeaderSize:], join(blob[:BlobHeaderSize], additional))
	if err != nil {
		return nil, ErrNotAuthentic
	}
	return plaintext, nil
}

// identity is the measurement that a policy means.
func identity(s *sgx.ReportBody, policy sgx.KeyPolicy) sgx.Measurement {
	if policy&sgx.PolicyMREnclave != 0 {
		return s.MREnclave
	}
	return s.MRSigner
}

// mine checks what the header tells of the key.
func (b *Blob) mine(s *sgx.ReportBody) error {
	name := "MRSIGNER"
	if b.Policy&sgx.PolicyMREnclave != 0 {
		name = "MRENCLAVE"
	}
	flags := s.Attributes.Flags & SealedFlags
	switch here := identity(s, b.Policy); {
	case b.Identity != here:
		return &OtherEnclaveError{name, b.Identity.String(), here.String()}
	case b.Policy&sgx.PolicyNoISVProdID == 0 && b.ISVProdID != s.ISVProdID:
		return &OtherEnclaveError{"ISVPRODID", fmt.Sprint(b.ISVProdID), fmt.Sprint(s.ISVProdID)}
	case b.Flags != flags:
		return &OtherEnclaveError{"ATTRIBUTES", b.Flags.String(), flags.String()}
	case b.Policy&sgx.PolicyKSS != 0 && s.Attributes.Flags&sgx.AttrKSS == 0:
		return &OtherEnclaveError{"ATTRIBUTES", "KSS", s.Attributes.Flags.String()}
	case b.ISVSVN > s.ISVSVN:
		return fmt.Errorf("%w: its ISVSVN was %d, here it is %d", ErrNewer, b.ISVSVN, s.ISVSVN)
	case b.ConfigSVN > s.ConfigSVN:
		return fmt.Errorf("%w: its CONFIGSVN was %d, here it is %d", ErrNewer, b.ConfigSVN, s.ConfigSVN)
	}
	return nil
}

// cipher is the AEAD with the blob's key.
func (b *Blob) cipher(p processor) (cipher.AEAD, error) {
	k, err := key(p, &sgx.KeyRequest{
		KeyName: sgx.KeySeal, KeyPolicy: b.Policy, ISVSVN: b.ISVSVN, CPUSVN: b.CPUSVN,
		AttributeMask: sgx.Attributes{Flags: SealedFlags}, KeyID: b.KeyID, ConfigSVN: b.ConfigSVN,
	})
	switch {
	case errors.Is(err, sgx.InvalidCPUSVN):
		return nil, fmt.Errorf("%w: its CPUSVN was %x", ErrNewer, b.CPUSVN)
	case err != nil:
		return nil, err
	}
	defer clear(k[:])
	derived, err := hkdf.Key(sha256.New, k[:], nil, sealInfo, 32)
	if err != nil {
		return nil, err
	}
	defer clear(derived)
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// join is the two parts of GCM's additional data; the first has a fixed length.
func join(header, additional []byte) []byte {
	return append(append(make([]byte, 0, len(header)+len(additional)), header...), additional...)
}
