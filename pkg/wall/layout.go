package wall

// Base is where every Go image is loaded: 2^44. A fixed address lets the
// builder apply all relocations, so that the measured pages are the final ones.
const Base = 1 << 44

// BootOff is the offset of the boot page: the first page of the image, R--,
// measured. Go programs are linked above it.
const BootOff = 0

// A thread's block. Its TCS page is at the start; GS base is the thread area
// (TPA). All pages but the guards are present; TCS, SSA and TPA are measured.
//
//	0x00000  TCS
//	0x01000  SSA frames 0 and 1, one page each
//	0x03000  TPA, zero at the start
//	0x04000  guard
//	0x05000  kernel stack, 96 KiB
//	0x1d000  guard
//	0x1e000  exception stack, 8 KiB
const (
	BlockSize    = 0x20000
	BlockSSA     = 0x1000
	BlockTPA     = 0x3000
	BlockKStack  = 0x5000
	KStackSize   = 0x18000
	BlockEStack  = 0x1e000
	EStackSize   = 0x2000
	SSAFrames    = 2
	SSAFrameSize = 1 // pages
)

// MaxThreads is the largest number of TCSs of an image.
const MaxThreads = 64

// Boot is the boot page's first part: what the kernel wants to know. All
// addresses are absolute. The builder writes it, the kernel reads it where it
// lies, the host reads it to know what kind of image it has.
//
//	0    8  magic "EOSBOOT1"
//	8    8  ELRANGE base
//	16   8  ELRANGE size
//	24   8  entry (OENTRY, absolute)
//	32   8  first thread block
//	40   8  number of threads
//	48   8  main stack, low end     56  8  high end
//	64   8  meta area, low end      72  8  high end   (small mappings of the Go runtime)
//	80   8  heap arena, low end     88  8  high end of the address range
//	96   8  high end of the heap arena's pages that exist
//	104  8  code area, low end      112 8  high end   (RWX; equal if there is none)
//	120  8  env: absolute address   128 8  its length (NUL-terminated K=V strings)
//	136  8  info: absolute address  144 8  its length (JSON, for people; see BuildInfo)
//	152  8  flags: bit 0 the program may print full traces (debug builds)
//	160  8  the Go symbol runtime.text, absolute   168  8  runtime.etext
//	176  8  zero data, low end      184 8  high end   (not measured; the kernel clears it)
//	192  8  file tree: absolute address   200  8  its length, 0 if there is none
//	208  8  payload: absolute address, 0 if the image takes none
//	216  8  the ABI that the kernel speaks; 0 in images of before there was this field
//
// env and info lie in the pages behind the boot page, R--, measured. So does the
// file tree, behind everything else. It is: u64 number of entries, u64 index of
// the working directory, the entries, and what they refer to. The first entry is
// the root, each other comes after its directory. Indices count from 1.
//
// An image that takes a payload is made without one and with its size open. The
// payload is appended behind its last page: PayloadHeader bytes, then the payload,
// then zeros to the end of its last page. These pages are R--, measured.
type Boot struct {
	Magic             uint64
	Base, Size, Entry uint64
	Blocks, Threads   uint64
	StackLo, StackHi  uint64
	MetaLo, MetaHi    uint64
	HeapLo, HeapHi    uint64
	HeapEnd           uint64
	CodeLo, CodeHi    uint64
	Env, EnvLen       uint64
	Info, InfoLen     uint64
	Flags             uint64
	TextLo, TextHi    uint64
	ZeroLo, ZeroHi    uint64
	Files, FilesLen   uint64
	Payload           uint64
	ABI               uint64
}

// FileEntry is a file or directory of the tree. Name and Data are offsets from the
// start of the tree.
type FileEntry struct {
	Parent        uint64 // index of the directory; 0 for the root
	Dir           uint64 // 1 for a directory
	Name, NameLen uint64
	Data, Size    uint64
}

// FileEntrySize is the size of FileEntry in bytes.
const FileEntrySize = 48

// BootMagic is "EOSBOOT1", little-endian.
const BootMagic = 0x31544f4f42534f45

// BootSize is the size of Boot in bytes.
const BootSize = 224

// PayloadHeader is the size of what stands before a payload: PayloadMagic and the
// payload's length, eight bytes each.
const PayloadHeader = 16

// PayloadMagic is "EOSPAYLD", little-endian.
const PayloadMagic = 0x444c594150534f45
