package manifest

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
)

// sample has something in every field.
func sample() *Manifest {
	m := &Manifest{Format: Format}
	for _, name := range []string{"notes", "hello"} { // Normalize sorts them
		a := NewApp(name)
		a.Module = Module{SHA256: sha256.Sum256([]byte(name)), Size: 100, Encoding: Zstd, StoredSize: 40}
		a.Hostnames = []string{name + ".example.org", "a-" + name}
		a.Args = []string{"z", "", "a"}
		a.Env = []string{"Z=", "A=1 \u2028<&>"}
		a.Egress = []string{"[2001:db8::1]:443", "192.0.2.1:80", "*.example.org:443", "example.org:8443"}
		a.Permissions = Permissions{Default: WithRole, Roles: []string{"writer", "reader"}, Functions: []FunctionPolicy{
			{Name: "put", Policy: WithRole, Roles: []string{"writer"}}, {Name: "get", Policy: Public}}}
		m.Apps = append(m.Apps, a)
	}
	m.Roles = []Role{{"writer", []Hash{sha256.Sum256([]byte("w1")), sha256.Sum256([]byte("w2"))}}, {"reader", []Hash{sha256.Sum256([]byte("r"))}}}
	m.Normalize()
	return m
}

func TestRoundTrip(t *testing.T) {
	m := sample()
	text, err := m.AppendBinary([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	text = text[1:]
	got, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	again, err := got.AppendBinary(nil)
	if err != nil || !bytes.Equal(again, text) {
		t.Fatalf("not the same bytes again: %v\n%s\n%s", err, text, again)
	}
	for n := range text {
		if _, err := Parse(text[:n]); err == nil {
			t.Fatalf("a prefix of %d bytes parses", n)
		}
	}
}

// TestCanonical pins the bytes: they are measured, so that a change of them
// changes the MRENCLAVE of every image.
func TestCanonical(t *testing.T) {
	m := &Manifest{Format: 1, Apps: []App{NewApp("hello")}}
	m.Apps[0].Module = Module{SHA256: Hash{1}, Size: 2, Encoding: Raw, StoredSize: 2}
	got, err := m.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"format":1,"apps":[{"name":"hello","hostnames":[],"module":{"sha256":"01` + strings.Repeat("0", 62) + `","size":2,"encoding":"wasm","stored_size":2},` +
		`"interfaces":["caller","crypto","kv","random"],"args":[],"env":[],"egress":[],` +
		`"limits":{"fuel":10000000000,"memory_pages":1024,"time_ms":10000,"output_bytes":1048576,"concurrency":16,"storage":268435456,"pool":0},` +
		`"permissions":{"default_policy":"public","default_roles":[],"functions":[]}}],"roles":[]}`
	if string(got) != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func TestOtherFormsAreRefused(t *testing.T) {
	text, err := sample().AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(string) string{
		"blank":           func(s string) string { return strings.Replace(s, ":", ": ", 1) },
		"line end":        func(s string) string { return s + "\n" },
		"second document": func(s string) string { return s + s },
		"unknown member":  func(s string) string { return strings.Replace(s, `{"format"`, `{"x":1,"format"`, 1) },
		"other case":      func(s string) string { return strings.Replace(s, `"name"`, `"Name"`, 1) },
		"repeated member": func(s string) string { return strings.Replace(s, `"format":1`, `"format":2,"format":1`, 1) },
		"absent list": func(s string) string {
			return strings.Replace(s, `"interfaces":["caller","crypto","kv","random"],`, "", 1)
		},
		"null list": func(s string) string { return strings.Replace(s, `["caller","crypto","kv","random"]`, "null", 1) },
		"upper-case hash": func(s string) string {
			i := strings.Index(s, `"sha256":"`) + 10
			return s[:i] + strings.ToUpper(s[i:i+64]) + s[i+64:]
		},
		"short hash":       func(s string) string { i := strings.Index(s, `"sha256":"`) + 10; return s[:i] + s[i+2:] },
		"escaped text":     func(s string) string { return strings.Replace(s, "hello", `\u0068ello`, 1) },
		"number in a form": func(s string) string { return strings.Replace(s, `"size":100`, `"size":1e2`, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			changed := change(string(text))
			if changed == string(text) {
				t.Fatal("the change changes nothing")
			}
			if _, err := Parse([]byte(changed)); err == nil {
				t.Error("accepted")
			}
		})
	}
}

// TestCheck has one fault each, and the words that tell of it.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		want   string
		change func(*Manifest)
	}{
		{"format 2: this version of eos knows 1", func(m *Manifest) { m.Format = 2 }},
		{"no apps", func(m *Manifest) { m.Apps = nil }},
		{"257 apps: at most 256", func(m *Manifest) { m.Apps = make([]App, 257) }},
		{`apps: "notes" stands before "hello": not in order`, func(m *Manifest) { slices.Reverse(m.Apps) }},
		{`apps: "hello" is there twice`, func(m *Manifest) { m.Apps[1] = m.Apps[0] }},
		{`app "Hello": want a name of lower-case letters`, func(m *Manifest) { m.Apps[0].Name = "Hello" }},
		{`app "-a"`, func(m *Manifest) { m.Apps[0].Name = "-a" }},
		{`app ""`, func(m *Manifest) { m.Apps[0].Name = "" }},
		{`app hello: "A.org" is no host name`, func(m *Manifest) { m.Apps[0].Hostnames[0] = "A.org" }},
		{`app hello: "192.0.2.1" is no host name`, func(m *Manifest) { m.Apps[0].Hostnames[0] = "192.0.2.1" }},
		{`app hello: "a..b" is no host name`, func(m *Manifest) { m.Apps[0].Hostnames[0] = "a..b" }},
		{"app notes: host name a-hello is that of app hello already", func(m *Manifest) { m.Apps[1].Hostnames = []string{"a-hello"} }},
		{`app hello: module has encoding "gzip"`, func(m *Manifest) { m.Apps[0].Module.Encoding = "gzip" }},
		{"app hello: module has no hash", func(m *Manifest) { m.Apps[0].Module.SHA256 = Hash{} }},
		{"app hello: module is empty", func(m *Manifest) { m.Apps[0].Module.Size = 0 }},
		{"app hello: module is empty", func(m *Manifest) { m.Apps[0].Module.StoredSize = 0 }},
		{"app hello: module has 268435457 bytes: at most 268435456", func(m *Manifest) { m.Apps[0].Module.Size = MaxModule + 1 }},
		{"app hello: module has 100 bytes and is stored with 40", func(m *Manifest) { m.Apps[0].Module.Encoding = Raw }},
		{`app hello: unknown interface "gpu"`, func(m *Manifest) { m.Apps[0].Interfaces[0] = "gpu" }},
		{`app hello: interfaces: "kv" is there twice`, func(m *Manifest) { m.Apps[0].Interfaces = []Interface{KV, KV} }},
		{"app hello: argument 2 is not UTF-8 without NUL", func(m *Manifest) { m.Apps[0].Args[1] = "\xff" }},
		{"app hello: argument 3 is not UTF-8 without NUL", func(m *Manifest) { m.Apps[0].Args[2] = "a\x00" }},
		{"app hello: the arguments have 65540 bytes", func(m *Manifest) { m.Apps[0].Args[0] = strings.Repeat("x", 65536) }},
		{`app hello: environment: "1A" is no name of a variable`, func(m *Manifest) { m.Apps[0].Env[0] = "1A=" }},
		{`app hello: environment: "A" is no name of a variable`, func(m *Manifest) { m.Apps[0].Env[0] = "A" }},
		{"app hello: environment: the value of A is not UTF-8 without NUL", func(m *Manifest) { m.Apps[0].Env[0] = "A=\xff" }},
		{"app hello: environment: the value of A is not UTF-8 without NUL", func(m *Manifest) { m.Apps[0].Env[0] = "A=\x00" }},
		{"app hello: the environment has 65539 bytes", func(m *Manifest) { m.Apps[0].Env = []string{"A=" + strings.Repeat("x", 65536)} }},
		{`app hello: env: "A" is there twice`, func(m *Manifest) { m.Apps[0].Env = []string{"A=1", "A=2"} }},
		{`app hello: egress: "example.org" is no place`, func(m *Manifest) { m.Apps[0].Egress[0] = "example.org" }},
		{`app hello: egress: "a:0" is no place`, func(m *Manifest) { m.Apps[0].Egress[0] = "a:0" }},
		{`app hello: egress: "a:080" is no place`, func(m *Manifest) { m.Apps[0].Egress[0] = "a:080" }},
		{`app hello: egress: "*:443" is no place`, func(m *Manifest) { m.Apps[0].Egress[0] = "*:443" }},
		{`app hello: egress: "2001:db8::1:443" is no place`, func(m *Manifest) { m.Apps[0].Egress[0] = "2001:db8::1:443" }},
		{`app hello: egress: "[192.0.2.1]:443" is no place`, func(m *Manifest) { m.Apps[0].Egress[0] = "[192.0.2.1]:443" }},
		{"app hello: limits: fuel is zero", func(m *Manifest) { m.Apps[0].Limits.Fuel = 0 }},
		{"app hello: limits: memory is 65537 pages of 64KiB: at most 65536", func(m *Manifest) { m.Apps[0].Limits.MemoryPages = 65537 }},
		{"app hello: limits: time is zero", func(m *Manifest) { m.Apps[0].Limits.TimeMS = 0 }},
		{"app hello: limits: output is zero", func(m *Manifest) { m.Apps[0].Limits.OutputBytes = 0 }},
		{"app hello: limits: pool is 1025: at most 1024", func(m *Manifest) { m.Apps[0].Limits.Pool = 1025 }},
		{"app hello: limits: storage is zero", func(m *Manifest) { m.Apps[0].Limits.Storage = 0 }},
		{"app hello: limits: storage is 1125899906842625: at most 1125899906842624", func(m *Manifest) { m.Apps[0].Limits.Storage = 1<<50 + 1 }},
		{"app hello: limits: concurrency is zero", func(m *Manifest) { m.Apps[0].Limits.Concurrency = 0 }},
		{`app hello: permissions: unknown policy ""`, func(m *Manifest) { m.Apps[0].Permissions.Default = "" }},
		{`app hello: permissions: there is no role "boss"`, func(m *Manifest) { m.Apps[0].Permissions.Roles = []string{"boss"} }},
		{`app hello: permissions: the policy "role" names no roles`, func(m *Manifest) { m.Apps[0].Permissions.Roles = nil }},
		{`app hello: permissions: "get": roles are for the policy "role"`, func(m *Manifest) { m.Apps[0].Permissions.Functions[0].Roles = []string{"reader"} }},
		{`app hello: permissions: "" is no name of a function`, func(m *Manifest) { m.Apps[0].Permissions.Functions[0].Name = "" }},
		{`role "a b": want a name`, func(m *Manifest) { m.Roles[0].Name = "a b" }},
		{`role "reader": no tokens`, func(m *Manifest) { m.Roles[0].Tokens = nil }},
		{`role "writer": tokens:`, func(m *Manifest) { slices.Reverse(m.Roles[1].Tokens) }},
	} {
		m := sample()
		c.change(m)
		err := m.Check()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
		if _, err := m.AppendBinary(nil); err == nil {
			t.Errorf("%s: written all the same", c.want)
		}
	}
}

