package sgxs

import (
	"fmt"
	"io"

	"github.com/enclaveos/eos/pkg/sgx"
)

// order is the state of the canonical-form check.
type order struct {
	lenient bool   // repeats of chunks other than the first pass
	created bool   // ECREATE or UNSIZED seen
	added   bool   // an EADD seen
	page    uint64 // offset of the last EADD
	seen    uint16 // chunks of that page, bit 0 is the first
}

// check takes one more record. If the record may not stand here, what says why
// and the state is unchanged.
func (o *order) check(rec *Record) (what string, err error) {
	switch rec.Kind {
	case KindECreate, KindUnsized:
		if o.created {
			return rec.Kind.String() + " again: only the first record may be one", ErrNotCanonical
		}
		o.created = true
		return "", nil
	}
	if !o.created {
		return rec.Kind.String() + " before ECREATE", ErrNotCanonical
	}
	if rec.Kind == KindEAdd {
		switch {
		case rec.Offset%sgx.PageSize != 0:
			return fmt.Sprintf("EADD offset %#x is not page aligned", rec.Offset), ErrPageOffset
		case o.added && rec.Offset <= o.page:
			return fmt.Sprintf("EADD offset %#x is not above that of the page before, %#x", rec.Offset, o.page), ErrNotCanonical
		case rec.Flags.PageType() == sgx.PageTCS && rec.Flags&sgx.SecInfoPerm != 0:
			return fmt.Sprintf("TCS page at %#x has permissions %s, want none", rec.Offset, rec.Flags.Perm()), ErrNotCanonical
		}
		o.added, o.page, o.seen = true, rec.Offset, 0
		return "", nil
	}
	chunk := (rec.Offset - o.page) / sgx.ChunkSize
	switch {
	case rec.Offset%sgx.ChunkSize != 0:
		return fmt.Sprintf("%v offset %#x is not a multiple of %d", rec.Kind, rec.Offset, sgx.ChunkSize), ErrNotCanonical
	case !o.added:
		return rec.Kind.String() + " before the first EADD", ErrNotCanonical
	case rec.Offset < o.page || chunk >= sgx.ChunksPerPage:
		return fmt.Sprintf("%v offset %#x is outside the page at %#x", rec.Kind, rec.Offset, o.page), ErrNotCanonical
	case o.seen>>chunk&1 != 0 && (chunk == 0 || !o.lenient):
		return fmt.Sprintf("%v offset %#x: the page has that chunk already", rec.Kind, rec.Offset), ErrNotCanonical
	}
	o.seen |= 1 << chunk
	return "", nil
}

// CanonicalReader reads the records of a canonical stream.
type CanonicalReader struct {
	raw   *Reader
	order order
	err   error
}

// NewCanonicalReader returns a reader that refuses every stream that is not
// canonical, an empty one too. What it accepts has one encoding only: writing
// its records again gives the same bytes.
func NewCanonicalReader(src io.Reader) *CanonicalReader {
	return &CanonicalReader{raw: NewReader(src)}
}

// NewLenientReader returns a reader that asks for no more than the Fortanix
// tools do: chunks 1 to 15 of a page may repeat, reserved bytes may hold
// anything, and the stream may be empty.
func NewLenientReader(src io.Reader) *CanonicalReader {
	return &CanonicalReader{raw: NewReader(src), order: order{lenient: true}}
}

// Next returns the next record. At the end of the stream it returns io.EOF; an
// error is final.
func (c *CanonicalReader) Next() (rec Record, err error) {
	if err = c.next(&rec); err != nil {
		rec = Record{}
	}
	return rec, err
}

// next is Next without copies of the Record.
func (c *CanonicalReader) next(rec *Record) error {
	if c.err != nil {
		return c.err
	}
	if err := c.raw.next(rec); err != nil {
		if err == io.EOF && !c.order.created && !c.order.lenient {
			err = &FormatError{1, 0, "stream is empty, want ECREATE", ErrNotCanonical}
		}
		c.err = err
		return err
	}
	what, _ := c.order.check(rec)
	if what == "" && c.raw.junk != 0 && !c.order.lenient {
		b := c.raw.buf[c.raw.pos-c.raw.base:]
		what = fmt.Sprintf("%v: reserved header byte %d is %#02x, want 0", rec.Kind, c.raw.junk, b[c.raw.junk])
	}
	if what != "" {
		c.err = c.fault(ErrNotCanonical, what)
	}
	return c.err
}

// Pos returns the offset in the stream of the record last returned.
func (c *CanonicalReader) Pos() int64 { return c.raw.pos }

// Number returns the number of the record last returned. The first record is
// number 1.
func (c *CanonicalReader) Number() int64 { return c.raw.n }

// fault makes the record last returned the one at fault.
func (c *CanonicalReader) fault(err error, what string) error {
	return &FormatError{c.raw.n, c.raw.pos, what, err}
}
