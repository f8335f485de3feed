package start

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"
)

func good() *Config {
	return &Config{
		Format: Format, Listen: "127.0.0.1:8443", Leaf: "1h", Evidence: EvidenceLeaf, QuoteRate: 500,
		Hosts: []string{"notes.example", "192.0.2.1"}, CA: &CA{"cert <&>", "key"}, Operator: strings.Repeat("0f", 32),
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []*Config{good(), {Format: 1, Listen: ":0", Leaf: LeafPerConnection, Evidence: EvidenceBothBySNI}} {
		b, err := c.Append([]byte("x"))
		if err != nil || b[0] != 'x' {
			t.Fatal(err)
		}
		b = b[1:]
		got, err := Parse(b)
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%s: %+v, %v", b, got, err)
		}
		for n := range b {
			if _, err := Parse(b[:n]); err == nil {
				t.Errorf("%s is a document", b[:n])
			}
		}
	}
	// As it is written down: an image and a host of different versions must agree.
	const want = `{"format":1,"listen":"127.0.0.1:8443","leaf":"1h","evidence":"leaf","quote_rate":500,"hosts":["notes.example","192.0.2.1"],"ca":{"chain":"cert <&>","key":"key"},"operator":"0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"}`
	if b, _ := good().Append(nil); string(b) != want {
		t.Errorf("%s", b)
	}
}

func TestConfigRefuses(t *testing.T) {
	for what, change := range map[string]func(*Config){
		"format 2":        func(c *Config) { c.Format = 2 },
		`"8443"`:          func(c *Config) { c.Listen = "8443" },
		`"example.com:1"`: func(c *Config) { c.Listen = "example.com:1" },
		`":70000"`:        func(c *Config) { c.Listen = ":70000" },
		`"":`:             func(c *Config) { c.Listen = "" },
		`"30s"`:           func(c *Config) { c.Leaf = "30s" },
		`"25h"`:           func(c *Config) { c.Leaf = "25h" },
		`"often"`:         func(c *Config) { c.Leaf = "often" },
		`"none"`:          func(c *Config) { c.Evidence = "none" },
		`"a b"`:           func(c *Config) { c.Hosts[0] = "a b" },
		`"a..b"`:          func(c *Config) { c.Hosts[0] = "a..b" },
		`"A"`:             func(c *Config) { c.Hosts[0] = "A" },
		`"::01"`:          func(c *Config) { c.Hosts[0] = "::01" },
		"rate of 1000001": func(c *Config) { c.QuoteRate = 1000001 },
		"33 hosts":        func(c *Config) { c.Hosts = make([]string, 33) },
		"without":         func(c *Config) { c.CA.Key = "" },
		"CA without":      func(c *Config) { c.CA.Chain = "" },
		"64 lower-case":   func(c *Config) { c.Operator = strings.Repeat("0F", 32) },
		"hash of":         func(c *Config) { c.Operator = "00" },
		"too long":        func(c *Config) { c.CA.Chain = strings.Repeat("x", MaxSize) },
	} {
		c := good()
		change(c)
		if b, err := c.Append(nil); err == nil || !strings.Contains(strings.Replace(err.Error(), "is not [IP]:PORT", ":", 1), strings.TrimSuffix(what, ":")) {
			t.Errorf("%s: %s, %v", what, b, err)
		}
		if text, _ := c.encode(); len(text) > 0 {
			if _, err := Parse(text); err == nil {
				t.Errorf("%s: it parses", what)
			}
		}
	}
	b, _ := good().Append(nil)
	for what, text := range map[string]string{
		"a blank":        strings.Replace(string(b), ",", ", ", 1),
		"a line end":     string(b) + "\n",
		"a second":       string(b) + string(b),
		"unknown":        strings.Replace(string(b), `"format"`, `"x":1,"format"`, 1),
		"twice":          strings.Replace(string(b), `"leaf":"1h"`, `"leaf":"1h","leaf":"1h"`, 1),
		"other case":     strings.Replace(string(b), `"leaf"`, `"Leaf"`, 1),
		"escaped":        strings.Replace(string(b), `<`, `\u003c`, 1),
		"no object":      "null",
		"another number": strings.Replace(string(b), `:1,`, `:1.0,`, 1),
	} {
		if c, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s: %+v", what, c)
		}
	}
}

func TestParseLeaf(t *testing.T) {
	for s, want := range map[string]time.Duration{"per-connection": 0, "1m": time.Minute, "1h30m": 90 * time.Minute, "24h": 24 * time.Hour} {
		if d, err := ParseLeaf(s); err != nil || d != want {
			t.Errorf("%s: %v, %v", s, d, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	b, _ := good().Append(nil)
	f.Add(b)
	f.Add([]byte(`{"format":1,"listen":":0","leaf":"per-connection","evidence":"session"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(b)
		if err != nil {
			return
		}
		if again, err := c.Append(nil); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%q becomes %q: %v", b, again, err)
		}
	})
}
