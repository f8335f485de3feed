package dispatch

import (
	"errors"
	"io"
	"sync"

	"github.com/enclaveos/eos/pkg/channel"
	"github.com/enclaveos/eos/pkg/channel/wire"
)

// Options says what an enclave has outside.
type Options struct {
	// Stdin, Stdout and Stderr; nil is an empty stream or one that is thrown
	// away. They are not closed. Each is used by one goroutine at a time, unless
	// two of them are the same value. A Read in progress when the program ends is
	// left behind, and takes what comes next.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Log takes the enclave's log; nil is Stderr, a line for each.
	Log func(level int32, text string)
	// Wake tells that there is a response for the thread on this TCS. It is not
	// nil.
	Wake func(tcs int)
}

// Capacity is the size of each of the two rings.
const Capacity = 256 << 10

// maxPending bounds the requests of an enclave that wait for a response: one for
// each possible TCS.
const maxPending = 256

// Server serves the RPC rings of one enclave.
type Server struct {
	o        Options
	e2h, h2e *channel.Memory
	outputs  [2]*output

	mu      sync.Mutex // guards in, and orders the outputs' messages
	in      channel.Consumer
	stats   Stats
	told    bool // stats are there
	pending int  // requests without response

	sending sync.Mutex // guards out and unsent
	out     channel.Producer
	unsent  [][]byte // responses that found no room

	reading sync.Mutex // guards Stdin
}

// New makes the rings and their server.
func New(o Options) (*Server, error) {
	e2h, err := channel.NewMemory(Capacity)
	if err != nil {
		return nil, err
	}
	h2e, err := channel.NewMemory(Capacity)
	if err != nil {
		return nil, err
	}
	s := &Server{o: o, e2h: e2h, h2e: h2e}
	for i, w := range []io.Writer{o.Stdout, o.Stderr} {
		if w == nil {
			w = io.Discard
		}
		s.outputs[i] = &output{name: []string{"stdout", "stderr"}[i], w: w}
	}
	if st := s.in.Init(e2h.Header, e2h.Bytes, Capacity); st != channel.OK {
		return nil, st.Err()
	}
	if st := s.out.Init(h2e.Header, h2e.Bytes, Capacity); st != channel.OK {
		return nil, st.Err()
	}
	s.in.PreparePark() // the first request rings
	return s, nil
}

// Rings returns the memory of the ring from the enclave and of that to it.
func (s *Server) Rings() (e2h, h2e *channel.Memory) { return s.e2h, s.h2e }

// Serve does what the enclave asks for in the ring. Any thread may call it; it
// waits for those who read the program's output, if they are slow, and for nobody
// else. An error says that the enclave is to end: it wraps a ProtocolError, a
// channel.Status or an OutputError.
func (s *Server) Serve() error {
	err := s.take()
	s.retry()
	for _, o := range s.outputs {
		err = errors.Join(err, o.flush(false))
	}
	return err
}

// Drain serves what is left in the ring after the program has ended, and waits
// until all output is written.
func (s *Server) Drain() error {
	err := s.take()
	for _, o := range s.outputs {
		err = errors.Join(err, o.flush(true))
	}
	return err
}

// take empties the ring. Afterwards the enclave's next request rings.
func (s *Server) take() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.in.CancelPark()
	for {
		st := s.in.Next()
		switch st {
		case channel.OK:
			b := make([]byte, s.in.Len())
			s.in.Copy(b, 0)
			s.in.Advance()
			s.in.Release() // who waits for room does so in an OCALL that ends here
			if err := s.request(b); err != nil {
				return err
			}
		case channel.ErrEmpty:
			if s.in.PreparePark() {
				return nil
			}
		default:
			return broken("%w", st)
		}
	}
}

