package sign_test

import (
	"encoding/hex"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sign"
)

func TestDate(t *testing.T) {
	env := func(v string, set bool) func(string) (string, bool) {
		return func(k string) (string, bool) {
			if k != "SOURCE_DATE_EPOCH" {
				t.Errorf("looked up %s", k)
			}
			return v, set
		}
	}
	for _, c := range []struct {
		v    string
		set  bool
		want uint32
		bad  bool
	}{
		{"", false, sign.DefaultDate, false},
		{"", true, sign.DefaultDate, false},
		{"0", true, 0x19700101, false},
		{"86399", true, 0x19700101, false},
		{"86400", true, 0x19700102, false},
		{"1735776000", true, 0x20250102, false},
		{"253402300799", true, 0x99991231, false},
		{"253402300800", true, 0, true},
		{"-1", true, 0, true},
		{"1.5", true, 0, true},
		{"today", true, 0, true},
		{"99999999999999999999", true, 0, true},
	} {
		got, err := sign.Date(env(c.v, c.set))
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("SOURCE_DATE_EPOCH=%q: %#x, %v, want %#x", c.v, got, err, c.want)
		}
		if err != nil && !strings.Contains(err.Error(), "SOURCE_DATE_EPOCH") {
			t.Errorf("%v does not name the variable", err)
		}
	}
	for in, want := range map[string]uint32{"20250102": 0x20250102, "2025-01-02": 0x20250102, "20240229": 0x20240229, "00010101": 0x00010101} {
		if got, err := sign.ParseDate(in); got != want || err != nil {
			t.Errorf("ParseDate(%q) = %#x, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "2025010", "202501020", "20250230", "20230229", "20251301", "20250100", "99999999", "2025-1-2", "0x250102", " 20250102", "20250102\n"} {
		if got, err := sign.ParseDate(in); err == nil {
			t.Errorf("ParseDate(%q) = %#x", in, got)
		}
	}
	for in, want := range map[uint32]string{0x20250102: "2025-01-02", 0x99999999: "0x99999999", 0: "0x00000000", 0x2025010a: "0x2025010a"} {
		if got := sign.FormatDate(in); got != want {
			t.Errorf("FormatDate(%#x) = %q, want %q", in, got, want)
		}
	}
	// A zone east of Greenwich has the next day already: UTC counts.
	east := time.FixedZone("east", 14*3600)
	if got := sign.DateOf(time.Date(2025, 1, 2, 5, 0, 0, 0, east)); got != 0x20250101 {
		t.Errorf("DateOf = %#x", got)
	}
}

func TestParseFlags(t *testing.T) {
	for _, c := range []struct {
		in   string
		v, m uint64 // m not inverted: the mask
	}{
		{"0x4/0x2", 4, ^uint64(2)},
		{"4", 4, ^uint64(4)},
		{"0", 0, ^uint64(0)},
		{"0xFfFf/0", 0xffff, ^uint64(0)},
		{"18446744073709551615/0xffffffffffffffff", ^uint64(0), 0},
		{"mode64bit/debug", 4, ^uint64(2)},
		{"MODE64BIT|KSS/none", 0x84, ^uint64(0)},
		{"debug,mode64bit,0x100/debug", 0x106, ^uint64(2)},
		{"init,provisionkey,einittokenkey,cet,aexnotify", 0x471, ^uint64(0x471)},
		{"mode64bit, kss", 0x84, ^uint64(0x84)},
	} {
		v, m, err := sign.ParseFlags(c.in)
		if err != nil || uint64(v) != c.v || uint64(m) != c.m {
			t.Errorf("ParseFlags(%q) = %#x, %#x, %v", c.in, v, m, err)
		}
	}
	for _, in := range []string{"", "/", "4/", "/2", "1/2/3", "0X4", "-1", "+1", "0x", "0x1g", "1 2", "18446744073709551616", "0x10000000000000000", "debug,", ",debug", "debugg", "4/avx"} {
		if v, m, err := sign.ParseFlags(in); err == nil {
			t.Errorf("ParseFlags(%q) = %#x, %#x", in, v, m)
		} else if !strings.HasPrefix(err.Error(), "attributes: ") {
			t.Errorf("ParseFlags(%q): %v", in, err)
		}
	}
}

func TestParseMasks(t *testing.T) {
	if v, m, err := sign.ParseXFRM("0x7/0xe4"); v != 7 || m != ^sgx.XFRM(0xe4) || err != nil {
		t.Errorf("%#x %#x %v", v, m, err)
	}
	if v, m, err := sign.ParseXFRM("legacy,avx/avx512"); v != 7 || m != ^sgx.XFRM(0xe4) || err != nil {
		t.Errorf("%#x %#x %v", v, m, err)
	}
	if v, err := sign.ParseFeatures("amx,PKRU,mpx"); v != sgx.XFRMAMX|sgx.XFRMPKRU|sgx.XFRMBndRegs|sgx.XFRMBndCSR || err != nil {
		t.Errorf("%#x %v", v, err)
	}
	if _, err := sign.ParseFeatures("avx/sse"); err == nil {
		t.Error("a mask among features")
	}
	if _, err := sign.ParseFeatures("avx9"); err == nil || !strings.Contains(err.Error(), "avx512") {
		t.Errorf("%v does not list what is known", err)
	}
	if v, m, err := sign.ParseMiscSelect("exinfo/0"); v != sgx.MiscEXINFO || m != 0xffffffff || err != nil {
		t.Errorf("%#x %#x %v", v, m, err)
	}
	if _, _, err := sign.ParseMiscSelect("0x100000000"); err == nil {
		t.Error("MISCSELECT of 33 bits")
	}
	if v, m, err := sign.ParseCET("sh_stk_en,endbr_en/0"); v != 5 || m != 0xff || err != nil {
		t.Errorf("%#x %#x %v", v, m, err)
	}
	if _, _, err := sign.ParseCET("256"); err == nil {
		t.Error("CET of 9 bits")
	}
}

// What is printed as names can be read back.
func TestNamesReadBack(t *testing.T) {
	for bit := range 64 {
		x := sgx.XFRM(1) << bit
		if v, err := sign.ParseFeatures(x.String()); v != x || err != nil {
			t.Errorf("XFRM %v = %#x, %v", x, v, err)
		}
		f := sgx.AttrFlags(1) << bit
		if v, _, err := sign.ParseFlags(f.String()); v != f || err != nil {
			t.Errorf("flags %v = %#x, %v", f, v, err)
		}
	}
}

func TestParseID(t *testing.T) {
	for in, want := range map[string][16]byte{
		"000102030405060708090a0b0c0d0e0f":        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
		"00010203-0405-0607-0809-0A0B0C0D0E0F":    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
		"0x0102":                                  {2, 1},
		"258":                                     {2, 1},
		"0xffffffffffffffffffffffffffffffff":      {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255},
		"340282366920938463463374607431768211455": {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255},
	} {
		if got, err := sign.ParseID(in); got != want || err != nil {
			t.Errorf("ParseID(%q) = %x, %v", in, got, err)
		}
	}
	if id, err := sign.ParseIDNumber("10000000000000000000000000000000"); err != nil || hex.EncodeToString(id[:]) != "00000080264b91c02220be377e000000" {
		t.Errorf("ParseIDNumber of 10^31 = %x, %v", id, err)
	}
	for _, in := range []string{"", "xyz", "0x100000000000000000000000000000000", "340282366920938463463374607431768211456", "-1", strings.Repeat("9", 1000)} {
		if got, err := sign.ParseID(in); err == nil {
			t.Errorf("ParseID(%q) = %x", in, got)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*sgx.SigStruct)
		want   string // "" for fields that are good
	}{
		{"default", func(*sgx.SigStruct) {}, ""},
		{"allow debug", sign.AllowDebug, ""},
		{"forbid debug", sign.ForbidDebug, ""},
		{"32 bit", sign.Require32Bit, ""},
		{"ids", func(s *sgx.SigStruct) { sign.SetISVExtProdID(s, [16]byte{1}); sign.SetISVFamilyID(s, [16]byte{1}) }, ""},
		{"cet", func(s *sgx.SigStruct) { sign.SetCET(s, 5, 0xff) }, ""},
		{"avx", func(s *sgx.SigStruct) { sign.RequireXFRM(s, sgx.XFRMAVX) }, ""},
		{"avx512 without avx, which is free", func(s *sgx.SigStruct) {
			sign.AllowXFRM(s, sgx.XFRMAVX)
			sign.RequireXFRM(s, sgx.XFRMAVX512)
		}, ""},
		{"avx512 without avx", func(s *sgx.SigStruct) { sign.RequireXFRM(s, sgx.XFRMAVX512) }, "requires AVX512 but forbids AVX"},
		{"half of avx512", func(s *sgx.SigStruct) { sign.RequireXFRM(s, sgx.XFRMAVX|sgx.XFRMOpmask) }, "both or neither"},
		{"half of mpx", func(s *sgx.SigStruct) { sign.RequireXFRM(s, sgx.XFRMBndCSR) }, "both or neither"},
		{"half of amx", func(s *sgx.SigStruct) { sign.RequireXFRM(s, sgx.XFRMTileData) }, "both or neither"},
		{"no sse", func(s *sgx.SigStruct) { s.Attributes.XFRM, s.AttributeMask.XFRM = 1, ^sgx.XFRM(0) }, "X87 or SSE"},
		{"init", func(s *sgx.SigStruct) { s.Attributes.Flags |= sgx.AttrInit }, "INIT"},
		{"init, not in the mask", func(s *sgx.SigStruct) {
			s.Attributes.Flags |= sgx.AttrInit
			s.AttributeMask.Flags &^= sgx.AttrInit
		}, ""},
		{"id without KSS", func(s *sgx.SigStruct) { s.ISVExtProdID[15] = 1 }, "ISVEXTPRODID wants KSS"},
		{"family without KSS", func(s *sgx.SigStruct) { s.ISVFamilyID[0] = 1 }, "ISVFAMILYID wants KSS"},
		{"vendor", func(s *sgx.SigStruct) { s.Vendor = 7 }, "VENDOR is 0x7"},
		{"date", func(s *sgx.SigStruct) { s.Date = 0x20250230 }, "DATE is 0x20250230"},
	} {
		s := sign.New(sgx.Measurement{})
		c.change(s)
		switch err := sign.Check(s); {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// The words give the bytes of the golden files' options.
func TestWordsAsGolden(t *testing.T) {
	for name, change := range map[string]func(*sgx.SigStruct){
		"default": func(*sgx.SigStruct) {},
		"debug":   sign.AllowDebug,
		"bit32":   sign.Require32Bit,
		"xfrm": func(s *sgx.SigStruct) {
			sign.RequireXFRM(s, sgx.XFRMAVX) // value 7; -x 0x7/0xe4 frees AVX and AVX512 and fixes X87 and SSE
			s.AttributeMask.XFRM |= sgx.XFRMLegacy
			sign.AllowXFRM(s, sgx.XFRMAVX|sgx.XFRMAVX512)
		},
	} {
		want := parse(t, readFile(t, filepath.Join(edp, "sign", name+".sig")))
		s := sign.New(want.EnclaveHash)
		s.Date = 0x20250102
		change(s)
		if err := sign.Sign(s, pemKey(t, filepath.Join(edp, "keys/key1.pem"))); err != nil || *s != *want {
			t.Errorf("%s: %v\n%+v\nwant\n%+v", name, err, sign.Describe(s), sign.Describe(want))
		}
	}
}

func TestDescribe(t *testing.T) {
	s, err := sign.Dummy(sgx.Measurement{0xaa}, sgx.XFRMLegacy)
	if err != nil {
		t.Fatal(err)
	}
	d := sign.Describe(s)
	if d.Signature != "valid" || d.Signer == "" || !d.DebugAllowed || d.Date != "1970-01-01" || d.Attributes.On != "DEBUG|MODE64BIT" || d.XFRM.On != "X87|SSE" || d.XFRM.May != "0" {
		t.Errorf("%+v", d)
	}
	if !strings.Contains(text(d), "ATTRIBUTES 0x6 mask 0xffffffffffffffff DEBUG|MODE64BIT; a debug launch is possible\n") {
		t.Errorf("%s", text(d))
	}
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"mrsigner":"` + debugMRSigner + `"`, `"isvprodid":0`, `"signature":"valid"`, `"attributes":{"value":"0x6"`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s has no %s", b, want)
		}
	}

	s = parse(t, readFile(t, filepath.Join(edp, "sign/xfrm.sig")))
	s.Q2[0] ^= 1
	d = sign.Describe(s)
	if !strings.Contains(d.Signature, "Q2") || d.Signer != "" || !d.DebugAllowed {
		t.Errorf("%+v", d)
	}
	if !strings.Contains(text(d), "XFRM 0x7 mask 0xffffffffffffff1b X87|SSE; the loader chooses AVX|AVX512\n") {
		t.Errorf("%s", text(d))
	}
	sign.ForbidDebug(s)
	if d := sign.Describe(s); d.DebugAllowed || !strings.Contains(text(d), "a debug launch is refused") {
		t.Errorf("%+v", d)
	}
	sign.SetCET(s, 0x45, 0xff)
	if d := sign.Describe(s); d.CETAttributes.On != "SH_STK_EN|ENDBR_EN|0x40" {
		t.Errorf("%+v", d.CETAttributes)
	}
}

func text(d sign.Description) string {
	var b strings.Builder
	for _, f := range d.Fields() {
		b.WriteString(strings.TrimSpace(f.Name+" "+f.Value+" "+f.Note) + "\n")
	}
	return b.String()
}

func FuzzParseMask(f *testing.F) {
	for _, s := range []string{"0x4/0x2", "mode64bit/debug", "avx,avx512", "1/2/3", "0x", "|", "none", "99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if v, m, err := sign.ParseFlags(in); err == nil {
			if w, n, err := sign.ParseFlags(v.String() + "/" + (^m).String()); w != v || n != m || err != nil {
				t.Errorf("%q: %#x/%#x read back as %#x/%#x, %v", in, v, m, w, n, err)
			}
		}
		if v, err := sign.ParseNumber(in, 32); err == nil && v > 0xffffffff {
			t.Errorf("%q: %#x", in, v)
		}
		_, _, _ = sign.ParseXFRM(in)
		_, _, _ = sign.ParseMiscSelect(in)
		_, _, _ = sign.ParseCET(in)
		if _, err := sign.ParseDate(in); err == nil && len(in) != 8 && len(in) != 10 {
			t.Errorf("date %q", in)
		}
		_, _ = sign.ParseID(in)
	})
}
