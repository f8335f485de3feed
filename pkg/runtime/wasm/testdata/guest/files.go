package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// filesTest does to files what programs do and says what went otherwise.
func filesTest() string {
	var wrong []string
	want := func(what string, got, want any) {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			wrong = append(wrong, fmt.Sprintf("%s: %v, want %v", what, got, want))
		}
	}
	no := func(what string, err error) {
		if err != nil {
			wrong = append(wrong, what+": "+err.Error())
		}
	}
	is := func(what string, err, target error) {
		if !errors.Is(err, target) {
			wrong = append(wrong, fmt.Sprintf("%s: %v, want %v", what, err, target))
		}
	}
	no("mkdir", os.Mkdir("/t", 0o755))
	is("mkdir again", os.Mkdir("/t", 0o755), fs.ErrExist)
	f, err := os.OpenFile("/t/f", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
	no("create", err)
	_, err = os.OpenFile("/t/f", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
	is("create again", err, fs.ErrExist)
	n, err := f.WriteString("0123456789")
	no("write", err)
	want("written", n, 10)
	_, err = f.WriteAt([]byte("abc"), 100_000) // three blocks on
	no("write at", err)
	i, err := f.Stat()
	no("stat", err)
	want("size", i.Size(), 100_003)
	b := make([]byte, 20)
	n, err = f.ReadAt(b, 5)
	want("read", fmt.Sprintf("%d %q", n, b), fmt.Sprintf("%d %q", 20, "56789"+strings.Repeat("\x00", 15)))
	n, err = f.ReadAt(b, 99_999)
	want("read at the end", fmt.Sprintf("%d %q %v", n, b[:n], err), `4 "\x00abc" EOF`)
	no("truncate", f.Truncate(3))
	no("grow", f.Truncate(6))
	_, err = f.Seek(0, io.SeekStart)
	no("seek", err)
	all, err := io.ReadAll(f)
	no("read all", err)
	want("truncated", fmt.Sprintf("%q", all), fmt.Sprintf("%q", "012\x00\x00\x00"))
	no("sync", f.Sync())
	no("rename", os.Rename("/t/f", "/t/g"))
	_, err = os.Stat("/t/f")
	is("stat of the old name", err, fs.ErrNotExist)
	no("unlink while open", os.Remove("/t/g"))
	_, err = os.Stat("/t/g")
	is("stat of a removed file", err, fs.ErrNotExist)
	_, err = f.WriteAt([]byte("still"), 0)
	no("write to a removed file", err)
	n, _ = f.ReadAt(b, 0)
	want("read from a removed file", string(b[:5]), "still")
	no("close", f.Close())

	a, err := os.OpenFile("/t/a", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	no("append", err)
	a.WriteString("one ")
	a.WriteString("two")
	_, err = a.Read(b)
	want("read from a file opened for writing fails", err != nil, true)
	no("close", a.Close())
	a, _ = os.OpenFile("/t/a", os.O_WRONLY|os.O_APPEND, 0)
	a.WriteString(" three")
	a.Close()
	all, _ = os.ReadFile("/t/a")
	want("appended", string(all), "one two three")

	no("mkdirall", os.MkdirAll("/t/d/e/f", 0o700))
	no("write", os.WriteFile("/t/d/e/f/x", []byte("x"), 0o600))
	is("rmdir of a full directory", os.Remove("/t/d"), syscall.ENOTEMPTY)
	no("rename a directory", os.Rename("/t/d", "/t/moved"))
	all, _ = os.ReadFile("/t/moved/e/f/x")
	want("file in a renamed directory", string(all), "x")
	is("a directory into itself", os.Rename("/t/moved", "/t/moved/e/again"), syscall.EINVAL)
	no("write", os.WriteFile("/t/over", []byte("over"), 0o600))
	no("rename over", os.Rename("/t/a", "/t/over"))
	all, _ = os.ReadFile("/t/over")
	want("renamed over", string(all), "one two three")
	is("file over directory", syscall.Rename("/t/over", "/t/moved"), syscall.EISDIR)
	is("directory over file", os.Rename("/t/moved", "/t/over"), syscall.ENOTDIR)
	is("open a directory for writing", func() error { _, err := os.OpenFile("/t", os.O_RDWR, 0); return err }(), syscall.EISDIR)
	is("a file as a directory", func() error { _, err := os.Stat("/t/over/x"); return err }(), syscall.ENOTDIR)
	is("symlink", os.Symlink("/t/over", "/t/link"), syscall.ENOTSUP)
	e, err := os.ReadDir("/t")
	no("readdir", err)
	var names []string
	for _, d := range e {
		names = append(names, fmt.Sprint(d.Name(), d.IsDir()))
	}
	want("names", names, "[movedtrue overfalse]")
	for k := range 300 { // more than one page of directory entries
		if err := os.WriteFile(fmt.Sprintf("/t/moved/%03d", k), nil, 0o600); err != nil {
			no("many", err)
			break
		}
	}
	e, err = os.ReadDir("/t/moved")
	no("readdir of many", err)
	want("many", len(e), 301)
	for _, p := range []string{"/../../etc/passwd", "../outside"} {
		_, err := os.Open(p)
		want(p+" is not there", err != nil, true)
	}
	no("remove all", os.RemoveAll("/t"))
	_, err = os.Stat("/t")
	is("stat of what is removed", err, fs.ErrNotExist)
	return strings.Join(wrong, "\n")
}
