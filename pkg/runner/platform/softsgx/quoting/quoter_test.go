package quoting

import (
	"bytes"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/attest/issue"
	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/microcode"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/sign"
)

func testDevice() *microcode.Device { return microcode.NewDevice([microcode.SeedSize]byte{1, 2, 3}) }

func openTest(t testing.TB, dir string) *Quoter {
	t.Helper()
	q, err := Open(dir, testDevice())
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// anEnclave is an enclave that the quoting enclave knows nothing of.
func anEnclave(t testing.TB, dev *microcode.Device, flags sgx.AttrFlags) *microcode.Enclave {
	t.Helper()
	flags |= sgx.AttrMode64Bit
	e, err := microcode.Create(&sgx.SECS{Size: 0x2000, SSAFrameSize: 1, Attributes: sgx.Attributes{Flags: flags, XFRM: sgx.XFRMLegacy}},
		platform.Caps{Attributes: flags, XFRM: sgx.XFRMLegacy, MaxSize: 0x2000, XSAVESize: func(sgx.XFRM) uint32 { return 576 }})
	if err != nil {
		t.Fatal(err)
	}
	w := sgxs.NewMeasurer()
	if err := w.Write(sgxs.Record{Kind: sgxs.KindECreate, SSAFrameSize: 1, Size: 0x2000}); err != nil {
		t.Fatal(err)
	}
	mr, err := w.Sum()
	if err != nil {
		t.Fatal(err)
	}
	sig := sign.New(mr)
	sign.AllowDebug(sig)
	sig.ISVProdID, sig.ISVSVN = 42, 7
	if err := sign.Sign(sig, sign.DebugKey()); err != nil {
		t.Fatal(err)
	}
	if err := e.Init(dev, sig); err != nil {
		t.Fatal(err)
	}
	return e
}

// reportFor is an enclave's report for the target that t names.
func reportFor(t testing.TB, dev *microcode.Device, e *microcode.Enclave, target [sgx.TargetInfoSize]byte, data [64]byte) (out [sgx.ReportSize]byte) {
	t.Helper()
	ti, err := sgx.ParseTargetInfo(target[:])
	if err != nil {
		t.Fatal(err)
	}
	r, err := microcode.EReport(dev, e, ti, &data)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := r.AppendBinary(nil)
	return [sgx.ReportSize]byte(b)
}

func TestQuote(t *testing.T) {
	q := openTest(t, t.TempDir())
	for _, debug := range []sgx.AttrFlags{0, sgx.AttrDebug} {
		e := anEnclave(t, testDevice(), debug)
		r := reportFor(t, testDevice(), e, q.TargetInfo(), [64]byte{9, 8, 7})
		quote, err := q.Quote(r)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(quote[48:432], r[:384]) {
			t.Error("the quote does not carry the report's body")
		}
		if got := sgx.AttrFlags(quote[96]) & sgx.AttrDebug; got != debug {
			t.Errorf("DEBUG is %v in the quote, %v in the enclave", got, debug)
		}
		if got := string(quote[12:28]); got != VendorID {
			t.Errorf("QE vendor id %q", got)
		}
	}
}

// TestQuoteRefuses has reports that the quoting enclave must not vouch for.
func TestQuoteRefuses(t *testing.T) {
	q := openTest(t, t.TempDir())
	dev := testDevice()
	e := anEnclave(t, dev, 0)
	good := reportFor(t, dev, e, q.TargetInfo(), [64]byte{1})
	if _, err := q.Quote(good); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		r := good
		r[i] ^= 1
		if _, err := q.Quote(r); err == nil {
			t.Errorf("byte %d of the report can be changed", i)
		}
	}
	other := microcode.NewDevice([microcode.SeedSize]byte{4})
	s := e.SECS()
	self, _ := (&sgx.TargetInfo{MREnclave: s.MREnclave, Attributes: s.Attributes}).AppendBinary(nil)
	for name, r := range map[string][sgx.ReportSize]byte{
		"of another machine": reportFor(t, other, anEnclave(t, other, 0), q.TargetInfo(), [64]byte{1}),
		"for nobody":         reportFor(t, dev, e, [sgx.TargetInfoSize]byte{}, [64]byte{1}),
		"for another":        reportFor(t, dev, e, [sgx.TargetInfoSize]byte(self), [64]byte{1}),
		"of zeros":           {},
	} {
		if _, err := q.Quote(r); !errors.Is(err, ErrNotForUs) {
			t.Errorf("a report %s: %v", name, err)
		}
	}
}

