package collateral

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/attest/attesttest"
)

// service is a PCCS for one platform, or one that misbehaves.
type service struct {
	*httptest.Server
	c *attest.Collateral
	// change, if set, may change an answer: its path, status, headers and body.
	change func(a *answer)

	mu    sync.Mutex
	paths []string
}

type answer struct {
	path   string
	n      int // how often this path was asked for, from 1
	status int
	header http.Header
	body   []byte
}

func serve(t testing.TB, c *attest.Collateral) *service {
	s := &service{c: c}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.RequestURI()
	s.mu.Lock()
	s.paths = append(s.paths, path)
	n := 0
	for _, p := range s.paths {
		if p == path {
			n++
		}
	}
	s.mu.Unlock()
	rec := httptest.NewRecorder()
	attesttest.Service(s.c).ServeHTTP(rec, r)
	a := &answer{path, n, rec.Code, rec.Header(), rec.Body.Bytes()}
	if s.change != nil {
		s.change(a)
	}
	for k, v := range a.header {
		w.Header()[k] = v
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

func (s *service) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.paths)
}

// client asks services at the time of the vectors, and waits for nothing.
func client(services ...*service) *Client {
	c := &Client{Now: func() time.Time { return attesttest.Now }, wait: func(context.Context, time.Duration) error { return nil }}
	for _, s := range services {
		c.Endpoints = append(c.Endpoints, Endpoint{URL: s.URL})
	}
	return c
}

