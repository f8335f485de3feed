package dispatch

import (
	"encoding/binary"
	"time"
)

// Stats is what an enclave says of itself, when it is asked to and when it ends. None
// of it can be checked by the host.
type Stats struct {
	Heap        uint64 // bytes of heap that the Go runtime has in use
	HeapHigh    uint64 // the most it had
	HeapRefused uint64 // bytes of the first request that there was no room for; 0 if none
	ThreadsHigh uint64 // most threads at one time
	Threads     uint64 // threads that the program can have
	HeapSize    uint64 // bytes of heap that the image has
	NoThread    bool   // a thread was wanted for which there was no TCS
}

// parseStats takes more words than it knows: they are a newer kernel's. Older ones do
// not have the seventh.
func parseStats(b []byte) (Stats, error) {
	const least = 6
	var w [7]uint64
	if len(b) < 8*least {
		return Stats{}, broken("statistics of %d bytes, want %d", len(b), 8*least)
	}
	for i := range min(len(w), len(b)/8) {
		w[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return Stats{w[0], w[1], w[2], w[3], w[4], w[5], w[6] != 0}, nil
}

// tell takes the enclave's statistics. The caller holds s.mu.
func (s *Server) tell(b []byte) error {
	st, err := parseStats(b)
	if err != nil {
		return err
	}
	s.stats, s.toldAt = st, time.Now()
	if s.asked != nil {
		close(s.asked)
		s.asked = nil
	}
	return nil
}

// Ask asks the enclave for its statistics: the next thread of it that comes back from a
// sleep sends them. The caller wakes those that sleep. The channel is closed when
// they have come, which may be never.
func (s *Server) Ask() <-chan struct{} {
	s.mu.Lock()
	if s.asked == nil {
		s.asked = make(chan struct{})
	}
	came := s.asked
	s.mu.Unlock()
	s.out.Ask()
	return came
}

// Stats returns what the enclave has last told of itself, and when; a zero time says
// that it has told nothing.
func (s *Server) Stats() (Stats, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats, s.toldAt
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
