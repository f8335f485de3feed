package kvstore

import (
	"encoding/binary"
	"slices"
	"sync/atomic"
)

// ref names the record of a node. The pair is never used twice, and it is a part of
// the record's additional data: so a parent, which has its children's refs, vouches for
// them, and the host can give nothing else in place of one.
type ref struct{ id, session uint64 }

func nodeAAD(r ref) []byte {
	return le.AppendUint64(le.AppendUint64([]byte("eos kv v1 node"), r.id), r.session)
}

// entry is what the index knows of a key.
type entry struct {
	version version
	size    uint32  // of the value
	value   *[]byte // if it is in memory; not to be written to
}

// node is a node of the index: a leaf has keys and entries; an inner node has kids,
// and keys[i] is the least key below kids[i+1].
type node struct {
	ref     ref // zero if the host has no record of this state: the node is dirty
	size    int // in memory, about
	keys    []string
	entries []entry
	kids    []kid
	gone    bool        // from the tree; the host may have it
	used    atomic.Bool // since eviction last looked
}

// kid is a child: in memory, or only with the host.
type kid struct {
	n   *node
	ref ref // if n is nil
}

func (n *node) leaf() bool { return n.kids == nil }

// Sizes of nodes. A leaf of the usual keys has about 3 KiB with the host.
const (
	maxLeaf  = 64    // entries
	maxInner = 128   // kids
	maxNode  = 16384 // bytes of keys
)

// Memory that an element takes beside its key.
const (
	entryMemory = 16 + 32 // string header, entry
	kidMemory   = 16 + 24
	nodeMemory  = 128
)

func (n *node) measure() int {
	size := nodeMemory + len(n.keys)*entryMemory + len(n.kids)*kidMemory
	for _, k := range n.keys {
		size += len(k)
	}
	return size
}

func (n *node) full() bool {
	if n.leaf() {
		return len(n.keys) > maxLeaf || n.size > maxNode+maxLeaf*entryMemory && len(n.keys) > 1
	}
	return len(n.kids) > maxInner || n.size > maxNode+maxInner*(entryMemory+kidMemory) && len(n.kids) > 3
}

// child is the index of the kid below which key is.
func (n *node) child(key string) int {
	i, found := slices.BinarySearch(n.keys, key)
	if found {
		i++
	}
	return i
}

// kidRef is the ref of a kid, wherever it is.
func (n *node) kidRef(i int) ref {
	if k := n.kids[i]; k.n == nil {
		return k.ref
	}
	return n.kids[i].n.ref
}

// appendText appends what a node's record says. Keys share what they begin with with
// the key before; sessions are named once.
//
//	u8       0 leaf, 1 inner
//	uvarint  sessions, u64 each
//	uvarint  entries or kids; each (but for the first kid) begins with
//	         uvarint shared bytes, uvarint further bytes, these
//	         leaf:   uvarint session's index, version, size
//	         inner:  uvarint session's index, id
func (n *node) appendText(b []byte) []byte {
	var sessions []uint64
	index := func(s uint64) uint64 {
		i := slices.Index(sessions, s)
		if i < 0 {
			i = len(sessions)
			sessions = append(sessions, s)
		}
		return uint64(i)
	}
	body := make([]byte, 0, n.size)
	put := func(v uint64) { body = binary.AppendUvarint(body, v) }
	last := ""
	key := func(k string) {
		shared := 0
		for shared < len(k) && shared < len(last) && k[shared] == last[shared] {
			shared++
		}
		put(uint64(shared))
		put(uint64(len(k) - shared))
		body = append(body, k[shared:]...)
		last = k
	}
	if n.leaf() {
		for i, e := range n.entries {
			key(n.keys[i])
			put(index(e.version.session))
			put(e.version.seq)
			put(uint64(e.size))
		}
	} else {
		for i := range n.kids {
			if i > 0 {
				key(n.keys[i-1])
			}
			r := n.kidRef(i)
			put(index(r.session))
			put(r.id)
		}
	}
	kind, count := byte(0), len(n.entries)
	if !n.leaf() {
		kind, count = 1, len(n.kids)
	}
	b = binary.AppendUvarint(append(b, kind), uint64(len(sessions)))
	for _, s := range sessions {
		b = le.AppendUint64(b, s)
	}
	return append(binary.AppendUvarint(b, uint64(count)), body...)
}

// parseNode is the inverse.
func parseNode(b []byte) (*node, error) {
	c := cursor{rest: b}
	n := &node{}
	kind := c.fixed(1)[0]
	sessions := make([]uint64, c.count(8))
	for i := range sessions {
		sessions[i] = c.u64()
	}
	seen := 0
	session := func() uint64 {
		i := c.uvarint()
		if i >= uint64(len(sessions)) || i > uint64(seen) {
			c.bad = true
			return 0
		}
		seen = max(seen, int(i)+1)
		return sessions[i]
	}
	last, first := "", true
	key := func() string {
		shared := c.uvarint()
		rest := c.bytes(maxIndexKey)
		if shared > uint64(len(last)) || shared+uint64(len(rest)) > maxIndexKey ||
			shared < uint64(len(last)) && len(rest) > 0 && rest[0] == last[shared] {
			c.bad = true
			return ""
		}
		k := last[:shared] + string(rest)
		if !first && k <= last {
			c.bad = true
		}
		last, first = k, false
		return k
	}
	switch kind {
	case 0:
		for range c.count(5) {
			n.keys = append(n.keys, key())
			n.entries = append(n.entries, entry{version: version{session: session(), seq: c.uvarint()}, size: c.size()})
		}
	case 1:
		n.kids = []kid{}
		for i := range c.count(2) {
			if i > 0 {
				n.keys = append(n.keys, key())
			}
			n.kids = append(n.kids, kid{ref: ref{session: session(), id: c.uvarint()}})
			c.bad = c.bad || n.kids[i].ref == ref{}
		}
	default:
		c.bad = true
	}
	if seen != len(sessions) || len(n.entries) == 0 && len(n.kids) == 0 {
		c.bad = true
	}
	n.size = n.measure()
	return n, c.end()
}
