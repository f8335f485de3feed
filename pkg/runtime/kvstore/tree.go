package kvstore

import "slices"

// tree is the index: a B+tree of all keys of all tables, in order. It is complete and
// authentic; what is not in memory has a record with the host, which the parent in
// memory vouches for. Methods that change it need its owner's lock for writing.
type tree struct {
	root    *node
	keys    uint64
	memory  int   // of all nodes in memory, about, in bytes
	values  int   // of values in memory, not counted in it
	dirty   int   // of the dirty ones
	garbage []ref // records of which the next checkpoint has no need
}

func newTree() *tree {
	t := &tree{root: &node{}}
	t.root.size = t.root.measure()
	t.memory, t.dirty = t.root.size, t.root.size
	return t
}

// miss is a node that a walk needs and that is not in memory.
type miss struct {
	parent *node
	ref    ref
}

// find looks a key up.
func (t *tree) find(key string) (e entry, found bool, m *miss) {
	n := t.root
	for !n.leaf() {
		i := n.child(key)
		k := n.kids[i]
		if k.n == nil {
			return entry{}, false, &miss{n, k.ref}
		}
		n = k.n
		if !n.used.Load() {
			n.used.Store(true)
		}
	}
	i, found := slices.BinarySearch(n.keys, key)
	if !found {
		return entry{}, false, nil
	}
	return n.entries[i], true, nil
}

// valueMemory is what a value in memory takes beside its bytes.
const valueMemory = 48

// keep keeps a copy of the value of a key in memory, if that is its newest version and its leaf is
// in memory.
func (t *tree) keep(key string, v version, value []byte) {
	n := t.root
	for !n.leaf() {
		if n = n.kids[n.child(key)].n; n == nil {
			return
		}
	}
	i, found := slices.BinarySearch(n.keys, key)
	if found && n.entries[i].version == v && n.entries[i].value == nil {
		kept := append(make([]byte, 0, len(value)), value...)
		n.entries[i].value = &kept
		t.values += len(value) + valueMemory
	}
}

// forget is the inverse of keep.
func (t *tree) forget(e *entry) {
	if e.value != nil {
		t.values -= len(*e.value) + valueMemory
		e.value = nil
	}
}

// forgetSome forgets values until limit is kept, but those of leaves that were used since
// the last time.
func (t *tree) forgetSome(limit int) { t.forgetBelow(t.root, limit) }

func (t *tree) forgetBelow(n *node, limit int) {
	for _, k := range n.kids {
		if t.values <= limit {
			return
		}
		if k.n != nil {
			t.forgetBelow(k.n, limit)
		}
	}
	if n.leaf() && !n.used.Swap(false) {
		t.forgetAll(n)
	}
}

func (t *tree) forgetAll(n *node) {
	for i := range n.entries {
		t.forget(&n.entries[i])
	}
}

// install puts a node that was loaded for a miss where it belongs, unless that place
// has changed meanwhile.
func (t *tree) install(m *miss, n *node) {
	if m.parent.gone {
		return
	}
	for i := range m.parent.kids {
		if k := &m.parent.kids[i]; k.n == nil && k.ref == m.ref {
			n.ref = m.ref
			n.used.Store(true)
			*k = kid{n: n}
			t.memory += n.size
			return
		}
	}
}

// touch marks a node as changed, by so many bytes.
func (t *tree) touch(n *node, delta int) {
	if n.ref != (ref{}) {
		t.garbage = append(t.garbage, n.ref)
		n.ref = ref{}
		t.dirty += n.size
	}
	n.size += delta
	t.memory += delta
	t.dirty += delta
}

// drop is touch for a node that leaves the tree.
func (t *tree) drop(n *node) {
	t.touch(n, 0)
	t.memory -= n.size
	t.dirty -= n.size
	n.gone = true
}

// add accounts for a new node.
func (t *tree) add(n *node) *node {
	n.used.Store(true)
	n.size = n.measure()
	t.memory += n.size
	t.dirty += n.size
	return n
}

// remeasure is touch for a node of which much has changed.
func (t *tree) remeasure(n *node) { t.touch(n, n.measure()-n.size) }

// put sets the entry of a key. The path to it is in memory.
func (t *tree) put(key string, e entry) {
	right, sep := t.putBelow(t.root, key, e)
	if right != nil {
		t.root = t.add(&node{keys: []string{sep}, kids: []kid{{n: t.root}, {n: right}}})
	}
}

// putBelow returns the new right half of a node that was split, and its least key.
func (t *tree) putBelow(n *node, key string, e entry) (*node, string) {
	if n.leaf() {
		i, found := slices.BinarySearch(n.keys, key)
		if found {
			t.forget(&n.entries[i])
			n.entries[i] = e
			t.touch(n, 0)
			return nil, ""
		}
		t.keys++
		n.keys = slices.Insert(n.keys, i, key)
		n.entries = slices.Insert(n.entries, i, e)
		t.touch(n, len(key)+entryMemory)
	} else {
		i := n.child(key)
		right, sep := t.putBelow(n.kids[i].n, key, e)
		if right == nil {
			t.touch(n, 0)
			return nil, ""
		}
		n.keys = slices.Insert(n.keys, i, sep)
		n.kids = slices.Insert(n.kids, i+1, kid{n: right})
		t.touch(n, len(sep)+entryMemory+kidMemory)
	}
	if n.full() {
		return t.split(n, key)
	}
	return nil, ""
}

