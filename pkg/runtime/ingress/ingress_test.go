package ingress_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/ratls/ratlstest"
	"github.com/enclaveos/eos/pkg/runtime/ingress"
)

// server is an enclave that serves.
type server struct {
	addr     string
	platform *ratlstest.Platform
	attester *ratls.Attester
	quoter   *countingQuoter
	stop     context.CancelFunc
	ended    chan error
}

const enclaveName = "the enclave"

type setup struct {
	attester ratls.AttesterConfig
	ingress  ingress.Options
	subjects []ratls.Subject
	listener func(net.Listener) net.Listener
}

// countingQuoter counts quotes.
type countingQuoter struct {
	ratls.Quoter
	n atomic.Int64
}

func (q *countingQuoter) Quote(ctx context.Context, data [64]byte) ([]byte, error) {
	q.n.Add(1)
	return q.Quoter.Quote(ctx, data)
}

// start serves until the test ends. What set leaves alone has a value that works.
func start(t testing.TB, set func(*setup)) *server {
	t.Helper()
	platform, err := ratlstest.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ca, err := ratls.NewSelfMade("test CA", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	quoter := &countingQuoter{Quoter: platform.Enclave(enclaveName)}
	s := setup{
		attester: ratls.AttesterConfig{Quoter: quoter, CA: ca},
		listener: func(l net.Listener) net.Listener { return l },
		subjects: []ratls.Subject{{Name: "platform", Hosts: []string{"localhost", "127.0.0.1"}, Extensions: []ratls.Extension{
			{OID: ratls.OIDConfigRoot, Value: make([]byte, 32)},
		}}},
		ingress: ingress.Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
				return
			}
			fmt.Fprintf(w, "%s %s %d", r.Proto, r.URL.Path, n)
		})},
	}
	if set != nil {
		set(&s)
	}
	a, err := ratls.NewAttester(s.attester)
	if err != nil {
		t.Fatal(err)
	}
	s.ingress.Attester = a
	in, err := ingress.New(s.ingress)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.SetSubjects(t.Context(), s.subjects[0], s.subjects[1:]...); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	srv := &server{l.Addr().String(), platform, a, quoter, stop, make(chan error, 1)}
	go func() { srv.ended <- in.Serve(ctx, s.listener(l)) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-srv.ended:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("Serve does not end")
		}
	})
	return srv
}

func (s *server) client(t testing.TB, set func(*ratls.Config)) *ratls.Client {
	t.Helper()
	cfg := ratls.Config{Trust: s.platform.Trust(enclaveName)}
	if set != nil {
		set(&cfg)
	}
	c, err := ratls.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestServe(t *testing.T) {
	s := start(t, nil)
	transport := s.client(t, nil).Transport()
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("https://" + s.addr + "/hello")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if string(body) != "HTTP/1.1 /hello 0" {
		t.Errorf("answer %q", body)
	}
	peer, ok := ratls.ResponsePeer(resp)
	if !ok || peer.Proof() != ratls.ProofSession {
		t.Fatalf("peer %v %v", peer, ok)
	}
	if v, ok := peer.Claim(ratls.OIDConfigRoot); !ok || len(v) != 32 {
		t.Errorf("config root %x %v", v, ok)
	}
}
