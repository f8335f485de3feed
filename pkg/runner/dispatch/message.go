package dispatch

import "fmt"

// maxRead bounds what one StdioRead gets.
const maxRead = 64 << 10

// A ProtocolError says how the enclave broke the rules of the RPC channel. It
// wraps a channel.Status or a wire.Fault, if it was one of those.
type ProtocolError struct{ Err error }

func (e *ProtocolError) Error() string { return "the enclave broke the RPC channel: " + e.Err.Error() }

// Unwrap returns Err.
func (e *ProtocolError) Unwrap() error { return e.Err }

func broken(format string, a ...any) error { return &ProtocolError{fmt.Errorf(format, a...)} }
