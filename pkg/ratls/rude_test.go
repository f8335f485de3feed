package ratls_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/ratls"
)

// What a server can answer to the challenge that is not an answer.
func TestBadAnswers(t *testing.T) {
	w := newWorld(t)
	own := w.forged(t, enclaveName, nil)
	set := func(k string, v any) func(message) { return func(m message) { m[k] = v } }
	for _, c := range []struct {
		name   string
		change func(message)
		step   attest.Step
	}{
		{"version", set("v", 3), ratls.StepSession},
		{"mode", set("mode", "deterministic"), ratls.StepSession},
		{"tdx", set("tee", "tdx"), ratls.StepSession},
		{"GPU", set("gpu_evidence", "AAAA"), ratls.StepSession},
		{"no quote", set("quote", ""), attest.StepQuote},
		{"padded quote", func(m message) { m["quote"] = m["quote"].(string) + "=" }, ratls.StepSession},
		{"quote_time", set("quote_time", "now"), ratls.StepSession},
		{"old", set("quote_time", ratls.QuoteTime(time.Now().Add(-10*time.Minute))), ratls.StepSession},
		{"new", set("quote_time", ratls.QuoteTime(time.Now().Add(10*time.Minute))), ratls.StepSession},
		{"client_evidence", set("client_evidence", "perhaps"), ratls.StepSession},
		{"context without need", set("client_context", "AAAA"), ratls.StepSession},
		{"need without context", set("client_evidence", "required"), ratls.StepSession},
		{"need of what we are not", func(m message) {
			m["client_evidence"], m["client_context"] = "required", b64.EncodeToString(make([]byte, 32))
		}, ratls.StepSession},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				w.answerChallenge(t, rw, r, r.TLS, own.Leaf, "EXPORTER-privasys-ratls-attest-v2", enclaveName)
			})
			addr := impostor(t, own, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				rec := &recorder{header: http.Header{}}
				h.ServeHTTP(rec, r)
				a := message{}
				if err := json.Unmarshal(rec.body.Bytes(), &a); err != nil {
					t.Error(err)
				}
				c.change(a)
				rw.Write(a.bytes())
			}))
			_, err := w.client(t, nil).Dial(t.Context(), "tcp", addr)
			wantStep(t, err, c.step)
		})
	}
}

// Answers that are no HTTP, or too much of it.
func TestRudeServers(t *testing.T) {
	w := newWorld(t)
	own := w.forged(t, enclaveName, nil)
	for name, answer := range map[string][]byte{
		"nothing":     nil,
		"noise":       []byte("220 mail.example ESMTP\r\n\r\n"),
		"no header":   []byte("HTTP/1.1 200 OK\r\n"),
		"long header": append([]byte("HTTP/1.1 200 OK\r\nX: "), bytes.Repeat([]byte("x"), 1<<20)...),
		"long body":   append([]byte("HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n"), make([]byte, 1<<20)...),
		"short body":  []byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}"),
		"pipelined":   []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n\r\n"),
		"redirect":    []byte("HTTP/1.1 307 Temporary Redirect\r\nLocation: https://localhost/\r\nContent-Length: 0\r\n\r\n"),
		"no content":  []byte("HTTP/1.1 204 No Content\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{own}})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				c.Read(make([]byte, 4096))
				c.Write(answer)
			}()
			_, err = w.client(t, nil).Dial(t.Context(), "tcp", l.Addr().String())
			wantStep(t, err, ratls.StepSession)
		})
	}
}

// A good answer with another one behind it, which nobody has asked for yet: it would be
// taken for the answer to the first request.
func TestAnswerInAdvance(t *testing.T) {
	w := newWorld(t)
	own := w.forged(t, enclaveName, nil)
	for _, extra := range []string{"", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"} {
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{own}})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			r, err := http.ReadRequest(bufio.NewReader(c))
			if err != nil {
				t.Error(err)
				return
			}
			state := c.(*tls.Conn).ConnectionState()
			rec := &recorder{header: http.Header{}}
			w.answerChallenge(t, rec, r, &state, own.Leaf, toClient, enclaveName)
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s%s", rec.body.Len(), rec.body.String(), extra)
			io.Copy(io.Discard, c)
		}()
		conn, err := w.client(t, nil).Dial(t.Context(), "tcp", l.Addr().String())
		if extra != "" {
			wantStep(t, err, ratls.StepSession)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
}

// A server that answers nothing is given up.
func TestSilentServer(t *testing.T) {
	w := newWorld(t)
	own := w.forged(t, enclaveName, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // TLS, and then nothing
				s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{own}})
				s.Handshake()
				io.Copy(io.Discard, s)
				c.Close()
			}()
		}
	}()
	_, err = w.client(t, func(c *ratls.Config) { c.Timeout = 200 * time.Millisecond }).Dial(t.Context(), "tcp", l.Addr().String())
	if err == nil {
		t.Fatal("somebody answered")
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	if _, err = w.client(t, nil).Dial(ctx, "tcp", l.Addr().String()); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}
