package sgxs

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"github.com/enclaveos/eos/pkg/sgx"
)

// Measure returns MRENCLAVE of the stream src, which must be canonical and
// sized. Reading and hashing overlap.
func Measure(src io.Reader) (sgx.Measurement, error) {
	c := NewCanonicalReader(src)
	return measure(c, c.raw, &c.order)
}

// MeasureRaw returns the hash of whatever ECREATE, EADD and EEXTEND records
// src holds, in whatever order, as the Fortanix signing tool does: the stream
// need not be canonical and may be empty. It must not be unsized.
func MeasureRaw(src io.Reader) (sgx.Measurement, error) {
	r := NewReader(src)
	return measure(r, r, nil)
}

// measure hashes the records that rr returns straight from the buffer of raw,
// which is the Reader below rr, in runs as long as they can be. The runs of
// one buffer are hashed while the next ones are filled and checked.
func measure(rr RecordReader, raw *Reader, o *order) (m sgx.Measurement, err error) {
	h := newHasher(writeSize)
	defer h.wait()
	raw.buf = make([]byte, writeSize)
	start := -1 // of the run being gathered, in raw.buf
	endRun := func(end int) {
		if start >= 0 {
			h.runs = append(h.runs, raw.buf[start:end])
			start = -1
		}
	}
	raw.spill = func() []byte {
		endRun(raw.r)
		return h.swap(raw.buf)
	}
	for {
		rec, err := rr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return m, err
		}
		at := raw.r - HeaderSize - len(rec.Data)
		switch {
		case rec.Kind == KindUnsized:
			return m, &FormatError{raw.n, raw.pos, ErrUnsized.Error(), ErrUnsized}
		case rec.Kind == KindUnmeasured:
			endRun(at)
		case raw.junk != 0:
			endRun(at)
			clean := make([]byte, HeaderSize)
			rec.putHeader(clean)
			h.runs = append(h.runs, clean)
			start = at + HeaderSize
		case start < 0:
			start = at
		}
		if start >= 0 {
			raw.skipChunks(o)
		}
	}
	endRun(raw.r)
	return h.sum(), nil
}

// skipChunks goes over EEXTEND records that are in the buffer and beyond
// question: those that o, if not nil, admits and whose reserved bytes are zero.
// It stops before any other record, for Next to look at. Nearly all bytes of
// an image are such records, and hashing leaves little time for each.
func (r *Reader) skipChunks(o *order) {
	for r.w-r.r >= chunkSize {
		h := r.buf[r.r : r.r+HeaderSize]
		if le.Uint64(h) != tagEExtend || le.Uint64(h[16:])|le.Uint64(h[24:])|le.Uint64(h[32:])|
			le.Uint64(h[40:])|le.Uint64(h[48:])|le.Uint64(h[56:]) != 0 {
			return
		}
		if o != nil {
			in := le.Uint64(h[8:]) - o.page
			bit := uint16(1) << (in / sgx.ChunkSize)
			if !o.added || in >= sgx.PageSize || in%sgx.ChunkSize != 0 || o.seen&bit != 0 {
				return
			}
			o.seen |= bit
		}
		r.n++
		r.r += chunkSize
	}
}

// Measurer computes MRENCLAVE of records that come from anywhere. It does not
// look at their order.
type Measurer struct {
	h       hash.Hash
	unsized bool
	header  [HeaderSize]byte
}

// NewMeasurer returns a Measurer that has seen no record.
func NewMeasurer() *Measurer { return &Measurer{h: sha256.New()} }

// Write takes one more record.
func (m *Measurer) Write(rec Record) error {
	if what := rec.fault(); what != "" {
		return fmt.Errorf("sgxs: %s", what)
	}
	switch rec.Kind {
	case KindUnsized:
		m.unsized = true
	case KindECreate, KindEAdd, KindEExtend:
		rec.putHeader(m.header[:])
		m.h.Write(m.header[:])
		m.h.Write(rec.Data)
	}
	return nil
}

// Sum returns the measurement of the records so far. It fails with ErrUnsized
// if one of them was UNSIZED.
func (m *Measurer) Sum() (sgx.Measurement, error) {
	var v sgx.Measurement
	if m.unsized {
		return v, fmt.Errorf("sgxs: %w", ErrUnsized)
	}
	m.h.Sum(v[:0])
	return v, nil
}
