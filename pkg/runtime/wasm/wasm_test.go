package wasm

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/runtime/kvstore"
)

// build builds a Go guest of testdata once.
func build(t testing.TB, name string, flags ...string) []byte {
	t.Helper()
	buildMu.Lock()
	defer buildMu.Unlock()
	if b, ok := built[name]; ok {
		return b
	}
	out := filepath.Join(t.TempDir(), name+".wasm")
	cmd := exec.Command("go", append(append([]string{"build", "-o", out}, flags...), ".")...)
	cmd.Dir = filepath.Join("testdata", name)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	built[name] = b
	return b
}

var (
	buildMu sync.Mutex
	built   = map[string][]byte{}
)

func guest(t testing.TB) []byte { return build(t, "guest", "-buildmode=c-shared") }

func store(t testing.TB) Tables {
	t.Helper()
	s, err := kvstore.OpenMemory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return func(name string) Table { return s.Table(name) }
}

func host(t testing.TB, engine EngineKind) *Host {
	return &Host{Engine: engine, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Tables: store(t)}
}

func load(t testing.TB, h *Host, name string, code []byte, alter ...func(*manifest.App)) *App {
	t.Helper()
	desc := manifest.NewApp(name)
	for _, f := range alter {
		f(&desc)
	}
	a, err := h.Load(t.Context(), desc, code)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close(context.Background()) })
	return a
}

// call calls with JSON parameters and returns the result's JSON.
func call(t testing.TB, a *App, function, params string) (string, error) {
	t.Helper()
	var p map[string]json.RawMessage
	if err := json.Unmarshal([]byte(params), &p); err != nil {
		t.Fatal(err)
	}
	r, err := a.Call(t.Context(), Caller{Role: "anyone"}, function, p)
	if err != nil {
		return "", err
	}
	return string(r.Value), nil
}

func TestGoGuest(t *testing.T) {
	for _, engine := range []EngineKind{Compiler, Interpreter} {
		t.Run(string(engine), func(t *testing.T) {
			a := load(t, host(t, engine), "guest", guest(t), func(m *manifest.App) { m.Env = []string{"COLOUR=green"} })
			for _, c := range []struct{ function, params, want string }{
				{"add", `{"p0":40,"p1":2}`, "42"},
				{"greet", `{"name":"<wörld>"}`, `"hello, <wörld>"`},
				{"put", `{"key":"k","value":"v1"}`, "0"},
				{"get", `{"key":"k"}`, `"v1"`},
				{"get", `{"key":"other"}`, `"error -2"`},
				{"env", `{"name":"COLOUR"}`, `"green"`},
				{"write", `{"path":"/a/b/c.txt","text":"text"}`, `"ok"`},
				{"read", `{"path":"/a/b/c.txt"}`, `"text"`},
				{"list", `{"path":"/a"}`, `"b"`},
			} {
				got, err := call(t, a, c.function, c.params)
				if err != nil || got != c.want {
					t.Errorf("%s(%s) = %s, %v; want %s", c.function, c.params, got, err, c.want)
				}
			}
		})
	}
}
