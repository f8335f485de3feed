package wasm

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/experimental/sys"
	wsys "github.com/tetratelabs/wazero/sys"
)

// netMount is where connections are in a guest's file system. WASI preview 1 cannot
// connect, so a connection is a file that is opened for reading and writing:
// /net/tcp/example.com:443. What the guest sends over it is its own business.
const netMount = "/net"

// Dialer makes connections. It is *net.Dialer.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// maxConns bounds the connections that one instance has open.
const maxConns = 16

// netFS is the directory of connections of one instance.
type netFS struct {
	sys.UnimplementedFS
	in   *instance
	open int
}

func dirStat(ino uint64) wsys.Stat_t {
	return wsys.Stat_t{Dev: 2, Ino: ino, Mode: fs.ModeDir | 0o555, Nlink: 1}
}

// Stat implements sys.FS: the two directories are there.
func (n *netFS) Stat(path string) (wsys.Stat_t, sys.Errno) {
	switch strings.Trim(path, "/") {
	case "", ".":
		return dirStat(1), 0
	case "tcp":
		return dirStat(2), 0
	}
	return wsys.Stat_t{}, sys.ENOENT
}

// Lstat implements sys.FS.
func (n *netFS) Lstat(path string) (wsys.Stat_t, sys.Errno) { return n.Stat(path) }

// OpenFile implements sys.FS: it connects.
func (n *netFS) OpenFile(path string, flag sys.Oflag, _ fs.FileMode) (sys.File, sys.Errno) {
	if st, errno := n.Stat(path); errno == 0 {
		if flag&(sys.O_RDWR|sys.O_WRONLY) != 0 {
			return nil, sys.EISDIR
		}
		return &netDir{ino: st.Ino}, 0
	}
	address, ok := strings.CutPrefix(path, "tcp/")
	if !ok {
		return nil, sys.ENOENT
	}
	in := n.in
	in.charge(fuelStore)
	host, port, err := net.SplitHostPort(address)
	switch {
	case err != nil || flag&sys.O_DIRECTORY != 0:
		return nil, sys.ENOENT
	case !allowed(in.app.Egress, host, port):
		return nil, sys.EACCES
	case flag&sys.O_RDWR == 0:
		return nil, sys.EINVAL
	case n.open >= maxConns:
		return nil, sys.EAGAIN
	}
	ctx, cancel := context.WithDeadline(in.ctx, in.end)
	defer cancel()
	c, err := in.app.host.Dial.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		in.alive()
		in.app.log.Warn("a connection failed", "address", address, "error", err)
		return nil, sys.EIO
	}
	_ = c.SetDeadline(in.end)
	n.open++
	// A caller who goes away ends what waits for the network.
	stop := context.AfterFunc(in.ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	return &connFile{fs: n, conn: c, stop: stop}, 0
}

// netDir is one of the directories, which show nothing.
type netDir struct {
	sys.DirFile
	sys.UnimplementedFile
	ino uint64
}

func (d *netDir) Dev() (uint64, sys.Errno)              { return 2, 0 }
func (d *netDir) Ino() (wsys.Inode, sys.Errno)          { return d.ino, 0 }
func (d *netDir) Stat() (wsys.Stat_t, sys.Errno)        { return dirStat(d.ino), 0 }
func (d *netDir) IsDir() (bool, sys.Errno)              { return true, 0 }
func (d *netDir) IsAppend() bool                        { return false }
func (d *netDir) SetAppend(bool) sys.Errno              { return sys.EISDIR }
func (d *netDir) Read([]byte) (int, sys.Errno)          { return 0, sys.EISDIR }
func (d *netDir) Pread([]byte, int64) (int, sys.Errno)  { return 0, sys.EISDIR }
func (d *netDir) Write([]byte) (int, sys.Errno)         { return 0, sys.EISDIR }
func (d *netDir) Pwrite([]byte, int64) (int, sys.Errno) { return 0, sys.EISDIR }
func (d *netDir) Truncate(int64) sys.Errno              { return sys.EISDIR }
func (d *netDir) Readdir(int) ([]sys.Dirent, sys.Errno) { return nil, 0 }
func (d *netDir) Close() sys.Errno                      { return 0 }

// connFile is a connection as a file.
type connFile struct {
	sys.UnimplementedFile
	fs     *netFS
	conn   net.Conn
	stop   func() bool
	closed bool
}

func (f *connFile) Dev() (uint64, sys.Errno)     { return 2, 0 }
func (f *connFile) Ino() (wsys.Inode, sys.Errno) { return 3, 0 }
func (f *connFile) IsDir() (bool, sys.Errno)     { return false, 0 }
func (f *connFile) Stat() (wsys.Stat_t, sys.Errno) {
	return wsys.Stat_t{Dev: 2, Ino: 3, Mode: fs.ModeSocket | 0o600, Nlink: 1}, 0
}

// Read implements sys.File; 0 bytes are the other end's close.
func (f *connFile) Read(b []byte) (int, sys.Errno) {
	f.fs.in.chargeBytes(len(b))
	if len(b) == 0 {
		return 0, 0
	}
	n, err := f.conn.Read(b)
	if n > 0 || errors.Is(err, io.EOF) {
		return n, 0
	}
	return 0, f.errno(err)
}

// Write implements sys.File.
func (f *connFile) Write(b []byte) (int, sys.Errno) {
	f.fs.in.chargeBytes(len(b))
	n, err := f.conn.Write(b)
	if n > 0 {
		return n, 0
	}
	return n, f.errno(err)
}

// errno of an error. If it is because time is over, the guest ends here.
func (f *connFile) errno(err error) sys.Errno {
	if err == nil {
		return 0
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		f.fs.in.alive()
	}
	return sys.EIO
}

// Close implements sys.File.
func (f *connFile) Close() sys.Errno {
	if !f.closed {
		f.closed = true
		f.fs.open--
		f.stop()
		_ = f.conn.Close()
	}
	return 0
}
