// Sockets does what programs do with package net, net/http and crypto/tls, as
// server and as client, and says "ok" or what was wrong. It says the same when it
// runs natively. Arguments: the acts, name=number for those with a size.
//
// Echo, sink and source are servers for somebody else's clients: their argument is
// an address, and they run until they are ended.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

var acts = []struct {
	name string
	f    func(n int) error
	n    int
}{
	{"options", options, 0},
	{"errors", failures, 0},
	{"names", names, 0},
	{"interfaces", interfaces, 0},
	{"deadlines", deadlines, 0},
	{"halfclose", halfClose, 0},
	{"reset", reset, 0},
	{"linger", linger, 0},
	{"dup", dup, 0},
	{"relay", relay, 0},
	{"gone", gone, 0},
	{"http", plainHTTP, 50},
	{"tls", overTLS, 20},
	{"many", many, 200},
	{"stream", stream, 16},
}

func main() {
	log.SetFlags(0)
	args := os.Args[1:]
	if len(args) == 2 {
		switch args[0] {
		case "echo", "sink", "source":
			serve(args[0], args[1])
		}
	}
	if len(args) == 0 {
		for _, a := range acts {
			args = append(args, a.name)
		}
	}
	bad := false
next:
	for _, arg := range args {
		name, number, _ := strings.Cut(arg, "=")
		for _, a := range acts {
			if a.name != name {
				continue
			}
			n := a.n
			if number != "" {
				n, _ = strconv.Atoi(number)
			}
			if err := a.f(n); err != nil {
				fmt.Println(name+":", err)
				bad = true
			} else {
				fmt.Println("ok", name)
			}
			continue next
		}
		log.Fatalf("no act %q", name)
	}
	if bad {
		os.Exit(1)
	}
}

// serve answers clients: echo returns what comes; sink reads and tells its hash;
// source is asked for a number of bytes by a line and ends with their hash.
func serve(kind, addr string) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer c.Close()
			buf := make([]byte, 4096)
			switch kind {
			case "echo":
				for {
					n, err := c.Read(buf)
					if n > 0 {
						if _, err := c.Write(buf[:n]); err != nil {
							return
						}
					}
					if err != nil {
						return
					}
				}
			case "sink":
				h := sha256.New()
				n, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{c}, make([]byte, 128<<10))
				fmt.Fprintf(c, "%x %d %v\n", h.Sum(nil), n, err)
			case "source":
				line, _ := bufio.NewReader(c).ReadString('\n')
				n, _ := strconv.Atoi(strings.TrimSpace(line))
				h := sha256.New()
				pattern(io.MultiWriter(h, c), n)
				c.Write(h.Sum(nil))
			}
		}()
	}
}

// pattern writes n bytes that do not repeat soon.
func pattern(w io.Writer, n int) error {
	buf := make([]byte, 128<<10)
	x := uint64(88172645463325252)
	for n > 0 {
		k := min(n, len(buf))
		for i := 0; i < k; i += 8 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			for j := 0; j < 8; j++ {
				buf[i+j] = byte(x >> (8 * j))
			}
		}
		if _, err := w.Write(buf[:k]); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// pair is a connection with itself, by way of the host.
func pair() (server, client *net.TCPConn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	s, err := l.Accept()
	if err != nil {
		return nil, nil, err
	}
	if s.RemoteAddr().String() != c.LocalAddr().String() || s.LocalAddr().String() != c.RemoteAddr().String() {
		return nil, nil, fmt.Errorf("%v-%v is connected with %v-%v", c.LocalAddr(), c.RemoteAddr(), s.LocalAddr(), s.RemoteAddr())
	}
	return s.(*net.TCPConn), c.(*net.TCPConn), nil
}

func options(int) error {
	s, c, err := pair()
	if err != nil {
		return err
	}
	defer s.Close()
	defer c.Close()
	for what, err := range map[string]error{
		"no delay": c.SetNoDelay(false), "keep-alive": c.SetKeepAlive(true), "period": c.SetKeepAlivePeriod(time.Minute),
		"linger": c.SetLinger(5), "read buffer": c.SetReadBuffer(64 << 10), "write buffer": c.SetWriteBuffer(64 << 10),
	} {
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	raw.Control(func(fd uintptr) {
		if v, e := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE); e != nil || v != 60 {
			err = fmt.Errorf("TCP_KEEPIDLE is %d, %v", v, e)
		}
		if e := syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, 4711, 1); e != syscall.ENOPROTOOPT {
			err = fmt.Errorf("an unknown option: %v", e)
		}
	})
	return err
}