// split moves the upper half of a node to a new one, after key was put below it. A leaf
// at whose end that was keeps all other keys, because keys often come in order.
func (t *tree) split(n *node, key string) (*node, string) {
	right := &node{}
	var sep string
	if n.leaf() {
		h := (len(n.keys) + 1) / 2
		if n.keys[len(n.keys)-1] == key {
			h = len(n.keys) - 1
		}
		sep = n.keys[h]
		right.keys, right.entries = slices.Clone(n.keys[h:]), slices.Clone(n.entries[h:])
		n.keys, n.entries = shrink(n.keys, h), shrink(n.entries, h)
	} else {
		h := len(n.kids) / 2
		sep = n.keys[h-1]
		right.keys, right.kids = slices.Clone(n.keys[h:]), slices.Clone(n.kids[h:])
		n.keys, n.kids = shrink(n.keys, h-1), shrink(n.kids, h)
	}
	t.remeasure(n)
	return t.add(right), sep
}

// shrink cuts a slice and forgets what was behind.
func shrink[T any](s []T, n int) []T {
	clear(s[n:])
	return s[:n]
}

// remove deletes the entry of a key, if there is one. The path to it is in memory.
func (t *tree) remove(key string) {
	if !t.removeBelow(t.root, key) {
		return
	}
	for !t.root.leaf() && len(t.root.kids) <= 1 {
		old := t.root
		switch {
		case len(old.kids) == 0:
			t.root = t.add(&node{})
		case old.kids[0].n == nil:
			return
		default:
			t.root = old.kids[0].n
		}
		t.drop(old)
	}
}

func (t *tree) removeBelow(n *node, key string) bool {
	if n.leaf() {
		i, found := slices.BinarySearch(n.keys, key)
		if !found {
			return false
		}
		t.keys--
		t.forget(&n.entries[i])
		n.keys = slices.Delete(n.keys, i, i+1)
		n.entries = slices.Delete(n.entries, i, i+1)
		t.touch(n, -len(key)-entryMemory)
		return true
	}
	i := n.child(key)
	k := n.kids[i].n
	if !t.removeBelow(k, key) {
		return false
	}
	t.touch(n, 0)
	if len(k.keys) == 0 && len(k.kids) == 0 {
		t.drop(k)
		n.cut(i)
		t.remeasure(n)
		return true
	}
	// Join what has become small with a neighbour that is in memory and small, too.
	for _, j := range []int{i - 1, i} {
		if j >= 0 && j+1 < len(n.kids) && t.join(n, j) {
			break
		}
	}
	return true
}

// cut takes a kid out.
func (n *node) cut(i int) {
	n.kids = slices.Delete(n.kids, i, i+1)
	if len(n.keys) > 0 {
		j := max(i-1, 0)
		n.keys = slices.Delete(n.keys, j, j+1)
	}
}

// join makes one of the kids i and i+1, if both are in memory and it is then at most
// half full.
func (t *tree) join(n *node, i int) bool {
	a, b := n.kids[i].n, n.kids[i+1].n
	if a == nil || b == nil || a.leaf() != b.leaf() || a.size+b.size > maxNode/2 ||
		len(a.entries)+len(b.entries) > maxLeaf/2 || len(a.kids)+len(b.kids) > maxInner/2 {
		return false
	}
	if !a.leaf() {
		a.keys = append(a.keys, n.keys[i])
		a.kids = append(a.kids, b.kids...)
	}
	a.keys = append(a.keys, b.keys...)
	a.entries = append(a.entries, b.entries...)
	t.drop(b)
	t.remeasure(a)
	n.kids = slices.Delete(n.kids, i+1, i+2)
	n.keys = slices.Delete(n.keys, i, i+1)
	t.remeasure(n)
	return true
}

// ascend calls f with the entries from a key on, in order, until f returns false. It
// ends early at a node that is not in memory.
func (t *tree) ascend(from string, f func(key string, e entry) bool) *miss {
	m, _ := ascendBelow(t.root, from, f)
	return m
}

func ascendBelow(n *node, from string, f func(string, entry) bool) (m *miss, more bool) {
	if n.leaf() {
		i, _ := slices.BinarySearch(n.keys, from)
		for ; i < len(n.keys); i++ {
			if !f(n.keys[i], n.entries[i]) {
				return nil, false
			}
		}
		return nil, true
	}
	for i := n.child(from); i < len(n.kids); i++ {
		k := n.kids[i]
		if k.n == nil {
			return &miss{n, k.ref}, false
		}
		if !k.n.used.Load() {
			k.n.used.Store(true)
		}
		if m, more := ascendBelow(k.n, from, f); m != nil || !more {
			return m, false
		}
	}
	return nil, true
}

// evict takes clean nodes out of memory until limit is kept, but none that was used since
// the last time: so who walks down, loading one node after the other, finds those above
// still there, even if there is room for none.
func (t *tree) evict(limit int) { t.evictBelow(t.root, limit) }

func (t *tree) evictBelow(n *node, limit int) {
	for i := range n.kids {
		k := &n.kids[i]
		if k.n == nil {
			continue
		}
		if t.memory <= limit {
			return
		}
		t.evictBelow(k.n, limit)
		if k.n.ref != (ref{}) && !k.n.used.Swap(false) && !slices.ContainsFunc(k.n.kids, func(k kid) bool { return k.n != nil }) {
			t.forgetAll(k.n)
			t.memory -= k.n.size
			k.n.gone = true
			*k = kid{ref: k.n.ref}
		}
	}
}
