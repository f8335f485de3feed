package main

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/enclaveos/eos/pkg/ratls"
)

// runtimeRows make handshakes with the runtime in an enclave, in all its ways to show
// evidence, beside the plain Go server of testdata/goapps/bench.
func runtimeRows(dir string) []row {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return nil // no software platform
	}
	plain := func(load func(url string) figure) side {
		return side{name: "plain Go TLS", take: func() figure {
			return served(exec.Command(goApp(dir).native, "serve", "127.0.0.1:0"), load)
		}}
	}
	inside := func(load func(url string) figure, flags ...string) side {
		return side{name: "eos", take: func() figure { return served(runRuntime(dir, flags...), load) }}
	}
	hands := func(session bool) func(url string) figure {
		return func(url string) figure { return handshakes(url, 8, session) }
	}
	return []row{
		{"RA-TLS handshakes, shared leaf", inside(hands(false)), plain(hands(false)), ""},
		{"RA-TLS handshakes, leaf and quote each", inside(hands(false), "--leaf", "per-connection", "--quote-rate", "100000"), plain(hands(false)), ""},
		{"RA-TLS handshakes, with session step", inside(hands(true), "--quote-rate", "100000"), plain(hands(false)), ""},
	}
}

var buildRuntime sync.Once

// runRuntime runs the runtime's own image, which it builds once.
func runRuntime(dir string, flags ...string) *exec.Cmd {
	a := goApp(dir)
	image := filepath.Join(dir, "base.sgxs")
	buildRuntime.Do(func() {
		if out, err := exec.Command(a.eos, "build", "--runtime", "-o", image).CombinedOutput(); err != nil {
			panic(fmt.Sprintf("%v\n%s", err, out))
		}
	})
	args := append([]string{"run", "--platform-dir", dir, "--state", "none", "--listen", "127.0.0.1:0"}, flags...)
	return exec.Command(a.eos, append(args, image)...)
}

// served starts a server, waits until it says where it listens, and loads it.
func served(cmd *exec.Cmd, load func(url string) figure) figure {
	r, w, err := os.Pipe()
	check(err)
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w
	check(cmd.Start())
	w.Close()
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	var said strings.Builder
	for in := bufio.NewScanner(r); in.Scan(); {
		text := in.Text()
		said.WriteString(text + "\n")
		text = strings.TrimPrefix(text, "listening on https://")
		if host, port, ok := strings.Cut(text, ":"); ok && host == "127.0.0.1" {
			go io.Copy(io.Discard, r)
			return load("https://127.0.0.1:" + port + "/")
		}
	}
	panic(fmt.Sprintf("%v: it does not listen\n%s", cmd, &said))
}

func transport() *http.Transport {
	return &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: false}
}

func post(url, body string) *http.Request {
	r, err := http.NewRequest("POST", url, strings.NewReader(body))
	check(err)
	return r
}

// loadTime is how long a server is loaded for one figure.
const loadTime = time.Second

// handshakes returns how many connections a second are made, so many at once. With
// the session step the enclave proves each of them.
func handshakes(url string, conns int, session bool) figure {
	host := strings.TrimSuffix(strings.TrimPrefix(url, "https://"), "/")
	var count atomic.Int64
	each := func() {
		c, err := tls.Dial("tcp", host, &tls.Config{InsecureSkipVerify: true})
		check(err)
		if session {
			key := sha256.Sum256(c.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo)
			ask := fmt.Sprintf(`{"v":2,"mode":"challenge","leaf":%q,"context":%q}`,
				base64.RawURLEncoding.EncodeToString(key[:]), base64.RawURLEncoding.EncodeToString(make([]byte, 32)))
			_, err = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", ratls.NeutralSessionPath, len(ask), ask)
			check(err)
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			check(err)
			if resp.StatusCode != http.StatusOK {
				panic(resp.Status)
			}
			io.Copy(io.Discard, resp.Body)
		}
		c.Close()
		count.Add(1)
	}
	elapsed := during(conns, each)
	return figure{value: float64(count.Load()) / elapsed.Seconds(), unit: "/s"}
}

// during calls each over and over, so many at once, for the time of a figure.
func during(conns int, each func()) time.Duration {
	var wg sync.WaitGroup
	start := time.Now()
	for range conns {
		wg.Go(func() {
			for time.Since(start) < loadTime {
				each()
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// latency returns the requests a second over so many connections that stay, and how
// long they take.
func latency(conns int, request func() *http.Request) figure {
	var mu sync.Mutex
	var all []time.Duration
	var wg sync.WaitGroup
	start := time.Now()
	for range conns {
		wg.Go(func() {
			t := transport()
			defer t.CloseIdleConnections()
			var took []time.Duration
			for time.Since(start) < loadTime {
				at := time.Now()
				resp, err := t.RoundTrip(request())
				check(err)
				_, err = io.Copy(io.Discard, resp.Body)
				check(err)
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					panic(resp.Status)
				}
				took = append(took, time.Since(at))
			}
			mu.Lock()
			all = append(all, took...)
			mu.Unlock()
		})
	}
	wg.Wait()
	return withLatency(all, time.Since(start))
}
