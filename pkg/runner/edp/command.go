package edp

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/enclaveos/eos/pkg/runner"
)

// Command runs an executable image, once.
type Command struct {
	s       *server
	started atomic.Bool
}

// NewCommand prepares to run e. The enclave stays the caller's: close it after
// Run. A Command that is never run keeps some address space.
func NewCommand(e *runner.Enclave, o Options) (*Command, error) {
	s, err := newServer(e, o, false)
	if err != nil {
		return nil, err
	}
	return &Command{s: s}, nil
}

// Run enters the first TCS with the arguments, serves the enclave until it
// ends, and returns nil if it did so by exit without a panic.
//
// When ctx ends, the enclave does too, even if it never leaves by itself; the
// error then wraps the context's cause. Nothing of the enclave runs when Run
// returns, except that a Write or user-defined usercall of the host's own that
// does not return is left behind.
func (c *Command) Run(ctx context.Context) error {
	if c.started.Swap(true) {
		return ErrClosed
	}
	s := c.s
	defer s.release()
	args, err := s.arguments()
	if err != nil {
		s.end(err)
		return s.wait()
	}
	main := s.takeFree()
	s.enterBusy() // until the thread is
	stop := context.AfterFunc(ctx, func() {
		s.end(fmt.Errorf("the enclave was stopped: %w", context.Cause(ctx)))
	})
	defer stop()
	s.launch(main, true, [5]uint64{args, uint64(len(s.opts.Args) + 1)})
	s.unbusy()
	return s.wait()
}

// arguments lays out argv: an array of ByteBuffers, each of which and whose
// data the enclave frees one by one.
func (s *server) arguments() (uint64, error) {
	errMemory := errors.New("no memory for the arguments: raise the memory limit")
	args := append([]string{"enclave"}, s.opts.Args...)
	argv := make([]byte, 0, len(args)*byteBufferSize)
	for _, a := range args {
		// An empty one has no memory: its pointer is not null and not freed.
		addr := uint64(1)
		if a != "" {
			var ok bool
			if addr, ok = s.newBlock([]byte(a), 1); !ok {
				return 0, errMemory
			}
		}
		argv = le.AppendUint64(argv, addr)
		argv = le.AppendUint64(argv, uint64(len(a)))
	}
	addr, ok := s.newBlock(argv, 8)
	if !ok {
		return 0, errMemory
	}
	return addr, nil
}
