package fromelf

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"slices"
	"sort"
	"testing"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
)

// oracle is a second implementation of the layout, as plain as can be: it works
// on the pieces a test ELF is made of, holds all in memory, and treats a
// segment as the stream of bytes that the Fortanix tool makes of it. crash and
// drop tell of that tool's two faults.
func oracle(e *tELF, o Options) (out []byte, crash, drop bool) {
	le64 := func(v uint64) []byte { return le.AppendUint64(nil, v) }
	up := func(v uint64) uint64 { return (v + 0xfff) / 0x1000 * 0x1000 }
	var end uint64
	for _, s := range e.segments {
		if s.typ == 1 {
			end = max(end, s.vaddr+s.memsz)
		}
	}
	heap := up(end)
	thread0 := heap + o.HeapSize
	per := 0x10000 + o.StackSize + 0x1000 + (1+uint64(o.SSAFrameSize))*0x1000
	memory := thread0 + uint64(o.Threads)*per
	size := uint64(1)
	for size < memory {
		size *= 2
	}

	type patch struct {
		addr uint64
		b    []byte
		code bool
	}
	var patches []patch
	val := func(name string, b []byte) { patches = append(patches, patch{e.symbol(name).addr, b, false}) }
	val("HEAP_BASE", le64(heap))
	val("HEAP_SIZE", le64(o.HeapSize))
	dyn := map[uint64]uint64{}
	for _, d := range e.dynamic {
		dyn[d[0]] = d[1]
	}
	val("RELA", le64(dyn[7]))
	val("RELACOUNT", le64(dyn[0x6ffffff9]))
	val("CFGDATA_BASE", le64(memory))
	if o.Debug {
		val("DEBUG", []byte{1})
	} else {
		val("DEBUG", []byte{0})
	}
	sec := func(n string) (uint64, uint64) { s := e.section(n); return s.addr, s.size }
	a, n := sec(".text")
	val("TEXT_BASE", le64(a))
	val("TEXT_SIZE", le64(n))
	ha, hn := sec(".eh_frame_hdr")
	if e.symbol("EH_FRM_HDR_BASE") != nil && e.symbol("EH_FRM_HDR_SIZE") != nil {
		val("EH_FRM_HDR_BASE", le64(ha))
		val("EH_FRM_HDR_SIZE", le64(hn))
	} else {
		a, n := sec(".eh_frame")
		val("EH_FRM_OFFSET", le64(a))
		val("EH_FRM_LEN", le64(n))
		val("EH_FRM_HDR_OFFSET", le64(ha))
		val("EH_FRM_HDR_LEN", le64(hn))
	}
	if !o.Unsized {
		val("ENCLAVE_SIZE", le64(size))
	}
	if s := e.section(".text_no_sgx"); s != nil {
		patches = append(patches, patch{s.addr, bytes.Repeat([]byte{0x90}, int(s.size)), true})
	}
	sort.SliceStable(patches, func(i, j int) bool { return patches[i].addr < patches[j].addr })

	record := func(tag string, fields ...[]byte) {
		b := make([]byte, 64)
		copy(b, tag)
		copy(b[8:], slices.Concat(fields...))
		out = append(out, b...)
	}
	page := func(off, flags uint64, data []byte) {
		record("EADD", le64(off), le64(flags))
		if data == nil {
			return
		}
		p := make([]byte, 4096)
		copy(p, data)
		for i := 0; i < 4096; i += 256 {
			record("EEXTEND", le64(off+uint64(i)))
			out = append(out, p[i:i+256]...)
		}
	}
	ssa := le.AppendUint32(nil, o.SSAFrameSize)
	if o.Unsized {
		record("UNSIZED", ssa, le64(e.symbol("ENCLAVE_SIZE").addr))
	} else {
		record("ECREATE", ssa, le64(size))
	}
	for _, s := range e.segments {
		if s.typ != 1 {
			continue
		}
		base, end := s.vaddr/0x1000*0x1000, s.vaddr+s.memsz
		stream := append(make([]byte, s.vaddr-base), s.data...)
		for len(patches) > 0 && patches[0].addr >= base && patches[0].addr+uint64(len(patches[0].b)) <= end {
			p := patches[0]
			patches = patches[1:]
			at := p.addr - base
			next := at + uint64(len(p.b))
			stream = slices.Clone(stream[:min(at, uint64(len(stream)))])
			if p.code && base+next == end {
				end = p.addr
				continue
			}
			stream = append(stream, p.b...)
			switch pad := s.vaddr - base; {
			case next < pad:
				stream = append(append(stream, make([]byte, pad-next)...), s.data...)
			case next-pad > uint64(len(s.data)):
				return nil, true, false
			default:
				stream = append(stream, s.data[next-pad:]...)
			}
		}
		flags := uint64(0x200)
		for elf, sgx := range map[uint32]uint64{4: 1, 2: 2, 1: 4} {
			if s.flags&elf != 0 {
				flags |= sgx
			}
		}
		for off := base; off < up(end-base)+base; off += 4096 {
			i := off - base
			page(off, flags, append([]byte{}, stream[min(i, uint64(len(stream))):min(i+4096, uint64(len(stream)))]...))
		}
	}
	bare := func(off, size uint64) {
		for i := uint64(0); i < size; i += 4096 {
			page(off+i, 0x203, nil)
		}
	}
	bare(heap, o.HeapSize)
	for i := range uint64(o.Threads) {
		stack := thread0 + i*per + 0x10000
		tls := stack + o.StackSize
		tcs := tls + 4096
		bare(stack, o.StackSize)
		second := uint64(1)
		if i == 0 || o.Library {
			second = 0
		}
		page(tls, 0x203, append(le64(tls), le64(second)...))
		b := make([]byte, 4096)
		le.PutUint64(b[16:], tcs+4096)
		le.PutUint32(b[28:], 1)
		le.PutUint64(b[32:], e.symbol("sgx_entry").addr)
		le.PutUint64(b[48:], tls)
		le.PutUint64(b[56:], tls)
		le.PutUint32(b[64:], 0xfff)
		le.PutUint32(b[68:], 0xfff)
		page(tcs, 0x100, b)
		bare(tcs+4096, uint64(o.SSAFrameSize)*4096)
	}
	return out, false, len(patches) > 0
}

