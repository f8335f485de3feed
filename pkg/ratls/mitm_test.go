package ratls_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/sgx"
)

// middle stands between a client and the real server, with a certificate that the client
// accepts. change, if not nil, changes what the client asks before it goes on to the server.
type middle struct {
	t      testing.TB
	server string
	own    tls.Certificate
	change func(m message, server *x509.Certificate)

	mu   sync.Mutex
	last []byte // the server's last answer
}

func (m *middle) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	conn, err := tls.Dial("tcp", m.server, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer conn.Close()
	if m.change != nil {
		q := message{}
		json.Unmarshal(body, &q)
		m.change(q, conn.ConnectionState().PeerCertificates[0])
		body = q.bytes()
	}
	resp := postRaw(m.t, conn, r.Method, r.URL.Path, body)
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	m.mu.Lock()
	m.last = answer
	m.mu.Unlock()
	w.Header().Set("Content-Length", fmt.Sprint(len(answer)))
	w.WriteHeader(resp.StatusCode)
	w.Write(answer)
}

// The attacker has a certificate with a quote of an enclave that the policy accepts, and
// its key. A client that is content with the leaf cannot tell; one that wants the session
// proven refuses him, whatever he passes on.
func TestRelay(t *testing.T) {
	w := newWorld(t)
	server := serve(t, w.attester(t, nil))
	own := w.forged(t, enclaveName, nil)
	toServersKey := func(q message, server *x509.Certificate) { q["leaf"] = keyName(server) }
	for _, c := range []struct {
		name   string
		change func(message, *x509.Certificate)
		step   attest.Step
	}{
		{"as it is", nil, ratls.StepSession},                       // 404: the server has another leaf
		{"for the server's leaf", toServersKey, ratls.StepBinding}, // a quote over another key and exporter
		{"deterministic", func(q message, s *x509.Certificate) { toServersKey(q, s); q["mode"] = "deterministic" }, ratls.StepSession},
		{"deterministic, called challenge", nil, ratls.StepBinding},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &middle{t: t, server: server, own: own, change: c.change}
			h := http.Handler(m)
			if c.name == "deterministic, called challenge" {
				m.change = func(q message, s *x509.Certificate) { toServersKey(q, s); q["mode"] = "deterministic" }
				h = rewrite(m, func(a message) { a["mode"] = "challenge" })
			}
			addr := impostor(t, own, h)
			_, err := w.client(t, nil).Dial(t.Context(), "tcp", addr)
			wantStep(t, err, c.step)

			conn, err := w.client(t, func(c *ratls.Config) { c.Proof = ratls.ProofLeaf }).Dial(t.Context(), "tcp", addr)
			if err != nil {
				t.Fatalf("the attacker's certificate is not as good as the test wants it: %v", err)
			}
			if conn.Peer().Proof() != ratls.ProofLeaf {
				t.Errorf("proof %v", conn.Peer().Proof())
			}
			conn.Close()
		})
	}
}

// rewrite changes the answers of h.
func rewrite(h http.Handler, change func(message)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorder{header: http.Header{}}
		h.ServeHTTP(rec, r)
		a := message{}
		if json.Unmarshal(rec.body.Bytes(), &a) == nil {
			change(a)
		}
		b := a.bytes()
		w.WriteHeader(rec.status)
		w.Write(b)
	})
}

type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }

// The attacker has stolen the very key of the server, and passes everything on without a
// change: only the secrets of the connection are different.
func TestRelayWithStolenKey(t *testing.T) {
	w := newWorld(t)
	own := w.forged(t, enclaveName, nil)
	// The real server has the same certificate; what it answers is right.
	real := impostorConfig(t, &tls.Config{Certificates: []tls.Certificate{own}}, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.answerChallenge(t, rw, r, r.TLS, own.Leaf, "EXPORTER-privasys-ratls-attest-v2", enclaveName)
	}))
	conn, err := w.client(t, nil).Dial(t.Context(), "tcp", real)
	if err != nil {
		t.Fatalf("straight to the server: %v", err)
	}
	conn.Close()
	_, err = w.client(t, nil).Dial(t.Context(), "tcp", impostor(t, own, &middle{t: t, server: real, own: own}))
	wantStep(t, err, ratls.StepBinding)
}

