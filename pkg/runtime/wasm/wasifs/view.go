package wasifs

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/tetratelabs/wazero/experimental/sys"
	wsys "github.com/tetratelabs/wazero/sys"

	"github.com/enclaveos/eos/pkg/runtime/kvstore"
)

// View is a file system as one instance sees it.
type View struct {
	sys.UnimplementedFS
	f      *FS
	access func(bytes int)  // called before each operation; it may panic
	end    func() time.Time // nil: operations take as long as the store does
	open   int
	errno  sys.Errno // one of those below that wazero has not
}

// Errnos that wazero does not have: their numbers in WASI, beyond all of its own. It takes
// them for EIO; TakeErrno tells which one it was.
const (
	beyond           = 1 << 14
	EFBIG  sys.Errno = beyond + 22
	ENOSPC sys.Errno = beyond + 51
)

// told keeps what wazero would not tell.
func (v *View) told(errno sys.Errno) sys.Errno {
	if errno >= beyond {
		v.errno = errno
	}
	return errno
}

// TakeErrno returns the number in WASI of the last error since it was called that wazero
// has no name for, or 0.
func (v *View) TakeErrno() uint32 {
	errno := v.errno
	v.errno = 0
	if errno == 0 {
		return 0
	}
	return uint32(errno - beyond)
}

// View returns the file system for one instance, which calls access with the bytes
// that an operation moves, before it does.
func (f *FS) View(access func(bytes int)) *View { return &View{f: f, access: access} }

// Bound makes that operations fail that the store has not done when the time is over
// that end says: a host that does not answer must not keep the file system.
func (v *View) Bound(end func() time.Time) { v.end = end }

// closing is how long the end of an instance, whose time may be over, waits for its files.
const closing = 2 * time.Second

func (v *View) enter(bytes int) func() {
	v.access(bytes)
	if v.end == nil {
		return v.lock(time.Time{})
	}
	return v.lock(v.end())
}

// lock begins an operation, and returns what ends it.
func (v *View) lock(end time.Time) func() {
	f := v.f
	f.mu.Lock()
	if end.IsZero() {
		return f.mu.Unlock
	}
	all := f.ctx
	ctx, cancel := context.WithDeadline(all, end)
	f.ctx = ctx
	return func() {
		cancel()
		f.ctx = all
		f.mu.Unlock()
	}
}

// OpenFile implements sys.FS.
func (v *View) OpenFile(path string, flag sys.Oflag, perm fs.FileMode) (sys.File, sys.Errno) {
	defer v.enter(0)()
	if v.open >= MaxOpen {
		return nil, sys.EAGAIN
	}
	p, errno := v.f.find(path)
	if errno != 0 {
		return nil, errno
	}
	write := flag&(sys.O_RDWR|sys.O_WRONLY) != 0
	switch {
	case p.ino == 0 && flag&sys.O_CREAT == 0:
		return nil, sys.ENOENT
	case p.ino == 0 && (p.dir || flag&sys.O_DIRECTORY != 0):
		return nil, sys.EISDIR
	case p.ino != 0 && flag&sys.O_CREAT != 0 && flag&sys.O_EXCL != 0:
		return nil, sys.EEXIST
	case p.ino != 0 && flag&sys.O_DIRECTORY != 0 && !p.rec.dir:
		return nil, sys.ENOTDIR
	case p.ino != 0 && p.rec.dir && (write || flag&sys.O_TRUNC != 0):
		return nil, sys.EISDIR
	}
	if p.ino == 0 {
		if p.ino, errno = v.f.create(p, false, perm); errno != 0 {
			return nil, v.told(errno)
		}
	}
	n, err := v.f.hold(p.ino)
	if err != nil {
		return nil, sys.EIO
	}
	if flag&sys.O_TRUNC != 0 && write {
		if errno := v.f.truncate(n, 0); errno != 0 {
			_ = v.f.release(n) // errno is the reason already
			return nil, errno
		}
	}
	v.open++
	h := handle{view: v, node: n}
	if n.rec.dir {
		return &dir{handle: h}, 0
	}
	return &file{handle: h, read: flag&sys.O_WRONLY == 0, write: write, app: flag&sys.O_APPEND != 0}, 0
}

func (r record) mode() fs.FileMode {
	if r.dir {
		return fs.ModeDir | fs.FileMode(r.perm)
	}
	return fs.FileMode(r.perm)
}

