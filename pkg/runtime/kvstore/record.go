package kvstore

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

var (
	le = binary.LittleEndian
	be = binary.BigEndian
)

// format is the first byte of each record.
const format = 1

// First bytes of the keys of records.
const (
	kindCheckpoint = 'c' // and nothing else
	kindLog        = 'l' // and the commit's number, big-endian
	kindNode       = 'n' // and the node's number, big-endian
	kindValue      = 'v' // and the hidden name
)

func numbered(kind byte, n uint64) []byte { return be.AppendUint64([]byte{kind}, n) }

// version tells one writing of a key from all others. session is random, another one
// for each time that the store is opened, so that a store which was rolled back and has
// gone another way does not use the numbers of the first way again.
type version struct{ seq, session uint64 }

const versionSize = 16

func (v version) append(b []byte) []byte {
	return le.AppendUint64(le.AppendUint64(b, v.seq), v.session)
}

// valueOverhead is how much longer the record of a value is: format, version, nonce
// and tag.
const valueOverhead = 1 + versionSize + nonceSize + tagSize

// valueAAD binds a value to its table, name and version.
func valueAAD(table string, name [nameSize]byte, v version) []byte {
	b := make([]byte, 0, 64+len(table))
	b = append(b, "eos kv v1 value"...)
	b = append(b, byte(len(table)))
	b = append(b, table...)
	b = append(b, name[:]...)
	return v.append(b)
}

func (k *tableKeys) sealValue(table string, name [nameSize]byte, v version, value []byte) []byte {
	b := make([]byte, 0, valueOverhead+len(value))
	b = v.append(append(b, format))
	return k.values.seal(b, value, valueAAD(table, name, v))
}

// openValue opens the record of a value; the reason is empty if all is well.
func (k *tableKeys) openValue(table string, name [nameSize]byte, v version, size uint32, record []byte) (value []byte, reason string) {
	if len(record) < valueOverhead || record[0] != format {
		return nil, fmt.Sprintf("%d bytes that are no record of this format", len(record))
	}
	if got := (version{le.Uint64(record[1:]), le.Uint64(record[9:])}); got != v {
		return nil, fmt.Sprintf("version %d, the newest is %d", got.seq, v.seq)
	}
	value, ok := k.values.open(record[1+versionSize:], valueAAD(table, name, v))
	if !ok || uint64(len(value)) != uint64(size) {
		return nil, "changed, or the value of another key"
	}
	return value, ""
}

// digest is the end of the chain of commits.
type digest = [sha256.Size]byte

// logRecord is what one commit did.
type logRecord struct {
	prev    digest
	session uint64
	ops     []logOp
}

// logOp is a change of the index.
type logOp struct {
	key    string // table and key, as the index has them
	delete bool
	seq    uint64 // of a put's version
	size   uint32
}

// maxLogOp bounds the bytes of an operation beside its key.
const maxLogOp = 1 + binary.MaxVarintLen16 + binary.MaxVarintLen64 + binary.MaxVarintLen32

func (r *logRecord) appendText(b []byte) []byte {
	b = append(b, r.prev[:]...)
	b = le.AppendUint64(b, r.session)
	b = binary.AppendUvarint(b, uint64(len(r.ops)))
	for _, o := range r.ops {
		kind := byte(0)
		if o.delete {
			kind = 1
		}
		b = binary.AppendUvarint(append(b, kind), uint64(len(o.key)))
		b = append(b, o.key...)
		if !o.delete {
			b = binary.AppendUvarint(binary.AppendUvarint(b, o.seq), uint64(o.size))
		}
	}
	return b
}

// parseLog reads the text of a record of the log.
func parseLog(b []byte) (*logRecord, error) {
	c := cursor{rest: b}
	r := &logRecord{prev: digest(c.fixed(sha256.Size)), session: c.u64()}
	n := c.count(3)
	r.ops = make([]logOp, 0, n)
	for range n {
		var o logOp
		switch kind := c.fixed(1)[0]; kind {
		case 0:
		case 1:
			o.delete = true
		default:
			c.bad = true
		}
		o.key = string(c.bytes(maxIndexKey))
		if !o.delete {
			o.seq, o.size = c.uvarint(), c.size()
		}
		r.ops = append(r.ops, o)
	}
	return r, c.end()
}

// chain is the chain's end behind a commit with this text, which begins with the
// end before it.
func chain(text []byte) digest {
	h := sha256.New()
	h.Write([]byte("eos kv v1 chain"))
	h.Write(text)
	return digest(h.Sum(nil))
}

func logAAD(seq uint64) []byte { return le.AppendUint64([]byte("eos kv v1 log"), seq) }

// checkpoint is the index as it was after a commit.
type checkpoint struct {
	seq   uint64 // of the commit
	chain digest
	root  ref    // none if the index is empty
	next  uint64 // number of the next node
	last  uint64 // highest version
	keys  uint64
}

var checkpointAAD = []byte("eos kv v1 checkpoint")

func (p *checkpoint) appendText(b []byte) []byte {
	b = le.AppendUint64(b, p.seq)
	b = append(b, p.chain[:]...)
	for _, n := range []uint64{p.root.id, p.root.session, p.next, p.last, p.keys} {
		b = le.AppendUint64(b, n)
	}
	return b
}

func parseCheckpoint(b []byte) (*checkpoint, error) {
	c := cursor{rest: b}
	p := &checkpoint{seq: c.u64(), chain: digest(c.fixed(sha256.Size)), root: ref{c.u64(), c.u64()}, next: c.u64(), last: c.u64(), keys: c.u64()}
	return p, c.end()
}

// cursor takes a decrypted text apart. It is ours, so that nothing is told of what is
// wrong with it; but a decoder is strict all the same.
type cursor struct {
	rest []byte
	bad  bool
}

var errText = errors.New("a record opens, but its text is not of this format")

// fixed returns n bytes, zeros if there are fewer.
func (c *cursor) fixed(n int) []byte {
	if len(c.rest) < n {
		c.bad, c.rest = true, nil
		return make([]byte, n)
	}
	b := c.rest[:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cursor) u64() uint64 { return le.Uint64(c.fixed(8)) }

// uvarint refuses all but the shortest form.
func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.rest)
	if n <= 0 || n > 1 && c.rest[n-1] == 0 {
		c.bad, c.rest = true, nil
		return 0
	}
	c.rest = c.rest[n:]
	return v
}

func (c *cursor) size() uint32 {
	v := c.uvarint()
	if v > MaxValue {
		c.bad = true
	}
	return uint32(v)
}

// bytes returns bytes behind their length.
func (c *cursor) bytes(limit int) []byte {
	n := c.uvarint()
	if n > uint64(limit) || n > uint64(len(c.rest)) {
		c.bad, c.rest = true, nil
		return nil
	}
	return c.fixed(int(n))
}

// count reads how many items of at least size bytes follow.
func (c *cursor) count(size int) int {
	n := c.uvarint()
	if n > uint64(len(c.rest)/size) {
		c.bad, c.rest = true, nil
		return 0
	}
	return int(n)
}

func (c *cursor) end() error {
	if c.bad || len(c.rest) > 0 {
		return errText
	}
	return nil
}
