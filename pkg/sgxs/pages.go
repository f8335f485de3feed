package sgxs

import (
	"io"

	"github.com/enclaveos/eos/pkg/sgx"
)

// Page is a page of an image with all its chunks.
type Page struct {
	Offset   uint64
	Flags    sgx.SecInfoFlags
	Data     []byte  // sgx.PageSize bytes, zero where no chunk is
	Present  uint16  // chunks that are in the stream; bit 0 is the first
	Measured uint16  // those of them that are measured
	Order    []uint8 // the measured chunks, as they follow each other in the stream
	Chunks   []uint8 // all chunks, as they follow each other in the stream
	Record   int64   // number of the EADD record; those of the chunks follow
	Pos      int64   // its offset in the stream; likewise
}

// PageReader reads a stream page by page.
type PageReader struct {
	r         *CanonicalReader
	header    Record
	headerErr error
	next      Record // the EADD that Next will return
	more      bool   // next is valid
	started   bool
	page      Page
	buf       [sgx.PageSize]byte
	err       error
}

// NewPageReader returns a PageReader of the canonical stream src.
func NewPageReader(src io.Reader) *PageReader {
	return &PageReader{r: NewCanonicalReader(src)}
}

// NewLenientPageReader returns a PageReader that accepts what NewLenientReader
// accepts, but no empty stream. Of a chunk that repeats, the last one's data
// counts, and it is measured if one of them is; Order and Chunks have the first.
func NewLenientPageReader(src io.Reader) *PageReader {
	return &PageReader{r: NewLenientReader(src)}
}

// Header returns the first record, ECREATE or UNSIZED. It may be called at any
// time.
func (p *PageReader) Header() (Record, error) {
	if !p.started {
		p.started = true
		p.page.Data = p.buf[:]
		p.err = p.r.next(&p.header)
		switch p.err {
		case nil:
			p.advance()
		case io.EOF:
			p.err = &FormatError{1, 0, "stream is empty, want ECREATE", ErrNotCanonical}
			fallthrough
		default:
			p.headerErr = p.err
		}
	}
	return p.header, p.headerErr
}

// advance reads the record that follows and expects it to be an EADD.
func (p *PageReader) advance() {
	p.err = p.r.next(&p.next)
	p.more = p.err == nil
}

// Next returns the next page. It and its slices are valid until the next call
// of Next. At the end of the stream it returns io.EOF; an error is final.
func (p *PageReader) Next() (*Page, error) {
	if !p.started || !p.more {
		if _, err := p.Header(); err != nil {
			return nil, err
		}
		if !p.more {
			return nil, p.err
		}
	}
	// Field by field: an image has tens of thousands of pages that have nothing but
	// an EADD.
	p.page.Offset, p.page.Flags = p.next.Offset, p.next.Flags
	p.page.Record, p.page.Pos = p.r.Number(), p.r.Pos()
	if p.page.Present != 0 {
		clear(p.buf[:])
		p.page.Present, p.page.Measured = 0, 0
		p.page.Order, p.page.Chunks = p.page.Order[:0], p.page.Chunks[:0]
	}
	for {
		if p.advance(); !p.more {
			if p.err == io.EOF {
				return &p.page, nil
			}
			return nil, p.err
		}
		if p.next.Kind == KindEAdd {
			return &p.page, nil
		}
		at := int(p.next.Offset % sgx.PageSize)
		copy(p.buf[at:], p.next.Data)
		chunk := uint8(at / sgx.ChunkSize)
		if p.page.Present>>chunk&1 == 0 {
			p.page.Present |= 1 << chunk
			p.page.Chunks = append(p.page.Chunks, chunk)
		}
		if p.next.Kind == KindEExtend && p.page.Measured>>chunk&1 == 0 {
			p.page.Measured |= 1 << chunk
			p.page.Order = append(p.page.Order, chunk)
		}
	}
}
