package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
)

// imageInfo is what inspect says about an image, in the shape of its JSON.
type imageInfo struct {
	Kind           string           `json:"kind"` // "image"
	Sized          bool             `json:"sized"`
	MREnclave      *sgx.Measurement `json:"mrenclave,omitempty"` // of a sized image
	Size           uint64           `json:"size,omitempty"`      // ELRANGE, of a sized image
	SizeOffset     uint64           `json:"size_offset,omitempty"`
	SSAFrameSize   uint32           `json:"ssaframesize"` // pages
	Pages          uint64           `json:"pages"`
	CommittedSize  uint64           `json:"committed_size"`  // bytes of pages
	MeasuredSize   uint64           `json:"measured_size"`   // bytes of measured chunks
	UnmeasuredSize uint64           `json:"unmeasured_size"` // bytes of chunks that are loaded unmeasured
	Regions        []region         `json:"regions"`
	MorePages      uint64           `json:"more_pages,omitempty"` // behind the last of maxRegions
	Threads        []thread         `json:"threads"`
	MoreThreads    uint64           `json:"more_threads,omitempty"` // beyond maxRegions
}

// maxRegions bounds what is kept of an image whose pages are all different;
// --pages lists those one by one.
const maxRegions = 10000

// region is a run of pages that are alike.
type region struct {
	Offset   uint64 `json:"offset"`
	Size     uint64 `json:"size"`
	Type     string `json:"type"`
	Perm     string `json:"perm"`
	Measured string `json:"measured"` // "all", "part" or "none"
	Content  string `json:"content"`  // "data" or "zero"
	Note     string `json:"note,omitempty"`

	flags sgx.SecInfoFlags
}

// thread is a TCS.
type thread struct {
	Offset uint64 `json:"offset"`
	OEntry uint64 `json:"oentry"`
	OSSA   uint64 `json:"ossa"`
	NSSA   uint32 `json:"nssa"`
	FSBase uint64 `json:"ofsbasgx"`
	GSBase uint64 `json:"ogsbasgx"`
	Flags  uint64 `json:"flags"`
}

// scanImage reads an image to its end and sums it up.
func scanImage(src io.Reader) (*imageInfo, error) {
	pages := sgxs.NewPageReader(src)
	head, err := pages.Header()
	if err != nil {
		return nil, err
	}
	info := &imageInfo{
		Kind: "image", Sized: head.Kind == sgxs.KindECreate,
		Size: head.Size, SizeOffset: head.SizeOffset, SSAFrameSize: head.SSAFrameSize,
		Regions: []region{}, Threads: []thread{},
	}
	m := sgxs.NewMeasurer()
	if info.Sized {
		if err := m.Write(head); err != nil {
			return nil, err
		}
	}
	for {
		p, err := pages.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if info.Sized {
			if err := measurePage(m, p); err != nil {
				return nil, err
			}
		}
		info.add(p)
	}
	if info.Sized {
		mr, err := m.Sum()
		if err != nil {
			return nil, err
		}
		info.MREnclave = &mr
	}
	info.note()
	return info, nil
}

func measurePage(m *sgxs.Measurer, p *sgxs.Page) error {
	if err := m.Write(sgxs.Record{Kind: sgxs.KindEAdd, Offset: p.Offset, Flags: p.Flags}); err != nil {
		return err
	}
	for _, c := range p.Order {
		off := int(c) * sgx.ChunkSize
		rec := sgxs.Record{Kind: sgxs.KindEExtend, Offset: p.Offset + uint64(off), Data: p.Data[off : off+sgx.ChunkSize]}
		if err := m.Write(rec); err != nil {
			return err
		}
	}
	return nil
}

