package issue

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/enclaveos/eos/pkg/sgx"
)

// Sizes in bytes.
const (
	HeaderSize = 48
	TDBodySize = 584
)

// Values of a quote's header and of its certification data.
const (
	KeyTypeP256  = 2 // ECDSA with P-256
	TEESGX       = 0
	TEETDX       = 0x81
	CertChain    = 5 // PEM chain
	CertQEReport = 6 // QE report with what certifies it
)

// Signer is a quoting enclave with its attestation key, and the machine's key
// that vouches for both. Its fields are what the quote says; nothing is checked,
// so that a quote can be as wrong as a test wants.
type Signer struct {
	VendorID       [16]byte // QE vendor
	QESVN, PCESVN  uint16   // in the header of version 3
	UserData       [20]byte
	AttestationKey *ecdsa.PrivateKey
	RawKey         []byte         // x and y in the quote, 64 bytes; nil: AttestationKey's
	QEReport       sgx.ReportBody // REPORTDATA as Binding has it
	AuthData       []byte
	PCK            *ecdsa.PrivateKey
	qeSignature    []byte // Certify's
	CertType       uint16 // CertChain
	CertData       []byte
}

// Binding is the REPORTDATA of a QE: SHA-256 of the attestation key and the
// authentication data, then zeros.
func Binding(key *ecdsa.PublicKey, authData []byte) (data [64]byte, err error) {
	raw, err := rawPublic(key)
	return BindingOf(raw, authData), err
}

// BindingOf is Binding of x and y.
func BindingOf(raw, authData []byte) (data [64]byte) {
	sum := sha256.Sum256(slices.Concat(raw, authData))
	copy(data[:], sum[:])
	return data
}

// QuoteV3 makes a quote of version 3:
//
//	0     48  header
//	48   384  report body
//	432    4  length of what follows
//	436   64  signature over bytes 0 to 431 by the attestation key
//	500   64  attestation key
//	564  384  QE report body
//	948   64  signature over the QE report by the PCK
//	1012   2  length of the authentication data, which follows
//	…      2  type of the certification data
//	…      4  its length, it follows
func (s *Signer) QuoteV3(body *sgx.ReportBody) ([]byte, error) {
	h := s.header(3, TEESGX)
	le.PutUint16(h[8:], s.QESVN)
	le.PutUint16(h[10:], s.PCESVN)
	b, _ := body.AppendBinary(nil)
	signed := append(h, b...)
	key, err := s.signedKey(signed)
	if err != nil {
		return nil, err
	}
	qe, err := s.certifiedQE()
	if err != nil {
		return nil, err
	}
	return appendData(signed, append(key, qe...)), nil
}

// QuoteV4SGX makes a quote of version 4 of an SGX enclave.
func (s *Signer) QuoteV4SGX(body *sgx.ReportBody) ([]byte, error) {
	b, _ := body.AppendBinary(nil)
	return s.quoteV4(TEESGX, b)
}

// QuoteV4TDX makes a quote of version 4 of a TD.
func (s *Signer) QuoteV4TDX(body *TDBody) ([]byte, error) {
	return s.quoteV4(TEETDX, body.Append(nil))
}

// quoteV4 makes a quote in which all that certifies the QE is inside a
// certification data of type 6, type and length first.
func (s *Signer) quoteV4(tee uint32, body []byte) ([]byte, error) {
	signed := append(s.header(4, tee), body...)
	key, err := s.signedKey(signed)
	if err != nil {
		return nil, err
	}
	qe, err := s.certifiedQE()
	if err != nil {
		return nil, err
	}
	return appendData(signed, appendData(le.AppendUint16(key, CertQEReport), qe)), nil
}

var le = binary.LittleEndian

func (s *Signer) header(version uint16, tee uint32) []byte {
	h := make([]byte, HeaderSize)
	le.PutUint16(h, version)
	le.PutUint16(h[2:], KeyTypeP256)
	le.PutUint32(h[4:], tee)
	copy(h[12:28], s.VendorID[:])
	copy(h[28:48], s.UserData[:])
	return h
}

// signedKey is the signature over signed and the key that made it.
func (s *Signer) signedKey(signed []byte) ([]byte, error) {
	if s.AttestationKey == nil || s.PCK == nil {
		return nil, errors.New("quote: no key to sign with")
	}
	sig, err := signRaw(s.AttestationKey, signed)
	if err != nil {
		return nil, err
	}
	key := s.RawKey
	if key == nil {
		key, err = rawPublic(&s.AttestationKey.PublicKey)
	}
	return append(sig, key...), err
}

// Certify signs the QE report once for all quotes to come, as a PCE does; without
// it each quote has a signature of its own. QEReport and PCK must not change any
// more.
func (s *Signer) Certify() (err error) {
	b, _ := s.QEReport.AppendBinary(nil)
	s.qeSignature, err = signRaw(s.PCK, b)
	return err
}

// certifiedQE is the QE report, its signature, the authentication data and the
// certification data.
func (s *Signer) certifiedQE() ([]byte, error) {
	b, _ := s.QEReport.AppendBinary(nil)
	sig := s.qeSignature
	if sig == nil {
		var err error
		if sig, err = signRaw(s.PCK, b); err != nil {
			return nil, err
		}
	}
	b = append(b, sig...)
	b = le.AppendUint16(b, uint16(len(s.AuthData)))
	b = append(b, s.AuthData...)
	return appendData(le.AppendUint16(b, s.CertType), s.CertData), nil
}

// appendData appends the length of data in 4 bytes, and data.
func appendData(b, data []byte) []byte {
	return append(le.AppendUint32(b, uint32(len(data))), data...)
}

// TDBody is what a TD reports of itself.
type TDBody struct {
	TEETCBSVN      [16]byte
	MRSEAM         [48]byte
	MRSignerSEAM   [48]byte
	SEAMAttributes [8]byte
	TDAttributes   [8]byte
	XFAM           [8]byte
	MRTD           [48]byte
	MRConfigID     [48]byte
	MROwner        [48]byte
	MROwnerConfig  [48]byte
	RTMR           [4][48]byte
	ReportData     [64]byte
}

// Append appends the TDBodySize bytes of t, in the order of its fields.
func (t *TDBody) Append(b []byte) []byte {
	for _, f := range [][]byte{
		t.TEETCBSVN[:], t.MRSEAM[:], t.MRSignerSEAM[:], t.SEAMAttributes[:], t.TDAttributes[:], t.XFAM[:], t.MRTD[:],
		t.MRConfigID[:], t.MROwner[:], t.MROwnerConfig[:], t.RTMR[0][:], t.RTMR[1][:], t.RTMR[2][:], t.RTMR[3][:], t.ReportData[:],
	} {
		b = append(b, f...)
	}
	return b
}
