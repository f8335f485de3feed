package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/enclaveos/eos/pkg/channel/wire"
)

// ErrClosed is the answer of a Client after Close.
var ErrClosed = errors.New("rpc: the channel to the host is closed")

// A StatusError is the host's refusal of a request.
type StatusError struct {
	Method  wire.Method
	Status  int32  // not 0
	Payload []byte // what the host says of it
}

func (e *StatusError) Error() string {
	if e.Status == wire.StatusUnsupported {
		return fmt.Sprintf("rpc: the host does not offer method %v", e.Method)
	}
	return fmt.Sprintf("rpc: method %v: the host answers status %d", e.Method, e.Status)
}

// A ProtocolError says how the host broke the rules of the channel, which ends it.
type ProtocolError struct{ What string }

func (e *ProtocolError) Error() string { return "rpc: the host broke the channel: " + e.What }

// A SizeError is the refusal of a request that is too large.
type SizeError struct {
	Method wire.Method
	Size   int
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("rpc: method %v: a request of %d bytes, at most %d", e.Method, e.Size, wire.MaxPayload)
}

// carrier moves messages.
type carrier interface {
	// exchange sends requests and may take a response, into buf: n is its size, or
	// 0 if there is none now. After n > 0, poll must be called until it returns 0.
	exchange(requests, buf []byte) (n int, err error)
	// batch is how many bytes of requests may go at once; 0: one request.
	batch() int
	// poll takes a response if there is one.
	poll(buf []byte) (n int, err error)
	// receive waits for a response and takes it. It may use buf.
	receive(buf []byte) ([]byte, error)
	close() error
}

// Client is the enclave's end of the channel.
type Client struct {
	c     carrier
	slots chan struct{} // one for each request without response

	mu    sync.Mutex
	last  uint64           // number of the last call
	calls map[uint64]*call // without response, by id
	err   error            // why the channel has ended
	ended chan struct{}

	queueing sync.Mutex
	queue    []byte // requests that the sender will take
	sending  bool   // there is one
}

// call is a request that has no response yet. done gets one value when it has.
type call struct {
	method    wire.Method
	status    int32
	payload   []byte
	abandoned bool // nobody waits any more; guarded by Client.mu
	done      chan struct{}
}

var freeCalls = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

// Sizes of a buffer for messages: what most need, and the largest.
const (
	usualMessage = 16 << 10
	maxMessage   = wire.ResponseSize + wire.MaxPayload
	maxKept      = 4 * usualMessage // of a buffer that is kept for later
)

var freeBuffers = sync.Pool{New: func() any { return &buffers{in: make([]byte, usualMessage)} }}

type buffers struct{ out, in []byte }

// New makes a client of a connection on which each Write is one whole request, and
// each Read returns one whole response if its buffer has room for it.
func New(rw io.ReadWriteCloser) *Client { return start(&stream{rw: rw}) }

func start(c carrier) *Client {
	cl := &Client{
		c: c, slots: make(chan struct{}, wire.MaxInFlight), calls: make(map[uint64]*call), ended: make(chan struct{}),
	}
	go cl.read()
	return cl
}

// Close ends the channel. Calls in progress fail with ErrClosed.
func (c *Client) Close() error { return c.fail(ErrClosed) }

// Err returns why the channel has ended, nil if it has not.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// fail ends the channel; the first reason stays.
func (c *Client) fail(reason error) error {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return nil
	}
	c.err = reason
	c.mu.Unlock()
	close(c.ended)
	return c.c.close()
}

// Call makes a request and waits for its response, or for ctx. A request whose
// caller has gone is answered all the same, and occupies a place until then. The
// payload is not used after Call has returned. An error is a *StatusError,
// a *SizeError, that of ctx, or why the channel has ended.
func (c *Client) Call(ctx context.Context, method wire.Method, payload []byte) ([]byte, error) {
	if len(payload) > wire.MaxPayload {
		return nil, &SizeError{method, len(payload)}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case c.slots <- struct{}{}:
	default:
		select {
		case c.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.ended:
			return nil, c.Err()
		}
	}
	id, w, err := c.register(method)
	if err != nil {
		return nil, err
	}
	if err := c.send(wire.Request{ID: id, Method: method, Payload: payload}); err != nil {
		c.fail(err)
		return nil, c.Err()
	}
	select {
	case <-w.done:
	default:
		select {
		case <-w.done:
		case <-ctx.Done():
			if c.abandon(w) {
				return nil, ctx.Err()
			}
			<-w.done
		case <-c.ended:
			return nil, c.Err()
		}
	}
	status, reply := w.status, w.payload
	w.payload = nil
	freeCalls.Put(w)
	if status != wire.StatusOK {
		return nil, &StatusError{method, status, reply}
	}
	return reply, nil
}

func (c *Client) register(method wire.Method) (uint64, *call, error) {
	w := freeCalls.Get().(*call)
	w.method, w.abandoned = method, false
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, nil, c.err
	}
	c.last++
	id := c.last<<8 | wire.IDProgram
	c.calls[id] = w
	return id, w, nil
}

