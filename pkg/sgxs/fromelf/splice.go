package fromelf

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
)

// splice overwrites the program at an address: with value or, for the code that
// must not be in an enclave, with size NOPs.
type splice struct {
	what  string
	addr  uint64
	size  uint64
	value []byte // nil: NOPs
	lost  bool   // it lies where .text_no_sgx is cut off
}

const nop = 0x90

// placed is a LOAD segment with the splices that lie in it. Its image runs from
// base, the page of vaddr, to end; what of the last page lies behind is there
// too.
type placed struct {
	segment
	index   uint32 // of all LOAD segments
	end     uint64 // of memory: vaddr+memsz, or where .text_no_sgx was cut off
	cut     uint64 // contents at and behind it are zero
	splices []splice
}

func (s *placed) base() uint64 { return s.vaddr &^ (sgx.PageSize - 1) }

func (s *placed) region() Region {
	r := Region{Kind: RegionSegment, Index: s.index, Offset: s.base(), Size: sgxs.SizeFitPage(s.end - s.base()),
		Flags: sgx.SecInfoREG, Mapped: true, Measured: true}
	for _, x := range []struct {
		elf uint32
		sgx sgx.SecInfoFlags
	}{{pfR, sgx.SecInfoR}, {pfW, sgx.SecInfoW}, {pfX, sgx.SecInfoX}} {
		if s.flags&x.elf != 0 {
			r.Flags |= x.sgx
		}
	}
	return r
}

// splicesOf returns the values of the runtime's symbols, sorted by address. Of
// two at one address the later one wins.
func (l *Layout) splicesOf(p *program) []splice {
	var s []splice
	add := func(name string, v uint64) {
		y := p.symbols[name]
		s = append(s, splice{what: "Symbol " + name, addr: y.addr, size: y.size, value: le.AppendUint64(nil, v)[:y.size]})
	}
	add("HEAP_BASE", l.HeapBase)
	add("HEAP_SIZE", l.Options.HeapSize)
	add("RELA", p.rela)
	add("RELACOUNT", p.relaCount)
	add("CFGDATA_BASE", l.MemorySize)
	debug := uint64(0)
	if l.Options.Debug {
		debug = 1
	}
	add("DEBUG", debug)
	add("TEXT_BASE", p.text.addr)
	add("TEXT_SIZE", p.text.bytes)
	values := []uint64{p.ehFrame.addr, p.ehFrame.bytes, p.ehHdr.addr, p.ehHdr.bytes}
	set := p.unwindSet()
	for i, name := range set {
		add(name, values[len(values)-len(set)+i])
	}
	if !l.Options.Unsized {
		add("ENCLAVE_SIZE", l.EnclaveSize)
	}
	if x := p.textNoSGX; x != nil {
		s = append(s, splice{what: "Section .text_no_sgx", addr: x.addr, size: x.bytes})
	}
	slices.SortStableFunc(s, func(a, b splice) int { return cmp.Compare(a.addr, b.addr) })
	return s
}

// splice places the segments and gives each the splices that lie in it, as the
// Fortanix tool does: one cursor runs over the sorted splices, so that one which
// lies in no segment stays and keeps all later ones from being used. What is
// left is returned.
func (l *Layout) splice(p *program) (left leftover, err error) {
	next := l.splicesOf(p)
	var at uint64 // the first free page
	for i, s := range p.phdrs {
		if s.typ != ptLoad {
			continue
		}
		if err := p.checkRange(fmt.Sprintf("Segment %d", i), s.offset, s.filesz, 1); err != nil {
			return left, err
		}
		d := placed{segment: s, index: uint32(len(l.segments)), end: s.vaddr + s.memsz}
		if s.vaddr+s.filesz < s.vaddr {
			return left, refuse(hintDamaged, "Segment %d (address 0x%x, file size 0x%x) ends beyond the address space", i, s.vaddr, s.filesz)
		}
		d.cut = s.vaddr + s.filesz
		if d.base() == 0 && s.flags&pfX != 0 {
			return left, refuse("link so that a read-only segment comes first (as ld.lld does, or ld -z separate-code)",
				"First page of the enclave should not be executable")
		}
		n, lost, err := d.take(next)
		if err != nil {
			return left, err
		}
		left = append(left, lost...)
		next = next[n:]
		if d.base() < at {
			return left, refuse(hintLayout, "The stream is not canonical.")
		}
		at = d.base() + d.region().Size
		l.segments = append(l.segments, d)
	}
	return append(left, next...), nil
}

// take gives s those of the splices that come next and lie in it, and returns
// how many it took, and which of them are cut off with .text_no_sgx.
func (s *placed) take(next []splice) (n int, lost leftover, err error) {
	for n < len(next) {
		x := next[n]
		if x.addr < s.base() || x.addr > s.end || x.size > s.end-x.addr {
			break
		}
		n++
		if end := x.addr + x.size; x.value == nil && end == s.end {
			for _, y := range s.splices {
				if y.addr+y.size > x.addr {
					y.lost = true
					lost = append(lost, y)
				}
			}
			s.end, s.cut = x.addr, min(s.cut, x.addr)
			break // what follows lies behind the new end
		} else if end > s.cut {
			return 0, nil, refuse(hintSymbolROM,
				"%s at 0x%x lies in .bss: the file has no contents there that could be overwritten", x.what, x.addr)
		}
		s.splices = append(s.splices, x)
	}
	return n, lost, nil
}

// leftover are the splices that found no place, or were cut off.
type leftover []splice

func (l leftover) err() error {
	if len(l) == 0 {
		return nil
	}
	if l[0].lost {
		return refuse(hintSymbolROM, "%s at 0x%x lies in .text_no_sgx, which is cut off: its value cannot be stored", l[0].what, l[0].addr)
	}
	return refuse(hintSymbolROM, "%s at 0x%x does not lie in a loadable segment: its value cannot be stored", l[0].what, l[0].addr)
}

// apply overwrites b, the contents at address addr, with the splices. Each
// reaches at most to the start of the next one.
func (s *placed) apply(b []byte, addr uint64) {
	for i, x := range s.splices {
		end := x.addr + x.size
		if i+1 < len(s.splices) {
			end = min(end, s.splices[i+1].addr)
		}
		from, to := max(x.addr, addr), min(end, addr+uint64(len(b)))
		for p := from; p < to; p++ {
			if x.value == nil {
				b[p-addr] = nop
			} else {
				b[p-addr] = x.value[p-x.addr]
			}
		}
	}
}
