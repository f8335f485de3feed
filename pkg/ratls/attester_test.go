package ratls_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/ratls/ratlstest"
)

// shake makes a connection to a in memory, as a client that checks nothing, and returns
// the client's end.
func shake(t testing.TB, a *ratls.Attester, c *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		conn, err := a.Handshake(ctx, theirs)
		done <- err
		if err == nil {
			conn.NetConn().Close()
		}
	}()
	c = c.Clone()
	c.InsecureSkipVerify = true
	client := tls.Client(ours, c)
	err := client.Handshake()
	if err != nil {
		ours.Close()
		return tls.ConnectionState{}, errors.Join(<-done, err)
	}
	return client.ConnectionState(), <-done
}

func leafFor(t testing.TB, a *ratls.Attester, name string) *x509.Certificate {
	t.Helper()
	s, err := shake(t, a, &tls.Config{ServerName: name})
	if err != nil {
		t.Fatalf("handshake for %q: %v", name, err)
	}
	return s.PeerCertificates[0]
}

func valueOf(c *x509.Certificate, oid string) []byte {
	for _, e := range c.Extensions {
		if e.Id.String() == oid {
			return e.Value
		}
	}
	return nil
}

func TestLeaf(t *testing.T) {
	w := newWorld(t)
	a := w.attester(t, nil)
	s, err := shake(t, a, &tls.Config{ServerName: "enclave.example"})
	if err != nil {
		t.Fatal(err)
	}
	if s.Version != tls.VersionTLS13 || s.DidResume {
		t.Errorf("version %x, resumed %v", s.Version, s.DidResume)
	}
	if len(s.PeerCertificates) != 2 || !bytes.Equal(s.PeerCertificates[1].Raw, w.ca.Certificate().Raw) {
		t.Fatalf("a chain of %d", len(s.PeerCertificates))
	}
	leaf := s.PeerCertificates[0]
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(w.root.Certificate())
	between.AddCert(s.PeerCertificates[1])
	for _, name := range []string{"localhost", "enclave.example", "127.0.0.1"} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: name}); err != nil {
			t.Errorf("as an ordinary client sees it, for %s: %v", name, err)
		}
	}
	if leaf.PublicKeyAlgorithm != x509.ECDSA || len(leaf.RawSubjectPublicKeyInfo) != 91 {
		t.Error("the key is not one of P-256")
	}
	if leaf.NotBefore.Second() != 0 || leaf.NotAfter.Sub(leaf.NotBefore) != 24*time.Hour {
		t.Errorf("valid from %v to %v", leaf.NotBefore, leaf.NotAfter)
	}
	if leaf.SerialNumber.BitLen() < 120 || leaf.Subject.CommonName != "platform" || leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Errorf("serial %v, subject %v, CA %v, usage %v", leaf.SerialNumber, leaf.Subject, leaf.IsCA, leaf.KeyUsage)
	}
	q, err := attest.ParseQuote(valueOf(leaf, "1.2.840.113741.1.13.1.0"))
	if err != nil {
		t.Fatal(err)
	}
	if q.ReportData() != ratls.DeterministicReportData(leaf.RawSubjectPublicKeyInfo, leaf.NotBefore) {
		t.Errorf("report data %x", q.ReportData())
	}
	if v := valueOf(leaf, "1.3.6.1.4.1.65230.1.1"); !bytes.Equal(v, bytes.Repeat([]byte{1}, 32)) {
		t.Errorf("config root %x: it is to be raw", v)
	}
	d, err := ratls.DICEOf(leaf)
	if err != nil {
		t.Fatal(err)
	}
	if trust := w.Trust(enclaveName); true {
		collateral, _ := trust.Collateral(t.Context(), nil)
		if _, err := trust.Verifier.Verify(d.Quote, collateral); err != nil {
			t.Errorf("the quote of the second form: %v", err)
		}
	}
	for _, e := range leaf.Extensions {
		if ratls.OIDName(e.Id) != "" && e.Critical {
			t.Errorf("%v is critical", e.Id)
		}
	}
	if _, err := ratls.VerifyCertificate(t.Context(), s.PeerCertificates, w.Trust(enclaveName)); err != nil {
		t.Errorf("at rest: %v", err)
	}
}

