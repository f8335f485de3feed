package attest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/attest/attesttest"
)

// minted returns quotes of every kind that we read.
func minted(t testing.TB) []*attest.Quote {
	t.Helper()
	sgx3, sgx4, tdx := attesttest.New(t), attesttest.New(t), attesttest.NewTDX(t)
	sgx4.Version, sgx4.Signer.QESVN, sgx4.Signer.PCESVN = 4, 0, 0
	var out []*attest.Quote
	for _, p := range []*attesttest.Platform{sgx3, sgx4, tdx} {
		q, err := attest.ParseQuote(p.Mint().Quote)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, q)
	}
	return out
}

func TestQuoteRoundTrip(t *testing.T) {
	for _, q := range minted(t) {
		b, err := q.AppendBinary([]byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		again, err := attest.ParseQuote(b[1:])
		if err != nil || !reflect.DeepEqual(again, q) {
			t.Errorf("version %d %v: %v, not the same", q.Version, q.TEE, err)
		}
		for n := range len(b) - 1 {
			if _, err := attest.ParseQuote(b[1 : 1+n]); err == nil {
				t.Fatalf("version %d %v: the first %d bytes parse", q.Version, q.TEE, n)
			}
		}
	}
	if _, err := (&attest.Quote{TEE: attest.TDX}).AppendBinary(nil); err == nil {
		t.Error("a TDX quote without a TD report has bytes")
	}
}

// What we do not read is refused by name.
func TestQuoteNames(t *testing.T) {
	good, err := minted(t)[0].AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		off  int
		val  byte
		says string
	}{
		{0, 5, "version 5"}, {0, 2, "EPID"}, {0, 1, "version"}, {0, 9, "no DCAP quote"}, {2, 3, "P-384"}, {2, 0, "key type"}, {4, 0x81, "reserved"},
	} {
		b := slices.Clone(good)
		b[c.off] = c.val
		_, err := attest.ParseQuote(b)
		var e *attest.Error
		if !errors.As(err, &e) || e.Step != attest.StepQuote || !strings.Contains(err.Error()+e.Hint, c.says) {
			t.Errorf("byte %d = %d: %v", c.off, c.val, err)
		}
	}
	for _, behind := range [][]byte{{1}, make([]byte, 16<<10+1), append(make([]byte, 70), 1)} {
		if _, err := attest.ParseQuote(append(slices.Clone(good), behind...)); err == nil {
			t.Errorf("%d bytes behind the quote", len(behind))
		}
	}
}

// Certification data other than a chain is parsed, named, and not verified.
func TestCertificationData(t *testing.T) {
	p := attesttest.New(t)
	e := p.Mint()
	v := &attest.Verifier{Roots: p.Roots(), Now: func() time.Time { return attesttest.Now }}
	for typ, says := range map[uint16]string{1: "PPID", 2: "RSA-2048", 3: "RSA-3072", 4: "leaf", 6: "QE report", 7: "manifest", 8: "unknown"} {
		q, err := attest.ParseQuote(e.Quote)
		if err != nil {
			t.Fatal(err)
		}
		q.CertType = typ
		b, err := q.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := v.Verify(b, e.Collateral)
		var ae *attest.Error
		if !errors.As(err, &ae) || ae.Step != attest.StepPCKChain || !strings.Contains(ae.Got, says) || ae.Hint == "" || r.Quote.CertType != typ {
			t.Errorf("type %d: %v", typ, err)
		}
	}
}

