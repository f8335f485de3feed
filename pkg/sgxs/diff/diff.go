// Package diff says why two images measure differently.
//
// Both streams are read once, side by side, and nothing that grows with them is
// kept: the regions and symbols of a Result are bounded.
package diff

import (
	"bytes"
	"fmt"
	"io"
	"math/bits"
	"slices"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
)

// side reads one image.
type side struct {
	Image
	Side
	pages *sgxs.PageReader
	m     *sgxs.Measurer
	page  *sgxs.Page // nil at the end
}

func open(i Image) (*side, error) {
	s := &side{Image: i, pages: sgxs.NewPageReader(i.Stream), m: sgxs.NewMeasurer()}
	h, err := s.pages.Header()
	if err != nil {
		return nil, s.wrap(err)
	}
	s.Sized = h.Kind == sgxs.KindECreate
	s.Size, s.SizeOffset, s.SSAFrameSize = h.Size, h.SizeOffset, h.SSAFrameSize
	if err := s.m.Write(h); err != nil {
		return nil, s.wrap(err)
	}
	return s, s.next()
}

func (s *side) wrap(err error) error { return fmt.Errorf("%s: %w", s.Name, err) }

// next reads the next page.
func (s *side) next() (err error) {
	s.page, err = s.pages.Next()
	if err == io.EOF {
		s.page = nil
		if s.Sized {
			m, err := s.m.Sum()
			if err != nil {
				return s.wrap(err)
			}
			s.MREnclave = &m
		}
		return nil
	}
	if err != nil {
		return s.wrap(err)
	}
	s.Pages++
	if !s.Sized {
		return nil
	}
	rec := sgxs.Record{Kind: sgxs.KindEAdd, Offset: s.page.Offset, Flags: s.page.Flags}
	if err := s.m.Write(rec); err != nil {
		return s.wrap(err)
	}
	for _, c := range s.page.Order {
		rec := sgxs.Record{Kind: sgxs.KindEExtend, Offset: s.page.Offset + uint64(c)*sgx.ChunkSize, Data: chunkData(s.page, c)}
		if err := s.m.Write(rec); err != nil {
			return s.wrap(err)
		}
	}
	return nil
}

// at returns where the page's EADD record is.
func (s *side) at() At {
	if s.page == nil {
		return At{}
	}
	return At{s.page.Record, s.page.Pos}
}

// atChunk returns where the i-th measured chunk of the page is.
func (s *side) atChunk(i int) At {
	if i >= len(s.page.Order) {
		return At{}
	}
	n := int64(slices.Index(s.page.Chunks, s.page.Order[i]))
	return At{s.page.Record + 1 + n, s.page.Pos + sgxs.HeaderSize + n*(sgxs.HeaderSize+sgxs.DataSize)}
}

func chunkData(p *sgxs.Page, chunk uint8) []byte {
	return p.Data[int(chunk)*sgx.ChunkSize:][:sgx.ChunkSize]
}

// Images compares two images. The error names the one that cannot be read.
func Images(a, b Image) (*Result, error) {
	sa, err := open(a)
	if err != nil {
		return nil, err
	}
	sb, err := open(b)
	if err != nil {
		return nil, err
	}
	c := &comparison{a: sa, b: sb, res: &Result{Regions: []Region{}}}
	c.header()
	for sa.page != nil || sb.page != nil {
		inA := sa.page != nil && (sb.page == nil || sa.page.Offset <= sb.page.Offset)
		inB := sb.page != nil && (sa.page == nil || sb.page.Offset <= sa.page.Offset)
		c.pages(inA, inB)
		if inA {
			if err := sa.next(); err != nil {
				return nil, err
			}
		}
		if inB {
			if err := sb.next(); err != nil {
				return nil, err
			}
		}
	}
	c.endRegion()
	c.res.A, c.res.B = sa.Side, sb.Side
	c.res.Same = c.res.First == nil
	return c.res, nil
}

// comparison is the state of Images.
type comparison struct {
	a, b   *side
	res    *Result
	region Region // being gathered; Pages is 0 if none
}

// first notes the first difference.
func (c *comparison) first(d Difference) {
	if c.res.First != nil {
		return
	}
	d.PlaceA, d.PlaceB = c.a.Symbols.Find(d.Addr), c.b.Symbols.Find(d.Addr)
	c.res.First = &d
}

