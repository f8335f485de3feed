package attest

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/sgx"
)

// The quotes of other projects are not part of this repository. Tests read
// them from $EOS_VECTORS, or from vectors in the folder that a maintainer
// shares beside the repository, and are skipped, saying so, without them.
func vector(t testing.TB, name ...string) []byte {
	t.Helper()
	dir := os.Getenv("EOS_VECTORS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "vectors")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("real quotes: set EOS_VECTORS to their folder: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(append([]string{dir}, name...)...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func date(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

func clock(s string) func() time.Time { return func() time.Time { return date(s) } }

// intel returns a verifier at a time, for collateral of a month.
func intel(at string) *Verifier {
	return &Verifier{Roots: IntelRoots(), Now: clock(at), MaxCollateralAge: 31 * 24 * time.Hour}
}

// fortanixDoc reads the form in which Fortanix keeps signed texts: an ASN.1
// signature as an array of numbers.
func fortanixDoc(t *testing.T, key string, b []byte) (doc SignedJSON, chain []byte) {
	t.Helper()
	var raw map[string]json.RawMessage
	var body string
	var sig []int
	var certs []string
	for _, err := range []error{json.Unmarshal(b, &raw), json.Unmarshal(raw[key], &body), json.Unmarshal(raw["signature"], &sig), json.Unmarshal(raw["ca_chain"], &certs)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var der []byte
	for _, n := range sig {
		der = append(der, byte(n))
	}
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &rs); err != nil {
		t.Fatal(err)
	}
	doc.Body = []byte(body)
	rs.R.FillBytes(doc.Signature[:32])
	rs.S.FillBytes(doc.Signature[32:])
	for _, c := range certs {
		chain = append(chain, c...)
	}
	return doc, chain
}

func fortanixCRL(t *testing.T, b []byte) []byte {
	t.Helper()
	var f struct {
		CRL string `json:"crl"`
	}
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(f.CRL))
	if block == nil {
		t.Fatal("no PEM")
	}
	return block.Bytes
}

// fortanixCollateral is that of 2020. It has no root CRL.
func fortanixCollateral(t *testing.T) *Collateral {
	c := &Collateral{}
	c.TCBInfo, c.TCBInfoChain = fortanixDoc(t, "raw_tcb_info", vector(t, "quotes", "fortanix-pcs", "00906ea10000.tcb"))
	c.QEIdentity, c.QEIdentityChain = fortanixDoc(t, "raw_enclave_identity", vector(t, "quotes", "fortanix-pcs", "qe3_identity.id"))
	c.PCKCRL = fortanixCRL(t, vector(t, "quotes", "fortanix-pcs", "processor.crl"))
	return c
}

// steps returns the names of the failures.
func steps(r *Result) []Step {
	var s []Step
	for _, f := range r.Failures {
		s = append(s, f.Step)
	}
	return s
}

func wantStep(t *testing.T, err error, want Step) *Error {
	t.Helper()
	e, ok := err.(*Error)
	if !ok {
		t.Fatalf("error %v, want step %s", err, want)
	}
	if e.Step != want {
		t.Fatalf("step %s (%v), want %s", e.Step, e, want)
	}
	return e
}

// accepting returns a policy that accepts everything in r by name.
func accepting(r *Result) Policy {
	p := Policy{Roots: OneOf(r.Root), TCB: []TCBRule{{r.Status, OneOf(r.Advisories...), Until(r.Time.Add(time.Hour))}}}
	if q := r.Quote; q.Report != nil {
		p.SGX = &SGXPolicy{
			MREnclave: OneOf(q.Report.MREnclave), MRSigner: OneOf(q.Report.MRSigner), ISVProdID: OneOf(q.Report.ISVProdID),
			MinISVSVN: AtLeast(q.Report.ISVSVN), Attributes: AttributeBits(uint64(q.Report.Attributes.Flags), 1<<64-1, uint64(q.Report.Attributes.XFRM), 1<<64-1),
		}
	} else {
		p.TDX = &TDXPolicy{MRTD: OneOf(Hash48(q.TD.MRTD)), Attributes: AttributeBits(q.TD.TDAttributes, 1<<64-1, q.TD.XFAM, 1<<64-1)}
		for i, m := range q.TD.RTMR {
			p.TDX.RTMR[i] = OneOf(Hash48(m))
		}
	}
	return p
}

// upToDate accepts anything on a platform without flaw.
func upToDate() Policy {
	p := Policy{Roots: Any[string](), TCB: []TCBRule{{UpToDate, OneOf[string](), Forever()}}}
	p.SGX = &SGXPolicy{Any[sgx.Measurement](), Any[sgx.Measurement](), Any[uint16](), AtLeast(0), AnyAttributes(), false}
	p.TDX = &TDXPolicy{Any[Hash48](), [4]Criterion[Hash48]{Any[Hash48](), Any[Hash48](), Any[Hash48](), Any[Hash48]()}, AnyAttributes(), false}
	return p
}

func TestFortanixPCS(t *testing.T) {
	quote, c := vector(t, "quotes", "fortanix-pcs", "quote.bin"), fortanixCollateral(t)
	v := intel("2020-06-05T12:00:00Z")
	r, err := v.Verify(quote, c)
	// There is no root CRL of that time; nothing else may fail.
	wantStep(t, err, StepCollateral)
	if !slices.Equal(steps(r), []Step{StepCollateral, StepRootCRL}) {
		t.Errorf("failures %v", r.Failures)
	}
	if r.Platform == nil || r.Platform.Index != 0 || r.Platform.Matched.Status != SWHardeningNeeded || r.QE.Matched.Status != UpToDate || r.QE.ISVSVN != 5 {
		t.Errorf("%+v %+v", r.Platform, r.QE)
	}
	if !r.Quote.Debug() || hex.EncodeToString(r.PCK.FMSPC[:]) != "00906ea10000" || r.PCK.PCESVN != 10 || r.PCK.TCB != [16]uint8{14, 14, 2, 4, 1, 128, 7} {
		t.Errorf("%+v", r.PCK)
	}
	// The root CRL of another time is one failure alone.
	block, _ := pem.Decode(vector(t, "quotes", "fortanix-pcs", "IntelSGXRootCA.crl"))
	if block == nil {
		block = &pem.Block{Bytes: vector(t, "quotes", "fortanix-pcs", "IntelSGXRootCA.crl")}
	}
	c.RootCRL = block.Bytes
	r, err = v.Verify(quote, c)
	if e := wantStep(t, err, StepRootCRL); len(r.Failures) != 1 {
		t.Errorf("failures %v (%v)", r.Failures, e)
	}
	// Were it not for that, it would be the debug bit.
	r.Failures, r.verified, r.Status = nil, true, SWHardeningNeeded
	wantStep(t, accepting(r).Appraise(r), StepPolicyDebug)
	p := accepting(r)
	p.SGX.AllowDebug = true
	if err := p.Appraise(r); err != nil {
		t.Error(err)
	}

	for at, want := range map[string][]Step{
		"2020-05-18T17:49:23Z": {StepRootCRL, StepTCBInfo},
		"2020-06-17T17:49:22Z": {StepRootCRL, StepPCKCRL, StepQEIdentity},
	} {
		r, _ := intel(at).Verify(quote, c)
		if !slices.Equal(steps(r), want) {
			t.Errorf("at %s: %v", at, r.Failures)
		}
	}
}

func TestFortanixCorrupted(t *testing.T) {
	quote := vector(t, "quotes", "fortanix-pcs", "quote.bin")
	c := fortanixCollateral(t)
	c.TCBInfo, _ = fortanixDoc(t, "raw_tcb_info", vector(t, "quotes", "fortanix-pcs", "corrupted", "00906ea10000.tcb"))
	r, _ := intel("2020-06-05T12:00:00Z").Verify(quote, c)
	if !slices.Contains(steps(r), StepTCBInfo) || r.Platform != nil {
		t.Errorf("TCB info: %v", r.Failures)
	}
	c = fortanixCollateral(t)
	c.QEIdentity, _ = fortanixDoc(t, "raw_enclave_identity", vector(t, "quotes", "fortanix-pcs", "corrupted", "qe3_identity.id"))
	r, _ = intel("2020-06-05T12:00:00Z").Verify(quote, c)
	if !slices.Contains(steps(r), StepQEIdentity) || r.QE != nil {
		t.Errorf("QE identity: %v", r.Failures)
	}
	for name, good := range map[string]bool{"qe3_identity.json": true, "corrupt_qe3_identity.json": false} {
		c := fortanixCollateral(t)
		var err error
		if c.QEIdentity, err = ParseSignedJSON(NameQEIdentity, vector(t, "quotes", "fortanix-chain-order", name)); err != nil {
			t.Fatal(err)
		}
		r, _ := intel("2020-06-05T12:00:00Z").Verify(quote, c)
		if slices.Contains(r.Passed, StepQEIdentity) != good {
			t.Errorf("%s: %v", name, r.Failures)
		}
	}
}

// A chain that is stored leaf, root, intermediate: we build paths, so the
// order does not matter.
func TestChainOrder(t *testing.T) {
	quote := vector(t, "quotes", "fortanix-chain-order", "quote_pck_cert_chain.bin")
	c := fortanixCollateral(t)
	v := intel("2020-06-05T12:00:00Z")
	r, _ := v.Verify(quote, c)
	if !slices.Equal(steps(r), []Step{StepCollateral, StepRootCRL}) {
		t.Errorf("failures %v", r.Failures)
	}
	if r.Root != IntelRootName || len(r.Chain) != 3 || r.Chain[1].Subject.CommonName != "Intel SGX PCK Processor CA" {
		t.Errorf("chain %v", r.Chain)
	}
	if r.Platform == nil || r.Platform.Index != 4 || r.Platform.Matched.Status != OutOfDate || r.QE.Matched.Status != OutOfDate || r.QE.ISVSVN != 2 {
		t.Errorf("%+v %+v", r.Platform, r.QE)
	}
	bad := vector(t, "quotes", "fortanix-chain-order", "quote_pck_cert_chain_corrupted.bin")
	r, _ = v.Verify(bad, c)
	if !slices.Equal(steps(r), []Step{StepCollateral, StepRootCRL, StepQuoteSignature}) {
		t.Errorf("corrupted: %v", r.Failures)
	}
}

// The mix of documents that ORIGIN.md computes for this quote.
func TestMobilecoin(t *testing.T) {
	quote := vector(t, "quotes", "mobilecoin", "hw_quote.dat")
	_, other := phala(t, "sgx")
	c := &Collateral{PCKCRL: other.PCKCRL, RootCRL: other.RootCRL}
	c.TCBInfo, c.TCBInfoChain = fortanixDoc(t, "raw_tcb_info", vector(t, "quotes", "fortanix-pcs", "00906ed50000-19.tcb"))
	c.QEIdentity, c.QEIdentityChain = fortanixDoc(t, "raw_enclave_identity", vector(t, "quotes", "fortanix-pcs", "qe3_identity-19.id"))
	for _, at := range []string{"2025-06-19T10:23:18Z", "2025-07-01T00:00:00Z", "2025-07-04T00:16:12Z"} {
		r, err := intel(at).Verify(quote, c)
		if err != nil {
			t.Fatalf("at %s: %v", at, err)
		}
		want := []string{"INTEL-SA-00614", "INTEL-SA-00617", "INTEL-SA-00161", "INTEL-SA-00219", "INTEL-SA-00289", "INTEL-SA-00828", "INTEL-SA-01153", "INTEL-SA-00334", "INTEL-SA-00615"}
		if r.Status != OutOfDate || r.Platform.Index != 8 || r.Platform.Levels != 21 || !slices.Equal(r.Advisories, want) || r.QE.Matched.Status != OutOfDate {
			t.Errorf("%v %+v %v %+v", r.Status, r.Platform, r.Advisories, r.QE)
		}
		wantStep(t, upToDate().Appraise(r), StepPolicyDebug)
		p := upToDate()
		p.SGX.AllowDebug = true
		wantStep(t, p.Appraise(r), StepPolicyTCB)
	}
	for _, at := range []string{"2025-06-19T10:23:17Z", "2025-07-04T00:16:13Z"} {
		if r, err := intel(at).Verify(quote, c); err == nil || len(r.Failures) != 1 {
			t.Errorf("at %s: %v", at, r.Failures)
		}
	}
	c.TCBInfo, c.TCBInfoChain = fortanixDoc(t, "raw_tcb_info", vector(t, "quotes", "fortanix-pcs", "00906ea10000.tcb"))
	r, _ := intel("2025-07-01T00:00:00Z").Verify(quote, c)
	if i := slices.Index(steps(r), StepTCBInfo); i < 0 || r.Platform != nil {
		t.Errorf("other FMSPC: %v", r.Failures)
	}

	// Chain and revocation alone, with the lists of 2023.
	c = &Collateral{PCKCRL: vector(t, "quotes", "mobilecoin", "processor_crl.der"), RootCRL: vector(t, "quotes", "mobilecoin", "root_crl.der")}
	r, _ = intel("2023-05-01T00:00:00Z").Verify(quote, c)
	for _, s := range []Step{StepPCKChain, StepRootCRL, StepPCKCRL, StepRevocation, StepQEReport, StepQEBinding, StepQuoteSignature} {
		if !slices.Contains(r.Passed, s) {
			t.Errorf("%s: %v", s, r.Failures)
		}
	}
	if leaf := vector(t, "quotes", "mobilecoin", "leaf_cert.der"); !bytes.Equal(r.Chain[0].Raw, leaf) {
		t.Error("another leaf")
	}
}

// The default age limit refuses what is still valid, by name.
func TestCollateralAge(t *testing.T) {
	quote, c := phala(t, "sgx")
	v := intel("2025-07-01T00:00:00Z")
	v.MaxCollateralAge = 0
	r, err := v.Verify(quote, c)
	e := wantStep(t, err, StepCollateralAge)
	if len(r.Failures) != 1 || r.Platform == nil || r.Status != StatusUnknown {
		t.Errorf("%v: %v", e, r.Failures)
	}
	v = intel("2025-06-26T10:00:00Z")
	v.MaxCollateralAge = 0
	if _, err := v.Verify(quote, c); err != nil {
		t.Error(err)
	}
}

// No root, another root, and Intel's certificate added by hand.
func TestRoots(t *testing.T) {
	quote, c := phala(t, "sgx")
	der := vector(t, "intel", "IntelSGXRootCA.der")
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	other, err := x509.ParseCertificate(r1(t, quote))
	if err != nil {
		t.Fatal(err)
	}
	mine, foreign := &Roots{}, &Roots{}
	for _, e := range []error{mine.Add("by hand", cert), foreign.Add("another", other)} {
		if e != nil {
			t.Fatal(e)
		}
	}
	for name, roots := range map[string]*Roots{"nil": nil, "none": {}, "another": foreign} {
		v := intel("2025-07-01T00:00:00Z")
		v.Roots = roots
		r, err := v.Verify(quote, c)
		wantStep(t, err, StepPCKChain)
		if r.Root != "" || r.PCK != nil || r.Platform != nil || r.verified {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if foreign.Add("another", cert) == nil || foreign.Add("", cert) == nil || foreign.Add(IntelRootName, cert) == nil {
		t.Error("a root with a bad name was added")
	}
	v := intel("2025-07-01T00:00:00Z")
	v.Roots = mine
	r, err := v.Verify(quote, c)
	if err != nil || r.Root != "by hand" {
		t.Errorf("%v %q", err, r.Root)
	}
	p := accepting(r)
	p.Roots = OneOf(IntelRootName)
	wantStep(t, p.Appraise(r), StepPolicyRoot)
}

// r1 returns the leaf of a quote.
func r1(t *testing.T, quote []byte) []byte {
	q, err := ParseQuote(quote)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(q.CertData)
	return block.Bytes
}

// What was parsed is written again, byte for byte.
func TestRealRoundTrips(t *testing.T) {
	for _, name := range [][]string{
		{"quotes", "phala-sgx", "sgx_quote"}, {"quotes", "phala-tdx", "tdx_quote"}, {"quotes", "fortanix-pcs", "quote.bin"},
		{"quotes", "fortanix-chain-order", "quote_pck_cert_chain.bin"}, {"quotes", "mobilecoin", "hw_quote.dat"},
	} {
		b := vector(t, name...)
		q, err := ParseQuote(b)
		if err != nil {
			t.Fatal(name, err)
		}
		again, err := q.AppendBinary(nil)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%v: other bytes (%v)", name, err)
		}
		end := len(b) - q.Padding
		for n := 0; n < end; n++ {
			if _, err := ParseQuote(b[:n]); err == nil {
				t.Fatalf("%v: the first %d of %d bytes parse", name, n, end)
			}
		}
		leaf, err := x509.ParseCertificate(r1(t, b))
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range leaf.Extensions {
			if x.Id.Equal(OIDSGXExtension) {
				e, err := ParsePCKExtensions(x.Value)
				if err != nil {
					t.Fatal(err)
				}
				if again, _ := e.AppendBinary(nil); !bytes.Equal(again, x.Value) {
					t.Errorf("%v: SGX extension\n got %x\nwant %x", name, again, x.Value)
				}
			}
		}
	}
	for _, tee := range []string{"sgx", "tdx"} {
		b := vector(t, "quotes", "phala-"+tee, tee+"_quote_collateral.json")
		_, c := phala(t, tee)
		again, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		c2, err := ParseCollateral(again)
		if err != nil || fmt.Sprint(c) != fmt.Sprint(c2) {
			t.Errorf("bundle: %v", err)
		}
		var want, got map[string]string
		if json.Unmarshal(b, &want) != nil || json.Unmarshal(again, &got) != nil || fmt.Sprint(want) != fmt.Sprint(got) {
			t.Error("the bundle is not that of dcap-qvl")
		}
		id, err := ParseQEIdentity(c.QEIdentity.Body)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := id.MarshalJSON(); !bytes.Equal(again, c.QEIdentity.Body) {
			t.Errorf("QE identity\n got %s\nwant %s", again, c.QEIdentity.Body)
		}
		info, err := ParseTCBInfo(c.TCBInfo.Body)
		if err != nil {
			t.Fatal(err)
		}
		again, _ = info.MarshalJSON()
		if tee == "sgx" && !bytes.Equal(again, c.TCBInfo.Body) {
			t.Errorf("TCB info\n got %s\nwant %s", again, c.TCBInfo.Body)
		}
		info2, err := ParseTCBInfo(again)
		if err != nil || fmt.Sprintf("%+v", *info) != fmt.Sprintf("%+v", *info2) && tee == "sgx" {
			t.Errorf("TCB info: %v", err)
		}
	}
}
