package goenclave

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/enclaveos/eos/pkg/runner/dispatch"
	"github.com/enclaveos/eos/pkg/wall"
)

// Command runs a program, once.
type Command struct {
	p       *program
	started atomic.Bool
}

// NewCommand prepares to run e. The enclave stays the caller's: close it after
// Run.
func NewCommand(e *Enclave, o Options) (*Command, error) {
	if o.Grace == 0 {
		o.Grace = defaultGrace
	}
	p := &program{enc: e, o: o, clock: newClock(e.begun), done: make(chan struct{}), idle: make(chan struct{})}
	p.polls.data = o.Data
	p.busy.Store(1)
	for i, off := range e.TCS {
		p.threads = append(p.threads, &thread{p: p, idx: i, off: off})
	}
	var err error
	p.rpc, err = dispatch.New(dispatch.Options{
		Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr,
		Wake: func(tcs int) {
			if tcs < len(p.threads) {
				p.threads[tcs].wakeUp(p.interruptPoll)
			}
		},
		Kick:   p.polls.kick,
		Handle: o.Handle,
	})
	if err != nil {
		return nil, err
	}
	return &Command{p: p}, nil
}

// processors is how many threads the host can run at once.
func processors() int { return runtime.NumCPU() }

// Run runs the program until it ends, and returns nil if that was with exit code
// 0. The error is an *ExitError for another one.
//
// When ctx ends the program is asked to end, and after the grace time it is ended.
// Then, unless it has found an exit code by itself, the error wraps the context's
// cause. When Run returns nothing of the enclave runs and all output has been
// written, except where a reader or writer of the host's own does not return.
func (c *Command) Run(ctx context.Context) error {
	if c.started.Swap(true) {
		return ErrClosed
	}
	p := c.p
	p.mu.Lock()
	p.start = time.Now()
	p.mu.Unlock()
	first := p.threads[0]
	first.started = true
	first.launch(func() error { return p.run(first) })
	asked := context.AfterFunc(ctx, func() {
		p.shutdown(stopped(ctx))
	})
	<-p.done
	asked()
	<-p.idle
	err := p.finish(ctx)
	runtime.KeepAlive(p.memory)
	p.mu.Lock()
	defer p.mu.Unlock()
	var refused *RefusedError
	if ctx.Err() != nil && errors.As(p.result, &refused) && refused.Call != wall.ECallShutdown {
		// It was asked to end before it had begun.
		return stopped(ctx)
	}
	if p.result != nil {
		return p.result
	}
	return err
}

func stopped(ctx context.Context) error {
	return fmt.Errorf("the program was stopped: %w", context.Cause(ctx))
}

// finish delivers what the program has left in the rings.
func (p *program) finish(ctx context.Context) error {
	drained := make(chan error, 1)
	go func() { drained <- p.rpc.Drain() }()
	var err error
	if p.polls.data != nil {
		err = p.polls.data.Close(p.o.Grace)
	}
	// A reader that is slow has time, as natively; unless somebody wants to end.
	select {
	case e := <-drained:
		return errors.Join(e, err)
	case <-ctx.Done():
	}
	select {
	case e := <-drained:
		return errors.Join(e, err)
	case <-time.After(p.o.Grace):
		return err
	}
}