func TestNameOf(t *testing.T) {
	for file, want := range map[string]string{
		"a/b/Key_Notes.wasm": "key-notes", "hello.wasm.zst": "hello", `c:\x\app.wasm`: "app", "v2.wasm": "v2",
		".wasm": "", "ä.wasm": "", "-.wasm": "", strings.Repeat("a", 64) + ".wasm": "",
	} {
		got, err := NameOf(file)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", file, got, err, want)
		}
	}
}

func TestRolesAndPolicies(t *testing.T) {
	m := sample()
	if got := m.RolesOf("w2"); !slices.Equal(got, []string{"writer"}) {
		t.Errorf("w2 has roles %q", got)
	}
	if got := m.RolesOf("none"); got != nil {
		t.Errorf("an unknown token has roles %q", got)
	}
	a := m.App("notes")
	if a == nil || m.App("nothing") != nil {
		t.Fatal("App finds the wrong ones")
	}
	if p, _ := a.Permissions.For("get"); p != Public {
		t.Errorf("get: %s", p)
	}
	if p, roles := a.Permissions.For("other"); p != WithRole || !slices.Equal(roles, []string{"reader", "writer"}) {
		t.Errorf("other: %s %q", p, roles)
	}
	if !a.May(KV) || a.May(HTTPS) {
		t.Error("May is wrong")
	}
}

func FuzzParse(f *testing.F) {
	text, _ := sample().AppendBinary(nil)
	f.Add(text)
	f.Add([]byte(`{"format":1,"apps":[],"roles":[]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Parse(text)
		if err != nil {
			return
		}
		again, err := m.AppendBinary(nil)
		if err != nil || !bytes.Equal(again, text) {
			t.Fatalf("accepted, and not the same again: %v", err)
		}
	})
}
