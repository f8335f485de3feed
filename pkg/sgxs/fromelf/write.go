package fromelf

import (
	"fmt"
	"io"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
)

// readPages is how many pages of a segment are read at once.
const readPages = 64

// write writes the image: header, segments, heap, threads.
func (l *Layout) write(dst io.Writer, elf io.ReaderAt) error {
	w := sgxs.NewWriter(dst)
	o := &l.Options
	if o.Measure && !o.Unsized {
		w.MeasureAlso()
	}
	var err error
	if o.Unsized {
		err = w.CreateUnsized(o.SSAFrameSize, l.SizeOffset)
	} else {
		err = w.Create(o.SSAFrameSize, l.EnclaveSize)
	}
	if err != nil {
		return err
	}
	buf := make([]byte, readPages*sgx.PageSize)
	for i := range l.segments {
		if err := l.segments[i].write(w, elf, buf); err != nil {
			return err
		}
	}
	if err := writeBare(w, l.heap()); err != nil {
		return err
	}
	for i := range o.Threads {
		if err := l.writeThread(w, i, buf); err != nil {
			return err
		}
	}
	if o.Measure && !o.Unsized {
		l.MREnclave, err = w.MREnclave()
		return err
	}
	return w.Flush()
}

// writeBare writes pages without contents.
func writeBare(w *sgxs.Writer, r Region) error {
	for off := r.Offset; off < r.Offset+r.Size; off += sgx.PageSize {
		if err := w.Page(off, r.Flags, nil); err != nil {
			return err
		}
	}
	return nil
}

// write writes the pages of a segment, buf at a time. Contents that are zero
// cost no reading.
func (s *placed) write(w *sgxs.Writer, elf io.ReaderAt, buf []byte) error {
	r := s.region()
	for off, end := r.Offset, r.Offset+r.Size; off < end; off += uint64(len(buf)) {
		b := buf[:min(end-off, uint64(len(buf)))]
		from, to := max(off, s.vaddr), min(off+uint64(len(b)), s.cut)
		if from >= to {
			clear(b)
		} else {
			clear(b[:from-off])
			clear(b[to-off:])
			at := int64(s.offset + (from - s.vaddr))
			if n, err := elf.ReadAt(b[from-off:to-off], at); n < int(to-from) {
				if err == nil || err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				return fmt.Errorf("reading the ELF file at 0x%x: %w", at, err)
			}
		}
		s.apply(b, off)
		for i := 0; i < len(b); i += sgx.PageSize {
			if err := w.Page(off+uint64(i), r.Flags, b[i:i+sgx.PageSize]); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeThread writes the pages of thread i; it uses buf for a page. The TLS page
// starts with
//
//	0  8  top of the stack, which is the page's own offset
//	8  8  1 if the thread is secondary: it does not run main
func (l *Layout) writeThread(w *sgxs.Writer, i uint32, buf []byte) error {
	t := l.thread(i)
	_, stack, tls, tcs, ssa := t[0], t[1], t[2], t[3], t[4]
	if err := writeBare(w, stack); err != nil {
		return err
	}
	secondary := uint64(0)
	if i != 0 && !l.Options.Library {
		secondary = 1
	}
	data := le.AppendUint64(le.AppendUint64(buf[:0], tls.Offset), secondary)
	if err := w.Page(tls.Offset, tls.Flags, data); err != nil {
		return err
	}
	c := sgx.TCS{
		OSSA: ssa.Offset, NSSA: numSSA, OEntry: l.Entry, OFSBase: tls.Offset, OGSBase: tls.Offset,
		FSLimit: tlsSize - 1, GSLimit: tlsSize - 1,
	}
	data, err := c.AppendBinary(buf[:0])
	if err != nil {
		return err
	}
	if err := w.Page(tcs.Offset, tcs.Flags, data); err != nil {
		return err
	}
	return writeBare(w, ssa)
}
