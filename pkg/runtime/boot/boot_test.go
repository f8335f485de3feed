package boot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/ratls/ratlstest"
	"github.com/enclaveos/eos/pkg/runtime/helloworld"
	"github.com/enclaveos/eos/pkg/runtime/measure"
	"github.com/enclaveos/eos/pkg/runtime/module"
	"github.com/enclaveos/eos/pkg/wall/start"
)

// token is the operator's in these tests.
const token = "eos_0123456789abcdefghijklmnopqrstuv"

func tokenHash() string {
	h := sha256.Sum256([]byte(token))
	return hex.EncodeToString(h[:])
}

// disk is a sealed configuration that outlives a runtime.
type disk struct {
	mu       sync.Mutex
	sections map[string][]byte
	broken   error
}

func (d *disk) Sections() map[string][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.sections)
}

func (d *disk) Update(_ context.Context, change func(map[string][]byte) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken != nil {
		return d.broken
	}
	next := maps.Clone(d.sections)
	if next == nil {
		next = map[string][]byte{}
	}
	if err := change(next); err != nil {
		return err
	}
	d.sections = next
	return nil
}

func testConfig() *start.Config {
	return &start.Config{Format: start.Format, Listen: "127.0.0.1:0", Leaf: "1h", Evidence: start.EvidenceLeaf, Operator: tokenHash()}
}

// served is a runtime that serves, as an enclave of a platform of its own.
type served struct {
	*Runtime
	platform *ratlstest.Platform
	url      string
	end      context.CancelFunc
	ended    chan error
	log      *safeBuffer
}

// safeBuffer is a log that is read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

const enclaveName = "runtime"

// options are those of a runtime on d, which gets what a first start seals.
func options(p *ratlstest.Platform, d *disk, c *start.Config, log io.Writer, modules ...module.Module) Options {
	if d.sections == nil && d.broken == nil {
		// What is wrong with c, New says as well.
		_ = d.Update(context.Background(), func(s map[string][]byte) error { return newIdentity(c, s) })
	}
	return Options{
		Config: c, Modules: modules, Sealed: d, Quoter: p.Enclave(enclaveName),
		Collateral: func(context.Context) ([]byte, error) { return []byte(`{"collateral":true}`), nil },
		Log:        newLog(log),
	}
}

