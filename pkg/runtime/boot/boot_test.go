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
	"github.com/enclaveos/eos/pkg/runtime/metric"
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
		"no JSON": "x", "nothing": "", "a second": servers + "{}", "unknown": `{"server":[]}`, "no https": `{"servers":[{"url":"http://a.example"}]}`,
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

// What is told at the first start holds from then on.
func TestRestart(t *testing.T) {
	d := new(disk)
	first := serve(t, d, testConfig())
	if got := first.ask(t, first.client(t), "PUT", "/attestation-servers", "Bearer "+token, `{"servers":[{"url":"https://a.example"}]}`); got.StatusCode != 200 {
		t.Fatal(got.body)
	}
	root := first.manifest(t, first.client(t)).Root

	again := testConfig()
	again.Operator = "" // it need not be said again
	second := serve(t, d, again)
	if second.ca.Hash() != first.ca.Hash() || second.manifest(t, second.client(t)).Root != root {
		t.Error("another configuration after a restart")
	}

	// The operator replaces the CA.
	ca := newCA(t)
	if got := second.ask(t, second.client(t), "PUT", "/ca", "Bearer "+token, caJSON(t, ca)); got.StatusCode != 200 {
		t.Fatal(got.body)
	}
	got := second.ask(t, second.client(t), "GET", "/healthz", "", "")
	if chain := got.peer.Chain(); !bytes.Equal(chain[1].Raw, ca.Certificate().Raw) {
		t.Errorf("the chain is still that of %s", chain[1].Subject)
	}
	if second.manifest(t, second.client(t)).Root == root {
		t.Error("the root says nothing of the CA")
	}
	third := testConfig()
	third.CA = caText(t, ca)
	if r, err := New(t.Context(), options(newPlatform(t), d, third, io.Discard)); err != nil || r.ca.Hash() != ca.Hash() {
		t.Errorf("with the CA that it has: %v", err)
	}

	for what, c := range map[string]struct {
		change func(*start.Config)
		want   string
	}{
		"another CA":       {func(c *start.Config) { c.CA = caText(t, newCA(t)) }, "eos ca rotate"},
		"no CA":            {func(c *start.Config) { c.CA = &start.CA{Chain: "x", Key: "y"} }, "PEM"},
		"another operator": {func(c *start.Config) { c.Operator = strings.Repeat("0", 64) }, "--operator-token"},
	} {
		config := testConfig()
		c.change(config)
		if _, err := New(t.Context(), options(newPlatform(t), d, config, io.Discard)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	without := new(disk)
	config := testConfig()
	config.Operator = ""
	serve(t, without, config)
	if _, err := New(t.Context(), options(newPlatform(t), without, testConfig(), io.Discard)); err == nil || !strings.Contains(err.Error(), "without an operator") {
		t.Errorf("an operator later: %v", err)
	}
	// A first start that was cut off waits for an operator.
	half := &disk{sections: map[string][]byte{}}
	if _, err := New(t.Context(), options(newPlatform(t), half, config, io.Discard)); err == nil || !strings.Contains(err.Error(), "--operator-token") || len(half.Sections()) > 0 {
		t.Errorf("nobody is sealed as the operator: %v", err)
	}
	if r, err := New(t.Context(), options(newPlatform(t), half, testConfig(), io.Discard)); err != nil || r.operator == nil || half.Sections()[sectionOperator] == nil {
		t.Errorf("a first start that goes on: %v", err)
	}
	for section, bad := range map[string]string{sectionCAKey: "", sectionCACert: "x", sectionOperator: "short", sectionServers: "x"} {
		torn := &disk{sections: maps.Clone(d.sections)}
		torn.sections[section] = []byte(bad)
		if _, err := New(t.Context(), options(newPlatform(t), torn, testConfig(), io.Discard)); err == nil || !strings.Contains(err.Error(), "sealed configuration") {
			t.Errorf("section %s is %q: %v", section, bad, err)
		}
	}
}

// A CA that has ended is refused where it can be, and locks nobody out where it is late.
func TestCAEnds(t *testing.T) {
	old, err := ratls.NewSelfMade("old", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	root, err := ratls.NewRoot("root", time.Now().Add(-3*time.Hour), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ended, err := root.NewIntermediary("ended", time.Now().Add(-2*time.Hour), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	config := testConfig()
	config.CA = caText(t, ended)
	if _, err := New(t.Context(), options(newPlatform(t), new(disk), config, io.Discard)); err == nil || !strings.Contains(err.Error(), "is valid from") {
		t.Errorf("at the first start: %v", err)
	}

	d := new(disk)
	if err := d.Update(t.Context(), func(s map[string][]byte) error {
		s[sectionOperator], _ = hex.DecodeString(tokenHash())
		return putCA(s, ended)
	}); err != nil {
		t.Fatal(err)
	}
	e := serve(t, d, testConfig())
	got := e.ask(t, e.client(t), "PUT", "/ca", "Bearer "+token, caJSON(t, ended))
	if got.StatusCode != 400 || !strings.Contains(got.body, "is valid from") || !bytes.Equal(d.Sections()[sectionCACert], ended.CertificatePEM()) {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	if got.peer.Certificate().Issuer.CommonName != caName || !strings.Contains(e.log.String(), "the CA is of no use") {
		t.Errorf("issued by %s: %s", got.peer.Certificate().Issuer, e.log)
	}
	if got := e.ask(t, e.client(t), "PUT", "/ca", "Bearer "+token, caJSON(t, old)); got.StatusCode != 200 {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	if got := e.ask(t, e.client(t), "GET", "/healthz", "", ""); got.peer.Certificate().Issuer.CommonName != "old" {
		t.Errorf("issued by %s", got.peer.Certificate().Issuer)
	}
}

// What cannot be sealed does not happen.
func TestNotSealed(t *testing.T) {
	d := new(disk)
	e := serve(t, d, testConfig())
	c := e.client(t)
	root := e.manifest(t, c).Root
	d.mu.Lock()
	d.broken = errors.New("the disk is full of /secret/paths")
	d.mu.Unlock()
	for path, body := range map[string]string{"/attestation-servers": `{"servers":[{"url":"https://a.example"}]}`, "/ca": caJSON(t, newCA(t))} {
		got := e.ask(t, c, "PUT", path, "Bearer "+token, body)
		if got.StatusCode != 500 || got.body != `{"error":"internal error"}`+"\n" {
			t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
		}
	}
	if got := e.manifest(t, e.client(t)).Root; got != root {
		t.Error("the configuration has changed nevertheless")
	}
	if _, err := New(t.Context(), options(newPlatform(t), &disk{broken: d.broken}, testConfig(), io.Discard)); !errors.Is(err, d.broken) {
		t.Errorf("at the first start: %v", err)
	}
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

// fake is a module that has everything but an end.
type fake struct {
	name string
	mu   sync.Mutex
	leaf string
	env  *module.Env
}

func (f *fake) Name() string { return f.name }

func (f *fake) Handle(_ context.Context, r *module.Request) (*module.Response, error) {
	switch body := string(r.Body); body {
	case "refuse":
		return nil, &module.Error{Message: `no "quotes" <here>`}
	case "missing":
		return nil, &module.Error{Status: 404, Message: "not here"}
	case "fail":
		return nil, errors.New("a secret")
	case "panic":
		panic("in a module")
	case "who":
		return module.JSON(map[string]string{"role": r.Caller.Role.String(), "token": r.Caller.Token})
	case "unknown":
		return nil, module.ErrNotMine
	}
	return nil, module.ErrNotMine
}

func (f *fake) Routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /fake/{what}", func(w http.ResponseWriter, req *http.Request) {
		io.WriteString(w, req.PathValue("what")+" as "+module.CallerOf(req.Context()).Role.String())
	})
}

func (f *fake) ConfigLeaves() []measure.Leaf {
	f.mu.Lock()
	defer f.mu.Unlock()
	return []measure.Leaf{{Name: f.name + ".leaf", Data: []byte(f.leaf)}}
}

func (f *fake) Extensions() []ratls.Extension {
	return []ratls.Extension{{OID: ratls.OIDWorkloads, Value: []byte(f.name)}}
}

func (f *fake) Subjects() []ratls.Subject {
	return []ratls.Subject{{Name: "app", Hosts: []string{"app.example"}, Extensions: []ratls.Extension{{OID: ratls.OIDAppCode, Value: []byte("code")}}}}
}

func (f *fake) Start(_ context.Context, env *module.Env) error { f.env = env; return nil }

func (f *fake) Status() any { return map[string]string{"status": "ok", "leaf": f.leaf} }
func (f *fake) Metrics(context.Context) map[string]any {
	return map[string]any{"wasm_calls_total": 7, "wasm_app_metrics": []any{map[string]any{"app": "a"}}}
}
func (f *fake) Families(context.Context) []metric.Family {
	return []metric.Family{metric.Value("fake_total", "Of a module.", metric.Counter, 7)}
}

func (f *fake) set(leaf string) {
	f.mu.Lock()
	f.leaf = leaf
	f.mu.Unlock()
	if err := f.env.Changed(); err != nil {
		panic(err)
	}
}

func TestModules(t *testing.T) {
	f := &fake{name: "fake", leaf: "x"}
	e := serve(t, new(disk), testConfig(), helloworld.Module{}, f)
	c := e.client(t)
	op := "Bearer " + token
	for _, a := range []struct {
		method, path, token, body string
		status                    int
		want                      string
	}{
		{"POST", "/data", "", "hello", 200, "world"},
		{"POST", "/data", "", "refuse", 400, `{"error":"no \"quotes\" <here>"}` + "\n"},
		{"POST", "/data", "", "missing", 404, `{"error":"not here"}` + "\n"},
		{"POST", "/data", "", "fail", 500, `{"error":"internal error"}` + "\n"},
		{"POST", "/data", "", "who", 200, `{"role":"anyone","token":""}`},
		{"POST", "/data", op, "who", 200, `{"role":"manager","token":"` + token + `"}`},
		{"GET", "/fake/a%2Fb", op, "", 200, "a/b as manager"},
		{"GET", "/fake/a", "", "", 200, "a as anyone"},
		{"POST", "/fake/a", "", "", 405, `{"error":"POST is not for this path: GET, HEAD"}` + "\n"},
		{"GET", "/readyz", op, "", 200, `{"status":"ready","modules":2}` + "\n"},
	} {
		got := e.ask(t, c, a.method, a.path, a.token, a.body)
		if got.StatusCode != a.status || got.body != a.want {
			t.Errorf("%s %s %s: %d %q, want %d %q", a.method, a.path, a.body, got.StatusCode, got.body, a.status, a.want)
		}
	}
	if text := e.log.String(); !strings.Contains(text, "a secret") {
		t.Errorf("the log does not say what failed: %s", text)
	}
	var status []struct {
		Name    string
		Details map[string]any
	}
	got := e.ask(t, c, "GET", "/status", op, "")
	if err := json.Unmarshal([]byte(got.body), &status); err != nil || len(status) != 3 || status[0].Name != "core" || status[2].Details["leaf"] != "x" {
		t.Errorf("%s: %v", got.body, err)
	}
	var metrics map[string]any
	got = e.ask(t, c, "GET", "/metrics", op, "")
	if err := json.Unmarshal([]byte(got.body), &metrics); err != nil || metrics["wasm_calls_total"] != 7.0 || metrics["frames_total"].(float64) < 10 || metrics["connections_total"] != 1.0 {
		t.Errorf("%s: %v", got.body, err)
	}
	if claim, _ := got.peer.Claim(ratls.OIDWorkloads); string(claim) != "fake" {
		t.Errorf("the module's claim is %q", claim)
	}

	// An app's certificate says what the platform's says as well.
	trust, err := ratls.NewClient(ratls.Config{Trust: e.platform.Trust(enclaveName), ServerName: "app.example"})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := trust.Dial(t.Context(), "tcp", strings.TrimPrefix(e.url, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	root, code := e.tree.Load().Root(), "code"
	if claim, _ := conn.Peer().Claim(ratls.OIDAppCode); string(claim) != code {
		t.Errorf("the app's claim is %q", claim)
	}
	if claim, _ := conn.Peer().Claim(ratls.OIDConfigRoot); !bytes.Equal(claim, root[:]) {
		t.Errorf("the root in the app's certificate is %x", claim)
	}

	// A module that panics takes nobody else with it.
	if got := e.ask(t, c, "POST", "/data", "", "panic"); got.StatusCode != 500 || got.body != `{"error":"internal error"}`+"\n" {
		t.Errorf("a panic: %d %s", got.StatusCode, got.body)
	}
	if text := e.log.String(); !strings.Contains(text, "panicked") || !strings.Contains(text, "boot_test.go:") || strings.Contains(text, "in a module") {
		t.Errorf("the log of the panic: %s", text)
	}
	if got := e.ask(t, c, "GET", "/healthz", "", ""); got.StatusCode != 200 {
		t.Errorf("after the panic: %d", got.StatusCode)
	}
}

func TestLifeOfModules(t *testing.T) {
	var calls []string
	a, b := &alive{name: "a", calls: &calls}, &alive{name: "b", calls: &calls}
	e := serve(t, new(disk), testConfig(), a, &namesake{}, b)
	e.end()
	err := <-e.ended
	if e.ended <- err; err != nil || strings.Join(calls, ", ") != "start a, start b, stop b, stop a" {
		t.Errorf("%v, %v", calls, err)
	}

	calls = nil
	b.refuses = errors.New("no room")
	if _, err := New(t.Context(), options(newPlatform(t), new(disk), testConfig(), io.Discard, a, b, &alive{name: "c", calls: &calls})); !errors.Is(err, b.refuses) || strings.Join(calls, ", ") != "start a, start b, stop a" {
		t.Errorf("%v, %v", calls, err)
	}
	for _, names := range [][]string{{"a", "a"}, {""}, {"core"}, {"A"}, {"a.b"}} {
		var ms []module.Module
		for _, n := range names {
			ms = append(ms, &alive{name: n, calls: new([]string)})
		}
		if _, err := New(t.Context(), options(newPlatform(t), new(disk), testConfig(), io.Discard, ms...)); err == nil || !strings.Contains(err.Error(), "name") {
			t.Errorf("modules %q: %v", names, err)
		}
	}
	if _, err := New(t.Context(), options(newPlatform(t), new(disk), testConfig(), io.Discard, landlord{})); err == nil ||
		!strings.Contains(err.Error(), `"localhost" is a host of both`) || !strings.Contains(err.Error(), "take it out of the app's hostnames, or out of --host") {
		t.Errorf("an app with a host name of the enclave's: %v", err)
	}
	twice := &fake{name: "leaves", leaf: "x"}
	if _, err := New(t.Context(), options(newPlatform(t), new(disk), testConfig(), io.Discard, twice, &impostor{twice})); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("the same leaf of two modules: %v", err)
	}
}

// alive is a module that is started and stopped.
type alive struct {
	helloworld.Module
	name    string
	calls   *[]string
	refuses error
}

func (a *alive) Name() string { return a.name }
func (a *alive) Start(context.Context, *module.Env) error {
	*a.calls = append(*a.calls, "start "+a.name)
	return a.refuses
}
func (a *alive) Stop(context.Context) error { *a.calls = append(*a.calls, "stop "+a.name); return nil }

// namesake has the required methods only.
type namesake struct{ helloworld.Module }

// landlord has an app with the enclave's own host name.
type landlord struct{ helloworld.Module }

func (landlord) Name() string { return "landlord" }
func (landlord) Subjects() []ratls.Subject {
	return []ratls.Subject{{Name: "app", Hosts: []string{"localhost"}}}
}

// impostor has another module's leaves.
type impostor struct{ of *fake }

func (*impostor) Name() string                   { return "impostor" }
func (i *impostor) ConfigLeaves() []measure.Leaf { return i.of.ConfigLeaves() }
func (*impostor) Handle(context.Context, *module.Request) (*module.Response, error) {
	return nil, module.ErrNotMine
}

// Requests in progress are answered when the end comes.
func TestDrain(t *testing.T) {
	slow := &slowModule{begun: make(chan struct{}), finish: make(chan struct{})}
	e := serve(t, new(disk), testConfig(), slow)
	c := e.client(t)
	answer := make(chan *answered, 1)
	go func() { answer <- e.ask(t, c, "POST", "/data", "", "x") }()
	<-slow.begun
	e.end()
	close(slow.finish)
	if got := <-answer; got.StatusCode != 200 || got.body != "done" {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	err := <-e.ended
	if e.ended <- err; err != nil {
		t.Error(err)
	}
}

type slowModule struct{ begun, finish chan struct{} }

func (*slowModule) Name() string { return "slow" }
func (s *slowModule) Handle(context.Context, *module.Request) (*module.Response, error) {
	close(s.begun)
	<-s.finish
	return module.Text("done"), nil
}

func TestBodies(t *testing.T) {
	e := serve(t, new(disk), testConfig(), helloworld.Module{})
	c := e.client(t)
	if got := e.ask(t, c, "POST", "/data", "", strings.Repeat("x", maxData)); got.StatusCode != 200 || len(got.body) != maxData {
		t.Errorf("the longest body: %d, %d bytes", got.StatusCode, len(got.body))
	}
	req, _ := http.NewRequest("POST", e.url+"/data", io.LimitReader(zeros{}, maxData+1))
	req.ContentLength = -1
	if resp, err := c.Do(req); err == nil {
		resp.Body.Close()
		if resp.StatusCode != 413 {
			t.Errorf("a longer one in chunks: %d", resp.StatusCode)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestLog(t *testing.T) {
	var b bytes.Buffer
	newLog(&b).With("module", "x").Info("two\nlines", slog.Group("g", "time", 1))
	if got := b.String(); got != `level=INFO msg="two\nlines" module=x g.time=1`+"\n" {
		t.Errorf("%q", got)
	}
}
