// Package ratlstest has an SGX platform for tests of programs that use package ratls:
// with a root, a quoting enclave and collateral of its own, without keys that anybody
// else trusts, and with enclaves that are nothing but an identity.
package ratlstest

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/attest/issue"
	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/sgx"
)

// RootName is the name of a platform's root in Roots.
const RootName = "ratlstest root"

// Platform makes quotes of whatever enclave it is asked for, and everything that a
// verifier wants with them.
type Platform struct {
	h          *issue.Hierarchy
	signer     *issue.Signer
	collateral *attest.Collateral
}

// Values of the platform and of its quoting enclave.
const (
	cpuSVN   = 3
	pceSVN   = 5
	qeProdID = 1
	qeSVN    = 2
)

var qeSigner = sgx.Measurement{0x0e}

// New makes a platform whose documents are issued at now, and up to date.
func New(now time.Time) (*Platform, error) {
	h, err := issue.New(issue.Options{
		Prefix: "ratlstest", Subject: issue.Name{Organization: "eos tests"},
		NotBefore: now.UTC().Truncate(time.Second).Add(-24 * time.Hour), CRL: "https://ratlstest.invalid",
	})
	if err != nil {
		return nil, err
	}
	x := &issue.PCKExtensions{PCESVN: pceSVN, FMSPC: [6]byte{0xe0}, Platform: &issue.PCKPlatform{}}
	x.Component[0], x.CPUSVN[0] = cpuSVN, cpuSVN
	pck, err := h.PCK(x)
	if err != nil {
		return nil, err
	}
	p := &Platform{h: h}
	if err := p.makeSigner(pck); err != nil {
		return nil, err
	}
	return p, p.makeCollateral(x, now.UTC().Truncate(time.Second))
}

func (p *Platform) makeSigner(pck *issue.Identity) error {
	key, err := issue.NewKey()
	if err != nil {
		return err
	}
	s := &issue.Signer{
		QESVN: qeSVN, PCESVN: pceSVN, AttestationKey: key, AuthData: []byte("ratlstest"), PCK: pck.Key,
		QEReport: sgx.ReportBody{
			CPUSVN: [16]byte{cpuSVN}, Attributes: sgx.Attributes{Flags: 0x15, XFRM: 3},
			MREnclave: sgx.Measurement{0x0f}, MRSigner: qeSigner, ISVProdID: qeProdID, ISVSVN: qeSVN,
		},
		CertType: issue.CertChain, CertData: p.h.PCKChain(pck),
	}
	if s.QEReport.ReportData, err = issue.Binding(&key.PublicKey, s.AuthData); err != nil {
		return err
	}
	p.signer = s
	return s.Certify()
}

func (p *Platform) makeCollateral(x *issue.PCKExtensions, now time.Time) error {
	end := now.Add(30 * 24 * time.Hour)
	tcb := issue.TCBInfo{
		IssueDate: now, NextUpdate: end, EvaluationNumber: 1, FMSPC: x.FMSPC,
		Levels: []issue.TCBLevel{{SGX: x.Component, PCESVN: x.PCESVN, Date: now, Status: issue.UpToDate}},
	}
	qe := issue.QEIdentity{
		IssueDate: now, NextUpdate: end, EvaluationNumber: 1, MRSigner: qeSigner, ISVProdID: qeProdID,
		Attributes: [16]byte{0x11}, AttributesMask: [16]byte{0xfb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		Levels: []issue.ISVLevel{{ISVSVN: qeSVN, Date: now, Status: issue.UpToDate}},
	}
	c := &attest.Collateral{TCBInfoChain: p.h.TCBChain(), QEIdentityChain: p.h.TCBChain(), PCKCRLChain: p.h.CRLChain()}
	for _, d := range []struct {
		to   *attest.SignedJSON
		json func() ([]byte, error)
	}{{&c.TCBInfo, tcb.JSON}, {&c.QEIdentity, qe.JSON}} {
		var err error
		if d.to.Body, err = d.json(); err != nil {
			return err
		}
		if d.to.Signature, err = p.h.TCBSigner.Sign(d.to.Body); err != nil {
			return err
		}
	}
	var err error
	if c.PCKCRL, err = p.h.CA.CRL(now, end); err != nil {
		return err
	}
	c.RootCRL, err = p.h.Root.CRL(now, end)
	p.collateral = c
	return err
}

// Roots trusts this platform and no other.
func (p *Platform) Roots() *attest.Roots {
	r := new(attest.Roots)
	if err := r.Add(RootName, p.h.Root.Cert); err != nil {
		panic(err) // the name is not empty, and not Intel's
	}
	return r
}

// Trust accepts the enclaves with the given name (see Enclave) on this platform.
func (p *Platform) Trust(name string) ratls.Trust {
	return ratls.Trust{
		Verifier:   &attest.Verifier{Roots: p.Roots()},
		Policy:     Policy(name),
		Collateral: p.Collateral,
	}
}

// Policy accepts the enclave with the given name.
func Policy(name string) attest.Policy {
	e := enclave(name)
	return attest.Policy{
		SGX: &attest.SGXPolicy{
			MREnclave: attest.OneOf(e.MREnclave), MRSigner: attest.OneOf(e.MRSigner), ISVProdID: attest.OneOf(e.ISVProdID),
			MinISVSVN: attest.AtLeast(e.ISVSVN), Attributes: attest.AnyAttributes(),
		},
		Roots: attest.OneOf(RootName),
		TCB:   []attest.TCBRule{{Status: attest.UpToDate, Advisories: attest.OneOf[string](), Until: attest.Forever()}},
	}
}

// Collateral is a ratls.Trust.Collateral.
func (p *Platform) Collateral(context.Context, *attest.Quote) (*attest.Collateral, error) {
	return p.collateral, nil
}

// Enclave is an enclave on the platform: its measurement is a hash of its name.
type Enclave struct {
	p    *Platform
	body sgx.ReportBody
}

// Enclave makes an enclave. All of the same name are the same.
func (p *Platform) Enclave(name string) *Enclave { return &Enclave{p, enclave(name)} }

// Measurement is the MRENCLAVE of the enclave of that name.
func Measurement(name string) sgx.Measurement { return sha256.Sum256([]byte(name)) }

func enclave(name string) sgx.ReportBody {
	return sgx.ReportBody{
		CPUSVN: [16]byte{cpuSVN}, Attributes: sgx.Attributes{Flags: sgx.AttrInit | sgx.AttrMode64Bit, XFRM: 3},
		MREnclave: Measurement(name), MRSigner: sha256.Sum256([]byte("signer of " + name)), ISVProdID: 7, ISVSVN: 4,
	}
}

// Quote is a ratls.Quoter's.
func (e *Enclave) Quote(_ context.Context, data [sgx.ReportDataSize]byte) ([]byte, error) {
	body := e.body
	body.ReportData = data
	return e.p.signer.QuoteV3(&body)
}
