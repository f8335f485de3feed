package kernel

import wall "github.com/enclaveos/eos/pkg/wall"

// The file tree of an image that has one: what was measured with it, and what the
// program writes over it, in memory. Nothing of it ever leaves the enclave, and
// it is gone when the program ends. Images without a tree have the virtual files
// of files.go alone.
type node struct {
	kind                uint8 // nodeFree, nodeDir, nodeFile
	gone                bool  // it has no name any more, and goes with the last descriptor
	mode                uint32
	open                uint32 // descriptors
	parent, first, next uint32 // 0 is none
	order               uint64 // the later made, the higher: where a listing goes on
	made                uint64 // ns, wall clock, of the last change
	data, size, room    uint64 // room 0: the data is the image's, to be copied before it is changed
	nameLen             uint64
	name                [maxName]byte
}

const (
	nodeFree = iota
	nodeDir
	nodeFile

	nodeRoot = 1
	nodeSize = 328 // of node; held by a test

	maxName  = 255
	maxDepth = 64
	newNodes = 8192 // how many can be made besides those of the image
	maxFile  = 1 << 32

	atFDCWD = ^uint64(100 - 1)
)

// tree is guarded by its lock.
var tree struct {
	lock  uint32
	nodes uint64 // address of the table; 0: there is no tree
	count uint32 // its slots
	free  uint32 // no free slot below
	cwd   uint32
	order uint64
}

func nodeAt(i uint32) *node { return at[node](tree.nodes + uint64(i)*nodeSize) }

// treeInit makes the tree of the image b, whose measured form is told in wall.Boot.
func treeInit(b *wall.Boot) bool {
	if b.FilesLen == 0 {
		return true
	}
	count := *at[uint64](b.Files)
	slots := count + 1 + newNodes
	tree.nodes = mem.mmap(0, roundUp(slots*nodeSize, pageSize), 3, mapAnonymous)
	if failed(tree.nodes) {
		tree.nodes = 0
		return false
	}
	tree.count, tree.free = uint32(slots), nodeRoot
	for i := uint64(0); i < count; i++ {
		e := at[wall.FileEntry](b.Files + 16 + i*wall.FileEntrySize)
		k := uint8(nodeFile)
		if e.Dir != 0 {
			k = nodeDir
		}
		n := nodeNew(k, uint32(e.Parent), b.Files+e.Name, e.NameLen)
		f := nodeAt(n)
		f.data, f.size = b.Files+e.Data, e.Size
		f.mode = 0o644
		if e.Dir != 0 {
			f.mode = 0o755
		}
	}
	tree.cwd = uint32(*at[uint64](b.Files + 8))
	return true
}

// nodeNew makes a node with a name in the directory parent; 0 if there are too many.
func nodeNew(kind uint8, parent uint32, name, nameLen uint64) uint32 {
	for i := tree.free; i < tree.count; i++ {
		n := nodeAt(i)
		if n.kind != nodeFree {
			continue
		}
		tree.free = i + 1
		*n = node{kind: kind, nameLen: nameLen}
		move(addrOf(&n.name), name, nameLen)
		nodeLink(i, parent)
		return i
	}
	return 0
}

// nodeLink makes i the first of a directory.
func nodeLink(i, parent uint32) {
	n := nodeAt(i)
	tree.order++
	n.parent, n.order = parent, tree.order
	n.next = 0
	if parent != 0 {
		p := nodeAt(parent)
		n.next, p.first = p.first, i
		n.made = stamp()
		p.made = n.made
	}
}

// stamp is the time of a change. The tree is made before there is a clock: its
// files are of the year 2000.
func stamp() uint64 {
	if clockPage == 0 {
		return 946684800 * second
	}
	return now(true)
}

// nodeUnlink takes i out of its directory.
func nodeUnlink(i uint32) {
	n := nodeAt(i)
	p := nodeAt(n.parent)
	p.made = stamp()
	if p.first == i {
		p.first = n.next
		return
	}
	for j := p.first; j != 0; j = nodeAt(j).next {
		if s := nodeAt(j); s.next == i {
			s.next = n.next
			return
		}
	}
}

// nodeDrop gives a node up that has no name, once nobody has it open.
func nodeDrop(i uint32) {
	n := nodeAt(i)
	if !n.gone || n.open != 0 {
		return
	}
	if n.room != 0 {
		mem.munmap(n.data, n.room)
	}
	n.kind = nodeFree
	if i < tree.free {
		tree.free = i
	}
}