// A quote without a chain verifies with the chain of its platform in the
// collateral, and with no other.
func TestChainInCollateral(t *testing.T) {
	p := attesttest.New(t)
	e := p.Mint()
	q, err := attest.ParseQuote(e.Quote)
	if err != nil {
		t.Fatal(err)
	}
	chain := q.CertData
	q.CertType, q.CertData = attest.CertPPIDRSA3072, make([]byte, 404)
	b, err := q.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	v := &attest.Verifier{Roots: p.Roots(), Now: func() time.Time { return attesttest.Now }}
	e.Collateral.PCKChain = chain
	bundle, err := json.Marshal(e.Collateral)
	if err != nil {
		t.Fatal(err)
	}
	c, err := attest.ParseCollateral(bundle)
	if err != nil || !reflect.DeepEqual(c, e.Collateral) {
		t.Fatalf("%v: another bundle", err)
	}
	if _, err := v.Verify(b, c); err != nil {
		t.Error(err)
	}
	other := *p
	pck, err := p.Vendor.PCK(&p.Extensions)
	if err != nil {
		t.Fatal(err)
	}
	other.Use(pck)
	c.PCKChain = other.Signer.CertData
	var ae *attest.Error
	if _, err := v.Verify(b, c); !errors.As(err, &ae) || ae.Step != attest.StepQEReport {
		t.Errorf("another platform's chain: %v", err)
	}
	null := bytes.Replace(bundle, []byte(`"pck_certificate_chain":"`), []byte(`"pck_certificate_chain":null,"x":"`), 1)
	if _, err := attest.ParseCollateral(null); err == nil || !strings.Contains(err.Error(), "x") {
		t.Errorf("an unknown key behind null: %v", err)
	}
}

// A caller may do with a result what it likes: the next one is not touched.
func TestResultIsOwn(t *testing.T) {
	p := attesttest.NewTDX(t)
	p.TCB.Levels[0].Advisories, p.QE.Levels[0].Advisories, p.TCB.Modules[2].Levels[0].Advisories = []string{"A"}, []string{"B"}, []string{"C"}
	e := p.Mint()
	v := &attest.Verifier{Roots: p.Roots(), Now: func() time.Time { return attesttest.Now }}
	for range 2 {
		r, err := v.Verify(e.Quote, e.Collateral)
		if err != nil {
			t.Fatal(err)
		}
		if r.Platform.Matched.Advisories[0] != "A" || r.Platform.Newest.TDX[0] == 99 || r.PCK.PlatformInstanceID[0] == 99 || !*r.PCK.Configuration.DynamicPlatform ||
			!slices.Equal(r.Advisories, []string{"A", "C", "B"}) || r.Chain[0] == nil || r.Passed[0] != attest.StepQuote {
			t.Fatalf("%+v %v", r.Platform, r.Advisories)
		}
		r.Platform.Matched.Advisories[0], r.QE.Matched.Advisories[0], r.Module.Newest.Advisories[0] = "x", "x", "x"
		r.Platform.Newest.TDX[0], r.PCK.PlatformInstanceID[0], *r.PCK.Configuration.DynamicPlatform = 99, 99, false
		r.Advisories[0], r.Chain[0], r.Passed[0] = "x", nil, "x"
	}
}

func FuzzQuote(f *testing.F) {
	for _, q := range minted(f) {
		b, err := q.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := attest.ParseQuote(b)
		if err != nil {
			return
		}
		out, err := q.AppendBinary(nil)
		if err != nil || !bytes.Equal(out, b) {
			t.Fatalf("%v: other bytes", err)
		}
	})
}

// Whatever is done to a quote: if it is accepted, what is signed is what was
// signed.
func FuzzVerify(f *testing.F) {
	p := attesttest.New(f)
	e := p.Mint()
	good, err := attest.ParseQuote(e.Quote)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(e.Quote, e.Collateral.TCBInfo.Body, e.Collateral.PCKCRL)
	f.Add(append(slices.Clone(e.Quote), 0), e.Collateral.QEIdentity.Body, e.Collateral.RootCRL)
	v := &attest.Verifier{Roots: p.Roots(), Now: func() time.Time { return attesttest.Now }}
	f.Fuzz(func(t *testing.T, quote, body, crl []byte) {
		r, err := v.Verify(quote, e.Collateral)
		if err == nil && (!bytes.Equal(r.Quote.SignedBytes(), good.SignedBytes()) || r.Status != attest.UpToDate) {
			t.Fatal("another quote is accepted")
		}
		c := *e.Collateral
		c.TCBInfo.Body, c.PCKCRL = body, crl
		if _, err := v.Verify(e.Quote, &c); err == nil && (!bytes.Equal(body, e.Collateral.TCBInfo.Body) || !bytes.Equal(crl, e.Collateral.PCKCRL)) {
			t.Fatal("other collateral is accepted")
		}
	})
}

