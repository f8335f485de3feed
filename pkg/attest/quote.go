package attest

import "github.com/enclaveos/eos/pkg/sgx"

// TEE says what kind of thing a quote is about.
type TEE uint32

// The kinds, with the numbers of the quote header.
const (
	SGX TEE = 0x00
	TDX TEE = 0x81
)

// Kinds of certification data that the names are known of. Only
// CertPCKChain is verified; CertQEReport nests it in a quote version 4.
const (
	CertPCKChain uint16 = 5
	CertQEReport uint16 = 6
)

// Quote is a parsed quote. Exactly one of Report and TD is set.
type Quote struct {
	Version            uint16 // 3 or 4
	AttestationKeyType uint16 // 2: ECDSA P-256
	TEE                TEE
	QESVN, PCESVN      uint16 // version 3 only; version 4 has reserved bytes here
	QEVendorID         [16]byte
	UserData           [20]byte

	Report *sgx.ReportBody // the enclave's report, SGX
	TD     *TDReport       // the trust domain's report, TDX

	Signature         [64]byte // r then s, over SignedBytes
	AttestationKey    [64]byte // x then y
	QEReport          sgx.ReportBody
	QEReportSignature [64]byte // r then s, by the PCK key
	QEAuthData        []byte
	CertType          uint16 // CertPCKChain
	CertData          []byte // PEM, as it is in the quote
	Padding           int    // zero bytes behind the quote, which nothing covers

	raw []byte
}

// TDReport is the body of a TDX quote version 4 (TD quote body of TDX 1.0).
//
//	0   16  TEE_TCB_SVN
//	16  48  MRSEAM
//	64  48  MRSIGNERSEAM
//	112  8  SEAMATTRIBUTES
//	120  8  TDATTRIBUTES
//	128  8  XFAM
//	136 48  MRTD
//	184 48  MRCONFIGID
//	232 48  MROWNER
//	280 48  MROWNERCONFIG
//	328 192 RTMR0..RTMR3
//	520 64  REPORTDATA
type TDReport struct {
	TEETCBSVN      [16]byte
	MRSEAM         [48]byte
	MRSignerSEAM   [48]byte
	SEAMAttributes uint64
	TDAttributes   uint64
	XFAM           uint64
	MRTD           [48]byte
	MRConfigID     [48]byte
	MROwner        [48]byte
	MROwnerConfig  [48]byte
	RTMR           [4][48]byte
	ReportData     [64]byte
}
