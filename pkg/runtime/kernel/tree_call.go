package kernel

// The system calls on the file tree. A path that names a virtual file (files.go)
// does not come here.

// Numbers of the system calls that are for the tree alone.
const (
	sysPwrite64   = 18
	sysFlock      = 73
	sysFsync      = 74
	sysFdatasync  = 75
	sysTruncate   = 76
	sysFtruncate  = 77
	sysChdir      = 80
	sysFchdir     = 81
	sysMkdir      = 83
	sysChmod      = 90
	sysFchmod     = 91
	sysGetdents64 = 217
	sysMkdirat    = 258
	sysFchownat   = 260
	sysRenameat   = 264
	sysLinkat     = 265
	sysSymlinkat  = 266
	sysFchmodat   = 268
	sysUtimensat  = 280
	sysRenameat2  = 316
	sysFchmodat2  = 452
)

const (
	oEXCL   = 0x80
	oAPPEND = 0x400

	atRemoveDir = 0x200
)

// treeCall is a system call on the tree; ok is false for any other.
func treeCall(f *frame) (r uint64, ok bool) {
	if tree.nodes == 0 {
		return noTreeCall(f)
	}
	switch f.ax {
	case sysPwrite64:
		return pwrite(f.di, f.si, f.dx, f.r10), true
	case sysFtruncate:
		return ftruncate(f.di, f.si), true
	case sysFsync, sysFdatasync, sysFlock, sysFchmod:
		if d := fdAt(f.di); d == nil || d.kind != fdNode {
			return errBadF, true
		}
		if f.ax == sysFchmod {
			lock(&tree.lock)
			nodeAt(fdAt(f.di).obj).mode = uint32(f.si) & 0o7777
			unlock(&tree.lock)
		}
		return 0, true
	case sysGetdents64:
		return getdents(f.di, f.si, f.dx), true
	}
	lock(&tree.lock)
	r, ok = pathCall(f)
	unlock(&tree.lock)
	return r, ok
}

// noTreeCall is treeCall in images without a tree: there is nothing but the virtual
// files, and nothing can be made beside them.
func noTreeCall(f *frame) (r uint64, ok bool) {
	switch f.ax {
	case sysMkdir, sysMkdirat, sysLinkat, sysSymlinkat:
		return errROFS, true
	case sysTruncate, sysChdir, sysChmod, sysFchmodat, sysFchmodat2, sysFchownat, sysRenameat, sysRenameat2, sysUtimensat:
		return errNoEnt, true
	case sysFsync, sysFdatasync:
		if fdAt(f.di) == nil {
			return errBadF, true
		}
		return errInval, true // as of a pipe
	}
	return 0, false
}

// pathCall is a system call that names a file. The caller holds the lock.
func pathCall(f *frame) (r uint64, ok bool) {
	switch f.ax {
	case sysTruncate:
		return onNode(atFDCWD, f.di, func(n *node) uint64 {
			if n.kind == nodeDir {
				return errIsDir
			}
			return n.resize(f.si)
		}), true
	case sysChdir:
		return chdir(f.di), true
	case sysFchdir:
		d := fdAt(f.di)
		if d == nil || d.kind != fdNode {
			return errBadF, true
		}
		if nodeAt(d.obj).kind != nodeDir {
			return errNotDir, true
		}
		tree.cwd = d.obj
		return 0, true
	case sysMkdir:
		return mkdirat(atFDCWD, f.di, f.si), true
	case sysMkdirat:
		return mkdirat(f.di, f.si, f.dx), true
	case sysUnlinkat:
		return unlinkat(f.di, f.si, f.dx), true
	case sysRenameat, sysRenameat2:
		return renameat(f.di, f.si, f.dx, f.r10), true
	case sysChmod:
		return onNode(atFDCWD, f.di, func(n *node) uint64 { n.mode = uint32(f.si) & 0o7777; return 0 }), true
	case sysFchmodat, sysFchmodat2:
		return onNode(f.di, f.si, func(n *node) uint64 { n.mode = uint32(f.dx) & 0o7777; return 0 }), true
	case sysFchownat:
		return onNode(f.di, f.si, func(*node) uint64 { return 0 }), true
	case sysUtimensat:
		return utimensat(f.di, f.si, f.dx), true
	case sysReadlinkat:
		return onNode(f.di, f.si, func(*node) uint64 { return errInval }), true
	}
	return 0, false
}

// onNode does something with what a path names.
func onNode(dir, path uint64, do func(n *node) uint64) uint64 {
	w, e := find(dir, path)
	switch {
	case e != 0:
		return e
	case w.slash && nodeAt(w.node).kind != nodeDir:
		return errNotDir
	}
	return do(nodeAt(w.node))
}

