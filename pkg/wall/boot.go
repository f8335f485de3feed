package wall

// ABI is the number of this wall. It goes up when an image and a host that know
// different ones would not understand each other.
//
//	1  the first
//	2  a connection's first window is a page; flags in the RunDesc; ECallShutdown has an argument
const ABI = 2

// The bits of Boot.Flags.
const (
	BootDebug = 1 << 0 // the program may print full traces
)

// BootError says why a boot page is none.
type BootError string

func (e BootError) Error() string { return "boot page: " + string(e) }

// fields are the words of a boot page, in their order.
func (b *Boot) fields() [BootSize / 8]*uint64 {
	return [...]*uint64{
		&b.Magic, &b.Base, &b.Size, &b.Entry, &b.Blocks, &b.Threads, &b.StackLo, &b.StackHi, &b.MetaLo, &b.MetaHi, &b.HeapLo, &b.HeapHi, &b.HeapEnd,
		&b.CodeLo, &b.CodeHi, &b.Env, &b.EnvLen, &b.Info, &b.InfoLen, &b.Flags, &b.TextLo, &b.TextHi, &b.ZeroLo, &b.ZeroHi,
		&b.Files, &b.FilesLen, &b.Payload, &b.ABI,
	}
}

// AppendBinary appends the BootSize bytes of b to dst.
func (b *Boot) AppendBinary(dst []byte) []byte {
	for _, f := range b.fields() {
		for i := range 8 {
			dst = append(dst, byte(*f>>(8*i)))
		}
	}
	return dst
}

// IsBoot reports whether a page begins as the boot page of a Go image does.
func IsBoot(page []byte) bool {
	const magic = "EOSBOOT1"
	return len(page) >= len(magic) && string(page[:len(magic)]) == magic
}

// ParseBoot reads the boot page of an image, or its first BootSize bytes. What
// it returns is consistent: ranges do not run backwards or overlap, and lie in
// ELRANGE if that has a size yet.
func ParseBoot(page []byte) (*Boot, error) {
	if len(page) < BootSize {
		return nil, BootError("too short")
	}
	b := new(Boot)
	for i, f := range b.fields() {
		for j := range 8 {
			*f |= uint64(page[8*i+j]) << (8 * j)
		}
	}
	if what := b.fault(); what != "" {
		return nil, BootError(what)
	}
	return b, nil
}

// MaxSize is the largest ELRANGE of a Go image.
const MaxSize = 1 << 40

func (b *Boot) fault() string {
	end := uint64(Base + MaxSize)
	switch {
	case b.Magic != BootMagic:
		return "no EOSBOOT1 at its start"
	case b.Base != Base:
		return "an unknown base address"
	case b.Size > MaxSize || b.Size&(b.Size-1) != 0:
		return "the size of ELRANGE is not a power of two, or too big"
	case b.Threads == 0 || b.Threads > MaxThreads:
		return "too few or too many threads"
	case b.Flags&^BootDebug != 0:
		return "unknown flags"
	}
	if b.Size != 0 {
		end = Base + b.Size
	}
	if b.Blocks < Base || b.Blocks > end || b.Threads*BlockSize > end-b.Blocks {
		return "thread blocks outside of ELRANGE"
	}
	// The areas in the order of their addresses.
	const start = Base + BootOff
	at := uint64(start)
	for _, r := range [...]struct {
		lo, hi uint64
		pages  bool
		what   string
	}{
		{start + 0x1000, start + 0x1000, true, ""},
		{b.Env, b.Env + b.EnvLen, false, "environment"},
		{b.Info, b.Info + b.InfoLen, false, "info"},
		{b.TextLo, b.TextHi, false, "code"},
		{b.ZeroLo, b.ZeroHi, true, "zero data"},
		{b.Blocks, b.Blocks + b.Threads*BlockSize, true, "thread blocks"},
		{b.StackLo, b.StackHi, true, "stack"},
		{b.MetaLo, b.MetaHi, true, "meta area"},
		{b.HeapLo, b.HeapHi, true, "heap"},
		{b.CodeLo, b.CodeHi, true, "code area"},
	} {
		if r.lo < at || r.hi < r.lo || r.hi > end || r.pages && (r.lo|r.hi)&0xfff != 0 {
			return r.what + " is misplaced"
		}
		at = r.hi
	}
	if b.FilesLen != 0 && (b.Files < at || b.Files > end || b.FilesLen > end-b.Files || b.FilesLen < 16+FileEntrySize) {
		return "file tree is misplaced"
	}
	if b.FilesLen != 0 {
		at = b.Files + b.FilesLen
	}
	if b.Payload != 0 && (b.Payload < at || b.Payload > end || b.Payload&0xfff != 0) {
		return "payload is misplaced"
	}
	if b.Entry < b.TextLo || b.Entry >= b.TextHi {
		return "the entry is not in the code"
	}
	if b.HeapEnd < b.HeapLo || b.HeapEnd > b.HeapHi || b.HeapEnd&0xfff != 0 {
		return "the heap's end is misplaced"
	}
	return ""
}