// Names choose a leaf; unknown ones get the platform's, and nothing is made for them.
func TestSNI(t *testing.T) {
	w := newWorld(t)
	a := w.attester(t, nil)
	made := w.quoter.n.Load()
	if made != 4 { // two subjects, two forms
		t.Errorf("%d quotes were made for two leaves", made)
	}
	platform, app := leafFor(t, a, "localhost"), leafFor(t, a, "app.example")
	if app.Subject.CommonName != "app" || valueOf(app, "1.3.6.1.4.1.65230.3.2") == nil || valueOf(platform, "1.3.6.1.4.1.65230.3.2") != nil {
		t.Errorf("the app's leaf is %v", app.Subject)
	}
	for _, name := range []string{"", "unknown.example", "APP.example", "app.example.evil.example", "session.app.example", "127.0.0.1"} {
		want := platform
		if name == "APP.example" {
			want = app
		}
		if got := leafFor(t, a, name); !got.Equal(want) {
			t.Errorf("%q got %v", name, got.Subject)
		}
	}
	for i := range 200 {
		leafFor(t, a, strings.Repeat("x", i%60+1)+".example")
	}
	if n := w.quoter.n.Load(); n != made {
		t.Errorf("%d quotes were made by handshakes", n-made)
	}
}

func TestEvidenceModes(t *testing.T) {
	w := newWorld(t)
	quoted := func(c *x509.Certificate) bool {
		return valueOf(c, "1.2.840.113741.1.13.1.0") != nil || valueOf(c, "2.23.133.5.4.9") != nil
	}
	for _, c := range []struct {
		mode   string
		quoted map[string]bool
	}{
		{"leaf", map[string]bool{"": true, "localhost": true, "app.example": true, "session.app.example": true}},
		{"session", map[string]bool{"": false, "localhost": false, "app.example": false}},
		{"both-by-sni", map[string]bool{
			"": true, "localhost": true, "app.example": true, "unknown.example": true,
			"session.localhost": false, "session.app.example": false, "session.unknown.example": false,
		}},
	} {
		mode, err := ratls.ParseEvidence(c.mode)
		if err != nil || mode.String() != c.mode {
			t.Fatal(mode, err)
		}
		a := w.attester(t, func(cfg *ratls.AttesterConfig) { cfg.Evidence = mode })
		addr := serve(t, a)
		for name, want := range c.quoted {
			leaf := leafFor(t, a, name)
			if quoted(leaf) != want {
				t.Errorf("%s: %q: quote %v, want %v", c.mode, name, !want, want)
			}
			if strings.HasSuffix(name, "app.example") {
				if (leaf.Subject.CommonName == "app") != (c.mode != "leaf" || name == "app.example") {
					t.Errorf("%s: %q got the leaf of %v", c.mode, name, leaf.Subject)
				}
				if err := leaf.VerifyHostname(name); err != nil && leaf.Subject.CommonName == "app" {
					t.Errorf("%s: %v", c.mode, err)
				}
			}
			// Whatever the leaf, our client gets its proof.
			conn, err := w.client(t, func(cfg *ratls.Config) { cfg.ServerName = name }).Dial(t.Context(), "tcp", addr)
			if err != nil {
				t.Errorf("%s: %q: %v", c.mode, name, err)
				continue
			}
			conn.Close()
			_, err = w.client(t, func(cfg *ratls.Config) { cfg.ServerName, cfg.Proof = name, ratls.ProofLeaf }).Dial(t.Context(), "tcp", addr)
			if (err == nil) != want {
				t.Errorf("%s: %q: proof by the leaf: %v", c.mode, name, err)
			}
		}
	}
	if _, err := ratls.ParseEvidence("none"); err == nil {
		t.Error("there is a mode without evidence")
	}
}

