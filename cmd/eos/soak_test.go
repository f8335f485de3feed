package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/enclaveos/eos/testdata/guests"
)

// soakClients are so many that a thousand connections are open at any moment: some of
// them come and go.
const soakClients = 1250

// TestSoak lets a thousand connections work with a runtime for as long as EOS_SOAK says,
// all of them from this machine: those that call apps, store and read, those that come
// anew each time, and those that are slow, silent or gone in the middle. Whoever is
// honest is answered rightly; memory, goroutines and files of host and enclave stay.
func TestSoak(t *testing.T) {
	long, err := time.ParseDuration(os.Getenv("EOS_SOAK"))
	if err != nil {
		t.Skip("EOS_SOAK is no duration: EOS_SOAK=2m runs it")
	}
	s := startSoak(t)
	s.sample("begin")
	base := s.last
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	var clients sync.WaitGroup
	begun := time.Now()
	for i := range soakClients {
		client := s.steady
		switch {
		case i%10 == 6:
			client = s.newcomer
		case i%10 == 7:
			client = s.slow
		case i%10 == 8:
			client = s.gone
		case i%20 == 9:
			client = s.silent
		case i%20 == 19:
			client = s.dawdler
		}
		clients.Go(func() {
			// Not all of them at once: nobody's clients do that.
			time.Sleep(time.Duration(i) * 10 * time.Millisecond)
			for ctx.Err() == nil {
				client(ctx, i)
			}
		})
	}
	var middle figures
	for n := 1; ctx.Err() == nil; n++ {
		select {
		case <-ctx.Done():
		case <-time.After(min(10*time.Second, long/10)):
			s.sample(time.Since(begun).Round(time.Second).String())
			if n == 4 {
				middle = s.last
			}
		}
	}
	full := s.last
	clients.Wait()
	s.http.CloseIdleConnections()
	// What clients have left behind ends with the server's own timeouts.
	for range 90 {
		time.Sleep(time.Second)
		if s.read(); s.last.goroutines <= base.goroutines+10 && s.last.files <= base.files+5 {
			break
		}
	}
	s.sample("end")
	if s.last.goroutines > base.goroutines+10 || s.last.files > base.files+5 {
		t.Errorf("something is left: goroutines %d and then %d, files %d and then %d", base.goroutines, s.last.goroutines, base.files, s.last.files)
	}
	if full.resident > middle.resident+middle.resident/4 || full.memory > middle.memory+middle.memory/4 {
		t.Errorf("memory grows: from %+v to %+v", middle, full)
	}
	for what, n := range s.done {
		t.Logf("%-12s %d", what, n.Load())
	}
	if n := s.failed.Load(); n > 0 {
		t.Errorf("%d requests of honest clients failed", n)
	}
}

// soak is a runtime and its clients.
type soak struct {
	t      *testing.T
	pid    int
	addr   string
	token  string
	http   *http.Transport
	roots  *x509.CertPool
	done   map[string]*atomic.Int64
	failed atomic.Int64
	last   figures
}

// figures are what must not grow.
type figures struct {
	goroutines, heap, memory, requests int // of the enclave
	resident, threads, files           int // of the host's process, which has the enclave in it
}

func startSoak(t *testing.T) *soak {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("XDG_STATE_HOME", dir)
	for _, name := range []string{"store-c", "cgi-c", "hello-c"} {
		b, err := os.ReadFile(guests.Build(t, name))
		if err == nil {
			err = os.WriteFile(name+".wasm", b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"build", "store-c.wasm", "cgi-c.wasm", "hello-c.wasm", "-o", "apps.sgxs"}, {"keygen", "key.pem"},
		{"sign", "--key", "key.pem", "apps.sgxs"}, {"ca", "init", "ca"}} {
		if out, err := exec.Command("eos", args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", args, err, out)
		}
	}
	cmd := exec.Command("eos", "run", "--listen", "127.0.0.1:0", "--ca-cert", "ca/intermediary.pem", "--ca-key", "ca/intermediary.key", "apps.sgxs")
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			text, _ := os.ReadFile(log.Name())
			t.Errorf("its end: %v\n%.4000s", err, text)
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	_, addr, ok := strings.Cut(strings.TrimSpace(line), "https://")
	if err != nil || !ok {
		text, _ := os.ReadFile(log.Name())
		t.Fatalf("%q, %v\n%s", line, err, text)
	}
	pem, err := os.ReadFile("ca/root.pem")
	if err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile("apps.state/operator-token")
	if err != nil {
		t.Fatal(err)
	}
	s := &soak{t: t, pid: cmd.Process.Pid, addr: addr, token: strings.TrimSpace(string(token)), roots: x509.NewCertPool(), done: map[string]*atomic.Int64{}}
	s.roots.AppendCertsFromPEM(pem)
	s.http = s.transport()
	for _, what := range []string{"put", "get", "call", "command", "health", "handshake", "slow", "gone", "silent", "dawdler"} {
		s.done[what] = new(atomic.Int64)
	}
	return s
}

func (s *soak) transport() *http.Transport {
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.roots}, MaxIdleConns: 1, ResponseHeaderTimeout: 30 * time.Second}
}

func (s *soak) dial(ctx context.Context) (*tls.Conn, error) {
	d := tls.Dialer{Config: &tls.Config{RootCAs: s.roots, ServerName: "localhost"}}
	c, err := d.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, err
	}
	return c.(*tls.Conn), nil
}