// randomELF moves segments, symbols and .text_no_sgx of a sound ELF about.
func randomELF(r *rand.Rand) *tELF {
	e := goodELF()
	e.relocs = nil
	e.dynamic = [][2]uint64{{7, r.Uint64()}, {dtRelaCount, 0}, {0, 0}}
	e.segments = e.segments[4:]
	n := 1 + r.IntN(5)
	at := uint64(r.IntN(3)) * 0x1000
	var loads []tSegment
	for i := range n {
		s := tSegment{typ: ptLoad, flags: []uint32{pfR, pfR | pfX, pfR | pfW, pfR | pfW | pfX, 0}[r.IntN(5)]}
		if i == 0 {
			s.flags &^= pfX
		}
		s.vaddr = at + uint64(r.IntN(2)*r.IntN(4096))
		s.data = make([]byte, r.IntN(3*4096))
		for i := range s.data {
			s.data[i] = byte(r.Uint32())
		}
		s.memsz = uint64(len(s.data))
		switch r.IntN(4) {
		case 0:
			s.memsz += uint64(r.IntN(3 * 4096))
		case 1:
			s.memsz -= uint64(r.IntN(len(s.data)+1)) / 8
		}
		at = (s.vaddr+s.memsz+4095)&^4095 + uint64(r.IntN(3))*4096
		loads = append(loads, s)
	}
	if r.IntN(3) == 0 {
		e.dropSymbols(newUnwind...)
	} else if r.IntN(3) == 0 {
		e.dropSymbols(newUnwind[r.IntN(4)])
	}
	if e.symbol(newUnwind[0]) == nil || len(e.symbols) < 14 || r.IntN(3) == 0 {
		for _, n := range oldUnwind {
			e.symbols = append(e.symbols, tSymbol{n, 0, 8, 5})
		}
	}
	r.Shuffle(len(e.symbols), func(i, j int) { e.symbols[i], e.symbols[j] = e.symbols[j], e.symbols[i] })
	spread := uint64(16)
	if r.IntN(4) == 0 {
		spread = 1 // overlapping ones too
	}
	home := loads[r.IntN(n)]
	for i := range e.symbols {
		s := &e.symbols[i]
		if r.IntN(60) == 0 {
			home = loads[r.IntN(n)]
		}
		s.addr = home.vaddr&^4095 + uint64(r.IntN(4096))*spread&^7%max(8, home.memsz)
		if r.IntN(200) == 0 {
			s.addr += 0x2000
		}
	}
	e.symbol("ENCLAVE_SIZE").addr &^= 7
	if r.IntN(2) == 0 {
		s := loads[r.IntN(n)]
		size := uint64(r.IntN(int(s.memsz + 1)))
		if r.IntN(2) == 0 {
			size /= 64
		}
		x := tSection{name: ".text_no_sgx", typ: shtNoBits, addr: s.vaddr + s.memsz - size, size: size}
		if r.IntN(2) == 0 {
			x.addr = s.vaddr + uint64(r.IntN(int(s.memsz-size+1)))
		}
		x.fixed = true
		e.sections = append(e.sections, x)
	}
	e.segments = append(loads, e.segments...)
	return e
}