func TestFor(t *testing.T) {
	tdx := attesttest.NewTDX(t)
	for name, p := range map[string]*attesttest.Platform{"sgx": attesttest.New(t), "tdx": tdx} {
		e := p.Mint()
		s := serve(t, e.Collateral)
		got, err := client(s).For(t.Context(), parse(t, e.Quote))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		v := &attest.Verifier{Roots: p.Roots(), Now: func() time.Time { return attesttest.Now }}
		if _, err := v.Verify(e.Quote, got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		want := []string{
			"/" + name + "/certification/v4/tcb?fmspc=B0C06F000000", "/" + name + "/certification/v4/qe/identity",
			"/sgx/certification/v4/pckcrl?ca=platform&encoding=der", "/sgx/certification/v4/rootcacrl",
		}
		if paths := s.asked(); !slices.Equal(paths, want) {
			t.Errorf("asked for %q, want %q", paths, want)
		}
		for what, pair := range map[string][2][]byte{
			"TCB info": {got.TCBInfo.Body, e.Collateral.TCBInfo.Body}, "QE identity": {got.QEIdentity.Body, e.Collateral.QEIdentity.Body},
			"TCB chain": {got.TCBInfoChain, e.Collateral.TCBInfoChain}, "PCK CRL": {got.PCKCRL, e.Collateral.PCKCRL},
			"CRL chain": {got.PCKCRLChain, e.Collateral.PCKCRLChain}, "root CRL": {got.RootCRL, e.Collateral.RootCRL},
		} {
			if !bytes.Equal(pair[0], pair[1]) {
				t.Errorf("%s: %s is another", name, what)
			}
		}
	}
}

// theRequest is that for the platform of attesttest.New.
var theRequest = Request{TEE: attest.SGX, FMSPC: [6]byte{0xb0, 0xc0, 0x6f}, CA: Platform}

func TestRootCRLElsewhere(t *testing.T) {
	s := serve(t, attesttest.New(t).Mint().Collateral)
	c := client()
	c.Endpoints = []Endpoint{{URL: s.URL + "/", RootCRL: s.URL + "/root.der"}}
	if _, err := c.Get(t.Context(), theRequest); err != nil {
		t.Fatal(err)
	}
	if paths := s.asked(); paths[len(paths)-1] != "/root.der" {
		t.Errorf("asked for %q", paths)
	}
}

// TestNextEndpoint has a first service with each kind of trouble, and a second one
// that is well.
func TestNextEndpoint(t *testing.T) {
	p := attesttest.New(t)
	good := p.Mint().Collateral
	on := func(part string, f func(a *answer)) func(*answer) {
		return func(a *answer) {
			if strings.Contains(a.path, part) {
				f(a)
			}
		}
	}
	status := func(n int) func(*answer) { return func(a *answer) { a.status = n } }
	minted := func(change func(p *attesttest.Platform)) *attest.Collateral {
		p := attesttest.New(t)
		change(p)
		return p.Mint().Collateral
	}
	now := attesttest.Now
	for name, c := range map[string]struct {
		collateral *attest.Collateral
		change     func(*answer)
		what       string
		times      int // how often the first path is asked for
	}{
		"unknown platform":     {change: on("tcb?", status(404)), what: "status 404 Not Found: the service does not know this platform", times: 1},
		"out of order":         {change: status(503), what: "status 503", times: 3},
		"too many":             {change: on("tcb?", status(429)), what: "status 429", times: 3},
		"forbidden":            {change: status(401), what: "status 401", times: 1},
		"no CRL":               {change: on("pckcrl", status(404)), what: "pckcrl", times: 1},
		"a page":               {change: on("tcb?", func(a *answer) { a.body = []byte("<html>log in</html>") }), what: "tcbInfo", times: 1},
		"nothing":              {change: on("qe/identity", func(a *answer) { a.body = nil }), what: "enclaveIdentity", times: 1},
		"endless":              {change: on("tcb?", func(a *answer) { a.body = make([]byte, maxBody+1) }), what: "more than 1048576 bytes", times: 1},
		"no chain":             {change: on("tcb?", func(a *answer) { a.header = nil }), what: "TCB-Info-Issuer-Chain comes 0 times", times: 1},
		"two chains":           {change: on("tcb?", func(a *answer) { a.header.Add("TCB-Info-Issuer-Chain", "x") }), what: "comes 2 times", times: 1},
		"a bad chain":          {change: on("identity", func(a *answer) { a.header.Set("SGX-Enclave-Identity-Issuer-Chain", "%zz") }), what: "SGX-Enclave-Identity-Issuer-Chain", times: 1},
		"an empty chain":       {change: on("pckcrl", func(a *answer) { a.header.Set("SGX-PCK-CRL-Issuer-Chain", "") }), what: "no certificate chain", times: 1},
		"a CRL that is none":   {change: on("rootcacrl", func(a *answer) { a.body = []byte("none") }), what: "the answer is no CRL", times: 1},
		"a CRL cut off":        {change: on("rootcacrl", func(a *answer) { a.body = a.body[:len(a.body)-10] }), what: "CRL of the root", times: 1},
		"a CRL of somebody":    {change: on("rootcacrl", func(a *answer) { a.body = []byte(hex.EncodeToString(good.PCKCRL)) }), what: "CRL of the root is not by the root", times: 1},
		"damaged TCB info":     {change: on("tcb?", func(a *answer) { a.body = bytes.Replace(a.body, []byte("UpToDate"), []byte("UptoDate"), 1) }), what: "TCB info", times: 1},
		"damaged signature":    {change: on("tcb?", func(a *answer) { a.body = bytes.Replace(a.body, []byte(`"signature":"`), []byte(`"signature":"00`), 1) }), what: "signature", times: 1},
		"other status":         {change: on("tcb?", func(a *answer) { a.body = bytes.Replace(a.body, []byte("OutOfDate"), []byte("UpToDate"), 1) }), what: "not signed by the certificate", times: 1},
		"another platform's":   {collateral: minted(func(p *attesttest.Platform) { p.TCB.FMSPC[0] = 1 }), what: "asked for was SGX of B0C06F000000", times: 1},
		"for TDs":              {collateral: attesttest.NewTDX(t).Mint().Collateral, what: "TCB info is for TDX", times: 1},
		"QE of TDs":            {collateral: minted(func(p *attesttest.Platform) { p.QE.TDX = true }), what: `QE identity is of "TD_QE"`, times: 1},
		"expired TCB info":     {collateral: minted(func(p *attesttest.Platform) { p.TCB.NextUpdate = now.Add(-time.Second) }), what: "TCB info is stale: a new one was due 2026-03-01T11:59:59Z", times: 1},
		"expired QE identity":  {collateral: minted(func(p *attesttest.Platform) { p.QE.NextUpdate = now.Add(-time.Second) }), what: "QE identity is stale", times: 1},
		"TCB info of long ago": {collateral: minted(func(p *attesttest.Platform) { p.TCB.IssueDate = now.Add(-8 * 24 * time.Hour) }), what: "TCB info is stale: issued 2026-02-21T12:00:00Z, more than 168h0m0s ago", times: 1},
		"from the future":      {collateral: minted(func(p *attesttest.Platform) { p.TCB.IssueDate = now.Add(time.Second) }), what: "TCB info is from the future", times: 1},
	} {
		t.Run(name, func(t *testing.T) {
			first, second := serve(t, good), serve(t, good)
			if c.collateral != nil {
				first.c = c.collateral
			}
			first.change = c.change
			cl := client(first, second)
			var from string
			var warnings []error
			cl.Used = func(_ Request, f string) { from = f }
			cl.Warn = func(err error) { warnings = append(warnings, err) }
			got, err := cl.Get(t.Context(), theRequest)
			if err != nil || !bytes.Equal(got.TCBInfo.Body, good.TCBInfo.Body) {
				t.Fatalf("the second is not used: %v", err)
			}
			if from != second.URL {
				t.Errorf("used is %q, want %q", from, second.URL)
			}
			if len(warnings) != 1 || !strings.Contains(warnings[0].Error(), c.what) || !strings.Contains(warnings[0].Error(), first.URL) {
				t.Errorf("warnings %q, want %q", warnings, c.what)
			}
			n := 0
			for _, p := range first.asked() {
				if p == first.asked()[0] {
					n++
				}
			}
			if n != c.times {
				t.Errorf("asked %d times, want %d", n, c.times)
			}
			// Alone it is an error.
			cl = client(first)
			_, err = cl.Get(t.Context(), theRequest)
			var f *FetchError
			if !errors.As(err, &f) || len(f.Reasons) != 1 || !strings.Contains(err.Error(), c.what) || !strings.Contains(err.Error(), "sgx-B0C06F000000-platform") {
				t.Errorf("alone: %v, want %q", err, c.what)
			}
			if strings.Contains(c.what, "stale") != errors.Is(err, ErrStale) {
				t.Errorf("ErrStale: %v", err)
			}
		})
	}
}

// TestOtherRoot: what leads to another root than the quote's, such as that of another
// machine's software platform, is not used and not kept.
func TestOtherRoot(t *testing.T) {
	mine, other := attesttest.New(t), attesttest.New(t)
	e := mine.Mint()
	r, err := RequestFor(parse(t, e.Quote))
	if err != nil {
		t.Fatal(err)
	}
	hybrid := *e.Collateral // signed by the other, with the right root behind the signer
	forged := other.Mint().Collateral
	hybrid.TCBInfo, hybrid.TCBInfoChain = forged.TCBInfo, append(other.Vendor.TCBSigner.PEM(), mine.Vendor.Root.PEM()...)
	cache := &Cache{t.TempDir()}
	for what, c := range map[string]*attest.Collateral{"another root": forged, "verification failure": &hybrid} {
		first, second := serve(t, c), serve(t, e.Collateral)
		alone := client(first)
		alone.Cache = cache
		if _, err := alone.Get(t.Context(), r); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
		if names, _ := os.ReadDir(cache.Dir); len(names) != 0 {
			t.Errorf("%s: kept as %v", what, names)
		}
		if got, err := client(first, second).Get(t.Context(), r); err != nil || !bytes.Equal(got.TCBInfo.Body, e.Collateral.TCBInfo.Body) {
			t.Errorf("%s: the second is not used: %v", what, err)
		}
	}
}

func TestNobodyAnswers(t *testing.T) {
	gone := serve(t, attesttest.New(t).Mint().Collateral)
	gone.Close()
	if _, err := client(gone).Get(t.Context(), theRequest); err == nil || !strings.Contains(err.Error(), gone.URL) {
		t.Errorf("%v", err)
	}
	if _, err := client().Get(t.Context(), theRequest); err == nil || !strings.Contains(err.Error(), "no service to ask") {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{"", "localhost:8081", "ftp://host", "https://", "https://host/?x=1", "https://host/#x", ":"} {
		c := client()
		c.Endpoints = []Endpoint{{URL: bad}}
		if _, err := c.Get(t.Context(), theRequest); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// TestRetry: what passes is asked for again, after a while.
func TestRetry(t *testing.T) {
	s := serve(t, attesttest.New(t).Mint().Collateral)
	s.change = func(a *answer) {
		if strings.Contains(a.path, "qe/identity") && a.n < 3 {
			a.status = http.StatusServiceUnavailable
			a.header.Set("Retry-After", fmt.Sprint(100*(a.n-1)))
		}
	}
	c := client(s)
	var waited []time.Duration
	c.wait = func(_ context.Context, d time.Duration) error {
		waited = append(waited, d)
		return nil
	}
	if _, err := c.Get(t.Context(), theRequest); err != nil {
		t.Fatal(err)
	}
	if want := []time.Duration{firstWait, maxWait}; !slices.Equal(waited, want) {
		t.Errorf("waited %v, want %v", waited, want)
	}
}

func TestCancel(t *testing.T) {
	s := serve(t, attesttest.New(t).Mint().Collateral)
	ctx, cancel := context.WithCancel(t.Context())
	s.change = func(a *answer) { a.status = 503; cancel() }
	c := client(s, s)
	c.wait = nil
	if _, err := c.Get(ctx, theRequest); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if n := len(s.asked()); n != 1 {
		t.Errorf("%d requests", n)
	}
	// Who waits for another's request gives up as well.
	c = client(s)
	c.entry(theRequest).busy <- struct{}{}
	if _, err := c.Get(ctx, theRequest); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting: %v", err)
	}
}

func TestNoDowngrade(t *testing.T) {
	plain := serve(t, attesttest.New(t).Mint().Collateral)
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer secure.Close()
	c := client()
	c.Endpoints = []Endpoint{{URL: secure.URL}}
	h := secure.Client()
	h.CheckRedirect = noDowngrade.CheckRedirect
	c.HTTP = h
	if _, err := c.Get(t.Context(), theRequest); err == nil || !strings.Contains(err.Error(), "redirected from https to http") {
		t.Errorf("%v", err)
	}
	if len(plain.asked()) != 0 {
		t.Error("followed")
	}
}

// TestOneRequest: many who want the same ask once.
func TestOneRequest(t *testing.T) {
	s := serve(t, attesttest.New(t).Mint().Collateral)
	c := client(s)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := c.Get(t.Context(), theRequest); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(s.asked()); n != 4 {
		t.Errorf("%d requests, want 4", n)
	}
}

func TestCRLForms(t *testing.T) {
	der := attesttest.New(t).Mint().Collateral.PCKCRL
	for name, b := range map[string][]byte{
		"DER": der, "hex": []byte(hex.EncodeToString(der)), "HEX and a newline": []byte(strings.ToUpper(hex.EncodeToString(der)) + "\n"),
		"PEM": pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}),
	} {
		if got, err := crlDER(b); err != nil || !bytes.Equal(got, der) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, b := range []string{"", " ", "abc", "-----BEGIN X509 CRL-----\n", "<html>", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if _, err := crlDER([]byte(b)); err == nil {
			t.Errorf("%q is a CRL", b)
		}
	}
}

func parse(t testing.TB, quote []byte) *attest.Quote {
	t.Helper()
	q, err := attest.ParseQuote(quote)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestRequestFor(t *testing.T) {
	for _, v := range attesttest.Vectors(t) {
		if v.Step == attest.StepQuote {
			continue
		}
		r, err := RequestFor(parse(t, v.Quote))
		if v.Name == "good/processor-ca" && r.CA != Processor {
			t.Errorf("%s: %v, %v", v.Name, r, err)
		}
		if v.Name == "good/chain-in-collateral" {
			if err == nil || !strings.Contains(err.Error(), "of type 3") {
				t.Errorf("%s: %v", v.Name, err)
			}
			continue
		}
		if v.Step == "" && (err != nil || r.FMSPC != theRequest.FMSPC) {
			t.Errorf("%s: %v, %v", v.Name, r, err)
		}
		if v.Step == attest.StepPCKExtensions && err == nil {
			t.Errorf("%s: %v", v.Name, r)
		}
	}
}

// TestRealQuotes: EOS_VECTORS says where real quotes are.
func TestRealQuotes(t *testing.T) {
	dir := os.Getenv("EOS_VECTORS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "..", "shared", "vectors")
	}
	real := make(map[string][]byte)
	for name, want := range map[string]string{
		"phala-sgx/sgx_quote": "sgx-00A067110000-processor-a0af031289f5d5d4", "phala-tdx/tdx_quote": "tdx-B0C06F000000-platform-a0af031289f5d5d4",
		"mobilecoin/hw_quote.dat": "sgx-00906ED50000-processor-a0af031289f5d5d4", "fortanix-chain-order/quote_pck_cert_chain.bin": "sgx-00906EA10000-processor-a0af031289f5d5d4",
	} {
		b, err := os.ReadFile(filepath.Join(dir, "quotes", name))
		if err != nil {
			t.Skipf("no real data to compare with (EOS_VECTORS): %v", err)
		}
		real[name] = b
		if r, err := RequestFor(parse(t, b)); err != nil || r.String() != want {
			t.Errorf("%s: %v, %v, want %s", name, r, err, want)
		}
	}
	got, err := ReadBundle(filepath.Join(dir, "quotes", "phala-sgx", "sgx_quote_collateral.json"))
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{}
	r, err := RequestFor(parse(t, real["phala-sgx/sgx_quote"]))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.stale(got, r, time.Date(2025, 6, 24, 0, 0, 0, 0, time.UTC)); err != nil {
		t.Error(err)
	}
	if err := c.stale(got, r, time.Date(2025, 7, 24, 0, 0, 0, 0, time.UTC)); !errors.Is(err, ErrStale) {
		t.Error(err)
	}
}

func FuzzCRL(f *testing.F) {
	der := attesttest.New(f).Mint().Collateral.PCKCRL
	f.Add(der)
	f.Add([]byte(hex.EncodeToString(der)))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
	f.Fuzz(func(t *testing.T, in []byte) {
		if out, err := crlDER(in); err == nil && len(out) > len(in) {
			t.Errorf("%d bytes of %d", len(out), len(in))
		}
	})
}

func FuzzRequestFor(f *testing.F) {
	for _, p := range []*attesttest.Platform{attesttest.New(f), attesttest.NewTDX(f)} {
		f.Add(parse(f, p.Mint().Quote).CertData)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if r, err := RequestFor(&attest.Quote{CertType: attest.CertPCKChain, CertData: in}); err == nil && len(r.String()) > len("sgx-000000000000-processor-0000000000000000") {
			t.Errorf("%q", r)
		}
	})
}
