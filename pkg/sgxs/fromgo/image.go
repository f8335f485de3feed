package fromgo

import (
	"io"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/wall"
)

// bootSizeOffset is where in the image the size of ELRANGE stands.
const bootSizeOffset = wall.BootOff + 16

// write writes the image and returns its MRENCLAVE, zero if its size is open.
func (l *Layout) write(dst io.Writer) (mr sgx.Measurement, err error) {
	w := sgxs.NewWriter(dst)
	if l.Size == 0 {
		w.CreateUnsized(wall.SSAFrameSize, bootSizeOffset)
	} else {
		w.MeasureAlso()
		w.Create(wall.SSAFrameSize, l.Size)
	}
	for i := range l.Regions {
		r := &l.Regions[i]
		data := r.data
		for off := r.Offset; off < r.Offset+r.Size; off += sgx.PageSize {
			var page []byte
			if r.Measured {
				n := min(len(data), sgx.PageSize)
				page, data = data[:n:n], data[n:]
				if page == nil {
					page = []byte{}
				}
			}
			// An error is final, and comes back at the end.
			if err := w.Page(off, r.Flags, page); err != nil {
				return mr, err
			}
		}
	}
	if l.Size == 0 {
		return mr, w.Flush()
	}
	return w.MREnclave()
}