func extensions() []*attest.PCKExtensions {
	yes, no := true, false
	full := &attest.PCKExtensions{
		PPID: [16]byte{1}, TCB: [16]uint8{0, 1, 127, 128, 255}, PCESVN: 0x8001, CPUSVN: [16]byte{2}, PCEID: [2]byte{3}, FMSPC: [6]byte{4}, SGXType: 1,
		PlatformInstanceID: &[16]byte{5}, Configuration: &attest.PCKConfiguration{DynamicPlatform: &yes, CachedKeys: &no, SMTEnabled: &yes},
	}
	return []*attest.PCKExtensions{full, {}, {PCESVN: 255, Configuration: &attest.PCKConfiguration{CachedKeys: &yes}}, {PCESVN: 65535, SGXType: 2}}
}

func TestPCKExtensions(t *testing.T) {
	for i, e := range extensions() {
		b, err := e.AppendBinary([]byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := attest.ParsePCKExtensions(b[1:])
		if err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("%d: %v %+v", i, err, got)
		}
		for n := range len(b) - 1 {
			if _, err := attest.ParsePCKExtensions(b[1 : 1+n]); err == nil {
				t.Fatalf("%d: the first %d bytes parse", i, n)
			}
		}
		if _, err := attest.ParsePCKExtensions(append(b[1:], 0)); err == nil {
			t.Error("a byte behind it")
		}
	}
}

func FuzzPCKExtensions(f *testing.F) {
	for _, e := range extensions() {
		b, _ := e.AppendBinary(nil)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := attest.ParsePCKExtensions(b)
		if err != nil {
			return
		}
		out, _ := e.AppendBinary(nil)
		if again, err := attest.ParsePCKExtensions(out); err != nil || !reflect.DeepEqual(again, e) {
			t.Fatalf("%v: %+v is not %+v", err, again, e)
		}
	})
}

func day(d int) time.Time { return time.Date(2026, 1, d, 1, 2, 3, 0, time.UTC) }

func tcbInfos() []*attest.TCBInfo {
	levels := []attest.EnclaveLevel{{ISVSVN: 3, Date: day(5), Status: attest.UpToDate}, {Date: day(6), Status: attest.Revoked, Advisories: []string{"A\"B", "é"}}}
	sgx := &attest.TCBInfo{ID: "SGX", Version: 3, IssueDate: day(1), NextUpdate: day(2), FMSPC: [6]byte{1, 0xab}, PCEID: [2]byte{1}, EvaluationData: 1<<32 - 1,
		Levels: []attest.TCBLevel{{SGX: [16]uint8{255, 1}, PCESVN: 65535, Date: day(3), Status: attest.SWHardeningNeeded, Advisories: []string{"X", "Y"}}}}
	v2 := *sgx
	v2.Version = 2
	tdx := *sgx
	tdx.ID = "TDX"
	tdx.Module = &attest.TDXModule{MRSigner: [48]byte{1}, Attributes: [8]byte{2}, AttributesMask: [8]byte{3}}
	tdx.Modules = []attest.TDXModuleIdentity{{ID: "TDX_01", TDXModule: *tdx.Module, Levels: levels}, {ID: "TDX_03", TDXModule: *tdx.Module, Levels: levels[:1]}}
	tdx.Levels = []attest.TCBLevel{{TDX: &[16]uint8{15: 7}, Date: day(4), Status: attest.OutOfDate}}
	return []*attest.TCBInfo{sgx, &v2, &tdx}
}

