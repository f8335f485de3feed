package sgx_test

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/rand"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/quick"

	"github.com/enclaveos/eos/pkg/sgx"
)

// structure is one of the package's types with its reserved ranges as the SDM
// has them (first byte, length), told a second time.
type structure struct {
	name     string
	size     int
	zero     any // pointer to a value, for its type
	parse    func([]byte) (encoding.BinaryAppender, error)
	reserved [][2]int
	constant [][2]int // ranges that must hold a certain value
}

func parser[T encoding.BinaryAppender](f func([]byte) (T, error)) func([]byte) (encoding.BinaryAppender, error) {
	return func(b []byte) (encoding.BinaryAppender, error) { return f(b) }
}

var structures = []structure{
	{"SECS", 4096, &sgx.SECS{}, parser(sgx.ParseSECS), [][2]int{{33, 15}, {96, 32}, {160, 32}, {262, 3834}}, nil},
	{"TCS", 4096, &sgx.TCS{}, parser(sgx.ParseTCS), [][2]int{{0, 8}, {88, 4008}}, nil},
	{"SIGSTRUCT", 1808, &sgx.SigStruct{}, parser(sgx.ParseSigStruct), [][2]int{{44, 84}, {910, 2}, {992, 16}, {1028, 12}}, [][2]int{{0, 16}, {24, 16}}},
	{"REPORT body", 384, &sgx.ReportBody{}, parser(sgx.ParseReportBody), [][2]int{{21, 11}, {96, 32}, {160, 32}, {262, 42}}, nil},
	{"REPORT", 432, &sgx.Report{}, parser(sgx.ParseReport), [][2]int{{21, 11}, {96, 32}, {160, 32}, {262, 42}}, nil},
	{"TARGETINFO", 512, &sgx.TargetInfo{}, parser(sgx.ParseTargetInfo), [][2]int{{49, 1}, {56, 8}, {128, 384}}, nil},
	{"KEYREQUEST", 512, &sgx.KeyRequest{}, parser(sgx.ParseKeyRequest), [][2]int{{7, 1}, {78, 434}}, nil},
	{"GPRSGX", 184, &sgx.GPRSGX{}, parser(sgx.ParseGPRSGX), [][2]int{{164, 3}}, nil},
}

func within(ranges [][2]int, i int) bool {
	for _, r := range ranges {
		if i >= r[0] && i < r[0]+r[1] {
			return true
		}
	}
	return false
}

// fill returns the structure with a different random byte wherever one may be.
func (s *structure) fill(rnd *rand.Rand) []byte {
	base, err := s.zero.(encoding.BinaryAppender).AppendBinary(nil)
	if err != nil {
		panic(err)
	}
	for i := range base {
		if !within(s.reserved, i) && !within(s.constant, i) {
			base[i] = byte(1 + rnd.Intn(255))
		}
	}
	return base
}

// TestBytes parses random bytes and writes them again: each byte that is not
// reserved belongs to a field.
func TestBytes(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	for _, s := range structures {
		want := s.fill(rnd)
		if len(want) != s.size {
			t.Errorf("%s: %d bytes, want %d", s.name, len(want), s.size)
		}
		v, err := s.parse(want)
		if err != nil {
			t.Errorf("%s: %v", s.name, err)
			continue
		}
		prefix := []byte("before")
		got, err := v.AppendBinary(prefix)
		if err != nil || !bytes.Equal(got, append(prefix, want...)) {
			t.Errorf("%s: other bytes come back (%v)", s.name, err)
		}
	}
}

// TestValues writes random values and parses them again.
func TestValues(t *testing.T) {
	rnd := rand.New(rand.NewSource(2))
	for _, s := range structures {
		for range 20 {
			v, ok := quick.Value(reflect.TypeOf(s.zero).Elem(), rnd)
			if !ok {
				t.Fatalf("%s: no random value", s.name)
			}
			p := reflect.New(v.Type())
			p.Elem().Set(v)
			b, err := p.Interface().(encoding.BinaryAppender).AppendBinary(nil)
			if err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			got, err := s.parse(b)
			if err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			if !reflect.DeepEqual(got, p.Interface()) {
				t.Errorf("%s: %+v, want %+v", s.name, got, p.Interface())
			}
		}
	}
}

// TestRefuse: no proper prefix parses, nothing longer, and no reserved or
// constant byte may differ.
func TestRefuse(t *testing.T) {
	rnd := rand.New(rand.NewSource(3))
	for _, s := range structures {
		good := s.fill(rnd)
		for n := range len(good) + 2 {
			if n == len(good) {
				continue
			}
			_, err := s.parse(append(bytes.Clone(good), 0)[:n])
			var fe *sgx.FormatError
			if !errors.As(err, &fe) || fe.Off != -1 || !strings.HasPrefix(err.Error(), s.name) {
				t.Errorf("%s: %d bytes: %v", s.name, n, err)
			}
		}
		for i := range good {
			if !within(s.reserved, i) && !within(s.constant, i) {
				continue
			}
			b := bytes.Clone(good)
			b[i] ^= 0x40
			var fe *sgx.FormatError
			if _, err := s.parse(b); !errors.As(err, &fe) || within(s.reserved, i) && fe.Off != i {
				t.Errorf("%s: byte %d changed: %v", s.name, i, err)
			}
		}
	}
}

