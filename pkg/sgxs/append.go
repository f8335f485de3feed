package sgxs

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/enclaveos/eos/pkg/sgx"
)

// Why a stream cannot be appended to.
var (
	ErrSized      = errors.New("stream is sized: only an unsized one can be appended to")
	ErrEmpty      = errors.New("stream is empty")
	ErrSizeOffset = errors.New("size offset is not a multiple of 8")
	ErrNoPages    = errors.New("stream has no pages")
	ErrNoSizeData = errors.New("no EEXTEND record covers the size offset")
	ErrUnmeasured = errors.New("stream has UNMEASRD records")
)

// Part is data to be appended, an alignment, or both.
type Part struct {
	Name     string           // for errors
	Align    uint64           // if not zero: round the address up to it first; a power of two
	Perm     sgx.SecInfoFlags // of SecInfoR, SecInfoW and SecInfoX
	Measured bool
	Data     io.Reader // exactly Size bytes; nil if the part only aligns
	Size     int64
}

// Appended says what Append made.
type Appended struct {
	Size   uint64   // of the enclave: what ECREATE says
	Placed []uint64 // the offset in the enclave of each part's data; for parts without data, of what follows
}

// Appender turns an unsized stream into a sized one with further data:
//
//	a, err := sgxs.NewAppender(file)
//	done, err := a.Append(out, []sgxs.Part{
//		{Name: "app.wasm", Perm: sgx.SecInfoR, Measured: true, Data: f, Size: n},
//	})
//
// Data goes behind the last page, whole pages of it with type REG. A part
// starts where the one before ends if both have the same permissions and
// measuring, at the next chunk if only the measuring differs, and at the next
// page otherwise. A chunk that a part touches is filled with zeros; a chunk
// that none touches is absent. Then the enclave's size, the smallest power of
// two that holds all, goes to the header and, eight bytes, to the place in the
// image that UNSIZED names, so that MRENCLAVE covers it.
type Appender struct {
	base     io.ReadSeeker
	fortanix bool
	ssa      uint32
	sizePos  int64  // of the eight size bytes in the stream
	length   int64  // of the stream
	last     uint64 // offset of the last page
}

// NewAppender reads base once, from its start, and checks it: canonical,
// unsized, at least one page, a measured chunk where the size belongs. The
// errors are a FormatError or wrap one of the above. Append reads base again.
func NewAppender(base io.ReadSeeker) (*Appender, error) {
	return newAppender(base, false)
}

// NewFortanixAppender is NewAppender with the ways of the Fortanix tool
// sgxs-append, for the same bytes from the same input: base is read as by
// NewLenientReader but may hold no UNMEASRD records; alignments that are no
// power of two round as they do there; and a page that is not full when
// permissions change gets those of the part that follows.
func NewFortanixAppender(base io.ReadSeeker) (*Appender, error) {
	return newAppender(base, true)
}

func newAppender(base io.ReadSeeker, fortanix bool) (*Appender, error) {
	if _, err := base.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	r := NewCanonicalReader(base)
	r.order.lenient = fortanix
	first, err := r.Next()
	switch {
	case err == io.EOF:
		return nil, fmt.Errorf("sgxs: %w", ErrEmpty)
	case err != nil:
		return nil, err
	case first.Kind == KindECreate:
		return nil, r.fault(ErrSized, ErrSized.Error())
	case first.SizeOffset%8 != 0:
		return nil, r.fault(ErrSizeOffset, fmt.Sprintf("%v: %#x", ErrSizeOffset, first.SizeOffset))
	}
	a := &Appender{base: base, fortanix: fortanix, ssa: first.SSAFrameSize}
	pages := false
	for {
		rec, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		switch {
		case rec.Kind == KindEAdd:
			pages, a.last = true, rec.Offset
		case rec.Kind == KindUnmeasured && fortanix:
			return nil, r.fault(ErrUnmeasured, ErrUnmeasured.Error())
		case rec.Kind == KindEExtend && rec.Offset == first.SizeOffset&^(sgx.ChunkSize-1):
			a.sizePos = r.Pos() + HeaderSize + int64(first.SizeOffset%sgx.ChunkSize)
		}
	}
	a.length = r.raw.base + int64(r.raw.r)
	switch {
	case !pages:
		return nil, fmt.Errorf("sgxs: %w", ErrNoPages)
	case a.sizePos == 0:
		return nil, fmt.Errorf("sgxs: %w (%#x)", ErrNoSizeData, first.SizeOffset)
	}
	return a, nil
}

