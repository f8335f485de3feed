package quoting

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/enclaveos/eos/pkg/attest/issue"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/microcode"
	"github.com/enclaveos/eos/pkg/sgx"
)

// ErrNotForUs is the answer to a report whose MAC is not one for the quoting
// enclave.
var ErrNotForUs = errors.New("the report was not made for the quoting enclave of this machine, or has been changed")

// Quoter is the quoting enclave of a software device. Its methods may be called
// from any goroutine.
type Quoter struct {
	dir    string
	device *microcode.Device
	keys   *keys
	qe     *identity
	signer issue.Signer
	now    func() time.Time

	mu     sync.Mutex // guards issued
	issued issued
}

// Open opens the quoting enclave of the device whose directory is dir. On first
// use it makes its keys there: KeysFile and RootFile, mode 0600.
func Open(dir string, device *microcode.Device) (*Quoter, error) { return open(dir, device, time.Now) }

func open(dir string, device *microcode.Device, now func() time.Time) (*Quoter, error) {
	if dir == "" {
		return nil, errors.New("quoting enclave: no directory given")
	}
	q := &Quoter{dir: dir, device: device, now: now}
	var err error
	if q.keys, err = openKeys(dir, device, now()); err != nil {
		return nil, fmt.Errorf("quoting enclave: %w", err)
	}
	if err := q.certify(); err != nil {
		return nil, fmt.Errorf("quoting enclave: %w", err)
	}
	return q, nil
}

// authData is the authentication data that Intel's quoting enclave uses: 32 bytes
// that count up.
func authData() []byte {
	b := make([]byte, 32)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// certify has the PCE vouch for the QE and its attestation key: the QE reports to
// the PCE, and the PCE signs the report with the PCK.
func (q *Quoter) certify() error {
	var err error
	if q.qe, err = newIdentity(q.device, "eos software quoting enclave, version 1: keeps no secret\n", qeProdID); err != nil {
		return err
	}
	pce, err := newIdentity(q.device, "eos software provisioning certification enclave, version 1: keeps no secret\n", pceProdID)
	if err != nil {
		return err
	}
	data, err := issue.Binding(&q.keys.attestation.PublicKey, authData())
	if err != nil {
		return err
	}
	report, err := q.qe.report(pce.target(), &data)
	if err != nil {
		return err
	}
	if err := pce.check(&report); err != nil {
		return err
	}
	q.signer = issue.Signer{
		QESVN: isvSVN, PCESVN: isvSVN, AttestationKey: q.keys.attestation, QEReport: report.Body, AuthData: authData(),
		PCK: q.keys.pck.Key, CertType: issue.CertChain, CertData: q.keys.hierarchy().PCKChain(q.keys.pck),
	}
	copy(q.signer.VendorID[:], VendorID)
	// Intel's first 16 bytes of user data are the id of the quoting enclave.
	id := sha256.Sum256(q.keys.pck.Cert.RawSubjectPublicKeyInfo)
	copy(q.signer.UserData[:16], id[:])
	return q.signer.Certify()
}

// TargetInfo names the quoting enclave: reports are to be made for it.
func (q *Quoter) TargetInfo() (b [sgx.TargetInfoSize]byte) {
	out, _ := q.qe.target().AppendBinary(nil)
	return [sgx.TargetInfoSize]byte(out)
}

// Quote turns a REPORT made for the quoting enclave into a quote version 3. It
// quotes debug enclaves as well; that they are is in the quote.
func (q *Quoter) Quote(report [sgx.ReportSize]byte) ([]byte, error) {
	r, err := sgx.ParseReport(report[:])
	if err != nil {
		return nil, fmt.Errorf("quoting enclave: %w", err)
	}
	if err := q.qe.check(r); err != nil {
		return nil, fmt.Errorf("quoting enclave: %w", err)
	}
	return q.signer.QuoteV3(&r.Body)
}

// Root is the certificate that all chains end in.
func (q *Quoter) Root() *x509.Certificate { return q.keys.root.Cert }

// RootPEM is the content of RootFile.
func (q *Quoter) RootPEM() []byte { return slices.Clone(q.keys.root.PEM()) }
