package enclave

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/enclaveos/eos/pkg/channel/wire"
)

// channelPath is where the kernel offers the channel (pkg/runtime/kernel, rpcfile.go).
const channelPath = "/dev/eos/rpc"

// callExchange is a system call of the kernel's: it sends whole requests and takes
// one response, if there is one.
const callExchange = 9004

// usualResponse is a size that most responses fit.
const usualResponse = 4096

// Channel is the program's end of the RPC rings: requests to the host, and responses
// from it, both as package wire has them. What a response says is the host's word. Its
// methods may be called by several goroutines.
type Channel struct {
	f          *os.File
	raw        syscall.RawConn
	unanswered atomic.Int64
	waiting    chan struct{} // full while somebody is in Wait

	using  sync.RWMutex // held for writing to close
	closed bool
	fd     uintptr
}

// OpenChannel opens the channel, of which there is one: a second OpenChannel before
// Close fails, and so does one before the responses to what a former one has asked for
// have come.
func OpenChannel() (*Channel, error) {
	if !Inside() {
		return nil, ErrNotEnclave
	}
	fd, err := syscall.Open(channelPath, syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errors.Is(err, syscall.EBUSY) {
		return nil, errors.New("the program has opened its channel to the host already: share it")
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", channelPath, err)
	}
	f := os.NewFile(uintptr(fd), channelPath)
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &Channel{f: f, raw: raw, fd: uintptr(fd), waiting: make(chan struct{}, 1)}, nil
}

// Ring publishes a batch of whole requests, made by wire.AppendRequest with ids that
// end in wire.IDProgram, and then rings the host's doorbell: once, and only if the
// host sleeps. If there is no room for all of them Ring waits for some, and rings for
// each part. The batch is not used after Ring has returned. An error before anything
// is published is a *RequestError or ErrInFlight.
func (c *Channel) Ring(batch []byte) error {
	n, err := countRequests(batch)
	if err != nil || n == 0 {
		return err
	}
	if err := c.ask(n); err != nil {
		return err
	}
	_, err = c.f.Write(batch)
	return channelError(err)
}

// Wait takes the next response, in buf if that is large enough. If there is none it
// waits for the host to ring, or for ctx, whose cause is then the error.
func (c *Channel) Wait(ctx context.Context, buf []byte) ([]byte, error) {
	select {
	case c.waiting <- struct{}{}:
		defer func() { <-c.waiting }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if ctx.Done() != nil {
		late := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			c.f.SetReadDeadline(time.Unix(1, 0))
			close(late)
		})
		defer func() {
			if !stop() {
				<-late
				c.f.SetReadDeadline(time.Time{})
			}
		}()
	}
	if len(buf) < wire.ResponseSize {
		buf = make([]byte, usualResponse)
	}
	for {
		n, err := c.f.Read(buf)
		switch {
		case errors.Is(err, syscall.EMSGSIZE) && len(buf) < wire.ResponseSize+wire.MaxPayload:
			buf = make([]byte, wire.ResponseSize+wire.MaxPayload)
			continue
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, context.Cause(ctx)
		case err != nil:
			return nil, channelError(err)
		}
		c.unanswered.Add(-1)
		return buf[:n], nil
	}
}

// Exchange is Ring and, in the same stay outside, a Wait that does not wait: n is the
// size of a response in buf, or 0 if there is none now or it is larger. The batch is
// published as a whole, and so has to fit the host's ring; it may be empty. As long as
// n is not 0, call Exchange again, with an empty batch: what came with the same stay
// outside does not wake a Wait of another goroutine's.
func (c *Channel) Exchange(batch, buf []byte) (n int, err error) {
	requests, err := countRequests(batch)
	if err != nil {
		return 0, err
	}
	if err := c.ask(requests); err != nil {
		return 0, err
	}
	n, errno := c.exchange(batch, buf)
	if errno == syscall.EAGAIN { // no room
		if err := c.raw.Write(func(uintptr) bool {
			n, errno = c.exchange(batch, buf)
			return errno != syscall.EAGAIN
		}); err != nil {
			return 0, channelError(err)
		}
	}
	if errno != 0 {
		return 0, channelError(errno)
	}
	if n > 0 {
		c.unanswered.Add(-1)
	}
	return n, nil
}

func (c *Channel) exchange(batch, buf []byte) (int, syscall.Errno) {
	c.using.RLock()
	defer c.using.RUnlock()
	if c.closed {
		return 0, syscall.EBADF
	}
	n, _, errno := syscall.Syscall6(callExchange, c.fd, uintptr(unsafe.Pointer(unsafe.SliceData(batch))), uintptr(len(batch)),
		uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(len(buf)), 0)
	return int(n), errno
}

// ask counts n more requests without a response.
func (c *Channel) ask(n int) error {
	if c.unanswered.Add(int64(n)) > wire.MaxInFlight {
		c.unanswered.Add(int64(-n))
		return ErrInFlight
	}
	return nil
}

// Close closes the channel. A Ring, Wait or Exchange in progress ends with
// os.ErrClosed, and so do later ones.
func (c *Channel) Close() error {
	c.using.Lock()
	defer c.using.Unlock()
	c.closed = true
	return c.f.Close()
}

func channelError(err error) error {
	switch {
	case errors.Is(err, syscall.EIO):
		return ErrChannelEnded
	case errors.Is(err, syscall.EBADF):
		return os.ErrClosed
	case errors.Is(err, syscall.EMSGSIZE):
		return errors.New("the channel to the host: the batch is larger than its ring, or the buffer too small for a response's header")
	}
	return err
}
