package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// writeFile makes the file at path from what fill writes, whole or not at all:
// it is written beside its place and renamed over it. What was at path before
// stays when fill fails or the program is interrupted. A path that is no
// regular file, such as /dev/stdout, is written to directly.
func writeFile(path string, perm fs.FileMode, fill func(io.Writer) error) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if fi, err := os.Stat(path); err == nil && !fi.Mode().IsRegular() {
		if fi.IsDir() {
			return fmt.Errorf("write %s: is a directory", path)
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(fillFile(f, fill), f.Close())
	}

	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+rand.Text()[:8])
	defer removeOnSignal(temp)()
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, pathCause(err))
	}
	err = fillFile(f, fill)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		os.Remove(temp)
		if errors.As(err, new(*fs.PathError)) || errors.As(err, new(*os.LinkError)) {
			return fmt.Errorf("write %s: %w", path, pathCause(err))
		}
	}
	return err
}

func fillFile(f *os.File, fill func(io.Writer) error) error {
	w := bufio.NewWriterSize(f, 1<<20)
	if err := fill(w); err != nil {
		return err
	}
	return w.Flush()
}

// pathCause drops the operation and the (temporary) path from an error of
// package os.
func pathCause(err error) error {
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		return p.Err
	case errors.As(err, &l):
		return l.Err
	}
	return err
}

// checkDistinct refuses an output that is one of the inputs, also by another
// name.
func checkDistinct(out string, ins ...string) error {
	fo, err := os.Stat(out)
	for _, in := range ins {
		fi, ierr := os.Stat(in)
		if filepath.Clean(in) == filepath.Clean(out) || err == nil && ierr == nil && os.SameFile(fo, fi) && fo.Mode().IsRegular() {
			return withHint(usagef("input and output are the same file %s", out), "choose another output")
		}
	}
	return nil
}

// replaceExt returns path with its extension, if it has one, replaced.
func replaceExt(path, ext string) string {
	if e := filepath.Ext(path); e != filepath.Base(path) {
		path = path[:len(path)-len(e)]
	}
	return path + ext
}

// checkAbsent refuses files that exist; an empty name is none. What makes the
// file looks again: this is to fail before the work.
func checkAbsent(paths ...string) error {
	for _, p := range paths {
		if p == "" {
			continue
		}
		if _, err := os.Lstat(p); err == nil {
			return withHint(fmt.Errorf("%s exists, and a key is never overwritten", p), "name another file or move this one")
		}
	}
	return nil
}