// ask makes one request of an honest client, and says whether the answer is right.
func (s *soak) ask(ctx context.Context, tr *http.Transport, what, method, path, body, want string) {
	req, err := http.NewRequest(method, "https://"+s.addr+path, strings.NewReader(body))
	if err != nil {
		s.t.Error(err)
		return
	}
	resp, err := tr.RoundTrip(req)
	var got []byte
	if err == nil {
		got, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(got), want) {
		if ctx.Err() == nil && s.failed.Add(1) < 10 {
			s.t.Errorf("%s: %v %.200q, want %q", what, err, got, want)
		}
		return
	}
	s.done[what].Add(1)
}

// pause is between two requests of a client.
func pause(ctx context.Context, most time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(rand.N(most)):
	}
}

// work is a request of one of the kinds.
func (s *soak) work(ctx context.Context, tr *http.Transport, i int) {
	key, value := fmt.Sprintf("client-%d", i), fmt.Sprintf("value of %d", i)
	switch rand.N(6) {
	case 0:
		s.ask(ctx, tr, "put", "POST", "/rpc/store-c/put", fmt.Sprintf(`{"key":%q,"value":%q}`, key, value), "stored")
		s.ask(ctx, tr, "get", "POST", "/rpc/store-c/get", fmt.Sprintf(`{"key":%q}`, key), value)
	case 1:
		s.ask(ctx, tr, "command", "POST", "/app/cgi-c/some/path", "body", "POST /some/path body")
	case 2:
		s.ask(ctx, tr, "health", "GET", "/healthz", "", "ok")
	default:
		s.ask(ctx, tr, "call", "POST", "/rpc/hello-c/hello", fmt.Sprintf(`{"name":%q}`, key), "Hello, "+key)
	}
}

// steady keeps its connection.
func (s *soak) steady(ctx context.Context, i int) {
	tr := s.transport()
	defer tr.CloseIdleConnections()
	for ctx.Err() == nil {
		s.work(ctx, tr, i)
		pause(ctx, 10*time.Second)
	}
}

// newcomer comes anew each time.
func (s *soak) newcomer(ctx context.Context, i int) {
	tr := s.transport()
	tr.DisableKeepAlives = true
	s.work(ctx, tr, i)
	s.done["handshake"].Add(1)
	pause(ctx, 10*time.Second)
}

// slow sends a request a byte at a time.
func (s *soak) slow(ctx context.Context, i int) {
	c, err := s.dial(ctx)
	if err != nil {
		return
	}
	defer c.Close()
	for _, b := range []byte("POST /rpc/hello-c/hello HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n\r\n{\"name\":\"x\"}") {
		if _, err := c.Write([]byte{b}); err != nil {
			return // it was too slow
		}
		pause(ctx, 200*time.Millisecond)
	}
	s.done["slow"].Add(1)
}

// gone leaves in the middle: of the handshake, of a request, of an answer.
func (s *soak) gone(ctx context.Context, i int) {
	defer pause(ctx, 5*time.Second)
	defer s.done["gone"].Add(1)
	if rand.N(3) == 0 {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			return
		}
		_, _ = c.Write([]byte{0x16, 3, 1, 2, 0, 1})
		_ = c.(*net.TCPConn).SetLinger(0)
		c.Close()
		return
	}
	c, err := s.dial(ctx)
	if err != nil {
		return
	}
	text := "POST /rpc/store-c/put HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n{\"key\":\"" + strings.Repeat("x", rand.N(500_000))
	if rand.N(2) == 0 {
		text = "POST /app/cgi-c/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody"
	}
	_, _ = io.WriteString(c, text)
	_ = c.NetConn().(*net.TCPConn).SetLinger(0)
	c.NetConn().Close()
}

// silent connects and says nothing.
func (s *soak) silent(ctx context.Context, i int) {
	c, err := s.dial(ctx)
	if err != nil {
		return
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_, _ = c.Read(make([]byte, 1)) // until the server has had enough
	s.done["silent"].Add(1)
}

// dawdler takes its answers a byte at a time.
func (s *soak) dawdler(ctx context.Context, i int) {
	c, err := s.dial(ctx)
	if err != nil {
		return
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /.well-known/eos/config HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return
	}
	for range 200 {
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err != nil {
			return
		}
		pause(ctx, 100*time.Millisecond)
	}
	s.done["dawdler"].Add(1)
}

// read takes the figures.
func (s *soak) read() {
	req, err := http.NewRequest("GET", "https://"+s.addr+"/metrics", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Accept", "text/plain")
	resp, err := s.http.RoundTrip(req)
	if err != nil {
		s.t.Errorf("metrics: %v", err)
		return
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		n, _ := strconv.ParseFloat(value, 64)
		switch name {
		case "eos_goroutines":
			s.last.goroutines = int(n)
		case "eos_heap_bytes":
			s.last.heap = int(n)
		case "eos_memory_bytes":
			s.last.memory = int(n)
		case "eos_requests_total":
			s.last.requests = int(n)
		}
	}
	proc := fmt.Sprintf("/proc/%d", s.pid)
	status, err := os.ReadFile(proc + "/status")
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		_, _ = fmt.Sscanf(line, "VmRSS: %d kB", &s.last.resident)
		_, _ = fmt.Sscanf(line, "Threads: %d", &s.last.threads)
	}
	files, err := os.ReadDir(proc + "/fd")
	if err != nil {
		s.t.Fatal(err)
	}
	s.last.files = len(files)
}

func (s *soak) sample(when string) {
	s.read()
	f := s.last
	s.t.Logf("%6s: enclave: %d requests, %d goroutines, heap %s of %s; host: resident %s, %d threads, %d files", when, f.requests, f.goroutines,
		humanSize(uint64(f.heap)), humanSize(uint64(f.memory)), humanSize(uint64(f.resident)<<10), f.threads, f.files)
}
