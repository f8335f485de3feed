package fromgo

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// The go command writes to the module cache even if all modules are there, and
// takes no overlay for files in it. So it gets a module cache of its own, with
// links to what is in the user's, and copies of the modules with files that
// differ, which it does not check. Unlike replace directives, this leaves no
// trace in the program and works in workspaces. A module that the user's cache
// does not have is downloaded for this build only.

// mirror makes a module cache at to, like the one at from.
func mirror(from, to string) error {
	if err := mirrorModules(from, to, "."); err != nil {
		return err
	}
	return mirrorDownloads(filepath.Join(from, "cache", "download"), filepath.Join(to, "cache", "download"))
}

// mirrorModules links to the unpacked modules below rel.
func mirrorModules(from, to, rel string) error {
	entries, err := readDir(from, to, rel)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(rel, e.Name())
		switch {
		case !e.IsDir() || name == "cache":
		case strings.Contains(e.Name(), "@"):
			err = os.Symlink(filepath.Join(from, name), filepath.Join(to, name))
		default:
			err = mirrorModules(from, to, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mirrorDownloads links to the files of the download cache, one by one, since
// the go command adds to its directories.
func mirrorDownloads(from, to string) error {
	entries, err := readDir(from, to, ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		src, dst := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		switch {
		case e.IsDir():
			err = mirrorDownloads(src, dst)
		case filepath.Ext(src) == ".lock":
		case e.Name() == "list" || e.Name() == "latest":
			err = copyFile(src, dst) // the go command writes over these
		default:
			err = os.Symlink(src, dst)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readDir reads from/rel, nothing if it does not exist, and makes to/rel.
func readDir(from, to, rel string) ([]fs.DirEntry, error) {
	if err := os.MkdirAll(filepath.Join(to, rel), 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(from, rel))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return entries, err
}

// replace changes files in a mirror. Their names are relative to it.
func replace(mirror string, files map[string][]byte) error {
	for rel, text := range files {
		if err := unlink(filepath.Join(mirror, filepath.FromSlash(moduleDir(rel)))); err != nil {
			return err
		}
		path := filepath.Join(mirror, filepath.FromSlash(rel))
		if err := os.Remove(path); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// unlink makes a copy of the module that dir links to, if it is a link.
func unlink(dir string) error {
	from, err := os.Readlink(dir)
	if errors.Is(err, syscall.EINVAL) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil {
		return err
	}
	return copyTree(from, dir)
}

// moduleDir returns the part of a path in the module cache that ends with the
// version.
func moduleDir(rel string) string {
	at := strings.IndexByte(rel, '@')
	if at < 0 {
		return rel
	}
	if end := strings.IndexByte(rel[at:], '/'); end >= 0 {
		return rel[:at+end]
	}
	return rel
}

// copyTree copies a module. The copy can be deleted, which a module in the
// cache is protected from.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		dst := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.Mkdir(dst, 0o700)
		case !d.Type().IsRegular():
			return nil // module zips have none
		}
		return copyFile(path, dst)
	})
}

func copyFile(from, to string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	_, err = io.Copy(dst, src)
	return err
}
