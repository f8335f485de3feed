package wasm

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	stdlog "log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/runtime/wasm/abi"
)

// authority makes certificates of servers.
type authority struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-48 * time.Hour),
		NotAfter: time.Now().Add(72 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, key, cert}
}

// issue makes a certificate for a name, valid from and to these times from now.
func (a *authority) issue(name string, from, to time.Duration) tls.Certificate {
	a.t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to)}
	if ip := net.ParseIP(name); ip != nil {
		tmpl.IPAddresses = []net.IP{ip}
	} else {
		tmpl.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, a.key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
}

// serve is a server with this certificate; set changes it before it starts.
func (a *authority) serve(cert tls.Certificate, h http.HandlerFunc, set func(*httptest.Server)) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.Config.ErrorLog = stdlog.New(io.Discard, "", 0)
	if set != nil {
		set(s)
	}
	s.StartTLS()
	a.t.Cleanup(s.Close)
	return s
}

// fetch makes a request as a guest does and returns the code, and what it has.
func fetch(t testing.TB, a *App, url string) (code, status int32, headers, body string) {
	t.Helper()
	got := script(t, a, fmt.Sprintf(`[["https_fetch","GET",%q,"",""], ["https_status"], ["https_headers"]]`, url))
	return got[0].Code, got[1].Code, string(got[2].Result), string(got[0].Result)
}

// TestFetchServers: a guest meets servers of all kinds, with the transport that an enclave
// has.
func TestFetchServers(t *testing.T) {
	ca := newAuthority(t)
	day := 24 * time.Hour
	proto := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }
	held := make(chan struct{})
	t.Cleanup(func() { close(held) })
	mux := http.NewServeMux()
	mux.HandleFunc("/proto", proto)
	mux.HandleFunc("/chunked", func(w http.ResponseWriter, _ *http.Request) {
		for i := range 20 {
			fmt.Fprintf(w, "%d,", i)
			_ = http.NewResponseController(w).Flush()
		}
	})
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://elsewhere.example/", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/size/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.PathValue("n"))
		w.Header().Set("Content-Length", r.PathValue("n"))
		_, _ = w.Write(make([]byte, n))
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for b := make([]byte, 64<<10); r.Context().Err() == nil; {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/lies", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "less")
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/bomb", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		for range 1000 {
			_, _ = z.Write(make([]byte, 64<<10))
		}
		_ = z.Close()
	})
	mux.HandleFunc("/gzip", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, "unpacked")
		_ = z.Close()
	})
	mux.HandleFunc("/headers", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", maxHeaders))
	})
	mux.HandleFunc("/silent", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-held:
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begun")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-held:
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/status/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.PathValue("n"))
		w.WriteHeader(n)
	})
	good := ca.serve(ca.issue("127.0.0.1", -day, day), mux.ServeHTTP, nil)
	two := ca.serve(ca.issue("127.0.0.1", -day, day), mux.ServeHTTP, func(s *httptest.Server) { s.EnableHTTP2 = true })
	wrong := ca.serve(ca.issue("other.example", -day, day), proto, nil)
	expired := ca.serve(ca.issue("127.0.0.1", -day, -time.Minute), proto, nil)
	early := ca.serve(ca.issue("127.0.0.1", day, 2*day), proto, nil)
	stranger := ca.serve(newAuthority(t).issue("127.0.0.1", -day, day), proto, nil)
	old := ca.serve(ca.issue("127.0.0.1", -day, day), proto, func(s *httptest.Server) { s.TLS.MaxVersion = tls.VersionTLS11; s.TLS.MinVersion = tls.VersionTLS10 })
	plain := httptest.NewServer(http.HandlerFunc(proto))
	t.Cleanup(plain.Close)
	mute, err := net.Listen("tcp", "127.0.0.1:0") // connections are taken, and nothing is said
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()

	servers := map[string]string{"good": good.URL, "two": two.URL, "wrong": wrong.URL, "expired": expired.URL, "early": early.URL,
		"stranger": stranger.URL, "old": old.URL, "plain": "https" + strings.TrimPrefix(plain.URL, "http"),
		"mute": "https://" + mute.Addr().String(), "gone": "https://" + gone.Addr().String()}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	a := sharedGuest(t)
	egress := a.Egress
	defer func() { a.host.Fetch, a.Egress = nil, egress }()
	a.host.Fetch, a.Egress = newFetcher(pool, guarded{}), nil
	for _, url := range servers {
		a.Egress = append(a.Egress, strings.TrimPrefix(url, "https://"))
	}
	with(t, func(l *manifest.Limits) { l.OutputBytes = 32 << 20 })
	for _, c := range []struct {
		server, path string
		code, status int32
		what         string // in the body, or in the headers
	}{
		{"good", "/proto", 8, 200, "HTTP/1.1"},
		{"two", "/proto", 8, 200, "HTTP/2.0"},
		{"good", "/chunked", 50, 200, "0,1,2,"},
		{"two", "/chunked", 50, 200, "0,1,2,"},
		{"good", "/redirect", -100, 307, "Location: https://elsewhere.example/\r\n"},
		{"good", "/gzip", 8, 200, "unpacked"},
		{"good", "/status/204", 0, 204, ""},
		{"good", "/status/500", 0, 500, ""},
		{"good", "/none", -100, 404, "404"},
		{"good", "/size/" + strconv.Itoa(maxBody), maxBody, 200, ""},
		{"good", "/size/" + strconv.Itoa(maxBody+1), abi.ErrTooLarge, abi.ErrNotFound, ""},
		{"good", "/endless", abi.ErrTooLarge, abi.ErrNotFound, ""},
		{"good", "/bomb", abi.ErrTooLarge, abi.ErrNotFound, ""},
		{"good", "/lies", abi.ErrUnavailable, abi.ErrNotFound, ""},
		{"two", "/lies", abi.ErrUnavailable, abi.ErrNotFound, ""},
		{"good", "/headers", abi.ErrUnavailable, abi.ErrNotFound, ""},
		{"wrong", "/", abi.ErrAuth, abi.ErrNotFound, ""},
		{"expired", "/", abi.ErrAuth, abi.ErrNotFound, ""},
		{"early", "/", abi.ErrAuth, abi.ErrNotFound, ""},
		{"stranger", "/", abi.ErrAuth, abi.ErrNotFound, ""},
		{"old", "/", abi.ErrUnavailable, abi.ErrNotFound, ""},
		{"plain", "/", abi.ErrUnavailable, abi.ErrNotFound, ""},
		{"gone", "/", abi.ErrUnavailable, abi.ErrNotFound, ""},
	} {
		code, status, headers, body := fetch(t, a, servers[c.server]+c.path)
		if c.code == -100 {
			c.code = int32(len(body))
		}
		if code != c.code || status != c.status || c.code >= 0 && int(code) != len(body) || !strings.Contains(body+headers, c.what) {
			t.Errorf("%s%s: %d %d %.200s %.40q; want %d %d %s", c.server, c.path, code, status, headers, body, c.code, c.status, c.what)
		}
	}

	// Who does not answer in time takes the app's time, and no more.
	a.Limits.TimeMS = 400
	for _, url := range []string{servers["good"] + "/silent", servers["two"] + "/silent", servers["good"] + "/slow", servers["two"] + "/slow", servers["mute"] + "/"} {
		_, err := call(t, a, "host", fmt.Sprintf(`{"calls":[["https_fetch","GET",%q,"",""]]}`, url))
		fault(t, url, err, FaultTime, "400 ms")
	}
	// A caller who goes away ends what he waits for.
	a.Limits.TimeMS = 60_000
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = a.Call(ctx, Caller{}, "host", map[string]json.RawMessage{"calls": json.RawMessage(fmt.Sprintf(`[["https_fetch","GET",%q,"",""]]`, servers["good"]+"/silent"))})
	fault(t, "a caller who has gone", err, FaultTime, "the caller has gone")
}

