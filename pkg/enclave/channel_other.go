//go:build !linux || !amd64

package enclave

import "context"

// Channel is the program's end of the RPC rings. There is none on this system.
type Channel struct{}

// OpenChannel returns ErrNotEnclave on this system.
func OpenChannel() (*Channel, error) { return nil, ErrNotEnclave }

// Ring returns ErrNotEnclave on this system.
func (*Channel) Ring([]byte) error { return ErrNotEnclave }

// Wait returns ErrNotEnclave on this system.
func (*Channel) Wait(context.Context, []byte) ([]byte, error) { return nil, ErrNotEnclave }

// Exchange returns ErrNotEnclave on this system.
func (*Channel) Exchange(_, _ []byte) (int, error) { return 0, ErrNotEnclave }

// Close returns ErrNotEnclave on this system.
func (*Channel) Close() error { return ErrNotEnclave }
