package ingress_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// When the server ends, what runs is finished, who idles is let go, and nobody comes in.
func TestShutdown(t *testing.T) {
	running, release := make(chan struct{}), make(chan struct{})
	s := start(t, func(s *setup) {
		// Less than net/http waits for connections that have never asked for anything.
		s.ingress.ShutdownTimeout = 4 * time.Second
		s.ingress.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/long" {
				close(running)
				<-release
			}
			fmt.Fprint(w, "done")
		})
	})
	silent, idle := plain(t, s.addr), plain(t, s.addr)
	io.WriteString(idle, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := idle.Read(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	half, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	busy := plain(t, s.addr)
	io.WriteString(busy, "GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
	<-running

	s.stop()
	ended(t, idle)
	ended(t, silent)
	if c, err := net.Dial("tcp", s.addr); err == nil {
		c.Close()
		t.Error("a connection after the end")
	}
	select {
	case err := <-s.ended:
		t.Fatalf("Serve returns while a request runs: %v", err)
	default:
	}
	close(release)
	if sent := ended(t, busy); !strings.HasSuffix(sent, "done") {
		t.Errorf("the request that ran: %q", sent)
	}
	err = <-s.ended
	s.ended <- err // for the end of the test
	if err != nil {
		t.Errorf("Serve: %v", err)
	}
	ended(t, half)
}

// A request that does not end is cut off, and Serve says so.
func TestShutdownTimeout(t *testing.T) {
	running := make(chan struct{})
	s := start(t, func(s *setup) {
		s.ingress.ShutdownTimeout = 100 * time.Millisecond
		s.ingress.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(running)
			<-r.Context().Done()
		})
	})
	c := plain(t, s.addr)
	io.WriteString(c, "GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
	<-running
	s.stop()
	if err := <-s.ended; err == nil || !strings.Contains(err.Error(), "still ran") {
		t.Errorf("Serve: %v", err)
	}
	s.ended <- nil
	ended(t, c)
}

// A listener that breaks ends Serve with its error.
func TestBrokenListener(t *testing.T) {
	broken := errors.New("broken")
	s := start(t, func(s *setup) {
		s.listener = func(l net.Listener) net.Listener { return &breaking{l, broken, make(chan struct{})} }
	})
	select {
	case err := <-s.ended:
		if !errors.Is(err, broken) {
			t.Errorf("Serve: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("Serve goes on")
	}
	s.ended <- nil
}

type breaking struct {
	net.Listener
	err    error
	closed chan struct{}
}

func (b *breaking) Accept() (net.Conn, error) { return nil, b.err }

// A listener that has no descriptor left for a moment is asked again.
func TestListenerRecovers(t *testing.T) {
	s := start(t, func(s *setup) { s.listener = func(l net.Listener) net.Listener { return &stumbling{Listener: l} } })
	works(t, s)
}

type stumbling struct {
	net.Listener
	n int
}

func (l *stumbling) Accept() (net.Conn, error) {
	if l.n++; l.n < 4 {
		return nil, temporary{}
	}
	return l.Listener.Accept()
}

type temporary struct{}

func (temporary) Error() string   { return "for a moment" }
func (temporary) Temporary() bool { return true }
func (temporary) Timeout() bool   { return false }
