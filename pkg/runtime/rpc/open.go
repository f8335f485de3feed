package rpc

import (
	"context"
	"errors"
	"fmt"

	"github.com/enclaveos/eos/pkg/enclave"
)

// Open opens the program's channel to its host. There is one: a second Open before
// Close fails. Outside an enclave the error is enclave.ErrNotEnclave.
func Open() (*Client, error) {
	c, err := enclave.OpenChannel()
	if errors.Is(err, enclave.ErrNotEnclave) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("rpc: %w", err)
	}
	return start(device{c}), nil
}

// device is the carrier inside an enclave.
type device struct{ c *enclave.Channel }

func (d device) exchange(requests, buf []byte) (int, error) {
	n, err := d.c.Exchange(requests, buf)
	return n, failure(err)
}

// batch is a fraction of the ring.
func (d device) batch() int { return 64 << 10 }

// poll leaves a response that is larger than buf to receive.
func (d device) poll(buf []byte) (int, error) { return d.exchange(nil, buf) }

func (d device) receive(buf []byte) ([]byte, error) {
	b, err := d.c.Wait(context.Background(), buf)
	return b, failure(err)
}

func (d device) close() error { return d.c.Close() }

// failure names the kernel's answer, which has said on stderr what the host did.
func failure(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, enclave.ErrChannelEnded):
		return &ProtocolError{"its ring has ended"}
	}
	return fmt.Errorf("rpc: %w", err)
}
