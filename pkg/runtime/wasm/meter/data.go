package meter

import (
	"cmp"
	"slices"
)

// segment is an active data segment with a constant offset.
type segment struct {
	at   uint32
	init []byte
}

// maxGap is how many zeros may go between two segments that are joined.
const maxGap = 512

// joinData joins segments that lie close together. Go's linker leaves out every run
// of zeros, which makes tens of thousands of segments, and an engine puts each into
// place by itself. Between them there are zeros in a new memory anyway. Where code
// speaks of segments by index, or where they overlap, everything stays.
func (o *output) joinData() {
	if o.byIndex {
		return
	}
	var all []segment
	for _, s := range o.sections {
		if s.id != secData {
			continue
		}
		r := &reader{b: s.body, base: s.off}
		for range r.u32() {
			if r.u32() != 0 || r.u8() != opI32Const {
				return
			}
			at := uint32(r.leb(32, true))
			if r.u8() != opEnd {
				return
			}
			all = append(all, segment{at, r.bytes(r.u32())})
		}
		if !r.ok() {
			return
		}
	}
	slices.SortStableFunc(all, func(a, b segment) int { return cmp.Compare(a.at, b.at) })
	var joined []segment
	end := uint64(0)
	for i, s := range all {
		gap := int64(s.at) - int64(end)
		switch {
		case i == 0 || gap > maxGap:
			joined = append(joined, segment{s.at, slices.Clone(s.init)})
		case gap < 0:
			return
		default:
			last := &joined[len(joined)-1]
			last.init = append(append(last.init, make([]byte, gap)...), s.init...)
		}
		end = uint64(s.at) + uint64(len(s.init))
	}
	o.data = joined
}

// dataSection gives the data section.
func (o *output) dataSection(r *reader) []byte {
	if o.data != nil {
		b := appendU32(nil, uint32(len(o.data)))
		for _, s := range o.data {
			b = append(appendS64(append(b, 0, opI32Const), int64(int32(s.at))), opEnd)
			b = append(appendU32(b, uint32(len(s.init))), s.init...)
		}
		r.off = len(r.b)
		return b
	}
	n := r.u32()
	b := appendU32(nil, n)
	for range n {
		kind := r.u32()
		b = appendU32(b, kind)
		if kind == 2 {
			b = appendU32(b, r.u32())
		}
		if kind != 1 {
			o.constExpr(r, &b)
		}
		k := r.u32()
		b = append(appendU32(b, k), r.bytes(k)...)
	}
	return b
}