func TestTCBInfo(t *testing.T) {
	for _, want := range tcbInfos() {
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := attest.ParseTCBInfo(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v: %s", err, b)
		}
		for n := range b {
			if _, err := attest.ParseTCBInfo(b[:n]); err == nil {
				t.Fatalf("the first %d bytes parse", n)
			}
		}
		for _, key := range []string{"version", "issueDate", "fmspc", "pceId", "tcbType", "tcbEvaluationDataNumber", "tcbLevels", "tcb", "pcesvn", "tcbDate", "tcbStatus"} {
			cut := strings.Replace(string(b), `"`+key+`":`, `"x":`, 1)
			if _, err := attest.ParseTCBInfo([]byte(cut)); err == nil || !strings.Contains(err.Error(), key) {
				t.Errorf("without %s: %v", key, err)
			}
		}
	}
	b, _ := json.Marshal(tcbInfos()[0])
	for name, c := range map[string][2]string{
		"version":       {`"version":3`, `"version":4`},
		"id":            {`"id":"SGX"`, `"id":"sgx"`},
		"tdx":           {`"id":"SGX"`, `"id":"TDX"`},
		"tcbType":       {`"tcbType":0`, `"tcbType":1`},
		"status":        {`"SWHardeningNeeded"`, `"Fine"`},
		"date":          {`"2026-01-01T01:02:03Z"`, `"2026-01-01T01:02:03.5Z"`},
		"SVN":           {`{"svn":255}`, `{"svn":256}`},
		"15 components": {`{"svn":255},`, ``},
		"17 components": {`{"svn":255},`, `{"svn":255},{"svn":255},`},
		"twice":         {`"version":3`, `"version":3,"version":3`},
		"no level":      {`"tcbLevels":[`, `"tcbLevels":[],"x":[`},
	} {
		text := strings.Replace(string(b), c[0], c[1], 1)
		if text == string(b) {
			t.Fatal(name)
		}
		if _, err := attest.ParseTCBInfo([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := attest.ParseTCBInfo([]byte(strings.Replace(string(b), `"version":3`, `"later":{"a":[null]},"version":3`, 1))); err != nil {
		t.Errorf("a key that is not known: %v", err)
	}
}

func qeIdentity() *attest.QEIdentity {
	return &attest.QEIdentity{ID: "QE", Version: 2, IssueDate: day(1), NextUpdate: day(2), EvaluationData: 17, MiscSelect: 1, MiscSelectMask: 0xfffffffe,
		Attributes: [16]byte{0x11}, AttributesMask: [16]byte{0xfb, 15: 1}, MRSigner: [32]byte{0x8c}, ISVProdID: 65535,
		Levels: []attest.EnclaveLevel{{ISVSVN: 8, Date: day(3), Status: attest.UpToDate}, {ISVSVN: 1, Date: day(4), Status: attest.OutOfDate, Advisories: []string{"A"}}}}
}

func TestQEIdentity(t *testing.T) {
	want := qeIdentity()
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := attest.ParseQEIdentity(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v: %s", err, b)
	}
	for n := range b {
		if _, err := attest.ParseQEIdentity(b[:n]); err == nil {
			t.Fatalf("the first %d bytes parse", n)
		}
	}
	for _, key := range []string{"id", "version", "nextUpdate", "miscselect", "miscselectMask", "attributes", "attributesMask", "mrsigner", "isvprodid", "tcbLevels", "isvsvn"} {
		cut := strings.Replace(string(b), `"`+key+`":`, `"x":`, 1)
		if _, err := attest.ParseQEIdentity([]byte(cut)); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("without %s: %v", key, err)
		}
	}
	for old, other := range map[string]string{`"QE"`: `"QVE"`, `"version":2`: `"version":1`, `"isvsvn":8`: `"isvsvn":-8`, `8C`: `8G`} {
		if _, err := attest.ParseQEIdentity([]byte(strings.Replace(string(b), old, other, 1))); err == nil {
			t.Errorf("%s: accepted", other)
		}
	}
}

func FuzzTCBInfo(f *testing.F) {
	for _, t := range tcbInfos() {
		b, _ := json.Marshal(t)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := attest.ParseTCBInfo(b); err == nil {
			out, _ := v.MarshalJSON()
			if again, err := attest.ParseTCBInfo(out); err != nil || !reflect.DeepEqual(again, v) {
				t.Fatalf("%v: %s is not %s", err, out, b)
			}
		}
	})
}

func FuzzQEIdentity(f *testing.F) {
	b, _ := json.Marshal(qeIdentity())
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := attest.ParseQEIdentity(b); err == nil {
			out, _ := v.MarshalJSON()
			if again, err := attest.ParseQEIdentity(out); err != nil || !reflect.DeepEqual(again, v) {
				t.Fatalf("%v: %s is not %s", err, out, b)
			}
		}
	})
}

