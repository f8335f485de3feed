package enclave

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/enclaveos/eos/pkg/sgx"
)

var le = binary.LittleEndian

// Sizes of a blob's parts, in bytes.
const (
	BlobHeaderSize = 120 // what comes before the ciphertext
	BlobTagSize    = 16  // what comes after it
	Overhead       = BlobHeaderSize + BlobTagSize
)

// blobMagic is the start of a blob; its last byte is the version.
const blobMagic = "EOSSEAL\x01"

// identities are the bits of KEYPOLICY of which a blob has exactly one.
const identities = sgx.PolicyMREnclave | sgx.PolicyMRSigner

// SealedFlags are the bits of ATTRIBUTES.FLAGS that the key of a blob depends on:
// all, those unknown today too, but those that do not make an enclave less
// trustworthy than one without them: 0xffffffff_fffffb0f.
const SealedFlags = ^(sgx.AttrProvisionKey | sgx.AttrEInitTokenKey | sgx.AttrKSS | sgx.AttrCET | sgx.AttrAEXNotify)

// Blob is what Seal makes. All of its fields but the ciphertext can be read by
// anybody, so that an error can say why it does not open; none can be changed.
type Blob struct {
	Policy    sgx.KeyPolicy   // MRENCLAVE or MRSIGNER, and bits of sgx.PolicyKSS
	ISVProdID uint16          // of the enclave that has sealed it, as all that follows
	ISVSVN    uint16          //
	ConfigSVN uint16          // 0 unless Policy has CONFIGID
	Flags     sgx.AttrFlags   // those of SealedFlags
	CPUSVN    [16]byte        //
	Identity  sgx.Measurement // MRENCLAVE or MRSIGNER, as Policy says
	KeyID     [32]byte        // random
	Nonce     [12]byte        // random

	Ciphertext []byte // as long as the plaintext
	Tag        [BlobTagSize]byte
}

// BlobError says why bytes are no blob.
type BlobError struct {
	Off  int // byte offset
	What string
}

func (e *BlobError) Error() string { return fmt.Sprintf("sealed blob: offset %d: %s", e.Off, e.What) }

// ErrPolicy is the answer to a policy that is not exactly one of MRENCLAVE and
// MRSIGNER, with or without bits of sgx.PolicyKSS.
var ErrPolicy = errors.New("sealing: choose whose the blob is: sgx.PolicyMREnclave (this image) or sgx.PolicyMRSigner (all images of its signer)")

func checkPolicy(p sgx.KeyPolicy) error {
	if id := p & identities; id != sgx.PolicyMREnclave && id != sgx.PolicyMRSigner || p&^sgx.PolicyKnown != 0 {
		return ErrPolicy
	}
	return nil
}

