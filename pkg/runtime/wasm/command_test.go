package wasm

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/runtime/module"
)

func TestCommand(t *testing.T) {
	w := newWorld(t, map[string][]byte{"cgi": build(t, "cgi")}, func(m *manifest.Manifest) {
		m.Apps[0].Hostnames = []string{"cgi.example"}
		m.Apps[0].Env = []string{"COLOUR=green"}
	})
	for _, c := range []struct {
		url    string
		status int
		header map[string][]string
		body   string
	}{
		{"/app/cgi/plain", 200, map[string][]string{"Content-Type": {"text/plain; charset=utf-8"}, "Content-Length": {"34"}}, "no headers: just text\nof two lines"},
		{"http://cgi.example/status", 404, map[string][]string{"Content-Type": {"text/html"}, "X-One": {"1", "2"}, "Content-Length": {"3"}}, "<p>"},
		{"/app/cgi/nothing", 204, map[string][]string{"Content-Type": nil, "X-One": {"1"}, "Content-Length": nil}, ""},
		{"/app/cgi/exit", 502, nil, "exited with code 3"},
		{"/app/cgi/zero", 200, nil, "ok"},
		{"/app/cgi/panic", 502, nil, "exited with code 2"},
		{"/app/cgi/long", 502, nil, "more than its limit of 1048576"},
		{"http://cgi.example/healthz", 200, nil, "healthy"},
		{"http://cgi.example/rpc/cgi/schema", 200, nil, `"command":true`},
	} {
		rec := w.do("GET", c.url, "", "")
		if rec.Code != c.status || !strings.Contains(rec.Body.String(), c.body) {
			t.Errorf("%s: %d %s; want %d %s", c.url, rec.Code, rec.Body, c.status, c.body)
		}
		if c.status == 204 && rec.Body.Len() > 0 {
			t.Errorf("%s: a body: %s", c.url, rec.Body)
		}
		for name, want := range c.header {
			if got := rec.Header()[name]; !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %s is %q, want %q", c.url, name, got, want)
			}
		}
		if rec.Header().Get("Connection") != "" {
			t.Errorf("%s: the guest decides about the connection", c.url)
		}
	}
	r := httptest.NewRequest("PUT", "/app/cgi/a/b%20c?q=1&r=2", strings.NewReader("the body"))
	r.Header.Set("Content-Type", "text/x")
	r.Header.Set("X-Custom", "one")
	r.Header.Add("X-Custom", "two")
	r.Header.Set("Authorization", "Bearer secret")
	r.Header.Set("Proxy", "evil")
	r.Header["X_Custom"] = []string{"evil"}
	r = r.WithContext(module.WithCaller(r.Context(), callerOf("")))
	rec := httptest.NewRecorder()
	w.mux.ServeHTTP(rec, r)
	got := rec.Body.String()
	for _, want := range []string{
		"REQUEST_METHOD=PUT\n", "PATH_INFO=/a/b c\n", "SCRIPT_NAME=/app/cgi\n", "QUERY_STRING=q=1&r=2\n", "CONTENT_LENGTH=8\n",
		"CONTENT_TYPE=text/x\n", "HTTP_X_CUSTOM=one, two\n", "GATEWAY_INTERFACE=CGI/1.1\n", "SERVER_NAME=example.com\n", "SERVER_PORT=443\n", "HTTP_HOST=example.com\n", "COLOUR=green\n",
		`body "the body"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the guest has no %q:\n%s", want, got)
		}
	}
	for _, no := range []string{"secret", "evil"} {
		if strings.Contains(got, no) {
			t.Errorf("the guest has %q:\n%s", no, got)
		}
	}
	if rec.Code != 200 || rec.Header().Get("Content-Type") != "text/x-env" || rec.Header().Get("Eos-Fuel") == "" {
		t.Errorf("%d %v", rec.Code, rec.Header())
	}
}

// TestServerName: CGI's host and port are apart.
func TestServerName(t *testing.T) {
	for host, want := range map[string][2]string{
		"example.com:8443": {"example.com", "8443"}, "[::1]:8443": {"::1", "8443"}, "example.com": {"example.com", "443"},
	} {
		env := (&Request{Host: host, Header: http.Header{"Host": {"another"}}}).environment()
		for _, kv := range []string{"SERVER_NAME=" + want[0], "SERVER_PORT=" + want[1], "HTTP_HOST=" + host} {
			if !slices.Contains(env, kv) {
				t.Errorf("%s: no %s in %q", host, kv, env)
			}
		}
	}
}

// TestParseOutput holds where headers end and the body begins.
func TestParseOutput(t *testing.T) {
	for _, c := range []struct {
		in     string
		status int
		header string
		body   string
	}{
		{"", 200, "", ""},
		{"text", 200, "", "text"},
		{"A: b", 200, "", "A: b"},
		{"A: b\n", 200, "", "A: b\n"},
		{"A: b\n\n", 200, "b", ""},
		{"A: b\r\n\r\nbody", 200, "b", "body"},
		{"\nbody", 200, "", "\nbody"},
		{"A: b\nno header\n\nbody", 200, "", "A: b\nno header\n\nbody"},
		{"Status: 201\n\nbody", 201, "", "body"},
		{"Status: 99\n\nbody", 502, "", "body"},
		{"Status: text\n\nbody", 502, "", "body"},
		{"A: b\rSet-Cookie: x\n\nbody", 200, "", "A: b\rSet-Cookie: x\n\nbody"},
		{"A b: c\n\nbody", 200, "", "A b: c\n\nbody"},
		{"Transfer-Encoding: chunked\n\nbody", 200, "", "body"},
	} {
		r := parseOutput([]byte(c.in))
		if r.Status != c.status || r.Header.Get("A") != c.header || string(r.Body) != c.body {
			t.Errorf("%q: %d %v %q", c.in, r.Status, r.Header, r.Body)
		}
	}
}
