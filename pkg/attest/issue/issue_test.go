package issue

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/sgx"
)

// vector reads a real quote or document. They are not part of the project: EOS_VECTORS
// says where they are.
func vector(t *testing.T, name string) []byte {
	t.Helper()
	dir := os.Getenv("EOS_VECTORS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "..", "shared", "vectors")
	}
	b, err := os.ReadFile(filepath.Join(dir, "quotes", name))
	if err != nil {
		t.Skipf("no real data to compare with (EOS_VECTORS): %v", err)
	}
	return b
}

// realChain is the certificates in a real quote: PCK leaf, CA, root.
func realChain(t *testing.T, name string) []*x509.Certificate {
	b := vector(t, name)
	b = b[bytes.Index(b, []byte("-----BEGIN")):]
	var out []*x509.Certificate
	for {
		block, rest := pem.Decode(b)
		if block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		out, b = append(out, c), rest
	}
	if len(out) != 3 {
		t.Fatalf("%d certificates in %s, want 3", len(out), name)
	}
	return out
}

func testHierarchy(t testing.TB) *Hierarchy {
	t.Helper()
	h, err := New(Options{
		Prefix:  "Test",
		Subject: Name{Organization: "Test Corporation", Locality: "Santa Clara", Province: "CA", Country: "US"},
		// a time of the second half of the century would be GeneralizedTime
		NotBefore: time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC), CRL: "https://crl.invalid",
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func testExtensions() *PCKExtensions {
	e := &PCKExtensions{PCESVN: 11, FMSPC: [6]byte{0xb0, 0xc0, 0x6f}, SGXType: 1}
	copy(e.Component[:], []uint8{3, 3, 2, 2, 4, 1, 0, 5})
	copy(e.CPUSVN[:], e.Component[:])
	copy(e.PPID[:], unhex("811DCA2A26B952E85BB6448B097BA4FD"))
	e.Platform = &PCKPlatform{Dynamic: true, CachedKeys: true, SMTEnabled: true}
	copy(e.Platform.InstanceID[:], unhex("07828474603E7019DC930775FFE8CDD2"))
	return e
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// TestExtensionAsIntel encodes the facts of two real PCK certificates, of a platform
// CA and a processor CA, and wants Intel's bytes.
func TestExtensionAsIntel(t *testing.T) {
	processor := &PCKExtensions{PCESVN: 13, FMSPC: [6]byte{0, 0xa0, 0x67, 0x11}}
	copy(processor.Component[:], []uint8{11, 11, 2, 2, 255, 1})
	copy(processor.CPUSVN[:], processor.Component[:])
	for name, e := range map[string]*PCKExtensions{"phala-tdx/tdx_quote": testExtensions(), "phala-sgx/sgx_quote": processor} {
		var want []byte
		for _, x := range realChain(t, name)[0].Extensions {
			if x.Id.Equal(OIDSGXExtensions) {
				want = x.Value
			}
		}
		if e.Platform == nil { // the PPID is the one fact that is not written down here
			i := bytes.Index(want, []byte{4, 16})
			copy(e.PPID[:], want[i+2:])
		}
		got, err := e.Extension()
		if err != nil || !bytes.Equal(got.Value, want) {
			t.Errorf("%s: %v\n got %x\nwant %x", name, err, got.Value, want)
		}
	}
}

// TestCertificatesAsIntel makes Intel's chain anew with other keys: what is not a key,
// a serial number or a key id has Intel's bytes.
func TestCertificatesAsIntel(t *testing.T) {
	real := realChain(t, "phala-sgx/sgx_quote")
	var issuer *Identity
	for i := len(real) - 1; i >= 0; i-- {
		r := real[i]
		key, err := NewKey()
		if err != nil {
			t.Fatal(err)
		}
		tmpl := Template{
			Subject: Name{r.Subject.CommonName, r.Subject.Organization[0], r.Subject.Locality[0], r.Subject.Province[0], r.Subject.Country[0]},
			Serial:  r.SerialNumber, NotBefore: r.NotBefore, NotAfter: r.NotAfter, CRL: r.CRLDistributionPoints[0],
			CA: r.IsCA, PathLen: r.MaxPathLen,
		}
		if !r.IsCA {
			tmpl.Extensions = r.Extensions[len(r.Extensions)-1:]
		}
		if issuer, err = Issue(issuer, tmpl, key); err != nil {
			t.Fatal(err)
		}
		c := issuer.Cert
		mine, theirs := blank(t, c), blank(t, r)
		if !bytes.Equal(mine, theirs) {
			t.Errorf("%s:\n got %x\nwant %x", r.Subject.CommonName, mine, theirs)
		}
	}
}

// blank is a certificate's signed part with zeros for the key, the key ids and the serial number.
func blank(t *testing.T, c *x509.Certificate) []byte {
	b := bytes.Clone(c.RawTBSCertificate)
	point, err := c.PublicKey.(*ecdsa.PublicKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range [][]byte{point, c.SubjectKeyId, c.AuthorityKeyId, c.SerialNumber.FillBytes(make([]byte, 20))} {
		if len(x) < 20 || !bytes.Contains(c.RawTBSCertificate, x) {
			t.Fatalf("%s has no %x", c.Subject.CommonName, x)
		}
		b = bytes.ReplaceAll(b, x, make([]byte, len(x)))
	}
	return b
}

// TestDocumentsAsIntel reads the facts of real documents with a plain JSON decoder,
// makes the documents from them, and wants the bytes that Intel has signed.
func TestDocumentsAsIntel(t *testing.T) {
	var c struct {
		TCBInfo    string `json:"tcb_info"`
		QEIdentity string `json:"qe_identity"`
	}
	if err := json.Unmarshal(vector(t, "phala-sgx/sgx_quote_collateral.json"), &c); err != nil {
		t.Fatal(err)
	}
	type level struct {
		TCB struct {
			SGX []struct{ SVN uint8 } `json:"sgxtcbcomponents"`
			PCE uint16                `json:"pcesvn"`
			ISV uint16                `json:"isvsvn"`
		}
		Date       time.Time `json:"tcbDate"`
		Status     string    `json:"tcbStatus"`
		Advisories []string  `json:"advisoryIDs"`
	}
	var d struct {
		IssueDate, NextUpdate time.Time
		Number                int     `json:"tcbEvaluationDataNumber"`
		Levels                []level `json:"tcbLevels"`
	}
	decode := func(s string) {
		d.Levels = nil
		if err := json.Unmarshal([]byte(s), &d); err != nil {
			t.Fatal(err)
		}
	}

	decode(c.TCBInfo)
	info := TCBInfo{IssueDate: d.IssueDate, NextUpdate: d.NextUpdate, FMSPC: [6]byte{0, 0xa0, 0x67, 0x11}, EvaluationNumber: d.Number}
	for _, l := range d.Levels {
		m := TCBLevel{PCESVN: l.TCB.PCE, Date: l.Date, Status: l.Status, Advisories: l.Advisories}
		for i, c := range l.TCB.SGX {
			m.SGX[i] = c.SVN
		}
		info.Levels = append(info.Levels, m)
	}
	if got, err := info.JSON(); err != nil || string(got) != c.TCBInfo {
		t.Errorf("TCB info: %v\n got %s\nwant %s", err, got, c.TCBInfo)
	}

	decode(c.QEIdentity)
	qe := QEIdentity{
		IssueDate: d.IssueDate, NextUpdate: d.NextUpdate, EvaluationNumber: d.Number, MiscSelectMask: [4]byte{255, 255, 255, 255},
		Attributes: [16]byte{0x11}, AttributesMask: [16]byte{0xfb, 255, 255, 255, 255, 255, 255, 255},
		MRSigner: [32]byte(unhex("8C4F5775D796503E96137F77C68A829A0056AC8DED70140B081B094490C57BFF")), ISVProdID: 1,
	}
	for _, l := range d.Levels {
		qe.Levels = append(qe.Levels, ISVLevel{l.TCB.ISV, l.Date, l.Status, l.Advisories})
	}
	if got, err := qe.JSON(); err != nil || string(got) != c.QEIdentity {
		t.Errorf("QE identity: %v\n got %s\nwant %s", err, got, c.QEIdentity)
	}
}

// TestTDXDocument looks at the members that only a TDX document has.
func TestTDXDocument(t *testing.T) {
	at := time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
	info := TCBInfo{TDX: true, IssueDate: at, NextUpdate: at, Modules: []TDXModule{{}, {Version: 1, Levels: []ISVLevel{{ISVSVN: 4, Date: at, Status: UpToDate}}}},
		Levels: []TCBLevel{{TDX: [16]uint8{7}, Date: at, Status: OutOfDate}}}
	b, err := info.JSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"id":"TDX","version":3,"issueDate":"2025-01-02T03:04:05Z"`, `"tdxModule":{"mrsigner":"000`, `"tdxModuleIdentities":[{"id":"TDX_01"`,
		`"tcbLevels":[{"tcb":{"isvsvn":4},"tcbDate":"2025-01-02T03:04:05Z","tcbStatus":"UpToDate"}]`, `"tdxtcbcomponents":[{"svn":7},{"svn":0}`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in %s", want, b)
		}
	}
	q := QEIdentity{TDX: true}
	if b, _ := q.JSON(); !bytes.HasPrefix(b, []byte(`{"id":"TD_QE"`)) {
		t.Errorf("%s", b)
	}
}

func TestHierarchy(t *testing.T) {
	h := testHierarchy(t)
	pck, err := h.PCK(testExtensions())
	if err != nil {
		t.Fatal(err)
	}
	roots, middle := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(h.Root.Cert)
	middle.AddCert(h.CA.Cert)
	for _, leaf := range []*Identity{pck, h.TCBSigner} {
		_, err := leaf.Cert.Verify(x509.VerifyOptions{Roots: roots, Intermediates: middle, CurrentTime: time.Date(2049, 1, 1, 0, 0, 0, 0, time.UTC),
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		if err != nil {
			t.Errorf("%s: %v", leaf.Cert.Subject, err)
		}
	}
	if got := pck.Cert.Subject.String(); got != "CN=Test SGX PCK Certificate,O=Test Corporation,L=Santa Clara,ST=CA,C=US" {
		t.Error(got)
	}
	if got := pck.Cert.CRLDistributionPoints; len(got) != 1 || got[0] != "https://crl.invalid/sgx/certification/v4/pckcrl?ca=platform&encoding=der" {
		t.Error(got)
	}
	if n := bytes.Count(h.PCKChain(pck), []byte("BEGIN CERTIFICATE")); n != 3 {
		t.Errorf("%d certificates in a chain", n)
	}
	if h.Root.Cert.MaxPathLen != 1 || h.CA.Cert.MaxPathLen != 0 || !h.CA.Cert.MaxPathLenZero || pck.Cert.IsCA || h.TCBSigner.Cert.IsCA {
		t.Error("basic constraints")
	}
}

// TestOpenSSL has another program look at a chain and a CRL.
func TestOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl to compare with")
	}
	h := testHierarchy(t)
	pck, err := h.PCK(testExtensions())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	lists := func(revoked ...Revoked) string {
		var all []byte
		for _, i := range []*Identity{h.Root, h.CA} {
			der, err := i.CRL(now.Add(-time.Hour), now.Add(time.Hour), revoked...)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})...)
		}
		return write("crl.pem", all)
	}
	verify := func(crl string) ([]byte, error) {
		return exec.Command(openssl, "verify", "-x509_strict", "-crl_check_all", "-CRLfile", crl,
			"-CAfile", write("root.pem", h.Root.PEM()), "-untrusted", write("ca.pem", h.CA.PEM()), write("pck.pem", pck.PEM())).CombinedOutput()
	}
	if out, err := verify(lists()); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	out, err := verify(lists(Revoked{pck.Cert.SerialNumber, now}))
	if err == nil || !strings.Contains(string(out), "certificate revoked") {
		t.Errorf("a revoked certificate: %v: %s", err, out)
	}
}