func failures(int) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	if _, err := net.Listen("tcp", addr); !errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listen twice: %v", err)
	}
	accepted := make(chan error)
	go func() {
		_, err := l.Accept()
		accepted <- err
	}()
	time.Sleep(10 * time.Millisecond)
	l.Close()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("accept of a closed listener: %v", err)
	}
	if _, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("dial where nobody listens: %v", err)
	}
	// The address can be had again.
	if l, err = net.Listen("tcp", addr); err != nil {
		return err
	}
	l.Close()
	return nil
}

// interfaces: the loopback is there, whatever else is.
func interfaces(int) error {
	list, err := net.Interfaces()
	if err != nil || len(list) == 0 || list[0].Name != "lo" || list[0].Flags&net.FlagLoopback == 0 || list[0].MTU == 0 {
		return fmt.Errorf("%+v, %v", list, err)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil || !strings.Contains(fmt.Sprint(addrs), "127.0.0.1/8") {
		return fmt.Errorf("%v, %v", addrs, err)
	}
	one, err := net.InterfaceByName("lo")
	if err != nil || one.Index != list[0].Index {
		return fmt.Errorf("%+v, %v", one, err)
	}
	return nil
}

func names(int) error {
	if a, err := net.LookupHost("localhost"); err != nil || len(a) == 0 {
		return fmt.Errorf("localhost: %v %v", a, err)
	}
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		return err
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, host := range []string{"localhost", "127.0.0.1"} {
		c, err := net.Dial("tcp", net.JoinHostPort(host, port))
		if err != nil {
			return err
		}
		c.Close()
	}
	var dns *net.DNSError
	if _, err := net.LookupHost("no-such-host.invalid"); !errors.As(err, &dns) {
		return fmt.Errorf("a name that there is not: %v", err)
	}
	return nil
}

func deadlines(int) error {
	s, c, err := pair()
	if err != nil {
		return err
	}
	defer s.Close()
	defer c.Close()
	start := time.Now()
	c.SetReadDeadline(start.Add(30 * time.Millisecond))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("read: %v", err)
	}
	if d := time.Since(start); d < 30*time.Millisecond {
		return fmt.Errorf("the deadline passed after %v", d)
	}
	c.SetReadDeadline(time.Time{})
	// A writer whose reader does not read.
	s.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	for err = nil; err == nil; {
		_, err = s.Write(make([]byte, 1<<20))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("write: %v", err)
	}
	// A read that somebody else ends.
	go func() {
		time.Sleep(10 * time.Millisecond)
		s.SetReadDeadline(time.Unix(1, 0))
	}()
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("read: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
	defer cancel()
	var d net.Dialer
	if _, err := d.DialContext(ctx, "tcp", "127.0.0.1:1"); err == nil {
		return errors.New("dial without time")
	}
	return nil
}

func halfClose(int) error {
	s, c, err := pair()
	if err != nil {
		return err
	}
	defer s.Close()
	defer c.Close()
	go func() {
		b, _ := io.ReadAll(s)
		s.Write(bytes.ToUpper(b))
		s.CloseWrite()
	}()
	c.Write([]byte("question"))
	c.CloseWrite()
	if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("write behind the end: %v", err)
	}
	if b, err := io.ReadAll(c); err != nil || string(b) != "QUESTION" {
		return fmt.Errorf("answer %q, %v", b, err)
	}
	return nil
}

// linger: a program that wants no time for closing resets the connection, and what
// the peer has not had is gone.
func linger(int) error {
	s, c, err := pair()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := s.SetLinger(0); err != nil {
		return err
	}
	s.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("the peer sees %v", err)
	}
	return nil
}

// reset: a peer that closes with bytes unread resets the connection.
func reset(int) error {
	s, c, err := pair()
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(make([]byte, 100000)); err != nil {
		return err
	}
	if _, err := io.ReadFull(s, make([]byte, 10)); err != nil {
		return err
	}
	s.Close()
	if _, err = io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("read: %v", err)
	}
	for i := 0; i < 200; i++ {
		if _, err = c.Write([]byte("more")); err != nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("write: %v", err)
	}
	return nil
}

func dup(int) error {
	s, c, err := pair()
	if err != nil {
		return err
	}
	defer s.Close()
	f, err := c.File()
	if err != nil {
		return err
	}
	c.Close()
	d, err := net.FileConn(f)
	if err != nil {
		return err
	}
	f.Close()
	defer d.Close()
	go s.Write([]byte("still here"))
	b := make([]byte, 10)
	if _, err := io.ReadFull(d, b); err != nil || string(b) != "still here" {
		return fmt.Errorf("%q, %v", b, err)
	}
	return nil
}

