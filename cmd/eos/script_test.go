package main

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/enclaveos/eos/cmd/eos/edptool"
	"github.com/enclaveos/eos/pkg/attest/attesttest"
	"github.com/enclaveos/eos/pkg/attest/collateral"
	"github.com/enclaveos/eos/pkg/sign/keyref"
	"github.com/enclaveos/eos/testdata/enclaves"
	"github.com/enclaveos/eos/testdata/guests"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes "eos", and every name of an EDP tool, a command of the
// scripts: this test binary under that name, so that main itself runs.
func TestMain(m *testing.M) {
	commands := map[string]func(){"eos": main}
	for _, name := range edptool.Names() {
		commands[name] = main
	}
	testscript.Main(m, commands)
}

// TestScript runs the stories of testdata/script. Beside testscript's own
// commands they have:
//
//	enclave NAME FILE       builds a test enclave (testdata/enclaves) as FILE
//	guest NAME FILE         builds a WASM module (testdata/guests) as FILE
//	evidence KIND DIR       mints a quote and all that it takes to verify it
//	https METHOD URL CA [TOKEN-FILE|- [BODY]]
//	                        prints status and answer, to a client that knows only the CA
//	hsm KEY DIGEST FILE     signs a digest as a device would: PKCS#1 v1.5
//	json FILE [EXPR WANT]…  FILE is one JSON document; with the value WANT at EXPR, as a.b.0
//	listening FILE VAR      waits until a runtime has written to FILE where it listens, in a
//	                        story with its process id in the file pid, what it says in log
//	pccs FILE VAR           serves the collateral in a bundle, at the address in VAR
//	oneline FILE            every line of FILE is a word of eos: error, warning or hint
//	put FILE HEX OFFSET     writes bytes into a file
//	cut FILE SIZE           shortens a file to its first SIZE bytes
//
// $EDP is testdata/vectors/edp, what the Fortanix tools made, and $REPO the
// repository: the place to stand in to build the runtime from its source.
func TestScript(t *testing.T) {
	edp, err := filepath.Abs("../../testdata/vectors/edp")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                "../../testdata/script",
		RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("EDP", edp)
			e.Setenv("REPO", filepath.Dir(filepath.Dir(filepath.Dir(edp))))
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "state"))
			e.Setenv("GOCACHE", goCache())
			e.Values["t"] = e.T()
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if name, ok := strings.CutPrefix(cond, "have:"); ok {
				_, err := exec.LookPath(name)
				return err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"pccs": func(ts *testscript.TestScript, _ bool, args []string) {
				c, err := collateral.ReadBundle(ts.MkAbs(args[0]))
				ts.Check(err)
				s := httptest.NewServer(attesttest.Service(c))
				ts.Defer(s.Close)
				ts.Setenv(args[1], s.URL)
			},
			"enclave": func(ts *testscript.TestScript, neg bool, args []string) {
				wantArgs(ts, neg, args, 2, "enclave NAME FILE")
				copyFile(ts, enclaves.Build(t, args[0]), ts.MkAbs(args[1]))
			},
			"evidence": func(ts *testscript.TestScript, neg bool, args []string) {
				wantArgs(ts, neg, args, 2, "evidence KIND DIR")
				mintEvidence(ts, t, args[0], args[1])
			},
			"guest": func(ts *testscript.TestScript, neg bool, args []string) {
				wantArgs(ts, neg, args, 2, "guest NAME FILE")
				path, err := guests.File(args[0])
				ts.Check(err)
				copyFile(ts, path, ts.MkAbs(args[1]))
			},
			"hsm":       hsm,
			"https":     httpsAsk,
			"json":      checkJSON,
			"listening": listeningAt,
			"oneline":   oneLineOnly,
			"put": func(ts *testscript.TestScript, neg bool, args []string) {
				wantArgs(ts, neg, args, 3, "put FILE HEX OFFSET")
				var b []byte
				var off int
				if _, err := fmt.Sscanf(args[1]+" "+args[2], "%x %v", &b, &off); err != nil {
					ts.Fatalf("%v", err)
				}
				edit(ts, args[0], func(text []byte) []byte { copy(text[off:], b); return text })
			},
			"cut": func(ts *testscript.TestScript, neg bool, args []string) {
				wantArgs(ts, neg, args, 2, "cut FILE SIZE")
				var n int
				if _, err := fmt.Sscan(args[1], &n); err != nil {
					ts.Fatalf("%v", err)
				}
				edit(ts, args[0], func(text []byte) []byte { return text[:n] })
			},
		},
	})
}

