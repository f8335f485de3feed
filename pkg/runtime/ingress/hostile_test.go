package ingress_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/runtime/ingress"
)

// plain connects without any check, as a client does that means no good.
func plain(t testing.TB, addr string, protos ...string) *tls.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: protos})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// ended reports whether the other side closes c within a time that is far from the
// server's ordinary timeouts, and what it sent before.
func ended(t testing.TB, c net.Conn) (sent string) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	b, err := io.ReadAll(io.LimitReader(c, 1<<20))
	if e := net.Error(nil); errors.As(err, &e) && e.Timeout() {
		t.Errorf("the connection is still there")
	}
	return string(b)
}

// works checks that an honest client is served, which is the point of all limits. It may
// try a few times: on a busy machine it is as slow as those whom the limits of a test
// are for.
func works(t testing.TB, s *server) {
	t.Helper()
	var err error
	for range 10 {
		if err = tryWork(t, s); err == nil {
			return
		}
	}
	t.Errorf("an honest client: %v", err)
}

func tryWork(t testing.TB, s *server) error {
	transport := s.client(t, nil).Transport()
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("https://" + s.addr + "/works")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && string(b) != "HTTP/1.1 /works 0" {
		err = fmt.Errorf("it got %q", b)
	}
	return err
}

// Half handshakes hold no place that others need: the oldest is given up for the newest.
func TestHalfHandshakes(t *testing.T) {
	s := start(t, func(s *setup) { s.ingress.MaxHandshakes = 8; s.ingress.HandshakeTimeout = time.Minute })
	var half []net.Conn
	for i := range 40 {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		switch i % 3 {
		case 1: // the start of a record, and no more
			c.Write([]byte{0x16, 3, 1})
		case 2: // a record that is to be long, a byte at a time
			c.Write([]byte{0x16, 3, 1, 0x3f, 0xff, 1})
		}
		half = append(half, c)
	}
	works(t, s)
	works(t, s)
	for _, c := range half[:20] {
		ended(t, c)
	}
}

// A client that does not finish its handshake in time is out, without anybody needing
// the place.
func TestSlowHandshake(t *testing.T) {
	s := start(t, func(s *setup) { s.ingress.HandshakeTimeout = 200 * time.Millisecond })
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ended(t, c)
	works(t, s)
}

// Noise on the port.
func TestNoise(t *testing.T) {
	s := start(t, nil)
	for _, b := range [][]byte{
		[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), make([]byte, 64<<10), bytes.Repeat([]byte{0xff}, 64<<10),
		{0x16, 3, 1, 0, 4, 1, 0, 0, 0}, {0x15, 3, 3, 0, 2, 2, 40}, {0x80, 0x2e, 1, 3, 1},
	} {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		c.Write(b)
		if strings.Contains(ended(t, c), "works") {
			t.Error("an answer without TLS")
		}
		c.Close()
	}
	works(t, s)
}

