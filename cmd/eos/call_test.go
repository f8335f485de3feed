package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/runtime/wasm/abi"
)

func TestAppAddress(t *testing.T) {
	for arg, want := range map[string]string{
		"notes":                            "127.0.0.1:8443 notes",
		"https://example.org/notes":        "example.org:443 notes",
		"https://example.org:8443/notes/":  "example.org:8443 notes",
		"https://[2001:db8::1]:8443/notes": "[2001:db8::1]:8443 notes",
		"https://example.org":              "", "https://example.org/": "", "https://example.org/a/b": "", "http://example.org/a": "",
		"https://user@example.org/a": "", "https://example.org/a?b": "", "example.org/a": "", "https:///a": "",
	} {
		hostport, app, err := appAddress(arg)
		if got := strings.TrimSpace(hostport + " " + app); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", arg, got, err, want)
		}
	}
}

func TestParameters(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("a\x00\xff"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &abi.Signature{Name: "f", Params: []abi.Param{
		{Name: "s", Type: abi.String}, {Name: "b", Type: abi.Bytes}, {Name: "j", Type: abi.JSON}, {Name: "t", Type: abi.Bool},
		{Name: "i", Type: abi.S64}, {Name: "u", Type: abi.U32}, {Name: "d", Type: abi.F64},
	}}
	for _, c := range []struct {
		name   string
		s      *abi.Signature
		params []string
		data   string
		want   string // JSON, or what the error contains
	}{
		{"every type", s, []string{"s=a=b", "b=@" + file, "j={\"x\":[1]}", "t=true", "i=-9223372036854775808", "u=7", "d=1.5e3"}, "",
			`{"b":"YQD/","d":1.5e3,"i":-9223372036854775808,"j":{"x":[1]},"s":"a=b","t":true,"u":7}`},
		{"none", s, nil, "", `{}`},
		{"JSON as it is", s, []string{"s:=null"}, "", `{"s":null}`},
		{"no types known", nil, []string{"x=1", "y:=1"}, "", `{"x":"1","y":1}`},
		{"from stdin", s, []string{"s=@-"}, "", `{"s":"from stdin"}`},
		{"all as data", s, nil, ` {"s": "x"} `, `{"s": "x"}`},
		{"no object", s, nil, `[1]`, "--data is not a JSON object"},
		{"no JSON", s, nil, `{"s"`, "--data is not a JSON object"},
		{"no value", s, []string{"s"}, "", `"s" is not PARAMETER=VALUE`},
		{"no name", s, []string{"=x"}, "", `"=x" is not PARAMETER=VALUE`},
		{"twice", s, []string{"s=1", "s:=2"}, "", "the parameter s is given twice"},
		{"unknown", s, []string{"x=1"}, "", "f has no parameter x"},
		{"no number", s, []string{"i=1.5"}, "", "i=1.5 is no s64"},
		{"negative", s, []string{"u=-1"}, "", "u=-1 is no u32"},
		{"no truth", s, []string{"t=1"}, "", "t=1 is no bool"},
		{"no float", s, []string{"d=x"}, "", "d=x is no f64"},
		{"no document", s, []string{"j=x"}, "", "j=x is no json"},
		{"no raw document", s, []string{"s:=x"}, "", "s: not JSON"},
		{"no file", s, []string{"s=@" + file + "x"}, "", "no such file"},
	} {
		got, err := readParameters(&ui{stdin: strings.NewReader("from stdin")}, c.s, c.params, c.data)
		if err != nil {
			got = []byte(err.Error())
		}
		if string(got) != c.want && (err == nil || !strings.Contains(string(got), c.want)) {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	for _, data := range []string{"-", "@-"} {
		got, err := readParameters(&ui{stdin: strings.NewReader(`{"s":"x"}`)}, s, nil, data)
		if err != nil || string(got) != `{"s":"x"}` {
			t.Errorf("--data %s: got %s, %v", data, got, err)
		}
	}
}

func TestResults(t *testing.T) {
	for _, c := range []struct {
		result     abi.Type
		body, want string
		json       bool
	}{
		{abi.String, "\"a\\nb\"\n", "a\nb\n", false},
		{abi.String, `"a\u001b[2J"`, "a\x1b[2J\n", false}, // no terminal: as it is
		{abi.Bytes, `"YQD/"`, "a\x00\xff", false},
		{abi.Bytes, `"*"`, "illegal base64", false},
		{abi.S32, "-3", "-3\n", false},
		{abi.JSON, `{"a":1}`, "{\"a\":1}\n", false},
		{abi.None, "null", "", false},
		{abi.None, "", "", false},
		{abi.String, `"a"`, "\"a\"\n", true},
		{abi.String, `oops`, "not JSON", false},
	} {
		var out bytes.Buffer
		err := printResult(&ui{stdout: &out}, &abi.Signature{Result: c.result}, []byte(c.body), c.json)
		got := out.String()
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%s: %q, want %q", c.body, got, c.want)
		}
	}
}
