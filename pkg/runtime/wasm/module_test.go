package wasm

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"crypto/sha256"
	"crypto/x509"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/manifest/payload"
	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/runtime/module"
)

// adder is f(p0, p1) = p0 + p1, answer is f() = 42, both s32.
var (
	adder    = assemble("\x7f\x7f", "\x7f", "\x20\x00\x20\x01\x6a")
	fortyTwo = assemble("", "\x7f", "\x41\x2a")
)

// world is a module as the runtime has it, over a store that survives.
type world struct {
	t       *testing.T
	tables  Tables
	quotas  Quotas
	payload []byte
	m       *Module
	mux     *http.ServeMux
	changes atomic.Int32
	change  func() error // what a change of the configuration comes to; nil: well
}

const (
	managerToken = "the operator's"
	readerToken  = "a reader's"
)

func newWorld(t *testing.T, apps map[string][]byte, alter ...func(*manifest.Manifest)) *world {
	w := &world{t: t}
	w.tables, w.quotas = openStore(t)
	t.Cleanup(w.stop)
	if len(apps) == 0 {
		w.start()
		return w
	}
	man := &manifest.Manifest{Format: manifest.Format, Roles: []manifest.Role{
		{Name: "reader", Tokens: []manifest.Hash{sha256.Sum256([]byte(readerToken))}}}}
	for name, code := range apps {
		a := manifest.NewApp(name)
		a.Module = payload.Describe(code, code)
		man.Apps = append(man.Apps, a)
	}
	for _, f := range alter {
		f(man)
	}
	man.Normalize()
	p := &payload.Payload{Manifest: man}
	for _, a := range man.Apps {
		p.Stored = append(p.Stored, apps[a.Name])
	}
	var b bytes.Buffer
	if _, err := p.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	w.payload = b.Bytes()
	w.start()
	return w
}

func (w *world) start() {
	w.t.Helper()
	w.m = &Module{}
	err := w.m.StartWith(context.Background(), Config{
		Payload: w.payload, Tables: w.tables, Quotas: w.quotas, SealRoot: []byte("root"), Engine: Interpreter,
		Log: slog.New(slog.NewTextHandler(&logs, nil)), Changed: w.changed,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.mux = http.NewServeMux()
	w.mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "healthy") })
	w.m.Routes(w.mux)
}

func (w *world) changed() error {
	w.changes.Add(1)
	if w.change != nil {
		return w.change()
	}
	return nil
}

func (w *world) stop() {
	if err := w.m.Stop(context.Background()); err != nil {
		w.t.Error(err)
	}
}

func callerOf(token string) module.Caller {
	c := module.Caller{Token: token}
	if token == managerToken {
		c.Role, c.Known = module.Manager, true
	}
	return c
}

// do makes an HTTP request.
func (w *world) do(method, url, token, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, url, strings.NewReader(body))
	r = r.WithContext(module.WithCaller(r.Context(), callerOf(token)))
	rec := httptest.NewRecorder()
	w.mux.ServeHTTP(rec, r)
	return rec
}

// data makes a POST /data and returns the answer's body, or the error.
func (w *world) data(token, body string) (string, error) {
	r, err := w.m.Handle(context.Background(), &module.Request{Body: []byte(body), Caller: callerOf(token)})
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(r.Body)), nil
}

func (w *world) want(what, got, want string) {
	w.t.Helper()
	if !strings.Contains(got, want) {
		w.t.Errorf("%s: %s; want %s", what, got, want)
	}
}

func (w *world) leaves() string {
	var s []string
	for _, l := range w.m.ConfigLeaves() {
		s = append(s, l.Name+"="+string(l.Data))
	}
	return strings.Join(s, "\n")
}