// found is what a path names: in the directory dir the name, which is node's if
// there is one. The root, "." and ".." at the end have no name.
type found struct {
	dir, node     uint32
	name, nameLen uint64
	slash         bool // the path ends in a slash: it must be a directory
}

// walk follows a NUL-terminated path from a directory. An error is that of a path
// that leads nowhere, not that of a name that is free.
func walk(from, path uint64) (f found, e uint64) {
	at0 := tree.cwd
	switch c := *at[byte](path); {
	case c == 0:
		return f, errNoEnt
	case c == '/':
		at0 = nodeRoot
	case int32(from) != -100:
		d := fdAt(from)
		if d == nil || d.kind != fdNode {
			return f, errBadF
		}
		at0 = d.obj
	}
	f = found{dir: nodeAt(at0).parent, node: at0}
	for {
		for *at[byte](path) == '/' {
			path++
		}
		n := uint64(0)
		for c := *at[byte](path + n); c != 0 && c != '/'; c = *at[byte](path + n) {
			n++
		}
		if n == 0 {
			f.slash = *at[byte](path - 1) == '/'
			return f, 0
		}
		switch {
		case f.node == 0:
			return f, errNoEnt
		case nodeAt(f.node).kind != nodeDir:
			return f, errNotDir
		case n > maxName:
			return f, errNameTooLong
		}
		f = step(f.node, path, n)
		path += n
	}
}

// step is one name in a directory.
func step(dir uint32, name, n uint64) found {
	if *at[byte](name) == '.' {
		switch {
		case n == 1:
			return found{dir: nodeAt(dir).parent, node: dir}
		case n == 2 && *at[byte](name + 1) == '.':
			if up := nodeAt(dir).parent; up != 0 {
				dir = up
			}
			return found{dir: nodeAt(dir).parent, node: dir}
		}
	}
	f := found{dir: dir, name: name, nameLen: n}
	for i := nodeAt(dir).first; i != 0; i = nodeAt(i).next {
		if nodeAt(i).named(name, n) {
			f.node = i
			break
		}
	}
	return f
}

func (n *node) named(name, size uint64) bool {
	if n.nameLen != size {
		return false
	}
	own := addrOf(&n.name)
	for i := uint64(0); i < size; i++ {
		if *at[byte](own + i) != *at[byte](name + i) {
			return false
		}
	}
	return true
}

// grow makes room for size bytes in a file, whose data becomes its own.
func (n *node) grow(size uint64) uint64 {
	if size > maxFile {
		return errFBig
	}
	if size <= n.room {
		return 0
	}
	room := roundUp(max(size, 2*n.room), pageSize)
	p := mem.mmap(0, room, 3, mapAnonymous)
	if failed(p) {
		return errNoSpc
	}
	move(p, n.data, min(n.size, size))
	if n.room != 0 {
		mem.munmap(n.data, n.room)
	}
	n.data, n.room = p, room
	return 0
}

// resize changes the size of a file; what is new of it is zero.
func (n *node) resize(size uint64) uint64 {
	if e := n.grow(max(size, 1)); e != 0 {
		return e
	}
	if size > n.size {
		zero(n.data+n.size, size-n.size)
	}
	n.size = size
	n.made = stamp()
	return 0
}

func nodeRead(i uint32, off, p, size uint64) uint64 {
	lock(&tree.lock)
	n := nodeAt(i)
	r := errIsDir
	if n.kind != nodeDir {
		r = 0
		if off < n.size {
			r = min(size, n.size-off)
			move(p, n.data+off, r)
		}
	}
	unlock(&tree.lock)
	return r
}

// nodeWrite writes at off, or at the end of the file; next is where the following
// write goes.
func nodeWrite(i uint32, off, p, size uint64, atEnd bool) (done, next uint64) {
	lock(&tree.lock)
	n := nodeAt(i)
	if atEnd {
		off = n.size
	}
	done, next = n.write(off, p, size), off
	if !failed(done) {
		next += done
	}
	unlock(&tree.lock)
	return done, next
}

func (n *node) write(off, p, size uint64) uint64 {
	if off > maxFile || size > maxFile {
		return errFBig
	}
	e := uint64(0)
	if end := off + size; end > n.size {
		e = n.resize(end)
	} else {
		e = n.grow(n.size)
	}
	if e != 0 {
		return e
	}
	move(n.data+off, p, size)
	n.made = stamp()
	return size
}
