package goenclave

import (
	"io"
	"time"

	"github.com/enclaveos/eos/pkg/channel"
	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runner/dispatch"
)

// Options says what a program has outside. The zero value is a program without
// arguments and network, whose stdin is at its end and whose output is thrown away.
type Options struct {
	// Args are the program's os.Args, its name first. The enclave must not trust
	// them.
	Args []string

	// Stdin, Stdout and Stderr are the program's. They are not closed. Each is
	// used by one goroutine at a time, unless two of them are the same value. A
	// Read in progress when the program ends is left behind, and takes what comes
	// next.
	Stdin          io.Reader
	Stdout, Stderr io.Writer

	// Data is the network; nil is none. It is closed at the end.
	Data DataPlane

	// Handle are the handlers of the program's requests (package rpc inside).
	Handle map[wire.Method]dispatch.Handler

	// Symbolize names an address in the enclave for error messages, or returns "".
	Symbolize func(addr uint64) string

	// Grace is how long a program that is asked to end may take. Zero is 5 s.
	Grace time.Duration
}

const defaultGrace = 5 * time.Second

// DataPlane is the host's side of the data ring pair: it moves bytes between
// sockets and rings, on the thread that calls it.
type DataPlane interface {
	// Rings returns the memory of the ring from the enclave and of that to it.
	// Both have the same capacity.
	Rings() (e2h, h2e *channel.Memory)
	// Flush takes what is in the ring from the enclave and gives it to the
	// sockets, as far as they take it. It does not wait. Several threads may call
	// it at once. It reports whether there are answers in the ring to the enclave;
	// a Poll in progress has then been ended.
	Flush() (more bool)
	// Poll does Flush, and waits until there is something in the ring to the
	// enclave, until Interrupt, or for d, unless d is negative. One thread at a
	// time calls it.
	Poll(d time.Duration)
	// Interrupt makes the Poll in progress, or else the next one, return.
	Interrupt()
	// Err returns why no more bytes are moved: how the enclave broke the rules of
	// the channel. It is nil as long as all is well.
	Err() error
	// Close ends all connections, after the bytes that the enclave has sent have
	// been given to the sockets, or the grace time is over.
	Close(grace time.Duration) error
}
