package fromgo

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The go command takes no overlay for files in the module cache, and checks
// nothing that it has unpacked there. So the build gets a module cache of its
// own: links to the modules in the user's, and copies of those with files that
// differ. Unlike replace directives, this leaves no trace in the program and
// works in workspaces.

// mirror makes a module cache at to like the one at from. replaced are the
// files that differ, by their paths in the cache.
func mirror(from, to string, replaced map[string][]byte) error {
	copied := map[string]bool{} // module directories
	for rel := range replaced {
		copied[moduleDir(rel)] = true
	}
	if err := mirrorDir(from, to, ".", copied); err != nil {
		return err
	}
	for rel, text := range replaced {
		path := filepath.Join(to, filepath.FromSlash(rel))
		if err := os.Remove(path); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return err
		}
	}
	return nil
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

func mirrorDir(from, to, rel string, copied map[string]bool) error {
	dst := filepath.Join(to, rel)
	if err := os.MkdirAll(dst, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(from, rel))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.ToSlash(filepath.Join(rel, e.Name()))
		src := filepath.Join(from, name)
		switch {
		case !e.IsDir():
		case name == "cache":
			// Downloads are read; the lock beside them is this build's own.
			if err := os.Mkdir(filepath.Join(to, name), 0o700); err != nil {
				return err
			}
			if err := os.Symlink(filepath.Join(src, "download"), filepath.Join(to, name, "download")); err != nil {
				return err
			}
		case copied[name]:
			if err := copyTree(src, filepath.Join(to, name)); err != nil {
				return err
			}
		case strings.Contains(e.Name(), "@"):
			if err := os.Symlink(src, filepath.Join(to, name)); err != nil {
				return err
			}
		default:
			if err := mirrorDir(from, to, name, copied); err != nil {
				return err
			}
		}
	}
	return nil
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
