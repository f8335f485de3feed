package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"sync"
)

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
