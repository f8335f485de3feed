package ingress_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/runtime/ingress"
)

// hoarder is a handler that keeps what it is sent, as those do that read a whole body.
type hoarder struct {
	stalled chan error // of each request to /stall, when 96 KiB are there or it is given up
}

func (h *hoarder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var kept []byte
	if r.URL.Path == "/stall" {
		kept = make([]byte, 96<<10)
		_, err := io.ReadFull(r.Body, kept)
		h.stalled <- err
	}
	rest, err := ingress.ReadAll(r.Body)
	switch {
	case errors.Is(err, ingress.ErrCrowded):
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	default:
		fmt.Fprintf(w, "%s %s %d", r.Proto, r.URL.Path, len(kept)+len(rest))
	}
}

// Bodies that come slowly, to hold memory, are given up for those that come; small ones
// are served whatever there is.
func TestIntake(t *testing.T) {
	h := &hoarder{stalled: make(chan error, 100)}
	s := start(t, func(s *setup) { s.ingress.Handler = h; s.ingress.MaxBuffered = 256 << 10 })
	half := strings.Repeat("x", 96<<10)
	for _, client := range []string{"1.1", "2"} {
		var answers []chan string
		stop := make(chan struct{})
		for range 10 {
			r, w := io.Pipe()
			answer := make(chan string, 1)
			answers = append(answers, answer)
			tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: client == "2"}
			defer tr.CloseIdleConnections()
			go func() {
				_, _ = io.WriteString(w, half)
				<-stop
				w.CloseWithError(io.ErrUnexpectedEOF)
			}()
			go func() {
				req, _ := http.NewRequest("POST", "https://"+s.addr+"/stall", r)
				resp, err := (&http.Client{Transport: tr}).Do(req)
				if err != nil {
					answer <- err.Error()
					return
				}
				resp.Body.Close()
				if got := fmt.Sprint(resp.ProtoMajor); !strings.HasPrefix(client, got) {
					t.Errorf("HTTP/%s: %s", client, resp.Proto)
				}
				answer <- resp.Status
			}()
			if err := <-h.stalled; err != nil {
				t.Errorf("HTTP/%s: the newest is given up: %v", client, err)
			}
		}
		// There is room for three.
		works(t, s)
		tr := s.client(t, nil).Transport()
		for range 3 {
			resp, err := (&http.Client{Transport: tr}).Post("https://"+s.addr+"/big", "", strings.NewReader(half+half))
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 200 || !strings.HasSuffix(string(b), "/big 196608") {
				t.Errorf("HTTP/%s: a body that comes: %d %s", client, resp.StatusCode, b)
			}
		}
		tr.CloseIdleConnections()
		for i, a := range answers[:7] {
			// A client may meet the end of the connection before the answer.
			if said := <-a; !strings.HasPrefix(said, "503") && !strings.Contains(said, "connection") && !strings.Contains(said, "EOF") && !strings.Contains(said, "pipe") {
				t.Errorf("HTTP/%s: body %d: %s", client, i, said)
			}
		}
		close(stop)
	}
	// Nothing of all that is held: a body of nearly all there is comes through.
	tr := s.client(t, nil).Transport()
	defer tr.CloseIdleConnections()
	for range 10 {
		resp, err := (&http.Client{Transport: tr}).Post("https://"+s.addr+"/big", "", strings.NewReader(strings.Repeat("x", 256<<10+16<<10)))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("all of it: %s", resp.Status)
		}
	}
	resp, err := (&http.Client{Transport: tr}).Post("https://"+s.addr+"/big", "", strings.NewReader(strings.Repeat("x", 256<<10+17<<10)))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 503 {
		t.Errorf("more than all of it: %s", resp.Status)
	}
}

// pieces gives what it has a piece at a time, and then an error.
type pieces struct {
	text []byte
	size int
	err  error
}

func (p *pieces) Read(b []byte) (int, error) {
	n := copy(b[:min(len(b), p.size)], p.text)
	if p.text = p.text[n:]; len(p.text) == 0 {
		return n, p.err
	}
	return n, nil
}

func TestReadAll(t *testing.T) {
	text := make([]byte, 3<<20)
	for i := range text {
		text[i] = byte(i ^ i>>8 ^ i>>16)
	}
	for _, n := range []int{0, 1, 4095, 4096, 4097, 4<<10 + 16<<10, 1 << 20, 3 << 20} {
		for _, size := range []int{1, 1000, 1 << 20} {
			if size == 1 && n > 1<<15 {
				continue
			}
			if b, err := ingress.ReadAll(&pieces{text[:n], size, io.EOF}); err != nil || !bytes.Equal(b, text[:n]) {
				t.Errorf("%d bytes by %d: %d, %v", n, size, len(b), err)
			}
			// What is cut off is not whole.
			if _, err := ingress.ReadAll(&pieces{text[:n], size, io.ErrUnexpectedEOF}); err != io.ErrUnexpectedEOF {
				t.Errorf("%d bytes by %d that are cut off: %v", n, size, err)
			}
		}
	}
}
