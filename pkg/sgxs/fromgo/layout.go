package fromgo

import (
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/wall"
)

// RegionKind is what a region is for.
type RegionKind uint8

// The kinds of regions.
const (
	RegionBoot RegionKind = iota
	RegionCode
	RegionReadOnly
	RegionData
	RegionZero
	RegionTCS
	RegionSSA
	RegionTPA
	RegionKernelStack
	RegionExceptionStack
	RegionStack
	RegionMeta
	RegionHeap
	RegionExec
	RegionFiles
	RegionEnd
	RegionPayload
)

var regionNames = [...]string{
	"boot, environment, info", "code", "read-only data", "data", "zero data", "TCS", "SSA", "thread area",
	"kernel stack", "exception stack", "main stack", "runtime tables", "heap", "code area (RWX)", "file tree", "end", "payload",
}

func (k RegionKind) String() string { return regionNames[k] }

// OfThread reports whether each thread has a region of this kind.
func (k RegionKind) OfThread() bool { return k >= RegionTCS && k <= RegionExceptionStack }

// Region is a run of pages of an image.
type Region struct {
	Kind     RegionKind
	Offset   uint64
	Size     uint64
	Flags    sgx.SecInfoFlags
	Measured bool
	data     []byte // nil: zeros
}

// Sizes of what the builder adds.
const (
	stackSize  = 256 << 10
	metaSize   = 8 << 20 // and one byte for each 64 of the heap
	arenaSize  = 64 << 20
	extraRange = 256 << 20 // of addresses, for reservations
)

// Layout is where everything in an image is.
type Layout struct {
	Boot    wall.Boot
	Regions []Region // ascending
	Size    uint64   // of ELRANGE, 0 if it is open
	End     uint64   // of the last page
}

// layOut places the program and all that is around it. env and info go behind
// the boot page, the file tree behind everything.
func layOut(p *program, o *Options, env, info, tree []byte) (*Layout, error) {
	l := &Layout{Boot: wall.Boot{
		Magic: wall.BootMagic, ABI: wall.ABI, Base: wall.Base, Entry: wall.Base + p.entry,
		Threads: uint64(o.Threads) + 1, // the last is the kernel's, for ecall_shutdown
		TextLo:  wall.Base + p.text, TextHi: wall.Base + p.etext,
		ZeroLo: wall.Base + p.zero.lo, ZeroHi: wall.Base + p.zero.hi,
	}}
	b := &l.Boot
	if o.Debug {
		b.Flags |= wall.BootDebug
	}
	head := make([]byte, pageSize)
	b.Env, b.EnvLen = wall.Base+uint64(len(head)), uint64(len(env))
	head = append(head, env...)
	b.Info, b.InfoLen = wall.Base+uint64(len(head)), uint64(len(info))
	head = append(head, info...)
	l.add(RegionBoot, wall.BootOff, pageUp(uint64(len(head))), sgx.SecInfoREGR, head)
	if first := p.segments[0].off; l.End > first {
		return nil, refuse("", "environment and modules take %d KiB; there are %d", l.End>>10, first>>10)
	}
	l.addProgram(p)

	at := alignUp(l.End+pageSize, wall.BlockSize)
	b.Blocks = wall.Base + at
	for range b.Threads {
		l.addThread(at, p.entry)
		at += wall.BlockSize
	}
	at += pageSize // a guard
	b.StackLo, b.StackHi = l.addMemory(RegionStack, at, stackSize, sgx.SecInfoREGRW)
	at += stackSize + pageSize
	b.MetaLo, b.MetaHi = l.addMemory(RegionMeta, at, metaSize+pageUp(o.HeapSize/64), sgx.SecInfoREGRW)
	at = alignUp(b.MetaHi-wall.Base, arenaSize)
	b.HeapLo, b.HeapEnd = l.addMemory(RegionHeap, at, o.HeapSize, sgx.SecInfoREGRW)
	at = alignUp(b.HeapEnd-wall.Base, arenaSize) + extraRange
	b.HeapHi = wall.Base + at
	b.CodeLo, b.CodeHi = l.addMemory(RegionExec, at, o.CodeSize, sgx.SecInfoREGRW|sgx.SecInfoX)
	if len(tree) > 0 {
		b.Files, b.FilesLen = b.CodeHi, uint64(len(tree))
		l.add(RegionFiles, b.Files-wall.Base, pageUp(b.FilesLen), sgx.SecInfoREGR, tree)
	}
	if o.Unsized || o.Payload {
		// What is appended starts behind the last page: not amid the heap's
		// addresses.
		l.add(RegionEnd, max(b.CodeHi-wall.Base, l.End), pageSize, sgx.SecInfoREGR, make([]byte, 1))
		if o.Payload {
			b.Payload = wall.Base + l.End
		}
	} else {
		l.Size = nextPowerOfTwo(max(b.CodeHi-wall.Base, l.End))
		b.Size = l.Size
	}
	boot := l.Regions[0].data
	copy(boot, b.AppendBinary(nil))
	return l, nil
}

