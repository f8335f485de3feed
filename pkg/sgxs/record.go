package sgxs

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/enclaveos/eos/pkg/sgx"
)

var le = binary.LittleEndian

// Sizes of the parts of a record in bytes.
const (
	HeaderSize = 64            // every record starts with a header
	DataSize   = sgx.ChunkSize // of the chunk that follows an EEXTEND or UNMEASRD header
	chunkSize  = HeaderSize + DataSize
)

// Kind says what a record is.
type Kind uint8

// The kinds of records. The zero value is none of them.
const (
	KindECreate    Kind = iota + 1 // start of an enclave of known size
	KindUnsized                    // start of an enclave whose size is filled in later
	KindEAdd                       // a page
	KindEExtend                    // a chunk of the page before, measured
	KindUnmeasured                 // a chunk of the page before, loaded but not measured
)

// Tags as the little-endian number of the first eight bytes.
const (
	tagECreate    = 0x0045544145524345 // "ECREATE\0"
	tagUnsized    = 0x0044455a49534e55 // "UNSIZED\0"
	tagEAdd       = 0x0000000044444145 // "EADD\0\0\0\0"
	tagEExtend    = 0x00444e4554584545 // "EEXTEND\0"
	tagUnmeasured = 0x44525341454d4e55 // "UNMEASRD"
)