func TestCRL(t *testing.T) {
	h := testHierarchy(t)
	from, to := time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC), time.Date(2025, 7, 1, 0, 0, 0, 0, time.UTC)
	der, err := h.CA.CRL(from, to, Revoked{big.NewInt(42), from})
	if err != nil {
		t.Fatal(err)
	}
	l, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.CheckSignatureFrom(h.CA.Cert); err != nil {
		t.Error(err)
	}
	if l.CheckSignatureFrom(h.Root.Cert) == nil {
		t.Error("the root has not signed it")
	}
	if e := l.RevokedCertificateEntries; len(e) != 1 || e[0].SerialNumber.Int64() != 42 || e[0].ReasonCode != keyCompromise {
		t.Errorf("%+v", e)
	}
	if !l.ThisUpdate.Equal(from) || !l.NextUpdate.Equal(to) || !bytes.Equal(l.RawIssuer, h.CA.Cert.RawSubject) {
		t.Error("dates or issuer")
	}
}

func TestDocumentSignature(t *testing.T) {
	h := testHierarchy(t)
	body := []byte(`{"id":"SGX"}`)
	sig, err := h.TCBSigner.Sign(body)
	if err != nil {
		t.Fatal(err)
	}
	checkRaw(t, &h.TCBSigner.Key.PublicKey, body, sig[:])
	want := `{"tcbInfo":{"id":"SGX"},"signature":"` + hex.EncodeToString(sig[:]) + `"}`
	if got := string(Wrap(MemberTCBInfo, body, sig)); got != want || !json.Valid([]byte(got)) {
		t.Errorf("got %s, want %s", got, want)
	}
}