// Slowloris: a header, a body and an answer that never come to an end.
func TestSlowClients(t *testing.T) {
	s := start(t, func(s *setup) {
		s.ingress.ReadHeaderTimeout = 300 * time.Millisecond
		s.ingress.ReadTimeout = 600 * time.Millisecond
		s.ingress.IdleTimeout = 300 * time.Millisecond
		s.ingress.WriteTimeout = 2 * time.Second
	})
	drip := func(c net.Conn, b string) {
		go func() {
			for {
				if _, err := io.WriteString(c, b); err != nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		}()
	}
	var wg sync.WaitGroup
	for name, f := range map[string]func(c *tls.Conn){
		"nothing": func(*tls.Conn) {},
		"header":  func(c *tls.Conn) { io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n"); drip(c, "X: y\r\n") },
		"line":    func(c *tls.Conn) { io.WriteString(c, "GET /"); drip(c, "a") },
		"body": func(c *tls.Conn) {
			io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
			drip(c, "a")
		},
		"chunks": func(c *tls.Conn) {
			io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
			drip(c, "1\r\na\r\n")
		},
		"idle": func(c *tls.Conn) { io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") },
	} {
		c := plain(t, s.addr)
		wg.Go(func() {
			f(c)
			if sent := ended(t, c); strings.Contains(sent, "200 OK") && name != "idle" {
				t.Errorf("%s: %.100q", name, sent)
			}
		})
	}
	// HTTP/2: a preface and nothing, and a frame that says nothing.
	for _, b := range []string{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"} {
		c := plain(t, s.addr, "h2")
		wg.Go(func() {
			io.WriteString(c, b)
			ended(t, c)
		})
	}
	wg.Wait()
	works(t, s)
}

// Each timeout by itself: the others are far away.
func TestEachTimeout(t *testing.T) {
	const short = 200 * time.Millisecond
	for _, c := range []struct {
		name string
		set  func(*ingress.Options)
		send string
	}{
		{"header", func(o *ingress.Options) { o.ReadHeaderTimeout = short }, "GET / HTTP/1.1\r\nHost: x\r\n"},
		{"body", func(o *ingress.Options) { o.ReadTimeout = short }, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"},
		{"idle", func(o *ingress.Options) { o.IdleTimeout = short }, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, func(s *setup) {
				o := &s.ingress
				o.ReadHeaderTimeout, o.ReadTimeout, o.WriteTimeout, o.IdleTimeout = time.Hour, time.Hour, time.Hour, time.Hour
				c.set(o)
			})
			conn := plain(t, s.addr)
			io.WriteString(conn, c.send)
			ended(t, conn)
		})
	}
}

// A client that asks for much and reads nothing.
func TestClientThatDoesNotRead(t *testing.T) {
	var wrote atomic.Int64
	done := make(chan error, 1)
	s := start(t, func(s *setup) {
		s.ingress.WriteTimeout = 500 * time.Millisecond
		s.ingress.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/much" {
				fmt.Fprintf(w, "%s %s %d", r.Proto, r.URL.Path, 0)
				return
			}
			b := make([]byte, 1<<20)
			for {
				n, err := w.Write(b)
				wrote.Add(int64(n))
				if err != nil {
					done <- err
					return
				}
			}
		})
	})
	c := plain(t, s.addr)
	io.WriteString(c, "GET /much HTTP/1.1\r\nHost: x\r\n\r\n")
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("the handler still writes")
	}
	if wrote.Load() > 256<<20 {
		t.Errorf("%d bytes were written", wrote.Load())
	}
	works(t, s)
}

// request sends text and gives the status and body of the answer.
func request(t testing.TB, c net.Conn, text string) (status, body string) {
	t.Helper()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	go io.WriteString(c, text)
	b, _ := io.ReadAll(io.LimitReader(c, 1<<20))
	status, _, _ = strings.Cut(string(b), "\r\n")
	_, body, _ = strings.Cut(string(b), "\r\n\r\n")
	return status, body
}

