package collateral

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
)

// ErrStale is in errors about collateral that is whole, but too old.
var ErrStale = errors.New("stale")

// document is a part of collateral with its dates.
type document struct {
	name        string
	begin, end  time.Time
	boundsByAge bool
}

// documents reads the parts and checks that they are what r asks for and that
// their signatures are by the certificates that came with them. Whether anybody
// trusts these is the verifier's to find out; here damage is found.
func documents(c *attest.Collateral, r Request) ([]document, error) {
	tcb, err := attest.ParseTCBInfo(c.TCBInfo.Body)
	if err != nil {
		return nil, err
	}
	if tcb.ID != r.TEE.String() || tcb.FMSPC != r.FMSPC {
		return nil, fmt.Errorf("TCB info is for %s of FMSPC %X, asked for was %s of %X", tcb.ID, tcb.FMSPC[:], r.TEE, r.FMSPC[:])
	}
	qe, err := attest.ParseQEIdentity(c.QEIdentity.Body)
	if err != nil {
		return nil, err
	}
	want := "QE"
	if r.TEE == attest.TDX {
		want = "TD_QE"
	}
	if qe.ID != want {
		return nil, fmt.Errorf("QE identity is of %q, asked for was %q", qe.ID, want)
	}
	for _, d := range []struct {
		name  string
		doc   *attest.SignedJSON
		chain []byte
	}{{"TCB info", &c.TCBInfo, c.TCBInfoChain}, {"QE identity", &c.QEIdentity, c.QEIdentityChain}} {
		certs, err := parseChain(d.chain, r)
		if err != nil {
			return nil, fmt.Errorf("chain of the %s: %w", d.name, err)
		}
		if !signed(d.doc, certs[0]) {
			return nil, fmt.Errorf("%s is not signed by the certificate that came with it: it is damaged", d.name)
		}
	}
	pck, root, err := lists(c, r)
	if err != nil {
		return nil, err
	}
	return []document{
		{"TCB info", tcb.IssueDate, tcb.NextUpdate, true},
		{"QE identity", qe.IssueDate, qe.NextUpdate, true},
		{"CRL of the PCK CA", pck.ThisUpdate, pck.NextUpdate, true},
		{"CRL of the root", root.ThisUpdate, root.NextUpdate, false}, // issued once a year
	}, nil
}

// lists reads the two CRLs and checks their signatures.
func lists(c *attest.Collateral, r Request) (pck, root *x509.RevocationList, err error) {
	certs, err := parseChain(c.PCKCRLChain, r)
	if err != nil {
		return nil, nil, fmt.Errorf("chain of the CRL: %w", err)
	}
	if pck, err = x509.ParseRevocationList(c.PCKCRL); err != nil {
		return nil, nil, fmt.Errorf("CRL of the PCK CA: %w", err)
	}
	if err := pck.CheckSignatureFrom(certs[0]); err != nil {
		return nil, nil, fmt.Errorf("CRL of the PCK CA is not by the certificate that came with it: %w", err)
	}
	if root, err = x509.ParseRevocationList(c.RootCRL); err != nil {
		return nil, nil, fmt.Errorf("CRL of the root: %w", err)
	}
	if err := root.CheckSignatureFrom(certs[len(certs)-1]); err != nil {
		return nil, nil, fmt.Errorf("CRL of the root is not by the root that came with the other: %w", err)
	}
	return pck, root, nil
}

// maxCerts bounds a chain; Intel's have two.
const maxCerts = 8

// parseChain reads a chain whose first certificate is by its last, the root.
func parseChain(b []byte, r Request) (certs []*x509.Certificate, err error) {
	for len(bytes.TrimSpace(b)) > 0 && len(certs) < maxCerts {
		block, rest := pem.Decode(b)
		if block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("a PEM block cannot be read")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs, b = append(certs, c), rest
	}
	if len(certs) < 2 {
		return nil, fmt.Errorf("%d certificates, want 2", len(certs))
	}
	root := certs[len(certs)-1]
	if key := sha256.Sum256(root.RawSubjectPublicKeyInfo); r.Root != [32]byte{} && key != r.Root {
		return nil, fmt.Errorf("it ends in another root, of key SHA-256 %x, than the quote's, %x", key, r.Root)
	}
	return certs, certs[0].CheckSignatureFrom(root)
}

func signed(d *attest.SignedJSON, by *x509.Certificate) bool {
	key, ok := by.PublicKey.(*ecdsa.PublicKey)
	sum := sha256.Sum256(d.Body)
	return ok && ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(d.Signature[:32]), new(big.Int).SetBytes(d.Signature[32:]))
}

// stale says why collateral is of no use now, nil if it is.
func (c *Client) stale(got *attest.Collateral, r Request, now time.Time) error {
	docs, err := documents(got, r)
	if err != nil {
		return err
	}
	maxAge := c.MaxAge
	if maxAge == 0 {
		maxAge = attest.DefaultMaxCollateralAge
	}
	for _, d := range docs {
		switch {
		case now.Before(d.begin):
			return fmt.Errorf("%s is from the future (%s): check the clock", d.name, d.begin.UTC().Format(time.RFC3339))
		case now.After(d.end):
			return fmt.Errorf("%s is %w: a new one was due %s", d.name, ErrStale, d.end.UTC().Format(time.RFC3339))
		case d.boundsByAge && now.Sub(d.begin) > maxAge:
			return fmt.Errorf("%s is %w: issued %s, more than %v ago", d.name, ErrStale, d.begin.UTC().Format(time.RFC3339), maxAge)
		}
	}
	return nil
}

// due reports whether newer documents should be asked for.
func (c *Client) due(got *attest.Collateral, now time.Time) bool {
	refresh := c.Refresh
	if refresh == 0 {
		refresh = DefaultRefresh
	}
	tcb, err := attest.ParseTCBInfo(got.TCBInfo.Body)
	return err != nil || now.Sub(tcb.IssueDate) > refresh
}
