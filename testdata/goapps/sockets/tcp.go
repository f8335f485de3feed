package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

func options(s, c *net.TCPConn) error {
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

func deadlines(s, c *net.TCPConn) error {
	var err error
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

func halfClose(s, c *net.TCPConn) error {
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
func linger(s, c *net.TCPConn) error {
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
func reset(s, c *net.TCPConn) error {
	var err error
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

func dup(s, c *net.TCPConn) error {
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
func gone(s, c *net.TCPConn) error {
	var err error
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
