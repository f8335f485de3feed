package ratls

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/sgx"
)

// A message comes back as it went.
func TestMessageRoundTrip(t *testing.T) {
	text := "text"
	for _, m := range []request{
		{V: 2, Mode: modeChallenge, Leaf: "a", Context: "b"},
		{V: 2, Mode: modeDeterministic, Leaf: "a"},
		{V: 2, Mode: modePresent, Context: "b", TEE: teeSGX, Quote: "q", GPUEvidence: &text, QuoteTime: "t"},
	} {
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var got request
		if err := parseMessage(b, &got); err != nil {
			t.Fatal(err)
		}
		again, _ := json.Marshal(got)
		if string(again) != string(b) {
			t.Errorf("%s became %s", b, again)
		}
		for i := range b {
			if parseMessage(b[:i], &got) == nil {
				t.Errorf("%s is taken", b[:i])
			}
		}
	}
	// The answer has all fields of the format, those without a value as null.
	b, _ := json.Marshal(response{})
	if want := `{"v":0,"mode":"","tee":"","quote":"","gpu_evidence":null,"quote_time":"","client_evidence":"","client_context":null}`; string(b) != want {
		t.Errorf("%s", b)
	}
}

// Nothing that a server answers makes a client fall over or take what is not there.
func FuzzAnswer(f *testing.F) {
	f.Add(`{"v":2,"mode":"challenge","tee":"sgx","quote":"AAAA","gpu_evidence":null,"quote_time":"2026-09-04T10:15Z","client_evidence":"none","client_context":null}`)
	f.Add(`{"v":2,"mode":"challenge","tee":"sgx","quote":"AAAA","quote_time":"2026-09-04T10:15Z","client_evidence":"required","client_context":"AAAA"}`)
	f.Add(`{"v":2,"error":"no"}`)
	now := time.Date(2026, 9, 4, 10, 15, 30, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		var r response
		if readMessage(strings.NewReader(s), &r) != nil {
			return
		}
		quote, err := r.check(now)
		if err != nil {
			return
		}
		if r.V != 2 || r.Mode != modeChallenge || r.TEE != teeSGX || r.GPUEvidence != nil || encoding.EncodeToString(quote) != r.Quote ||
			(r.ClientContext != nil) != (r.ClientEvidence == clientEvidenceRequired) {
			t.Errorf("%s is taken", s)
		}
	})
}

// Nothing that a client asks makes a server fall over.
func FuzzRequest(f *testing.F) {
	f.Add(`{"v":2,"mode":"challenge","leaf":"AAAA","context":"AAAA"}`)
	f.Add(`{"v":2,"mode":"present","context":"AAAA","tee":"sgx","quote":"AAAA","gpu_evidence":null,"quote_time":"2026-09-04T10:15Z"}`)
	f.Fuzz(func(t *testing.T, s string) {
		var q request
		if readMessage(strings.NewReader(s), &q) != nil {
			return
		}
		if v, ok := decode32(q.Context); ok && encoding.EncodeToString(v[:]) != q.Context {
			t.Errorf("%q is two texts for one value", q.Context)
		}
	})
}

// No certificate makes the verifier fall over, and none is good without a quote.
func FuzzVerifyCertificate(f *testing.F) {
	ca, err := NewRoot("root", time.Now().Add(-2*time.Hour), RootValidity)
	if err != nil {
		f.Fatal(err)
	}
	l := func(oid asn1.ObjectIdentifier, value []byte) []byte {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			f.Fatal(err)
		}
		tmpl := &x509.Certificate{
			SerialNumber: newSerial(), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1e5 * time.Hour),
			ExtraExtensions: []pkix.Extension{{Id: oid, Value: value}},
		}
		chain, err := ca.sign(tmpl, key.Public())
		if err != nil {
			f.Fatal(err)
		}
		return chain[0]
	}
	f.Add(l(OIDQuote, make([]byte, 1200)))
	f.Add(l(OIDConfigRoot, make([]byte, 32)))
	dice, _ := newDICE(basePoint(f), make([]byte, 500)).AppendBinary(nil)
	f.Add(l(OIDDICE, dice))
	trust := Trust{Verifier: &attest.Verifier{}, Collateral: noCollateral}
	f.Fuzz(func(t *testing.T, der []byte) {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		if _, err := VerifyCertificate(t.Context(), []*x509.Certificate{cert, cert}, trust); err == nil {
			t.Error("a certificate is good, with a verifier that trusts nobody")
		}
		_, _ = DICEOf(cert)
	})
}

func FuzzParseQuoteTime(f *testing.F) {
	f.Add("2026-09-04T10:15Z")
	f.Fuzz(func(t *testing.T, s string) {
		if at, err := ParseQuoteTime(s); err == nil && QuoteTime(at) != s {
			t.Errorf("%q is %v", s, at)
		}
	})
}

func TestCheckState(t *testing.T) {
	good := tls.ConnectionState{Version: tls.VersionTLS13, PeerCertificates: []*x509.Certificate{{}}}
	if err := checkState(&good); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*tls.ConnectionState){
		"TLS 1.2":        func(s *tls.ConnectionState) { s.Version = tls.VersionTLS12 },
		"resumed":        func(s *tls.ConnectionState) { s.DidResume = true },
		"no certificate": func(s *tls.ConnectionState) { s.PeerCertificates = nil },
	} {
		s := good
		change(&s)
		if checkState(&s) == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

// Evidence of different kinds is never the same enclave's, and can be told.
func TestSameEnclave(t *testing.T) {
	sgxResult := func(mr byte) *attest.Result {
		return &attest.Result{Quote: &attest.Quote{Report: &sgx.ReportBody{MREnclave: sgx.Measurement{mr}}}}
	}
	tdx := func(mr byte) *attest.Result {
		return &attest.Result{Quote: &attest.Quote{TEE: attest.TDX, TD: &attest.TDReport{MRTD: [48]byte{mr}}}}
	}
	all := []*attest.Result{sgxResult(1), sgxResult(2), tdx(1), tdx(2)}
	seen := make(map[string]bool)
	for i, a := range all {
		seen[measurement(a)] = true
		for j, b := range all {
			if sameEnclave(a, b) != (i == j) {
				t.Errorf("%s and %s: %v", measurement(a), measurement(b), sameEnclave(a, b))
			}
		}
	}
	if len(seen) != len(all) {
		t.Errorf("texts %v", seen)
	}
}

func TestBucket(t *testing.T) {
	b := newBucket(2, 3)
	now := time.Unix(1000, 0)
	take := func(n int) (got int) {
		for range n {
			if b.take(now) == 0 {
				got++
			}
		}
		return got
	}
	if got := take(10); got != 3 {
		t.Errorf("at first %d", got)
	}
	if w := b.take(now); w != 500*time.Millisecond {
		t.Errorf("the next in %v", w)
	}
	now = now.Add(time.Second)
	if got := take(10); got != 2 {
		t.Errorf("a second later %d", got)
	}
	now = now.Add(time.Hour)
	if got := take(10); got != 3 {
		t.Errorf("an hour later %d", got)
	}
	now = now.Add(-time.Hour)
	if got := take(10); got != 0 {
		t.Errorf("after a step back %d", got)
	}
}