// Deterministic evidence for a leaf without a quote is made once.
func TestDeterministicOfPlainLeaf(t *testing.T) {
	w := newWorld(t)
	addr := serve(t, w.attester(t, func(c *ratls.AttesterConfig) { c.Evidence = ratls.EvidenceSession }))
	if w.quoter.n.Load() != 0 {
		t.Error("quotes for leaves without any")
	}
	for range 3 {
		conn := plain(t, addr, nil)
		leaf := conn.ConnectionState().PeerCertificates[0]
		status, m := post(t, conn, "POST", ratls.SessionPath, message{"v": 2, "mode": "deterministic", "leaf": keyName(leaf)}.bytes())
		if status != 200 {
			t.Fatalf("%d %v", status, m)
		}
		at, err := ratls.ParseQuoteTime(m["quote_time"].(string))
		if err != nil {
			t.Fatal(err)
		}
		if got := reportDataOf(t, m["quote"]); got != ratls.DeterministicReportData(leaf.RawSubjectPublicKeyInfo, at) {
			t.Errorf("report data %x", got)
		}
	}
	if n := w.quoter.n.Load(); n != 1 {
		t.Errorf("%d quotes", n)
	}
}

func TestALPN(t *testing.T) {
	w := newWorld(t)
	a := w.attester(t, nil)
	for _, c := range []struct {
		offer []string
		want  string
	}{
		{nil, ""},
		{[]string{"h2", "http/1.1"}, "h2"},
		{[]string{"http/1.1"}, "http/1.1"},
		{[]string{"h2"}, "h2"},
		{[]string{"privasys-ratls/1", "http/1.1"}, "http/1.1"},
		{[]string{"privasys-ratls/1", "h2", "http/1.1"}, "http/1.1"},
		{[]string{"h2", "http/1.1", "privasys-ratls/1"}, "http/1.1"},
		{[]string{"privasys-ratls/1", "h2"}, "h2"},
		{[]string{"privasys-ratls/1"}, ""},
		{[]string{"h3", "foo"}, ""},
		{[]string{"h3", "http/1.1"}, "http/1.1"},
	} {
		s, err := shake(t, a, &tls.Config{NextProtos: c.offer})
		if err != nil || s.NegotiatedProtocol != c.want {
			t.Errorf("%q: %q %v, want %q", c.offer, s.NegotiatedProtocol, err, c.want)
		}
	}
	if _, err := shake(t, a, &tls.Config{MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("TLS 1.2 was spoken")
	}
}

// The host's quoting service lies.
func TestLyingQuoter(t *testing.T) {
	w := newWorld(t)
	for name, quote := range map[string]func([64]byte) ([]byte, error){
		"other data": func([64]byte) ([]byte, error) { return w.Enclave(enclaveName).Quote(context.Background(), [64]byte{1}) },
		"noise":      func([64]byte) ([]byte, error) { return []byte("quote"), nil },
		"nothing":    func([64]byte) ([]byte, error) { return nil, nil },
		"an error":   func([64]byte) ([]byte, error) { return nil, errors.New("no") },
	} {
		a, err := ratls.NewAttester(ratls.AttesterConfig{CA: w.ca, Quoter: quoterFunc(quote)})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.SetSubjects(t.Context(), platformSubject()); err == nil {
			t.Errorf("%s: a leaf was made", name)
		}
		if _, err := shake(t, a, &tls.Config{}); err == nil {
			t.Errorf("%s: a connection was made", name)
		}
	}
}

type quoterFunc func([64]byte) ([]byte, error)

func (f quoterFunc) Quote(_ context.Context, data [64]byte) ([]byte, error) { return f(data) }

func TestAttesterRefusals(t *testing.T) {
	w := newWorld(t)
	trust := w.Trust("x")
	for name, cfg := range map[string]ratls.AttesterConfig{
		"no quoter":             {CA: w.ca},
		"no CA":                 {Quoter: w.quoter},
		"no such evidence":      {CA: w.ca, Quoter: w.quoter, Evidence: 3},
		"both uses":             {CA: w.ca, Quoter: w.quoter, Leaf: ratls.LeafUse{PerConnection: true, Lifetime: time.Hour}},
		"too short":             {CA: w.ca, Quoter: w.quoter, Leaf: ratls.LeafUse{Lifetime: time.Second}},
		"too long":              {CA: w.ca, Quoter: w.quoter, Leaf: ratls.LeafUse{Lifetime: 25 * time.Hour}},
		"negative":              {CA: w.ca, Quoter: w.quoter, Leaf: ratls.LeafUse{Lifetime: -time.Hour}},
		"negative rate":         {CA: w.ca, Quoter: w.quoter, QuotesPerSecond: -1},
		"nobody may come":       {CA: w.ca, Quoter: w.quoter, RequireClient: true},
		"trust without a root":  {CA: w.ca, Quoter: w.quoter, Clients: &ratls.Trust{Collateral: trust.Collateral}},
		"trust without sources": {CA: w.ca, Quoter: w.quoter, Clients: &ratls.Trust{Verifier: trust.Verifier}},
	} {
		if _, err := ratls.NewAttester(cfg); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	a, err := ratls.NewAttester(ratls.AttesterConfig{CA: w.ca, Quoter: w.quoter})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shake(t, a, &tls.Config{}); err == nil {
		t.Error("a connection to nobody")
	}
	if err := a.SetCA(nil); err == nil {
		t.Error("no CA was taken for one")
	}
	ext := func(id []int, n int) []ratls.Extension { return []ratls.Extension{{OID: id, Value: make([]byte, n)}} }
	good := ratls.Subject{Name: "n", Hosts: []string{"h"}}
	for name, s := range map[string]ratls.Subject{
		"no name":       {Hosts: []string{"h"}},
		"long name":     {Name: strings.Repeat("n", 65), Hosts: []string{"h"}},
		"no host":       {Name: "n"},
		"many hosts":    {Name: "n", Hosts: strings.Split(strings.Repeat("h,", 65)+"h", ",")},
		"empty host":    {Name: "n", Hosts: []string{""}},
		"host with dot": {Name: "n", Hosts: []string{"h."}},
		"wild host":     {Name: "n", Hosts: []string{"*.h"}},
		"host and port": {Name: "n", Hosts: []string{"h:1"}},
		"host twice":    {Name: "n", Hosts: []string{"h", "H"}},
		"foreign OID":   {Name: "n", Hosts: []string{"h"}, Extensions: ext([]int{2, 5, 29, 17}, 1)},
		"quote OID":     {Name: "n", Hosts: []string{"h"}, Extensions: ext(ratls.OIDQuote, 1)},
		"the arc":       {Name: "n", Hosts: []string{"h"}, Extensions: ext(ratls.Arc, 1)},
		"empty value":   {Name: "n", Hosts: []string{"h"}, Extensions: ext(ratls.OIDConfigRoot, 0)},
		"long value":    {Name: "n", Hosts: []string{"h"}, Extensions: ext(ratls.OIDConfigRoot, 4097)},
		"twice":         {Name: "n", Hosts: []string{"h"}, Extensions: append(ext(ratls.OIDConfigRoot, 1), ext(ratls.OIDConfigRoot, 1)...)},
	} {
		if err := a.SetSubjects(t.Context(), s); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	var taken *ratls.HostError
	if err := a.SetSubjects(t.Context(), good, ratls.Subject{Name: "app", Hosts: []string{"H"}}); !errors.As(err, &taken) || taken.Host != "h" || taken.Second != "app" {
		t.Errorf("two subjects with one host: %v", err)
	}
	if err := a.SetSubjects(t.Context(), good); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

func TestParseLeafUse(t *testing.T) {
	for s, want := range map[string]ratls.LeafUse{
		"per-connection": {PerConnection: true}, "1m": {Lifetime: time.Minute}, "24h": {Lifetime: 24 * time.Hour}, "90s": {Lifetime: 90 * time.Second},
	} {
		if got, err := ratls.ParseLeafUse(s); err != nil || got != want {
			t.Errorf("%s: %v %v", s, got, err)
		}
	}
	for _, s := range []string{"", "0", "0s", "59s", "24h1s", "-1h", "shared", "1", "per-connection "} {
		if got, err := ratls.ParseLeafUse(s); err == nil {
			t.Errorf("%q was taken as %v", s, got)
		}
	}
}

func TestClientRefusals(t *testing.T) {
	w := newWorld(t)
	good := w.Trust(enclaveName)
	for name, cfg := range map[string]ratls.Config{
		"nothing":          {},
		"no verifier":      {Trust: ratls.Trust{Collateral: good.Collateral, Policy: good.Policy}},
		"no collateral":    {Trust: ratls.Trust{Verifier: good.Verifier, Policy: good.Policy}},
		"no such proof":    {Trust: good, Proof: 7},
		"proof at rest":    {Trust: good, Proof: ratls.ProofCertificate},
		"negative timeout": {Trust: good, Timeout: -1},
	} {
		if _, err := ratls.NewClient(cfg); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	addr := serve(t, w.attester(t, nil))
	// A policy of nothing accepts nobody.
	_, err := w.client(t, func(c *ratls.Config) { c.Trust.Policy = attest.Policy{} }).Dial(t.Context(), "tcp", addr)
	wantStep(t, err, attest.StepPolicy)
	// Neither do roots of nothing.
	_, err = w.client(t, func(c *ratls.Config) { c.Trust.Verifier = &attest.Verifier{} }).Dial(t.Context(), "tcp", addr)
	wantStep(t, err, attest.StepPCKChain)
	_, err = w.client(t, func(c *ratls.Config) { c.Trust.Verifier = &attest.Verifier{Roots: attest.IntelRoots()} }).Dial(t.Context(), "tcp", addr)
	wantStep(t, err, attest.StepPCKChain)
	// No collateral, no connection.
	_, err = w.client(t, func(c *ratls.Config) {
		c.Trust.Collateral = func(context.Context, *attest.Quote) (*attest.Collateral, error) { return nil, errors.New("away") }
	}).Dial(t.Context(), "tcp", addr)
	wantStep(t, err, attest.StepCollateral)
	if refused := (*ratls.RefusedError)(nil); !errors.As(err, &refused) || refused.Result.Quote.Report.MREnclave != ratlstest.Measurement(enclaveName) || len(refused.Chain) != 2 {
		t.Errorf("the refusal has no facts: %v", err)
	}
	if _, err := w.client(t, nil).TLSConfig("localhost"); err == nil {
		t.Error("a tls.Config that cannot do the session step")
	}
	_, err = ratls.VerifyCertificate(t.Context(), nil, good)
	if err == nil {
		t.Error("no certificate was good")
	}
	transport := w.client(t, nil).Transport()
	for _, url := range []string{"http://" + addr, "ftp://" + addr} {
		if resp, err := transport.RoundTrip(get(t, url)); err == nil || !strings.Contains(err.Error(), "only https") {
			t.Errorf("%s: %v %v", url, resp, err)
		}
	}
}

// A CA, if the client has one in mind, is asked for in addition to the evidence.
func TestCAs(t *testing.T) {
	w := newWorld(t)
	addr := serve(t, w.attester(t, nil))
	pool := x509.NewCertPool()
	pool.AddCert(w.root.Certificate())
	withCA := func(p *x509.CertPool, name string) func(*ratls.Config) {
		return func(c *ratls.Config) { c.Trust.CAs, c.ServerName = p, name }
	}
	for _, name := range []string{"", "localhost", "app.example"} {
		conn, err := w.client(t, withCA(pool, name)).Dial(t.Context(), "tcp", addr)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		conn.Close()
	}
	_, err := w.client(t, withCA(pool, "unknown.example")).Dial(t.Context(), "tcp", addr)
	wantStep(t, err, ratls.StepChain)
	other, err := ratls.NewRoot("another", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	others := x509.NewCertPool()
	others.AddCert(other.Certificate())
	_, err = w.client(t, withCA(others, "")).Dial(t.Context(), "tcp", addr)
	wantStep(t, err, ratls.StepChain)
	// Evidence is not replaced by a CA.
	session := serve(t, w.attester(t, func(c *ratls.AttesterConfig) { c.Evidence = ratls.EvidenceSession }))
	_, err = w.client(t, func(c *ratls.Config) { c.Trust.CAs, c.Proof = pool, ratls.ProofLeaf }).Dial(t.Context(), "tcp", session)
	wantStep(t, err, ratls.StepEvidence)
	resp, err := w.client(t, withCA(pool, "")).Transport().RoundTrip(get(t, "https://"+addr))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("the transport: %v %v", resp, err)
	}
}