// ParseBlob reads a blob of exactly len(b) bytes; the error is a *BlobError. It
// decrypts nothing and may be called anywhere. The result's Ciphertext is a part of b.
// Numbers are little-endian:
//
//	0     7  "EOSSEAL"
//	7     1  version, 1
//	8     2  KEYPOLICY
//	10    2  ISVPRODID
//	12    2  ISVSVN
//	14    2  CONFIGSVN
//	16    8  ATTRIBUTES.FLAGS & SealedFlags
//	24   16  CPUSVN
//	40   32  MRENCLAVE or MRSIGNER
//	72   32  KEYID
//	104  12  nonce
//	116   4  n, length of the ciphertext
//	120   n  ciphertext
//	120+n 16 tag
//
// The KEYREQUEST is KEYNAME 4, the fields above, ATTRIBUTEMASK SealedFlags and XFRM 0,
// MISCMASK and CET_ATTRIBUTES_MASK 0. The key is HKDF-SHA256 of what it gives, without
// salt, with the info "enclaveos seal v1", 32 bytes. GCM's additional data are the
// first 120 bytes and then the caller's.
func ParseBlob(b []byte) (*Blob, error) {
	if len(b) < Overhead {
		return nil, &BlobError{len(b), fmt.Sprintf("it ends, with %d bytes; the shortest has %d", len(b), Overhead)}
	}
	n := len(blobMagic) - 1
	switch {
	case string(b[:n]) != blobMagic[:n]:
		return nil, &BlobError{0, "this is nothing that Seal has made"}
	case b[n] != blobMagic[n]:
		return nil, &BlobError{n, fmt.Sprintf("version %d, this program knows %d", b[n], blobMagic[n])}
	case uint64(le.Uint32(b[116:])) != uint64(len(b)-Overhead):
		return nil, &BlobError{116, fmt.Sprintf("the length says %d bytes of ciphertext, there are %d", le.Uint32(b[116:]), len(b)-Overhead)}
	}
	blob := &Blob{
		Policy:     sgx.KeyPolicy(le.Uint16(b[8:])),
		ISVProdID:  le.Uint16(b[10:]),
		ISVSVN:     le.Uint16(b[12:]),
		ConfigSVN:  le.Uint16(b[14:]),
		Flags:      sgx.AttrFlags(le.Uint64(b[16:])),
		CPUSVN:     [16]byte(b[24:40]),
		Identity:   sgx.Measurement(b[40:72]),
		KeyID:      [32]byte(b[72:104]),
		Nonce:      [12]byte(b[104:116]),
		Ciphertext: b[BlobHeaderSize : len(b)-BlobTagSize : len(b)-BlobTagSize],
		Tag:        [BlobTagSize]byte(b[len(b)-BlobTagSize:]),
	}
	if err := blob.check(); err != nil {
		return nil, err
	}
	return blob, nil
}

// check finds what no Seal would have written.
func (b *Blob) check() error {
	switch {
	case checkPolicy(b.Policy) != nil:
		return &BlobError{8, fmt.Sprintf("KEYPOLICY %#x is not one of MRENCLAVE (1) and MRSIGNER (2)", uint16(b.Policy))}
	case b.Policy&sgx.PolicyConfigID == 0 && b.ConfigSVN != 0:
		return &BlobError{14, fmt.Sprintf("CONFIGSVN is %d, but KEYPOLICY has no CONFIGID", b.ConfigSVN)}
	case b.Flags&^SealedFlags != 0 || b.Flags&sgx.AttrInit == 0:
		return &BlobError{16, fmt.Sprintf("ATTRIBUTES.FLAGS %v are no running enclave's", b.Flags)}
	case b.Identity == sgx.Measurement{}:
		return &BlobError{40, "the enclave's identity is zero"}
	case uint64(len(b.Ciphertext)) > math.MaxUint32:
		return &BlobError{116, fmt.Sprintf("%d bytes of ciphertext, at most %d fit", len(b.Ciphertext), uint32(math.MaxUint32))}
	}
	return nil
}

// AppendBinary appends the bytes that ParseBlob reads to dst. The error is a
// *BlobError if there are none: a zero Blob has no bytes.
func (b *Blob) AppendBinary(dst []byte) ([]byte, error) {
	if err := b.check(); err != nil {
		return dst, err
	}
	dst = b.appendHeader(dst)
	dst = append(dst, b.Ciphertext...)
	return append(dst, b.Tag[:]...), nil
}

func (b *Blob) appendHeader(dst []byte) []byte {
	dst = append(dst, blobMagic...)
	dst = le.AppendUint16(dst, uint16(b.Policy))
	dst = le.AppendUint16(dst, b.ISVProdID)
	dst = le.AppendUint16(dst, b.ISVSVN)
	dst = le.AppendUint16(dst, b.ConfigSVN)
	dst = le.AppendUint64(dst, uint64(b.Flags))
	dst = append(dst, b.CPUSVN[:]...)
	dst = append(dst, b.Identity[:]...)
	dst = append(dst, b.KeyID[:]...)
	dst = append(dst, b.Nonce[:]...)
	return le.AppendUint32(dst, uint32(len(b.Ciphertext)))
}
