package goenclave

import (
	"context"
	"time"

	"github.com/enclaveos/eos/pkg/runner/dispatch"
	"github.com/enclaveos/eos/pkg/wall"
)

// Stats is what a program has done so far, as its host sees it.
type Stats struct {
	// Enclave is what the program has last told of itself: when it was asked (see Ask)
	// or when it ended; nil if it has told nothing.
	Enclave *dispatch.Stats
	Told    time.Duration // since Run, when it did

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

// Ask asks the program what it uses, and returns when it has told, or has ended, or with
// the cause of ctx: a program that is stopped, or that has a host without a thread to
// spare for it, does not answer.
func (c *Command) Ask(ctx context.Context) error {
	told := c.p.rpc.Ask()
	for _, t := range c.p.threads {
		t.wakeUp(c.p.interruptPoll)
	}
	select {
	case <-told:
	case <-c.p.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// Stats returns what the program has done so far. It may be called while it runs.
func (c *Command) Stats() Stats {
	p := c.p
	s := Stats{Threads: len(p.threads), RPC: p.rpc.Traffic()}
	e, told := p.rpc.Stats()
	p.mu.Lock()
	if !told.IsZero() {
		s.Enclave, s.Told = &e, told.Sub(p.start)
	}
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
