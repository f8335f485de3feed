package ratls_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/ratls/ratlstest"
)

const clientName = "the client's enclave"

// clientAttester is the enclave that the client is.
func (w *world) clientAttester(t testing.TB, name string, evidence ratls.Evidence) *ratls.Attester {
	t.Helper()
	a, err := ratls.NewAttester(ratls.AttesterConfig{Quoter: w.Enclave(name), CA: w.ca, Evidence: evidence})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.SetSubjects(t.Context(), ratls.Subject{Name: "client", Hosts: []string{"client.example"}}); err != nil {
		t.Fatal(err)
	}
	return a
}

// mutual is a server that asks for evidence.
func (w *world) mutual(t testing.TB, require bool) (addr string) {
	t.Helper()
	trust := w.Trust(clientName)
	return serve(t, w.attester(t, func(c *ratls.AttesterConfig) { c.Clients, c.RequireClient = &trust, require }))
}

func TestMutual(t *testing.T) {
	w := newWorld(t)
	for _, require := range []bool{false, true} {
		addr := w.mutual(t, require)
		for _, evidence := range []ratls.Evidence{ratls.EvidenceLeaf, ratls.EvidenceSession} {
			me := w.clientAttester(t, clientName, evidence)
			conn, err := w.client(t, func(c *ratls.Config) { c.Attester = me }).Dial(t.Context(), "tcp", addr)
			if err != nil {
				t.Fatalf("required %v, %v: %v", require, evidence, err)
			}
			resp := postRaw(t, conn, "GET", "/", nil)
			b, _ := io.ReadAll(resp.Body)
			if want := "HTTP/1.1 to " + ratlstest.Measurement(clientName).String(); string(b) != want {
				t.Errorf("answer %q, want %q", b, want)
			}
			conn.Close()
		}
	}
}

func TestMutualRefusals(t *testing.T) {
	w := newWorld(t)
	required, optional := w.mutual(t, true), w.mutual(t, false)

	t.Run("nobody, where somebody is required", func(t *testing.T) {
		if conn, err := w.client(t, nil).Dial(t.Context(), "tcp", required); err == nil {
			conn.Close()
			t.Error("connected")
		}
	})
	t.Run("nobody", func(t *testing.T) {
		conn, err := w.client(t, nil).Dial(t.Context(), "tcp", optional)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		b, _ := io.ReadAll(postRaw(t, conn, "GET", "/", nil).Body)
		if string(b) != "HTTP/1.1 to nobody" {
			t.Errorf("answer %q", b)
		}
	})
	for _, evidence := range []ratls.Evidence{ratls.EvidenceLeaf, ratls.EvidenceSession} {
		t.Run("another enclave, "+evidence.String(), func(t *testing.T) {
			me := w.clientAttester(t, "some enclave", evidence)
			conn, err := w.client(t, func(c *ratls.Config) { c.Attester = me }).Dial(t.Context(), "tcp", optional)
			if err == nil {
				conn.Close()
				t.Error("connected")
			}
		})
	}
	t.Run("a request before the proof", func(t *testing.T) {
		cert := w.forged(t, clientName, nil)
		conn := plain(t, optional, &tls.Config{Certificates: []tls.Certificate{cert}})
		resp := postRaw(t, conn, "GET", "/", nil)
		b, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusForbidden || strings.Contains(string(b), "nobody") {
			t.Errorf("%d %q", resp.StatusCode, b)
		}
	})
	t.Run("a client's leaf whose quote is another's", func(t *testing.T) {
		genuine := w.forged(t, clientName, nil)
		cert := w.forged(t, clientName, func(c *x509.Certificate) {
			c.ExtraExtensions[0].Value = genuine.Leaf.Extensions[len(genuine.Leaf.Extensions)-2].Value
		})
		conn, err := tls.Dial("tcp", optional, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}})
		if err == nil { // in TLS 1.3 the client learns of it when it reads
			defer conn.Close()
			_, err = conn.Read(make([]byte, 1))
		}
		if err == nil || !strings.Contains(err.Error(), "bad certificate") {
			t.Errorf("got %v, want the alert and nothing more", err)
		}
	})
}

// presenter is a client of another make, which answers the server's challenge by hand.
type presenter struct {
	*world
	t    testing.TB
	conn *tls.Conn
	cert tls.Certificate
}

func (w *world) presenter(t testing.TB, addr string) *presenter {
	cert := w.forged(t, clientName, func(c *x509.Certificate) { c.ExtraExtensions = nil })
	return &presenter{w, t, plain(t, addr, &tls.Config{Certificates: []tls.Certificate{cert}}), cert}
}

