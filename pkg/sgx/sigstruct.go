package sgx

import (
	"bytes"
	"crypto/sha256"
	"fmt"
)

// SigStructSize is the size of a SIGSTRUCT in bytes.
const SigStructSize = 1808

// Constants of SIGSTRUCT (SDM 38.13).
var (
	sigHeader  = [16]byte{6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0}
	sigHeader2 = [16]byte{1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1, 0, 0, 0}
)

// VendorIntel is the VENDOR of Intel's own enclaves; all others have 0.
const VendorIntel = 0x8086

// SigStruct is an enclave's signed identity (SDM 38.13). MODULUS, SIGNATURE,
// Q1 and Q2 are little-endian numbers.
//
//	0     16  HEADER         constant
//	16     4  VENDOR
//	20     4  DATE           BCD yyyymmdd: 2025-01-02 is 0x20250102
//	24    16  HEADER2        constant
//	40     4  SWDEFINED
//	44    84  reserved
//	128  384  MODULUS
//	512    4  EXPONENT       3
//	516  384  SIGNATURE
//	900    4  MISCSELECT
//	904    4  MISCMASK
//	908    1  CET_ATTRIBUTES
//	909    1  CET_ATTRIBUTES_MASK
//	910    2  reserved
//	912   16  ISVFAMILYID
//	928   16  ATTRIBUTES
//	944   16  ATTRIBUTEMASK
//	960   32  ENCLAVEHASH
//	992   16  reserved
//	1008  16  ISVEXTPRODID
//	1024   2  ISVPRODID
//	1026   2  ISVSVN
//	1028  12  reserved
//	1040 384  Q1
//	1424 384  Q2
//
// The signature covers bytes 0..127 and 900..1027.
type SigStruct struct {
	Vendor            uint32
	Date              uint32
	SWDefined         uint32
	Modulus           [384]byte
	Exponent          uint32
	Signature         [384]byte
	MiscSelect        MiscSelect
	MiscMask          uint32
	CETAttributes     uint8
	CETAttributesMask uint8
	ISVFamilyID       [16]byte
	Attributes        Attributes
	AttributeMask     Attributes
	EnclaveHash       Measurement
	ISVExtProdID      [16]byte
	ISVProdID         uint16
	ISVSVN            uint16
	Q1                [384]byte
	Q2                [384]byte
}

var sigStructLayout = layout{"SIGSTRUCT", SigStructSize, [][2]int{{44, 84}, {910, 2}, {992, 16}, {1028, 12}}}

// ParseSigStruct reads exactly SigStructSize bytes and checks the two header
// constants and the reserved bytes. It does not look at the signature.
func ParseSigStruct(b []byte) (*SigStruct, error) {
	if len(b) == SigStructSize {
		if !bytes.Equal(b[:16], sigHeader[:]) {
			return nil, &FormatError{"SIGSTRUCT", 0, fmt.Sprintf("HEADER is %x, want %x", b[:16], sigHeader)}
		}
		if !bytes.Equal(b[24:40], sigHeader2[:]) {
			return nil, &FormatError{"SIGSTRUCT", 24, fmt.Sprintf("HEADER2 is %x, want %x", b[24:40], sigHeader2)}
		}
	}
	if err := sigStructLayout.check(b); err != nil {
		return nil, err
	}
	return &SigStruct{
		Vendor:            le.Uint32(b[16:]),
		Date:              le.Uint32(b[20:]),
		SWDefined:         le.Uint32(b[40:]),
		Modulus:           [384]byte(b[128:512]),
		Exponent:          le.Uint32(b[512:]),
		Signature:         [384]byte(b[516:900]),
		MiscSelect:        MiscSelect(le.Uint32(b[900:])),
		MiscMask:          le.Uint32(b[904:]),
		CETAttributes:     b[908],
		CETAttributesMask: b[909],
		ISVFamilyID:       [16]byte(b[912:928]),
		Attributes:        getAttributes(b[928:]),
		AttributeMask:     getAttributes(b[944:]),
		EnclaveHash:       Measurement(b[960:992]),
		ISVExtProdID:      [16]byte(b[1008:1024]),
		ISVProdID:         le.Uint16(b[1024:]),
		ISVSVN:            le.Uint16(b[1026:]),
		Q1:                [384]byte(b[1040:1424]),
		Q2:                [384]byte(b[1424:1808]),
	}, nil
}

// AppendBinary appends the SigStructSize bytes of s to dst. The error is
// always nil.
func (s *SigStruct) AppendBinary(dst []byte) ([]byte, error) {
	dst, b := grow(dst, SigStructSize)
	copy(b, sigHeader[:])
	le.PutUint32(b[16:], s.Vendor)
	le.PutUint32(b[20:], s.Date)
	copy(b[24:], sigHeader2[:])
	le.PutUint32(b[40:], s.SWDefined)
	copy(b[128:], s.Modulus[:])
	le.PutUint32(b[512:], s.Exponent)
	copy(b[516:], s.Signature[:])
	le.PutUint32(b[900:], uint32(s.MiscSelect))
	le.PutUint32(b[904:], s.MiscMask)
	b[908], b[909] = s.CETAttributes, s.CETAttributesMask
	copy(b[912:], s.ISVFamilyID[:])
	s.Attributes.put(b[928:])
	s.AttributeMask.put(b[944:])
	copy(b[960:], s.EnclaveHash[:])
	copy(b[1008:], s.ISVExtProdID[:])
	le.PutUint16(b[1024:], s.ISVProdID)
	le.PutUint16(b[1026:], s.ISVSVN)
	copy(b[1040:], s.Q1[:])
	copy(b[1424:], s.Q2[:])
	return dst, nil
}

// SignedBytes returns the 256 bytes that the signature covers: HEADER to the
// end of the first reserved field, then MISCSELECT to ISVSVN.
func (s *SigStruct) SignedBytes() []byte {
	b, _ := s.AppendBinary(nil)
	return append(b[:128:128], b[900:1028]...)
}

// MRSigner returns the identity of the signer: SHA-256 of MODULUS as stored.
func (s *SigStruct) MRSigner() Measurement { return sha256.Sum256(s.Modulus[:]) }
