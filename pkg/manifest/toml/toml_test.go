package toml

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/manifest"
)

// full names everything that there is.
const full = `# all of it
[[app]]
name = "notes"
file = "notes.wasm"
hostnames = ["notes.example.org"]
interfaces = ["random", "kv"]
egress = ["api.example.org:443"]
args = ["z", "a"]
[app.env]
B = "2"
A = "1"
[app.limits]
fuel = 1_000_000
memory = "2MiB"
time = "1.5s"
output = "4KiB"
concurrency = 3
storage = "3MiB"
pool = 2
[app.permissions]
default_policy = "authenticated"
functions.erase = { policy = "role", roles = ["editor"] }

[[app]]
file = "Hello.wasm"

[roles]
editor = ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
`

func fill(m *Manifest) *Manifest {
	for i := range m.Apps {
		m.Apps[i].Module = manifest.Module{SHA256: sha256.Sum256(nil), Size: 1, StoredSize: 1, Encoding: manifest.Raw}
	}
	return m
}

func TestFull(t *testing.T) {
	m, err := Parse([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Files) != 2 || m.Files[0] != "notes.wasm" || m.Files[1] != "Hello.wasm" {
		t.Errorf("files %q", m.Files)
	}
	fill(m).Normalize()
	text, err := m.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"name":"notes","hostnames":["notes.example.org"],`,
		`"interfaces":["kv","random"],"args":["z","a"],"env":["A=1","B=2"],"egress":["api.example.org:443"],`,
		`"limits":{"fuel":1000000,"memory_pages":32,"time_ms":1500,"output_bytes":4096,"concurrency":3,"storage":3145728,"pool":2},`,
		`"permissions":{"default_policy":"authenticated","default_roles":[],"functions":[{"name":"erase","policy":"role","roles":["editor"]}]}`,
		`"roles":[{"name":"editor","tokens":["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]}]}`,
		`{"name":"hello","hostnames":[],`,
		`"limits":{"fuel":10000000000,"memory_pages":1024,`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is not in %s", want, text)
		}
	}
}

func TestEmptyListsAreNotDefaults(t *testing.T) {
	m, err := Parse([]byte("[[app]]\nname = \"a\"\ninterfaces = []\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Apps[0].Interfaces) != 0 {
		t.Errorf("interfaces %q", m.Apps[0].Interfaces)
	}
}

// TestMark: some editors begin a file with one.
func TestMark(t *testing.T) {
	if _, err := Parse([]byte("\ufeff[[app]]\nname = \"a\"\n")); err != nil {
		t.Error(err)
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		text, want string
	}{
		{"", "no [[app]]: a manifest names at least one"},
		{"[[app]]\nname = \"a\"\n\nnmae = \"b\"\n", `line 4: unknown key "nmae"`},
		{"x = 1\n[[app]]\nname = \"a\"\n", `line 1: unknown key "x"`},
		{"[[app]]\nname = \"a\"\n[app.limits]\nfule = 1\n", `line 4: unknown key "fule"`},
		{"[[app]]\nname = \"a\"\n[app.permissions]\nfunctions.f = { policy = \"public\", price = 1 }\n", `line 4: unknown key "price"`},
		{"[[app]]\nname = \"a\"\nname = \"b\"\n", "line 3:"},
		{"[[app]]\nname = a\n", "line 2:"},
		{"[[app]]\nname = 3\n", "line 2:"},
		{"[[app]]\nname = \"a\"\n[app.limits]\nfuel = -1\n", "line 4:"},
		{"[[app]]\nname = \"a\"\n[app.limits]\nconcurrency = 4294967296\n", "line 4:"},
		{"[[app]]\nname = \"a\"\n[app.limits]\nmemory = \"64MB\"\n", `line 4: "64MB" is not a size`},
		{"[[app]]\nname = \"a\"\n[app.limits]\ntime = \"soon\"\n", `line 4: "soon" is not a time`},
		{"\n[[app]]\nname = \"a\"\n[app.limits]\nmemory = \"65KiB\"\n", "line 2: app a: limits: memory of 66560 bytes is not a multiple"},
		{"\n[[app]]\nname = \"a\"\n[app.limits]\noutput = \"4GiB\"\n", "line 2: app a: limits: output of 4294967296 bytes is too much"},
		{"\n[[app]]\nname = \"a\"\n[app.limits]\ntime = \"1ns\"\n", "line 2: app a: limits: time 1ns is not a number of milliseconds"},
		{"\n[[app]]\nhostnames = []\n", "line 2: an app needs a name or a file"},
		{"\n[[app]]\nfile = \"Ä.wasm\"\n", "line 2: Ä.wasm: "},
		{"[[app]]\nname = \"a\"\n\n[[app]]\nname = \"a\"\n", "line 4: there is an app a already"},
		{"[[app]]\nname = \"a\"\n[roles]\nx = [\"12\"]\n", `line 4: role x: "12" is not a SHA-256`},
		{"roles.x = [\"12\"]\n[[app]]\nname = \"a\"\n", `line 1: role x: "12" is not a SHA-256`},
		{"[[app]]\nname = \"a\"\n[roles]\n\n\"a: b\" = []\n", `line 5: role "a: b": want a name`},
		{"[[app]]\nname = \"a\"\n[roles]\nx = []\n", `line 4: role "x": no tokens`},
		{"\n[app]\nname = \"a\"\n", "line 2: [app]: write [[app]]"},
		{"app = 1\n", "line 1: app has a value of type integer: want tables [[app]]"},
		{"[[app]]\nname = \"a\"\nargs = \"b\"\n", "line 3: args has a value of type string: want a list of texts"},
		{"[[app]]\nname = \"a\"\nargs = [1]\n", "line 3: args has a value of type integer: want a text in quotes"},
		{"[[app]]\nname = \"a\"\n[app.env]\nN = 1\n", "line 4: N has a value of type integer: want a text in quotes"},
		{"[[app]]\nname = \"a\"\nenv = [\"N=1\"]\n", "line 3: env has a value of type array: want a table of texts"},
		{"[[app]]\nname = \"a\"\n[app.limits]\nfuel = \"1\"\n", "line 4: fuel has a value of type string: want a whole number"},
		{"[[app]]\nname = \"a\"\n[app.limits]\ntime = 10\n", `line 4: time is no text: want a time such as "10s"`},
		{"[[app]]\nname = \"a\"\n[app.limits]\nmemory = true\n", `line 4: memory is no text: want a size such as "64MiB"`},
		{"[[app]]\nname = \"a\"\nlimits = { fuel = 3, time = 10 }\n", `line 3: time is no text`},
		{"[[app]]\nname = \"a\"\nlimits.time = 10\n", `line 3: time is no text`},
		{"[[app]]\nname = \"a\"\nlimits = 5\n", "line 3: limits has a value of type integer: want a table"},
		{"[[app]]\nname = \"a\"\n\n[[app]]\nname = \"b\"\ninterfaces = [\"gpu\"]\n", `line 4: app b: unknown interface "gpu"`},
		{"[[app]]\nname = \"a\"\n\n[[app]]\nname = \"B\"\n", `line 4: app "B": want a name`},
		{"[[app]]\nname = \"a\"\n[app.limits]\nfuel = 0\n", "line 1: app a: limits: fuel is zero"},
	} {
		m, err := Parse([]byte(c.text))
		if err == nil {
			fill(m).Normalize()
			err = m.Check()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %s", c.text, err, c.want)
			continue
		}
		if !errors.As(err, new(*Error)) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: not one line of an Error: %#v", c.text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Parse(text)
		if err != nil {
			return
		}
		fill(m).Normalize()
		if m.Check() != nil {
			return
		}
		b, err := m.AppendBinary(nil)
		if err != nil {
			t.Fatalf("valid, and not written: %v", err)
		}
		if _, err := manifest.Parse(b); err != nil {
			t.Fatalf("written, and not read: %v", err)
		}
	})
}
