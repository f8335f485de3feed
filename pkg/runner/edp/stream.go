package edp

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
)

// pumpSize is the most that is read from a stream on behalf of a read that can
// be given up.
const pumpSize = 64 << 10

// stream is an open file descriptor that can be read or written.
//
// A read that can be given up is done by another goroutine into a buffer of
// the stream's own. If nobody is there any more to take the bytes they stay,
// and the next read gets them: a cancelled read loses nothing.
type stream struct {
	r    io.Reader // nil: not readable
	w    io.Writer // nil: not writable
	conn net.Conn  // r and w; nil for standard streams

	reading, writing chan struct{} // hold one token each: whoever has it may read, write
	closed           chan struct{}
	closeOnce        sync.Once

	// The token of reading guards what follows.
	inflight chan readResult // a read that somebody gave up on, or nil
	buf      []byte          // what is left of the last result
	err      error           // what follows buf
}

type readResult struct {
	b   []byte
	err error
}

func newStream(r io.Reader, w io.Writer, conn net.Conn) *stream {
	s := &stream{r: r, w: w, conn: conn, reading: make(chan struct{}, 1), writing: make(chan struct{}, 1), closed: make(chan struct{})}
	s.reading <- struct{}{}
	s.writing <- struct{}{}
	return s
}

// close wakes whoever reads or writes. A connection is closed; a standard
// stream belongs to the host and stays open.
func (s *stream) close() {
	s.closeOnce.Do(func() {
		close(s.closed)
		if s.conn != nil {
			_ = s.conn.Close() // nobody is left to be told
		}
	})
}

// call is the circumstances of one usercall: when to give up.
type call struct {
	done   <-chan struct{} // the enclave has ended, or this thread is to stop
	alone  bool            // done is of this thread: connections stay open
	cancel <-chan struct{} // the enclave no longer wants it; nil if it cannot be cancelled
}

// acquire takes a token, unless the stream is closed or the call given up.
func (s *stream) acquire(c call, token <-chan struct{}) error {
	select {
	case <-s.closed:
		return ResultBrokenPipe
	default:
	}
	select {
	case <-token:
		return nil
	default:
	}
	select {
	case <-token:
		return nil
	case <-s.closed:
		return ResultBrokenPipe
	case <-c.cancel:
		return ResultInterrupted
	case <-c.done:
		return errStopped
	}
}

// read reads into p, which is not empty. Zero bytes without an error are the
// end of the stream.
func (s *stream) read(c call, p []byte) (int, error) {
	if s.r == nil {
		return 0, ResultBrokenPipe
	}
	if err := s.acquire(c, s.reading); err != nil {
		return 0, err
	}
	defer func() { s.reading <- struct{}{} }()
	if len(s.buf) == 0 && s.err == nil {
		if s.inflight == nil && s.conn != nil && c.cancel == nil && !c.alone {
			// Close wakes this one.
			return s.finish(s.conn.Read(p))
		}
		if err := s.pump(c, min(len(p), pumpSize)); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.buf)
	s.buf = s.buf[n:]
	if n > 0 {
		return n, nil
	}
	err := s.err
	s.err = nil
	return s.finish(0, err)
}

// pump waits for the read in flight or starts one, of up to n bytes.
func (s *stream) pump(c call, n int) error {
	if s.inflight == nil {
		ch := make(chan readResult, 1)
		s.inflight = ch
		go func() {
			b := make([]byte, n)
			k, err := readOnce(s.r, b)
			ch <- readResult{b[:k], err}
		}()
	}
	select {
	case res := <-s.inflight:
		s.inflight, s.buf, s.err = nil, res.b, res.err
		return nil
	case <-s.closed:
		return ResultBrokenPipe
	case <-c.cancel:
		return ResultInterrupted
	case <-c.done:
		return errStopped
	}
}

