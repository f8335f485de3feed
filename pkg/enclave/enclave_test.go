package enclave

import (
	"errors"
	"testing"

	"github.com/enclaveos/eos/pkg/sgx"
)

// Every function says so, and none looks at its arguments first.
func TestNotAnEnclave(t *testing.T) {
	if Inside() {
		t.Fatal("this is an ordinary process")
	}
	for name, f := range map[string]func() error{
		"Self":        func() error { _, err := Self(); return err },
		"TargetInfo":  func() error { _, err := TargetInfo(); return err },
		"Report":      func() error { _, err := Report(&sgx.TargetInfo{MREnclave: sgx.Measurement{1}}, [64]byte{}); return err },
		"Report nil":  func() error { _, err := Report(nil, [64]byte{}); return err },
		"Verify":      func() error { return Verify(&sgx.Report{}) },
		"Verify nil":  func() error { return Verify(nil) },
		"Key":         func() error { _, err := Key(&sgx.KeyRequest{KeyName: sgx.KeyReport}); return err },
		"Key nil":     func() error { _, err := Key(nil); return err },
		"Seal":        func() error { _, err := Seal(sgx.PolicyMREnclave, nil, nil); return err },
		"Seal zero":   func() error { _, err := Seal(0, nil, nil); return err },
		"Unseal":      func() error { _, err := Unseal(nil, nil); return err },
		"Payload":     func() error { _, err := Payload(); return err },
		"OpenChannel": func() error { _, err := OpenChannel(); return err },
		"ReadStats":   func() error { _, err := ReadStats(); return err },
	} {
		if err := f(); !errors.Is(err, ErrNotEnclave) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReports(t *testing.T) {
	a, b := newChip(t, maker{page: "a"}), newChip(t, maker{page: "b"})
	elsewhere := newChip(t, maker{page: "b", seed: 1})
	sb, err := self(b)
	if err != nil {
		t.Fatal(err)
	}
	r, err := report(a, targetInfo(sb), [64]byte{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	if sa, _ := self(a); r.Body.MREnclave != sa.MREnclave || sa.MREnclave == sb.MREnclave || r.Body.ReportData != [64]byte{1, 2, 3} || r.Body.ISVSVN != 3 {
		t.Errorf("report %+v", r)
	}
	if err := verify(b, r); err != nil {
		t.Errorf("the target: %v", err)
	}
	for name, p := range map[string]processor{"the maker": a, "the target on another machine": elsewhere} {
		if err := verify(p, r); !errors.Is(err, ErrNotForUs) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*sgx.Report){
		"body": func(r *sgx.Report) { r.Body.MREnclave[0]++ }, "data": func(r *sgx.Report) { r.Body.ReportData[63]++ },
		"MAC": func(r *sgx.Report) { r.MAC[15]++ }, "KEYID": func(r *sgx.Report) { r.KeyID[31]++ },
		"all": func(r *sgx.Report) { *r = sgx.Report{} },
	} {
		changed := *r
		change(&changed)
		if err := verify(b, &changed); !errors.Is(err, ErrNotForUs) {
			t.Errorf("%s changed: %v", name, err)
		}
	}
	if err := verify(b, nil); !errors.Is(err, ErrNotForUs) {
		t.Errorf("no report: %v", err)
	}
	for _, ti := range []*sgx.TargetInfo{nil, {}, {Attributes: sb.Attributes}} {
		if _, err := report(a, ti, [64]byte{}); err == nil {
			t.Errorf("a report for %v", ti)
		}
	}
}

func TestKeyRequests(t *testing.T) {
	plain, kss := newChip(t, maker{}), newChip(t, maker{flags: sgx.AttrKSS, configSVN: 5})
	seal := func(change func(*sgx.KeyRequest)) *sgx.KeyRequest {
		r := &sgx.KeyRequest{KeyName: sgx.KeySeal, KeyPolicy: sgx.PolicyMREnclave, AttributeMask: sgx.Attributes{Flags: ^sgx.AttrFlags(0)}}
		if change != nil {
			change(r)
		}
		return r
	}
	config := seal(func(r *sgx.KeyRequest) { r.KeyPolicy |= sgx.PolicyConfigID })
	configSVN := seal(func(r *sgx.KeyRequest) { r.ConfigSVN = 5 })
	for _, c := range []struct {
		what    string
		p       processor
		request *sgx.KeyRequest
		refused bool
		code    sgx.ErrorCode
	}{
		{"seal", plain, seal(nil), false, 0},
		{"report", plain, &sgx.KeyRequest{KeyName: sgx.KeyReport}, false, 0},
		{"configuration", kss, config, false, 0},
		{"CONFIGSVN", kss, configSVN, false, 0},
		{"nil", plain, nil, true, 0},
		{"zero", plain, &sgx.KeyRequest{}, true, 0},
		{"name", plain, &sgx.KeyRequest{KeyName: 5}, true, 0},
		{"everybody's", plain, seal(func(r *sgx.KeyRequest) { r.KeyPolicy = 0 }), true, 0},
		{"reserved", plain, seal(func(r *sgx.KeyRequest) { r.KeyPolicy |= 1 << 6 }), true, 0},
		{"configuration without KSS", plain, config, true, 0},
		{"CONFIGSVN without KSS", plain, configSVN, true, 0},
		{"CET without CET", plain, seal(func(r *sgx.KeyRequest) { r.CETAttributesMask = 1 }), true, 0},
		{"not ours", plain, &sgx.KeyRequest{KeyName: sgx.KeyProvision}, false, sgx.InvalidAttribute},
		{"newer", plain, seal(func(r *sgx.KeyRequest) { r.ISVSVN = 4 }), false, sgx.InvalidISVSVN},
		{"newer processor", plain, seal(func(r *sgx.KeyRequest) { r.CPUSVN[0] = 0xff }), false, sgx.InvalidCPUSVN},
	} {
		k, err := key(c.p, c.request)
		var refused *KeyError
		var code sgx.ErrorCode
		if errors.As(err, &refused) != c.refused || errors.As(err, &code) != (c.code != 0) || code != c.code {
			t.Errorf("%s: %v", c.what, err)
		}
		if (err == nil) == (k == [16]byte{}) {
			t.Errorf("%s: key %x, %v", c.what, k, err)
		}
	}
}