func TestRoutes(t *testing.T) {
	w := newWorld(t, map[string][]byte{"adder": adder, "answer": fortyTwo}, func(m *manifest.Manifest) {
		for i := range m.Apps {
			a := &m.Apps[i]
			if a.Name == "answer" {
				a.Permissions.Default = manifest.WithRole
				a.Permissions.Roles = []string{"reader"}
			}
		}
	})
	for _, c := range []struct {
		method, url, token, body string
		status                   int
		want                     string
	}{
		{"POST", "/rpc/adder/f", "", `{"p0":1,"p1":2}`, 200, "3\n"},
		{"POST", "/rpc/adder/f", "", `{"p0":1,"p1":2,"app_auth":"x","billing_approved":true}`, 200, "3\n"},
		{"POST", "/rpc/adder/f", "", `{"p0":1}`, 400, "p1 is missing"},
		{"POST", "/rpc/adder/f", "", `[]`, 400, "no JSON object"},
		{"POST", "/rpc/adder/f", "", `null`, 400, "no JSON object"},
		{"POST", "/rpc/adder/f", "", ``, 400, "p0 is missing"},
		{"POST", "/rpc/adder/g", "", `{}`, 404, "no function g"},
		{"POST", "/rpc/none/f", "", `{}`, 404, "no app none"},
		{"GET", "/rpc/adder/f", "", ``, 405, ""},
		{"GET", "/rpc/adder/schema", "", ``, 200, `"functions":[{"name":"f","params":[{"name":"p0","type":"s32"},{"name":"p1","type":"s32"}],"result":"s32"}]`},
		{"GET", "/rpc/none/schema", "", ``, 404, "no app none"},
		{"POST", "/rpc/answer/f", "", `{}`, 401, "needs a token"},
		{"POST", "/rpc/answer/f", "", `rubbish`, 401, "needs a token"},
		{"POST", "/rpc/answer/f", "wrong", `{}`, 401, "needs a token"},
		{"POST", "/rpc/answer/f", readerToken, `{}`, 200, "42\n"},
		{"POST", "/rpc/answer/f", "", `{"app_auth":"` + readerToken + `"}`, 200, "42\n"},
		{"POST", "/rpc/answer/f", managerToken, `{}`, 200, "42\n"},
		{"GET", "/rpc/answer/schema", "", ``, 401, "schema of app"},
		{"GET", "/rpc/answer/schema", readerToken, ``, 200, "functions"},
		{"GET", "http://adder.example/api/v1/mcp/tools", "", ``, 200, `"input_schema":{"type":"object","properties":{"p0":{"type":"integer"},"p1":{"type":"integer"}},"required":["p0","p1"],"additionalProperties":false}`},
		{"POST", "http://adder.example/api/v1/mcp/tools/f", "", `{"p0":1,"p1":-2}`, 200, "-1\n"},
		{"GET", "http://none.example/api/v1/mcp/tools", "", ``, 404, "no app none"},
		{"GET", "/app/adder", "", ``, 404, "no command"},
		{"GET", "/app/none/x", "", ``, 404, "no app none"},
	} {
		rec := w.do(c.method, c.url, c.token, c.body)
		if rec.Code != c.status || !strings.Contains(rec.Body.String(), c.want) {
			t.Errorf("%s %s %s as %q: %d %s; want %d %s", c.method, c.url, c.body, c.token, rec.Code, rec.Body, c.status, c.want)
		}
		if rec.Code == 401 && rec.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s %s: 401 without WWW-Authenticate", c.method, c.url)
		}
		if c.status != 405 && !json.Valid(rec.Body.Bytes()) {
			t.Errorf("%s %s: no JSON: %s", c.method, c.url, rec.Body)
		}
	}
	if rec := w.do("POST", "/rpc/adder/f", "", strings.Repeat(" ", maxRequest+1)); rec.Code != 413 {
		t.Errorf("a body that is too long: %d", rec.Code)
	}
	if rec := w.do("POST", "/rpc/adder/f", "", `{"p0":1,"p1":2}`); rec.Header().Get("Eos-Fuel") != "3" {
		t.Errorf("fuel %q", rec.Header().Get("Eos-Fuel"))
	}
}

