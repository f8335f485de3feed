package ratls_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/ratls/ratlstest"
)

var discard = log.New(io.Discard, "", 0)

func postRaw(t testing.TB, c net.Conn, method, path string, body []byte) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, "https://localhost"+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if err := req.Write(c); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// plain connects without any check, as the attacker does, or a client of another make.
func plain(t testing.TB, addr string, c *tls.Config) *tls.Conn {
	t.Helper()
	if c == nil {
		c = &tls.Config{}
	}
	c.InsecureSkipVerify = true
	conn, err := tls.Dial("tcp", addr, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestDial(t *testing.T) {
	w := newWorld(t)
	addr := serve(t, w.attester(t, nil))
	conn, err := w.client(t, nil).Dial(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := conn.Peer()
	if p.Proof() != ratls.ProofSession || p.Result().Quote.Report.MREnclave != ratlstest.Measurement(enclaveName) {
		t.Errorf("proof %v of %v", p.Proof(), p.Result().Quote.Report.MREnclave)
	}
	if v, ok := p.Claim(ratls.OIDConfigRoot); !ok || !bytes.Equal(v, bytes.Repeat([]byte{1}, 32)) {
		t.Errorf("claim %x %v", v, ok)
	}
	if _, ok := p.Claim(ratls.OIDAppCode); ok {
		t.Error("a claim of an app's in the platform's leaf")
	}
	if len(p.Claims()) != 2 || len(p.Chain()) != 2 || p.Certificate() != p.Chain()[0] {
		t.Errorf("%d claims, %d certificates", len(p.Claims()), len(p.Chain()))
	}
	// The connection works on.
	for range 2 {
		resp := postRaw(t, conn, http.MethodGet, "/x", nil)
		b, _ := io.ReadAll(resp.Body)
		if string(b) != "HTTP/1.1 to nobody" {
			t.Errorf("answer %q", b)
		}
	}
}

// The wire format, as a client of another make sees it, on both paths.
func TestSessionWire(t *testing.T) {
	w := newWorld(t)
	a := w.attester(t, nil)
	addr := serve(t, a)
	for _, path := range []string{"/__privasys/attest", "/.well-known/eos/attest"} {
		conn := plain(t, addr, nil)
		state := conn.ConnectionState()
		leaf := state.PeerCertificates[0]
		challenge := make([]byte, 32)
		rand.Read(challenge)
		status, m := post(t, conn, http.MethodPost, path, message{"v": 2, "mode": "challenge", "leaf": keyName(leaf), "context": b64.EncodeToString(challenge)}.bytes())
		if status != http.StatusOK {
			t.Fatalf("%s: %d %v", path, status, m)
		}
		if len(m) != 8 || m["v"] != 2.0 || m["mode"] != "challenge" || m["tee"] != "sgx" || m["gpu_evidence"] != nil || m["client_evidence"] != "none" || m["client_context"] != nil {
			t.Errorf("%s: %v", path, m)
		}
		if at, err := ratls.ParseQuoteTime(m["quote_time"].(string)); err != nil || time.Since(at) > 2*time.Minute {
			t.Errorf("%s: quote_time %v %v", path, m["quote_time"], err)
		}
		hctx, err := state.ExportKeyingMaterial("EXPORTER-privasys-ratls-attest-v2", challenge, 32)
		if err != nil {
			t.Fatal(err)
		}
		want := ratls.SessionReportData(leaf.RawSubjectPublicKeyInfo, [32]byte(challenge), [32]byte(hctx))
		if got := reportDataOf(t, m["quote"]); got != want {
			t.Errorf("%s: report data %x, want %x", path, got, want)
		}

		before := w.quoter.n.Load()
		status, m = post(t, conn, http.MethodPost, path, message{"v": 2, "mode": "deterministic", "leaf": keyName(leaf)}.bytes())
		if status != http.StatusOK || m["mode"] != "deterministic" || m["quote_time"] != leaf.NotBefore.Format("2006-01-02T15:04Z") {
			t.Errorf("%s: %d %v", path, status, m)
		}
		if got, want := reportDataOf(t, m["quote"]), ratls.DeterministicReportData(leaf.RawSubjectPublicKeyInfo, leaf.NotBefore); got != want {
			t.Errorf("%s: report data %x, want %x", path, got, want)
		}
		if w.quoter.n.Load() != before {
			t.Error("a quote was made for what the leaf has")
		}
	}
}

func reportDataOf(t testing.TB, quote any) [64]byte {
	t.Helper()
	b, err := b64.DecodeString(quote.(string))
	if err != nil {
		t.Fatal(err)
	}
	q, err := attest.ParseQuote(b)
	if err != nil {
		t.Fatal(err)
	}
	return q.ReportData()
}

func TestSessionRefusals(t *testing.T) {
	w := newWorld(t)
	addr := serve(t, w.attester(t, nil))
	conn := plain(t, addr, nil)
	leaf := keyName(conn.ConnectionState().PeerCertificates[0])
	ctx := b64.EncodeToString(make([]byte, 32))
	good := func() message { return message{"v": 2, "mode": "challenge", "leaf": leaf, "context": ctx} }
	with := func(k string, v any) []byte { m := good(); m[k] = v; return m.bytes() }
	for _, c := range []struct {
		name, method string
		body         []byte
		status       int
		says         string
	}{
		{"GET", "GET", nil, 405, "POST"},
		{"PUT", "PUT", good().bytes(), 405, "POST"},
		{"empty", "POST", nil, 400, "JSON"},
		{"not JSON", "POST", []byte("x"), 400, "JSON"},
		{"array", "POST", []byte("[]"), 400, "JSON"},
		{"two objects", "POST", append(good().bytes(), good().bytes()...), 400, "after top-level value"},
		{"a member twice", "POST", []byte(strings.Replace(string(good().bytes()), `"v":2`, `"v":1,"v":2`, 1)), 400, `"v" comes twice`},
		{"a member in another case", "POST", []byte(strings.Replace(string(good().bytes()), `"v":2`, `"V":2`, 1)), 400, `unknown member "V"`},
		{"a member twice below one of a later version", "POST", with("later", json.RawMessage(`{"a":1,"a":2}`)), 400, `"a" comes twice`},
		{"huge", "POST", with("context", strings.Repeat("A", 65<<10)), 400, "65536"},
		{"version 1", "POST", with("v", 1), 400, "version 1"},
		{"no version", "POST", with("v", nil), 400, "version"},
		{"version as text", "POST", with("v", "2"), 400, "JSON"},
		{"mode", "POST", with("mode", "raw"), 400, "raw"},
		{"no leaf", "POST", with("leaf", ""), 400, "leaf"},
		{"short leaf", "POST", with("leaf", leaf[:40]), 400, "leaf"},
		{"padded leaf", "POST", with("leaf", leaf+"="), 400, "leaf"},
		{"other leaf", "POST", with("leaf", ctx), 404, "another leaf"},
		{"no context", "POST", with("context", ""), 400, "context"},
		{"short context", "POST", with("context", ctx[:41]), 400, "context"},
		{"context in other letters", "POST", with("context", "+"+ctx[1:]), 400, "context"},
		{"loose bits", "POST", with("context", ctx[:42]+"B"), 400, "context"},
		{"present, not asked for", "POST", with("mode", "present"), 501, "not ask"},
	} {
		for _, path := range []string{ratls.SessionPath, ratls.NeutralSessionPath} {
			status, m := post(t, conn, c.method, path, c.body)
			if text, _ := m["error"].(string); status != c.status || m["v"] != 2.0 || !strings.Contains(text, c.says) {
				t.Errorf("%s: %d %v, want %d and %q", c.name, status, m, c.status, c.says)
			}
			if status == 400 && c.name == "huge" { // net/http may close behind it
				conn = plain(t, addr, nil)
			}
		}
	}
	if n := w.quoter.n.Load(); n != 4 {
		t.Errorf("%d quotes were made; the leaves need 4", n)
	}
}

// A client that asks and asks gets no more quotes than its share, and neither do many.
func TestSessionRate(t *testing.T) {
	w := newWorld(t)
	ask := func(conn *tls.Conn) int {
		status, _ := post(t, conn, "POST", ratls.SessionPath, message{"v": 2, "mode": "challenge",
			"leaf": keyName(conn.ConnectionState().PeerCertificates[0]), "context": b64.EncodeToString(make([]byte, 32))}.bytes())
		return status
	}
	t.Run("one connection", func(t *testing.T) {
		addr := serve(t, w.attester(t, func(c *ratls.AttesterConfig) { c.QuotesPerSecond, c.Burst = 1000, 1000 }))
		conn, busy := plain(t, addr, nil), 0
		begin := time.Now()
		for range 30 {
			if ask(conn) == http.StatusServiceUnavailable {
				busy++
			}
		}
		if least := 30 - 8 - int(time.Since(begin).Seconds()) - 1; busy < least {
			t.Errorf("%d of 30 were refused, at least %d should be", busy, least)
		}
		if ask(plain(t, addr, nil)) != http.StatusOK {
			t.Error("another connection has no share of its own")
		}
	})
	t.Run("many connections", func(t *testing.T) {
		addr := serve(t, w.attester(t, func(c *ratls.AttesterConfig) { c.QuotesPerSecond, c.Burst = 1, 20 }))
		made, begin, busy := w.quoter.n.Load(), time.Now(), 0
		for range 40 {
			if ask(plain(t, addr, nil)) == http.StatusServiceUnavailable {
				busy++
			}
		}
		if limit := 20 + int64(time.Since(begin).Seconds()) + 1; w.quoter.n.Load()-made > limit {
			t.Errorf("%d quotes, at most %d should be", w.quoter.n.Load()-made, limit)
		}
		if busy == 0 {
			t.Error("none was refused")
		}
	})
}

// No session is resumed: a connection without a handshake of its own has shown no leaf.
func TestNoResumption(t *testing.T) {
	w := newWorld(t)
	addr := serve(t, w.attester(t, nil))
	cache := &countingCache{ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	for range 3 {
		conn := plain(t, addr, &tls.Config{ServerName: "localhost", ClientSessionCache: cache})
		postRaw(t, conn, "GET", "/", nil).Body.Close()
		if conn.ConnectionState().DidResume {
			t.Error("a session was resumed")
		}
	}
	if cache.n.Load() != 0 {
		t.Errorf("%d tickets were given", cache.n.Load())
	}
}

// countingCache counts tickets.
type countingCache struct {
	tls.ClientSessionCache
	n atomic.Int64
}

func (c *countingCache) Put(key string, s *tls.ClientSessionState) {
	c.n.Add(1)
	c.ClientSessionCache.Put(key, s)
}

func TestQuoterDown(t *testing.T) {
	w := newWorld(t)
	addr := serve(t, w.attester(t, nil))
	down := func(context.Context) error { return errors.New("the host says no") }
	w.quoter.before.Store(&down)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := w.client(t, nil).Dial(ctx, "tcp", addr)
	wantStep(t, err, ratls.StepSession)
	if err == nil || !strings.Contains(err.Error(), "503") || strings.Contains(err.Error(), "host says") {
		t.Errorf("error %v", err)
	}
}

// A quoting service that is away for a moment does not lose the client.
func TestQuoterHiccup(t *testing.T) {
	w := newWorld(t)
	addr := serve(t, w.attester(t, nil))
	var n atomic.Int64
	hiccup := func(context.Context) error {
		if n.Add(1) < 3 {
			return errors.New("for a moment")
		}
		return nil
	}
	w.quoter.before.Store(&hiccup)
	conn, err := w.client(t, nil).Dial(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if n.Load() != 3 {
		t.Errorf("asked %d times", n.Load())
	}
}

// A leaf whose claims are no longer true gets no new evidence.
func TestSessionAfterChange(t *testing.T) {
	w := newWorld(t)
	a := w.attester(t, nil)
	addr := serve(t, a)
	conn := plain(t, addr, nil)
	changed := platformSubject()
	changed.Extensions[0].Value = bytes.Repeat([]byte{9}, 32)
	if err := a.SetSubjects(t.Context(), changed, appSubject()); err != nil {
		t.Fatal(err)
	}
	status, m := post(t, conn, "POST", ratls.SessionPath, message{"v": 2, "mode": "challenge",
		"leaf": keyName(conn.ConnectionState().PeerCertificates[0]), "context": b64.EncodeToString(make([]byte, 32))}.bytes())
	if status != 404 || !strings.Contains(fmt.Sprint(m["error"]), "configuration") {
		t.Errorf("%d %v", status, m)
	}
	c, err := w.client(t, nil).Dial(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if v, _ := c.Peer().Claim(ratls.OIDConfigRoot); !bytes.Equal(v, bytes.Repeat([]byte{9}, 32)) {
		t.Errorf("the new connection claims %x", v)
	}
}

// The session step in HTTP/2, among other requests of the same connection.
func TestSessionHTTP2(t *testing.T) {
	w := newWorld(t)
	addr := serve(t, w.attester(t, nil))
	h2 := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer h2.CloseIdleConnections()
	resp, err := h2.RoundTrip(get(t, "https://"+addr+"/"))
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	state := resp.TLS
	leaf := state.PeerCertificates[0]
	challenge := bytes.Repeat([]byte{5}, 32)
	req := get(t, "https://"+addr+ratls.NeutralSessionPath)
	req.Method = http.MethodPost
	req.Body = io.NopCloser(bytes.NewReader(message{"v": 2, "mode": "challenge", "leaf": keyName(leaf), "context": b64.EncodeToString(challenge)}.bytes()))
	resp, err = h2.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	m := message{}
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil || resp.StatusCode != 200 || resp.ProtoMajor != 2 {
		t.Fatalf("%v %v %v", resp.Status, m, err)
	}
	hctx, err := state.ExportKeyingMaterial("EXPORTER-privasys-ratls-attest-v2", challenge, 32)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := reportDataOf(t, m["quote"]), ratls.SessionReportData(leaf.RawSubjectPublicKeyInfo, [32]byte(challenge), [32]byte(hctx)); got != want {
		t.Errorf("report data %x, want %x", got, want)
	}
}

// Diversion: the attacker leads the client to another enclave of the same measurement,
// which he has configured. The policy says which configuration is meant.
func TestDiversion(t *testing.T) {
	w := newWorld(t)
	want := func(v []byte) func(*ratls.Config) {
		return func(c *ratls.Config) {
			c.Trust.Policy.Extensions = []attest.ExtensionRule{{OID: ratls.OIDConfigRoot, Value: attest.OneOf(string(v))}}
		}
	}
	mine := bytes.Repeat([]byte{1}, 32)
	for _, mode := range []ratls.Evidence{ratls.EvidenceLeaf, ratls.EvidenceSession} {
		a := w.attester(t, func(c *ratls.AttesterConfig) { c.Evidence = mode })
		addr := serve(t, a)
		conn, err := w.client(t, want(mine)).Dial(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		other := platformSubject()
		other.Extensions[0].Value = bytes.Repeat([]byte{2}, 32)
		if err := a.SetSubjects(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		_, err = w.client(t, want(mine)).Dial(t.Context(), "tcp", addr)
		wantStep(t, err, attest.StepPolicyExtension)
		none := platformSubject()
		none.Extensions = none.Extensions[1:]
		if err := a.SetSubjects(t.Context(), none); err != nil {
			t.Fatal(err)
		}
		_, err = w.client(t, want(mine)).Dial(t.Context(), "tcp", addr)
		wantStep(t, err, attest.StepPolicyExtension)
	}
}
