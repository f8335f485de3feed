package runner

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/sign"
)

// recorder is a platform that writes down what it is told, and measures it by
// itself, after the SDM and not after package sgxs.
type recorder struct {
	caps   platform.Caps
	refuse string // the step to fail at

	secs   sgx.SECS
	log    []string
	pages  map[uint64][]byte
	h      []byte
	sig    *sgx.SigStruct // of EINIT
	closed bool
}

func newRecorder() *recorder {
	return &recorder{
		caps: platform.Caps{
			Attributes: sgx.AttrDebug | sgx.AttrMode64Bit | sgx.AttrInit | sgx.AttrKSS,
			XFRM:       sgx.XFRMLegacy | sgx.XFRMAVX | sgx.XFRMAVX512 | sgx.XFRMPKRU,
			MiscSelect: sgx.MiscEXINFO,
			XSAVESize: func(x sgx.XFRM) uint32 {
				switch {
				case x&sgx.XFRMAMX != 0:
					return 10752
				case x&sgx.XFRMPKRU != 0:
					return 2696
				case x&sgx.XFRMAVX512 != 0:
					return 2688
				case x&sgx.XFRMAVX != 0:
					return 832
				}
				return 576
			},
		},
		pages: map[uint64][]byte{},
	}
}

var errRefused = errors.New("refused")

func (r *recorder) step(format string, a ...any) error {
	s := fmt.Sprintf(format, a...)
	r.log = append(r.log, s)
	if r.refuse != "" && strings.HasPrefix(s, r.refuse) {
		return errRefused
	}
	return nil
}

func (r *recorder) measure(words ...uint64) {
	b := make([]byte, 64)
	for i, w := range words {
		binary.LittleEndian.PutUint64(b[8*i:], w)
	}
	r.h = append(r.h, b...)
}

func (r *recorder) Name() string        { return "recorder" }
func (r *recorder) Caps() platform.Caps { return r.caps }
func (r *recorder) Create(s *sgx.SECS) (platform.Builder, error) {
	r.secs = *s
	r.measure(0x0045544145524345, uint64(s.SSAFrameSize)|s.Size<<32, s.Size>>32)
	return r, r.step("create %#x %d", s.Size, s.SSAFrameSize)
}
func (r *recorder) Base() uint64 { return 0x10000000 }
func (r *recorder) Add(off uint64, flags sgx.SecInfoFlags, data []byte) error {
	r.pages[off] = bytes.Clone(data)
	r.measure(0x0000000044444145, off, uint64(flags))
	return r.step("add %#x %v %v", off, flags, data != nil)
}
func (r *recorder) Extend(off uint64) error {
	r.measure(0x00444E4554584545, off)
	r.h = append(r.h, r.pages[off&^4095][off&4095:][:256]...)
	return r.step("extend %#x", off)
}
func (r *recorder) Measurement() sgx.Measurement { return sha256.Sum256(r.h) }
func (r *recorder) Init(sig *sgx.SigStruct) (platform.Enclave, error) {
	r.sig = sig
	if mr := r.Measurement(); mr != sig.EnclaveHash {
		return nil, fmt.Errorf("%w: ENCLAVEHASH is %v, the enclave is %v", sgx.InvalidMeasurement, sig.EnclaveHash, mr)
	}
	return nil, r.step("init")
}
func (r *recorder) Close() error { r.closed = true; return nil }