func TestCollateral(t *testing.T) {
	want := attesttest.New(t).Mint().Collateral
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := attest.ParseCollateral(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v: another bundle", err)
	}
	for n := 0; n < len(b); n += 7 {
		if _, err := attest.ParseCollateral(b[:n]); err == nil {
			t.Fatalf("the first %d bytes parse", n)
		}
	}
	for old, other := range map[string]string{`"pck_crl":`: `"PCK_CRL":`, `"tcb_info_signature":"`: `"tcb_info_signature":"00`, `"root_ca_crl":"30`: `"root_ca_crl":"3x`} {
		if _, err := attest.ParseCollateral([]byte(strings.Replace(string(b), old, other, 1))); err == nil {
			t.Errorf("%s: accepted", other)
		}
	}
	if _, err := attest.ParseCollateral(bytes.Repeat([]byte(" "), attest.MaxCollateralSize+1)); err == nil {
		t.Error("too long: accepted")
	}

	doc, err := attest.ParseSignedJSON(attest.NameTCBInfo, want.TCBInfo.Response(attest.NameTCBInfo))
	if err != nil || !reflect.DeepEqual(doc, want.TCBInfo) {
		t.Errorf("response: %v", err)
	}
	for _, text := range []string{`{}`, `{"tcbInfo":{}}`, `{"tcbInfo":{},"signature":"00"}`, fmt.Sprintf(`{"enclaveIdentity":{},"signature":"%0128x"}`, 0)} {
		if _, err := attest.ParseSignedJSON(attest.NameTCBInfo, []byte(text)); err == nil {
			t.Errorf("%s: accepted", text)
		}
	}
	// The signed bytes stay as they came, white space and all.
	text := fmt.Sprintf(`{ "signature" : "%0128x" , "tcbInfo" : { "a" : [ 1 ] } }`, 0)
	if doc, err := attest.ParseSignedJSON(attest.NameTCBInfo, []byte(text)); err != nil || string(doc.Body) != `{ "a" : [ 1 ] }` {
		t.Errorf("%q %v", doc.Body, err)
	}
}

func FuzzCollateral(f *testing.F) {
	c := attesttest.New(f).Mint().Collateral
	b, _ := json.Marshal(c)
	f.Add(b)
	f.Add(c.TCBInfo.Response(attest.NameTCBInfo))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := attest.ParseCollateral(b); err == nil {
			out, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := attest.ParseCollateral(out); err != nil || !reflect.DeepEqual(again, v) {
				t.Fatalf("%v: %s is not %s", err, out, b)
			}
		}
		if v, err := attest.ParseSignedJSON(attest.NameTCBInfo, b); err == nil {
			if again, err := attest.ParseSignedJSON(attest.NameTCBInfo, v.Response(attest.NameTCBInfo)); err != nil || !reflect.DeepEqual(again, v) {
				t.Fatalf("%v: response", err)
			}
		}
	})
}