func (c *comparison) header() {
	a, b := &c.a.Side, &c.b.Side
	d := Difference{AtA: At{Record: 1}, AtB: At{Record: 1}}
	hex := func(v uint64) string { return fmt.Sprintf("%#x", v) }
	switch {
	case a.Sized != b.Sized:
		word := map[bool]string{true: "ECREATE", false: "UNSIZED"}
		d.Field, d.A, d.B = FieldRecord, word[a.Sized], word[b.Sized]
	case a.SSAFrameSize != b.SSAFrameSize:
		d.Field, d.FieldOff = FieldSSAFrameSize, 8+bits.TrailingZeros32(a.SSAFrameSize^b.SSAFrameSize)/8
		d.A, d.B = frameWord(a.SSAFrameSize), frameWord(b.SSAFrameSize)
	case a.Size != b.Size:
		d.Field, d.FieldOff, d.A, d.B = FieldSize, 12+bits.TrailingZeros64(a.Size^b.Size)/8, hex(a.Size), hex(b.Size)
	case a.SizeOffset != b.SizeOffset:
		d.Field, d.FieldOff = FieldSizeOffset, 12+bits.TrailingZeros64(a.SizeOffset^b.SizeOffset)/8
		d.A, d.B = hex(a.SizeOffset), hex(b.SizeOffset)
	default:
		return
	}
	c.res.First = &d
}

func frameWord(pages uint32) string {
	if pages == 1 {
		return "1 page"
	}
	return fmt.Sprintf("%d pages", pages)
}

// pages compares the current pages: one of them, or two at the same offset.
func (c *comparison) pages(inA, inB bool) {
	pa, pb := c.a.page, c.b.page
	if inA != inB {
		p := pa
		if inB {
			p = pb
		}
		c.addPage(p.Offset, inA, inB)
		c.region.Changed++
		c.res.ChangedPages++
		d := Difference{
			Field: FieldPage, FieldOff: 8, AtA: c.a.at(), AtB: c.b.at(), A: pageWord(pa), B: pageWord(pb),
			Page: p.Offset, Chunk: p.Offset, Addr: p.Offset,
		}
		if pa != nil && pb != nil {
			d.FieldOff += bits.TrailingZeros64(pa.Offset^pb.Offset) / 8
		}
		c.first(d)
		return
	}
	c.addPage(pa.Offset, true, true)
	if pa.Flags == pb.Flags && pa.Measured == pb.Measured && slices.Equal(pa.Order, pb.Order) {
		if pa.Present == pb.Present && bytes.Equal(pa.Data, pb.Data) {
			return
		}
		if !c.measuredDataDiffers() {
			c.region.Unmeasured++
			c.res.UnmeasuredPages++
			return
		}
	}
	c.region.Changed++
	c.res.ChangedPages++
	c.countData()
	if c.res.First == nil {
		c.firstInPage()
	}
}

// pageWord names the page that a stream has next.
func pageWord(p *sgxs.Page) string {
	if p == nil {
		return "end of the stream"
	}
	return fmt.Sprintf("EADD %#x", p.Offset)
}

func (c *comparison) measuredDataDiffers() bool {
	for _, n := range c.a.page.Order {
		if !bytes.Equal(chunkData(c.a.page, n), chunkData(c.b.page, n)) {
			return true
		}
	}
	return false
}

// countData counts the differing bytes in chunks that both measure.
func (c *comparison) countData() {
	for _, n := range c.a.page.Order {
		if c.b.page.Measured>>n&1 == 0 {
			continue
		}
		da, db := chunkData(c.a.page, n), chunkData(c.b.page, n)
		if bytes.Equal(da, db) {
			continue
		}
		addr := c.a.page.Offset + uint64(n)*sgx.ChunkSize
		var span SymbolDiff // of a symbol, or of the room up to the next
		var end uint64      // of the span
		for i := range da {
			if da[i] == db[i] {
				continue
			}
			c.region.Bytes++
			if at := addr + uint64(i); at >= end {
				c.symbol(span)
				span = SymbolDiff{Addr: at}
				span.Place, end = c.locate(at)
			}
			span.Bytes++
		}
		c.symbol(span)
	}
}

// locate returns the symbol at an address and the end of what it says.
func (c *comparison) locate(addr uint64) (Place, uint64) {
	p, end := c.a.Symbols.locate(addr)
	if p.Symbol == "" {
		if q, qend := c.b.Symbols.locate(addr); q.Symbol != "" {
			return q, qend
		}
	}
	return p, end
}