// image is a small one with all that a loader meets: a page measured in part,
// out of order, and bytes that are not measured.
func image(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := sgxs.NewWriter(&b)
	chunk := func(c byte) []byte { return bytes.Repeat([]byte{c}, 256) }
	for _, err := range []error{
		w.Create(1, 0x8000),
		w.Write(sgxs.Record{Kind: sgxs.KindEAdd, Offset: 0, Flags: sgx.SecInfoREGR}),
		w.Write(sgxs.Record{Kind: sgxs.KindEExtend, Offset: 0x300, Data: chunk(3)}),
		w.Write(sgxs.Record{Kind: sgxs.KindEExtend, Offset: 0x100, Data: chunk(1)}),
		w.Write(sgxs.Record{Kind: sgxs.KindUnmeasured, Offset: 0x200, Data: chunk(2)}),
		w.Page(0x1000, sgx.SecInfoREGRW, nil),
		w.Page(0x2000, sgx.SecInfoREGRW, nil),
		w.Page(0x4000, sgx.SecInfoTCS, make([]byte, 4096)),
		w.Page(0x5000, sgx.SecInfoREGRW, nil),
		w.Page(0x6000, sgx.SecInfoTCS, make([]byte, 4096)),
		w.Flush(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func dummy(t testing.TB, b []byte, r *recorder) *sgx.SigStruct {
	t.Helper()
	sig, err := DummySignature(bytes.NewReader(b), r.caps)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func TestLoad(t *testing.T) {
	b, r := image(t), newRecorder()
	e, err := Load(r, iotest.HalfReader(bytes.NewReader(b)), dummy(t, b, r), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(e.TCS, []uint64{0x4000, 0x6000}) {
		t.Errorf("TCSs are %#x", e.TCS)
	}
	want := []string{
		"create 0x8000 1", "add 0x0 REG r-- true", "extend 0x300", "extend 0x100",
		"add 0x1000 REG rw- false", "add 0x2000 REG rw- false", "add 0x4000 TCS --- true", "extend 0x4000",
	}
	if !slices.Equal(r.log[:len(want)], want) {
		t.Errorf("steps are %q, want %q", r.log[:len(want)], want)
	}
	page := make([]byte, 4096)
	for i := range 3 {
		copy(page[256*(i+1):], bytes.Repeat([]byte{byte(i + 1)}, 256))
	}
	if !bytes.Equal(r.pages[0], page) {
		t.Error("the first page is wrong")
	}
	if r.secs.Size != 0x8000 || r.secs.SSAFrameSize != 1 || r.secs.Attributes.Flags != sgx.AttrDebug|sgx.AttrMode64Bit || r.secs.Attributes.XFRM != r.caps.XFRM {
		t.Errorf("SECS is %+v", r.secs)
	}
	regions := []Region{
		{0, 0x1000, sgx.SecInfoREGR}, {0x1000, 0x3000, sgx.SecInfoREGRW}, {0x4000, 0x5000, sgx.SecInfoTCS},
		{0x5000, 0x6000, sgx.SecInfoREGRW}, {0x6000, 0x7000, sgx.SecInfoTCS},
	}
	if !slices.Equal(e.Regions, regions) {
		t.Errorf("regions are %v", e.Regions)
	}
	for _, tt := range []struct {
		off          uint64
		found, above int // index, or -1
	}{{0, 0, 0}, {0xfff, 0, 0}, {0x1000, 1, 1}, {0x2fff, 1, 1}, {0x3000, -1, 2}, {0x6fff, 4, 4}, {0x7000, -1, -1}, {1 << 60, -1, -1}} {
		for name, f := range map[string]func([]Region, uint64) (Region, bool){"FindRegion": FindRegion, "RegionAbove": RegionAbove} {
			want := tt.found
			if name == "RegionAbove" {
				want = tt.above
			}
			got, ok := f(e.Regions, tt.off)
			if ok != (want >= 0) || ok && got != regions[want] {
				t.Errorf("%s(%#x) is %v, %v", name, tt.off, got, ok)
			}
		}
	}
}

// An image that is signed on the spot gets the signature of what was loaded.
func TestLoadSign(t *testing.T) {
	b, r := image(t), newRecorder()
	path := filepath.Join(t.TempDir(), "app.sgxs")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	sig, isDummy, err := Signature{}.Choose(path, r.caps)
	if err != nil || !isDummy || sig.EnclaveHash != (sgx.Measurement{}) {
		t.Fatalf("dummy %v with %v: %v", isDummy, sig, err)
	}
	if _, err := Load(r, bytes.NewReader(b), sig, LoadOptions{Sign: SignDummy}); err != nil {
		t.Fatal(err)
	}
	if want := dummy(t, b, r); *r.sig != *want || *sig == *want {
		t.Errorf("EINIT gets %+v, want %+v", r.sig, want)
	}
	_, err = Load(newRecorder(), bytes.NewReader(b), sig, LoadOptions{Sign: func(*sgx.SigStruct) error { return errRefused }})
	if !errors.Is(err, errRefused) {
		t.Errorf("error %v", err)
	}
}

// TestLoadErrorOnce: an instruction is named once, whoever names it.
func TestLoadErrorOnce(t *testing.T) {
	for _, e := range []*LoadError{{"EINIT", errors.New("EINIT: refused")}, {"EINIT", errors.New("refused")}} {
		if e.Error() != "EINIT: refused" {
			t.Error(e)
		}
	}
	if e := (&LoadError{"EADD of page 0x1000 (R--)", errors.New("EADD: #GP: refused")}); e.Error() != "EADD of page 0x1000 (R--): #GP: refused" {
		t.Error(e)
	}
}

func TestLoadErrors(t *testing.T) {
	b := image(t)
	for _, tt := range []struct {
		name, refuse, want string
		image              []byte
	}{
		{"create", "create", "ECREATE of 32768 bytes (SSAFRAMESIZE 1): refused", b},
		{"add", "add 0x4000", "EADD of page 0x4000 (TCS ---): refused", b},
		{"extend", "extend 0x100", "EEXTEND of 0x100, chunk 1 of page 0x0: refused", b},
		{"init", "init", "EINIT: refused", b},
		{"empty", "", "reading the image: sgxs: record 1 at 0x0", nil},
		{"cut", "", "reading the image: sgxs: record 4 at 0x1c0", b[:0x1c0+20]},
		{"text", "", "reading the image: sgxs: record 1 at 0x0", []byte(strings.Repeat("#!/bin/sh\n", 20))},
		{"changed", "", "EINIT: SGX_INVALID_MEASUREMENT: ENCLAVEHASH is", append(bytes.Clone(b[:300]), append([]byte{9}, b[301:]...)...)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRecorder()
			sig := dummy(t, b, r)
			r.refuse = tt.refuse
			_, err := Load(r, bytes.NewReader(tt.image), sig, LoadOptions{})
			if err == nil {
				t.Fatal("it loads")
			}
			if !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error is %q, want %q", err, tt.want)
			}
			if tt.refuse != "" && !errors.Is(err, errRefused) {
				t.Error("the platform's error is not wrapped")
			}
			if len(r.log) > 0 && tt.refuse != "create" && !r.closed {
				t.Error("the unfinished enclave is left")
			}
		})
	}

	var unsized bytes.Buffer
	w := sgxs.NewWriter(&unsized)
	if err := errors.Join(w.CreateUnsized(1, 0x100), w.Page(0, sgx.SecInfoREGR, make([]byte, 4096)), w.Flush()); err != nil {
		t.Fatal(err)
	}
	r := newRecorder()
	if _, err := Load(r, bytes.NewReader(unsized.Bytes()), dummy(t, b, r), LoadOptions{}); !errors.Is(err, ErrUnsized) {
		t.Errorf("an unsized image: %v", err)
	}
	if _, err := DummySignature(bytes.NewReader(unsized.Bytes()), r.caps); !errors.Is(err, ErrUnsized) {
		t.Errorf("signing an unsized image: %v", err)
	}
	if _, err := DummySignature(iotest.ErrReader(io.ErrNoProgress), r.caps); err == nil {
		t.Error("signing what cannot be read")
	}
}

// TestSECS: the SECS has what the signature wants and the platform has; what
// the signature insists on must be there.
func TestSECS(t *testing.T) {
	header := sgxs.Record{Kind: sgxs.KindECreate, Size: 0x1000, SSAFrameSize: 1}
	caps := newRecorder().caps
	base := func() *sgx.SigStruct { return sign.New(sgx.Measurement{}) }
	sig := base()
	sig.Attributes.Flags |= sgx.AttrKSS | sgx.AttrProvisionKey | sgx.AttrInit
	sig.AttributeMask = sgx.Attributes{}
	sig.Attributes.XFRM |= sgx.XFRMAVX | sgx.XFRMAMX
	sig.MiscSelect, sig.MiscMask = sgx.MiscEXINFO|sgx.MiscCPINFO, 0
	s, err := newSECS(header, sig, caps, LoadOptions{ConfigSVN: 7})
	if err != nil {
		t.Fatal(err)
	}
	if want := (sgx.Attributes{Flags: sgx.AttrKSS | sgx.AttrMode64Bit, XFRM: sgx.XFRMLegacy | sgx.XFRMAVX}); s.Attributes != want {
		t.Errorf("ATTRIBUTES are %v, want %v", s.Attributes, want)
	}
	if s.MiscSelect != sgx.MiscEXINFO || s.ConfigSVN != 7 {
		t.Errorf("SECS is %+v", s)
	}
	given, misc := sgx.Attributes{Flags: 1 << 40, XFRM: 3}, sgx.MiscCPINFO
	if s, err = newSECS(header, sig, caps, LoadOptions{Attributes: &given, MiscSelect: &misc}); err != nil || s.Attributes != given || s.MiscSelect != misc {
		t.Errorf("what is given is not taken as it is: %+v, %v", s, err)
	}
	for want, change := range map[string]func(*sgx.SigStruct){
		"ATTRIBUTES PROVISIONKEY": func(s *sgx.SigStruct) { s.Attributes.Flags |= sgx.AttrProvisionKey },
		"XFRM AMX":                func(s *sgx.SigStruct) { s.Attributes.XFRM |= sgx.XFRMAMX },
		"MISCSELECT CPINFO":       func(s *sgx.SigStruct) { s.MiscSelect |= sgx.MiscCPINFO },
	} {
		sig := base()
		change(sig)
		if _, err := newSECS(header, sig, caps, LoadOptions{}); err == nil || !strings.Contains(err.Error(), "insists on "+want) {
			t.Errorf("error is %v, want one with %q", err, want)
		}
	}
}

func TestXFRMFor(t *testing.T) {
	caps := newRecorder().caps
	amx := caps
	amx.XFRM |= sgx.XFRMAMX
	avx := caps
	avx.XFRM = sgx.XFRMLegacy | sgx.XFRMAVX
	none := caps
	none.XSAVESize = nil
	all := sgx.XFRMLegacy | sgx.XFRMAVX | sgx.XFRMAVX512 | sgx.XFRMPKRU
	for _, tt := range []struct {
		name  string
		caps  platform.Caps
		pages uint32
		want  sgx.XFRM
	}{
		{"one page", caps, 1, all},
		{"no page", caps, 0, sgx.XFRMLegacy},
		{"AMX does not fit", amx, 1, all},
		{"AMX fits", amx, 3, all | sgx.XFRMAMX},
		{"AVX only", avx, 4, sgx.XFRMLegacy | sgx.XFRMAVX},
		{"sizes unknown", none, 4, sgx.XFRMLegacy},
	} {
		if got := XFRMFor(tt.caps, tt.pages); got != tt.want {
			t.Errorf("%s: XFRM is %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestCoresidentPath(t *testing.T) {
	for in, want := range map[string]string{
		"app.sgxs": "app.sig", "app": "app.sig", "a.b.sgxs": "a.b.sig", "dir.d/app": "dir.d/app.sig",
		"/x/app.sgxs": "/x/app.sig", ".hidden": ".hidden.sig", "app.": "app.sig", "./app.sgxs": "./app.sig",
	} {
		if got := CoresidentPath(in); got != want {
			t.Errorf("CoresidentPath(%q) is %q, want %q", in, got, want)
		}
	}
}

func TestResolve(t *testing.T) {
	caps := newRecorder().caps
	b := image(t)
	sig := dummy(t, b, newRecorder())
	sig.SWDefined = 77 // so that it is known again
	good, _ := sig.AppendBinary(nil)
	bad := append([]byte{9}, good[1:]...)
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	other := write("other", append(good, "and more"...))
	short := write("short", good[:1807])
	for _, tt := range []struct {
		arg      string // of ParseSignature, or "" and "any"
		sig      []byte // beside the image, or nil
		want     string // "file", "dummy" or an error
		swapKind SignatureKind
	}{
		{"", nil, "dummy", 0},
		{"", good, "file", 0},
		{"", good[:100], "100 bytes are no SIGSTRUCT", 0},
		{"", bad, "HEADER", 0},
		{"any", nil, "dummy", SignatureAutoAny},
		{"any", good, "file", SignatureAutoAny},
		{"any", good[:100], "dummy", SignatureAutoAny},
		{"coresident", nil, "no such file", 0},
		{"coresident", good, "file", 0},
		{"dummy", good, "dummy", 0},
		{"file=" + other, nil, "file", 0},
		{"file=" + short, nil, "1807 bytes are no SIGSTRUCT", 0},
		{"file=" + other + "x", nil, "no such file", 0},
	} {
		t.Run(fmt.Sprintf("%s,%d", tt.arg, len(tt.sig)), func(t *testing.T) {
			path := write("app.sgxs", b)
			_ = os.Remove(CoresidentPath(path))
			if tt.sig != nil {
				write("app.sig", tt.sig)
			}
			choice := Signature{Kind: tt.swapKind}
			if tt.arg != "" && tt.arg != "any" {
				var err error
				if choice, err = ParseSignature(tt.arg); err != nil {
					t.Fatal(err)
				}
			}
			got, isDummy, err := choice.Resolve(path, caps)
			switch {
			case tt.want == "file" && (err != nil || isDummy || got.SWDefined != 77):
				t.Errorf("got %v, %v", isDummy, err)
			case tt.want == "dummy" && (err != nil || !isDummy || got.SWDefined != 0 || got.EnclaveHash != sig.EnclaveHash):
				t.Errorf("got %v, %v", isDummy, err)
			case tt.want != "file" && tt.want != "dummy" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error is %v, want one with %q", err, tt.want)
			}
		})
	}
	for _, s := range []string{"", "Dummy", "file", "dummy ", "auto"} {
		if _, err := ParseSignature(s); err == nil {
			t.Errorf("signature %q is accepted", s)
		}
	}
	if _, _, err := (Signature{Kind: SignatureDummy}).Resolve(filepath.Join(dir, "none"), caps); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no image: %v", err)
	}
}
