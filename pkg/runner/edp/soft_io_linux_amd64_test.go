package edp_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/runner/edp"
)

// TestSoftCat sends 100 MB through an enclave, by read and by read_alloc, and
// a buffer size that fits nothing.
func TestSoftCat(t *testing.T) {
	const size = 100_000_000
	for _, args := range [][]string{nil, {"1000001"}, {"0", "alloc"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			in := &pattern{left: size}
			out := &check{}
			var errs bytes.Buffer
			c, err := edp.NewCommand(load(t, "cat", small), edp.Options{Args: args, Stdin: in, Stdout: out, Stderr: &errs})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Run(context.Background()); err != nil {
				t.Fatal(err)
			}
			if out.wrong || out.n != size || errs.String() != "100000000 bytes\n" {
				t.Errorf("%d bytes came out, wrong: %v; the enclave said %q", out.n, out.wrong, errs.String())
			}
		})
	}
}

// pattern is an input whose every byte depends on its place, in pieces of
// changing size.
type pattern struct{ n, left, step int }

func at(n int) byte { return byte(n ^ n>>8 ^ n>>16 ^ n>>24) }

func (p *pattern) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	p.step = (p.step*31 + 7) % 100_003
	b = b[:min(len(b), p.left, p.step+1)]
	for i := range b {
		b[i] = at(p.n + i)
	}
	p.n += len(b)
	p.left -= len(b)
	return len(b), nil
}

type check struct {
	n     int
	wrong bool
}

func (c *check) Write(b []byte) (int, error) {
	for i := range b {
		if b[i] != at(c.n+i) {
			c.wrong = true
		}
	}
	c.n += len(b)
	return len(b), nil
}

// TestSoftTCP lets two enclaves talk to each other, and to the host.
func TestSoftTCP(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	pr, pw := io.Pipe()
	server, err := edp.NewCommand(load(t, "tcp_server", small), edp.Options{Args: []string{"127.0.0.1:0", "3"}, Stdout: pw})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		err := server.Run(ctx)
		pw.Close()
		served <- err
	}()
	lines := bufio.NewScanner(pr)
	lines.Scan()
	addr, ok := strings.CutPrefix(lines.Text(), "listening ")
	if !ok {
		t.Fatalf("the server said %q", lines.Text())
	}
	rest := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(pr)
		rest <- string(b)
	}()

	// A megabyte at once, half-closed, back again.
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 1<<20)
	for i := range want {
		want[i] = at(i)
	}
	go func() {
		if _, err := conn.Write(want); err != nil {
			t.Error(err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Error(err)
		}
	}()
	if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
	conn.Close()

	out, _, err := run(t, "tcp_client", small, nil, addr, "from one enclave to another")
	if err != nil || !strings.Contains(out, "connected to "+addr+"\nfrom one enclave to another\ndone\n") {
		t.Errorf("the client: %v, %q", err, out)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if got := <-rest; !strings.HasSuffix(got, "served 28 bytes\nserved 0 bytes\ndone\n") {
		t.Errorf("the server said %q", got)
	}
	if out, _, err := run(t, "tcp_client", small, nil, addr); err != nil || out != "refused\n" {
		t.Errorf("nobody listens: %v, %q", err, out)
	}
}
