package attest

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/sgx"
)

const fullPolicy = `{
  "roots": ["Intel SGX Root CA"],
  "sgx": {
    "mrenclave": ["0101010101010101010101010101010101010101010101010101010101010101"],
    "mrsigner": "any",
    "isvprodid": [1, 2],
    "min_isvsvn": 3,
    "attributes": {"flags": "0x4", "flags_mask": "0xfffffffffffffffd", "xfrm": "0x3", "xfrm_mask": "0x3"}
  },
  "tdx": {
    "mrtd": "any", "rtmr0": [], "rtmr1": "any", "rtmr2": "any",
    "rtmr3": ["010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101"],
    "attributes": "any", "allow_debug": true
  },
  "tcb": [
    {"status": "UpToDate", "advisories": [], "until": "forever"},
    {"status": "SWHardeningNeeded", "advisories": ["INTEL-SA-00615"], "until": "2026-12-31T00:00:00Z"}
  ],
  "extensions": [{"oid": "1.3.6.1.4.1.65230.1.1", "value": ["00ff"]}]
}`

func TestPolicyJSON(t *testing.T) {
	p, err := ParsePolicy([]byte(fullPolicy))
	if err != nil {
		t.Fatal(err)
	}
	any48 := Any[Hash48]()
	var one Hash48
	copy(one[:], bytes.Repeat([]byte{1}, 48))
	want := Policy{
		Roots: OneOf(IntelRootName),
		SGX: &SGXPolicy{OneOf(sgx.Measurement(bytes.Repeat([]byte{1}, 32))), Any[sgx.Measurement](), OneOf[uint16](1, 2), AtLeast(3),
			AttributeBits(4, 0xfffffffffffffffd, 3, 3), false},
		TDX: &TDXPolicy{any48, [4]Criterion[Hash48]{OneOf[Hash48](), any48, any48, OneOf(one)}, AnyAttributes(), true},
		TCB: []TCBRule{{UpToDate, OneOf[string](), Forever()},
			{SWHardeningNeeded, OneOf("INTEL-SA-00615"), Until(time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC))}},
		Extensions: []ExtensionRule{{[]int{1, 3, 6, 1, 4, 1, 65230, 1, 1}, OneOf("\x00\xff")}},
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("parsed %+v\nwant %+v", p, want)
	}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var again Policy
	if err := json.Unmarshal(b, &again); err != nil || !reflect.DeepEqual(again, p) {
		t.Errorf("again: %v %s", err, b)
	}
	for n := range len(fullPolicy) {
		if _, err := ParsePolicy([]byte(fullPolicy[:n])); err == nil {
			t.Fatalf("the first %d bytes parse", n)
		}
	}
}