func TestEnvelope(t *testing.T) {
	w := newWorld(t, map[string][]byte{"adder": adder})
	for _, c := range []struct{ token, body, want string }{
		{"", `{"wasm_call":{"app":"adder","function":"f","params":[{"type":"s32","value":40},{"type":"s32","value":2}]}}`,
			`{"status":"ok","returns":[{"type":"s32","value":42}],"fuel":3}`},
		{"", `{"wasm_call":{"app":"adder","function":"f","params":[{"type":"s32","value":40}]}}`, `{"status":"error","message":"1 parameters for`},
		{"", `{"wasm_call":{"app":"adder","function":"f","params":[{"type":"u32","value":1},{"type":"s32","value":2}]}}`, `p0 is of type s32, not u32`},
		{"", `{"wasm_call":{"app":"none","function":"f"}}`, `there is no app none`},
		{"", `{"wasm_call":{"app":"adder","function":"f","more":1}}`, `unknown member`},
		{"", `{"wasm_call":5}`, `{"status":"error"`},
		{"", `{"connect_call":{"app":"adder","function":"f","body":{"p0":1,"p1":2}}}`, `3`},
		{"", `{"wasm_schema":{"app":"adder"}}`, `{"status":"schema","schema":{"app":"adder"`},
		{"", `{"mcp_tools":{"app":"adder"}}`, `{"status":"mcp_tools","manifest":{"name":"adder","tools":[{"name":"f","description":"f(p0:s32,p1:s32)s32","inputSchema":{`},
		{managerToken, `{"wasm_list":{}}`, `{"status":"apps","apps":[{"name":"adder","hostname":"","hostnames":[],"code_hash":"`},
		{managerToken, `{"wasm_unload":{"name":"none"}}`, `{"status":"not_found","name":"none"}`},
		{managerToken, `{"wasm_unload":{"name":"adder"}}`, `part of the image`},
		{managerToken, `{"wasm_load":{"name":"adder","bytes":"AGFzbQEAAAA="}}`, `there is an app adder already`},
		{managerToken, `{"wasm_load":{"name":"Bad Name","bytes":"AGFzbQEAAAA="}}`, `"status":"error"`},
		{managerToken, `{"wasm_load":{"name":"x","bytes":"AGFzbQEAAAA="}}`, `nothing that can be called`},
		{managerToken, `{"wasm_load":{"name":"x","bytes":"!"}}`, `"status":"error"`},
		{managerToken, `{"wasm_load":{"name":"x","bytes":"AGFzbQ0AAQA="}}`, `components: not yet`},
		{managerToken, `{"wasm_load":{"name":"x","bytes":"AGFzbQEAAAA=","encryption_key":"00"}}`, `unknown member`},
	} {
		got, err := w.data(c.token, c.body)
		if err != nil || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, %v; want %s", c.body, got, err, c.want)
		}
	}
	for body, status := range map[string]int{
		`{"wasm_load":{}}`: 401, `{"wasm_unload":{}}`: 401, `{"wasm_list":{}}`: 401, `{"wasm_list":{},"wasm_call":{}}`: 401, `{"wasm_call":{}`: 0,
	} {
		_, err := w.data("", body)
		e, ok := err.(*module.Error)
		if !ok || e.Status != status {
			t.Errorf("%s: %v; want status %d", body, err, status)
		}
	}
	for _, body := range []string{``, `hello`, `[]`, `{}`, `{"other":1}`, `{1}`, `"wasm_call"`} {
		if _, err := w.data(managerToken, body); err != module.ErrNotMine {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func loadBody(name string, code []byte, more string) string {
	return fmt.Sprintf(`{"wasm_load":{"name":%q,"bytes":%q%s}}`, name, base64.StdEncoding.EncodeToString(code), more)
}

// TestLifeCycle: what is loaded is in the configuration at once, there again after a
// restart, and gone when it is unloaded.
func TestLifeCycle(t *testing.T) {
	w := newWorld(t, map[string][]byte{"adder": adder})
	before := w.leaves()
	if n := len(w.m.Extensions()); n != 2 || !w.m.Extensions()[1].OID.Equal(ratls.OIDWASMCode) {
		t.Errorf("%d extensions for one app", n)
	}
	got, err := w.data(managerToken, loadBody("answer", fortyTwo, `,"hostname":"answer.example","max_fuel":1000,
		"limits":{"time_ms":500},"env":{"A":"b"},"permissions":{"default_policy":"public"}`))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(fortyTwo)
	hash := fmt.Sprintf("%x", sum)
	w.want("load", got, `{"status":"loaded","app":{"name":"answer","hostname":"answer.example","hostnames":["answer.example"],"code_hash":"`+hash+
		`","key_source":"generated","exports":[{"name":"f","param_count":0,"result_count":1}],"configuration_hash":"`)
	w.want("load", got, `"max_fuel":1000,"origin":"loaded","loaded":true}}`)
	if w.changes.Load() != 1 {
		t.Errorf("%d changes", w.changes.Load())
	}
	check := func(when string) {
		t.Helper()
		w.want(when, w.leaves(), "wasm.answer.code_hash="+hash)
		w.want(when, w.leaves(), "wasm.answer.origin=loaded")
		w.want(when, w.leaves(), "wasm.adder.origin=image")
		if e := w.m.Extensions(); len(e) != 1 || !e[0].OID.Equal(ratls.OIDWorkloads) {
			t.Errorf("%s: extensions %v", when, e)
		}
		s := w.m.Subjects()
		if len(s) != 1 || s[0].Hosts[0] != "answer.example" || !bytes.Equal(s[0].Extensions[0].Value, sum[:]) || !s[0].Extensions[0].OID.Equal(ratls.OIDAppCode) {
			t.Errorf("%s: subjects %v", when, s)
		}
		w.want(when, w.do("POST", "/rpc/answer/f", "", "{}").Body.String(), "42")
		w.want(when, w.do("POST", "http://answer.example/rpc/answer/f", "", "{}").Body.String(), "42")
		w.want(when, w.do("GET", "http://answer.example:8443/healthz", "", "").Body.String(), "healthy")
		w.want(when, w.do("GET", "http://answer.example/api/v1/mcp/tools", "", "").Body.String(), `"name":"f"`)
	}
	check("loaded")
	w.want("a host name twice", first(w.data(managerToken, loadBody("third", fortyTwo, `,"hostname":"answer.example"`))), "is app answer's")
	w.stop()
	w.start()
	check("after a restart")

	w.want("unload", first(w.data(managerToken, `{"wasm_unload":{"name":"answer"}}`)), `{"status":"unloaded","name":"answer"}`)
	if got := w.leaves(); got != before {
		t.Errorf("leaves are\n%s\nwant\n%s", got, before)
	}
	if rec := w.do("POST", "/rpc/answer/f", "", "{}"); rec.Code != 404 {
		t.Errorf("unloaded: %d", rec.Code)
	}
	if rec := w.do("GET", "http://answer.example/", "", ""); rec.Code != 404 {
		t.Errorf("an unloaded app's host name: %d", rec.Code)
	}
	w.stop()
	w.start()
	if got := w.leaves(); got != before {
		t.Errorf("after another restart leaves are\n%s\nwant\n%s", got, before)
	}
}

func first(s string, err error) string {
	if err != nil {
		return err.Error()
	}
	return s
}

// TestReloadRefused: stored code that is not what the description says is left out.
func TestReloadRefused(t *testing.T) {
	w := newWorld(t, nil)
	if _, err := w.data(managerToken, loadBody("answer", fortyTwo, "")); err != nil {
		t.Fatal(err)
	}
	key := append([]byte("canswer"), 0, 0, 0, 0, 0)
	table := w.tables(registryTable)
	if v, err := table.Get(t.Context(), key); err != nil || !bytes.Equal(v, fortyTwo) {
		t.Fatalf("%x, %v", v, err)
	}
	if err := table.Put(t.Context(), key, bytes.Replace(fortyTwo, []byte{0x41, 42}, []byte{0x41, 43}, 1)); err != nil {
		t.Fatal(err)
	}
	w.stop()
	w.start()
	if strings.Contains(w.leaves(), "answer") || w.do("POST", "/rpc/answer/f", "", "{}").Code != 404 {
		t.Error("other code is loaded under the app's name")
	}
	w.want("the log", logs.text(), "the stored code is not the app's")
}

// TestChangeFails: an app that cannot be put into the certificate does not run.
func TestChangeFails(t *testing.T) {
	w := newWorld(t, nil)
	w.m.changed = func() error { return fmt.Errorf("no quote") }
	if _, err := w.data(managerToken, loadBody("answer", fortyTwo, "")); err == nil {
		t.Error("loaded")
	}
	if w.do("POST", "/rpc/answer/f", "", "{}").Code != 404 {
		t.Error("it runs")
	}
	w.m.changed = func() error { return nil }
	w.stop()
	w.start()
	if w.do("POST", "/rpc/answer/f", "", "{}").Code != 404 {
		t.Error("it runs after a restart")
	}
}

// TestExtension: an app's extension is in its certificate and in the configuration,
// and there again after a restart.
func TestExtension(t *testing.T) {
	w := newWorld(t, map[string][]byte{"adder": adder}, func(m *manifest.Manifest) {
		m.Apps[0].Interfaces = manifest.Interfaces
		m.Apps[0].Hostnames = []string{"adder.example"}
	})
	set := func(n uint32, value string) error {
		return w.m.host.SetExtension(t.Context(), "adder", n, []byte(value))
	}
	for _, e := range []struct {
		n     uint32
		value string
	}{{5, "model digest"}, {7, "tools"}, {7, ""}, {8, ""}, {5, "model digest"}} {
		if err := set(e.n, e.value); err != nil {
			t.Error(err)
		}
	}
	if w.changes.Load() != 3 {
		t.Errorf("%d changes, want 3", w.changes.Load())
	}
	check := func(when string) {
		t.Helper()
		w.want(when, w.leaves(), "wasm.adder.extension.5=model digest")
		if strings.Contains(w.leaves(), "extension.7") {
			t.Errorf("%s: extension 7 is still there", when)
		}
		e := w.m.Subjects()[0].Extensions
		if last := e[len(e)-1]; string(last.Value) != "model digest" || last.OID.String() != "1.3.6.1.4.1.65230.3.5.5" {
			t.Errorf("%s: the last extension is %v %q", when, last.OID, last.Value)
		}
	}
	e := w.m.Extensions()
	if last := e[len(e)-1]; !last.OID.Equal(ratls.OIDEgressCAs) || len(last.Value) != 32 || !strings.Contains(w.leaves(), fmt.Sprintf("wasm.egress_cas=%x", last.Value)) {
		t.Errorf("an app that may fetch has no claim of its authorities: %v", e)
	}
	if mozillas().pool.Equal(x509.NewCertPool()) {
		t.Error("no authorities")
	}
	check("set")
	w.stop()
	w.start()
	check("after a restart")
	for n := range uint32(20) {
		err := set(n+100, "x")
		if n < maxExtensions-1 && err != nil || n >= maxExtensions-1 && err != errTooMany {
			t.Errorf("extension %d: %v", n+2, err)
		}
	}
}

// TestBadPayload: an image with an app that does not load does not start.
func TestBadPayload(t *testing.T) {
	code := []byte("\x00asm\x01\x00\x00\x00")
	man := &manifest.Manifest{Format: manifest.Format, Apps: []manifest.App{manifest.NewApp("x")}}
	man.Apps[0].Module = payload.Describe(code, code)
	man.Normalize()
	var b bytes.Buffer
	if _, err := (&payload.Payload{Manifest: man, Stored: [][]byte{code}}).WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string][]byte{"nothing to call": b.Bytes(), "cut": b.Bytes()[:b.Len()-1], "empty": {}} {
		m := &Module{}
		err := m.StartWith(t.Context(), Config{Payload: p, Engine: Interpreter, Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			t.Errorf("%s: started", name)
		}
	}
}

func TestStatus(t *testing.T) {
	w := newWorld(t, map[string][]byte{"adder": adder})
	w.do("POST", "/rpc/adder/f", "", `{"p0":1,"p1":2}`)
	b, err := json.Marshal(w.m.Status())
	if err != nil {
		t.Fatal(err)
	}
	w.want("status", string(b), `"engine":"interpreter"`)
	w.want("status", string(b), `"origin":"image","calls":1,"faults":0,"fuel":3`)
	if w.m.Name() != "wasm" {
		t.Error(w.m.Name())
	}
	var _ interface {
		module.Module
		module.Router
		module.Configured
		module.Claimant
		module.Landlord
		module.Starter
		module.Stopper
		module.Reporter
		module.Counter
	} = w.m
}

// TestNoRoom: a module that would take more memory than there is is refused, where it
// would be the end of the enclave.
func TestNoRoom(t *testing.T) {
	w := newWorld(t, nil)
	runtime.GC()
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(int64(now.HeapAlloc) + 8<<20))
	big := append(slices.Clone(fortyTwo), append([]byte{0, 0x84, 0x80, 0x40, 1, 'x'}, make([]byte, 1<<20+2)...)...)
	w.want("a large module", first(w.data(managerToken, loadBody("big", big, ""))), "build it with a larger --heap-size")
	w.want("a small module", first(w.data(managerToken, loadBody("small", fortyTwo, ""))), `"status":"loaded"`)
}

// TestMemoryShare: without a limit of the Go runtime there is none, and with one a part.
func TestMemoryShare(t *testing.T) {
	if n := memoryShare(Compiler); n != 0 {
		t.Errorf("without a limit: %d", n)
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(800 << 20))
	for engine, want := range map[EngineKind]int64{Compiler: 300 << 20, Interpreter: 200 << 20} {
		if n := memoryShare(engine); n != want {
			t.Errorf("of 800 MiB for the %s: %d", engine, n)
		}
	}
}