// answerChallenge is a server of another make, which has a quoter and a label.
func (w *world) answerChallenge(t testing.TB, rw http.ResponseWriter, r *http.Request, s *tls.ConnectionState, leaf *x509.Certificate, label, enclave string) {
	var q struct{ Context string }
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		t.Error(err)
	}
	context, err := b64.DecodeString(q.Context)
	if err != nil {
		t.Error(err)
	}
	hctx, err := s.ExportKeyingMaterial(label, context, 32)
	if err != nil {
		t.Error(err)
	}
	quote, err := w.Enclave(enclave).Quote(r.Context(), ratls.SessionReportData(leaf.RawSubjectPublicKeyInfo, [32]byte(context), [32]byte(hctx)))
	if err != nil {
		t.Error(err)
	}
	rw.Write(message{
		"v": 2, "mode": "challenge", "tee": "sgx", "quote": b64.EncodeToString(quote), "gpu_evidence": nil,
		"quote_time": ratls.QuoteTime(time.Now()), "client_evidence": "none", "client_context": nil,
	}.bytes())
}

// An old answer, and one to somebody else, are worth nothing.
func TestReplay(t *testing.T) {
	w := newWorld(t)
	server := serve(t, w.attester(t, nil))
	own := w.forged(t, enclaveName, nil)
	m := &middle{t: t, server: server, own: own, change: func(q message, s *x509.Certificate) { q["leaf"] = keyName(s) }}
	var mu sync.Mutex
	var first []byte
	addr := impostor(t, own, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if first == nil {
			rec := &recorder{header: http.Header{}}
			m.ServeHTTP(rec, r)
			first = rec.body.Bytes()
		}
		rw.Write(first)
	}))
	for range 3 {
		_, err := w.client(t, nil).Dial(t.Context(), "tcp", addr)
		wantStep(t, err, ratls.StepBinding)
	}

	// The same session, the same key, the answer to another challenge of this session.
	challenge := make([]byte, 32)
	h := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		r.Body = io.NopCloser(bytes.NewReader(message{"context": b64.EncodeToString(challenge)}.bytes()))
		w.answerChallenge(t, rw, r, r.TLS, own.Leaf, "EXPORTER-privasys-ratls-attest-v2", enclaveName)
	})
	_, err := w.client(t, nil).Dial(t.Context(), "tcp", impostor(t, own, h))
	wantStep(t, err, ratls.StepBinding)
}

// What goes in one direction is of no use in the other: not with the same key, not even
// in the same session.
func TestReflection(t *testing.T) {
	w := newWorld(t)
	own := w.forged(t, enclaveName, nil)
	for label, good := range map[string]bool{
		"EXPORTER-privasys-ratls-attest-v2":             true,
		"EXPORTER-privasys-ratls-attest-v2-client":      false,
		"EXPORTER-privasys-ratls-attest-v2-peer-client": false,
		"EXPORTER-privasys-ratls-attest-v2-peer-server": false,
	} {
		addr := impostor(t, own, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			w.answerChallenge(t, rw, r, r.TLS, own.Leaf, label, enclaveName)
		}))
		conn, err := w.client(t, nil).Dial(t.Context(), "tcp", addr)
		if good {
			if err != nil {
				t.Errorf("%s: %v", label, err)
				continue
			}
			conn.Close()
			continue
		}
		wantStep(t, err, ratls.StepBinding)
	}
}

// Another enclave, which is genuine too, cannot stand in: neither in the leaf nor in the
// session, nor one in each.
func TestOtherEnclave(t *testing.T) {
	w := newWorld(t)
	const other = "another enclave"
	server := func(inLeaf, inSession string, change func(*x509.Certificate)) string {
		own := w.forged(t, inLeaf, change)
		return impostor(t, own, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			w.answerChallenge(t, rw, r, r.TLS, own.Leaf, "EXPORTER-privasys-ratls-attest-v2", inSession)
		}))
	}
	noQuote := func(c *x509.Certificate) { c.ExtraExtensions = c.ExtraExtensions[1:] }
	_, err := w.client(t, nil).Dial(t.Context(), "tcp", server(other, other, nil))
	wantStep(t, err, attest.StepPolicyMREnclave)
	_, err = w.client(t, nil).Dial(t.Context(), "tcp", server(other, enclaveName, nil))
	wantStep(t, err, attest.StepPolicyMREnclave)
	_, err = w.client(t, nil).Dial(t.Context(), "tcp", server(enclaveName, other, nil))
	wantStep(t, err, attest.StepPolicyMREnclave)
	_, err = w.client(t, nil).Dial(t.Context(), "tcp", server(enclaveName, other, noQuote))
	wantStep(t, err, attest.StepPolicyMREnclave)

	// A policy that accepts both still wants one.
	both := func(c *ratls.Config) {
		p := *c.Trust.Policy.SGX
		p.MREnclave, p.MRSigner = attest.Any[sgx.Measurement](), attest.Any[sgx.Measurement]()
		c.Trust.Policy.SGX = &p
	}
	_, err = w.client(t, both).Dial(t.Context(), "tcp", server(enclaveName, other, nil))
	wantStep(t, err, ratls.StepBinding)
	conn, err := w.client(t, both).Dial(t.Context(), "tcp", server(other, other, nil))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	conn, err = w.client(t, nil).Dial(t.Context(), "tcp", server(enclaveName, enclaveName, noQuote))
	if err != nil {
		t.Fatalf("a server of version 2: %v", err)
	}
	conn.Close()
}

