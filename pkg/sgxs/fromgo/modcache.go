package fromgo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// The go command writes to the module cache even if all modules are there, and
// takes no overlay for files in it. So it gets a module cache of its own, with
// links to what is in the user's, and copies of the modules with files that
// differ, which it does not check. Unlike replace directives, this leaves no
// trace in the program and works in workspaces. A module that the user's cache
// does not have is downloaded for this build only.
//
// Links are made for the modules that go.sum names, which are all that a build
// may use: a module cache can have a hundred thousand files.

// moduleVersion is a module as go.sum names it.
type moduleVersion struct{ path, version string }

// mirror makes a module cache at to, with these modules of the one at from.
func mirror(from, to string, modules []moduleVersion) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, m := range modules {
		if err := m.mirror(from, to); err != nil {
			return err
		}
	}
	return nil
}

// mirror links to what there is of a module: its files in the download cache one
// by one, since the go command adds to that directory, and the unpacked module,
// unless it is marked as half unpacked.
func (m moduleVersion) mirror(from, to string) error {
	at := filepath.Join("cache", "download", escape(m.path), "@v")
	partial := filepath.Join(at, escape(m.version)+".partial")
	if _, err := os.Lstat(filepath.Join(from, partial)); errors.Is(err, fs.ErrNotExist) {
		if err := link(from, to, escape(m.path)+"@"+escape(m.version)); err != nil {
			return err
		}
	}
	for _, ext := range []string{".info", ".mod", ".zip", ".ziphash"} {
		if err := link(from, to, filepath.Join(at, escape(m.version)+ext)); err != nil {
			return err
		}
	}
	return nil
}

// link makes to/rel a link to from/rel if there is such a thing.
func link(from, to, rel string) error {
	if _, err := os.Lstat(filepath.Join(from, rel)); err != nil {
		return nil // the go command will say what it lacks
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Join(to, rel)), 0o700); err != nil {
		return err
	}
	return os.Symlink(filepath.Join(from, rel), filepath.Join(to, rel))
}

// escape writes a module's path or version as the module cache does, where two
// names may not differ in case alone: "!x" is X.
func escape(name string) string {
	var b strings.Builder
	for _, r := range name {
		if 'A' <= r && r <= 'Z' {
			b.WriteByte('!')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return filepath.FromSlash(b.String())
}

// modules returns what the go.sum files of a build name: those beside each
// go.mod, and go.work.sum.
func (t *toolchain) modules(ctx context.Context, goMod, goWork string) ([]moduleVersion, error) {
	var sums []string
	if goMod != "" && goMod != os.DevNull {
		sums = append(sums, filepath.Join(filepath.Dir(goMod), "go.sum"))
	}
	if goWork != "" && goWork != "off" {
		out, err := t.run(ctx, "work", "edit", "-json", goWork)
		if err != nil {
			return nil, err
		}
		var work struct{ Use []struct{ DiskPath string } }
		if err := json.Unmarshal(out, &work); err != nil {
			return nil, fmt.Errorf("go work edit: not understood: %w", err)
		}
		sums = append(sums, goWork+".sum")
		for _, u := range work.Use {
			dir := filepath.FromSlash(u.DiskPath)
			if !filepath.IsAbs(dir) {
				dir = filepath.Join(filepath.Dir(goWork), dir)
			}
			sums = append(sums, filepath.Join(dir, "go.sum"))
		}
	}
	seen := map[moduleVersion]bool{}
	for _, sum := range sums {
		text, err := os.ReadFile(sum)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) != 3 {
				continue // the go command says what is wrong with it
			}
			m := moduleVersion{f[0], strings.TrimSuffix(f[1], "/go.mod")}
			// What is no path below the module cache is no module, nor what would make a
			// link of one of its directories, through which the go command writes.
			if filepath.IsLocal(escape(m.path)) && path.Clean(m.path) == m.path && !strings.Contains(m.path, "@") && filepath.Base(m.version) == m.version {
				seen[m] = true
			}
		}
	}
	return slices.Collect(maps.Keys(seen)), nil
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