// fuzz: what parses comes back in the same bytes.
func fuzz(f *testing.F, name string) {
	for _, s := range structures {
		if s.name != name {
			continue
		}
		f.Add(s.fill(rand.New(rand.NewSource(4))))
		f.Add(make([]byte, s.size))
		f.Fuzz(func(t *testing.T, b []byte) {
			v, err := s.parse(b)
			if err != nil {
				return
			}
			if got, err := v.AppendBinary(nil); err != nil || !bytes.Equal(got, b) {
				t.Errorf("other bytes come back (%v)", err)
			}
		})
		return
	}
	f.Fatalf("no structure %q", name)
}

func FuzzSECS(f *testing.F)       { fuzz(f, "SECS") }
func FuzzTCS(f *testing.F)        { fuzz(f, "TCS") }
func FuzzSigStruct(f *testing.F)  { fuzz(f, "SIGSTRUCT") }
func FuzzReport(f *testing.F)     { fuzz(f, "REPORT") }
func FuzzReportBody(f *testing.F) { fuzz(f, "REPORT body") }
func FuzzTargetInfo(f *testing.F) { fuzz(f, "TARGETINFO") }
func FuzzKeyRequest(f *testing.F) { fuzz(f, "KEYREQUEST") }
func FuzzGPRSGX(f *testing.F)     { fuzz(f, "GPRSGX") }

func FuzzParseMeasurement(f *testing.F) {
	f.Add(strings.Repeat("0aF", 21) + "1")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := sgx.ParseMeasurement(s)
		if err == nil && m.String() != strings.ToLower(s) {
			t.Errorf("%q is read as %v", s, m)
		}
	})
}

// TestSigStructGolden reads a SIGSTRUCT that the Fortanix tool signed with
// --isvprodid 1234 --isvsvn 0x56 --swdefined 0xdeadbeef --date 20250102.
func TestSigStructGolden(t *testing.T) {
	const dir = "../../testdata/vectors/edp/"
	b, err := os.ReadFile(dir + "sign/prod.sig")
	if err != nil {
		t.Fatal(err)
	}
	s, err := sgx.ParseSigStruct(b)
	if err != nil {
		t.Fatal(err)
	}
	if s.ISVProdID != 1234 || s.ISVSVN != 0x56 || s.SWDefined != 0xdeadbeef || s.Date != 0x20250102 || s.Vendor != 0 || s.Exponent != 3 {
		t.Errorf("fields %d %#x %#x %#x %d %d", s.ISVProdID, s.ISVSVN, s.SWDefined, s.Date, s.Vendor, s.Exponent)
	}
	if s.Attributes != (sgx.Attributes{Flags: sgx.AttrMode64Bit, XFRM: sgx.XFRMLegacy}) ||
		s.AttributeMask != (sgx.Attributes{Flags: ^sgx.AttrDebug, XFRM: ^sgx.XFRMLegacy}) {
		t.Errorf("attributes %v, mask %v", s.Attributes, s.AttributeMask)
	}
	if s.MiscSelect != 0 || s.MiscMask != 0xffffffff {
		t.Errorf("MISCSELECT %v, mask %#x", s.MiscSelect, s.MiscMask)
	}
	if got, want := s.EnclaveHash.String(), "f6b0419ae2ae81e0b143f8cb159b4fdfb0575a1f20694a17afcb492804234b62"; got != want {
		t.Errorf("ENCLAVEHASH %s, want %s", got, want)
	}
	if got, err := s.AppendBinary(nil); err != nil || !bytes.Equal(got, b) {
		t.Errorf("other bytes come back (%v)", err)
	}
	if got := s.SignedBytes(); !bytes.Equal(got, append(bytes.Clone(b[:128]), b[900:1028]...)) {
		t.Errorf("signed bytes %x", got)
	}
	if got := s.MRSigner().String(); got != hexHash(b[128:512]) {
		t.Errorf("MRSIGNER %s", got)
	}
}

// TestTCSGolden reads the TCS of an image that the Fortanix converter made.
func TestTCSGolden(t *testing.T) {
	img, err := os.ReadFile("../../testdata/vectors/edp/elf/basic.sgxs")
	if err != nil {
		t.Fatal(err)
	}
	head := append([]byte("EADD\x00\x00\x00\x00"), 0, 0xb0, 1, 0, 0, 0, 0, 0, 0, 1)
	at := bytes.Index(img, head)
	if at < 0 {
		t.Fatal("no TCS in the image")
	}
	var page []byte
	for at += 64; len(page) < sgx.TCSSize; at += 320 {
		page = append(page, img[at+64:at+320]...)
	}
	tcs, err := sgx.ParseTCS(page)
	if err != nil {
		t.Fatal(err)
	}
	want := sgx.TCS{OSSA: 0x1c000, NSSA: 1, OEntry: 0x1000, OFSBase: 0x1a000, OGSBase: 0x1a000, FSLimit: 0xfff, GSLimit: 0xfff}
	if *tcs != want {
		t.Errorf("%+v, want %+v", *tcs, want)
	}
}

