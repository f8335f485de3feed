package sgxs

import (
	"errors"
	"fmt"
)

// What a FormatError can wrap, besides io.ErrUnexpectedEOF for a stream that
// ends inside a record.
var (
	ErrTag          = errors.New("unknown record")
	ErrNotCanonical = errors.New("stream is not canonical")
	ErrPageOffset   = errors.New("offset is not a multiple of the page size")
	ErrUnsized      = errors.New("stream is unsized: append to it to fix its size")
)

// FormatError says where and why a stream is wrong.
type FormatError struct {
	Record int64 // number of the record; the first is 1
	Off    int64 // its offset in the stream, bytes
	What   string
	Err    error // one of the errors above
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("sgxs: record %d at %#x: %s", e.Record, e.Off, e.What)
}

// Unwrap returns e.Err.
func (e *FormatError) Unwrap() error { return e.Err }