// challenge asks the server for its evidence, and gets its challenge with it.
func (p *presenter) challenge() string {
	p.t.Helper()
	status, m := post(p.t, p.conn, "POST", ratls.SessionPath, message{
		"v": 2, "mode": "challenge", "leaf": keyName(p.conn.ConnectionState().PeerCertificates[0]), "context": b64.EncodeToString(make([]byte, 32)),
	}.bytes())
	if status != 200 || m["client_evidence"] != "required" {
		p.t.Fatalf("%d %v", status, m)
	}
	return m["client_context"].(string)
}

// quote answers a challenge; label and key are right unless the test wants others.
func (p *presenter) quote(context, label string, key []byte) string {
	p.t.Helper()
	c, err := b64.DecodeString(context)
	if err != nil || len(c) != 32 {
		p.t.Fatalf("client_context %q", context)
	}
	state := p.conn.ConnectionState()
	hctx, err := state.ExportKeyingMaterial(label, c, 32)
	if err != nil {
		p.t.Fatal(err)
	}
	q, err := p.Enclave(clientName).Quote(p.t.Context(), ratls.SessionReportData(key, [32]byte(c), [32]byte(hctx)))
	if err != nil {
		p.t.Fatal(err)
	}
	return b64.EncodeToString(q)
}

func (p *presenter) present(context, quote string) int {
	p.t.Helper()
	status, _ := post(p.t, p.conn, "POST", ratls.NeutralSessionPath, message{
		"v": 2, "mode": "present", "context": context, "tee": "sgx", "quote": quote, "gpu_evidence": nil, "quote_time": "2026-09-04T10:15Z",
	}.bytes())
	return status
}

const (
	toServer = "EXPORTER-privasys-ratls-attest-v2-client"
	toClient = "EXPORTER-privasys-ratls-attest-v2"
)

func TestPresentWire(t *testing.T) {
	w := newWorld(t)
	addr := w.mutual(t, false)
	spki := func(p *presenter) []byte { return p.cert.Leaf.RawSubjectPublicKeyInfo }

	p := w.presenter(t, addr)
	context := p.challenge()
	if status := p.present(context, p.quote(context, toServer, spki(p))); status != http.StatusNoContent {
		t.Fatalf("a good answer: %d", status)
	}
	if b, _ := io.ReadAll(postRaw(t, p.conn, "GET", "/", nil).Body); !strings.Contains(string(b), ratlstest.Measurement(clientName).String()) {
		t.Errorf("answer %q", b)
	}
	proven, old := p, context

	for _, c := range []struct {
		name    string
		present func(p *presenter, context string) int
		status  int
	}{
		{"the label of the other direction", func(p *presenter, context string) int {
			return p.present(context, p.quote(context, toClient, spki(p)))
		}, 403},
		{"about the server's key", func(p *presenter, context string) int {
			return p.present(context, p.quote(context, toServer, p.conn.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo))
		}, 403},
		{"of another session", func(p *presenter, context string) int {
			return p.present(context, proven.quote(context, toServer, spki(p)))
		}, 403},
		{"to another challenge", func(p *presenter, context string) int { return p.present(old, p.quote(old, toServer, spki(p))) }, 403},
		{"the server's own quote", func(p *presenter, context string) int {
			_, m := post(p.t, p.conn, "POST", ratls.SessionPath, message{"v": 2, "mode": "challenge",
				"leaf": keyName(p.conn.ConnectionState().PeerCertificates[0]), "context": context}.bytes())
			return p.present(m["client_context"].(string), m["quote"].(string))
		}, 403},
		{"no quote", func(p *presenter, context string) int { return p.present(context, "") }, 400},
		{"no context", func(p *presenter, context string) int { return p.present("", p.quote(context, toServer, spki(p))) }, 400},
	} {
		p := w.presenter(t, addr)
		context := p.challenge()
		if status := c.present(p, context); status != c.status {
			t.Errorf("%s: %d, want %d", c.name, status, c.status)
		}
		if resp := postRaw(t, p.conn, "GET", "/", nil); resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: then a request has %d", c.name, resp.StatusCode)
		}
	}

	t.Run("a challenge is good for one try", func(t *testing.T) {
		p := w.presenter(t, addr)
		context := p.challenge()
		good := p.quote(context, toServer, spki(p))
		if status := p.present(context, "AAAA"); status != 403 {
			t.Errorf("a bad one: %d", status)
		}
		if status := p.present(context, good); status != 403 {
			t.Errorf("then the good one: %d", status)
		}
		context = p.challenge()
		if status := p.present(context, p.quote(context, toServer, spki(p))); status != 204 {
			t.Errorf("a new challenge: %d", status)
		}
	})
	t.Run("a challenge is good for two minutes", func(t *testing.T) {
		var later atomic.Int64
		trust := w.Trust(clientName)
		addr := serve(t, w.attester(t, func(c *ratls.AttesterConfig) {
			c.Clients = &trust
			c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
		}))
		for after, status := range map[time.Duration]int{110 * time.Second: 204, 121 * time.Second: 403} {
			later.Store(0)
			p := w.presenter(t, addr)
			context := p.challenge()
			later.Store(int64(after))
			if got := p.present(context, p.quote(context, toServer, spki(p))); got != status {
				t.Errorf("after %v: %d, want %d", after, got, status)
			}
		}
	})
	t.Run("three tries in all", func(t *testing.T) {
		p := w.presenter(t, addr)
		for range 3 {
			p.present(p.challenge(), "AAAA")
		}
		context := p.challenge()
		if status := p.present(context, p.quote(context, toServer, spki(p))); status != 403 {
			t.Errorf("the fourth: %d", status)
		}
	})
	t.Run("without a certificate", func(t *testing.T) {
		p := &presenter{w, t, plain(t, addr, nil), tls.Certificate{}}
		if status := p.present(b64.EncodeToString(make([]byte, 32)), "AAAA"); status != 403 {
			t.Errorf("%d", status)
		}
	})
}