// A criterion that is left out, misspelt or twice is an error that names it.
func TestPolicyStrict(t *testing.T) {
	drop := func(line string) string { return strings.Replace(fullPolicy, line, "", 1) }
	swap := func(old, new string) string { return strings.Replace(fullPolicy, old, new, 1) }
	for name, c := range map[string]struct{ text, says string }{
		"empty":          {`{}`, "roots"},
		"no roots":       {drop(`"roots": ["Intel SGX Root CA"],`), "roots"},
		"no mrenclave":   {drop(`"mrenclave": ["0101010101010101010101010101010101010101010101010101010101010101"],`), "sgx.mrenclave"},
		"no mrsigner":    {drop(`"mrsigner": "any",`), "sgx.mrsigner"},
		"no isvprodid":   {drop(`"isvprodid": [1, 2],`), "sgx.isvprodid"},
		"no min_isvsvn":  {drop(`"min_isvsvn": 3,`), "sgx.min_isvsvn"},
		"no attributes":  {drop(`"attributes": "any", `), "tdx.attributes"},
		"no mrtd":        {drop(`"mrtd": "any", `), "tdx.mrtd"},
		"no rtmr1":       {drop(`"rtmr1": "any", `), "tdx.rtmr1"},
		"no tcb":         {`{"roots":"any","sgx":{"mrenclave":"any","mrsigner":"any","isvprodid":"any","min_isvsvn":0,"attributes":"any"},"tcb":[]}`, "TCB"},
		"no kind":        {`{"roots":"any","tcb":[{"status":"UpToDate","advisories":"any","until":"forever"}]}`, "SGX"},
		"no advisories":  {drop(`"advisories": [], `), "tcb[0].advisories"},
		"no until":       {drop(`, "until": "forever"`), "tcb[0].until"},
		"no status":      {drop(`"status": "UpToDate", `), "tcb[0]"},
		"revoked":        {swap(`"UpToDate"`, `"Revoked"`), "Revoked"},
		"unknown status": {swap(`"UpToDate"`, `"Unknown"`), "Unknown"},
		"status's case":  {swap(`"UpToDate"`, `"uptodate"`), "uptodate"},
		"key's case":     {swap(`"mrsigner"`, `"MRSigner"`), "MRSigner"},
		"unknown key":    {swap(`"roots"`, `"root"`), "root"},
		"twice":          {swap(`"roots"`, `"tcb": [], "roots"`), "twice"},
		"other word":     {swap(`"mrsigner": "any"`, `"mrsigner": "ANY"`), "ANY"},
		"null":           {swap(`"mrsigner": "any"`, `"mrsigner": null`), "mrsigner"},
		"short hash":     {swap(`["0101`, `["01`), "64 hex digits"},
		"big number":     {swap(`[1, 2]`, `[65536]`), "65536"},
		"bad date":       {swap(`2026-12-31T00:00:00Z`, `2026-12-31`), "2026-12-31"},
		"zone":           {swap(`2026-12-31T00:00:00Z`, `2026-12-31T00:00:00+01:00`), "date"},
		"mask":           {swap(`"xfrm": "0x3"`, `"xfrm": "0x7"`), "mask"},
		"half a mask":    {drop(`, "xfrm_mask": "0x3"`), "xfrm_mask"},
		"oid":            {swap(`1.3.6.1.4.1.65230.1.1`, `1.3.06`), "1.3.06"},
		"no value":       {drop(`, "value": ["00ff"]`), "extensions[0]"},
		"behind it":      {fullPolicy + "{}", "behind"},
	} {
		if _, err := ParsePolicy([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want an error about %s", name, err, c.says)
		}
	}
	for name, p := range map[string]Policy{"zero": {}, "SGX zero": {Roots: Any[string](), SGX: &SGXPolicy{}}, "TDX zero": {Roots: Any[string](), TDX: &TDXPolicy{}}} {
		if p.Check() == nil {
			t.Errorf("%s: complete", name)
		}
		if _, err := json.Marshal(p); err == nil {
			t.Errorf("%s: has a JSON form", name)
		}
	}
}

// Each criterion refuses alone, with its own step.
func TestAppraise(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	result := func() *Result {
		return &Result{verified: true, Root: "root", Time: now, Status: SWHardeningNeeded, Advisories: []string{"A", "B"}, Quote: &Quote{
			Report: &sgx.ReportBody{MREnclave: sgx.Measurement{1}, MRSigner: sgx.Measurement{2}, ISVProdID: 3, ISVSVN: 4,
				Attributes: sgx.Attributes{Flags: sgx.AttrInit | sgx.AttrMode64Bit, XFRM: sgx.XFRMLegacy}}}}
	}
	ext := Extension{OID: []int{1, 2, 3}, Value: []byte("v")}
	policy := func() Policy {
		return Policy{
			Roots: OneOf("root"),
			SGX: &SGXPolicy{OneOf(sgx.Measurement{1}), OneOf(sgx.Measurement{2}), OneOf[uint16](3), AtLeast(4),
				AttributeBits(5, ^uint64(0), 3, ^uint64(0)), false},
			TCB:        []TCBRule{{UpToDate, OneOf[string](), Forever()}, {SWHardeningNeeded, OneOf("A", "B"), Until(now.Add(1))}},
			Extensions: []ExtensionRule{{ext.OID, OneOf("v")}},
		}
	}
	if err := policy().Appraise(result(), ext); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Policy, *Result)
		want   Step
	}{
		"not verified":      {func(_ *Policy, r *Result) { r.verified = false }, StepPolicy},
		"failed":            {func(_ *Policy, r *Result) { r.Failures = []*Error{{}} }, StepPolicy},
		"zero policy":       {func(p *Policy, _ *Result) { *p = Policy{} }, StepPolicy},
		"no rule":           {func(p *Policy, _ *Result) { p.TCB = nil }, StepPolicy},
		"criterion not set": {func(p *Policy, _ *Result) { p.SGX.MRSigner = Criterion[sgx.Measurement]{} }, StepPolicy},
		"root":              {func(p *Policy, _ *Result) { p.Roots = OneOf("other") }, StepPolicyRoot},
		"kind":              {func(p *Policy, _ *Result) { p.TDX, p.SGX = tdxAny(), nil }, StepPolicyTEE},
		"debug":             {func(_ *Policy, r *Result) { r.Quote.Report.Attributes.Flags |= sgx.AttrDebug }, StepPolicyDebug},
		"debug with any": {func(p *Policy, r *Result) {
			p.SGX.Attributes = AnyAttributes()
			r.Quote.Report.Attributes.Flags |= sgx.AttrDebug
		}, StepPolicyDebug},
		"flags":     {func(_ *Policy, r *Result) { r.Quote.Report.Attributes.Flags |= sgx.AttrProvisionKey }, StepPolicyAttributes},
		"xfrm":      {func(_ *Policy, r *Result) { r.Quote.Report.Attributes.XFRM |= sgx.XFRMAVX }, StepPolicyAttributes},
		"mrenclave": {func(p *Policy, _ *Result) { p.SGX.MREnclave = OneOf(sgx.Measurement{9}) }, StepPolicyMREnclave},
		"none":      {func(p *Policy, _ *Result) { p.SGX.MREnclave = OneOf[sgx.Measurement]() }, StepPolicyMREnclave},
		"mrsigner":  {func(p *Policy, _ *Result) { p.SGX.MRSigner = OneOf(sgx.Measurement{9}, sgx.Measurement{8}) }, StepPolicyMRSigner},
		"isvprodid": {func(p *Policy, _ *Result) { p.SGX.ISVProdID = OneOf[uint16](4) }, StepPolicyISVProdID},
		"isvsvn":    {func(p *Policy, _ *Result) { p.SGX.MinISVSVN = AtLeast(5) }, StepPolicyISVSVN},
		"status":    {func(_ *Policy, r *Result) { r.Status = OutOfDate }, StepPolicyTCB},
		"unknown":   {func(_ *Policy, r *Result) { r.Status = StatusUnknown }, StepPolicyTCB},
		"advisory":  {func(_ *Policy, r *Result) { r.Advisories = append(r.Advisories, "C") }, StepPolicyTCB},
		"until":     {func(_ *Policy, r *Result) { r.Time = now.Add(1) }, StepPolicyTCB},
		"extension": {func(p *Policy, _ *Result) { p.Extensions[0].Value = OneOf("w") }, StepPolicyExtension},
		"no such extension": {func(p *Policy, _ *Result) {
			p.Extensions = append(p.Extensions, ExtensionRule{[]int{1, 2, 4}, Any[string]()})
		}, StepPolicyExtension},
	} {
		p, r := policy(), result()
		c.change(&p, r)
		if err := p.Appraise(r, ext); err == nil || err.(*Error).Step != c.want {
			t.Errorf("%s: %v, want step %s", name, err, c.want)
		}
	}
	if err := policy().Appraise(nil); err == nil {
		t.Error("nil result accepted")
	}
	wantStep(t, policy().Appraise(result(), ext, ext), StepPolicyExtension)
	wantStep(t, policy().Appraise(result()), StepPolicyExtension)

	td := &Result{verified: true, Root: "root", Time: now, Status: UpToDate, Quote: &Quote{TEE: TDX, TD: &TDReport{TDAttributes: 1 << 28}}}
	p := Policy{Roots: Any[string](), TDX: tdxAny(), TCB: []TCBRule{{UpToDate, Any[string](), Forever()}}}
	if err := p.Appraise(td); err != nil {
		t.Fatal(err)
	}
	for bit := range 8 {
		td.Quote.TD.TDAttributes = 1<<28 | 1<<bit
		wantStep(t, p.Appraise(td), StepPolicyDebug)
	}
	td.Quote.TD.TDAttributes = 0
	p.TDX.RTMR[2] = OneOf(Hash48{1})
	if e := wantStep(t, p.Appraise(td), StepPolicyRTMR); e.What != "RTMR2" {
		t.Error(e)
	}
	p.TDX.MRTD = OneOf(Hash48{1})
	wantStep(t, p.Appraise(td), StepPolicyMRTD)
}

func tdxAny() *TDXPolicy {
	any48 := Any[Hash48]()
	return &TDXPolicy{any48, [4]Criterion[Hash48]{any48, any48, any48, any48}, AnyAttributes(), false}
}

func FuzzPolicy(f *testing.F) {
	f.Add([]byte(fullPolicy))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePolicy(b)
		if err != nil {
			return
		}
		out, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParsePolicy(out); err != nil || !reflect.DeepEqual(again, p) {
			t.Fatalf("%v: %s is not %s", err, out, b)
		}
	})
}