// abandon reports false if the response has come meanwhile.
func (c *Client) abandon(w *call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-w.done:
		w.done <- struct{}{}
		return false
	default:
		w.abandoned = true
		return true
	}
}

// send sends a request, and takes the responses that are there then. When many call
// at once, one of them sends what has come together meanwhile: to leave the enclave
// costs more than a request.
func (c *Client) send(r wire.Request) error {
	most := c.c.batch()
	if wire.RequestSize+len(r.Payload) > most {
		return c.sendNow(r)
	}
	c.queueing.Lock()
	c.queue = wire.AppendRequest(c.queue, r)
	if c.sending {
		c.queueing.Unlock()
		return nil // who does will take it
	}
	c.sending = true
	c.queueing.Unlock()
	if len(c.slots) > 1 {
		runtime.Gosched() // others are about to call, too
	}
	more, err := c.sendQueue()
	if more {
		// Those of others: the caller shall not be kept by them.
		go func() {
			for more && err == nil {
				more, err = c.sendQueue()
			}
			if err != nil {
				c.fail(err)
			}
		}()
		return nil
	}
	return err
}

// sendQueue sends what is in the queue, and reports whether there is more already. If
// not, nobody is sending any more.
func (c *Client) sendQueue() (more bool, err error) {
	b := freeBuffers.Get().(*buffers)
	c.queueing.Lock()
	b.out, c.queue = c.queue, b.out[:0]
	c.queueing.Unlock()
	for out := b.out; len(out) > 0 && err == nil; {
		n := whole(out, c.c.batch())
		err = c.exchange(out[:n], b.in)
		out = out[n:]
	}
	if cap(b.out) <= maxKept {
		freeBuffers.Put(b)
	}
	c.queueing.Lock()
	defer c.queueing.Unlock()
	c.sending = len(c.queue) > 0 && err == nil
	return c.sending, err
}

// whole is how many bytes of b are whole requests, at most most but at least one.
func whole(b []byte, most int) (n int) {
	for n < len(b) {
		next := n + wire.RequestSize + int(binary.LittleEndian.Uint32(b[n+10:]))
		if next > most && n > 0 {
			break
		}
		n = next
	}
	return n
}

// sendNow sends one request by itself.
func (c *Client) sendNow(r wire.Request) error {
	b := freeBuffers.Get().(*buffers)
	b.out = wire.AppendRequest(b.out[:0], r)
	err := c.exchange(b.out, b.in)
	if cap(b.out) <= maxKept {
		freeBuffers.Put(b)
	}
	return err
}

func (c *Client) exchange(requests, buf []byte) error {
	n, err := c.c.exchange(requests, buf)
	for err == nil && n > 0 {
		if err = c.take(buf[:n]); err == nil {
			n, err = c.c.poll(buf)
		}
	}
	return err
}

// read takes the responses that no sender has taken, until the channel ends.
func (c *Client) read() {
	buf := make([]byte, usualMessage)
	for {
		b, err := c.c.receive(buf)
		if err == nil {
			err = c.take(b)
		}
		if err != nil {
			c.fail(err)
			return
		}
	}
}

// take gives a response to whom it is for. All of it is the host's word.
func (c *Client) take(b []byte) error {
	r, f := wire.ParseResponse(b)
	if f != wire.Sound {
		return &ProtocolError{"a response is " + f.String()}
	}
	if len(r.Payload) > wire.MaxPayload {
		return &ProtocolError{fmt.Sprintf("a response has %d bytes, at most %d are allowed", len(r.Payload), wire.MaxPayload)}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.calls[r.ID]
	if w == nil {
		return &ProtocolError{c.stray(r.ID)}
	}
	delete(c.calls, r.ID)
	<-c.slots
	if w.abandoned {
		return nil
	}
	w.status, w.payload = r.Status, append(make([]byte, 0, len(r.Payload)), r.Payload...)
	w.done <- struct{}{}
	return nil
}

// stray names what is wrong with an id that no call has.
func (c *Client) stray(id uint64) string {
	if n := id >> 8; id&0xff == wire.IDProgram && n > 0 && n <= c.last {
		return fmt.Sprintf("a second response to request %#x", id)
	}
	return fmt.Sprintf("a response with id %#x, which no request had", id)
}

// stream is a carrier of whole messages without the kernel's help.
type stream struct {
	rw      io.ReadWriteCloser
	writing sync.Mutex
	buf     []byte // of receive
}

func (s *stream) exchange(request, _ []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	_, err := s.rw.Write(request)
	return 0, err
}

func (s *stream) batch() int { return 0 }

func (s *stream) poll([]byte) (int, error) { return 0, nil }

func (s *stream) receive([]byte) ([]byte, error) {
	if s.buf == nil {
		s.buf = make([]byte, maxMessage+1) // one more, to see what is too long
	}
	n, err := s.rw.Read(s.buf)
	if err != nil {
		return nil, fmt.Errorf("rpc: %w", err)
	}
	return s.buf[:n], nil
}

func (s *stream) close() error { return s.rw.Close() }