// gone: a peer that has ended its direction, as it should, and then goes away is
// noticed by who only writes.
func gone(int) error {
	s, c, err := pair()
	if err != nil {
		return err
	}
	defer s.Close()
	c.CloseWrite()
	if _, err := s.Read(make([]byte, 1)); err != io.EOF {
		return fmt.Errorf("read: %v", err)
	}
	go func() {
		io.ReadFull(c, make([]byte, 100000))
		c.Close()
	}()
	s.SetWriteDeadline(time.Now().Add(time.Minute))
	for err == nil {
		_, err = s.Write(make([]byte, 10000))
	}
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("write: %v", err)
	}
	return nil
}

// relay: bytes from one connection to another, which on Linux never leave the kernel.
func relay(int) error {
	s1, c1, err := pair()
	if err != nil {
		return err
	}
	s2, c2, err := pair()
	if err != nil {
		return err
	}
	defer c1.Close()
	defer c2.Close()
	go func() {
		io.Copy(c2, s1)
		c2.CloseWrite()
		s1.Close()
	}()
	go func() {
		pattern(c1, 1<<20)
		c1.CloseWrite()
	}()
	want, got := sha256.New(), sha256.New()
	pattern(want, 1<<20)
	if n, err := copyTo(got, s2); err != nil || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		return fmt.Errorf("%d bytes, %v", n, err)
	}
	return s2.Close()
}

func handler(w http.ResponseWriter, r *http.Request) {
	h := sha256.New()
	n, err := io.Copy(h, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%s %s %d %x", r.Method, r.URL.Path, n, h.Sum(nil))
}

func ask(client *http.Client, url string, n int) error {
	body := bytes.Repeat([]byte{byte(n)}, n*1000)
	r, err := client.Post(url, "application/octet-stream", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	got, err := io.ReadAll(r.Body)
	if want := fmt.Sprintf("POST /p %d %x", len(body), sha256.Sum256(body)); err != nil || string(got) != want {
		return fmt.Errorf("answer %q, %v, want %q", got, err, want)
	}
	return nil
}

func plainHTTP(n int) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: http.HandlerFunc(handler)}
	done := make(chan error)
	go func() { done <- srv.Serve(l) }()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}, Timeout: time.Minute}
	for i := range n {
		if err := ask(client, "http://"+l.Addr().String()+"/p", i); err != nil {
			return err
		}
	}
	client.CloseIdleConnections()
	if err := srv.Shutdown(context.Background()); err != nil {
		return err
	}
	if err := <-done; err != http.ErrServerClosed {
		return err
	}
	return nil
}

func overTLS(n int) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: http.HandlerFunc(handler)}
	go srv.Serve(l)
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	for _, keepAlive := range []bool{true, false} {
		client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost"}, DisableKeepAlives: !keepAlive,
		}}
		for i := range n {
			if err := ask(client, "https://"+l.Addr().String()+"/p", i); err != nil {
				return err
			}
		}
		client.CloseIdleConnections()
	}
	if _, err := tls.Dial("tcp", l.Addr().String(), nil); err == nil {
		return errors.New("a certificate of nobody was believed")
	}
	return nil
}

// many is n connections at the same time, each with both ends in here.
func many(n int) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 64)
				for {
					k, err := c.Read(b)
					if err != nil {
						return
					}
					c.Write(b[:k])
				}
			}()
		}
	}()
	defer l.Close()
	conns := make([]net.Conn, n)
	for i := range conns {
		if conns[i], err = net.Dial("tcp", l.Addr().String()); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		defer conns[i].Close()
	}
	var wg sync.WaitGroup
	errs := make(chan error, n)
	for i, c := range conns {
		wg.Go(func() {
			for j := range 5 {
				want := fmt.Sprintf("%d of %d", j, i)
				c.Write([]byte(want))
				b := make([]byte, len(want))
				if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
					errs <- fmt.Errorf("connection %d: %q, %v", i, b, err)
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// stream moves n MiB each way at the same time.
func stream(n int) error {
	s, c, err := pair()
	if err != nil {
		return err
	}
	defer s.Close()
	defer c.Close()
	size := n << 20
	var wg sync.WaitGroup
	errs := make(chan error, 4)
	for _, d := range [][2]*net.TCPConn{{s, c}, {c, s}} {
		sent, got := sha256.New(), sha256.New()
		var both sync.WaitGroup
		both.Add(2)
		wg.Go(func() {
			defer both.Done()
			if err := pattern(io.MultiWriter(sent, d[0]), size); err != nil {
				errs <- err
			}
			d[0].CloseWrite()
		})
		wg.Go(func() {
			defer both.Done()
			k, err := copyTo(got, d[1])
			if err != nil || k != int64(size) {
				errs <- fmt.Errorf("%d of %d bytes, %v", k, size, err)
			}
		})
		wg.Go(func() {
			both.Wait()
			if !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
				errs <- errors.New("the bytes are others")
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

func copyTo(h hash.Hash, r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{r}, make([]byte, 128<<10))
}