func newPlatform(t testing.TB) *ratlstest.Platform {
	t.Helper()
	p, err := ratlstest.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// serve starts a runtime on a socket; it ends with the test.
func serve(t testing.TB, d *disk, c *start.Config, modules ...module.Module) *served {
	t.Helper()
	e := &served{platform: newPlatform(t), ended: make(chan error, 1), log: new(safeBuffer)}
	r, err := New(t.Context(), options(e.platform, d, c, e.log, modules...))
	if err != nil {
		t.Fatal(err)
	}
	e.Runtime = r
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.url = "https://" + l.Addr().String()
	ctx, end := context.WithCancel(context.Background())
	e.end = end
	go func() { e.ended <- r.Serve(ctx, l) }()
	t.Cleanup(func() { end(); <-e.ended })
	return e
}

// client is an attested client with connections of its own.
func (e *served) client(t testing.TB) *http.Client {
	t.Helper()
	c, err := ratls.NewClient(ratls.Config{Trust: e.platform.Trust(enclaveName)})
	if err != nil {
		t.Fatal(err)
	}
	tr := c.Transport()
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// answered is an answer and who gave it.
type answered struct {
	*http.Response
	body string
	peer *ratls.Peer
}

func (e *served) ask(t testing.TB, c *http.Client, method, path, token, body string) *answered {
	t.Helper()
	req, err := http.NewRequest(method, e.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	peer, ok := ratls.ResponsePeer(resp)
	if !ok {
		t.Fatal("nobody proved anything")
	}
	return &answered{resp, string(b), peer}
}

func TestServe(t *testing.T) {
	e := serve(t, new(disk), testConfig(), helloworld.Module{})
	c := e.client(t)
	for _, a := range []struct {
		method, path, body string
		status             int
		contentType, want  string
	}{
		{"GET", "/healthz", "", 200, "application/json", `{"status":"ok"}` + "\n"},
		{"POST", "/data", "hello", 200, "text/plain; charset=utf-8", "world"},
		{"POST", "/data", "nobody's <&>", 200, "application/octet-stream", "nobody's <&>"},
		{"POST", "/data", "", 200, "application/octet-stream", ""},
		{"GET", "/nothing", "", 404, "application/json", `{"error":"there is nothing at this path"}` + "\n"},
		{"GET", "//healthz", "", 404, "application/json", `{"error":"there is nothing at this path"}` + "\n"},
		{"GET", "/./healthz", "", 404, "application/json", `{"error":"there is nothing at this path"}` + "\n"},
		{"GET", "/data", "", 405, "application/json", `{"error":"GET is not for this path: POST"}` + "\n"},
		{"DELETE", "/healthz", "", 405, "application/json", `{"error":"DELETE is not for this path: GET, HEAD"}` + "\n"},
		{"GET", "/.well-known/eos/collateral", "", 200, "application/json", `{"collateral":true}`},
		{"GET", "/.well-known/eos/config/core.nothing", "", 404, "application/json", `{"error":"the configuration has no leaf of that name"}` + "\n"},
	} {
		got := e.ask(t, c, a.method, a.path, "", a.body)
		if got.StatusCode != a.status || got.body != a.want || got.Header.Get("Content-Type") != a.contentType {
			t.Errorf("%s %s: %d %s %q, want %d %s %q", a.method, a.path, got.StatusCode, got.Header.Get("Content-Type"), got.body, a.status, a.contentType, a.want)
		}
		if got.ContentLength != int64(len(got.body)) {
			t.Errorf("%s %s: Content-Length %d of %d", a.method, a.path, got.ContentLength, len(got.body))
		}
		if allow := got.Header.Get("Allow"); (a.status == 405) != (allow != "") {
			t.Errorf("%s %s: Allow %q", a.method, a.path, allow)
		}
	}
	if got := e.ask(t, c, "HEAD", "/healthz", "", ""); got.StatusCode != 200 || got.body != "" {
		t.Errorf("HEAD: %d %q", got.StatusCode, got.body)
	}
}

// What each role gets of each route: whoever asks for more learns nothing.
func TestRoutesByRole(t *testing.T) {
	ca := newCA(t)
	bodies := map[string]string{"/attestation-servers": `{"servers":[]}`, "/ca": caJSON(t, ca)}
	e := serve(t, new(disk), testConfig(), helloworld.Module{})
	none := testConfig()
	none.Operator = ""
	nobody := serve(t, new(disk), none)
	c := e.client(t)
	for _, route := range e.routes() {
		path := strings.ReplaceAll(route.path, "{name}", "core.leaf")
		if route.path == "/shutdown" {
			path = "" // asked last, below
		}
		for what, caller := range map[string]struct {
			auth string
			role module.Role
		}{
			"no token":         {"", module.Anyone},
			"another token":    {"Bearer " + token + "x", module.Anyone},
			"a shorter token":  {"Bearer " + token[:len(token)-1], module.Anyone},
			"the hash":         {"Bearer " + tokenHash(), module.Anyone},
			"no scheme":        {token, module.Anyone},
			"another scheme":   {"Basic " + token, module.Anyone},
			"an empty token":   {"Bearer ", module.Anyone},
			"two blanks":       {"Bearer  " + token, module.Anyone},
			"the operator":     {"Bearer " + token, module.Manager},
			"in another case":  {"bearer " + token, module.Manager},
			"without operator": {"Bearer " + token, module.Anyone},
		} {
			if path == "" && caller.role == module.Manager {
				continue
			}
			e, c := e, c
			if what == "without operator" {
				e, c = nobody, nobody.client(t)
			}
			p := path
			if p == "" {
				p = "/shutdown"
			}
			got := e.ask(t, c, route.method, p, caller.auth, bodies[p])
			want := http.StatusOK
			switch {
			case caller.role >= route.role:
			case what == "without operator":
				want = http.StatusForbidden
			default:
				want = http.StatusUnauthorized
			}
			if got.StatusCode != want {
				t.Errorf("%s %s as %s: %d %s, want %d", route.method, p, what, got.StatusCode, got.body, want)
			}
			if (want == http.StatusUnauthorized) != (got.Header.Get("WWW-Authenticate") != "") {
				t.Errorf("%s %s as %s: WWW-Authenticate %q", route.method, p, what, got.Header.Get("WWW-Authenticate"))
			}
		}
	}
	// Somebody who is known, but not as enough.
	for least, want := range map[module.Role]int{module.Anyone: 200, module.Monitor: 200, module.Manager: 403} {
		w := &discard{header: http.Header{}}
		req, _ := http.NewRequestWithContext(module.WithCaller(t.Context(), module.Caller{Known: true, Role: module.Monitor}), "GET", "/", nil)
		e.need(least, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) })(w, req)
		if w.status != want {
			t.Errorf("a monitor where %v is wanted: %d, want %d", least, w.status, want)
		}
	}
	// Two tokens are none, whichever is first.
	req, _ := http.NewRequest("GET", "/", nil)
	req.Header["Authorization"] = []string{"Bearer " + token, "Bearer x"}
	if c := e.callerOf(req); c.Known || c.Token != "" {
		t.Errorf("two tokens: %+v", c)
	}
	if got := e.ask(t, c, "POST", "/shutdown", "Bearer "+token, ""); got.StatusCode != 200 || got.body != `{"status":"shutting_down"}`+"\n" {
		t.Errorf("shutdown: %d %s", got.StatusCode, got.body)
	}
	err := <-e.ended
	if e.ended <- err; err != nil {
		t.Error(err)
	}
}

// A token that is not the operator's goes through to the modules.
func TestCallerOf(t *testing.T) {
	e := serve(t, new(disk), testConfig())
	req, _ := http.NewRequest("GET", "/", nil)
	req.Header.Set("Authorization", "Bearer of.an.app")
	if c := e.callerOf(req); c.Known || c.Role != module.Anyone || c.Token != "of.an.app" {
		t.Errorf("%+v", c)
	}
}

func newCA(t testing.TB) *ratls.CA {
	t.Helper()
	root, err := ratls.NewRoot("test root", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := root.NewIntermediary("test intermediary", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func caText(t testing.TB, ca *ratls.CA) *start.CA {
	t.Helper()
	key, err := ca.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	return &start.CA{Chain: string(ca.CertificatePEM()), Key: string(key)}
}

func caJSON(t testing.TB, ca *ratls.CA) string {
	t.Helper()
	b, err := json.Marshal(caText(t, ca))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// manifest gets the manifest, and checks that its root is that of the certificate.
func (e *served) manifest(t testing.TB, c *http.Client) *measure.Manifest {
	t.Helper()
	got := e.ask(t, c, "GET", "/.well-known/eos/config", "", "")
	m, err := measure.ParseManifest([]byte(got.body))
	if err != nil {
		t.Fatal(err)
	}
	if claim, _ := got.peer.Claim(ratls.OIDConfigRoot); !bytes.Equal(claim, m.Root[:]) {
		t.Errorf("the certificate has the root %x, the manifest %v", claim, m.Root)
	}
	return m
}

func leafText(t testing.TB, m *measure.Manifest, name string) string {
	t.Helper()
	e, ok := m.Get(name)
	if !ok {
		t.Fatalf("no leaf %s", name)
	}
	if e.Hash == nil {
		return "absent"
	}
	return e.Text
}

func TestConfiguration(t *testing.T) {
	f := &fake{name: "fake", leaf: "one"}
	config := testConfig()
	config.Hosts = []string{"notes.example"}
	e := serve(t, new(disk), config, helloworld.Module{}, f)
	c := e.client(t)
	before := e.manifest(t, c)
	for name, want := range map[string]string{
		"core.leaf": "1h", "core.evidence": "leaf", "core.modules": "helloworld,fake", "core.operator": tokenHash(),
		"core.hosts": "127.0.0.1,::1,localhost,notes.example", "core.payload": "absent", "core.attestation_servers": "absent", "fake.leaf": "one",
	} {
		if got := leafText(t, before, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if h, want := *mustLeaf(t, before, "core.ca_cert").Hash, e.ca.Hash(); h != want {
		t.Errorf("core.ca_cert is %v, want %x", h, want)
	}
	for _, leaf := range before.Leaves {
		got := e.ask(t, c, "GET", "/.well-known/eos/config/"+leaf.Name, "", "")
		p, err := measure.ParseProof([]byte(got.body))
		if err != nil {
			t.Fatal(err)
		}
		claim, _ := got.peer.Claim(ratls.OIDConfigRoot)
		if err := p.Verify(measure.Hash(claim)); err != nil || p.Leaf.Name != leaf.Name {
			t.Errorf("%s: %v", leaf.Name, err)
		}
	}

	// A change is in the next connection.
	f.set("two")
	after := e.manifest(t, e.client(t))
	if after.Root == before.Root || leafText(t, after, "fake.leaf") != "two" {
		t.Errorf("after the change: %+v", after)
	}
	servers := `{"servers":[{"url":"https://b.example/v"},{"url":"https://a.example/v","token":"secret"}]}`
	got := e.ask(t, c, "PUT", "/attestation-servers", "Bearer "+token, servers)
	hash := sha256.Sum256([]byte("https://a.example/v\nhttps://b.example/v"))
	if want := `{"server_count":2,"hash":"` + hex.EncodeToString(hash[:]) + `"}` + "\n"; got.StatusCode != 200 || got.body != want {
		t.Errorf("%d %s, want %s", got.StatusCode, got.body, want)
	}
	got = e.ask(t, e.client(t), "GET", "/.well-known/eos/config", "", "")
	if claim, _ := got.peer.Claim(ratls.OIDAttestationServers); !bytes.Equal(claim, hash[:]) {
		t.Errorf("the certificate has the servers %x", claim)
	}
	if strings.Contains(got.body, "secret") {
		t.Errorf("the manifest tells a token: %s", got.body)
	}
	for what, bad := range map[string]string{
		"no JSON": "x", "nothing": "", "none": "{}", "a second": servers + "{}", "unknown": `{"server":[]}`, "no https": `{"servers":[{"url":"http://a.example"}]}`,
		"twice": `{"servers":[{"url":"https://a.example"},{"url":"https://a.example"}]}`, "a line end": `{"servers":[{"url":"https://a.example/\n"}]}`,
		"a user": `{"servers":[{"url":"https://u:p@a.example"}]}`, "a token with one": `{"servers":[{"url":"https://a.example","token":"\r\n"}]}`,
		"too many": `{"servers":[` + strings.Repeat(`{"url":"https://a.example"},`, maxServers) + `{"url":"https://a.example"}]}`,
	} {
		got := e.ask(t, c, "PUT", "/attestation-servers", "Bearer "+token, bad)
		var said struct{ Error string }
		if got.StatusCode != 400 || json.Unmarshal([]byte(got.body), &said) != nil || said.Error == "" {
			t.Errorf("%s: %d %s", what, got.StatusCode, got.body)
		}
	}
	if got := e.ask(t, c, "PUT", "/attestation-servers", "Bearer "+token, `{"servers":["`+strings.Repeat("x", maxAdmin)+`"]}`); got.StatusCode != 413 {
		t.Errorf("too long: %d %s", got.StatusCode, got.body)
	}
}

func mustLeaf(t testing.TB, m *measure.Manifest, name string) measure.Entry {
	e, ok := m.Get(name)
	if !ok {
		t.Fatalf("no leaf %s", name)
	}
	return e
}

// An enclave that has no evidence of itself does not serve.
func TestNoQuotes(t *testing.T) {
	var calls []string
	o := options(newPlatform(t), new(disk), testConfig(), io.Discard, &alive{name: "a", calls: &calls})
	o.Quoter = noQuotes{}
	if _, err := New(t.Context(), o); !errors.Is(err, errNoQuotes) || strings.Join(calls, ", ") != "start a, stop a" {
		t.Errorf("%v, %v", calls, err)
	}
	o = options(newPlatform(t), new(disk), testConfig(), io.Discard)
	o.Collateral = func(context.Context) ([]byte, error) { return nil, errors.New("of a file /somewhere") }
	r, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r.getCollateral(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 503 || w.Body.String() != `{"error":"the host has no collateral"}`+"\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

var errNoQuotes = errors.New("no quotes today")

type noQuotes struct{}

func (noQuotes) Quote(context.Context, [64]byte) ([]byte, error) { return nil, errNoQuotes }

func TestLog(t *testing.T) {
	var b bytes.Buffer
	newLog(&b).With("module", "x").Info("two\nlines", slog.Group("g", "time", 1))
	if got := b.String(); got != `level=INFO msg="two\nlines" module=x g.time=1`+"\n" {
		t.Errorf("%q", got)
	}
}
