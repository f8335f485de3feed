package attesttest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"slices"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/attest/issue"
)

func chain(ids ...*issue.Identity) []byte { return issue.Chain(ids...) }

// another is a vendor with the same names and other keys.
func (p *Platform) another() *issue.Hierarchy { return must(issue.New(p.Options))(p.t) }

// reissue makes the certificate of a role anew, changed, for the same key.
func (p *Platform) reissue(role string, by *issue.Identity, old *issue.Identity, change func(*issue.Template)) *issue.Identity {
	t := p.Options.Template(role)
	if role == issue.PCKLeaf {
		t.Extensions = []pkix.Extension{must(p.Extensions.Extension())(p.t)}
	}
	if change != nil {
		change(&t)
	}
	return must(issue.Issue(by, t, old.Key))(p.t)
}

// leaf makes another PCK certificate, changed.
func leaf(change func(*issue.Template)) func(*Platform) {
	return func(p *Platform) { p.Use(p.reissue(issue.PCKLeaf, p.Vendor.CA, p.PCK, change)) }
}

// ca makes another certificate of the CA, changed, with which the PCK certificate
// goes as well as with the old.
func ca(change func(*issue.Template)) func(*Platform) {
	return func(p *Platform) {
		p.Vendor.CA = p.reissue(issue.PlatformCA, p.Vendor.Root, p.Vendor.CA, change)
		p.Use(p.reissue(issue.PCKLeaf, p.Vendor.CA, p.PCK, nil))
	}
}

func processorCA(p *Platform) {
	p.Extensions.Platform, p.Extensions.SGXType = nil, 0
	ca(func(t *issue.Template) { t.Subject.CommonName = "Test SGX PCK Processor CA" })(p)
}

func p384(p *Platform) *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))(p.t)
}