// Append writes the sized stream to dst, from the start; dst must not be the
// base. Nothing is written if the parts do not fit.
func (a *Appender) Append(dst io.Writer, parts []Part) (*Appended, error) {
	p := placer{page: a.last, fortanix: a.fortanix}
	done := new(Appended)
	end, err := p.place(parts, &done.Placed)
	if err != nil {
		return nil, err
	}
	if done.Size = SizeFitNatural(end); done.Size == 0 {
		return nil, fmt.Errorf("sgxs: enclave of %#x bytes is too large", end)
	}

	rec := Record{Kind: KindECreate, SSAFrameSize: a.ssa, Size: done.Size}
	head, err := rec.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	var size [8]byte
	le.PutUint64(size[:], done.Size)
	if _, err := dst.Write(head); err != nil {
		return nil, err
	}
	if err := a.copyBase(dst, HeaderSize, a.sizePos); err != nil {
		return nil, err
	}
	if _, err := dst.Write(size[:]); err != nil {
		return nil, err
	}
	if err := a.copyBase(dst, a.sizePos+8, a.length); err != nil {
		return nil, err
	}

	p = placer{page: a.last, fortanix: a.fortanix, in: bufio.NewReaderSize(nil, readSize), out: NewWriter(dst)}
	p.out.order = order{created: true, added: true, page: a.last}
	p.out.off = a.length
	if _, err := p.place(parts, nil); err != nil {
		return nil, err
	}
	if err := p.out.Flush(); err != nil {
		return nil, err
	}
	return done, nil
}

// copyBase copies bytes from..to of the base.
func (a *Appender) copyBase(dst io.Writer, from, to int64) error {
	if _, err := a.base.Seek(from, io.SeekStart); err != nil {
		return err
	}
	// Without the ReadFrom of files, which would copy in small pieces.
	n, err := io.CopyBuffer(struct{ io.Writer }{dst}, io.LimitReader(a.base, to-from), make([]byte, min(readSize, to-from+1)))
	if err == nil && n < to-from {
		err = fmt.Errorf("sgxs: stream changed while it was read: it ends at %#x, not %#x", from+n, a.length)
	}
	return err
}

// placer walks over parts as they will lie in memory; with in and out set it
// reads and writes them, too.
type placer struct {
	page     uint64 // first the last page of the base, then the page being filled
	fortanix bool
	in       *bufio.Reader
	out      *Writer

	data     [sgx.PageSize]byte
	perm     sgx.SecInfoFlags // of the page being filled
	present  uint16           // its chunks
	measured uint16
}

// place returns the end of the last page.
func (p *placer) place(parts []Part, placed *[]uint64) (end uint64, err error) {
	p.page += sgx.PageSize
	cur := p.page
	if cur == 0 {
		return 0, errors.New("sgxs: no room behind the last page")
	}
	var last *Part
	for i := range parts {
		part := &parts[i]
		align := part.Align
		switch {
		case align == 0:
			align = 1
		case align&(align-1) != 0 && !p.fortanix:
			return 0, fmt.Errorf("sgxs: %s: alignment %d is not a power of two", part.Name, align)
		}
		if cur, err = alignUp(cur, align); err != nil {
			return 0, fmt.Errorf("sgxs: %s: %w", part.Name, err)
		}
		if part.Data == nil {
			if placed != nil {
				*placed = append(*placed, cur)
			}
			continue
		}
		if part.Perm&^sgx.SecInfoPerm != 0 || part.Size < 0 {
			return 0, fmt.Errorf("sgxs: %s: no such permissions or size: %#x, %d", part.Name, uint64(part.Perm), part.Size)
		}
		switch {
		case last == nil || last.Perm != part.Perm:
			align = sgx.PageSize
		case last.Measured != part.Measured:
			align = sgx.ChunkSize
		default:
			align = 1
		}
		if cur, err = alignUp(cur, align); err != nil {
			return 0, fmt.Errorf("sgxs: %s: %w", part.Name, err)
		}
		last = part
		if placed != nil {
			*placed = append(*placed, cur)
		}
		if cur, err = p.fill(part, cur); err != nil {
			return 0, err
		}
	}
	if p.present != 0 {
		if err := p.flush(last.Perm); err != nil {
			return 0, err
		}
		p.page += sgx.PageSize
	}
	return p.page, nil
}

