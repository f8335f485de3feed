package edp

import (
	"context"
	"errors"
	"fmt"

	"github.com/enclaveos/eos/pkg/runner"
)

// Library is an enclave that the host calls. Any number of calls can be under
// way, up to the number of its TCSs.
type Library struct{ s *server }

// NewLibrary makes e ready to be called. The enclave stays the caller's: close
// it after the Library.
func NewLibrary(e *runner.Enclave, o Options) (*Library, error) {
	s, err := newServer(e, o, true)
	if err != nil {
		return nil, err
	}
	return &Library{s}, nil
}

// Call enters a free TCS with p1 to p5 and returns the two values with which it
// returns. It waits until a TCS is free.
//
// If ctx ends first the call is given up; a TCS that was inside by then is in
// an unknown state, and not used again.
func (l *Library) Call(ctx context.Context, p1, p2, p3, p4, p5 uint64) (r1, r2 uint64, err error) {
	t, err := l.take(ctx)
	if err != nil {
		return 0, 0, err
	}
	s := l.s
	type result struct {
		r1, r2 uint64
		err    error
	}
	ch := make(chan result, 1)
	s.begin(t)
	// On a goroutine of its own, so that the caller's is not bound to an OS
	// thread and a host call that hangs does not hold up the context.
	go func() {
		defer s.finish(t)
		r1, r2, err := s.run(t, [5]uint64{p1, p2, p3, p4, p5})
		if err == nil {
			s.giveFree(t)
		} else {
			s.lose()
		}
		ch <- result{r1, r2, l.reason(err)}
	}()
	select {
	case r := <-ch:
		return r.r1, r.r2, r.err
	case <-ctx.Done():
		s.mu.Lock()
		t.stop()
		s.mu.Unlock()
		return 0, 0, fmt.Errorf("the call was stopped: %w", context.Cause(ctx))
	}
}

// lose counts a TCS as used up.
func (s *server) lose() {
	s.mu.Lock()
	s.lost++
	close(s.freed)
	s.freed = make(chan struct{})
	s.mu.Unlock()
}

// reason turns the end of a thread into the end of a call, and of the whole
// enclave where it is one.
func (l *Library) reason(err error) error {
	switch {
	case err == nil:
		return nil
	case err == errWaits:
		return ErrThreadWaits
	case err == errStopped:
		if why := l.s.whyEnded(); why != nil {
			return why
		}
		return err // the caller has gone
	case err == errExit:
		l.s.end(ErrOtherExited)
		return ErrThreadExited
	}
	l.s.end(ErrOtherExited)
	return err
}

func (s *server) whyEnded() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.result
}

// take waits for a free TCS.
func (l *Library) take(ctx context.Context) (*tcs, error) {
	s := l.s
	for {
		s.mu.Lock()
		freed := s.freed
		lost := s.lost == len(s.tcss)
		s.mu.Unlock()
		switch {
		case s.ended.Load():
			return nil, s.whyEnded()
		case lost:
			return nil, errors.New("no TCS is left: each was stopped inside or waits for ever")
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		}
		if t := s.takeFree(); t != nil {
			return t, nil
		}
		select {
		case <-freed:
		case <-s.done:
		case <-ctx.Done():
		}
	}
}

// Close ends the enclave and waits until nothing of it runs. Calls under way
// return ErrClosed.
func (l *Library) Close() error {
	l.s.end(ErrClosed)
	_ = l.s.wait()
	l.s.closeOnce.Do(l.s.release)
	return nil
}
