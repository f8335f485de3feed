package attesttest

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/attest/issue"
)

// listRecipes break the CRLs, and revoke.
func listRecipes() []recipe {
	crl := func(der *[]byte, by *issue.Identity, p *Platform, from, to time.Time) {
		*der = must(by.CRL(from, to))(p.t)
	}
	root := []recipe{
		{name: "root-crl/other-key", why: "signed by another root of the same name", after: func(p *Platform, v *Vector) {
			crl(&v.Collateral.RootCRL, p.another().Root, p, rootIssued, rootUpdate)
		}},
		{name: "root-crl/of-the-ca", why: "it is the CRL of the PCK CA", after: func(_ *Platform, v *Vector) { v.Collateral.RootCRL = v.Collateral.PCKCRL }},
		{name: "root-crl/cut-off", why: "the last byte is missing", after: func(_ *Platform, v *Vector) {
			v.Collateral.RootCRL = v.Collateral.RootCRL[:len(v.Collateral.RootCRL)-1]
		}},
		{name: "root-crl/signature", why: "the last bit of the signature is wrong", after: func(_ *Platform, v *Vector) {
			v.Collateral.RootCRL[len(v.Collateral.RootCRL)-1] ^= 1
		}},
		{name: "root-crl/critical-extension", why: "a critical extension that nobody knows", after: func(p *Platform, v *Vector) {
			v.Collateral.RootCRL = rawCRL(p, p.Vendor.Root, func(l *x509.RevocationList) {
				l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
			})
		}},
		{name: "root-crl/expired", why: "a new one is due", after: func(p *Platform, v *Vector) {
			crl(&v.Collateral.RootCRL, p.Vendor.Root, p, rootIssued, Now.Add(-time.Second))
		}},
		{name: "root-crl/not-yet", why: "from the future", after: func(p *Platform, v *Vector) {
			crl(&v.Collateral.RootCRL, p.Vendor.Root, p, Now.Add(time.Second), rootUpdate)
		}},
	}
	for i := range root {
		root[i].step = attest.StepRootCRL
	}
	pck := []recipe{
		{name: "pck-crl/other-key", why: "signed by another CA of the same name", after: func(p *Platform, v *Vector) {
			crl(&v.Collateral.PCKCRL, p.another().CA, p, issued, nextUpdate)
		}},
		{name: "pck-crl/of-the-root", why: "it is the CRL of the root", after: func(_ *Platform, v *Vector) { v.Collateral.PCKCRL = v.Collateral.RootCRL }},
		{name: "pck-crl/of-the-processor-ca", why: "it is the CRL of the vendor's other CA", after: func(p *Platform, v *Vector) {
			t := p.Options.Template(issue.PlatformCA)
			t.Subject.CommonName = "Test SGX PCK Processor CA"
			other := must(issue.Issue(p.Vendor.Root, t, must(issue.NewKey())(p.t)))(p.t)
			crl(&v.Collateral.PCKCRL, other, p, issued, nextUpdate)
		}},
		{name: "pck-crl/no-der", why: "it is no DER", after: func(_ *Platform, v *Vector) { v.Collateral.PCKCRL = []byte("no DER") }},
		{name: "pck-crl/entry-changed", why: "a revoked serial number was exchanged behind the signature", before: func(p *Platform) {
			p.RevokedByCA = []issue.Revoked{{Serial: p.PCK.Cert.SerialNumber, At: issued}}
		}, after: func(p *Platform, v *Vector) {
			serial := p.PCK.Cert.SerialNumber.Bytes()
			i := strings.Index(string(v.Collateral.PCKCRL), string(serial))
			v.Collateral.PCKCRL[i+len(serial)-1] ^= 1
		}},
		{name: "pck-crl/issuer-name", why: "signed by the CA's key under another name", after: func(p *Platform, v *Vector) {
			other := p.reissue(issue.PlatformCA, p.Vendor.Root, p.Vendor.CA, func(t *issue.Template) { t.Subject.CommonName = "Test SGX PCK Processor CA" })
			crl(&v.Collateral.PCKCRL, other, p, issued, nextUpdate)
		}},
		{name: "pck-crl/no-next-update", why: "it does not say when a new one is due", after: func(p *Platform, v *Vector) {
			v.Collateral.PCKCRL = endless(p, v.Collateral.PCKCRL)
		}},
		{name: "pck-crl/sha384", why: "signed with another hash", after: func(p *Platform, v *Vector) {
			v.Collateral.PCKCRL = rawCRL(p, p.Vendor.CA, func(l *x509.RevocationList) { l.SignatureAlgorithm = x509.ECDSAWithSHA384 })
		}},
		{name: "pck-crl/key-usage", why: "the CA may sign no CRLs", before: func(p *Platform) {
			old := p.Vendor.CA
			ca(func(t *issue.Template) { t.KeyUsage = x509.KeyUsageCertSign })(p)
			p.Vendor.CA = old // whose certificate let it sign one
		}},
		{name: "pck-crl/expired", why: "a new one is due", after: func(p *Platform, v *Vector) {
			crl(&v.Collateral.PCKCRL, p.Vendor.CA, p, issued, Now.Add(-time.Second))
		}},
		{name: "pck-crl/not-yet", why: "from the future", after: func(p *Platform, v *Vector) {
			crl(&v.Collateral.PCKCRL, p.Vendor.CA, p, Now.Add(time.Second), nextUpdate)
		}},
	}
	for i := range pck {
		pck[i].step = attest.StepPCKCRL
	}
	revoked := func(list func(*Platform) *[]issue.Revoked, who func(*Platform) *issue.Identity, at time.Time) func(*Platform) {
		return func(p *Platform) {
			*list(p) = append(*list(p), issue.Revoked{Serial: who(p).Cert.SerialNumber, At: at})
		}
	}
	byCA := func(p *Platform) *[]issue.Revoked { return &p.RevokedByCA }
	byRoot := func(p *Platform) *[]issue.Revoked { return &p.RevokedByRoot }
	machine := func(p *Platform) *issue.Identity { return p.PCK }
	revocation := []recipe{
		{name: "revocation/pck", why: "the PCK certificate is revoked", before: revoked(byCA, machine, issued)},
		{name: "revocation/pck-later", why: "the PCK certificate is revoked from tomorrow on; its key is known to be lost", before: revoked(byCA, machine, Now.Add(24*time.Hour))},
		{name: "revocation/pck-among-others", why: "the PCK certificate is the last of three on the list", before: func(p *Platform) {
			for range 2 {
				revoked(byCA, func(p *Platform) *issue.Identity { return must(p.Vendor.PCK(&p.Extensions))(p.t) }, issued)(p)
			}
			revoked(byCA, machine, issued)(p)
		}},
		{name: "revocation/ca", why: "the CA is revoked", before: revoked(byRoot, func(p *Platform) *issue.Identity { return p.Vendor.CA }, rootIssued)},
		{name: "revocation/tcb-signer", why: "the signing certificate of the documents is revoked", before: revoked(byRoot, func(p *Platform) *issue.Identity { return p.Vendor.TCBSigner }, rootIssued)},
	}
	for i := range revocation {
		revocation[i].step = attest.StepRevocation
	}
	return append(append(root, pck...), revocation...)
}