// String returns the tag as it stands in the stream, for example "UNMEASRD".
func (k Kind) String() string {
	switch k {
	case KindECreate:
		return "ECREATE"
	case KindUnsized:
		return "UNSIZED"
	case KindEAdd:
		return "EADD"
	case KindEExtend:
		return "EEXTEND"
	case KindUnmeasured:
		return "UNMEASRD"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// hasData reports whether a chunk follows the header.
func (k Kind) hasData() bool { return k == KindEExtend || k == KindUnmeasured }

// Record is one record of a stream. Which fields count depends on Kind; the
// others are zero.
//
//	            header bytes                                  then
//	ECREATE     0 tag, 8 u32 SSAFrameSize, 12 u64 Size        -
//	UNSIZED     0 tag, 8 u32 SSAFrameSize, 12 u64 SizeOffset  -
//	EADD        0 tag, 8 u64 Offset, 16 u64 Flags             -
//	EEXTEND     0 tag, 8 u64 Offset                           256 bytes
//	UNMEASRD    0 tag, 8 u64 Offset                           256 bytes
//
// The rest of the 64 header bytes is reserved and zero.
type Record struct {
	Kind         Kind
	SSAFrameSize uint32           // ECREATE, UNSIZED: pages of one SSA frame
	Size         uint64           // ECREATE: bytes of address space
	SizeOffset   uint64           // UNSIZED: where in the enclave the size is to be stored, 8 bytes
	Offset       uint64           // EADD: of the page; EEXTEND, UNMEASRD: of the chunk
	Flags        sgx.SecInfoFlags // EADD
	Data         []byte           // EEXTEND, UNMEASRD: the 256 bytes, valid until the next call of Next
}

// RecordReader is a source of records. Next returns io.EOF at the clean end
// of the stream.
type RecordReader interface {
	Next() (Record, error)
}

// String returns for example "EADD 0x1000 REG r-x".
func (r Record) String() string {
	switch r.Kind {
	case KindECreate:
		return fmt.Sprintf("ECREATE size %#x, SSA frame %d pages", r.Size, r.SSAFrameSize)
	case KindUnsized:
		return fmt.Sprintf("UNSIZED size offset %#x, SSA frame %d pages", r.SizeOffset, r.SSAFrameSize)
	case KindEAdd:
		return fmt.Sprintf("EADD %#x %v", r.Offset, r.Flags)
	}
	return fmt.Sprintf("%v %#x", r.Kind, r.Offset)
}

// AppendBinary appends the record, 64 or 320 bytes, to dst. It fails if Kind
// is not a kind or a chunk has not 256 bytes.
func (r *Record) AppendBinary(dst []byte) ([]byte, error) {
	if what := r.fault(); what != "" {
		return dst, fmt.Errorf("sgxs: %s", what)
	}
	n := len(dst)
	dst = append(dst, make([]byte, HeaderSize)...)
	r.putHeader(dst[n:])
	return append(dst, r.Data...), nil
}

// fault says why r has no encoding, "" if it has one.
func (r *Record) fault() string {
	switch {
	case r.Kind < KindECreate || r.Kind > KindUnmeasured:
		return fmt.Sprintf("no such record: %v", r.Kind)
	case r.Kind.hasData() && len(r.Data) != DataSize:
		return fmt.Sprintf("%v with %d bytes of data, want %d", r.Kind, len(r.Data), DataSize)
	case !r.Kind.hasData() && len(r.Data) != 0:
		return fmt.Sprintf("%v with %d bytes of data, want none", r.Kind, len(r.Data))
	}
	return ""
}

// putHeader writes all HeaderSize bytes of b.
func (r *Record) putHeader(b []byte) {
	b = b[:HeaderSize]
	clear(b)
	switch r.Kind {
	case KindECreate:
		le.PutUint64(b, tagECreate)
		le.PutUint32(b[8:], r.SSAFrameSize)
		le.PutUint64(b[12:], r.Size)
	case KindUnsized:
		le.PutUint64(b, tagUnsized)
		le.PutUint32(b[8:], r.SSAFrameSize)
		le.PutUint64(b[12:], r.SizeOffset)
	case KindEAdd:
		le.PutUint64(b, tagEAdd)
		le.PutUint64(b[8:], r.Offset)
		le.PutUint64(b[16:], uint64(r.Flags))
	case KindEExtend:
		le.PutUint64(b, tagEExtend)
		le.PutUint64(b[8:], r.Offset)
	case KindUnmeasured:
		le.PutUint64(b, tagUnmeasured)
		le.PutUint64(b[8:], r.Offset)
	}
}

// parseHeader reads the fields of a header. reserved is the index of the
// first reserved byte that is not zero, 0 if there is none. It returns false
// if the tag is unknown.
func (r *Record) parseHeader(b []byte) (reserved int, ok bool) {
	b = b[:HeaderSize]
	*r = Record{}
	first := 16
	switch le.Uint64(b) {
	case tagECreate:
		r.Kind = KindECreate
		r.SSAFrameSize, r.Size = le.Uint32(b[8:]), le.Uint64(b[12:])
		first = 20
	case tagUnsized:
		r.Kind = KindUnsized
		r.SSAFrameSize, r.SizeOffset = le.Uint32(b[8:]), le.Uint64(b[12:])
		first = 20
	case tagEAdd:
		r.Kind = KindEAdd
		r.Offset, r.Flags = le.Uint64(b[8:]), sgx.SecInfoFlags(le.Uint64(b[16:]))
		first = 24
	case tagEExtend:
		r.Kind = KindEExtend
		r.Offset = le.Uint64(b[8:])
	case tagUnmeasured:
		r.Kind = KindUnmeasured
		r.Offset = le.Uint64(b[8:])
	default:
		return 0, false
	}
	// Nearly always zero: look at the words that are reserved in every kind
	// first, byte by byte only if one is not.
	if le.Uint64(b[24:])|le.Uint64(b[32:])|le.Uint64(b[40:])|le.Uint64(b[48:])|le.Uint64(b[56:]) != 0 ||
		first < 24 && (le.Uint32(b[20:]) != 0 || first < 20 && le.Uint32(b[16:]) != 0) {
		for i := first; i < HeaderSize; i++ {
			if b[i] != 0 {
				return i, true
			}
		}
	}
	return 0, true
}

// SizeFitNatural returns the size of the naturally aligned range that holds n
// bytes: the smallest power of two that is not less than n. It is 0 for 0 and
// for n above 1<<63.
func SizeFitNatural(n uint64) uint64 {
	if n == 0 {
		return 0
	}
	return 1 << bits.Len64(n-1)
}

// SizeFitPage returns n rounded up to whole pages, 0 if that does not fit.
func SizeFitPage(n uint64) uint64 { return (n + sgx.PageSize - 1) &^ (sgx.PageSize - 1) }
