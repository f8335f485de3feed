package dispatch

import (
	"errors"
	"io"
	"slices"
	"sync"
	"time"

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
	// Kick tells that there is a response for the program, or room for its
	// requests: a thread in epoll_wait has to look, or if none is, the next one
	// that wants to wait there. It is not nil if Handle is not.
	Kick func()
	// Handle are the handlers of the program's own requests.
	Handle map[wire.Method]Handler
}

// Capacity is the size of each of the two rings: some of the largest messages.
const Capacity = 4 << 20

// maxPending bounds the requests of the kernel inside that wait for a response: one
// for each possible TCS.
const maxPending = 256

// Server serves the RPC rings of one enclave.
type Server struct {
	o        Options
	e2h, h2e *channel.Memory
	outputs  [2]*output
	pool     *pool

	mu       sync.Mutex // guards in, and orders the outputs' messages
	in       channel.Consumer
	stats    Stats
	toldAt   time.Time     // when stats came; zero: never
	asked    chan struct{} // closed when the next ones come; nil if nobody waits
	pending  int           // the kernel's requests without response
	inFlight int           // the program's

	sending sync.Mutex // guards out, unsent and parked
	out     channel.Producer
	unsent  []wire.Response // that found no room
	parked  bool            // a thread waits for the program's responses and has not been told of one

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
	s := &Server{o: o, e2h: e2h, h2e: h2e, pool: newPool(o.Handle)}
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

// Caller says what a thread of the enclave's does that calls Serve.
type Caller struct {
	// Looks: it looks at the ring to the enclave when it is back there, and need not be
	// told what is in it.
	Looks bool
	// Only: it has written nothing to stdout or stderr, and does not wait for who reads
	// them. What others have written they themselves see to.
	Only bool
}

// Serve does what the enclave asks for in the ring. Any thread may call it; it
// waits for those who read the program's output, if they are slow and the caller is
// one who writes, and for quick handlers, and for nobody else. An error says that the
// enclave is to end: it wraps a ProtocolError, a channel.Status or an OutputError.
func (s *Server) Serve(c Caller) error {
	var few [8]job
	jobs, room, err := s.take(few[:0])
	if room {
		s.kick()
	}
	for _, j := range jobs[min(maxBatch, len(jobs)):] {
		s.pool.later(j, s.respondLater)
	}
	for _, j := range jobs[:min(maxBatch, len(jobs))] {
		if r, done := s.pool.now(j); done {
			s.respond(r, c.Looks)
		} else {
			s.pool.later(j, s.respondLater)
		}
	}
	s.retry()
	if c.Only {
		return err
	}
	for _, o := range s.outputs {
		err = errors.Join(err, o.flush(false))
	}
	return err
}

// Drain serves what is left in the ring after the program has ended, but for
// requests that want a response, and waits until all output is written and no
// handler runs.
func (s *Server) Drain() error {
	_, _, err := s.take(nil)
	for _, o := range s.outputs {
		err = errors.Join(err, o.flush(true))
	}
	s.pool.close()
	return err
}

// take empties the ring: what is not for a handler is done or started. Afterwards
// the enclave's next request rings. It reports whether the program waits for room.
func (s *Server) take(jobs []job) (_ []job, room bool, err error) {
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
			if s.in.Release() {
				room = true
			}
			if jobs, err = s.request(b, jobs); err != nil {
				return jobs, room, err
			}
		case channel.ErrEmpty:
			if s.in.PreparePark() {
				return jobs, room, nil
			}
		default:
			return jobs, room, broken("%w", st)
		}
	}
}

// request does one request, or starts it, or appends it to jobs. The caller holds
// s.mu.
func (s *Server) request(b []byte, jobs []job) ([]job, error) {
	r, f := wire.ParseRequest(b)
	if f != wire.Sound {
		return jobs, broken("a request of %d bytes: %w", len(b), f)
	}
	if r.ID&0xff == wire.IDProgram {
		if s.inFlight++; s.inFlight > wire.MaxInFlight {
			return jobs, broken("more than %d requests of the program's wait for a response", wire.MaxInFlight)
		}
		if len(r.Payload) > wire.MaxPayload {
			return jobs, broken("method %v: a request of %d bytes", r.Method, len(r.Payload))
		}
		return append(jobs, job{r.ID, s.pool.methods[r.Method], r.Payload}), nil
	}
	switch r.Method {
	case wire.StdioWrite:
		fd, data, f := wire.ParseStdioWrite(r.Payload)
		if f != wire.Sound {
			return jobs, broken("StdioWrite of %d bytes: %w", len(r.Payload), f)
		}
		s.outputs[fd-1].put(data)
		return jobs, nil
	case wire.Log:
		return jobs, s.log(r)
	case wire.Stats:
		return jobs, s.tell(r.Payload)
	}
	if r.ID == 0 {
		return jobs, nil // a newer kernel's, and nothing to tell it
	}
	if s.pending++; s.pending > maxPending {
		return jobs, broken("more than %d requests wait for a response", maxPending)
	}
	if r.Method != wire.StdioRead {
		go s.respondLater(wire.Response{ID: r.ID, Status: wire.StatusUnsupported})
		return jobs, nil
	}
	most, f := wire.ParseStdioRead(r.Payload)
	if f != wire.Sound {
		return jobs, broken("StdioRead of %d bytes: %w", len(r.Payload), f)
	}
	go s.stdioRead(r.ID, most)
	return jobs, nil
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
		s.respondLater(wire.Response{ID: id})
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
	s.respondLater(wire.Response{ID: id, Status: status, Payload: b[:max(n, 0)]})
}

// respondLater is respond for those whose caller does not look at the ring.
func (s *Server) respondLater(r wire.Response) { s.respond(r, false) }

// respond sends a response, now or when the enclave has made room, and wakes who
// waits for it. With looks, the program will look at the ring without being told.
func (s *Server) respond(r wire.Response, looks bool) {
	s.mu.Lock()
	if r.ID&0xff == wire.IDProgram {
		s.inFlight--
	} else {
		s.pending--
	}
	s.mu.Unlock()
	s.sending.Lock()
	s.unsent = append(s.unsent, r)
	kick := s.send(looks)
	s.sending.Unlock()
	if kick {
		s.kick()
	}
}

func (s *Server) kick() {
	if s.o.Kick != nil {
		s.o.Kick()
	}
}

// retry sends what found no room.
func (s *Server) retry() {
	s.sending.Lock()
	kick := len(s.unsent) > 0 && s.send(false)
	s.sending.Unlock()
	if kick {
		s.kick()
	}
}

// send sends as much as there is room for, and reports whether a thread has to be
// told of the program's responses. If the ring is dead, the program's end is near.
// The caller holds s.sending.
func (s *Server) send(looks bool) (kick bool) {
	s.out.CancelWait()
	sent := 0
	for _, r := range s.unsent {
		var header [wire.ResponseSize]byte
		wire.AppendResponseHeader(header[:0], r.ID, r.Status, uint32(len(r.Payload)))
		st := s.out.Put(header[:], r.Payload)
		if st == channel.ErrFull && !s.out.PrepareWait(uint64(len(header)+len(r.Payload))) {
			st = s.out.Put(header[:], r.Payload)
		}
		if st != channel.OK {
			break
		}
		sent++
		if s.out.Publish() {
			s.parked = true
		}
		if tcs := r.ID & 0xff; tcs != wire.IDProgram {
			s.o.Wake(int(tcs))
		}
	}
	s.unsent = slices.Delete(s.unsent, 0, sent)
	kick = s.parked && !looks
	if kick {
		s.parked = false
	}
	return kick
}
