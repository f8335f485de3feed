package wasifs

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"time"

	"github.com/tetratelabs/wazero/experimental/sys"
	wsys "github.com/tetratelabs/wazero/sys"

	"github.com/enclaveos/eos/pkg/runtime/kvstore"
)

// truncate sets a file's size. Blocks behind it go at once, and the rest of the last
// one becomes zeros, so that they are zeros when the file grows again.
func (f *FS) truncate(n *node, size int64) sys.Errno {
	old := n.rec.size
	switch {
	case size < 0:
		return sys.EINVAL
	case size > MaxFile:
		return EFBIG
	case f.total+size-old > MaxTotal:
		return ENOSPC
	case size < old:
		first := uint32((size + BlockSize - 1) / BlockSize)
		for i := range n.dirty {
			if i >= first {
				delete(n.dirty, i)
			}
		}
		var keys [][]byte
		err := f.table.Keys(f.ctx, binary.BigEndian.AppendUint64([]byte{keyBlock}, n.ino), func(key []byte, _ int) error {
			if len(key) == 13 && binary.BigEndian.Uint32(key[9:]) >= first {
				keys = append(keys, key)
			}
			return nil
		})
		if err != nil {
			return sys.EIO
		}
		if rest := size % BlockSize; rest != 0 {
			b, err := f.block(n, uint32(size/BlockSize))
			if err != nil {
				return sys.EIO
			}
			if int64(len(b)) > rest {
				n.dirty[uint32(size/BlockSize)] = b[:rest]
			}
		}
		f.total += size - old
		n.rec.size = size
		n.touch()
		// The record last: blocks behind the end would be there again when the file grows.
		if err := f.remove(keys); err != nil {
			return errnoOf(err)
		}
		return errnoOf(f.flush(n))
	}
	f.total += size - old
	n.rec.size = size
	n.touch()
	return 0
}

func (n *node) touch() {
	n.rec.mtime = time.Now().UnixNano()
	n.changed = true
}

// block returns a block of a file, which may be shorter than it could be; what is
// missing is zeros. It must not be changed.
func (f *FS) block(n *node, i uint32) ([]byte, error) {
	if b, ok := n.dirty[i]; ok {
		return b, nil
	}
	b, err := f.table.Get(f.ctx, blockKey(n.ino, i))
	if errors.Is(err, kvstore.ErrNotFound) {
		return nil, nil
	}
	if err == nil && len(b) > BlockSize {
		err = errRecord
	}
	return b, err
}

// readAt reads up to the end of the file.
func (f *FS) readAt(n *node, buf []byte, off int64) (int, sys.Errno) {
	if off < 0 {
		return 0, sys.EINVAL
	}
	if off >= n.rec.size {
		return 0, 0
	}
	buf = buf[:min(int64(len(buf)), n.rec.size-off)]
	for done := 0; done < len(buf); {
		at := off + int64(done)
		b, err := f.block(n, uint32(at/BlockSize))
		if err != nil {
			return done, sys.EIO
		}
		from := int(at % BlockSize)
		part := buf[done:min(len(buf), done+BlockSize-from)]
		clear(part)
		if from < len(b) {
			copy(part, b[from:])
		}
		done += len(part)
	}
	return len(buf), 0
}

// writeAt writes all of buf or fails.
func (f *FS) writeAt(n *node, buf []byte, off int64) (int, sys.Errno) {
	end := off + int64(len(buf))
	if off < 0 {
		return 0, sys.EINVAL
	}
	if end > MaxFile || end < off {
		return 0, EFBIG
	}
	if f.total+max(0, end-n.rec.size) > MaxTotal {
		return 0, ENOSPC
	}
	for done := 0; done < len(buf); {
		at := off + int64(done)
		i, from := uint32(at/BlockSize), int(at%BlockSize)
		part := buf[done:min(len(buf), done+BlockSize-from)]
		b, dirty := n.dirty[i]
		need, growth := from+len(part), 0
		if !dirty {
			old, err := f.block(n, i)
			if err != nil {
				return done, sys.EIO
			}
			if old == nil { // it has no record yet
				growth = len(blockKey(n.ino, i)) + kvstore.RecordSize
			}
			b = append(make([]byte, 0, max(len(old), need)), old...)
		}
		if !f.reserve(n, int64(growth+max(0, need-len(b)))) {
			return done, ENOSPC
		}
		if need > len(b) {
			b = append(b, make([]byte, need-len(b))...)
		}
		copy(b[from:], part)
		n.dirty[i] = b
		done += len(part)
		if at := off + int64(done); at > n.rec.size {
			f.total += at - n.rec.size
			n.rec.size = at
		}
		n.touch()
		if len(n.dirty)*BlockSize > maxDirty {
			if err := f.flush(n); err != nil {
				return done, errnoOf(err)
			}
		}
	}
	return len(buf), 0
}

// position is an alias: vet would take a Seek of int64 for io.Seeker's, which has
// another result than wazero's.
type position = int64

// handle is what files and directories that are open have in common.
type handle struct {
	view   *View
	node   *node
	closed bool
}

// use locks the file system for an operation that moves so many bytes.
func (h *handle) use(bytes int) (done func(), errno sys.Errno) {
	if h.closed {
		return func() {}, sys.EBADF
	}
	return h.view.enter(bytes), 0
}

func (h *handle) Dev() (uint64, sys.Errno)     { return 1, 0 }
func (h *handle) Ino() (wsys.Inode, sys.Errno) { return h.node.ino, 0 }
func (h *handle) Sync() sys.Errno              { return h.flush() }
func (h *handle) Datasync() sys.Errno          { return h.flush() }

