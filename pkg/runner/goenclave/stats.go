package goenclave

import (
	"time"

	"github.com/enclaveos/eos/pkg/runner/dispatch"
	"github.com/enclaveos/eos/pkg/wall"
)

// Stats is what a program has done so far, as its host sees it.
type Stats struct {
	// Enclave is what the program has told of itself when it ended; nil before,
	// and if it could not.
	Enclave *dispatch.Stats

	Time        time.Duration // since Run
	Threads     int           // TCSs of the image
	ThreadsUsed int           // of them that have been entered
	ECalls      uint64
	OCalls      [wall.NotifyRPC + 1]uint64 // by kind; 0 is unknown ones
	Exceptions  uint64                     // AEXs because of one
	Interrupts  uint64                     // other AEXs
	RPC         dispatch.Traffic
}

// Entries is how often the enclave has been entered by EENTER.
func (s *Stats) Entries() uint64 {
	n := s.ECalls + s.Exceptions + s.Interrupts
	for _, c := range s.OCalls {
		n += c
	}
	return n
}

// Stats returns what the program has done so far. It may be called while it runs.
func (c *Command) Stats() Stats {
	p := c.p
	s := Stats{Threads: len(p.threads), RPC: p.rpc.Traffic()}
	if e, ok := p.rpc.Stats(); ok {
		s.Enclave = &e
	}
	p.mu.Lock()
	switch {
	case p.start.IsZero():
	case p.stop.IsZero():
		s.Time = time.Since(p.start)
	default:
		s.Time = p.stop.Sub(p.start)
	}
	p.mu.Unlock()
	for _, t := range p.threads {
		calls := t.count.calls.Load()
		if calls > 0 {
			s.ThreadsUsed++
		}
		s.ECalls += calls
		s.Exceptions += t.count.exceptions.Load()
		s.Interrupts += t.count.interrupts.Load()
		for i := range s.OCalls {
			s.OCalls[i] += t.count.ocalls[i].Load()
		}
	}
	return s
}