// rawCRL makes an empty CRL, changed.
func rawCRL(p *Platform, by *issue.Identity, change func(*x509.RevocationList)) []byte {
	l := &x509.RevocationList{SignatureAlgorithm: x509.ECDSAWithSHA256, Number: big.NewInt(1), ThisUpdate: issued, NextUpdate: nextUpdate}
	change(l)
	return must(x509.CreateRevocationList(rand.Reader, l, by.Cert, by.Key))(p.t)
}

// endless takes the date of the next update out of a CRL of the CA, and signs it
// anew.
func endless(p *Platform, der []byte) []byte {
	var list struct{ Signed, Algorithm, Signature asn1.RawValue }
	var parts []asn1.RawValue // version, algorithm, issuer, this update, next update, extensions
	if _, err := asn1.Unmarshal(der, &list); err != nil {
		p.t.Fatal(err)
	}
	if _, err := asn1.Unmarshal(list.Signed.FullBytes, &parts); err != nil {
		p.t.Fatal(err)
	}
	list.Signed.FullBytes = must(asn1.Marshal(slices.Delete(parts, 4, 5)))(p.t)
	sum := sha256.Sum256(list.Signed.FullBytes)
	sig := must(ecdsa.SignASN1(rand.Reader, p.Vendor.CA.Key, sum[:]))(p.t)
	list.Signature.FullBytes = must(asn1.Marshal(asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)}))(p.t)
	return must(asn1.Marshal(list))(p.t)
}