// alignUp rounds v up to a, which should be a power of two; what it does to v
// for other numbers is what sgxs-append does.
func alignUp(v, a uint64) (uint64, error) {
	if v&(a-1) == 0 {
		return v, nil
	}
	r := v&^(a-1) + a
	if r < v {
		return 0, fmt.Errorf("address %#x aligned to %#x is beyond 64 bits", v, a)
	}
	return r, nil
}

// fill puts a part at cur and returns the address behind it.
func (p *placer) fill(part *Part, cur uint64) (uint64, error) {
	if p.in != nil {
		p.in.Reset(part.Data)
	}
	for left := part.Size; ; {
		if cur-p.page >= sgx.PageSize {
			if cur%sgx.PageSize != 0 {
				return 0, fmt.Errorf("sgxs: %s: an alignment that is no power of two leads to %#x, inside another page", part.Name, cur)
			}
			if err := p.flush(part.Perm); err != nil {
				return 0, err
			}
			p.page = cur
		}
		if left == 0 {
			break
		}
		n := min(sgx.PageSize-cur%sgx.PageSize, uint64(left))
		if p.in == nil {
			n = uint64(left) // all pages in one step, up to the last
		}
		end := cur + n
		if end <= cur {
			return 0, fmt.Errorf("sgxs: %s: %d bytes do not fit below the end of the address space", part.Name, part.Size)
		}
		if p.in == nil {
			p.page, p.present = (end-1)&^(sgx.PageSize-1), 1
		} else if err := p.read(part, cur, n); err != nil {
			return 0, err
		}
		p.perm = part.Perm
		left -= int64(n)
		cur = end
	}
	if p.in != nil {
		if _, err := p.in.ReadByte(); err == nil {
			return 0, fmt.Errorf("sgxs: %s: changed while it was read: longer than %d bytes", part.Name, part.Size)
		} else if err != io.EOF {
			return 0, err
		}
	}
	return cur, nil
}

// read reads n bytes of a part for address cur of the page being filled.
func (p *placer) read(part *Part, cur, n uint64) error {
	at := cur % sgx.PageSize
	if _, err := io.ReadFull(p.in, p.data[at:at+n]); err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("sgxs: %s: changed while it was read: shorter than %d bytes", part.Name, part.Size)
	} else if err != nil {
		return err
	}
	for c := at / sgx.ChunkSize; c*sgx.ChunkSize < at+n; c++ {
		p.present |= 1 << c
		p.measured &^= 1 << c
		if part.Measured {
			p.measured |= 1 << c
		}
	}
	return nil
}

// flush ends the page being filled; perm are the permissions of the part whose
// turn it is.
func (p *placer) flush(perm sgx.SecInfoFlags) error {
	present, measured := p.present, p.measured
	p.present, p.measured = 0, 0
	if p.out == nil || present == 0 {
		return nil
	}
	if !p.fortanix {
		perm = p.perm
	}
	if err := p.out.Page(p.page, sgx.SecInfoREG|perm, nil); err != nil {
		return err
	}
	for c := range uint64(sgx.ChunksPerPage) {
		if present>>c&1 == 0 {
			continue
		}
		rec := Record{Kind: KindUnmeasured, Offset: p.page + c*sgx.ChunkSize, Data: p.data[c*sgx.ChunkSize:][:sgx.ChunkSize]}
		if measured>>c&1 != 0 {
			rec.Kind = KindEExtend
		}
		if err := p.out.Write(rec); err != nil {
			return err
		}
	}
	clear(p.data[:])
	return nil
}