// chainRecipes break the chains of certificates.
func chainRecipes() []recipe {
	data := func(f func(p *Platform) []byte) func(*Platform) {
		return func(p *Platform) { p.Signer.CertData = f(p) }
	}
	before, after := certsBegin.Add(-time.Second), time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)
	pck := []recipe{
		{name: "pck-chain/empty", why: "no chain in the quote", before: data(func(*Platform) []byte { return nil })},
		{name: "pck-chain/no-pem", why: "the chain is in DER", before: data(func(p *Platform) []byte { return p.PCK.Cert.Raw })},
		{name: "pck-chain/damaged-pem", why: "a letter of the chain is no base64", before: func(p *Platform) { p.Signer.CertData[100] = '!' }},
		{name: "pck-chain/text-between", why: "there is more than certificates in the chain", before: data(func(p *Platform) []byte {
			return append(append(p.PCK.PEM(), "surprise\n"...), chain(p.Vendor.CA, p.Vendor.Root)...)
		})},
		{name: "pck-chain/private-key", why: "a PEM block that is no certificate", before: data(func(p *Platform) []byte {
			return append([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), p.Signer.CertData...)
		})},
		{name: "pck-chain/no-ca", why: "the CA is missing", before: data(func(p *Platform) []byte { return chain(p.PCK, p.Vendor.Root) })},
		{name: "pck-chain/no-leaf", why: "the PCK certificate is missing", before: data(func(p *Platform) []byte { return chain(p.Vendor.CA, p.Vendor.Root) })},
		{name: "pck-chain/two-leaves", why: "two PCK certificates: which one is meant?", before: func(p *Platform) {
			other := must(p.Vendor.PCK(&p.Extensions))(p.t)
			p.Signer.CertData = append(p.Signer.CertData, other.PEM()...)
		}},
		{name: "pck-chain/foreign-root", also: []attest.Step{attest.StepTCBChain}, why: "all is well, but nobody trusts the root", after: func(p *Platform, v *Vector) {
			v.Roots = New(p.t).Roots()
		}},
		{name: "pck-chain/no-roots", also: []attest.Step{attest.StepTCBChain}, why: "no root is trusted", after: func(_ *Platform, v *Vector) { v.Roots = nil }},
		{name: "pck-chain/intel-root", also: []attest.Step{attest.StepTCBChain}, why: "only Intel is trusted", after: func(_ *Platform, v *Vector) { v.Roots = attest.IntelRoots() }},
		{name: "pck-chain/same-names", why: "a chain with the names of the trusted one and other keys", before: func(p *Platform) {
			other := p.another()
			p.Vendor.CA = other.CA
			p.Use(must(other.PCK(&p.Extensions))(p.t))
			p.Signer.CertData = chain(p.PCK, other.CA, p.Vendor.Root)
		}},
		{name: "pck-chain/leaf-by-other-ca", why: "the PCK certificate is by another CA of the same name", before: func(p *Platform) {
			p.Use(must(p.another().PCK(&p.Extensions))(p.t))
		}},
		{name: "pck-chain/self-signed-leaf", why: "the PCK certificate is by itself", before: func(p *Platform) {
			p.Use(p.reissue(issue.PCKLeaf, nil, p.PCK, nil))
		}},
		{name: "pck-chain/leaf-by-root", why: "the PCK certificate is by the root, without a CA between", before: func(p *Platform) {
			p.Use(p.reissue(issue.PCKLeaf, p.Vendor.Root, p.PCK, nil))
		}},
		{name: "pck-chain/leaf-by-leaf", why: "the PCK certificate is by another machine's PCK certificate", before: func(p *Platform) {
			first := p.PCK
			second := must(p.Vendor.PCK(&p.Extensions))(p.t)
			fake := p.reissue(issue.PlatformCA, p.Vendor.CA, first, func(t *issue.Template) { t.CA = false })
			p.Use(p.reissue(issue.PCKLeaf, fake, second, nil))
			p.Signer.CertData = chain(p.PCK, fake, p.Vendor.CA, p.Vendor.Root)
		}},
		{name: "pck-chain/ca-is-none", why: "the CA's certificate is not one of a CA", before: func(p *Platform) {
			old := p.Vendor.CA
			ca(func(t *issue.Template) { t.CA = false })(p)
			p.Vendor.CA = old // which has signed the CRL
		}},
		{name: "pck-chain/ca-basic-constraints", why: "the CA may sign certificates by its key usage, but is no CA", before: func(p *Platform) {
			old := p.Vendor.CA
			ca(func(t *issue.Template) { t.CA, t.KeyUsage = false, x509.KeyUsageCertSign|x509.KeyUsageCRLSign })(p)
			p.Vendor.CA = old // whose certificate let it sign the CRL
		}},
		{name: "pck-chain/two-cas", why: "a CA below the CA, which may have none", before: func(p *Platform) {
			key := must(issue.NewKey())(p.t)
			below := must(issue.Issue(p.Vendor.CA, p.Options.Template(issue.PlatformCA), key))(p.t)
			p.Use(p.reissue(issue.PCKLeaf, below, p.PCK, nil))
			p.Signer.CertData = chain(p.PCK, below, p.Vendor.CA, p.Vendor.Root)
		}},
		{name: "pck-chain/leaf-is-ca", why: "the PCK certificate is one of a CA", before: leaf(func(t *issue.Template) { t.CA = true })},
		{name: "pck-chain/leaf-name", why: "the PCK certificate has the name of a TCB signing certificate", before: leaf(func(t *issue.Template) {
			t.Subject.CommonName = "Test SGX TCB Signing"
		})},
		{name: "pck-chain/ca-name", why: "the CA has the name of no PCK CA", before: ca(func(t *issue.Template) { t.Subject.CommonName = "Test SGX CA" })},
		{name: "pck-chain/critical-extension", why: "a critical extension that nobody knows", before: leaf(func(t *issue.Template) {
			t.Extensions = append(t.Extensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
		})},
		{name: "pck-chain/p384-leaf", why: "the PCK is no key of P-256", before: func(p *Platform) {
			old := p.Signer.PCK
			p.Use(p.reissue(issue.PCKLeaf, p.Vendor.CA, &issue.Identity{Key: p384(p)}, nil))
			p.Signer.PCK = old
		}},
		{name: "pck-chain/p384-ca", why: "the CA's key is no key of P-256", before: func(p *Platform) {
			p.Vendor.CA = &issue.Identity{Key: p384(p)}
			ca(nil)(p)
		}},
		{name: "pck-chain/leaf-signature", why: "the last bit of the PCK certificate's signature is wrong", before: func(p *Platform) {
			c := *p.PCK.Cert
			c.Raw = slices.Clone(c.Raw)
			c.Raw[len(c.Raw)-1] ^= 1
			p.Signer.CertData = chain(&issue.Identity{Cert: &c}, p.Vendor.CA, p.Vendor.Root)
		}},
		{name: "pck-chain/root-as-ca", why: "a root that has the CA's name and issues PCK certificates itself", before: func(p *Platform) {
			p.Vendor.Root = p.reissue(issue.RootCA, nil, p.Vendor.Root, func(t *issue.Template) { t.Subject.CommonName = "Test SGX PCK Platform CA" })
			p.Vendor.TCBSigner = p.reissue(issue.TCBSigning, p.Vendor.Root, p.Vendor.TCBSigner, nil)
			p.Use(p.reissue(issue.PCKLeaf, p.Vendor.Root, p.PCK, nil))
			p.Signer.CertData = chain(p.PCK, p.Vendor.Root)
		}},
		{name: "pck-chain/issuer-name", why: "the CA's certificate has its key, and another name than the PCK certificate says", before: func(p *Platform) {
			other := p.reissue(issue.PlatformCA, p.Vendor.Root, p.Vendor.CA, func(t *issue.Template) { t.Subject.CommonName = "Test SGX PCK Processor CA" })
			p.Signer.CertData = chain(p.PCK, other, p.Vendor.Root)
		}},
		{name: "pck-chain/root-altered", why: "the root's certificate was changed; its key is the trusted one", before: data(func(p *Platform) []byte {
			c := *p.Vendor.Root.Cert
			c.Raw = slices.Clone(c.Raw)
			c.Raw[len(c.Raw)-1] ^= 1
			return chain(p.PCK, p.Vendor.CA, &issue.Identity{Cert: &c})
		})},
		{name: "pck-chain/root-path-length", why: "the root may issue leaves only", before: func(p *Platform) {
			p.Vendor.Root = p.reissue(issue.RootCA, nil, p.Vendor.Root, func(t *issue.Template) { t.PathLen = 0 })
			p.Use(p.PCK)
		}},
		{name: "pck-chain/ca-key-usage", why: "the CA may sign no certificates", before: ca(func(t *issue.Template) { t.KeyUsage = x509.KeyUsageCRLSign })},
		{name: "pck-chain/leaf-key-usage", why: "the PCK may sign no data", before: leaf(func(t *issue.Template) { t.KeyUsage = x509.KeyUsageContentCommitment })},
		{name: "pck-chain/sha384", why: "the PCK certificate is signed with another hash", before: leaf(func(t *issue.Template) { t.Signature = x509.ECDSAWithSHA384 })},
		{name: "pck-chain/nine-certificates", why: "more certificates than anybody needs", before: func(p *Platform) {
			for range 6 {
				p.Signer.CertData = append(p.Signer.CertData, p.another().CA.PEM()...)
			}
		}},
		{name: "pck-chain/pem-header", why: "a PEM block with headers", before: func(p *Platform) {
			p.Signer.CertData = bytes.Replace(p.Signer.CertData, []byte("-----\n"), []byte("-----\nA: b\n\n"), 1)
		}},
		{name: "pck-chain/no-certificate", why: "a PEM block that is no certificate inside", before: data(func(*Platform) []byte {
			return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("no DER")})
		})},
		{name: "pck-chain/leaf-expired", why: "the PCK certificate has expired", before: leaf(func(t *issue.Template) { t.NotAfter = Now.Add(-time.Second) })},
		{name: "pck-chain/leaf-not-yet", why: "the PCK certificate is not valid yet", before: leaf(func(t *issue.Template) { t.NotBefore = Now.Add(time.Second) })},
		{name: "pck-chain/ca-expired", why: "the CA's certificate has expired", before: ca(func(t *issue.Template) { t.NotAfter = Now.Add(-time.Second) })},
		{name: "pck-chain/root-expired", also: []attest.Step{attest.StepTCBChain}, why: "the root's certificate has expired", before: func(p *Platform) {
			p.Vendor.Root = p.reissue(issue.RootCA, nil, p.Vendor.Root, func(t *issue.Template) { t.NotAfter = Now.Add(-time.Second) })
			p.Use(p.PCK)
		}},
		{name: "pck-chain/before-all", also: []attest.Step{attest.StepTCBChain, attest.StepRootCRL, attest.StepPCKCRL, attest.StepTCBInfo, attest.StepQEIdentity}, why: "the clock is before all certificates", after: func(_ *Platform, v *Vector) { v.Now = before }},
		{name: "pck-chain/after-all", also: []attest.Step{attest.StepTCBChain, attest.StepRootCRL, attest.StepPCKCRL, attest.StepTCBInfo, attest.StepQEIdentity, attest.StepCollateralAge}, why: "the clock is behind all certificates", after: func(_ *Platform, v *Vector) { v.Now = after }},
		{name: "pck-chain/ppid-only", why: "certification data without a chain (type 1)", before: func(p *Platform) {
			p.Signer.CertType, p.Signer.CertData = 1, make([]byte, 36)
		}},
	}
	for i := range pck {
		pck[i].step = attest.StepPCKChain
	}

	tcbChain := func(f func(p *Platform) []byte) func(*Platform, *Vector) {
		return func(p *Platform, v *Vector) { v.Collateral.TCBInfoChain, v.Collateral.QEIdentityChain = f(p), f(p) }
	}
	// signer has the documents signed by a certificate of its own.
	signer := func(change func(*issue.Template)) func(*Platform) {
		return func(p *Platform) {
			p.Vendor.TCBSigner = p.reissue(issue.TCBSigning, p.Vendor.Root, p.Vendor.TCBSigner, change)
		}
	}
	tcb := []recipe{
		{name: "tcb-chain/no-pem", why: "the chain of the documents is no PEM", after: tcbChain(func(*Platform) []byte { return []byte("no PEM") })},
		{name: "tcb-chain/root-only", why: "the signing certificate is missing", after: tcbChain(func(p *Platform) []byte { return p.Vendor.Root.PEM() })},
		{name: "tcb-chain/same-names", why: "the signing certificate is by another root of the same name", before: func(p *Platform) {
			p.Vendor.TCBSigner = p.another().TCBSigner
		}},
		{name: "tcb-chain/foreign", why: "the documents are by another root", after: func(p *Platform, v *Vector) {
			foreignDocuments(p, v, p.another())
		}},
		{name: "tcb-chain/foreign-but-trusted", why: "the documents are by another root, which is trusted as well", after: func(p *Platform, v *Vector) {
			other := p.another()
			if err := v.Roots.Add("the other", other.Root.Cert); err != nil {
				p.t.Fatal(err)
			}
			foreignDocuments(p, v, other)
		}},
		{name: "tcb-chain/qe-identity-foreign", why: "the QE identity alone is by another root", after: func(p *Platform, v *Vector) {
			other := p.another()
			p.Vendor.TCBSigner, p.Vendor.Root = other.TCBSigner, other.Root
			c := p.Mint().Collateral
			v.Collateral.QEIdentity, v.Collateral.QEIdentityChain = c.QEIdentity, c.QEIdentityChain
		}},
		{name: "tcb-chain/pck-signs", why: "the documents are signed by a machine's PCK", before: func(p *Platform) { p.Vendor.TCBSigner = p.PCK },
			after: tcbChain(func(p *Platform) []byte { return p.Vendor.PCKChain(p.PCK) })},
		{name: "tcb-chain/ca-signs", why: "the documents are signed by the PCK CA", before: func(p *Platform) { p.Vendor.TCBSigner = p.Vendor.CA }},
		{name: "tcb-chain/name", why: "the signing certificate has the name of another role", before: signer(func(t *issue.Template) {
			t.Subject.CommonName = "Test SGX PCK Certificate"
		})},
		{name: "tcb-chain/key-usage", why: "the signing certificate may sign no data", before: signer(func(t *issue.Template) { t.KeyUsage = x509.KeyUsageContentCommitment })},
		{name: "tcb-chain/two-signers", why: "two signing certificates: whose are the documents?", after: tcbChain(func(p *Platform) []byte {
			second := p.reissue(issue.TCBSigning, p.Vendor.Root, &issue.Identity{Key: must(issue.NewKey())(p.t)}, nil)
			return chain(p.Vendor.TCBSigner, second, p.Vendor.Root)
		})},
		{name: "tcb-chain/no-root", why: "the root is missing, and so is a path", after: func(p *Platform, v *Vector) {
			foreign := p.another().TCBSigner.PEM()
			v.Collateral.TCBInfoChain, v.Collateral.QEIdentityChain = foreign, foreign
		}},
		{name: "tcb-chain/expired", why: "the signing certificate has expired", before: signer(func(t *issue.Template) { t.NotAfter = Now.Add(-time.Second) })},
		{name: "tcb-chain/not-yet", why: "the signing certificate is not valid yet", before: signer(func(t *issue.Template) { t.NotBefore = Now.Add(time.Second) })},
	}
	for i := range tcb {
		tcb[i].step = attest.StepTCBChain
	}
	return append(pck, tcb...)
}

