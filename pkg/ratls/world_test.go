package ratls_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/ratls/ratlstest"
	"github.com/enclaveos/eos/pkg/runtime/ingress"
)

const enclaveName = "the enclave"

// world is a platform, an operator's CA and an enclave that serves.
type world struct {
	*ratlstest.Platform
	quoter *countingQuoter
	root   *ratls.CA
	ca     *ratls.CA
}

// countingQuoter counts quotes, and does what it is told to before it makes one.
type countingQuoter struct {
	ratls.Quoter
	n      atomic.Int64
	before atomic.Pointer[func(context.Context) error]
}

func (q *countingQuoter) Quote(ctx context.Context, data [64]byte) ([]byte, error) {
	if f := q.before.Load(); f != nil {
		if err := (*f)(ctx); err != nil {
			return nil, err
		}
	}
	q.n.Add(1)
	return q.Quoter.Quote(ctx, data)
}

func newWorld(t testing.TB) *world {
	t.Helper()
	p, err := ratlstest.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Platform: p, quoter: &countingQuoter{Quoter: p.Enclave(enclaveName)}}
	if w.root, err = ratls.NewRoot("test root", time.Now(), ratls.RootValidity); err != nil {
		t.Fatal(err)
	}
	if w.ca, err = w.root.NewIntermediary("test intermediary", time.Now(), ratls.IntermediaryValidity); err != nil {
		t.Fatal(err)
	}
	return w
}

func platformSubject() ratls.Subject {
	return ratls.Subject{Name: "platform", Hosts: []string{"localhost", "enclave.example", "127.0.0.1"}, Extensions: []ratls.Extension{
		{OID: ratls.OIDConfigRoot, Value: bytes.Repeat([]byte{1}, 32)},
		{OID: ratls.OIDRuntimeVersion, Value: bytes.Repeat([]byte{4}, 32)},
	}}
}

func appSubject() ratls.Subject {
	return ratls.Subject{Name: "app", Hosts: []string{"app.example"}, Extensions: []ratls.Extension{
		{OID: ratls.OIDConfigRoot, Value: bytes.Repeat([]byte{1}, 32)},
		{OID: ratls.OIDAppCode, Value: bytes.Repeat([]byte{2}, 32)},
	}}
}

// attester makes one for the world's enclave, with subjects.
func (w *world) attester(t testing.TB, set func(*ratls.AttesterConfig)) *ratls.Attester {
	t.Helper()
	cfg := ratls.AttesterConfig{Quoter: w.quoter, CA: w.ca}
	if set != nil {
		set(&cfg)
	}
	a, err := ratls.NewAttester(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.SetSubjects(t.Context(), platformSubject(), appSubject()); err != nil {
		t.Fatal(err)
	}
	return a
}

// serve serves a until the test ends.
func serve(t testing.TB, a *ratls.Attester) (addr string) {
	t.Helper()
	in, err := ingress.New(ingress.Options{Attester: a, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := "nobody"
		if p, ok := ratls.PeerOf(r.Context()); ok {
			name = p.Result().Quote.Report.MREnclave.String()
		}
		fmt.Fprintf(w, "%s to %s", r.Proto, name)
	})})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- in.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String()
}

func (w *world) client(t testing.TB, set func(*ratls.Config)) *ratls.Client {
	t.Helper()
	cfg := ratls.Config{Trust: w.Trust(enclaveName)}
	if set != nil {
		set(&cfg)
	}
	c, err := ratls.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wantStep checks at which step an error came, and that it is a RefusedError.
func wantStep(t testing.TB, err error, step attest.Step) {
	t.Helper()
	refused, at := (*ratls.RefusedError)(nil), (*attest.Error)(nil)
	if !errors.As(err, &refused) || !errors.As(err, &at) || at.Step != step {
		t.Errorf("got error %v, want a refusal at %s", err, step)
	}
}

// forged is a certificate as nobody but an enclave should be able to make it, with a
// quote of the enclave that the test has the key of: what a thief of a key has.
func (w *world) forged(t testing.TB, enclave string, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Minute)
	quote, err := w.Enclave(enclave).Quote(t.Context(), ratls.DeterministicReportData(spki, now))
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "forged"},
		NotBefore: now, NotAfter: now.Add(24 * time.Hour), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtraExtensions: []pkix.Extension{{Id: ratls.OIDQuote, Value: quote}, {Id: ratls.OIDConfigRoot, Value: bytes.Repeat([]byte{1}, 32)}},
	}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	if cert.Leaf, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return cert
}

// impostor is an HTTPS server with a certificate of the attacker's.
func impostor(t testing.TB, cert tls.Certificate, h http.Handler) (addr string) {
	t.Helper()
	return impostorConfig(t, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, h)
}

func impostorConfig(t testing.TB, c *tls.Config, h http.Handler) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, TLSConfig: c, ErrorLog: discard}
	go s.ServeTLS(l, "", "")
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

// message is what goes over the wire in the session step, written a second time.
type message map[string]any

var b64 = base64.RawURLEncoding

func keyName(c *x509.Certificate) string {
	h := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return b64.EncodeToString(h[:])
}

// post sends a message over a connection that speaks HTTP/1.1, as a client of another
// make would.
func post(t testing.TB, c net.Conn, method, path string, body []byte) (int, message) {
	t.Helper()
	resp := postRaw(t, c, method, path, body)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := message{}
	if len(b) > 0 {
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatalf("answer %d %q: %v", resp.StatusCode, b, err)
		}
	}
	return resp.StatusCode, m
}

func (m message) bytes() []byte {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}