// find is walk to what must be there.
func find(dir, path uint64) (w found, e uint64) {
	if w, e = walk(dir, path); e == 0 && w.node == 0 {
		e = errNoEnt
	}
	return w, e
}

// treeOpen is openat for what is no virtual file.
func treeOpen(dir, path, flags, mode uint64) uint64 {
	lock(&tree.lock)
	r := nodeOpen(dir, path, flags, mode)
	unlock(&tree.lock)
	return r
}

func nodeOpen(dir, path, flags, mode uint64) uint64 {
	w, e := walk(dir, path)
	if e != 0 {
		return e
	}
	writes := flags&(oACCMODE|oTRUNC) != oRDONLY
	switch {
	case w.node == 0 && flags&oCREAT == 0:
		return errNoEnt
	case w.node == 0 && w.slash:
		return errIsDir
	case w.node == 0:
		if w.node = nodeNew(nodeFile, w.dir, w.name, w.nameLen); w.node == 0 {
			return errNoSpc
		}
		nodeAt(w.node).mode = uint32(mode) & 0o7777
	case flags&(oCREAT|oEXCL) == oCREAT|oEXCL:
		return errExist
	case nodeAt(w.node).kind == nodeDir:
		if writes || flags&oCREAT != 0 {
			return errIsDir
		}
	case flags&oDIRECTORY != 0 || w.slash:
		return errNotDir
	}
	n := nodeAt(w.node)
	if flags&oTRUNC != 0 {
		if e := n.resize(0); e != 0 {
			return e
		}
	}
	r := fdNew(fdNode, uint32(flags)&(oACCMODE|oNONBLOCK|oAPPEND), w.node)
	if !failed(r) {
		n.open++
	}
	return r
}

// treeClose is the end of a descriptor.
func treeClose(i uint32) {
	lock(&tree.lock)
	nodeAt(i).open--
	nodeDrop(i)
	unlock(&tree.lock)
}

// treeDup is a second descriptor.
func treeDup(i uint32) {
	lock(&tree.lock)
	nodeAt(i).open++
	unlock(&tree.lock)
}

func pwrite(fd, p, size, off uint64) uint64 {
	d := fdAt(fd)
	if d == nil || d.flags&oACCMODE == oRDONLY {
		return errBadF
	}
	if d.kind != fdNode {
		return errSPipe
	}
	r, _ := nodeWrite(d.obj, off, p, size, false)
	return r
}

func ftruncate(fd, size uint64) uint64 {
	d := fdAt(fd)
	if d == nil || d.kind != fdNode || d.flags&oACCMODE == oRDONLY {
		return errInval
	}
	lock(&tree.lock)
	r := nodeAt(d.obj).resize(size)
	unlock(&tree.lock)
	return r
}

func chdir(path uint64) uint64 {
	w, e := find(atFDCWD, path)
	switch {
	case e != 0:
		return e
	case nodeAt(w.node).kind != nodeDir:
		return errNotDir
	}
	tree.cwd = w.node
	return 0
}

func mkdirat(dir, path, mode uint64) uint64 {
	w, e := walk(dir, path)
	switch {
	case e != 0:
		return e
	case w.node != 0:
		return errExist
	}
	i := nodeNew(nodeDir, w.dir, w.name, w.nameLen)
	if i == 0 {
		return errNoSpc
	}
	nodeAt(i).mode = uint32(mode) & 0o7777
	return 0
}

func unlinkat(dir, path, flags uint64) uint64 {
	w, e := find(dir, path)
	switch {
	case e != 0:
		return e
	case w.nameLen == 0:
		return errInval // ".", ".." and the root
	}
	n := nodeAt(w.node)
	switch isDir := n.kind == nodeDir; {
	case flags&atRemoveDir != 0 && !isDir, w.slash && !isDir:
		return errNotDir
	case flags&atRemoveDir == 0 && isDir:
		return errIsDir
	case isDir && n.first != 0:
		return errNotEmpty
	}
	nodeUnlink(w.node)
	n.gone = true
	nodeDrop(w.node)
	return 0
}

func renameat(fromDir, from, toDir, to uint64) uint64 {
	f, e := walk(fromDir, from)
	if e != 0 {
		return e
	}
	t, e := walk(toDir, to)
	switch {
	case e != 0:
		return e
	case f.node == 0:
		return errNoEnt
	case f.nameLen == 0 || t.nameLen == 0:
		return errInval
	}
	n := nodeAt(f.node)
	switch {
	case n.kind != nodeDir && (f.slash || t.slash):
		return errNotDir
	case f.node == t.node:
		return 0
	}
	for up := t.dir; up != 0; up = nodeAt(up).parent {
		if up == f.node {
			return errInval // into itself
		}
	}
	if t.node != 0 {
		o := nodeAt(t.node)
		switch {
		case o.kind == nodeDir && n.kind != nodeDir:
			return errIsDir
		case o.kind != nodeDir && n.kind == nodeDir:
			return errNotDir
		case o.first != 0:
			return errNotEmpty
		}
		nodeUnlink(t.node)
		o.gone = true
		nodeDrop(t.node)
	}
	nodeUnlink(f.node)
	n.nameLen = t.nameLen
	move(addrOf(&n.name), t.name, t.nameLen)
	nodeLink(f.node, t.dir)
	return 0
}