// symbol adds differing bytes to the list of symbols.
func (c *comparison) symbol(d SymbolDiff) {
	if d.Place.Symbol == "" {
		return
	}
	list := c.res.Symbols
	// Addresses rise, but for chunks in an odd order: look from the end.
	for i := len(list) - 1; i >= 0; i-- {
		if s := &list[i]; s.Place.Symbol == d.Place.Symbol && s.Addr-s.Place.Offset == d.Addr-d.Place.Offset {
			s.Bytes += d.Bytes
			return
		}
	}
	if len(list) == MaxSymbols {
		c.res.MoreSymbols = true
		return
	}
	c.res.Symbols = append(list, d)
}

// firstInPage notes the first difference between two pages at one offset.
func (c *comparison) firstInPage() {
	pa, pb := c.a.page, c.b.page
	d := Difference{Page: pa.Offset, Chunk: pa.Offset, Addr: pa.Offset, AtA: c.a.at(), AtB: c.b.at()}
	if pa.Flags != pb.Flags {
		d.Field, d.A, d.B = FieldFlags, pa.Flags.String(), pb.Flags.String()
		d.FieldOff = 16 + bits.TrailingZeros64(uint64(pa.Flags^pb.Flags))/8
		c.first(d)
		return
	}
	for i := range max(len(pa.Order), len(pb.Order)) {
		d.AtA, d.AtB = c.a.atChunk(i), c.b.atChunk(i)
		if i >= len(pa.Order) || i >= len(pb.Order) || pa.Order[i] != pb.Order[i] {
			c.first(orderDifference(d, pa, pb, i))
			return
		}
		da, db := chunkData(pa, pa.Order[i]), chunkData(pb, pb.Order[i])
		if bytes.Equal(da, db) {
			continue
		}
		n := 0
		for da[n] == db[n] {
			n++
		}
		end := min(n+8, len(da))
		d.Field, d.FieldOff = FieldData, n
		d.A, d.B = fmt.Sprintf("% x", da[n:end]), fmt.Sprintf("% x", db[n:end])
		d.Chunk += uint64(pa.Order[i]) * sgx.ChunkSize
		d.Addr = d.Chunk + uint64(n)
		c.first(d)
		return
	}
}

// orderDifference describes pages whose i-th measured chunks are not the same
// chunk.
func orderDifference(d Difference, pa, pb *sgxs.Page, i int) Difference {
	name := func(p, other *sgxs.Page) (string, bool) {
		if i >= len(p.Order) {
			return "no further chunk", true
		}
		c := p.Order[i]
		return fmt.Sprintf("EEXTEND %#x", p.Offset+uint64(c)*sgx.ChunkSize), other.Measured>>c&1 == 0
	}
	var onlyA, onlyB bool
	d.A, onlyA = name(pa, pb)
	d.B, onlyB = name(pb, pa)
	d.Field, d.FieldOff = FieldChunk, 8
	if i < len(pa.Order) && i < len(pb.Order) {
		d.FieldOff++ // chunk offsets in a page differ in their second byte
	}
	if onlyA || onlyB {
		d.Field = FieldMeasured
	}
	p := pa
	if i >= len(pa.Order) || onlyB && i < len(pb.Order) && !onlyA {
		p = pb
	}
	d.Chunk += uint64(p.Order[i]) * sgx.ChunkSize
	d.Addr = d.Chunk
	return d
}

// addPage adds the page to the region being gathered or begins another.
func (c *comparison) addPage(off uint64, inA, inB bool) {
	r := &c.region
	if r.Pages == 0 || r.End() != off || !r.A.is(c.a.page, inA) || !r.B.is(c.b.page, inB) {
		c.endRegion()
		*r = Region{Start: off}
		if inA {
			r.A = newMapping(c.a.page)
		}
		if inB {
			r.B = newMapping(c.b.page)
		}
	}
	r.Pages++
}

// is reports whether a page, if there is one, is mapped like this.
func (m *Mapping) is(p *sgxs.Page, there bool) bool {
	if m == nil || !there {
		return m == nil && !there
	}
	return m.Flags == p.Flags && m.Measured == measuredWord(p.Measured)
}

func (c *comparison) endRegion() {
	r := &c.region
	switch {
	case r.Pages == 0:
		return
	case len(c.res.Regions) == MaxRegions:
		c.res.MoreRegions++
		return
	}
	r.Sections = c.a.Symbols.sections(r.Start, r.End())
	if r.A == nil || r.Sections == nil {
		r.Sections = c.b.Symbols.sections(r.Start, r.End())
	}
	c.res.Regions = append(c.res.Regions, *r)
}