func (info *imageInfo) add(p *sgxs.Page) {
	info.Pages++
	info.CommittedSize += sgx.PageSize
	info.MeasuredSize += uint64(bits.OnesCount16(p.Measured)) * sgx.ChunkSize
	info.UnmeasuredSize += uint64(bits.OnesCount16(p.Present&^p.Measured)) * sgx.ChunkSize
	if p.Flags.PageType() == sgx.PageTCS {
		info.addThread(p)
	}

	measured, content := measuredWord(p), contentWord(p)
	if n := len(info.Regions); n > 0 {
		// A page of zeros amid data belongs to its neighbours, unless it has
		// been left out of the measurement, as heaps and stacks are.
		r := &info.Regions[n-1]
		if r.Offset+r.Size == p.Offset && r.flags == p.Flags && r.Measured == measured {
			r.Size += sgx.PageSize
			if content == "data" {
				r.Content = "data"
			}
			return
		}
	}
	if len(info.Regions) == maxRegions {
		info.MorePages++
		return
	}
	info.Regions = append(info.Regions, region{
		Offset: p.Offset, Size: sgx.PageSize, Type: p.Flags.PageType().String(), Perm: p.Flags.Perm(),
		Measured: measured, Content: content, flags: p.Flags,
	})
}

func (info *imageInfo) addThread(p *sgxs.Page) {
	if len(info.Threads) == maxRegions {
		info.MoreThreads++
		return
	}
	// Fields only: a TCS with bits that the processor refuses is shown too.
	tcs := readTCS(p.Data)
	tcs.Offset = p.Offset
	info.Threads = append(info.Threads, tcs)
}

func readTCS(b []byte) thread {
	return thread{
		Flags: le.Uint64(b[8:]), OSSA: le.Uint64(b[16:]), NSSA: le.Uint32(b[28:]), OEntry: le.Uint64(b[32:]),
		FSBase: le.Uint64(b[48:]), GSBase: le.Uint64(b[56:]),
	}
}

// note labels regions by what the TCSs say of them. Stacks and the heap are
// guessed from their place: writable, not measured, and right below a TLS page
// or below all threads, as the converters lay them out.
func (info *imageInfo) note() {
	plain := func(r *region) bool {
		return r.flags == sgx.SecInfoREGRW && r.Measured == "none" && r.Content == "zero"
	}
	if len(info.Threads) > 0 {
		for i := range info.Regions {
			r := &info.Regions[i]
			if r.Offset+r.Size >= info.Threads[0].FSBase {
				break
			}
			if plain(r) {
				r.Note = "heap"
			}
		}
	}
	for i, t := range info.Threads {
		info.noteAt(t.Offset, fmt.Sprintf("TCS %d", i))
		if t.NSSA > 0 && info.SSAFrameSize > 0 {
			info.noteAt(t.OSSA, fmt.Sprintf("SSA %d", i))
		}
		info.noteAt(t.FSBase, fmt.Sprintf("TLS %d", i))
		if r := info.regionAt(t.FSBase - 1); r != nil && plain(r) && r.Offset+r.Size == t.FSBase {
			info.noteAt(r.Offset, fmt.Sprintf("stack %d", i))
		}
		if t.GSBase != t.FSBase {
			info.noteAt(t.GSBase, fmt.Sprintf("GS %d", i))
		}
		info.noteAt(t.OEntry, "entry")
	}
}

func (info *imageInfo) noteAt(off uint64, text string) {
	r := info.regionAt(off)
	if r == nil {
		return
	}
	// A region that holds more than the one thing keeps its first two labels.
	switch {
	case r.Note == "":
		r.Note = text
	case text != "entry" && len(r.Note) < 20:
		r.Note += ", " + text
	}
}

// regionAt returns the region that holds off, nil if there is none.
func (info *imageInfo) regionAt(off uint64) *region {
	i, found := slices.BinarySearchFunc(info.Regions, off, func(r region, off uint64) int { return cmp.Compare(r.Offset, off) })
	if !found {
		i--
	}
	if i < 0 || off-info.Regions[i].Offset >= info.Regions[i].Size {
		return nil
	}
	return &info.Regions[i]
}

func measuredWord(p *sgxs.Page) string {
	switch p.Measured {
	case 0xffff:
		return "all"
	case 0:
		return "none"
	}
	return "part"
}

var zeroPage [sgx.PageSize]byte

func contentWord(p *sgxs.Page) string {
	if bytes.Equal(p.Data, zeroPage[:]) {
		return "zero"
	}
	return "data"
}