// foreignDocuments has both documents signed by another vendor.
func foreignDocuments(p *Platform, v *Vector, by *issue.Hierarchy) {
	p.Vendor.TCBSigner, p.Vendor.Root = by.TCBSigner, by.Root
	c := p.Mint().Collateral
	v.Collateral.TCBInfo, v.Collateral.TCBInfoChain = c.TCBInfo, c.TCBInfoChain
	v.Collateral.QEIdentity, v.Collateral.QEIdentityChain = c.QEIdentity, c.QEIdentityChain
}

// entry is one of the pairs that an SGX extension is a list of.
type entry struct {
	ID    asn1.ObjectIdentifier
	Value asn1.RawValue
}

// extensionRecipes break the SGX extension of the PCK certificate.
func extensionRecipes() []recipe {
	// value edits the bytes, entries the list.
	value := func(f func(b []byte) []byte) func(*Platform) {
		return leaf(func(t *issue.Template) { t.Extensions[0].Value = f(t.Extensions[0].Value) })
	}
	edit := func(b []byte, f func(e []entry) []entry) []byte {
		var e []entry
		if _, err := asn1.Unmarshal(b, &e); err != nil {
			panic(err) // it was made by package issue
		}
		b, err := asn1.Marshal(f(e))
		if err != nil {
			panic(err)
		}
		return b
	}
	entries := func(f func(e []entry) []entry) func(*Platform) {
		return value(func(b []byte) []byte { return edit(b, f) })
	}
	without := func(n int) func(*Platform) {
		return entries(func(e []entry) []entry { return slices.Delete(e, n, n+1) })
	}
	octets := func(n int, b []byte) func(*Platform) {
		return entries(func(e []entry) []entry {
			e[n].Value = asn1.RawValue{Tag: asn1.TagOctetString, Bytes: b}
			return e
		})
	}
	const ppid, svns, pceID, fmspc, sgxType, platformID = 0, 1, 2, 3, 4, 5
	// tcb edits the list within the TCB, inTCB one value there.
	tcb := func(f func(e []entry) []entry) func(*Platform) {
		return entries(func(e []entry) []entry {
			e[svns].Value = asn1.RawValue{FullBytes: edit(e[svns].Value.FullBytes, f)}
			return e
		})
	}
	inTCB := func(n int, v asn1.RawValue) func(*Platform) {
		return tcb(func(e []entry) []entry {
			e[n].Value = v
			return e
		})
	}
	list := []recipe{
		{name: "pck-extensions/no-der", why: "the extension is no DER", before: value(func([]byte) []byte { return []byte("no DER") })},
		{name: "pck-extensions/cut-off", why: "the last byte of the extension is missing", before: value(func(b []byte) []byte { return b[:len(b)-1] })},
		{name: "pck-extensions/byte-behind", why: "a byte is behind the extension", before: value(func(b []byte) []byte { return append(b, 0) })},
		{name: "pck-extensions/no-ppid", why: "the PPID is missing", before: without(ppid)},
		{name: "pck-extensions/no-tcb", why: "the TCB is missing", before: without(svns)},
		{name: "pck-extensions/no-fmspc", why: "the FMSPC is missing", before: without(fmspc)},
		{name: "pck-extensions/fmspc-5-bytes", why: "an FMSPC of five bytes", before: octets(fmspc, make([]byte, 5))},
		{name: "pck-extensions/pceid-3-bytes", why: "a PCE id of three bytes", before: octets(pceID, make([]byte, 3))},
		{name: "pck-extensions/fmspc-twice", why: "two FMSPCs: which one is meant?", before: entries(func(e []entry) []entry { return append(e, e[fmspc]) })},
		{name: "pck-extensions/sgx-type", why: "the kind of SGX is an OCTET STRING", before: octets(sgxType, []byte{1})},
		{name: "pck-extensions/svn-256", why: "an SVN that is no byte", before: inTCB(0, asn1.RawValue{Tag: asn1.TagInteger, Bytes: []byte{1, 0}})},
		{name: "pck-extensions/pcesvn-65536", why: "a PCESVN of 17 bits", before: inTCB(16, asn1.RawValue{Tag: asn1.TagInteger, Bytes: []byte{1, 0, 0}})},
		{name: "pck-extensions/cpusvn-15-bytes", why: "a CPUSVN of 15 bytes", before: inTCB(17, asn1.RawValue{Tag: asn1.TagOctetString, Bytes: make([]byte, 15)})},
		{name: "pck-extensions/svn-negative", why: "a negative SVN", before: inTCB(3, asn1.RawValue{Tag: asn1.TagInteger, Bytes: []byte{0xff}})},
		{name: "pck-extensions/instance-id", why: "a platform instance id of one byte", before: octets(platformID, []byte{1})},
		{name: "pck-extensions/15-svns", why: "an SVN is missing", before: tcb(func(e []entry) []entry { return slices.Delete(e, 15, 16) })},
		{name: "pck-extensions/svn-twice", why: "an SVN twice: which one is meant?", before: tcb(func(e []entry) []entry { return append(e, e[0]) })},
	}
	for i := range list {
		list[i].step = attest.StepPCKExtensions
	}
	return list
}