// The quote of one certificate in another, and other things that a leaf can be.
func TestBadLeaves(t *testing.T) {
	w := newWorld(t)
	genuine := w.forged(t, enclaveName, nil)
	quote := genuine.Leaf.Extensions[len(genuine.Leaf.Extensions)-2].Value
	for _, c := range []struct {
		name   string
		change func(*x509.Certificate)
		step   attest.Step
	}{
		{"the quote of another key", func(c *x509.Certificate) { c.ExtraExtensions[0].Value = quote }, ratls.StepBinding},
		{"another minute", func(c *x509.Certificate) { c.NotBefore = c.NotBefore.Add(-time.Minute) }, ratls.StepBinding},
		{"seconds in NotBefore", func(c *x509.Certificate) { c.NotBefore = c.NotBefore.Add(time.Second) }, ratls.StepBinding},
		{"no quote", func(c *x509.Certificate) { c.ExtraExtensions = c.ExtraExtensions[1:] }, ratls.StepEvidence},
		{"no extension at all", func(c *x509.Certificate) { c.ExtraExtensions = nil }, ratls.StepEvidence},
		{"half a quote", func(c *x509.Certificate) {
			c.ExtraExtensions[0].Value = c.ExtraExtensions[0].Value[:1000]
		}, attest.StepQuote},
		{"an empty quote", func(c *x509.Certificate) { c.ExtraExtensions[0].Value = nil }, attest.StepQuote},
		{"a mock quote", func(c *x509.Certificate) {
			c.ExtraExtensions[0].Value = append([]byte("MOCK_QUOTE:"), make([]byte, 64)...)
		}, attest.StepQuote},
		{"a changed quote", func(c *x509.Certificate) { // ISVSVN: not in the report data, and signed
			c.ExtraExtensions[0].Value = bytes.Clone(c.ExtraExtensions[0].Value)
			c.ExtraExtensions[0].Value[306]++
		}, attest.StepQuoteSignature},
		{"expired", func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = c.NotBefore.Add(-25*time.Hour), c.NotBefore.Add(-time.Hour)
		}, ratls.StepDates},
		{"not yet", func(c *x509.Certificate) { c.NotBefore = c.NotBefore.Add(time.Hour) }, ratls.StepDates},
		{"a very old quote in a long certificate", func(c *x509.Certificate) {
			c.NotBefore = c.NotBefore.Add(-26 * time.Hour)
		}, ratls.StepDates},
		{"a TDX quote", func(c *x509.Certificate) { c.ExtraExtensions[0].Id = ratls.OIDTDXQuote }, ratls.StepEvidence},
		{"DICE only", func(c *x509.Certificate) { c.ExtraExtensions[0].Id = ratls.OIDDICE }, ratls.StepEvidence},
	} {
		t.Run(c.name, func(t *testing.T) {
			own := w.forged(t, enclaveName, c.change)
			addr := impostor(t, own, http.NotFoundHandler())
			leafOnly := w.client(t, func(c *ratls.Config) { c.Proof = ratls.ProofLeaf })
			_, err := leafOnly.Dial(t.Context(), "tcp", addr)
			wantStep(t, err, c.step)
			if _, err := leafOnly.Transport().RoundTrip(get(t, "https://"+addr)); err == nil {
				t.Error("the transport takes it")
			}
			config, err := leafOnly.TLSConfig("localhost")
			if err != nil {
				t.Fatal(err)
			}
			if conn, err := tls.Dial("tcp", addr, config); err == nil {
				conn.Close()
				t.Error("the tls.Config takes it")
			}
			_, err = ratls.VerifyCertificate(t.Context(), []*x509.Certificate{own.Leaf}, w.Trust(enclaveName))
			wantStep(t, err, c.step)
			if _, err := w.client(t, nil).Dial(t.Context(), "tcp", addr); err == nil {
				t.Error("a client that wants the session proven takes it")
			}
		})
	}
}

func get(t testing.TB, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Two quotes in one certificate: which one counts would be a matter of taste.
func TestTwoQuotes(t *testing.T) {
	w := newWorld(t)
	own := w.forged(t, enclaveName, nil)
	leaf := *own.Leaf
	leaf.Extensions = append([]pkix.Extension{}, leaf.Extensions...)
	leaf.Extensions = append(leaf.Extensions, pkix.Extension{Id: ratls.OIDQuote, Value: []byte("second")})
	_, err := ratls.VerifyCertificate(t.Context(), []*x509.Certificate{&leaf}, w.Trust(enclaveName))
	wantStep(t, err, ratls.StepEvidence)
}