func stat(ino uint64, r record) wsys.Stat_t {
	return wsys.Stat_t{Dev: 1, Ino: ino, Mode: r.mode(), Nlink: 1, Size: r.size, Atim: r.atime, Mtim: r.mtime, Ctim: r.mtime}
}

// Stat implements sys.FS.
func (v *View) Stat(path string) (wsys.Stat_t, sys.Errno) {
	defer v.enter(0)()
	p, errno := v.f.find(path)
	if errno == 0 && p.ino == 0 {
		errno = sys.ENOENT
	}
	if errno != 0 {
		return wsys.Stat_t{}, errno
	}
	return stat(p.ino, p.rec), 0
}

// Lstat implements sys.FS: there are no links.
func (v *View) Lstat(path string) (wsys.Stat_t, sys.Errno) { return v.Stat(path) }

// Mkdir implements sys.FS.
func (v *View) Mkdir(path string, perm fs.FileMode) sys.Errno {
	defer v.enter(0)()
	p, errno := v.f.find(path)
	switch {
	case errno == sys.ENOTDIR && p.ino != 0 && p.dir:
		return sys.EEXIST
	case errno != 0:
		return errno
	case p.ino != 0:
		return sys.EEXIST
	}
	_, errno = v.f.create(p, true, perm)
	return v.told(errno)
}

// Rename implements sys.FS.
func (v *View) Rename(from, to string) sys.Errno {
	defer v.enter(0)()
	a, errno := v.f.find(from)
	if errno != 0 {
		return errno
	}
	b, errno := v.f.find(to)
	if errno != 0 {
		return errno
	}
	f, _, _ := split(from)
	t, _, _ := split(to)
	if len(t) > len(f) && slices.Equal(f, t[:len(f)]) {
		return sys.EINVAL
	}
	return v.told(v.f.rename(a, b))
}

// Rmdir implements sys.FS.
func (v *View) Rmdir(path string) sys.Errno {
	defer v.enter(0)()
	p, errno := v.f.find(path)
	switch {
	case errno != 0:
		return errno
	case p.ino == 0:
		return sys.ENOENT
	case !p.rec.dir:
		return sys.ENOTDIR
	case p.name == "":
		return sys.EINVAL
	}
	if ok, err := v.f.empty(p.ino); err != nil {
		return sys.EIO
	} else if !ok {
		return sys.ENOTEMPTY
	}
	return v.f.unlink(p, del(entryKey(p.parent, p.name)))
}

// Unlink implements sys.FS.
func (v *View) Unlink(path string) sys.Errno {
	defer v.enter(0)()
	p, errno := v.f.find(path)
	switch {
	case errno != 0:
		return errno
	case p.ino == 0:
		return sys.ENOENT
	case p.rec.dir:
		return sys.EISDIR
	}
	return v.f.unlink(p, del(entryKey(p.parent, p.name)))
}

// change alters the record of what a path leads to.
func (v *View) change(path string, alter func(*record)) sys.Errno {
	defer v.enter(0)()
	p, errno := v.f.find(path)
	if errno != 0 {
		return errno
	}
	if p.ino == 0 {
		return sys.ENOENT
	}
	n, err := v.f.hold(p.ino)
	if err != nil {
		return sys.EIO
	}
	alter(&n.rec)
	n.changed = true
	return errnoOf(v.f.release(n))
}

// Chmod implements sys.FS.
func (v *View) Chmod(path string, perm fs.FileMode) sys.Errno {
	return v.change(path, func(r *record) { r.perm = uint32(perm & fs.ModePerm) })
}

// Utimens implements sys.FS.
func (v *View) Utimens(path string, atim, mtim int64) sys.Errno {
	return v.change(path, func(r *record) { r.times(atim, mtim) })
}

func (r *record) times(atim, mtim int64) {
	if atim != sys.UTIME_OMIT {
		r.atime = atim
	}
	if mtim != sys.UTIME_OMIT {
		r.mtime = mtim
	}
}

// Link, Symlink and Readlink implement sys.FS: there are no links.

func (v *View) Link(string, string) sys.Errno    { return sys.ENOTSUP }
func (v *View) Symlink(string, string) sys.Errno { return sys.ENOTSUP }
func (v *View) Readlink(path string) (string, sys.Errno) {
	if _, errno := v.Stat(path); errno != 0 {
		return "", errno
	}
	return "", sys.EINVAL
}

func errnoOf(err error) sys.Errno {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, kvstore.ErrQuota):
		return ENOSPC
	}
	return sys.EIO
}
