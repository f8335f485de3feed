package enclaves

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/runner/edp"
)

func TestCat(t *testing.T) {
	onEach(t, func(t *testing.T, m *machine) {
		img := image(t, "cat", defaults)
		cat := func(n int64, viaFile bool, args ...string) {
			t.Helper()
			in, out := sha256.New(), sha256.New()
			var stdin io.Reader = io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{1}), n), in)
			if viaFile {
				pr, pw, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				defer pr.Close()
				from := stdin
				go func() {
					_, _ = io.Copy(pw, from) // the hash below tells
					pw.Close()
				}()
				stdin = pr
			}
			r := m.run(t, img, edp.Options{Args: args, Stdin: stdin, Stdout: out})
			if r.err != nil || r.stderr != fmt.Sprintf("%d bytes\n", n) || !bytes.Equal(in.Sum(nil), out.Sum(nil)) {
				t.Errorf("%d bytes, args %v: error %v, stderr %q, same bytes: %v", n, args, r.err, r.stderr, bytes.Equal(in.Sum(nil), out.Sum(nil)))
			}
		}
		cat(100<<20, true)
		cat(100<<20, false, "1000000")
		cat(10<<20+1, true, "4095")
		cat(10<<20, false, "1", "alloc")
		cat(10<<20, true, "1", "alloc")
		cat(1000, true, "1")
		cat(0, true)
		cat(0, false, "1", "alloc")
	})
}

// lineReader hands on the first lines of what is written to it.
type lineReader struct {
	lines chan string
	part  []byte
}

func newLineReader() *lineReader { return &lineReader{lines: make(chan string, 100)} }

func (l *lineReader) Write(p []byte) (int, error) {
	l.part = append(l.part, p...)
	for {
		line, rest, ok := bytes.Cut(l.part, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		l.lines <- string(line)
		l.part = rest
	}
}

// next returns the next line.
func (l *lineReader) next(t *testing.T) string {
	t.Helper()
	select {
	case line := <-l.lines:
		return line
	case <-time.After(deadline):
		t.Fatal("no line came")
		return ""
	}
}

func TestTCPServer(t *testing.T) {
	onEach(t, func(t *testing.T, m *machine) {
		out := newLineReader()
		done := make(chan result, 1)
		img := image(t, "tcp_server", defaults)
		go func() { done <- m.run(t, img, edp.Options{Args: []string{"127.0.0.1:0", "3"}, Stdout: out}) }()
		address, ok := strings.CutPrefix(out.next(t), "listening ")
		if !ok {
			t.Fatal("the server does not listen")
		}
		for i, n := range []int{1, 100, 10 << 20} {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			in, echo := sha256.New(), sha256.New()
			var wg sync.WaitGroup
			wg.Go(func() {
				_, _ = io.Copy(conn, io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{byte(i)}), int64(n)), in))
				_ = conn.(*net.TCPConn).CloseWrite()
			})
			got, err := io.Copy(echo, conn)
			wg.Wait()
			conn.Close()
			if err != nil || got != int64(n) || !bytes.Equal(in.Sum(nil), echo.Sum(nil)) {
				t.Errorf("echo of %d bytes: got %d, error %v", n, got, err)
			}
			if line, want := out.next(t), fmt.Sprintf("served %d bytes", n); line != want {
				t.Errorf("the server says %q, want %q", line, want)
			}
		}
		if r := <-done; r.err != nil {
			t.Error(r.err)
		}
		if line := out.next(t); line != "done" {
			t.Errorf("the server says %q", line)
		}
	})
}

func TestTCPClient(t *testing.T) {
	onEach(t, func(t *testing.T, m *machine) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					_, _ = io.Copy(conn, conn) // an echo
					conn.Close()
				}()
			}
		}()
		img := image(t, "tcp_client", defaults)
		address := l.Addr().String()
		m.run(t, img, edp.Options{Args: []string{address, "ping from inside"}}).
			want(t, "connected to "+address+"\nping from inside\ndone\n")
		l.Close()
		m.run(t, img, edp.Options{Args: []string{address}}).want(t, "refused\n")
	})
}

// TestClientAndServer has enclaves talk to each other, in one process and
// without a network.
func TestClientAndServer(t *testing.T) {
	onEach(t, func(t *testing.T, m *machine) {
		const clients = 4
		room := newRoom("room 101")
		out := newLineReader()
		done := make(chan result, 1)
		server, client := image(t, "tcp_server", defaults), image(t, "tcp_client", defaults)
		go func() {
			o := edp.Options{Args: []string{"room 101", strconv.Itoa(2 * clients)}, Stdout: out, Bind: room.bind}
			done <- m.run(t, server, o)
		}()
		if line := out.next(t); line != "listening room 101" {
			t.Fatalf("the server says %q", line)
		}
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				text := fmt.Sprintf("enclave %d", i)
				r := m.run(t, client, edp.Options{Args: []string{"room 101", text}, Connect: room.connect})
				r.want(t, "connected to room 101\n"+text+"\ndone\n")
			})
		}
		wg.Wait()
		if r := <-done; r.err != nil {
			t.Error(r.err)
		}
	})
}

// room is a network of one address.
type room struct {
	name  string
	calls chan net.Conn
}

func newRoom(name string) *room { return &room{name, make(chan net.Conn)} }

type roomAddr string

func (roomAddr) Network() string { return "room" }

func (a roomAddr) String() string { return string(a) }

type roomConn struct {
	net.Conn
	name string
}

func (c roomConn) LocalAddr() net.Addr { return roomAddr(c.name) }

func (c roomConn) RemoteAddr() net.Addr { return roomAddr(c.name) }

func (r *room) connect(ctx context.Context, addr string) (net.Conn, error) {
	if addr != r.name {
		return nil, edp.ResultAddrNotAvailable
	}
	here, there := net.Pipe()
	select {
	case r.calls <- roomConn{there, r.name}:
		return roomConn{here, r.name}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *room) bind(_ context.Context, addr string) (net.Listener, error) {
	if addr != r.name {
		return nil, edp.ResultAddrNotAvailable
	}
	return &roomListener{room: r, closed: make(chan struct{})}, nil
}

type roomListener struct {
	*room
	once   sync.Once
	closed chan struct{}
}

func (l *roomListener) Addr() net.Addr { return roomAddr(l.name) }

func (l *roomListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *roomListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.calls:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
