package kernel_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/goenclave"
	"github.com/enclaveos/eos/pkg/runner/proxy"
	"github.com/enclaveos/eos/pkg/sgxs/fromgo"
)

// socketsImage is testdata/goapps/sockets, built once.
var socketsImage = sync.OnceValues(func() ([]byte, error) {
	var b bytes.Buffer
	_, err := fromgo.Build(context.Background(), &b, fromgo.Options{
		Dir: "../../../testdata/goapps/sockets", Package: ".", HeapSize: 64 << 20, Threads: 16, Debug: true,
	})
	return b.Bytes(), err
})

// network is a program with a network, while it runs.
type network struct {
	out   *bufio.Scanner
	proxy *proxy.Proxy
	ended chan error
	stop  context.CancelFunc
	stats func() goenclave.Stats
}

func startSockets(t *testing.T, args ...string) *network {
	t.Helper()
	e := load(t, socketsImage)
	p, err := proxy.New(proxy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	c, err := goenclave.NewCommand(e, goenclave.Options{Args: append([]string{"sockets"}, args...), Stdout: w, Stderr: w, Data: p})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := &network{bufio.NewScanner(r), p, make(chan error, 1), cancel, c.Stats}
	go func() {
		err := c.Run(ctx)
		e.Close()
		w.Close()
		n.ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		go io.Copy(io.Discard, r)
		<-n.ended
	})
	return n
}

// Everything that a program can ask of package net, net/http and crypto/tls, with
// both ends in the enclave.
func TestSocketsInside(t *testing.T) {
	n := startSockets(t)
	ok := 0
	for n.out.Scan() {
		if line := n.out.Text(); strings.HasPrefix(line, "ok ") {
			ok++
		} else if !strings.Contains(line, "TLS handshake error") { // the client that does not believe
			t.Error(line)
		}
	}
	err := <-n.ended
	n.ended <- nil
	if err != nil || ok != 15 {
		t.Errorf("%d acts are ok, %v", ok, err)
	}
	if s := n.proxy.Stats(); s.Open != 0 {
		t.Errorf("%d connections are open", s.Open)
	}
}

// serving starts a server and returns its address.
func serving(t *testing.T, kind string) (n *network, addr string) {
	t.Helper()
	n = startSockets(t, kind, "127.0.0.1:0")
	if !n.out.Scan() {
		t.Fatal(<-n.ended)
	}
	addr, ok := strings.CutPrefix(n.out.Text(), "listening on ")
	if !ok {
		t.Fatal(n.out.Text())
	}
	go func() {
		for n.out.Scan() {
			t.Log(n.out.Text())
		}
	}()
	return n, addr
}

func TestThousandConnectionsInside(t *testing.T) {
	n, addr := serving(t, "echo")
	const count = 1000
	conns := make([]net.Conn, count)
	for i := range conns {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer c.Close()
		conns[i] = c
	}
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			for range 3 {
				want := make([]byte, 1+rng.IntN(5000))
				for i := range want {
					want[i] = byte(rng.Uint32())
				}
				if _, err := c.Write(want); err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
				got := make([]byte, len(want))
				if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
					t.Errorf("connection %d: other bytes, or %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if s := n.proxy.Stats(); s.Peak < count {
		t.Errorf("%d connections at once", s.Peak)
	}
}

// pattern is what the program's source sends.
type pattern struct {
	x    uint64
	left []byte
}

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		if len(p.left) == 0 {
			p.x ^= p.x << 13
			p.x ^= p.x >> 7
			p.x ^= p.x << 17
			p.left = []byte{byte(p.x), byte(p.x >> 8), byte(p.x >> 16), byte(p.x >> 24), byte(p.x >> 32), byte(p.x >> 40), byte(p.x >> 48), byte(p.x >> 56)}
		}
		b[i] = p.left[0]
		p.left = p.left[1:]
	}
	return len(b), nil
}

// Streams each way, with hashes of both ends. EOS_STREAM is their size in MiB.
func TestStreamsInside(t *testing.T) {
	size := int64(32)
	if s := os.Getenv("EOS_STREAM"); s != "" {
		n, err := strconv.ParseInt(s, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		size = n
	}
	size <<= 20
	t.Run("in", func(t *testing.T) {
		_, addr := serving(t, "sink")
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		h := sha256.New()
		if _, err := io.CopyN(io.MultiWriter(h, c), &pattern{x: 88172645463325252}, size); err != nil {
			t.Fatal(err)
		}
		c.(*net.TCPConn).CloseWrite()
		got, err := io.ReadAll(c)
		if want := fmt.Sprintf("%x %d <nil>\n", h.Sum(nil), size); err != nil || string(got) != want {
			t.Errorf("it got %q, want %q, %v", got, want, err)
		}
	})
	t.Run("out", func(t *testing.T) {
		_, addr := serving(t, "source")
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintln(c, size)
		h := sha256.New()
		if n, err := io.CopyN(h, c, size); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		sum, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(sum, h.Sum(nil)) {
			t.Errorf("sent %x, got %x, %v", sum, h.Sum(nil), err)
		}
	})
}

// A client that does not read holds back the program that writes to it, and nobody
// else.
func TestSlowClientInside(t *testing.T) {
	n, addr := serving(t, "source")
	slow, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	fmt.Fprintln(slow, 1<<30)
	if _, err := io.ReadFull(slow, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(c, 1<<20)
		if got, err := io.ReadAll(c); err != nil || len(got) != 1<<20+sha256.Size {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		c.Close()
	}
	if s := n.proxy.Stats(); s.Out > 200<<20 {
		t.Errorf("%d bytes were sent", s.Out)
	}
	n.stop()
	err = <-n.ended
	n.ended <- nil
	var exit *goenclave.ExitError
	if !errors.As(err, &exit) && !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}