func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	q := openTest(t, dir)
	for _, name := range []string{KeysFile, RootFile} {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil || st.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(dir, RootFile)); err != nil || !bytes.Equal(b, q.RootPEM()) {
		t.Errorf("%s: %v", RootFile, err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 2 {
		t.Errorf("left over: %v", names)
	}
	again := openTest(t, dir)
	if !again.Root().Equal(q.Root()) || !again.keys.attestation.Equal(q.keys.attestation) {
		t.Error("other keys at the second time")
	}
	if again.TargetInfo() != q.TargetInfo() {
		t.Error("another quoting enclave at the second time")
	}
	if openTest(t, t.TempDir()).Root().Equal(q.Root()) {
		t.Error("another directory has the same root")
	}
	if err := os.Remove(filepath.Join(dir, RootFile)); err != nil {
		t.Fatal(err)
	}
	openTest(t, dir)
	if b, err := os.ReadFile(filepath.Join(dir, RootFile)); err != nil || !bytes.Equal(b, q.RootPEM()) {
		t.Errorf("%s is not made anew: %v", RootFile, err)
	}
}

func TestFilesRefused(t *testing.T) {
	source := t.TempDir()
	openTest(t, source)
	good, err := os.ReadFile(filepath.Join(source, KeysFile))
	if err != nil {
		t.Fatal(err)
	}
	foreign := t.TempDir()
	openTest(t, foreign)
	stranger, err := os.ReadFile(filepath.Join(foreign, KeysFile))
	if err != nil {
		t.Fatal(err)
	}
	half := bytes.Index(good, []byte("-----END PRIVATE KEY-----\n")) + len("-----END PRIVATE KEY-----\n")
	strangerHalf := bytes.Index(stranger, []byte("-----END PRIVATE KEY-----\n")) + len("-----END PRIVATE KEY-----\n")
	certEnd := bytes.Index(good, []byte("-----END CERTIFICATE-----\n")) + len("-----END CERTIFICATE-----\n")
	strangerCert := bytes.Index(stranger, []byte("-----END CERTIFICATE-----\n")) + len("-----END CERTIFICATE-----\n")
	for name, c := range map[string]struct {
		content []byte
		what    string
	}{
		"empty":            {nil, "no CERTIFICATE where one is expected"},
		"cut off":          {good[:len(good)-40], "damaged"},
		"something behind": {append(bytes.Clone(good), "x"...), "1 bytes behind the last key"},
		"text before":      {append([]byte("a\n"), good...), "no CERTIFICATE"},
		"huge":             {bytes.Repeat([]byte("a"), maxKeysFile+1), "more than"},
		"foreign root":     {append(bytes.Clone(stranger[:strangerHalf]), good[half:]...), "is not by"},
		"foreign key":      {append(append(bytes.Clone(good[:certEnd]), stranger[strangerCert:strangerHalf]...), good[half:]...), "is not its key"},
		"headers":          {bytes.Replace(good, []byte("CERTIFICATE-----\n"), []byte("CERTIFICATE-----\nA: b\n\n"), 1), "damaged"},
	} {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, KeysFile), c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(dir, testDevice())
		if err == nil || !strings.Contains(err.Error(), c.what) || !strings.Contains(err.Error(), KeysFile) {
			t.Errorf("%s: %v, want %q", name, err, c.what)
		}
	}
	// The keys of a device with another CPUSVN, and a hierarchy without a device.
	k, err := parseKeys(good)
	if err != nil {
		t.Fatal(err)
	}
	for what, x := range map[string][]pkix.Extension{"is for CPUSVN 07": {extension(t, [16]byte{7})}, "no SGX extension": nil} {
		c := *k
		if c.pck, err = issue.Issue(k.ca, issue.Template{Subject: issue.Name{CommonName: "SGX PCK Certificate"}, Extensions: x}, k.pck.Key); err != nil {
			t.Fatal(err)
		}
		b, err := c.encode()
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, KeysFile), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, testDevice()); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v, want %q", err, what)
		}
	}
	if err := os.Chmod(filepath.Join(source, KeysFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(source, testDevice()); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("keys that all may read: %v", err)
	}
	if err := os.WriteFile(filepath.Join(foreign, RootFile), []byte("another\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(foreign, testDevice()); err == nil || !strings.Contains(err.Error(), RootFile) {
		t.Errorf("the root of somebody else: %v", err)
	}
	if _, err := Open("", testDevice()); err == nil {
		t.Error("no directory is accepted")
	}
}

func extension(t *testing.T, cpuSVN [16]byte) pkix.Extension {
	x, err := (&issue.PCKExtensions{CPUSVN: cpuSVN}).Extension()
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// TestKeysPrefix: no proper prefix of the file parses, and what parses is written
// as it was.
func TestKeysPrefix(t *testing.T) {
	k, err := newKeys(testDevice(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b, err := k.encode()
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(b); n += 1 + len(b)/500 {
		if _, err := parseKeys(b[:n]); err == nil {
			t.Errorf("the first %d of %d bytes parse", n, len(b))
		}
	}
	if _, err := parseKeys(b[:len(b)-1]); err == nil {
		t.Error("all but the last byte parse")
	}
	again, err := parseKeys(b)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := again.encode(); err != nil || !bytes.Equal(out, b) {
		t.Error("another file when written again")
	}
}

func FuzzKeys(f *testing.F) {
	k, err := newKeys(testDevice(), time.Now())
	if err != nil {
		f.Fatal(err)
	}
	b, err := k.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:500])
	f.Fuzz(func(t *testing.T, in []byte) {
		k, err := parseKeys(in)
		if err != nil {
			return
		}
		out, err := k.encode()
		if err != nil || !bytes.Equal(out, in) {
			t.Errorf("%q becomes %q, %v", in, out, err)
		}
	})
}

// raceDir, if set, makes the test binary open the quoting enclave there and print
// the serial number of its root: the child of TestOpenRace.
const raceDir = "EOS_TEST_QUOTING_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(raceDir); dir != "" {
		q, err := Open(dir, testDevice())
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(q.Root().SerialNumber)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Of processes that come first together, one makes the keys and all use them.
func TestOpenRace(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "a")
	var cmds [6]*exec.Cmd
	var out [len(cmds)]bytes.Buffer
	for i := range cmds {
		c := exec.Command(exe)
		c.Env = append(os.Environ(), raceDir+"="+dir)
		c.Stdout, c.Stderr = &out[i], &out[i]
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		cmds[i] = c
	}
	for i, c := range cmds {
		if err := c.Wait(); err != nil {
			t.Errorf("process %d: %v: %s", i, err, out[i].String())
		}
	}
	want := openTest(t, dir).Root().SerialNumber.String() + "\n"
	for i := range out {
		if out[i].String() != want {
			t.Errorf("process %d has root %s, want %s", i, out[i].String(), want)
		}
	}
	if names, _ := os.ReadDir(dir); len(names) != 2 {
		t.Errorf("left over: %v", names)
	}
}

func TestTCBFile(t *testing.T) {
	for text, what := range map[string]string{
		``:                                  "unexpected end",
		`{"status":"Fine"}`:                 `"Fine" is no status`,
		`{"qe_status":"uptodate"}`:          `"uptodate" is no status`,
		`{"qe_status":"SWHardeningNeeded"}`: `"SWHardeningNeeded" is no status of a quoting enclave`,
		`{"state":"UpToDate"}`:              "unknown member",
		`{} {}`:                             "after top-level value",
		`{"status":"UpToDate","status":"Revoked"}`: "comes twice",
		`{"status":`: "unexpected end",
	} {
		if _, err := ParseTCB([]byte(text)); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v, want %q", text, err, what)
		}
	}
	dir := t.TempDir()
	q := openTest(t, dir)
	first, err := q.Collateral()
	if err != nil || !bytes.Contains(first.TCBInfo.Body, []byte(`"tcbStatus":"UpToDate"`)) {
		t.Fatalf("%v: %s", err, first.TCBInfo.Body)
	}
	write := func(s string) {
		if err := os.WriteFile(filepath.Join(dir, TCBFile), []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"status":"OutOfDate","advisories":["EOS-SA-1"]}`)
	second, err := q.Collateral()
	if err != nil || !bytes.Contains(second.TCBInfo.Body, []byte(`"tcbStatus":"OutOfDate","advisoryIDs":["EOS-SA-1"]`)) {
		t.Fatalf("%v: %s", err, second.TCBInfo.Body)
	}
	write(`{"status":1}`)
	if _, err := q.Collateral(); err == nil || !strings.Contains(err.Error(), TCBFile) {
		t.Errorf("a bad file: %v", err)
	}
	write(strings.Repeat(" ", maxTCBFile+1))
	if _, err := q.Collateral(); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a long file: %v", err)
	}
}

func TestCollateralIsReissued(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	q, err := open(t.TempDir(), testDevice(), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	get := func() string {
		c, err := q.Collateral()
		if err != nil {
			t.Fatal(err)
		}
		return string(c.TCBInfo.Body) + string(c.TCBInfo.Signature[:])
	}
	first := get()
	if !strings.Contains(first, `"issueDate":"2026-05-01T12:00:00Z","nextUpdate":"2026-05-31T12:00:00Z"`) {
		t.Error(first)
	}
	if now = now.Add(reissueAge); get() != first {
		t.Error("made anew too early")
	}
	if now = now.Add(time.Second); get() == first {
		t.Error("not made anew")
	}
	second := get()
	if now = now.Add(-time.Hour); get() == second {
		t.Error("from the future")
	}
}

func TestHandlers(t *testing.T) {
	q := openTest(t, t.TempDir())
	h := q.Handlers()
	call := func(m wire.Method, payload []byte) (int32, []byte) { return h[m](t.Context(), payload) }
	status, target := call(wire.QEGetTargetInfo, nil)
	if want := q.TargetInfo(); status != wire.StatusOK || !bytes.Equal(target, want[:]) {
		t.Errorf("target info: status %d, %d bytes", status, len(target))
	}
	report := reportFor(t, testDevice(), anEnclave(t, testDevice(), 0), q.TargetInfo(), [64]byte{})
	if status, quote := call(wire.QEGetQuote, report[:]); status != wire.StatusOK || !bytes.Equal(quote[48:432], report[:384]) {
		t.Errorf("quote: status %d, %d bytes", status, len(quote))
	}
	for _, c := range []struct {
		m       wire.Method
		payload []byte
		what    string
	}{
		{wire.QEGetTargetInfo, []byte{0}, "1 bytes, want 0"},
		{wire.QEGetQuote, nil, "0 bytes, want 432"},
		{wire.QEGetQuote, make([]byte, 433), "433 bytes, want 432"},
		{wire.QEGetQuote, make([]byte, 432), ErrNotForUs.Error()},
		{wire.QEGetQuote, bytes.Repeat([]byte{0xff}, 432), "reserved"},
		{wire.QEGetCollateral, []byte("x"), "1 bytes, want 0"},
	} {
		if status, reply := call(c.m, c.payload); status != wire.StatusError || !strings.Contains(string(reply), c.what) {
			t.Errorf("%#x with %d bytes: status %d, %q, want %q", uint16(c.m), len(c.payload), status, reply, c.what)
		}
	}
	if len(h) != 3 {
		t.Errorf("%d methods", len(h))
	}
}

func BenchmarkQuote(b *testing.B) {
	q := openTest(b, b.TempDir())
	r := reportFor(b, testDevice(), anEnclave(b, testDevice(), 0), q.TargetInfo(), [64]byte{})
	for b.Loop() {
		if _, err := q.Quote(r); err != nil {
			b.Fatal(err)
		}
	}
}
