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
	return measure(c, c.raw)
}

// MeasureRaw returns the hash of whatever ECREATE, EADD and EEXTEND records
// src holds, in whatever order, as the Fortanix signing tool does: the stream
// need not be canonical and may be empty. It must not be unsized.
func MeasureRaw(src io.Reader) (sgx.Measurement, error) {
	r := NewReader(src)
	return measure(r, r)
}

// measure hashes the records that rr returns straight from the buffer of raw,
// which is the Reader below rr, in runs as long as they can be. The runs of
// one buffer are hashed by another goroutine while the next one is filled and
// checked.
func measure(rr RecordReader, raw *Reader) (m sgx.Measurement, err error) {
	h := runHasher{Hash: sha256.New()}
	spare := make([]byte, len(raw.buf))
	start := -1 // of the run being gathered, in raw.buf
	endRun := func(end int) {
		if start >= 0 {
			h.runs = append(h.runs, raw.buf[start:end])
			start = -1
		}
	}
	raw.spill = func() []byte {
		endRun(raw.r)
		h.wait()
		h.start()
		next := spare
		spare = raw.buf
		return next
	}
	defer h.wait()
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
	}
	endRun(raw.r)
	h.wait()
	h.start()
	h.wait()
	h.Sum(m[:0])
	return m, nil
}

// runHasher hashes a list of byte runs in the background.
type runHasher struct {
	hash.Hash
	runs [][]byte // to be hashed by start
	busy chan struct{}
}

// start hashes runs and empties the list. The bytes must stay as they are
// until wait returns.
func (h *runHasher) start() {
	if len(h.runs) == 0 {
		return
	}
	h.busy = make(chan struct{})
	go func(runs [][]byte, done chan<- struct{}) {
		for _, b := range runs {
			h.Write(b)
		}
		close(done)
	}(h.runs, h.busy)
	h.runs = nil
}

// wait returns when nothing is being hashed.
func (h *runHasher) wait() {
	if h.busy != nil {
		<-h.busy
		h.busy = nil
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
