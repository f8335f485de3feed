package kernel

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	wall "github.com/enclaveos/eos/pkg/wall"
)

// withTree boots an enclave whose image has these files. It returns memory for the
// calls' operands.
func withTree(t *testing.T, files []wall.File, cwd string) uint64 {
	t.Helper()
	b, err := wall.AppendTree(nil, files, cwd)
	if err != nil {
		t.Fatal(err)
	}
	e := newEnclave(t)
	e.boot(t)
	e.Files, e.FilesLen = e.user(t, uint64(len(b))), uint64(len(b))
	copy(span(e.Files, e.FilesLen), b)
	if !treeInit(e.Boot) {
		t.Fatal("treeInit")
	}
	return e.user(t, 1<<20)
}

// linux calls the kernel the way package syscall would, so that results can be
// compared with those of the real one.
type linux struct {
	p  uint64 // scratch memory: two paths, then a buffer
	th *thread
}

func (l linux) call(nr, a, b, c, d uint64) error {
	r, ok := treeCall(&frame{ax: nr, di: a, si: b, dx: c, r10: d})
	if !ok {
		return syscall.ENOSYS
	}
	return errnoOf(r)
}

func errnoOf(r uint64) error {
	if failed(r) {
		return syscall.Errno(-int64(r))
	}
	return nil
}

func (l linux) path(at uint64, s string) uint64 {
	put(l.p+at, s+"\x00")
	return l.p + at
}

const bufferAt = 16 << 10

func (l linux) open(path string, flags int, mode uint32) (uint64, error) {
	r := openat(atFDCWD, l.path(0, path), uint64(flags), uint64(mode))
	return r, errnoOf(r)
}

func (l linux) write(path, text string, flags int) error {
	fd, err := l.open(path, flags, 0o640)
	if err != nil {
		return err
	}
	defer closeFD(l.th, fd)
	put(l.p+bufferAt, text)
	return errnoOf(write(l.th, fd, l.p+bufferAt, uint64(len(text))))
}

func (l linux) read(path string) (string, error) {
	fd, err := l.open(path, 0, 0)
	if err != nil {
		return "", err
	}
	defer closeFD(l.th, fd)
	var b []byte
	for {
		n := read(l.th, fd, l.p+bufferAt, 100)
		if failed(n) || n == 0 {
			return string(b), errnoOf(n)
		}
		b = append(b, span(l.p+bufferAt, n)...)
	}
}