// readOnce is one Read that has an effect: a Reader may return 0, nil, which
// must not look like an end. One that does nothing else is broken.
func readOnce(r io.Reader, b []byte) (int, error) {
	for range 100 {
		if n, err := r.Read(b); n != 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// finish turns the result of a Read into the ABI's: EOF is no error, and bytes
// come before one.
func (s *stream) finish(n int, err error) (int, error) {
	if n > 0 {
		// The next read meets the error again, or it was EOF.
		if err != nil && !errors.Is(err, io.EOF) {
			s.err = err
		}
		return n, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return 0, nil
	}
	return 0, s.closedErr(err)
}

// closedErr hides the host's words for a stream that the enclave has closed.
func (s *stream) closedErr(err error) error {
	select {
	case <-s.closed:
		return ResultBrokenPipe
	default:
		return err
	}
}

// write writes p, which is not empty. It may write less than all of p.
func (s *stream) write(c call, p []byte) (int, error) {
	if s.w == nil {
		return 0, ResultBrokenPipe
	}
	if err := s.acquire(c, s.writing); err != nil {
		return 0, err
	}
	if c.cancel == nil && !c.alone {
		defer func() { s.writing <- struct{}{} }()
		n, err := writeSome(s.w, p)
		if n > 0 {
			return n, nil
		}
		if err != nil {
			err = s.closedErr(err)
		}
		return 0, err
	}
	// It can be given up, but not taken back: the token stays with the writer
	// until it is done. The enclave may free p meanwhile.
	type result struct {
		n   int
		err error
	}
	ch := make(chan result, 1)
	b := append([]byte(nil), p[:min(len(p), pumpSize)]...)
	go func() {
		n, err := writeSome(s.w, b)
		s.writing <- struct{}{}
		ch <- result{n, err}
	}()
	select {
	case r := <-ch:
		if r.n > 0 {
			return r.n, nil
		}
		return 0, r.err
	case <-s.closed:
		return 0, ResultBrokenPipe
	case <-c.cancel:
		return 0, ResultInterrupted
	case <-c.done:
		return 0, errStopped
	}
}

// writeSome writes what a socket takes at once, at least one byte, as write(2)
// on it without blocking does; other writers take all. So an enclave that
// writes much and reads the echo later does not lock itself up.
func writeSome(w io.Writer, p []byte) (int, error) {
	c, ok := w.(*net.TCPConn)
	if !ok {
		return w.Write(p)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var n int
	var werr error
	err = raw.Write(func(fd uintptr) bool {
		for {
			n, werr = syscall.Write(int(fd), p)
			if werr != syscall.EINTR {
				return werr != syscall.EAGAIN
			}
		}
	})
	if err != nil {
		return 0, err
	}
	return max(n, 0), werr
}

// flush hands on what the writer holds back, if it does.
func (s *stream) flush(c call) error {
	if s.w == nil {
		return ResultBrokenPipe
	}
	f, ok := s.w.(interface{ Flush() error })
	if !ok {
		return nil
	}
	if err := s.acquire(c, s.writing); err != nil {
		return err
	}
	defer func() { s.writing <- struct{}{} }()
	return f.Flush()
}

// listener is an open file descriptor that can be accepted from.
type listener struct {
	l         net.Listener
	accepting chan struct{}
	closed    chan struct{}
	closeOnce sync.Once
	inflight  chan acceptResult // guarded by the token of accepting
}

type acceptResult struct {
	conn net.Conn
	err  error
}

func newListener(l net.Listener) *listener {
	a := &listener{l: l, accepting: make(chan struct{}, 1), closed: make(chan struct{})}
	a.accepting <- struct{}{}
	return a
}

func (l *listener) close() {
	l.closeOnce.Do(func() {
		close(l.closed)
		_ = l.l.Close() // nobody is left to be told
		// A connection that came for a cancelled accept has no owner.
		go func() {
			<-l.accepting
			if l.inflight != nil {
				if r := <-l.inflight; r.conn != nil {
					_ = r.conn.Close()
				}
			}
		}()
	})
}

// accept waits for a connection. One that comes after the call was given up is
// kept for the next.
func (l *listener) accept(c call) (net.Conn, error) {
	select {
	case <-l.accepting:
	case <-l.closed:
		return nil, ResultBrokenPipe
	case <-c.cancel:
		return nil, ResultInterrupted
	case <-c.done:
		return nil, errStopped
	}
	defer func() { l.accepting <- struct{}{} }()
	if l.inflight == nil {
		ch := make(chan acceptResult, 1)
		l.inflight = ch
		go func() {
			conn, err := l.l.Accept()
			ch <- acceptResult{conn, err}
		}()
	}
	select {
	case r := <-l.inflight:
		l.inflight = nil
		return r.conn, r.err
	case <-l.closed:
		return nil, ResultBrokenPipe
	case <-c.cancel:
		return nil, ResultInterrupted
	case <-c.done:
		return nil, errStopped
	}
}