func TestHugeRequests(t *testing.T) {
	var handled atomic.Int64
	s := start(t, func(s *setup) {
		s.ingress.MaxBodyBytes = 1000
		s.ingress.MaxHeaderBytes = 8 << 10
		next := s.ingress.Handler
		s.ingress.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handled.Add(1); next.ServeHTTP(w, r) })
	})
	const end = "Connection: close\r\n\r\n"
	fields := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "X%d: y\r\n", i)
		}
		return b.String()
	}
	for _, c := range []struct {
		name, text, status string
		handled            int64
	}{
		{"all right", "GET / HTTP/1.1\r\nHost: x\r\n" + fields(100) + end, "200", 1},
		{"many fields", "GET / HTTP/1.1\r\nHost: x\r\n" + fields(200) + end, "431", 0},
		{"one field many times", "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 200) + end, "431", 0},
		{"a long field", "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 64<<10) + "\r\n" + end, "431", 0},
		{"a long path", "GET /" + strings.Repeat("y", 64<<10) + " HTTP/1.1\r\nHost: x\r\n" + end, "431", 0},
		{"a body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n" + end + strings.Repeat("b", 1000), "200", 1},
		{"a big body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n" + end + strings.Repeat("b", 1001), "413", 0},
		{"a body that is said to be huge", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775807\r\n" + end, "413", 0},
		{"a length that is none", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n" + end, "400", 0},
		{"two lengths", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n" + end, "400", 0},
		{"big chunks", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + end + "1000\r\n" + strings.Repeat("b", 0x1000) + "\r\n0\r\n\r\n", "413", 1},
		{"no host", "GET / HTTP/1.1\r\n" + end, "400", 0},
		{"another version", "GET / HTTP/3.0\r\nHost: x\r\n" + end, "505", 0},
		{"a smuggled request", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n" + end + "0\r\n\r\n", "", 1},
	} {
		handled.Store(0)
		status, body := request(t, plain(t, s.addr), c.text)
		if c.status != "" && !strings.HasPrefix(status, "HTTP/1.1 "+c.status) || handled.Load() != c.handled {
			t.Errorf("%s: %q, handled %d times; want %s, %d times", c.name, status, handled.Load(), c.status, c.handled)
		}
		if c.handled == 0 && (c.status == "413" || c.name == "many fields") && !strings.HasPrefix(body, `{"error":"`) {
			t.Errorf("%s: the body is %q", c.name, body)
		}
	}
	// The same by HTTP/2.
	h2 := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer h2.CloseIdleConnections()
	resp, err := h2.RoundTrip(post(t, "https://"+s.addr+"/", 1001))
	if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge || resp.ProtoMajor != 2 {
		t.Errorf("HTTP/2: %v %v", resp, err)
	}
	resp, err = h2.RoundTrip(post(t, "https://"+s.addr+"/", 1000))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("HTTP/2: %v %v", resp, err)
	}
	works(t, s)
}

func post(t testing.TB, url string, n int) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(make([]byte, n)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// When all places are taken, those who only sit there make room.
func TestIdleConnections(t *testing.T) {
	s := start(t, func(s *setup) { s.ingress.MaxConns = 10 })
	var idle []*tls.Conn
	for i := range 30 {
		c := plain(t, s.addr)
		if i%2 == 0 {
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			if _, err := c.Read(make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
		}
		idle = append(idle, c)
	}
	works(t, s)
	for _, c := range idle[:15] {
		ended(t, c)
	}
}

// When all places are taken by requests that run, nobody is thrown out for a newcomer.
func TestBusyConnections(t *testing.T) {
	release := make(chan struct{})
	running := make(chan struct{}, 8)
	s := start(t, func(s *setup) {
		s.ingress.MaxConns = 4
		s.ingress.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/long" {
				running <- struct{}{}
				<-release
			}
			fmt.Fprintf(w, "%s %s 0", r.Proto, r.URL.Path)
		})
	})
	var busy []*tls.Conn
	for range 4 {
		c := plain(t, s.addr)
		io.WriteString(c, "GET /long HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		<-running
		busy = append(busy, c)
	}
	if c, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true}); err == nil {
		c.Close()
		t.Error("a fifth connection was taken")
	}
	close(release)
	for _, c := range busy {
		if sent := ended(t, c); !strings.Contains(sent, "200 OK") {
			t.Errorf("%.100q", sent)
		}
	}
	works(t, s)
}

// A flood of names mints nothing: see also ratls. Here it is a flood of connections.
func TestSNIFlood(t *testing.T) {
	s := start(t, nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 30 {
				c, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true, ServerName: fmt.Sprintf("n%d-%d.example", i, j)})
				if err != nil {
					t.Error(err)
					return
				}
				c.Close()
			}
		})
	}
	wg.Wait()
	if n := s.quoter.n.Load(); n != 2 {
		t.Errorf("%d quotes were made; the leaf needs 2", n)
	}
	works(t, s)
}

// Streams that are opened and taken back at once (HTTP/2 rapid reset).
func TestManyStreams(t *testing.T) {
	s := start(t, func(s *setup) { s.ingress.MaxStreams = 8 })
	h2 := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer h2.CloseIdleConnections()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 30 {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Millisecond, cancel)
				resp, err := h2.RoundTrip(post(t, "https://"+s.addr+"/", 10).WithContext(ctx))
				if err == nil {
					resp.Body.Close()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	works(t, s)
}

func TestRefusals(t *testing.T) {
	s := start(t, nil)
	h := http.NotFoundHandler()
	for name, o := range map[string]ingress.Options{
		"no attester":      {Handler: h},
		"no handler":       {Attester: s.attester},
		"no limit":         {Attester: s.attester, Handler: h, MaxConns: -1},
		"no body limit":    {Attester: s.attester, Handler: h, MaxBodyBytes: -1},
		"no timeout":       {Attester: s.attester, Handler: h, IdleTimeout: -1},
		"no last timeout":  {Attester: s.attester, Handler: h, ShutdownTimeout: -1},
		"no header limit":  {Attester: s.attester, Handler: h, MaxHeaderBytes: -1},
		"no first timeout": {Attester: s.attester, Handler: h, HandshakeTimeout: -1},
	} {
		if _, err := ingress.New(o); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