func (h *handle) Stat() (wsys.Stat_t, sys.Errno) {
	done, errno := h.use(0)
	defer done()
	if errno != 0 {
		return wsys.Stat_t{}, errno
	}
	return stat(h.node.ino, h.node.rec), 0
}

func (h *handle) flush() sys.Errno {
	done, errno := h.use(len(h.node.dirty) * BlockSize)
	defer done()
	if errno != 0 {
		return errno
	}
	return h.view.told(errnoOf(h.view.f.flush(h.node)))
}

// Utimens implements sys.File.
func (h *handle) Utimens(atim, mtim int64) sys.Errno {
	done, errno := h.use(0)
	defer done()
	if errno != 0 {
		return errno
	}
	h.node.rec.times(atim, mtim)
	h.node.changed = true
	return 0
}

// Close implements sys.File. It happens at the end of an instance too, when there is
// nobody left to be charged.
func (h *handle) Close() sys.Errno {
	if h.closed {
		return 0
	}
	end := time.Time{}
	if h.view.end != nil {
		end = time.Now().Add(closing)
		if t := h.view.end(); t.After(end) {
			end = t
		}
	}
	defer h.view.lock(end)()
	h.closed = true
	h.view.open--
	return h.view.told(errnoOf(h.view.f.release(h.node)))
}

// file is an open file.
type file struct {
	handle
	read, write, app bool
	at               int64
}

func (f *file) IsDir() (bool, sys.Errno)              { return false, 0 }
func (f *file) IsAppend() bool                        { return f.app }
func (f *file) SetAppend(on bool) sys.Errno           { f.app = on; return 0 }
func (f *file) Readdir(int) ([]sys.Dirent, sys.Errno) { return nil, sys.ENOTDIR }

// Read implements sys.File.
func (f *file) Read(buf []byte) (int, sys.Errno) {
	n, errno := f.Pread(buf, f.at)
	f.at += int64(n)
	return n, errno
}

// Pread implements sys.File.
func (f *file) Pread(buf []byte, off int64) (int, sys.Errno) {
	done, errno := f.use(len(buf))
	defer done()
	switch {
	case errno != 0:
		return 0, errno
	case !f.read:
		return 0, sys.EBADF
	}
	return f.view.f.readAt(f.node, buf, off)
}

// Seek implements sys.File.
func (f *file) Seek(offset position, whence int) (int64, sys.Errno) {
	done, errno := f.use(0)
	defer done()
	if errno != 0 {
		return 0, errno
	}
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += f.at
	case io.SeekEnd:
		offset += f.node.rec.size
	default:
		return 0, sys.EINVAL
	}
	if offset < 0 {
		return 0, sys.EINVAL
	}
	f.at = offset
	return offset, 0
}

// Write implements sys.File.
func (f *file) Write(buf []byte) (int, sys.Errno) { return f.put(buf, &f.at, f.app) }

// Pwrite implements sys.File.
func (f *file) Pwrite(buf []byte, off int64) (int, sys.Errno) { return f.put(buf, &off, false) }

// put writes at a place, or at the end, and moves the place behind what it has written.
func (f *file) put(buf []byte, at *int64, end bool) (int, sys.Errno) {
	done, errno := f.use(len(buf))
	defer done()
	switch {
	case errno != 0:
		return 0, errno
	case !f.write:
		return 0, sys.EBADF
	}
	if end {
		*at = f.node.rec.size
	}
	n, errno := f.view.f.writeAt(f.node, buf, *at)
	*at += int64(n)
	return n, f.view.told(errno)
}

// Truncate implements sys.File.
func (f *file) Truncate(size int64) sys.Errno {
	done, errno := f.use(0)
	defer done()
	switch {
	case errno != 0:
		return errno
	case !f.write:
		return sys.EBADF
	}
	return f.view.told(f.view.f.truncate(f.node, size))
}

// dir is an open directory.
type dir struct {
	handle
	sys.DirFile
	entries []sys.Dirent // not given yet
	listed  bool
}

func (d *dir) Dev() (uint64, sys.Errno)     { return d.handle.Dev() }
func (d *dir) Ino() (wsys.Inode, sys.Errno) { return d.handle.Ino() }
func (d *dir) Sync() sys.Errno              { return d.handle.Sync() }
func (d *dir) Datasync() sys.Errno          { return d.handle.Datasync() }

// Seek implements sys.File: a directory can be read again.
func (d *dir) Seek(offset position, whence int) (int64, sys.Errno) {
	if offset != 0 || whence != io.SeekStart {
		return 0, sys.EINVAL
	}
	d.entries, d.listed = nil, false
	return 0, 0
}

// Readdir implements sys.File. The entries are those when the first is read.
func (d *dir) Readdir(n int) ([]sys.Dirent, sys.Errno) {
	done, errno := d.use(0)
	defer done()
	if errno != 0 {
		return nil, errno
	}
	if !d.listed {
		if errno := d.list(); errno != 0 {
			return nil, errno
		}
	}
	if n <= 0 || n > len(d.entries) {
		n = len(d.entries)
	}
	out := d.entries[:n:n]
	d.entries = d.entries[n:]
	return out, 0
}

func (d *dir) list() sys.Errno {
	f := d.view.f
	d.entries = nil
	prefix := entryKey(d.node.ino, "")
	err := f.table.Keys(f.ctx, prefix, func(key []byte, _ int) error {
		d.entries = append(d.entries, sys.Dirent{Name: string(key[len(prefix):])})
		return nil
	})
	for i := range d.entries {
		if err != nil {
			return sys.EIO
		}
		e := &d.entries[i]
		var r record
		if e.Ino, err = f.lookup(d.node.ino, e.Name); err == nil {
			r, err = f.stat(e.Ino)
		}
		e.Type = r.mode() & fs.ModeType
	}
	d.listed = err == nil
	return errnoOf(err)
}
