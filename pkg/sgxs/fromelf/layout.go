package fromelf

import (
	"fmt"
	"io"
	"iter"
	"math/bits"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
)

// RegionKind says what a region is for.
type RegionKind uint8

// The kinds, in the order of an image.
const (
	RegionSegment RegionKind = iota // of the ELF
	RegionHeap
	RegionGuard // before a thread's stack; not mapped
	RegionStack
	RegionTLS
	RegionTCS
	RegionSSA
)

var regionNames = [...]string{"segment", "heap", "guard", "stack", "TLS", "TCS", "SSA"}

// String returns a word for people.
func (k RegionKind) String() string {
	if int(k) < len(regionNames) {
		return regionNames[k]
	}
	return fmt.Sprintf("region kind %d", uint8(k))
}

// Region is a run of pages of one kind. Offset and Size are multiples of the page
// size.
type Region struct {
	Kind     RegionKind
	Index    uint32 // of the LOAD segment or of the thread; 0 for the heap
	Offset   uint64 // from the enclave's base
	Size     uint64 // bytes
	Flags    sgx.SecInfoFlags
	Mapped   bool // has pages
	Measured bool // the pages' contents are; their presence always is
}

// Layout is what a converted program looks like.
//
//	0           segments, each at its address
//	HeapBase    heap
//	HeapBase + HeapSize + i * thread size: thread i
//	    +0           guard, 64 KiB, not mapped
//	    +0x10000     stack
//	    then         TLS page, TCS, SSA frame of SSAFrameSize pages
//	MemorySize  where appended data starts
//	EnclaveSize power of two
type Layout struct {
	Options     Options
	Entry       uint64 // of every TCS
	HeapBase    uint64
	MemorySize  uint64
	EnclaveSize uint64          // 0 if unsized
	SizeOffset  uint64          // where the program wants to read the size
	MREnclave   sgx.Measurement // zero unless Options.Measure

	threads  uint64 // offset of thread 0
	segments []placed
}

const (
	guardSize = 0x10000
	tlsSize   = sgx.PageSize
	numSSA    = 1 // SSA frames of a thread
)

// plan checks the ELF and lays the image out.
func plan(r io.ReaderAt, size int64, o Options) (*Layout, error) {
	f, err := load(r, size)
	if err != nil {
		return nil, err
	}
	p, err := check(f)
	if err != nil {
		return nil, err
	}
	l := &Layout{Options: o, Entry: p.symbols["sgx_entry"].addr, SizeOffset: p.symbols["ENCLAVE_SIZE"].addr}
	if err := l.place(p.phdrs); err != nil {
		return nil, err
	}
	left, err := l.splice(p)
	if err != nil {
		return nil, err
	}
	if err := l.checkPages(); err != nil {
		return nil, err
	}
	return l, left.err()
}

// place computes the places of the heap and of the threads.
func (l *Layout) place(phdrs []segment) error {
	end, any := uint64(0), false
	for i, s := range phdrs {
		if s.typ != ptLoad {
			continue
		}
		e, carry := bits.Add64(s.vaddr, s.memsz, 0)
		if carry != 0 || e > 1<<63 {
			return refuse(hintDamaged, "Segment %d (address 0x%x, size 0x%x) ends beyond the address space", i, s.vaddr, s.memsz)
		}
		end, any = max(end, e), true
	}
	if !any {
		return refuse(hintTarget, "No loadable segments found")
	}
	l.HeapBase = sgxs.SizeFitPage(end)
	over, sum := uint64(0), l.HeapBase
	add := func(hi, lo uint64) {
		var c uint64
		sum, c = bits.Add64(sum, lo, 0)
		over |= hi | c
	}
	add(0, l.Options.HeapSize)
	l.threads = sum
	thread, c := bits.Add64(l.Options.StackSize, l.threadOverhead(), 0)
	over |= c
	add(bits.Mul64(uint64(l.Options.Threads), thread))
	if over != 0 || sum > 1<<63 {
		return refuse(hintTooBig, "The enclave does not fit into the address space: heap 0x%x, %d threads with a stack of 0x%x each",
			l.Options.HeapSize, l.Options.Threads, l.Options.StackSize)
	}
	l.MemorySize = sum
	if !l.Options.Unsized {
		l.EnclaveSize = sgxs.SizeFitNatural(sum)
	}
	return nil
}

// threadOverhead is what a thread takes beside its stack.
func (l *Layout) threadOverhead() uint64 {
	return guardSize + tlsSize + sgx.TCSSize + numSSA*uint64(l.Options.SSAFrameSize)*sgx.PageSize
}

// thread returns the regions of a thread.
func (l *Layout) thread(i uint32) [5]Region {
	rw := Region{Index: i, Flags: sgx.SecInfoREGRW, Mapped: true}
	guard, stack, tls, tcs, ssa := Region{Kind: RegionGuard, Index: i}, rw, rw, rw, rw
	stack.Kind, tls.Kind, tcs.Kind, ssa.Kind = RegionStack, RegionTLS, RegionTCS, RegionSSA
	guard.Size, stack.Size, tls.Size, tcs.Size = guardSize, l.Options.StackSize, tlsSize, sgx.TCSSize
	ssa.Size = numSSA * uint64(l.Options.SSAFrameSize) * sgx.PageSize
	tls.Measured, tcs.Measured, tcs.Flags = true, true, sgx.SecInfoTCS

	guard.Offset = l.threads + uint64(i)*(l.Options.StackSize+l.threadOverhead())
	stack.Offset = guard.Offset + guard.Size
	tls.Offset = stack.Offset + stack.Size
	tcs.Offset = tls.Offset + tls.Size
	ssa.Offset = tcs.Offset + tcs.Size
	return [5]Region{guard, stack, tls, tcs, ssa}
}

func (l *Layout) heap() Region {
	return Region{Kind: RegionHeap, Offset: l.HeapBase, Size: l.Options.HeapSize &^ (sgx.PageSize - 1),
		Flags: sgx.SecInfoREGRW, Mapped: true}
}

// Regions yields the regions in ascending order; those without a byte are left
// out.
func (l *Layout) Regions() iter.Seq[Region] {
	return func(yield func(Region) bool) {
		for _, s := range l.segments {
			if r := s.region(); r.Size != 0 && !yield(r) {
				return
			}
		}
		if r := l.heap(); r.Size != 0 && !yield(r) {
			return
		}
		for i := range l.Options.Threads {
			for _, r := range l.thread(i) {
				if r.Size != 0 && !yield(r) {
					return
				}
			}
		}
	}
}

// checkPages checks the offsets of heap and threads. All threads are like the
// first, so its offsets tell for all of them.
func (l *Layout) checkPages() error {
	if l.Options.Threads == 0 {
		return nil
	}
	for _, r := range l.thread(0) {
		if r.Offset%sgx.PageSize != 0 {
			return refuse(hintAligned, "The given offset is not a multiple of the page size.")
		}
	}
	return nil
}
