package wasm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/runtime/kvstore"
)

// build builds a Go guest of testdata, once.
func build(t testing.TB, name string, flags ...string) []byte {
	t.Helper()
	buildMu.Lock()
	defer buildMu.Unlock()
	if b, ok := built[name]; ok {
		return b
	}
	out := filepath.Join(t.TempDir(), name+".wasm")
	cmd := exec.Command("go", append(append([]string{"build", "-ldflags=-s -w", "-o", out}, flags...), ".")...)
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

// guest is the reactor that most tests call.
func guest(t testing.TB) []byte { return build(t, "guest", "-buildmode=c-shared") }

func openStore(t testing.TB) (Tables, Quotas) {
	t.Helper()
	s, err := kvstore.OpenMemory(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return storeOf(s)
}

// newHost is a host with a store and a log that can be read.
func newHost(t testing.TB, engine EngineKind) *Host {
	tables, quotas := openStore(t)
	return &Host{Engine: engine, Log: slog.New(slog.NewTextHandler(&logs, nil)), Tables: tables, Quotas: quotas, SealRoot: []byte("a root for tests")}
}

// logs are what all hosts have logged.
var logs log

type log struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *log) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func load(t testing.TB, h *Host, name string, code []byte, alter ...func(*manifest.App)) *App {
	t.Helper()
	desc := manifest.NewApp(name)
	desc.Interfaces = slices.Clone(manifest.Interfaces)
	for _, f := range alter {
		f(&desc)
	}
	a, err := h.Load(context.Background(), desc, code)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// The guest is compiled once for all tests: that is what takes time.
var (
	sharedMu  sync.Mutex
	sharedApp *App
	sharedToo *App
)

// otherGuest is a second app of the same code beside sharedGuest, interpreted.
func otherGuest(t testing.TB) *App {
	t.Helper()
	a := sharedGuest(t)
	sharedMu.Lock()
	defer sharedMu.Unlock()
	if sharedToo == nil {
		h := &Host{Engine: Interpreter, Log: a.host.Log, Tables: a.host.Tables, Quotas: a.host.Quotas, SealRoot: a.host.SealRoot}
		sharedToo = load(t, h, "other", guest(t), func(m *manifest.App) { m.Args, m.Env = a.Args, a.Env })
	}
	return sharedToo
}

func sharedGuest(t testing.TB) *App {
	t.Helper()
	sharedMu.Lock()
	defer sharedMu.Unlock()
	if sharedApp == nil {
		sharedApp = load(t, newHost(t, Compiler), "guest", guest(t), func(m *manifest.App) {
			m.Args, m.Env = []string{"-v", "two words"}, []string{"COLOUR=green", "PWD=/"}
			m.Egress = []string{"127.0.0.1:8443", "*.example.com:443"}
		})
	}
	return sharedApp
}

// with changes the limits of the shared guest for one test.
func with(t testing.TB, f func(*manifest.Limits)) *App {
	a := sharedGuest(t)
	old := a.Limits
	t.Cleanup(func() { a.Limits = old })
	f(&a.Limits)
	return a
}

// call calls with JSON parameters and returns the result's JSON.
func call(t testing.TB, a *App, function, params string) (string, error) {
	t.Helper()
	var p map[string]json.RawMessage
	if err := json.Unmarshal([]byte(params), &p); err != nil {
		t.Fatal(err)
	}
	r, err := a.Call(context.Background(), Caller{Role: "anyone", Roles: []string{"b", "a"}}, function, p)
	if err != nil {
		return "", err
	}
	return string(r.Value), nil
}

// fault wants a call to end with a fault of a kind, whose text has some words.
func fault(t testing.TB, what string, err error, kind FaultKind, words string) {
	t.Helper()
	var f *Fault
	if !errors.As(err, &f) || f.Kind != kind || !strings.Contains(f.Text, words) {
		t.Errorf("%s: %v; want a fault of kind %d with %q", what, err, kind, words)
	}
}

// assemble makes (module (memory 1 16) (func (export "f") (param...) (result...) code)
// with one type, and custom sections.
func assemble(params, results string, code string, custom ...[]byte) []byte {
	vec := func(s string) string { return string(rune(len(s))) + s }
	sec := func(id byte, s string) string {
		if len(s) > 127 {
			panic("too long for one byte")
		}
		return string([]byte{id, byte(len(s))}) + s
	}
	body := vec("\x00" + code + "\x0b")
	m := "\x00asm\x01\x00\x00\x00" + sec(1, "\x01\x60"+vec(params)+vec(results)) + sec(3, "\x01\x00") + sec(5, "\x01\x01\x01\x10") +
		sec(7, "\x02\x01f\x00\x00\x06memory\x02\x00") + sec(10, "\x01"+body)
	for _, c := range custom {
		m += string(c)
	}
	return []byte(m)
}

func TestEngines(t *testing.T) {
	if got := Probe(t.Context()); got != Compiler {
		t.Errorf("the engine here is the %s", got)
	}
	for _, app := range []*App{otherGuest(t), sharedGuest(t)} {
		for _, c := range []struct{ function, params, want string }{
			{"add", `{"p0":40,"p1":2}`, "42"},
			{"greet", `{"name":"<wörld>"}`, `"hello, <wörld>"`},
			{"getenv", `{"name":"COLOUR"}`, `"green"`},
			{"args", `{}`, fmt.Sprintf("%q", app.Name+" -v two words")},
			{"write", `{"path":"/a/b/c.txt","text":"text"}`, `"ok"`},
			{"read", `{"path":"/a/b/c.txt"}`, `"text"`},
			{"list", `{"path":"/a"}`, `"b/"`},
			{"deep", `{"n":50}`, `50`},
		} {
			got, err := call(t, app, c.function, c.params)
			if err != nil || got != c.want {
				t.Errorf("%s: %s(%s) = %s, %v; want %s", app.host.Engine, c.function, c.params, got, err, c.want)
			}
		}
	}
}

// TestFuelSame: the same count in both engines, through the whole runtime.
func TestFuelSame(t *testing.T) {
	// A loop of f(n) rounds: local.get 0; i32.const 1; i32.sub; local.tee 0; br_if 0.
	code := assemble("\x7f", "\x7f", "\x03\x40\x20\x00\x41\x01\x6b\x22\x00\x0d\x00\x0b\x20\x00")
	var fuel []uint64
	for _, e := range []EngineKind{Compiler, Interpreter} {
		a := load(t, newHost(t, e), "loop", code)
		r, err := a.Call(t.Context(), Caller{}, "f", map[string]json.RawMessage{"p0": []byte("100000")})
		if err != nil {
			t.Fatal(err)
		}
		fuel = append(fuel, r.Fuel)
	}
	if fuel[0] != 500_001 || fuel[1] != 500_001 {
		t.Errorf("fuel %v, want 500001 twice", fuel)
	}
}

// TestLoadRefused: what is wrong with a module is said when it is loaded.
func TestLoadRefused(t *testing.T) {
	section := func(s string) []byte {
		return []byte("\x00" + string(rune(len(s)+14)) + "\x0deos.functions" + s)
	}
	ret := "\x41\x00" // i32.const 0
	for name, c := range map[string]struct {
		code []byte
		want string
	}{
		"component":   {[]byte("\x00asm\x0d\x00\x01\x00"), "components: not yet"},
		"native code": {[]byte("\x7fELF"), "not a WASM module"},
		"invalid":     {assemble("", "\x7f", ""), "f"},
		"more memory": {[]byte("\x00asm\x01\x00\x00\x00\x05\x05\x01\x00\x81\x80\x04"), "min"},
		"no exports":  {[]byte("\x00asm\x01\x00\x00\x00"), "nothing that can be called"},
		"no such eos function": {[]byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x02\x09\x01\x03eos\x01x\x00\x00"),
			"eos.x, which there is not"},
		"another module": {[]byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x02\x09\x01\x03sys\x01x\x00\x00"),
			"imports sys.x"},
		"no such type":    {assemble("", "\x7f", ret, section(`[{"name":"f","params":[],"result":"s128"}]`)), "no type"},
		"not as declared": {assemble("", "\x7f", ret, section(`[{"name":"f","params":[],"result":"s64"}]`)), "wants (i64)"},
		"no such export":  {assemble("", "\x7f", ret, section(`[{"name":"g","params":[]}]`)), `no export "g"`},
		"no alloc":        {assemble("\x7f\x7f", "", "", section(`[{"name":"f","params":[{"name":"s","type":"string"}]}]`)), "must export eos_alloc"},
		"malformed":       {assemble("", "\x7f", ret, section(`[{"name":"f"}]]`)), "after top-level value"},
		"member twice":    {assemble("", "\x7f", ret, section(`[{"name":"f","result":"u32","result":"s32"}]`)), "comes twice"},
		"unknown member":  {assemble("", "\x7f", ret, section(`[{"name":"f","x":1}]`)), "unknown member"},
		"declared twice":  {assemble("", "\x7f", ret, section(`[{"name":"f","result":"s32"},{"name":"f","result":"s32"}]`)), "two functions"},
	} {
		desc := manifest.NewApp("x")
		if _, err := newHost(t, Interpreter).Load(t.Context(), desc, c.code); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
}

func TestMain(m *testing.M) {
	code := m.Run()
	if code != 0 && os.Getenv("EOS_TEST_LOG") != "" {
		_, _ = io.WriteString(os.Stderr, logs.text())
	}
	os.Exit(code)
}

// collect runs the garbage collector, which has to stop all others for a moment.
func collect() { runtime.GC() }