// request does one request, or starts it. The caller holds s.mu.
func (s *Server) request(b []byte) error {
	r, f := wire.ParseRequest(b)
	if f != wire.Sound {
		return broken("a request of %d bytes: %w", len(b), f)
	}
	switch r.Method {
	case wire.StdioWrite:
		fd, data, f := wire.ParseStdioWrite(r.Payload)
		if f != wire.Sound {
			return broken("StdioWrite of %d bytes: %w", len(r.Payload), f)
		}
		s.outputs[fd-1].put(data)
		return nil
	case wire.Log:
		return s.log(r)
	case wire.Stats:
		st, err := parseStats(r.Payload)
		s.stats, s.told = st, err == nil
		return err
	}
	if r.ID == 0 {
		return nil // a newer kernel's, and nothing to tell it
	}
	if s.pending++; s.pending > maxPending {
		return broken("more than %d requests wait for a response", maxPending)
	}
	if r.Method != wire.StdioRead {
		go s.respond(wire.Response{ID: r.ID, Status: wire.StatusUnsupported})
		return nil
	}
	most, f := wire.ParseStdioRead(r.Payload)
	if f != wire.Sound {
		return broken("StdioRead of %d bytes: %w", len(r.Payload), f)
	}
	go s.stdioRead(r.ID, most)
	return nil
}

func (s *Server) log(r wire.Request) error {
	level, text, f := wire.ParseLog(r.Payload)
	switch {
	case f != wire.Sound:
		return broken("Log of %d bytes: %w", len(r.Payload), f)
	case s.o.Log != nil:
		s.o.Log(level, string(text))
	default:
		s.outputs[1].put(append(text, '\n'))
	}
	return nil
}

// stdioRead reads once, on a goroutine of its own: nobody can wake a read.
func (s *Server) stdioRead(id uint64, most uint32) {
	if s.o.Stdin == nil {
		s.respond(wire.Response{ID: id})
		return
	}
	b := make([]byte, min(most, maxRead))
	s.reading.Lock()
	n, err := s.o.Stdin.Read(b)
	s.reading.Unlock()
	status := wire.StatusOK
	if n <= 0 && err != nil && !errors.Is(err, io.EOF) {
		status = wire.StatusError
	}
	s.respond(wire.Response{ID: id, Status: status, Payload: b[:max(n, 0)]})
}

// respond sends a response, now or when the enclave has made room, and wakes who
// waits for it.
func (s *Server) respond(r wire.Response) {
	s.mu.Lock()
	s.pending--
	s.mu.Unlock()
	b := wire.AppendResponse(make([]byte, 0, wire.ResponseSize+len(r.Payload)), r)
	s.sending.Lock()
	s.unsent = append(s.unsent, b)
	s.send()
	s.sending.Unlock()
}

// retry sends what found no room.
func (s *Server) retry() {
	s.sending.Lock()
	if len(s.unsent) > 0 {
		s.send()
	}
	s.sending.Unlock()
}

// send sends as much as there is room for. If the ring is dead, the program's end
// is near. The caller holds s.sending.
func (s *Server) send() {
	s.out.CancelWait()
	for len(s.unsent) > 0 {
		b := s.unsent[0]
		st := s.out.Put(b, nil)
		if st == channel.ErrFull && s.out.PrepareWait(uint64(len(b))) || st != channel.OK && st != channel.ErrFull {
			return
		}
		if st == channel.OK {
			s.unsent = s.unsent[1:]
			s.out.Publish()
			s.o.Wake(int(b[0]))
		}
	}
}

// Stats returns what the enclave has told of itself, and whether it did.
func (s *Server) Stats() (Stats, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats, s.told
}

// Traffic counts what went through the rings.
type Traffic struct {
	FromEnclave, ToEnclave uint64 // bytes, frame headers included
	Waits                  uint64 // times that the host waited for room
}

// Traffic returns what went through the rings so far.
func (s *Server) Traffic() Traffic {
	s.mu.Lock()
	from := s.in.Read()
	s.mu.Unlock()
	s.sending.Lock()
	defer s.sending.Unlock()
	return Traffic{from, s.out.Written(), s.out.Waits()}
}