// documentRecipes break TCB info and QE identity, leave out parts of the
// collateral, and let it grow old.
func documentRecipes() []recipe {
	replace := func(old, new string) func(string) string {
		return func(s string) string {
			if !strings.Contains(s, old) {
				panic(old + " is not in " + s)
			}
			return strings.Replace(s, old, new, 1)
		}
	}
	tcbText := func(old, new string) func(*Platform) {
		return func(p *Platform) { p.EditTCB = replace(old, new) }
	}
	qeText := func(old, new string) func(*Platform) {
		return func(p *Platform) { p.EditQE = replace(old, new) }
	}
	tcb := []recipe{
		{name: "tcb-info/status-changed", why: "OutOfDate became UpToDate behind the signature", before: func(p *Platform) { p.TCB.Levels[0].Status = issue.OutOfDate },
			after: func(_ *Platform, v *Vector) {
				v.Collateral.TCBInfo.Body = []byte(replace(`"OutOfDate"`, `"UpToDate"`)(string(v.Collateral.TCBInfo.Body)))
			}},
		{name: "tcb-info/blank-added", why: "a blank was added behind the signature", after: func(_ *Platform, v *Vector) {
			v.Collateral.TCBInfo.Body = append(v.Collateral.TCBInfo.Body, ' ')
		}},
		{name: "tcb-info/signature", why: "a bit of the signature is wrong", after: func(_ *Platform, v *Vector) { v.Collateral.TCBInfo.Signature[63] ^= 1 }},
		{name: "tcb-info/signature-zero", why: "the signature is zero", after: func(_ *Platform, v *Vector) { v.Collateral.TCBInfo.Signature = [64]byte{} }},
		{name: "tcb-info/qe-identity", why: "it is the QE identity", after: func(_ *Platform, v *Vector) { v.Collateral.TCBInfo = v.Collateral.QEIdentity }},
		{name: "tcb-info/expired", why: "a new one is due", before: func(p *Platform) { p.TCB.NextUpdate = Now.Add(-time.Second) }},
		{name: "tcb-info/not-yet", why: "from the future", before: func(p *Platform) { p.TCB.IssueDate = Now.Add(time.Second) }},
		{name: "tcb-info/fmspc", why: "of another kind of machine", before: func(p *Platform) { p.TCB.FMSPC[5] ^= 1 }},
		{name: "tcb-info/pceid", why: "of another PCE", before: func(p *Platform) { p.TCB.PCEID[0] = 1 }},
		{name: "tcb-info/tdx-for-sgx", why: "for TDs of this machine, not for enclaves", before: func(p *Platform) {
			p.TCB.TDX, p.TCB.Modules = true, []issue.TDXModule{{}}
		}},
		{name: "tcb-info/sgx-for-tdx", tdx: true, why: "for enclaves of this machine, not for TDs", before: func(p *Platform) { p.TCB.TDX = false }},
		{name: "tcb-info/no-json", why: "signed, but no JSON", before: func(p *Platform) { p.EditTCB = func(string) string { return "no JSON" } }},
		{name: "tcb-info/version-4", why: "of a version that is not known", before: tcbText(`"version":3`, `"version":4`)},
		{name: "tcb-info/tcb-type", why: "levels of a kind that is not known", before: tcbText(`"tcbType":0`, `"tcbType":1`)},
		{name: "tcb-info/status-unknown", why: "a status that is not known", before: func(p *Platform) { p.TCB.Levels[0].Status = "Fine" }},
		{name: "tcb-info/no-status", why: "a level without a status", before: tcbText(`"tcbStatus":"UpToDate"`, `"x":0`)},
		{name: "tcb-info/two-statuses", why: "a level with two statuses", before: tcbText(`"tcbStatus":"UpToDate"`, `"tcbStatus":"OutOfDate","tcbStatus":"UpToDate"`)},
		{name: "tcb-info/no-levels", why: "no level", before: func(p *Platform) { p.TCB.Levels = nil }},
		{name: "tcb-info/15-components", why: "a level with 15 components", before: tcbText(`,{"svn":0}],"pcesvn"`, `],"pcesvn"`)},
		{name: "tcb-info/svn-256", why: "an SVN that is no byte", before: tcbText(`{"svn":5}`, `{"svn":256}`)},
		{name: "tcb-info/svn-negative", why: "a negative SVN", before: tcbText(`{"svn":5}`, `{"svn":-1}`)},
		{name: "tcb-info/svn-missing", why: "a component without an SVN", before: tcbText(`{"svn":5}`, `{}`)},
		{name: "tcb-info/no-pcesvn", why: "a level without a PCESVN", before: tcbText(`"pcesvn":11`, `"x":11`)},
		{name: "tcb-info/no-next-update", why: "no date at which a new one is due", before: tcbText(`"nextUpdate"`, `"x"`)},
		{name: "tcb-info/bytes-behind", why: "signed, with something behind the object", before: func(p *Platform) {
			p.EditTCB = func(s string) string { return s + "{}" }
		}},
		{name: "tcb-info/not-utf8", why: "a status that is no UTF-8", before: tcbText(`"UpToDate"`, "\"UpToDate\xff\"")},
		{name: "tcb-info/null-levels", why: "null in place of the levels", before: tcbText(`"tcbLevels":[`, `"tcbLevels":null,"x":[`)},
		{name: "tcb-info/tdx-components", why: "TDX components in what is for enclaves", before: tcbText(`"pcesvn":11`, `"pcesvn":11,"tdxtcbcomponents":[`+strings.Repeat(`{"svn":0},`, 15)+`{"svn":0}]`)},
		{name: "tcb-info/no-tdx-module", tdx: true, why: "nothing about the TDX module", before: func(p *Platform) { p.TCB.Modules = p.TCB.Modules[1:] }},
		{name: "tcb-info/17-components", why: "a level with 17 components", before: tcbText(`{"svn":0}],"pcesvn"`, `{"svn":0},{"svn":0}],"pcesvn"`)},
		{name: "tcb-info/svn-fraction", why: "an SVN that is no integer", before: tcbText(`{"svn":5}`, `{"svn":5.5}`)},
		{name: "tcb-info/svn-text", why: "an SVN that is a text", before: tcbText(`{"svn":5}`, `{"svn":"5"}`)},
		{name: "tcb-info/date", why: "a date that there is not", before: tcbText(`"issueDate":"2026-02-28`, `"issueDate":"2026-02-30`)},
	}
	for i := range tcb {
		tcb[i].step = attest.StepTCBInfo
	}
	qe := []recipe{
		{name: "qe-identity/signer-changed", why: "MRSIGNER was changed behind the signature", after: func(_ *Platform, v *Vector) {
			v.Collateral.QEIdentity.Body = []byte(replace(`"mrsigner":"8C`, `"mrsigner":"8D`)(string(v.Collateral.QEIdentity.Body)))
		}},
		{name: "qe-identity/signature", why: "a bit of the signature is wrong", after: func(_ *Platform, v *Vector) { v.Collateral.QEIdentity.Signature[0] ^= 0x80 }},
		{name: "qe-identity/tcb-info", why: "it is the TCB info", after: func(_ *Platform, v *Vector) { v.Collateral.QEIdentity = v.Collateral.TCBInfo }},
		{name: "qe-identity/expired", why: "a new one is due", before: func(p *Platform) { p.QE.NextUpdate = Now.Add(-time.Second) }},
		{name: "qe-identity/not-yet", why: "from the future", before: func(p *Platform) { p.QE.IssueDate = Now.Add(time.Second) }},
		{name: "qe-identity/td-qe", why: "of the quoting enclave for TDs", before: func(p *Platform) { p.QE.TDX = true }},
		{name: "qe-identity/qe-for-tdx", tdx: true, why: "of the quoting enclave for enclaves", before: func(p *Platform) { p.QE.TDX = false }},
		{name: "qe-identity/qve", why: "of the quote verification enclave", before: qeText(`"id":"QE"`, `"id":"QVE"`)},
		{name: "qe-identity/mrsigner", why: "the quoting enclave has another signer", before: func(p *Platform) { p.Signer.QEReport.MRSigner[0] ^= 1 }},
		{name: "qe-identity/isvprodid", why: "the quoting enclave is another enclave of that signer", before: func(p *Platform) { p.Signer.QEReport.ISVProdID++ }},
		{name: "qe-identity/debug", why: "the quoting enclave is a debug enclave", before: func(p *Platform) { p.Signer.QEReport.Attributes.Flags |= 2 }},
		{name: "qe-identity/attributes", why: "the quoting enclave lacks an attribute", before: func(p *Platform) { p.Signer.QEReport.Attributes.Flags &^= 0x10 }},
		{name: "qe-identity/miscselect", why: "the quoting enclave has another MISCSELECT", before: func(p *Platform) { p.Signer.QEReport.MiscSelect = 1 }},
		{name: "qe-identity/isvsvn", why: "the quoting enclave is older than all levels", before: func(p *Platform) { p.Signer.QEReport.ISVSVN = 4 }},
		{name: "qe-identity/version-1", why: "of a version that is not read", before: qeText(`"version":2`, `"version":1`)},
		{name: "qe-identity/no-levels", why: "no level", before: func(p *Platform) { p.QE.Levels = nil }},
		{name: "qe-identity/short-mask", why: "a mask that is too short", before: qeText(`"attributesMask":"FB`, `"attributesMask":"`)},
		{name: "qe-identity/status-unknown", why: "a status that is not known", before: func(p *Platform) { p.QE.Levels[0].Status = "Fine" }},
		{name: "qe-identity/two-signers", why: "two MRSIGNERs: which one is meant?", before: qeText(`"mrsigner":`, `"mrsigner":"`+strings.Repeat("00", 32)+`","mrsigner":`)},
	}
	for i := range qe {
		qe[i].step = attest.StepQEIdentity
	}
	old := func(v *Vector) { v.Now = issued.Add(attest.DefaultMaxCollateralAge + time.Second) }
	rest := []recipe{
		{name: "collateral/none", why: "there is none", after: func(_ *Platform, v *Vector) { v.Collateral = nil }},
		{name: "collateral/empty", also: []attest.Step{attest.StepTCBChain, attest.StepRootCRL, attest.StepPCKCRL}, why: "all of it is empty", after: func(_ *Platform, v *Vector) { v.Collateral = new(attest.Collateral) }},
		{name: "collateral/no-tcb-info", also: []attest.Step{attest.StepTCBInfo}, why: "there is no TCB info", after: func(_ *Platform, v *Vector) { v.Collateral.TCBInfo.Body = nil }},
		{name: "collateral/no-qe-identity", also: []attest.Step{attest.StepQEIdentity}, why: "there is no QE identity", after: func(_ *Platform, v *Vector) { v.Collateral.QEIdentity.Body = nil }},
		{name: "collateral/no-tcb-chain", also: []attest.Step{attest.StepTCBChain}, why: "there is no chain of the TCB info", after: func(_ *Platform, v *Vector) { v.Collateral.TCBInfoChain = nil }},
		{name: "collateral/no-pck-crl", also: []attest.Step{attest.StepPCKCRL}, why: "there is no CRL of the CA", after: func(_ *Platform, v *Vector) { v.Collateral.PCKCRL = nil }},
		{name: "collateral/no-root-crl", also: []attest.Step{attest.StepRootCRL}, why: "there is no CRL of the root", after: func(_ *Platform, v *Vector) { v.Collateral.RootCRL = nil }},
		{name: "collateral-age/all", step: attest.StepCollateralAge, why: "valid, but older than the default allows", after: func(_ *Platform, v *Vector) { old(v) }},
		{name: "collateral-age/tcb-info", step: attest.StepCollateralAge, why: "the TCB info alone is too old", before: func(p *Platform) {
			p.TCB.IssueDate = Now.Add(-8 * 24 * time.Hour)
		}},
		{name: "collateral-age/qe-identity", step: attest.StepCollateralAge, why: "the QE identity alone is too old", before: func(p *Platform) {
			p.QE.IssueDate = Now.Add(-8 * 24 * time.Hour)
		}},
		{name: "collateral-age/pck-crl", step: attest.StepCollateralAge, why: "the CRL of the CA alone is too old", after: func(p *Platform, v *Vector) {
			v.Collateral.PCKCRL = must(p.Vendor.CA.CRL(Now.Add(-8*24*time.Hour), nextUpdate))(p.t)
		}},
		{name: "collateral-age/one-hour", step: attest.StepCollateralAge, why: "older than the hour that this verifier allows", after: func(_ *Platform, v *Vector) { v.MaxAge = time.Hour }},
	}
	for i := range rest {
		if rest[i].step == "" {
			rest[i].step = attest.StepCollateral
		}
	}
	return append(append(tcb, qe...), rest...)
}
