package meter

import (
	"fmt"
	"unicode/utf8"
)

// Error tells what is wrong with a module, and where.
type Error struct {
	Off  int    // byte offset into the module
	What string // for instance "function 3: threads instruction 0xfe: not supported"
}

func (e *Error) Error() string { return fmt.Sprintf("wasm: at byte %d: %s", e.Off, e.What) }

// reader decodes the binary format strictly. The first error sticks and empties
// the reader, so that loops over it end.
type reader struct {
	b    []byte
	off  int
	base int // offset of b[0] in the module
	err  *Error
}

func (r *reader) fail(format string, args ...any) {
	r.failAt(r.off, format, args...)
}

func (r *reader) failAt(off int, format string, args ...any) {
	if r.err == nil {
		r.err = &Error{Off: r.base + off, What: fmt.Sprintf(format, args...)}
	}
	r.off = len(r.b)
}

func (r *reader) left() int { return len(r.b) - r.off }
func (r *reader) ok() bool  { return r.err == nil }

func (r *reader) u8() byte {
	if r.off >= len(r.b) {
		r.fail("ends too early")
		return 0
	}
	c := r.b[r.off]
	r.off++
	return c
}

func (r *reader) bytes(n uint32) []byte {
	if uint64(n) > uint64(r.left()) {
		r.fail("%d bytes wanted, %d left", n, r.left())
		return nil
	}
	b := r.b[r.off : r.off+int(n)]
	r.off += int(n)
	return b
}

// leb reads a LEB128 number of at most bits bits, with the unused bits of the
// last byte as the specification wants them.
func (r *reader) leb(bits uint, signed bool) int64 {
	start := r.off
	var v uint64
	for shift := uint(0); ; shift += 7 {
		c := r.u8()
		if !r.ok() {
			return 0
		}
		v |= uint64(c&0x7f) << shift
		if shift+7 >= bits { // the last byte that there may be
			used := bits - shift
			rest := c & 0x7f >> used
			if signed && used < 7 && c>>(used-1)&1 == 1 {
				rest ^= 0x7f >> used
			}
			if c&0x80 != 0 || rest != 0 {
				r.failAt(start, "number longer than %d bits", bits)
				return 0
			}
		}
		if c&0x80 == 0 {
			if signed && shift+7 < 64 && c&0x40 != 0 {
				v |= ^uint64(0) << (shift + 7)
			}
			return int64(v)
		}
	}
}

func (r *reader) u32() uint32 { return uint32(r.leb(32, false)) }

// count reads the length of a vector whose items take at least size bytes each.
func (r *reader) count(what string, size int) int {
	n := r.u32()
	if uint64(n)*uint64(size) > uint64(r.left()) {
		r.fail("%d %s in %d bytes", n, what, r.left())
		return 0
	}
	return int(n)
}

func (r *reader) name() string {
	start := r.off
	b := r.bytes(r.u32())
	if r.ok() && !utf8.Valid(b) {
		r.failAt(start, "name is not UTF-8")
	}
	return string(b)
}

// Value types.
const (
	tI32       = 0x7f
	tI64       = 0x7e
	tF32       = 0x7d
	tF64       = 0x7c
	tV128      = 0x7b
	tFuncref   = 0x70
	tExternref = 0x6f
)

func (r *reader) valueType() byte {
	t := r.u8()
	switch t {
	case tI32, tI64, tF32, tF64, tV128, tFuncref, tExternref:
	case 0x63, 0x64:
		r.failAt(r.off-1, "typed function references: not supported")
	default:
		r.failAt(r.off-1, "value type %#x: not supported", t)
	}
	return t
}

func (r *reader) refType() byte {
	t := r.valueType()
	if r.ok() && t != tFuncref && t != tExternref {
		r.failAt(r.off-1, "reference type wanted, not %#x", t)
	}
	return t
}

// appendU32 appends the shortest LEB128 form.
func appendU32(b []byte, v uint32) []byte {
	for ; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

// appendS64 appends the shortest signed LEB128 form.
func appendS64(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func appendName(b []byte, s string) []byte {
	return append(appendU32(b, uint32(len(s))), s...)
}
