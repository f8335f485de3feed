// Package keyfile keeps secrets in files that only their owner may read, and
// that several processes may want to make at the same time.
package keyfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Read returns the content of the file at path, or its first limit+1 bytes if it
// is longer. It refuses a file that others may read or write and a directory in
// which they may replace it. The error wraps fs.ErrNotExist if there is no file.
func Read(path string, limit int64) ([]byte, error) {
	if st, err := os.Lstat(path); err == nil && st.Mode()&fs.ModeSymlink != 0 {
		return nil, fmt.Errorf("%s: is a symbolic link; name the directory of the file that it points to", path)
	}
	file, err := os.OpenFile(path, os.O_RDONLY|openNoFollow, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file; name another directory", path)
	}
	if m := st.Mode().Perm(); m&0o077 != 0 {
		return nil, fmt.Errorf("%s: others may use it (mode %04o): anybody who has read it can make its keys; "+
			"if nobody has: chmod 600 %s", path, m, path)
	}
	if err := checkDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(file, limit+1))
}

// checkDir refuses a directory in which others can replace files.
func checkDir(dir string) error {
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return fmt.Errorf("%s: not a directory", dir)
	}
	if m := st.Mode(); m.Perm()&0o022 != 0 {
		return fmt.Errorf("%s: others may replace files in it (mode %04o); chmod 700 %s, or name another directory", dir, m.Perm(), dir)
	}
	return nil
}

// Make makes the file at path (mode 0600), and its directory (0700), unless
// somebody else makes the file first: then that file stays, and there is no
// error. It writes a file of another name and links it, which is atomic and never
// replaces anything.
func Make(path string, content []byte) error {
	dir, name := filepath.Dir(path), filepath.Base(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := checkDir(dir); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, name+".new*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Sync()
	}
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the new name last: losing it after something was made with the
// secret would lose that as well.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