// Two enclaves that prove themselves to each other, and a third between them, which the
// client accepts as the server, and which has a certificate that the server accepts as
// the client's. What the client proves to it does not pass for its own.
func TestMutualRelay(t *testing.T) {
	w := newWorld(t)
	server := w.mutual(t, true)
	atClient, atServer := w.forged(t, enclaveName, nil), w.forged(t, clientName, nil)
	var conn *tls.Conn
	status := -1
	addr := impostorConfig(t, &tls.Config{Certificates: []tls.Certificate{atClient}, ClientAuth: tls.RequestClientCert}, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		q := message{}
		if err := json.Unmarshal(body, &q); err != nil {
			t.Error(err)
		}
		if q["mode"] == "present" {
			status, _ = post(t, conn, "POST", ratls.SessionPath, body)
			rw.WriteHeader(http.StatusNoContent)
			return
		}
		conn = plain(t, server, &tls.Config{Certificates: []tls.Certificate{atServer}})
		_, m := post(t, conn, "POST", ratls.SessionPath, message{"v": 2, "mode": "challenge",
			"leaf": keyName(conn.ConnectionState().PeerCertificates[0]), "context": b64.EncodeToString(make([]byte, 32))}.bytes())
		rec := &recorder{header: http.Header{}}
		r.Body = io.NopCloser(bytes.NewReader(body))
		w.answerChallenge(t, rec, r, r.TLS, atClient.Leaf, toClient, enclaveName)
		a := message{}
		if err := json.Unmarshal(rec.body.Bytes(), &a); err != nil {
			t.Error(err)
		}
		a["client_evidence"], a["client_context"] = "required", m["client_context"]
		rw.Write(a.bytes())
	}))
	me := w.clientAttester(t, clientName, ratls.EvidenceLeaf)
	c, err := w.client(t, func(c *ratls.Config) { c.Attester = me }).Dial(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if status != http.StatusForbidden {
		t.Errorf("the server takes what the client proved to another: %d", status)
	}
	if resp := postRaw(t, conn, "GET", "/", nil); resp.StatusCode != http.StatusForbidden {
		t.Errorf("then it serves the one in the middle: %d", resp.StatusCode)
	}
}

// A Peer of one's own says nothing and breaks nothing.
func TestZeroPeer(t *testing.T) {
	var p ratls.Peer
	if p.Result() != nil || p.Certificate() != nil || len(p.Claims()) != 0 || len(p.Chain()) != 0 {
		t.Error("a peer out of nothing says something")
	}
	if _, ok := p.Claim(ratls.OIDConfigRoot); ok {
		t.Error("it has a claim")
	}
	if _, ok := ratls.PeerOf(context.Background()); ok {
		t.Error("a context out of nothing has a peer")
	}
	if _, ok := ratls.ResponsePeer(&http.Response{}); ok {
		t.Error("a response out of nothing has a peer")
	}
	if p.Proof() == ratls.ProofSession || p.Proof() == ratls.ProofLeaf {
		t.Errorf("it has proven %v", p.Proof())
	}
}
