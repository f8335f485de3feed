package boot

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/runtime/metric"
)

// TestMetricsText: who watches with Prometheus gets its text, by the Accept header that
// it sends, and nobody gets anything without the token.
func TestMetricsText(t *testing.T) {
	e := serve(t, new(disk), testConfig(), &fake{name: "fake", leaf: "x"})
	c := e.client(t)
	get := func(token, accept string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequest("GET", e.url+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		req.Header.Set("Accept", accept)
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(b)
	}
	const prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
	for _, accept := range []string{prometheus, "*/*"} {
		if resp, body := get("", accept); resp.StatusCode != 401 || body != `{"error":"this needs the operator's token"}`+"\n" {
			t.Errorf("without a token: %d %s", resp.StatusCode, body)
		}
	}
	resp, text := get(token, prometheus)
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != metric.ContentType || resp.Header.Get("Vary") != "Accept" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	for _, want := range []string{
		"# TYPE eos_requests_total counter\neos_requests_total 3\n", "# TYPE eos_connections_total counter\neos_connections_total 1\n",
		"\neos_ready 1\n", "\neos_uptime_seconds ", "\neos_goroutines ", "\neos_heap_bytes ", "\neos_memory_bytes ",
		`eos_info{version="eos `, `",config_root="` + e.tree.Load().Root().String() + `"} 1` + "\n",
		"# HELP fake_total Of a module.\n# TYPE fake_total counter\nfake_total 7\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if resp, body := get(token, "*/*"); resp.Header.Get("Content-Type") != "application/json" || !strings.Contains(body, `"wasm_app_metrics":[{"app":"a"}]`) {
		t.Errorf("%v %s", resp.Header, body)
	}
}
