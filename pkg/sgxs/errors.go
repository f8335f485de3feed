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
	Err    error // one of the errors above, or a TagError
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("sgxs: record %d at %#x: %s", e.Record, e.Off, e.What)
}

// Unwrap returns e.Err.
func (e *FormatError) Unwrap() error { return e.Err }

// TagError is the ErrTag of a record that starts with these eight bytes.
type TagError uint64

func (e TagError) Error() string { return fmt.Sprintf("unknown tag %016x", uint64(e)) }

// Is makes a TagError an ErrTag.
func (e TagError) Is(err error) bool { return err == ErrTag }
