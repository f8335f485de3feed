package guests

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/runtime/kvstore"
	"github.com/enclaveos/eos/pkg/runtime/wasm"
	"github.com/enclaveos/eos/pkg/runtime/wasm/abi"
)

// TestSDKsAgree: the same program by each SDK gives the same answer, with every function
// of the host.
func TestSDKsAgree(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil || r.Method != "POST" || r.Header.Get("X-One") != "1" || r.Header.Get("X-Two") != "2" {
			t.Errorf("%s %v, %v", r.Method, r.Header, err)
		}
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, strings.ToUpper(string(b)))
	}))
	defer server.Close()
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	answers := map[string]string{}
	for _, name := range []string{"all-c", "all-go", "all-assemblyscript"} {
		code, err := os.ReadFile(Build(t, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range abi.Functions {
			if !strings.Contains(string(code), string(rune(len(f.Name)))+f.Name+"\x00") {
				t.Errorf("%s does not import %s", name, f.Name)
			}
		}
		store, err := kvstore.OpenMemory(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var said extension
		host := &wasm.Host{
			Engine: wasm.Interpreter, Log: slog.New(slog.NewTextHandler(&said.log, nil)), SealRoot: []byte("a root"),
			Tables:       func(name string) wasm.Table { return store.Table(name) },
			Fetch:        wasm.NewFetcher(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}),
			SetExtension: said.set,
		}
		desc := manifest.NewApp("all")
		desc.Interfaces = manifest.Interfaces
		desc.Egress = []string{strings.TrimPrefix(server.URL, "https://")}
		app, err := host.Load(t.Context(), desc, code)
		if err != nil {
			t.Fatal(err)
		}
		_, err = app.Call(t.Context(), wasm.Caller{}, "refuse", nil)
		if err == nil || err.Error() != "not today" {
			t.Errorf("%s: %v", name, err)
		}
		r, err := app.Call(t.Context(), wasm.Caller{Role: "anyone", Roles: []string{"reader"}, Peer: "00"}, "all",
			map[string]json.RawMessage{"url": json.RawMessage(strconv.Quote(server.URL + "/path"))})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var text string
		if err := json.Unmarshal(r.Value, &text); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(text, "\n")
		for i, l := range lines {
			if seal, ok := strings.CutPrefix(l, "seal "); ok {
				if len(seal) != 64 {
					t.Errorf("%s: %s", name, l)
				}
				lines[i] = "seal"
			}
		}
		answers[name] = strings.Join(lines, "\n")
		if said.value != "said" || !strings.Contains(said.log.String(), "a line of all") {
			t.Errorf("%s: extension %q, log %s", name, said.value, said.log.String())
		}
		if err := app.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	const want = "digest cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7\n" +
		"has 0\ngenerate 0 -8\nhas 1\nencrypt 32 data\ndecrypt -7\ngenerate 0\nverify 1 0\npublic 91\nimport 0\n" +
		"hmac e528c4d99e6177f5841f712a143b90843299a4aa181a06501422d9ca862bd2a5\nverify 1 0\ndelete 1 0\nrandom 0 1\nseal\n" +
		`caller {"app":"all","function":"all","role":"anyone","roles":["reader"],"peer":"00"}` + "\n" +
		"put 0\nput 0\nget two -2\nlist 7 a/2\ndelete 1 0\nextension 0\nfetch 201 BODY\nheader 1\nfetch -3\n"
	for name, got := range answers {
		if got != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
}

// extension is what an app has put into its certificate and its log.
type extension struct {
	value string
	log   lockedBuilder
}

func (e *extension) set(_ context.Context, app string, n uint32, value []byte) error {
	if app != "all" || n != 7 {
		return fmt.Errorf("extension %d of %s", n, app)
	}
	e.value = string(value)
	return nil
}

type lockedBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuilder) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuilder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