// TestFetchRoom: what all calls fetch at a time has a bound, and is free again after them.
func TestFetchRoom(t *testing.T) {
	h := &Host{Memory: 4 << 20}
	read := func(n int) (*fetching, error) {
		f := &fetching{r: bytes.NewReader(make([]byte, n)), host: h}
		_, err := io.ReadAll(f)
		return f, err
	}
	first, err := read(700 << 10)
	if err != nil {
		t.Fatal(err)
	}
	second, err := read(700 << 10)
	if err == nil {
		t.Error("there is no bound")
	}
	first.host.fetched.Add(-first.n)
	second.host.fetched.Add(-second.n)
	if _, err := read(1 << 20); err != nil {
		t.Errorf("room is not free again: %v", err)
	}
}

// TestFetchURLs: what the allow-list does not have is not fetched, however it is written.
func TestFetchURLs(t *testing.T) {
	a := sharedGuest(t) // 127.0.0.1:8443, *.example.com:443
	var asked []string
	a.host.Fetch = doer(func(r *http.Request) (*http.Response, error) {
		asked = append(asked, r.URL.String())
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}, nil
	})
	defer func() { a.host.Fetch = nil }()
	urls := map[string]int32{
		"https://127.0.0.1:8443/":                              0,
		"https://127.0.0.1:8443":                               0,
		"HTTPS://127.0.0.1:8443/a?b#c":                         0,
		"https://a.example.com/":                               0,
		"https://a.example.com:443/":                           0,
		"https://A.Example.COM/":                               0,
		"https://a.b.example.com/":                             0,
		"https://127.0.0.1/":                                   abi.ErrDenied,
		"https://127.0.0.1:443/":                               abi.ErrDenied,
		"https://127.0.0.1:08443/":                             abi.ErrDenied,
		"https://127.0.0.1:8444/":                              abi.ErrDenied,
		"https://127.1:8443/":                                  abi.ErrDenied,
		"https://2130706433:8443/":                             abi.ErrDenied,
		"https://0x7f000001:8443/":                             abi.ErrDenied,
		"https://[::ffff:127.0.0.1]:8443/":                     abi.ErrDenied,
		"https://localhost:8443/":                              abi.ErrDenied,
		"https://example.com/":                                 abi.ErrDenied,
		"https://a.example.com:8443/":                          abi.ErrDenied,
		"https://a.example.com.evil.net/":                      abi.ErrDenied,
		"https://a.example.com%2eevil.net/":                    abi.ErrInvalid,
		"https://evil.net/a.example.com":                       abi.ErrDenied,
		"https://evil.net#.example.com":                        abi.ErrDenied,
		"https://evil.net?.example.com":                        abi.ErrDenied,
		"https://evilexample.com/":                             abi.ErrDenied,
		"http://a.example.com:443/":                            abi.ErrDenied,
		"https://a.example.com@evil.net/":                      abi.ErrInvalid,
		"https://evil.net\\@a.example.com/":                    abi.ErrInvalid,
		"https://a.example.com:99999/":                         abi.ErrDenied,
		"https://a.example.com:x/":                             abi.ErrInvalid,
		"https:///a":                                           abi.ErrInvalid,
		"a.example.com":                                        abi.ErrInvalid,
		"https://a.example.com/\r\nX: y":                       abi.ErrInvalid,
		"https://a.example.com/" + strings.Repeat("x", maxURL): abi.ErrTooLarge,
		"ftp://a.example.com/":                                 abi.ErrDenied,
	}
	var order, calls []string
	var want []int32
	for url, code := range urls {
		text, err := json.Marshal([]string{"https_fetch", "GET", url, "", ""})
		if err != nil {
			t.Fatal(err)
		}
		order, calls, want = append(order, url), append(calls, string(text)), append(want, code)
	}
	for i, got := range script(t, a, "["+strings.Join(calls, ",")+"]") {
		if got.Code != want[i] {
			t.Errorf("%.80s: %d; want %d", order[i], got.Code, want[i])
		}
	}
	if len(asked) != 7 {
		t.Errorf("asked %q", asked)
	}
}