// utimensat sets the time of the last change, the only one there is.
func utimensat(dir, path, times uint64) uint64 {
	const omit, current = 1<<30 - 2, 1<<30 - 1
	return onNode(dir, path, func(n *node) uint64 {
		if times == 0 {
			n.made = stamp()
			return 0
		}
		switch sec, ns := *at[uint64](times + 16), *at[uint64](times + 24); ns {
		case omit:
		case current:
			n.made = stamp()
		default:
			n.made = sec*second + ns
		}
		return 0
	})
}

// getdents lists a directory: struct linux_dirent64, the newest first. The
// position is the order of the last one told.
func getdents(fd, buf, size uint64) uint64 {
	d := fdAt(fd)
	if d == nil || d.kind != fdNode {
		return errBadF
	}
	lock(&tree.lock)
	r := nodeAt(d.obj).list(d, buf, size)
	unlock(&tree.lock)
	return r
}

func (n *node) list(d *fd, buf, size uint64) uint64 {
	if n.kind != nodeDir {
		return errNotDir
	}
	const typeDir, typeFile, head = 4, 8, 19
	done := uint64(0)
	for i := n.first; i != 0; i = nodeAt(i).next {
		c := nodeAt(i)
		if d.off != 0 && c.order >= d.off {
			continue
		}
		length := (head + c.nameLen + 1 + 7) &^ 7
		if done+length > size {
			if done == 0 {
				return errInval
			}
			break
		}
		p := buf + done
		zero(p, length)
		*at[uint64](p) = uint64(i)
		*at[uint64](p + 8) = c.order
		*at[uint16](p + 16) = uint16(length)
		*at[byte](p + 18) = typeFile
		if c.kind == nodeDir {
			*at[byte](p + 18) = typeDir
		}
		move(p+head, addrOf(&c.name), c.nameLen)
		d.off = c.order
		done += length
	}
	return done
}

// treeStat is struct stat of what a path names.
func treeStat(dir, path, buf uint64) uint64 {
	lock(&tree.lock)
	r := onNode(dir, path, func(n *node) uint64 { return n.stat(buf) })
	unlock(&tree.lock)
	return r
}

func treeAccess(dir, path uint64) uint64 {
	lock(&tree.lock)
	r := onNode(dir, path, func(*node) uint64 { return 0 })
	unlock(&tree.lock)
	return r
}

func nodeStat(i uint32, buf uint64) uint64 {
	lock(&tree.lock)
	r := nodeAt(i).stat(buf)
	unlock(&tree.lock)
	return r
}

func (n *node) stat(buf uint64) uint64 {
	const dir, regular = 0o040000, 0o100000
	zero(buf, 144)
	*at[uint64](buf) = 2
	*at[uint64](buf + 8) = (addrOf(n) - tree.nodes) / nodeSize
	*at[uint64](buf + 16) = 1
	*at[uint32](buf + 24) = regular | n.mode
	if n.kind == nodeDir {
		*at[uint32](buf + 24) = dir | n.mode
	}
	*at[uint64](buf + 48) = n.size
	*at[uint64](buf + 56) = pageSize
	*at[uint64](buf + 64) = (n.size + 511) / 512
	for _, t := range [...]uint64{72, 88, 104} { // access, change of data, change
		*at[uint64](buf + t) = n.made / second
		*at[uint64](buf + t + 8) = n.made % second
	}
	return 0
}

// treePath is getcwd: the names on the way up, written from the end.
func treePath(buf, size uint64) uint64 {
	lock(&tree.lock)
	r := cwdPath(buf, size)
	unlock(&tree.lock)
	return r
}

func cwdPath(buf, size uint64) uint64 {
	length := uint64(1)
	for i := tree.cwd; i != nodeRoot && i != 0; i = nodeAt(i).parent {
		length += nodeAt(i).nameLen + 1
	}
	if tree.cwd == nodeRoot {
		length = 2
	}
	if length > size {
		return errRange
	}
	p := buf + length - 1
	*at[byte](p) = 0
	if tree.cwd == nodeRoot {
		*at[byte](buf) = '/'
	}
	for i := tree.cwd; i != nodeRoot && i != 0; i = nodeAt(i).parent {
		n := nodeAt(i)
		p -= n.nameLen
		move(p, addrOf(&n.name), n.nameLen)
		p--
		*at[byte](p) = '/'
	}
	return length
}
