package sgxs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/enclaveos/eos/pkg/sgx"
)

// Block is a piece of an image that Build makes: data, or a TCS with its SSA.
type Block struct {
	Name string           // for errors
	Perm sgx.SecInfoFlags // of SecInfoR, SecInfoW and SecInfoX, for data
	Data io.Reader        // exactly Size bytes; nil for a TCS
	Size int64
	NSSA uint32 // for a TCS: number of SSA frames
}

// pages returns how many pages the block has.
func (b *Block) pages(ssaFrameSize uint32) uint64 {
	if b.Data == nil {
		return 1 + uint64(b.NSSA)*uint64(ssaFrameSize)
	}
	return (uint64(b.Size) + sgx.PageSize - 1) / sgx.PageSize
}

// Build writes a sized image of blocks, one behind the other from offset 0,
// every page of them measured. A TCS has entry point 0 and its SSA frames,
// pages of zeros, behind it. It returns the size of the enclave.
func Build(dst io.Writer, ssaFrameSize uint32, blocks []Block) (uint64, error) {
	var pages uint64
	for i := range blocks {
		b := &blocks[i]
		if b.Perm&^sgx.SecInfoPerm != 0 || b.Size < 0 {
			return 0, fmt.Errorf("sgxs: %s: no such permissions or size: %#x, %d", b.Name, uint64(b.Perm), b.Size)
		}
		n := b.pages(ssaFrameSize)
		if b.Data == nil && n-1 > math.MaxUint32 {
			return 0, fmt.Errorf("sgxs: %s: %d SSA frames of %d pages are too many", b.Name, b.NSSA, ssaFrameSize)
		}
		if pages += n; pages < n || pages > 1<<(63-12) {
			return 0, errors.New("sgxs: the blocks are too large for an enclave")
		}
	}
	size := SizeFitNatural(pages * sgx.PageSize)
	w := NewWriter(dst)
	if err := w.Create(ssaFrameSize, size); err != nil {
		return 0, err
	}
	in := bufio.NewReaderSize(nil, readSize)
	page := make([]byte, sgx.PageSize)
	var off uint64
	for i := range blocks {
		b := &blocks[i]
		if b.Data == nil {
			tcs := sgx.TCS{OSSA: off + sgx.PageSize, NSSA: b.NSSA, FSLimit: 0xfff, GSLimit: 0xfff}
			var err error
			if page, err = tcs.AppendBinary(page[:0]); err != nil {
				return 0, err
			}
			if err := w.Page(off, sgx.SecInfoTCS, page); err != nil {
				return 0, err
			}
			end := off + b.pages(ssaFrameSize)*sgx.PageSize
			for off += sgx.PageSize; off < end; off += sgx.PageSize {
				if err := w.Page(off, sgx.SecInfoREGRW, []byte{}); err != nil {
					return 0, err
				}
			}
			continue
		}
		in.Reset(b.Data)
		for left := b.Size; left > 0; off += sgx.PageSize {
			n := min(left, sgx.PageSize)
			if _, err := io.ReadFull(in, page[:n]); err == io.EOF || err == io.ErrUnexpectedEOF {
				return 0, fmt.Errorf("sgxs: %s: changed while it was read: shorter than %d bytes", b.Name, b.Size)
			} else if err != nil {
				return 0, err
			}
			if err := w.Page(off, sgx.SecInfoREG|b.Perm, page[:n]); err != nil {
				return 0, err
			}
			left -= n
		}
	}
	return size, w.Flush()
}