func alignUp(n, to uint64) uint64 { return (n + to - 1) &^ (to - 1) }

// add adds a region. A nil data makes one that is not measured, whose content
// nobody can trust.
func (l *Layout) add(kind RegionKind, off, size uint64, flags sgx.SecInfoFlags, data []byte) {
	if size == 0 {
		return
	}
	l.Regions = append(l.Regions, Region{kind, off, size, flags, data != nil, data})
	l.End = off + size
}

// addMemory adds a region that is not measured and returns its addresses.
func (l *Layout) addMemory(kind RegionKind, off, size uint64, flags sgx.SecInfoFlags) (lo, hi uint64) {
	l.add(kind, off, size, flags, nil)
	return wall.Base + off, wall.Base + off + size
}

func (l *Layout) addProgram(p *program) {
	// Pages of nothing but relocations have had their use.
	spent := span{pageUp(p.relocSection.lo), p.relocSection.hi &^ (pageSize - 1)}
	for _, s := range p.segments {
		kind := RegionReadOnly
		switch {
		case s.flags&sgx.SecInfoX != 0:
			kind = RegionCode
		case s.flags&sgx.SecInfoW != 0:
			kind = RegionData
		}
		if spent.lo < spent.hi && spent.lo >= s.off && spent.hi <= s.end() {
			l.add(kind, s.off, spent.lo-s.off, s.flags, s.data[:spent.lo-s.off])
			l.add(kind, spent.hi, s.end()-spent.hi, s.flags, s.data[spent.hi-s.off:])
			continue
		}
		l.add(kind, s.off, uint64(len(s.data)), s.flags, s.data)
	}
	l.add(RegionZero, p.zero.lo, p.zero.size(), sgx.SecInfoREGRW, nil)
}

// addThread adds a thread's block.
func (l *Layout) addThread(at, entry uint64) {
	tcs := sgx.TCS{
		OSSA: at + wall.BlockSSA, NSSA: wall.SSAFrames, OEntry: entry,
		OGSBase: at + wall.BlockTPA, FSLimit: ^uint32(0), GSLimit: ^uint32(0),
	}
	b, _ := tcs.AppendBinary(nil)
	l.add(RegionTCS, at, pageSize, sgx.SecInfoTCS, b)
	l.addMemory(RegionSSA, at+wall.BlockSSA, wall.SSAFrames*wall.SSAFrameSize*pageSize, sgx.SecInfoREGRW)
	l.add(RegionTPA, at+wall.BlockTPA, pageSize, sgx.SecInfoREGRW, make([]byte, 1))
	l.addMemory(RegionKernelStack, at+wall.BlockKStack, wall.KStackSize, sgx.SecInfoREGRW)
	l.addMemory(RegionExceptionStack, at+wall.BlockEStack, wall.EStackSize, sgx.SecInfoREGRW)
}
