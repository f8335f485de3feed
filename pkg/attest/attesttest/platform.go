// Package attesttest mints quotes and collateral for tests: good ones, and ones
// that are broken in exactly one place (see Vectors).
//
// Everything comes from package issue, under a root that is made anew each time.
package attesttest

import (
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/attest/issue"
	"github.com/enclaveos/eos/pkg/sgx"
)

// RootName is the name under which Roots trusts the root.
const RootName = "attesttest"

// Now is the time at which everything is valid.
var Now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// The dates of a Platform.
var (
	certsBegin   = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	issued       = Now.Add(-24 * time.Hour)
	nextUpdate   = issued.Add(30 * 24 * time.Hour)
	rootIssued   = Now.Add(-90 * 24 * time.Hour)
	rootUpdate   = rootIssued.Add(365 * 24 * time.Hour)
	newestLevel  = time.Date(2025, 5, 14, 0, 0, 0, 0, time.UTC)
	previous     = time.Date(2024, 3, 13, 0, 0, 0, 0, time.UTC)
	oldestLevel  = time.Date(2018, 1, 4, 0, 0, 0, 0, time.UTC)
	theSVNs      = [16]uint8{5, 5, 2, 2, 3, 1, 0, 4}
	thePCESVN    = uint16(11)
	theTDXSVNs   = [16]uint8{5, 1, 2}
	qeISVSVN     = uint16(8)
	theAdvisory  = "INTEL-SA-00615"
	qeAttributes = sgx.Attributes{Flags: sgx.AttrInit | sgx.AttrMode64Bit | sgx.AttrProvisionKey, XFRM: sgx.XFRMLegacy | sgx.XFRMAVX}
)

// Platform is a machine, an enclave or TD on it, its vendor and what the vendor
// says of it. Until Mint every field may be changed.
type Platform struct {
	t testing.TB

	Options    issue.Options
	Vendor     *issue.Hierarchy
	Extensions issue.PCKExtensions
	PCK        *issue.Identity
	Signer     issue.Signer

	Version int            // of the quote: 3 or 4
	Report  sgx.ReportBody // of an enclave
	TD      *issue.TDBody  // of a TD, instead

	TCB issue.TCBInfo
	QE  issue.QEIdentity
	// EditTCB and EditQE, if set, change a document before it is signed.
	EditTCB, EditQE func(json string) string

	RevokedByCA, RevokedByRoot []issue.Revoked
}

// Evidence is a quote and the collateral for it.
type Evidence struct {
	Quote      []byte
	Collateral *attest.Collateral
}