// checkRaw verifies by way of the ASN.1 form, which the package does not use.
func checkRaw(t *testing.T, key *ecdsa.PublicKey, message, sig []byte) {
	t.Helper()
	der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])})
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(message)
	if len(sig) != 64 || !ecdsa.VerifyASN1(key, digest[:], der) {
		t.Error("signature does not verify")
	}
}

func testSigner(t testing.TB) *Signer {
	t.Helper()
	h := testHierarchy(t)
	pck, err := h.PCK(testExtensions())
	if err != nil {
		t.Fatal(err)
	}
	s := &Signer{QESVN: 5, PCESVN: 11, PCK: pck.Key, AuthData: []byte{1, 2, 3}, CertType: CertChain, CertData: h.PCKChain(pck)}
	copy(s.VendorID[:], "vendor of the QE")
	copy(s.UserData[:], "user data of the QE!")
	if s.AttestationKey, err = NewKey(); err != nil {
		t.Fatal(err)
	}
	if s.QEReport.ReportData, err = Binding(&s.AttestationKey.PublicKey, s.AuthData); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestQuoteV3 takes a quote apart by the offsets of Intel's table.
func TestQuoteV3(t *testing.T) {
	s := testSigner(t)
	body := &sgx.ReportBody{ISVProdID: 7, ReportData: [64]byte{9}}
	q, err := s.QuoteV3(body)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := body.AppendBinary(nil)
	key, _ := s.AttestationKey.PublicKey.Bytes()
	qe, _ := s.QEReport.AppendBinary(nil)
	binding := sha256.Sum256(append(bytes.Clone(q[500:564]), q[1014:1017]...))
	switch {
	case !bytes.Equal(q[:12], []byte{3, 0, 2, 0, 0, 0, 0, 0, 5, 0, 11, 0}):
		t.Errorf("header %x", q[:12])
	case string(q[12:48]) != "vendor of the QEuser data of the QE!":
		t.Errorf("header %q", q[12:48])
	case !bytes.Equal(q[48:432], b):
		t.Error("report body")
	case int(le.Uint32(q[432:])) != len(q)-436:
		t.Errorf("length %d of %d", le.Uint32(q[432:]), len(q))
	case !bytes.Equal(q[500:564], key[1:]):
		t.Error("attestation key")
	case !bytes.Equal(q[564:948], qe) || !bytes.Equal(q[564+320:564+352], binding[:]) || !bytes.Equal(q[564+352:948], make([]byte, 32)):
		t.Error("QE report")
	case !bytes.Equal(q[1012:1019], []byte{3, 0, 1, 2, 3, 5, 0}):
		t.Errorf("authentication data %x", q[1012:1019])
	case int(le.Uint32(q[1019:])) != len(s.CertData) || !bytes.Equal(q[1023:], s.CertData):
		t.Error("certification data")
	}
	checkRaw(t, &s.AttestationKey.PublicKey, q[:432], q[436:500])
	checkRaw(t, &s.PCK.PublicKey, q[564:948], q[948:1012])
}

// TestQuoteV4 does the same for version 4, in which the signature part is nested.
func TestQuoteV4(t *testing.T) {
	s := testSigner(t)
	td := &TDBody{TEETCBSVN: [16]byte{6, 1}, ReportData: [64]byte{9}}
	td.RTMR[3][47] = 77
	tdx, err := s.QuoteV4TDX(td)
	if err != nil {
		t.Fatal(err)
	}
	enclave, err := s.QuoteV4SGX(&sgx.ReportBody{ISVProdID: 7})
	if err != nil {
		t.Fatal(err)
	}
	if tdx[48+519] != 77 || tdx[48+520] != 9 || tdx[48] != 6 {
		t.Error("TD body")
	}
	for _, c := range []struct {
		q    []byte
		tee  uint32
		size int
	}{{tdx, TEETDX, TDBodySize}, {enclave, TEESGX, sgx.ReportBodySize}} {
		q, end := c.q, 48+c.size
		if le.Uint16(q) != 4 || le.Uint16(q[2:]) != 2 || le.Uint32(q[4:]) != c.tee || le.Uint32(q[8:]) != 0 {
			t.Errorf("header %x", q[:12])
		}
		part := q[end+4:]
		outer := part[134:]
		if int(le.Uint32(q[end:])) != len(part) || le.Uint16(part[128:]) != CertQEReport || int(le.Uint32(part[130:])) != len(outer) {
			t.Fatal("lengths of the signature part")
		}
		checkRaw(t, &s.AttestationKey.PublicKey, q[:end], part[:64])
		checkRaw(t, &s.PCK.PublicKey, outer[:384], outer[384:448])
		if !bytes.Equal(outer[448:455], []byte{3, 0, 1, 2, 3, 5, 0}) || !bytes.Equal(outer[459:], s.CertData) {
			t.Error("certification data")
		}
	}
	if _, err := new(Signer).QuoteV3(new(sgx.ReportBody)); err == nil {
		t.Error("signed without a key")
	}
}
