// Sockets does what programs do with package net, net/http and crypto/tls, as
// server and as client, and says "ok" or what was wrong. It says the same when it
// runs natively. Arguments: the acts, name=number for those with a size.
//
// Echo, sink and source are servers for somebody else's clients: their argument is
// an address, and they run until they are ended.
package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
)

var acts = []struct {
	name string
	f    func(n int) error
	n    int
}{
	{"options", onPair(options), 0},
	{"errors", failures, 0},
	{"names", names, 0},
	{"interfaces", interfaces, 0},
	{"deadlines", onPair(deadlines), 0},
	{"halfclose", onPair(halfClose), 0},
	{"reset", onPair(reset), 0},
	{"linger", onPair(linger), 0},
	{"dup", onPair(dup), 0},
	{"relay", relay, 0},
	{"gone", onPair(gone), 0},
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

// onPair is an act on both ends of a connection, which ends with it.
func onPair(f func(s, c *net.TCPConn) error) func(int) error {
	return func(int) error {
		s, c, err := pair()
		if err != nil {
			return err
		}
		defer s.Close()
		defer c.Close()
		return f(s, c)
	}
}