func TestStrings(t *testing.T) {
	for want, v := range map[string]interface{ String() string }{
		"0":                                 sgx.AttrFlags(0),
		"DEBUG|MODE64BIT":                   sgx.AttrDebug | sgx.AttrMode64Bit,
		"INIT|KSS|0x8000":                   sgx.AttrInit | sgx.AttrKSS | 0x8000,
		"X87|SSE|AVX":                       sgx.XFRMLegacy | sgx.XFRMAVX,
		"AVX512|AMX":                        sgx.XFRMAVX512 | sgx.XFRMAMX,
		"OPMASK|TILECFG|0x8000000000000000": sgx.XFRMOpmask | sgx.XFRMTileCfg | 1<<63,
		"DEBUG|MODE64BIT XFRM X87|SSE":      sgx.Attributes{Flags: 6, XFRM: 3},
		"EXINFO|CPINFO":                     sgx.MiscEXINFO | sgx.MiscCPINFO,
		"0x4":                               sgx.MiscSelect(4),
		"REG r-x":                           sgx.SecInfoREGRX,
		"TCS ---":                           sgx.SecInfoTCS,
		"REG rw- PENDING MODIFIED PR":       sgx.SecInfoREGRW | sgx.SecInfoPending | sgx.SecInfoModified | sgx.SecInfoPR,
		"type 255 --- 0x8000000000000040":   0x800000000000ff40 | sgx.SecInfoFlags(0),
		strings.Repeat("0", 62) + "ff":      sgx.Measurement{31: 0xff},
	} {
		if got := v.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for want, err := range map[string]error{
		"SGX_INVALID_MEASUREMENT": sgx.InvalidMeasurement, "SGX error 3": sgx.ErrorCode(3), "SGX_UNMASKED_EVENT": sgx.UnmaskedEvent,
	} {
		if got := err.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := sgx.VectorName(14); got != "#PF" {
		t.Errorf("vector 14 is %q", got)
	}
	if got := sgx.VectorName(200); got != "" {
		t.Errorf("vector 200 is %q", got)
	}
}

// TestExitInfo follows the table of SDM 38.9.1.2.
func TestExitInfo(t *testing.T) {
	all := sgx.MiscEXINFO | sgx.MiscCPINFO
	for v, c := range map[uint8]struct {
		misc sgx.MiscSelect
		want uint32
	}{
		0: {0, 0x80000300}, 1: {0, 0x80000301}, 3: {0, 0x80000603}, 5: {0, 0x80000305}, 6: {0, 0x80000306},
		16: {0, 0x80000310}, 17: {0, 0x80000311}, 19: {0, 0x80000313},
		13: {sgx.MiscEXINFO, 0x8000030d}, 14: {sgx.MiscEXINFO, 0x8000030e}, 21: {sgx.MiscCPINFO, 0x80000315},
		2: {all, 0}, 7: {all, 0}, 8: {all, 0}, 12: {all, 0}, 32: {all, 0},
	} {
		got := sgx.NewExitInfo(v, c.misc)
		if uint32(got) != c.want {
			t.Errorf("vector %d: %#x, want %#x", v, got, c.want)
		}
		if c.want != 0 && (!got.Valid() || got.Vector() != v || got.Type() != uint8(c.want>>8)) {
			t.Errorf("vector %d: valid %v, vector %d, type %d", v, got.Valid(), got.Vector(), got.Type())
		}
		if without := sgx.NewExitInfo(v, all&^c.misc); c.misc != 0 && c.misc != all && without != 0 {
			t.Errorf("vector %d without its MISCSELECT bit: %#x", v, without)
		}
	}
}

func TestMeasurement(t *testing.T) {
	m := sgx.Measurement{0: 0xab, 31: 1}
	b, err := json.Marshal(m)
	if err != nil || string(b) != `"`+m.String()+`"` {
		t.Errorf("%s, %v", b, err)
	}
	var got sgx.Measurement
	if err := json.Unmarshal(bytes.ToUpper(b), &got); err != nil || got != m {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "ab", strings.Repeat("0", 63), strings.Repeat("0", 66), strings.Repeat("g", 64)} {
		if _, err := sgx.ParseMeasurement(bad); err == nil {
			t.Errorf("%q is read as a measurement", bad)
		}
		if err := got.UnmarshalText([]byte(bad)); err == nil || got != m {
			t.Errorf("%q changes the measurement", bad)
		}
	}
}

func TestAnd(t *testing.T) {
	a := sgx.Attributes{Flags: 6, XFRM: 7}
	if got := a.And(sgx.Attributes{Flags: 0xc, XFRM: 2}); got != (sgx.Attributes{Flags: 4, XFRM: 2}) {
		t.Errorf("%v", got)
	}
}

func hexHash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