func wantArgs(ts *testscript.TestScript, neg bool, args []string, n int, usage string) {
	if neg || len(args) != n {
		ts.Fatalf("usage: %s", usage)
	}
}

func copyFile(ts *testscript.TestScript, from, to string) {
	b, err := os.ReadFile(from)
	ts.Check(err)
	ts.Check(os.WriteFile(to, b, 0o644))
}

// edit changes a file of the story, also if it is a read-only copy.
func edit(ts *testscript.TestScript, name string, change func([]byte) []byte) {
	path := ts.MkAbs(name)
	b, err := os.ReadFile(path)
	ts.Check(err)
	ts.Check(os.Remove(path))
	ts.Check(os.WriteFile(path, change(b), 0o644))
}

func hsm(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 3, "hsm KEY DIGEST FILE")
	key, err := keyref.Load(ts.MkAbs(args[0]), nil)
	ts.Check(err)
	digest, err := os.ReadFile(ts.MkAbs(args[1]))
	ts.Check(err)
	sig, err := rsa.SignPKCS1v15(rand.Reader, key.(*rsa.PrivateKey), crypto.SHA256, digest)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), sig, 0o644))
}

func checkJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args)%2 != 1 {
		ts.Fatalf("usage: json FILE [EXPR WANT]...")
	}
	d := json.NewDecoder(strings.NewReader(ts.ReadFile(args[0])))
	d.UseNumber()
	var doc any
	ts.Check(d.Decode(&doc))
	if _, err := d.Token(); err != io.EOF {
		ts.Fatalf("%s: something follows the document", args[0])
	}
	for i := 1; i < len(args); i += 2 {
		v := doc
		for _, step := range strings.Split(args[i], ".") {
			switch x := v.(type) {
			case map[string]any:
				v = x[step]
			case []any:
				var n int
				if _, err := fmt.Sscan(step, &n); err != nil || n >= len(x) {
					ts.Fatalf("%s: no element %s", args[i], step)
				}
				v = x[n]
			default:
				ts.Fatalf("%s: %v has no %s", args[i], v, step)
			}
		}
		if got := fmt.Sprint(v); got != args[i+1] {
			ts.Fatalf("%s is %s, want %s", args[i], got, args[i+1])
		}
	}
}

// oneLineOnly holds the rule of ui.go: every line on stderr has its kind.
func oneLineOnly(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, "oneline FILE")
	text := ts.ReadFile(args[0])
	if text == "" {
		ts.Fatalf("%s is empty", args[0])
	}
	for line := range strings.Lines(text) {
		kind, rest, ok := strings.Cut(strings.TrimPrefix(line, "eos: "), ": ")
		if !strings.HasPrefix(line, "eos: ") || !ok || kind != "error" && kind != "warning" && kind != "hint" {
			ts.Fatalf("not a line of eos: %q", line)
		}
		if rest = strings.TrimSuffix(rest, "\n"); rest == "" || strings.HasSuffix(rest, ".") || bytes.ContainsAny([]byte(rest), "\x1b\r") {
			ts.Fatalf("ill-formed: %q", line)
		}
	}
}

// goCache is the cache of the go command that runs the tests, which scripts
// that build Go programs share.
var goCache = sync.OnceValue(func() string {
	out, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(out))
})