type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }

// TestGuarded: a name does not lead to the host itself, whatever its owner says.
func TestGuarded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	g := guarded{&net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		a, b := net.Pipe()
		go answerDNS(b, [4]byte{127, 0, 0, 1})
		return a, nil
	}}}
	for address, ok := range map[string]bool{"127.0.0.1": true, "localhost": true, "LOCALHOST": true, "rebound.example": false, "localhost.example": false} {
		c, err := g.DialContext(t.Context(), "tcp4", net.JoinHostPort(address, port))
		if err == nil {
			c.Close()
		}
		if (err == nil) != ok || !ok && !strings.Contains(err.Error(), "leads to 127.0.0.1") {
			t.Errorf("%s: %v", address, err)
		}
	}
	for address, ok := range map[string]bool{
		"192.0.2.1:443": true, "10.0.0.1:443": true, "[2001:db8::1]:443": true, "[fd00::1]:443": true,
		"127.0.0.1:443": false, "127.9.9.9:443": false, "169.254.169.254:80": false, "0.0.0.0:443": false, "224.0.0.1:443": false,
		"255.255.255.255:443": false, "[::1]:443": false, "[::]:443": false, "[fe80::1]:443": false, "[ff02::1]:443": false,
		"[::ffff:127.0.0.1]:443": false, "[::ffff:169.254.169.254]:80": false,
		"[fd00:ec2::254]:80": false, "[64:ff9b::169.254.169.254]:80": false, "[64:ff9b::127.0.0.1]:443": false, "[64:ff9b::192.0.2.1]:443": true, "nonsense": false,
	} {
		if err := public("name", address); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// answerDNS answers each query for addresses, as over TCP, with this one.
func answerDNS(c net.Conn, ip [4]byte) {
	defer c.Close()
	for {
		head := make([]byte, 2)
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		q := make([]byte, int(head[0])<<8|int(head[1]))
		if _, err := io.ReadFull(c, q); err != nil {
			return
		}
		end := 12
		for q[end] != 0 {
			end += int(q[end]) + 1
		}
		question := q[12 : end+5]
		a := append([]byte{q[0], q[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, question...)
		if question[len(question)-3] == 1 { // A
			a[7] = 1
			a = append(a, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, ip[0], ip[1], ip[2], ip[3])
		}
		if _, err := c.Write(append([]byte{byte(len(a) >> 8), byte(len(a))}, a...)); err != nil {
			return
		}
	}
}
