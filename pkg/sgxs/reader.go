package sgxs

import (
	"fmt"
	"io"
)

// readSize is how much a Reader asks of its source at once. Larger reads are
// no faster, and two such buffers still fit a second-level cache.
const readSize = 256 << 10

// firstRead is the first: many want no more than the head of an image.
const firstRead = 8 << 10

// Reader reads records as they are: in any order, reserved bytes ignored. Its
// buffer is the only memory it uses.
type Reader struct {
	src  io.Reader
	buf  []byte
	r, w int   // buf[r:w] has been read from src but not returned
	base int64 // offset of buf[0] in the stream
	pos  int64 // offset of the record last returned
	n    int64 // number of the record last returned
	junk int   // index of its first nonzero reserved byte, 0 if none
	err  error

	// spill, if set, is called before the bytes buf[:r] are given up. It
	// returns the buffer to go on with, of the same length; buf[r:w] is then
	// copied to its start.
	spill func() []byte
}

// NewReader returns a Reader of src. It buffers: it may read more than the
// records it returns.
func NewReader(src io.Reader) *Reader {
	return &Reader{src: src, buf: make([]byte, firstRead)}
}

// Next returns the next record. At the end of the stream it returns io.EOF; an
// error is final.
func (r *Reader) Next() (rec Record, err error) {
	err = r.next(&rec)
	return rec, err
}

// next is Next without copies of the Record.
func (r *Reader) next(rec *Record) error {
	if r.w-r.r < HeaderSize && !r.fill(HeaderSize) {
		return r.err
	}
	junk, ok := rec.parseHeader(r.buf[r.r:r.w])
	if !ok {
		tag := TagError(le.Uint64(r.buf[r.r:]))
		return r.fail(tag, fmt.Sprintf("%v (%q)", tag, r.buf[r.r:r.r+8]))
	}
	size := HeaderSize
	if rec.Kind.hasData() {
		size = chunkSize
		if r.w-r.r < size && !r.fill(size) {
			*rec = Record{}
			return r.err
		}
		rec.Data = r.buf[r.r+HeaderSize : r.r+size : r.r+size]
	}
	r.pos = r.base + int64(r.r)
	r.n++
	r.junk = junk
	r.r += size
	return nil
}

// Pos returns the offset in the stream of the record last returned.
func (r *Reader) Pos() int64 { return r.pos }

// Number returns the number of the record last returned. The first record is
// number 1.
func (r *Reader) Number() int64 { return r.n }

// fail makes the record that starts at r.r the one at fault.
func (r *Reader) fail(err error, what string) error {
	r.err = &FormatError{r.n + 1, r.base + int64(r.r), what, err}
	r.w = r.r
	return r.err
}

// fill reads until n unread bytes are in the buffer; false, with r.err set, if
// there are not so many.
func (r *Reader) fill(n int) bool {
	if r.err != nil {
		return false
	}
	if len(r.buf)-r.r < n {
		next := r.buf
		switch {
		case r.spill != nil:
			next = r.spill()
		case len(next) < readSize:
			next = make([]byte, readSize)
		}
		r.w = copy(next, r.buf[r.r:r.w])
		r.base += int64(r.r)
		r.r = 0
		r.buf = next
	}
	for idle := 0; r.w-r.r < n; {
		k, err := r.src.Read(r.buf[r.w:])
		r.w += k
		if k == 0 && err == nil {
			if idle++; idle == 100 {
				err = io.ErrNoProgress
			}
		}
		if r.w-r.r >= n || err == nil {
			continue // an error that stays will be met again
		}
		switch {
		case err != io.EOF:
			r.w = r.r
			r.err = fmt.Errorf("sgxs: reading record %d at %#x: %w", r.n+1, r.base+int64(r.r), err)
		case r.w == r.r:
			r.err = io.EOF
		default:
			r.fail(io.ErrUnexpectedEOF, fmt.Sprintf("stream ends after %d bytes of the record's %d", r.w-r.r, n))
		}
		return false
	}
	return true
}