func (l linux) list(path string) ([]string, error) {
	fd, err := l.open(path, oDIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer closeFD(l.th, fd)
	var names []string
	for {
		n := getdents(fd, l.p+bufferAt, 80)
		if failed(n) || n == 0 {
			slices.Sort(names)
			return names, errnoOf(n)
		}
		for b := span(l.p+bufferAt, n); len(b) > 0; {
			length := int(b[16])
			name, _, _ := bytes.Cut(b[19:length], []byte{0})
			names, b = append(names, string(name)), b[length:]
		}
	}
}

// TestTreeLikeLinux does the same at random in the tree and in a real directory,
// and compares every answer.
func TestTreeLikeLinux(t *testing.T) {
	var files []wall.File
	real := t.TempDir()
	for _, f := range []wall.File{{Path: "d"}, {Path: "d/e"}, {Path: "d/e/f", Data: []byte("measured")}, {Path: "g", Data: []byte{}}, {Path: "w"}} {
		files = append(files, f)
		if f.Data == nil {
			must(t, os.Mkdir(filepath.Join(real, f.Path), 0o755))
		} else {
			must(t, os.WriteFile(filepath.Join(real, f.Path), f.Data, 0o644))
		}
	}
	p := withTree(t, files, "w")
	l := linux{p, threadAt(0)}
	home, err := os.Getwd()
	must(t, err)
	must(t, os.Chdir(filepath.Join(real, "w")))
	defer os.Chdir(home)

	r := rand.New(rand.NewPCG(1, 2))
	names := []string{"a", "b", "../d", "../d/e", "../d/e/f", "../g", "a/b", "a/b/c", "../w/a", "./b/", "b/.", "../d/../g", "a//b", "g/x", "../d/e/f/", ".", "nothing/x"}
	name := func() string { return names[r.IntN(len(names))] }
	errno := func(err error) error {
		var no syscall.Errno
		if errors.As(err, &no) {
			return no
		}
		return err
	}
	for i := range 20000 {
		a, b := name(), name()
		var got, want error
		var gotText, wantText string
		what := ""
		switch op := r.IntN(10); op {
		case 0, 1:
			flags := []int{os.O_WRONLY | os.O_CREATE, os.O_WRONLY | os.O_CREATE | os.O_EXCL, os.O_WRONLY, os.O_RDWR | os.O_CREATE | os.O_TRUNC, os.O_WRONLY | os.O_APPEND, os.O_RDONLY | os.O_TRUNC}[r.IntN(6)]
			text := strings.Repeat("x", r.IntN(9000))
			what = "write"
			got = l.write(a, text, flags)
			f, err := os.OpenFile(a, flags, 0o640)
			if want = err; err == nil {
				_, want = f.WriteString(text)
				if len(text) == 0 && flags&3 == 0 {
					want = syscall.EBADF // package os does not ask
				}
				f.Close()
			}
		case 2, 3:
			what = "read"
			gotText, got = l.read(a)
			b, err := os.ReadFile(a)
			wantText, want = string(b), err
		case 4:
			what = "mkdir"
			got, want = l.call(sysMkdirat, atFDCWD, l.path(0, a), 0o755, 0), syscall.Mkdir(a, 0o755)
		case 5:
			what = "unlink"
			got, want = l.call(263, atFDCWD, l.path(0, a), 0, 0), syscall.Unlink(a)
		case 6:
			what = "rmdir"
			got, want = l.call(263, atFDCWD, l.path(0, a), atRemoveDir, 0), syscall.Rmdir(a)
		case 7:
			what = "rename"
			got, want = l.call(sysRenameat, atFDCWD, l.path(0, a), atFDCWD, l.path(8192, b)), syscall.Rename(a, b)
		case 8:
			what = "truncate"
			n := r.IntN(10000)
			got, want = l.call(sysTruncate, l.path(0, a), uint64(n), 0, 0), syscall.Truncate(a, int64(n))
		case 9:
			what = "list"
			n, err := l.list(a)
			gotText, got = strings.Join(n, " "), err
			d, err := syscall.Open(a, syscall.O_DIRECTORY, 0)
			if want = err; err == nil {
				syscall.Close(d)
				entries, err := os.ReadDir(a)
				want = err
				var n []string
				for _, e := range entries {
					n = append(n, e.Name())
				}
				wantText = strings.Join(n, " ")
			}
		}
		got, want = errno(got), errno(want)
		// What fails in two ways may be told by either number.
		if (got == nil) != (want == nil) || gotText != wantText {
			t.Fatalf("step %d: %s %q %q: %v %.40q (%d), Linux: %v %.40q (%d)", i, what, a, b, got, gotText, len(gotText), want, wantText, len(wantText))
		}
	}
	for i := range fds {
		if fds[i].kind == fdNode {
			t.Errorf("descriptor %d is left", i)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A file lives as long as somebody has it open, and a directory can be emptied
// while it is listed.
func TestTreeGone(t *testing.T) {
	p := withTree(t, []wall.File{{Path: "tmp"}}, "tmp")
	l := linux{p, threadAt(0)}
	must(t, l.write("f", "still there", os.O_WRONLY|os.O_CREATE))
	fd, err := l.open("f", 0, 0)
	must(t, err)
	must(t, l.call(263, atFDCWD, l.path(0, "f"), 0, 0))
	if _, err := l.open("f", 0, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open of what is gone: %v", err)
	}
	if n := read(l.th, fd, p+bufferAt, 100); string(span(p+bufferAt, n)) != "still there" {
		t.Errorf("read %d bytes", int64(n))
	}
	closeFD(l.th, fd)

	const many = 300
	for i := range many {
		must(t, l.write("f"+string(rune('a'+i%26))+strings.Repeat("x", i/26), "", os.O_WRONLY|os.O_CREATE|os.O_TRUNC))
	}
	d, err := l.open(".", oDIRECTORY, 0)
	must(t, err)
	seen := 0
	for {
		n := getdents(d, p+bufferAt, 400)
		if failed(n) || n == 0 {
			break
		}
		for b := bytes.Clone(span(p+bufferAt, n)); len(b) > 0; b = b[b[16]:] {
			name, _, _ := bytes.Cut(b[19:], []byte{0})
			must(t, l.call(263, atFDCWD, l.path(0, string(name)), 0, 0))
			seen++
		}
	}
	if names, err := l.list("."); seen != many || len(names) != 0 || err != nil {
		t.Errorf("listed %d of %d; left %q, %v", seen, many, names, err)
	}
}

func TestTreeFull(t *testing.T) {
	p := withTree(t, []wall.File{{Path: "tmp"}}, "tmp")
	l := linux{p, threadAt(0)}
	for i := 0; ; i++ {
		err := l.write("f"+strings.Repeat("x", i%200)+string(rune('a'+i/200%26))+string(rune('a'+i/5200)), "", os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
		if err == syscall.ENOSPC {
			break
		}
		if err != nil || i > 2*newNodes {
			t.Fatal(i, err)
		}
	}
	if _, err := l.open(strings.Repeat("n", 256), os.O_CREATE|os.O_WRONLY, 0); err != syscall.ENAMETOOLONG {
		t.Errorf("a long name: %v", err)
	}
}

func TestGetcwd(t *testing.T) {
	p := withTree(t, []wall.File{{Path: "go"}, {Path: "go/src"}, {Path: "go/src/time"}}, "go/src/time")
	l := linux{p, threadAt(0)}
	for dir, want := range map[string]string{".": "/go/src/time", "..": "/go/src", "/": "/", "/go": "/go"} {
		must(t, l.call(sysChdir, l.path(0, "/go/src/time"), 0, 0, 0))
		must(t, l.call(sysChdir, l.path(0, dir), 0, 0, 0))
		n := getcwd(p, 100)
		if failed(n) || string(span(p, n)) != want+"\x00" {
			t.Errorf("cd %s: %q, want %q", dir, span(p, n), want)
		}
		if r := getcwd(p, uint64(len(want))); r != errRange {
			t.Errorf("a small buffer: %d", int64(r))
		}
	}
}
