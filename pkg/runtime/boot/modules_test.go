package boot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/runtime/helloworld"
	"github.com/enclaveos/eos/pkg/runtime/measure"
	"github.com/enclaveos/eos/pkg/runtime/metric"
	"github.com/enclaveos/eos/pkg/runtime/module"
)

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
	if text := e.log.String(); !strings.Contains(text, "panicked") || !strings.Contains(text, "modules_test.go:") || strings.Contains(text, "in a module") {
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
