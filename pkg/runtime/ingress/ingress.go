// Package ingress is the enclave's HTTPS server: it accepts connections that the host
// passes on, gives each of them a proof of what runs here (package ratls), and hands
// requests to a handler.
//
// Both the host and the clients are assumed to be hostile. The host can cut and delay
// connections and say what it likes about where they come from, so no limit here goes
// by address. A client can waste time, memory and quotes, so everything a client can
// make the enclave hold has a bound: see Options. What goes over a bound is refused or
// the oldest is given up; other clients are served on.
//
// TLS 1.3 only, HTTP/1.1 and HTTP/2.
package ingress

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/enclaveos/eos/pkg/ratls"
)

// Options of a Server. Only Attester and Handler must be set; the zero value of a limit
// means the default next to it.
type Options struct {
	Attester *ratls.Attester
	Handler  http.Handler
	Log      *slog.Logger // nil discards

	MaxHandshakes int // connections between being accepted and having finished TLS: 256
	MaxConns      int // connections in all: 2048

	MaxHeaderBytes int   // of a request, 431 beyond: 32 KiB
	MaxBodyBytes   int64 // of a request, 413 beyond: 16 MiB
	MaxBuffered    int64 // of all bodies together that handlers have read; the oldest is given up beyond (ErrCrowded): 128 MiB
	MaxStreams     int   // requests at a time in an HTTP/2 connection: 64

	HandshakeTimeout  time.Duration // 10 s
	ReadHeaderTimeout time.Duration // until a request's header is there: 10 s
	ReadTimeout       time.Duration // until a request is there with its body: 60 s
	WriteTimeout      time.Duration // until the answer is out: 120 s
	IdleTimeout       time.Duration // between requests: 60 s
	ShutdownTimeout   time.Duration // for requests that run when the server ends: 10 s
}

// maxHeaders bounds the fields in a header, which cost more than their bytes.
const maxHeaders = 128

func (o *Options) setDefaults() error {
	switch {
	case o.Attester == nil:
		return errors.New("ingress: no attester")
	case o.Handler == nil:
		return errors.New("ingress: no handler")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ok := fill(&o.MaxHandshakes, 256) && fill(&o.MaxConns, 2048) && fill(&o.MaxHeaderBytes, 32<<10) &&
		fill(&o.MaxBodyBytes, 16<<20) && fill(&o.MaxBuffered, 128<<20) && fill(&o.MaxStreams, 64) &&
		fill(&o.HandshakeTimeout, 10*time.Second) && fill(&o.ReadHeaderTimeout, 10*time.Second) &&
		fill(&o.ReadTimeout, time.Minute) && fill(&o.WriteTimeout, 2*time.Minute) &&
		fill(&o.IdleTimeout, time.Minute) && fill(&o.ShutdownTimeout, 10*time.Second)
	if !ok {
		return errors.New("ingress: a limit cannot be negative: there is no way to be without one")
	}
	return nil
}

// fill puts the default into an option that was left out, and refuses negative ones.
func fill[T int | int64 | time.Duration](v *T, def T) bool {
	if *v == 0 {
		*v = def
	}
	return *v > 0
}

// Server serves one listener.
type Server struct {
	o      Options
	http   *http.Server
	gate   *gate
	intake *intake
}

// New makes a server.
func New(o Options) (*Server, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	s := &Server{o: o, intake: newIntake(o.MaxBuffered)}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	s.http = &http.Server{
		Handler:           o.Attester.Handler(s.bound(o.Handler)),
		ConnContext:       o.Attester.ConnContext,
		Protocols:         &protocols,
		MaxHeaderBytes:    o.MaxHeaderBytes,
		ReadHeaderTimeout: o.ReadHeaderTimeout,
		ReadTimeout:       o.ReadTimeout,
		WriteTimeout:      o.WriteTimeout,
		IdleTimeout:       o.IdleTimeout,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          o.MaxStreams,
			MaxReceiveBufferPerStream:     256 << 10,
			MaxReceiveBufferPerConnection: 1 << 20,
			MaxReadFrameSize:              16 << 10,
			SendPingTimeout:               o.IdleTimeout,
			WriteByteTimeout:              o.WriteTimeout,
		},
		ErrorLog: log.New(logWriter{o.Log}, "", 0),
	}
	return s, nil
}

// bound refuses requests that are too big before the handler sees them, and bounds what
// it can read of the others.
func (s *Server) bound(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fields := 0
		for _, v := range r.Header {
			fields += len(v)
		}
		switch {
		case fields > maxHeaders:
			refuse(w, http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("%d header fields, at most %d are allowed", fields, maxHeaders))
		case r.ContentLength > s.o.MaxBodyBytes:
			refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("a body of %d bytes, at most %d are allowed", r.ContentLength, s.o.MaxBodyBytes))
		default:
			if r.Body != http.NoBody {
				defer s.intake.track(w, r)()
			}
			r.Body = http.MaxBytesReader(w, r.Body, s.o.MaxBodyBytes)
			next.ServeHTTP(w, r)
		}
	})
}

// refuse answers in the shape of all errors of the runtime. text needs no escaping.
func refuse(w http.ResponseWriter, status int, text string) {
	body := fmt.Sprintf("{%q:%q}", "error", text)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.Header().Set("Connection", "close")
	w.WriteHeader(status)
	fmt.Fprint(w, body)
}

// Serve serves l until ctx ends, or l fails. When ctx ends, no new connection is taken,
// and requests that run have ShutdownTimeout to end; the answer is nil if they did. l is
// closed in any case, and the attester's leaves are kept up as long as Serve runs.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	attester := make(chan error, 1)
	go func() { attester <- s.o.Attester.Run(background) }()

	s.gate = newGate(l, &s.o)
	s.http.ConnState = s.gate.state
	go s.gate.accept(background)
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.gate) }()

	var err error
	select {
	case err = <-served: // the listener is broken
		s.http.Close()
	case <-ctx.Done():
		err = s.shutdown(background)
		<-served
	}
	stop()
	s.gate.wait()
	return errors.Join(err, <-attester)
}

// grace is for requests that are on their way when the server ends.
const grace = 500 * time.Millisecond

func (s *Server) shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.ShutdownTimeout)
	defer cancel()
	// Shutdown would wait longer for those that have never asked for anything.
	quiet := time.AfterFunc(grace, s.gate.closeIdle)
	defer quiet.Stop()
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
		return fmt.Errorf("ingress: requests still ran %s after the end: %w", s.o.ShutdownTimeout, err)
	}
	return nil
}

// logWriter takes the lines of net/http, which are mostly about what clients do.
type logWriter struct{ log *slog.Logger }

func (w logWriter) Write(b []byte) (int, error) {
	w.log.Debug("http", "text", string(b[:min(len(b), 512)]))
	return len(b), nil
}