// New makes a platform that is up to date, with an enclave that is not a debug
// enclave. It ends the test if it cannot.
func New(t testing.TB) *Platform {
	t.Helper()
	p := &Platform{t: t, Version: 3, Options: issue.Options{
		Prefix:    "Test",
		Subject:   issue.Name{Organization: "Test Corporation", Locality: "Santa Clara", Province: "CA", Country: "US"},
		NotBefore: certsBegin, CRL: "https://crl.invalid",
	}}
	p.Vendor = must(issue.New(p.Options))(t)
	p.Extensions = issue.PCKExtensions{
		PPID: [16]byte{1, 2, 3}, Component: theSVNs, PCESVN: thePCESVN, CPUSVN: theSVNs, FMSPC: [6]byte{0xb0, 0xc0, 0x6f}, SGXType: 1,
		Platform: &issue.PCKPlatform{InstanceID: [16]byte{4, 5, 6}, Dynamic: true},
	}
	p.PCK = must(p.Vendor.PCK(&p.Extensions))(t)

	p.Report = sgx.ReportBody{
		CPUSVN: theSVNs, Attributes: sgx.Attributes{Flags: sgx.AttrInit | sgx.AttrMode64Bit, XFRM: sgx.XFRMLegacy | sgx.XFRMAVX},
		MREnclave: sgx.Measurement{0xe1, 31: 0xe2}, MRSigner: sgx.Measurement{0x51, 31: 0x52}, ISVProdID: 7, ISVSVN: 3,
	}
	copy(p.Report.ReportData[:], "report data of the enclave")

	p.Signer = issue.Signer{
		VendorID: [16]byte{0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07}, // Intel's
		QESVN:    qeISVSVN, PCESVN: thePCESVN, AttestationKey: must(issue.NewKey())(t), AuthData: make([]byte, 32),
		QEReport: sgx.ReportBody{
			CPUSVN: theSVNs, Attributes: qeAttributes, MREnclave: sgx.Measurement{0x9e}, MRSigner: sgx.Measurement{0x8c, 31: 0xff},
			ISVProdID: 1, ISVSVN: qeISVSVN,
		},
		CertType: issue.CertChain,
	}
	for i := range p.Signer.AuthData {
		p.Signer.AuthData[i] = byte(i)
	}
	p.Use(p.PCK)
	p.Bind()

	older := theSVNs
	older[0]--
	p.TCB = issue.TCBInfo{
		IssueDate: issued, NextUpdate: nextUpdate, FMSPC: p.Extensions.FMSPC, EvaluationNumber: 17,
		Levels: []issue.TCBLevel{
			{SGX: theSVNs, PCESVN: thePCESVN, Date: newestLevel, Status: issue.UpToDate},
			{SGX: older, PCESVN: thePCESVN, Date: previous, Status: issue.OutOfDate, Advisories: []string{theAdvisory}},
			{SGX: older, PCESVN: 5, Date: oldestLevel, Status: issue.OutOfDate, Advisories: []string{"INTEL-SA-00106", theAdvisory}},
		},
	}
	p.QE = issue.QEIdentity{
		IssueDate: issued, NextUpdate: nextUpdate, EvaluationNumber: 17, MiscSelectMask: [4]byte{0xff, 0xff, 0xff, 0xff},
		Attributes: [16]byte{0x11}, AttributesMask: [16]byte{0xfb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		MRSigner: p.Signer.QEReport.MRSigner, ISVProdID: p.Signer.QEReport.ISVProdID,
		Levels: []issue.ISVLevel{
			{ISVSVN: qeISVSVN, Date: newestLevel, Status: issue.UpToDate},
			{ISVSVN: 5, Date: previous, Status: issue.OutOfDate, Advisories: []string{theAdvisory}},
		},
	}
	return p
}

// NewTDX makes a platform that is up to date, with a TD that is not a debug TD.
func NewTDX(t testing.TB) *Platform {
	t.Helper()
	p := New(t)
	p.Version = 4
	p.Signer.QESVN, p.Signer.PCESVN = 0, 0
	p.Signer.QEReport.ISVProdID, p.QE.ISVProdID = 2, 2
	p.TD = &issue.TDBody{
		TEETCBSVN: theTDXSVNs, TDAttributes: [8]byte{3: 0x10}, XFAM: [8]byte{0xe7}, MRTD: [48]byte{0x91, 47: 0x92}, MRSEAM: [48]byte{0x5e},
	}
	for i := range p.TD.RTMR {
		p.TD.RTMR[i] = [48]byte{0x40 + byte(i)}
	}
	copy(p.TD.ReportData[:], "report data of the TD")
	p.TCB.TDX, p.QE.TDX = true, true
	all := [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	p.TCB.Modules = []issue.TDXModule{
		{Mask: all},
		{Version: 3, Mask: all, Levels: []issue.ISVLevel{{ISVSVN: 3, Date: newestLevel, Status: issue.UpToDate}}},
		{Version: 1, Mask: all, Levels: []issue.ISVLevel{
			{ISVSVN: uint16(theTDXSVNs[0]), Date: newestLevel, Status: issue.UpToDate},
			{ISVSVN: 3, Date: previous, Status: issue.OutOfDate, Advisories: []string{theAdvisory}},
		}},
	}
	for i := range p.TCB.Levels {
		p.TCB.Levels[i].TDX = [16]uint8{uint8(5 - i), 0, 2}
	}
	p.Bind()
	return p
}

// must ends the test at an error.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// Use makes pck the machine's certificate and key.
func (p *Platform) Use(pck *issue.Identity) {
	p.PCK, p.Signer.PCK = pck, pck.Key
	p.Signer.CertData = p.Vendor.PCKChain(pck)
}

// Bind has the quoting enclave vouch for the attestation key and the
// authentication data as they are now.
func (p *Platform) Bind() {
	p.t.Helper()
	p.Signer.QEReport.ReportData = must(issue.Binding(&p.Signer.AttestationKey.PublicKey, p.Signer.AuthData))(p.t)
}

// Roots trusts the platform's root, by RootName, and no other.
func (p *Platform) Roots() *attest.Roots {
	p.t.Helper()
	r := new(attest.Roots)
	if err := r.Add(RootName, p.Vendor.Root.Cert); err != nil {
		p.t.Fatal(err)
	}
	return r
}

// Mint makes the quote and the collateral.
func (p *Platform) Mint() *Evidence {
	p.t.Helper()
	e := new(Evidence)
	switch {
	case p.TD != nil:
		e.Quote = must(p.Signer.QuoteV4TDX(p.TD))(p.t)
	case p.Version == 4:
		e.Quote = must(p.Signer.QuoteV4SGX(&p.Report))(p.t)
	default:
		e.Quote = must(p.Signer.QuoteV3(&p.Report))(p.t)
	}
	h := p.Vendor
	e.Collateral = &attest.Collateral{
		TCBInfo:    p.sign(h.TCBSigner, must(p.TCB.JSON())(p.t), p.EditTCB),
		QEIdentity: p.sign(h.TCBSigner, must(p.QE.JSON())(p.t), p.EditQE),

		TCBInfoChain: h.TCBChain(), QEIdentityChain: h.TCBChain(), PCKCRLChain: h.CRLChain(),
		PCKCRL:  must(h.CA.CRL(issued, nextUpdate, p.RevokedByCA...))(p.t),
		RootCRL: must(h.Root.CRL(rootIssued, rootUpdate, p.RevokedByRoot...))(p.t),
	}
	return e
}

// sign signs a document after edit.
func (p *Platform) sign(by *issue.Identity, body []byte, edit func(string) string) attest.SignedJSON {
	p.t.Helper()
	if edit != nil {
		body = []byte(edit(string(body)))
	}
	return attest.SignedJSON{Body: body, Signature: must(by.Sign(body))(p.t)}
}
