package kvwire

import (
	"encoding/binary"
	"fmt"

	"github.com/enclaveos/eos/pkg/channel/wire"
)

var le = binary.LittleEndian

// cursor takes a payload apart. The first fault stays; after it all parts are empty.
type cursor struct {
	rest     []byte
	method   wire.Method
	response bool
	err      *Error
}

func request(m wire.Method, b []byte) *cursor  { return &cursor{rest: b, method: m} }
func response(m wire.Method, b []byte) *cursor { return &cursor{rest: b, method: m, response: true} }

func (c *cursor) fail(format string, args ...any) {
	if c.err == nil {
		c.err = &Error{c.method, c.response, fmt.Sprintf(format, args...)}
	}
	c.rest = nil
}

func (c *cursor) bytes(n uint64, what string) []byte {
	if uint64(len(c.rest)) < n {
		c.fail("%s: %d bytes are announced, %d are there", what, n, len(c.rest))
		return nil
	}
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cursor) u8(what string) byte {
	if b := c.bytes(1, what); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) u16(what string) uint64 {
	if b := c.bytes(2, what); b != nil {
		return uint64(le.Uint16(b))
	}
	return 0
}

func (c *cursor) u32(what string) uint64 {
	if b := c.bytes(4, what); b != nil {
		return uint64(le.Uint32(b))
	}
	return 0
}

func (c *cursor) u64(what string) uint64 {
	if b := c.bytes(8, what); b != nil {
		return le.Uint64(b)
	}
	return 0
}

func (c *cursor) table() string {
	t := c.bytes(c.u16("table"), "table")
	if len(t) == 0 || len(t) > MaxTable {
		c.fail("a table's name has %d bytes, not 1 to %d", len(t), MaxTable)
	}
	return string(t)
}

// key checks the length of a key.
func (c *cursor) key(k []byte) []byte {
	if len(k) == 0 || len(k) > MaxKey {
		c.fail("a key has %d bytes, not 1 to %d", len(k), MaxKey)
	}
	return k
}

// bound checks the length of a prefix or of an end of a range, which may be empty.
func (c *cursor) bound(k []byte, what string) []byte {
	if len(k) > MaxKey {
		c.fail("%s has %d bytes, at most %d", what, len(k), MaxKey)
	}
	return k
}

func (c *cursor) value(v []byte) []byte {
	if len(v) > MaxValue {
		c.fail("a value has %d bytes, at most %d", len(v), MaxValue)
	}
	return v
}

// count reads how many items of at least size bytes follow.
func (c *cursor) count(limit, size int) int {
	n := c.u32("count")
	if n > uint64(limit) || n > uint64(len(c.rest)/size) {
		c.fail("%d items are announced, of at most %d, in %d bytes", n, limit, len(c.rest))
		return 0
	}
	return int(n)
}

func (c *cursor) remains() []byte {
	b := c.rest
	c.rest = nil
	return b
}

// end is the verdict.
func (c *cursor) end() error {
	if c.err == nil && len(c.rest) > 0 {
		c.fail("%d bytes follow its end", len(c.rest))
	}
	if c.err != nil {
		return c.err
	}
	return nil
}

func putTable(b []byte, table string) []byte {
	return append(le.AppendUint16(b, uint16(len(table))), table...)
}

func putBytes(b, v []byte) []byte { return append(le.AppendUint32(b, uint32(len(v))), v...) }
