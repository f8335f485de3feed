package sgxs

import (
	"errors"
	"fmt"
	"io"

	"github.com/enclaveos/eos/pkg/sgx"
)

// writeSize is how much a Writer hands to its destination at once.
const writeSize = 512 << 10

// pageRecords is the size in bytes of a page with all its chunks.
const pageRecords = HeaderSize + sgx.ChunksPerPage*chunkSize

// Writer writes a canonical stream and refuses any record that would make it
// another. An error is final: all later calls return it.
type Writer struct {
	dst     io.Writer
	buf     []byte
	order   order
	n, off  int64 // number and offset of the next record
	unsized bool
	err     error

	hash  *hasher // nil unless MeasureAlso was called
	start int     // of the run being gathered, in buf; -1 if there is none
}

// NewWriter returns a Writer to dst. It buffers: call Flush at the end.
func NewWriter(dst io.Writer) *Writer {
	return &Writer{dst: dst, buf: make([]byte, 0, writeSize), n: 1, start: -1}
}

// MeasureAlso makes the Writer hash what it writes, which MREnclave wants. It
// must be called before the first record. Hashing and writing overlap.
func (w *Writer) MeasureAlso() {
	if w.n != 1 && w.err == nil {
		w.fail(errors.New("sgxs: MeasureAlso after the first record"))
	}
	w.hash = newHasher(writeSize)
}

// Create writes ECREATE for an enclave of size bytes whose SSA frames have
// ssaFrameSize pages.
func (w *Writer) Create(ssaFrameSize uint32, size uint64) error {
	return w.Write(Record{Kind: KindECreate, SSAFrameSize: ssaFrameSize, Size: size})
}

// CreateUnsized writes UNSIZED. Whoever fixes the size will store it, eight
// bytes, at sizeOffset in the enclave.
func (w *Writer) CreateUnsized(ssaFrameSize uint32, sizeOffset uint64) error {
	return w.Write(Record{Kind: KindUnsized, SSAFrameSize: ssaFrameSize, SizeOffset: sizeOffset})
}

// Page writes a page. A nil data makes it a bare EADD, whose content is zero
// and not measured. Otherwise data, at most sgx.PageSize bytes, is extended by
// zeros and all of it is measured.
func (w *Writer) Page(off uint64, flags sgx.SecInfoFlags, data []byte) error {
	rec := Record{Kind: KindEAdd, Offset: off, Flags: flags}
	if data == nil {
		return w.Write(rec)
	}
	if len(data) > sgx.PageSize && w.err == nil {
		return w.fail(fmt.Errorf("sgxs: page at %#x: %d bytes of data, want at most %d", off, len(data), sgx.PageSize))
	}
	if !w.admit(&rec, pageRecords) {
		return w.err
	}
	b := w.extend(pageRecords)
	rec.putHeader(b)
	rec = Record{Kind: KindEExtend, Offset: off}
	for b = b[HeaderSize:]; len(b) != 0; b = b[chunkSize:] {
		rec.putHeader(b)
		n := copy(b[HeaderSize:chunkSize], data)
		clear(b[HeaderSize+n : chunkSize])
		data = data[n:]
		rec.Offset += sgx.ChunkSize
	}
	w.order.seen = 1<<sgx.ChunksPerPage - 1
	w.n += 1 + sgx.ChunksPerPage
	return nil
}

// Write writes one record.
func (w *Writer) Write(rec Record) error {
	if what := rec.fault(); what != "" && w.err == nil {
		return w.fail(fmt.Errorf("sgxs: record %d: %s", w.n, what))
	}
	size := HeaderSize + len(rec.Data)
	if !w.admit(&rec, size) {
		return w.err
	}
	var b []byte
	if rec.Kind == KindUnmeasured {
		w.endRun()
		b = w.grow(size)
	} else {
		b = w.extend(size)
	}
	rec.putHeader(b)
	copy(b[HeaderSize:], rec.Data)
	w.unsized = w.unsized || rec.Kind == KindUnsized
	w.n++
	return nil
}

// Flush writes what is buffered.
func (w *Writer) Flush() error {
	if w.err != nil || len(w.buf) == 0 {
		return w.err
	}
	w.endRun()
	n, err := w.dst.Write(w.buf)
	if err == nil && n < len(w.buf) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return w.fail(err)
	}
	if w.hash != nil {
		w.buf = w.hash.swap(w.buf)
	}
	w.buf = w.buf[:0]
	return nil
}

// MREnclave flushes and returns the measurement of all that was written. It
// fails with ErrUnsized for an unsized stream.
func (w *Writer) MREnclave() (m sgx.Measurement, err error) {
	if err = w.Flush(); err != nil {
		return m, err
	}
	switch {
	case w.hash == nil:
		return m, errors.New("sgxs: MREnclave of a Writer that was not told to measure")
	case !w.order.created:
		return m, errors.New("sgxs: MREnclave of an empty stream")
	case w.unsized:
		return m, fmt.Errorf("sgxs: %w", ErrUnsized)
	}
	return w.hash.sum(), nil
}

// admit checks the order and makes room for size bytes.
func (w *Writer) admit(rec *Record, size int) bool {
	if w.err != nil {
		return false
	}
	if what, err := w.order.check(rec); what != "" {
		w.fail(&FormatError{w.n, w.off, what, err})
		return false
	}
	if len(w.buf)+size > cap(w.buf) && w.Flush() != nil {
		return false
	}
	w.off += int64(size)
	return true
}

// extend returns the next size bytes of the buffer as part of a hashed run.
func (w *Writer) extend(size int) []byte {
	if w.start < 0 {
		w.start = len(w.buf)
	}
	return w.grow(size)
}

func (w *Writer) grow(size int) []byte {
	n := len(w.buf)
	w.buf = w.buf[:n+size]
	return w.buf[n:]
}

func (w *Writer) endRun() {
	if w.hash != nil && w.start >= 0 {
		w.hash.runs = append(w.hash.runs, w.buf[w.start:])
	}
	w.start = -1
}

func (w *Writer) fail(err error) error {
	w.err = err
	return err
}
