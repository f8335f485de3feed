// Package wasifs is a file system of files and directories in one table of the
// sealed store, as wazero's WASI wants it.
//
// What a directory says (create, rename, unlink, mkdir) is durable when the call
// returns, and atomic. What is written to a file is durable after fsync, after the
// last close, or when more than a megabyte waits; a crash before that leaves the
// old bytes, the new ones, or some of each block's. A file that is unlinked while
// it is open lives until it is closed.
//
// There are no links and no owners, and permission bits are kept but not asked.
package wasifs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/tetratelabs/wazero/experimental/sys"

	"github.com/enclaveos/eos/pkg/runtime/kvstore"
)

// Bounds of a file system.
const (
	BlockSize = 32 << 10 // bytes of a file in one record
	MaxFile   = 1 << 30  // bytes of a file
	MaxTotal  = 4 << 30  // bytes of all files
	MaxNodes  = 1 << 20  // files and directories
	MaxOpen   = 256      // files that one instance has open
	maxName   = 255      // bytes of a name
	maxPath   = 4096     // bytes of a path
	maxDirty  = 1 << 20  // bytes of a file that wait for a flush
	maxBatch  = 512 << 10
)

// Table is what the file system needs of the store.
type Table interface {
	Get(ctx context.Context, key []byte) ([]byte, error)
	Keys(ctx context.Context, prefix []byte, f func(key []byte, size int) error) error
	Batch(ctx context.Context, ops []kvstore.Op) error
}

const rootIno = 1

// FS is a file system. One FS owns its table.
type FS struct {
	ctx   context.Context // of the operation under way; guarded by mu
	table Table
	room  func() int64

	mu       sync.Mutex
	nodes    map[uint64]*node // that are open
	next     uint64           // inode of the next node
	count    int              // nodes
	total    int64            // bytes of all files
	reserved int64            // what the table will grow by when all is flushed, at most
}

// node is an open file or directory.
type node struct {
	ino     uint64
	rec     record
	changed bool              // rec is not stored yet
	dirty   map[uint32][]byte // blocks that are not stored yet
	refs    int
	orphan  bool // it has no name any more

	stored   int64 // size that the stored record has
	reserved int64 // of FS.reserved
}