// TestConvertRandom compares conversions with the oracle's.
func TestConvertRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var accepted, crashed, dropped, cut int
	for i := range 1500 {
		e := randomELF(r)
		o := Options{
			HeapSize: uint64(r.IntN(4)) << 12, StackSize: uint64(r.IntN(4)) << 12, Threads: uint32(r.IntN(4)), SSAFrameSize: uint32(r.IntN(3)),
			Debug: r.IntN(2) == 0, Library: r.IntN(2) == 0, Unsized: r.IntN(2) == 0,
		}
		elf := e.build()
		want, crash, drop := oracle(e, o)
		got, l, err := convert(elf, o)
		msg := ""
		if err != nil {
			msg = err.Error()
		}
		switch {
		case crash:
			crashed++
			if !bytes.Contains([]byte(msg), []byte("lies in .bss")) {
				t.Fatalf("%d: the original crashes, but got %q", i, msg)
			}
		case drop:
			dropped++
			if !bytes.Contains([]byte(msg), []byte("value cannot be stored")) {
				t.Fatalf("%d: a splice is dropped, but got %q", i, msg)
			}
		case err != nil && bytes.Contains([]byte(msg), []byte("cut off")):
			cut++
		case err != nil:
			t.Fatalf("%d: %v", i, err)
		case !bytes.Equal(got, want):
			t.Fatalf("%d: differs from the oracle: %d bytes, want %d", i, len(got), len(want))
		default:
			accepted++
			checkLayout(t, l, got)
		}
	}
	t.Logf("accepted %d, crashes %d, drops %d, cut off %d", accepted, crashed, dropped, cut)
	if accepted < 400 || crashed < 40 || dropped < 40 {
		t.Error("the cases are too uneven to say much")
	}
}

// checkLayout compares the regions with the pages of the image.
func checkLayout(t *testing.T, l *Layout, image []byte) {
	t.Helper()
	type page struct {
		off      uint64
		flags    sgx.SecInfoFlags
		measured bool
	}
	var want, got []page
	at := uint64(0)
	for r := range l.Regions() {
		if r.Offset < at || r.Offset%sgx.PageSize != 0 || r.Size == 0 || r.Size%sgx.PageSize != 0 {
			t.Errorf("%v %d at 0x%x, 0x%x bytes, after 0x%x", r.Kind, r.Index, r.Offset, r.Size, at)
		}
		at = r.Offset + r.Size
		for off := r.Offset; off < at && r.Mapped; off += sgx.PageSize {
			want = append(want, page{off, r.Flags, r.Measured})
		}
	}
	if at > l.MemorySize || !l.Options.Unsized && (l.EnclaveSize < l.MemorySize || l.EnclaveSize != sgxs.SizeFitNatural(l.MemorySize)) {
		t.Errorf("regions end at 0x%x, memory at 0x%x, enclave size 0x%x", at, l.MemorySize, l.EnclaveSize)
	}
	r := sgxs.NewPageReader(bytes.NewReader(image))
	for {
		p, err := r.Next()
		if err != nil {
			break
		}
		got = append(got, page{p.Offset, p.Flags, p.Measured == 0xffff})
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("pages:\n got %v\nwant %v", got, want)
	}
}