// Open opens the file system in a table, and makes an empty one in an empty table.
// It finishes what a crash has interrupted. room says by how much the table may still
// grow, as its quota counts; nil: by any. The context's values are kept for all later
// work, its end is not.
func Open(ctx context.Context, t Table, room func() int64) (*FS, error) {
	f := &FS{ctx: context.WithoutCancel(ctx), table: t, room: room, nodes: map[uint64]*node{}, next: rootIno + 1}
	var inodes []uint64
	err := t.Keys(ctx, []byte{keyNode}, func(key []byte, _ int) error {
		if len(key) != 9 {
			return errRecord
		}
		inodes = append(inodes, binary.BigEndian.Uint64(key[1:]))
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(inodes) == 0 {
		root := record{dir: true, perm: 0o755, mtime: time.Now().UnixNano()}
		root.atime = root.mtime
		f.count = 1
		return f, f.batch(put(nodeKey(rootIno), root.appendBinary(nil)))
	}
	if inodes[0] != rootIno {
		return nil, fmt.Errorf("wasifs: there is no root directory")
	}
	for _, ino := range inodes {
		r, err := f.record(ino)
		if err != nil {
			return nil, err
		}
		f.total += r.size
		f.next = ino + 1
	}
	f.count = len(inodes)
	var orphans []uint64
	err = t.Keys(ctx, []byte{keyOrphan}, func(key []byte, _ int) error {
		if len(key) != 9 {
			return errRecord
		}
		orphans = append(orphans, binary.BigEndian.Uint64(key[1:]))
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, ino := range orphans {
		r, err := f.record(ino)
		if errors.Is(err, kvstore.ErrNotFound) {
			err = f.batch(del(orphanKey(ino)))
		} else if err == nil {
			err = f.destroy(&node{ino: ino, rec: r})
		}
		if err != nil {
			return nil, err
		}
	}
	return f, nil
}

func put(key, value []byte) kvstore.Op { return kvstore.Op{Key: key, Value: value} }
func del(key []byte) kvstore.Op        { return kvstore.Op{Key: key, Delete: true} }

func (f *FS) batch(ops ...kvstore.Op) error { return f.table.Batch(f.ctx, ops) }

func (f *FS) record(ino uint64) (record, error) {
	b, err := f.table.Get(f.ctx, nodeKey(ino))
	if err != nil {
		return record{}, fmt.Errorf("wasifs: node %d: %w", ino, err)
	}
	return parseRecord(b)
}

// stat returns a node's record, from memory if it is open.
func (f *FS) stat(ino uint64) (record, error) {
	if n := f.nodes[ino]; n != nil {
		return n.rec, nil
	}
	return f.record(ino)
}

// hold opens a node.
func (f *FS) hold(ino uint64) (*node, error) {
	n := f.nodes[ino]
	if n == nil {
		r, err := f.record(ino)
		if err != nil {
			return nil, err
		}
		n = &node{ino: ino, rec: r, dirty: map[uint32][]byte{}, stored: r.size}
		f.nodes[ino] = n
	}
	n.refs++
	return n, nil
}

// release closes a node. The last one writes what waits, or ends an orphan; what cannot
// be written then is gone.
func (f *FS) release(n *node) error {
	n.refs--
	if n.refs > 0 {
		return f.flush(n)
	}
	delete(f.nodes, n.ino)
	if n.orphan {
		f.flushed(n)
		return f.destroy(n)
	}
	err := f.flush(n)
	if err != nil {
		f.flushed(n)
		f.total += n.stored - n.rec.size
	}
	return err
}

// flushed says that nothing of a node waits any more.
func (f *FS) flushed(n *node) {
	f.reserved -= n.reserved
	n.reserved = 0
}

// reserve makes sure that there will be room for what is about to wait.
func (f *FS) reserve(n *node, growth int64) bool {
	if growth <= 0 || f.room == nil {
		return true
	}
	if f.reserved+growth > f.room() {
		return false
	}
	f.reserved += growth
	n.reserved += growth
	return true
}

// destroy removes the blocks of an orphan, then the node. A crash in between leaves
// the orphan for the next Open.
func (f *FS) destroy(n *node) error {
	var keys [][]byte
	prefix := binary.BigEndian.AppendUint64([]byte{keyBlock}, n.ino)
	err := f.table.Keys(f.ctx, prefix, func(key []byte, _ int) error {
		keys = append(keys, key)
		return nil
	})
	if err != nil {
		return err
	}
	if err := f.remove(keys); err != nil {
		return err
	}
	if err := f.batch(del(nodeKey(n.ino)), del(orphanKey(n.ino))); err != nil {
		return err
	}
	f.count--
	f.total -= n.rec.size
	return nil
}

// remove deletes keys, some at a time.
func (f *FS) remove(keys [][]byte) error {
	const most = 1000
	for len(keys) > 0 {
		var ops []kvstore.Op
		for _, k := range keys[:min(most, len(keys))] {
			ops = append(ops, del(k))
		}
		keys = keys[len(ops):]
		if err := f.batch(ops...); err != nil {
			return err
		}
	}
	return nil
}

// flush stores what waits: the blocks, and with the last of them the record.
func (f *FS) flush(n *node) error {
	var ops []kvstore.Op
	var done []uint32
	size := 0
	for i, b := range n.dirty {
		if size+len(b) > maxBatch {
			if err := f.batch(ops...); err != nil {
				return err
			}
			for _, d := range done {
				delete(n.dirty, d)
			}
			ops, done, size = nil, nil, 0
		}
		ops, done, size = append(ops, put(blockKey(n.ino, i), b)), append(done, i), size+len(b)
	}
	if n.changed {
		ops = append(ops, put(nodeKey(n.ino), n.rec.appendBinary(nil)))
	}
	if len(ops) == 0 {
		return nil
	}
	if err := f.batch(ops...); err != nil {
		return err
	}
	clear(n.dirty)
	n.changed = false
	n.stored = n.rec.size
	f.flushed(n)
	return nil
}

// split takes a path apart. ".." never leads out of the root.
func split(path string) ([]string, bool, sys.Errno) {
	if len(path) > maxPath {
		return nil, false, sys.ENAMETOOLONG
	}
	if !utf8.ValidString(path) || strings.IndexByte(path, 0) >= 0 {
		return nil, false, sys.EINVAL
	}
	var names []string
	for name := range strings.SplitSeq(path, "/") {
		switch {
		case name == "" || name == ".":
		case name == "..":
			if len(names) > 0 {
				names = names[:len(names)-1]
			}
		case len(name) > maxName:
			return nil, false, sys.ENAMETOOLONG
		default:
			names = append(names, name)
		}
	}
	return names, strings.HasSuffix(path, "/"), 0
}

// place is where a path leads: a directory, a name in it, and the node of that name.
type place struct {
	parent uint64
	name   string // "": the root
	ino    uint64 // 0: there is none
	rec    record
	dir    bool // the path says that it is a directory
}

// find walks a path. The last name need not be there.
func (f *FS) find(path string) (place, sys.Errno) {
	names, slash, errno := split(path)
	if errno != 0 {
		return place{}, errno
	}
	r, err := f.stat(rootIno)
	if err != nil {
		return place{}, sys.EIO
	}
	p := place{parent: rootIno, ino: rootIno, rec: r, dir: slash}
	for _, name := range names {
		if p.ino == 0 {
			return p, sys.ENOENT
		}
		if !p.rec.dir {
			return p, sys.ENOTDIR
		}
		p.parent, p.name = p.ino, name
		if p.ino, err = f.lookup(p.parent, name); err != nil {
			return p, sys.EIO
		}
		p.rec = record{}
		if p.ino != 0 {
			if p.rec, err = f.stat(p.ino); err != nil {
				return p, sys.EIO
			}
		}
	}
	if slash && p.ino != 0 && !p.rec.dir {
		return p, sys.ENOTDIR
	}
	return p, 0
}

// lookup returns the inode of a name in a directory, or 0.
func (f *FS) lookup(parent uint64, name string) (uint64, error) {
	b, err := f.table.Get(f.ctx, entryKey(parent, name))
	switch {
	case errors.Is(err, kvstore.ErrNotFound):
		return 0, nil
	case err != nil:
		return 0, err
	case len(b) != 8:
		return 0, errRecord
	}
	return binary.BigEndian.Uint64(b), nil
}

func entryValue(ino uint64) []byte { return binary.BigEndian.AppendUint64(nil, ino) }

// create makes a node at a place where there is none.
func (f *FS) create(p place, dir bool, perm fs.FileMode) (uint64, sys.Errno) {
	if f.count >= MaxNodes {
		return 0, ENOSPC
	}
	if n := f.nodes[p.parent]; n != nil && n.orphan {
		return 0, sys.ENOENT
	}
	now := time.Now().UnixNano()
	r := record{dir: dir, perm: uint32(perm & fs.ModePerm), mtime: now, atime: now}
	ino := f.next
	f.next++ // whatever comes of it: a batch whose time has ended may happen yet
	if err := f.batch(put(nodeKey(ino), r.appendBinary(nil)), put(entryKey(p.parent, p.name), entryValue(ino))); err != nil {
		return 0, errnoOf(err)
	}
	f.count++
	return ino, 0
}

// empty reports whether a directory has no entries.
func (f *FS) empty(ino uint64) (bool, error) {
	any := false
	err := f.table.Keys(f.ctx, entryKey(ino, ""), func([]byte, int) error {
		any = true
		return errStop
	})
	if err != nil && !errors.Is(err, errStop) {
		return false, err
	}
	return !any, nil
}

var errStop = errors.New("stop")

// unlink takes a node's name away, together with other operations, and then the
// node, unless it is open.
func (f *FS) unlink(p place, ops ...kvstore.Op) sys.Errno {
	n := f.nodes[p.ino]
	if n == nil {
		n = &node{ino: p.ino, rec: p.rec}
	}
	if err := f.batch(append(ops, put(orphanKey(p.ino), nil))...); err != nil {
		return errnoOf(err)
	}
	n.orphan = true
	if n.refs == 0 {
		return errnoOf(f.destroy(n))
	}
	return 0
}

// rename moves a node, over another one if there is one. The target must not lie in
// the directory that is moved.
func (f *FS) rename(from, to place) sys.Errno {
	switch {
	case from.ino == 0:
		return sys.ENOENT
	case from.name == "" || to.name == "":
		return sys.EINVAL
	case from.ino == to.ino:
		return 0
	case to.dir && !from.rec.dir:
		return sys.ENOTDIR
	}
	if n := f.nodes[to.parent]; n != nil && n.orphan {
		return sys.ENOENT
	}
	ops := []kvstore.Op{del(entryKey(from.parent, from.name)), put(entryKey(to.parent, to.name), entryValue(from.ino))}
	if to.ino == 0 {
		return errnoOf(f.batch(ops...))
	}
	switch {
	case from.rec.dir && !to.rec.dir:
		return sys.ENOTDIR
	case !from.rec.dir && to.rec.dir:
		return sys.EISDIR
	case to.rec.dir:
		if ok, err := f.empty(to.ino); err != nil {
			return sys.EIO
		} else if !ok {
			return sys.ENOTEMPTY
		}
	}
	return f.unlink(to, ops...)
}
