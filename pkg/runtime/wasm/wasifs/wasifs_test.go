package wasifs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero/experimental/sys"

	"github.com/enclaveos/eos/pkg/runtime/kvstore"
)

func table(t *testing.T) Table {
	t.Helper()
	s, err := kvstore.OpenMemory(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return s.Table("files")
}

func open(t *testing.T, tb Table) (*FS, *View) {
	t.Helper()
	f, err := Open(t.Context(), tb, nil)
	if err != nil {
		t.Fatal(err)
	}
	return f, f.View(func(int) {})
}

func must(t *testing.T, errno sys.Errno) {
	t.Helper()
	if errno != 0 {
		t.Fatal(errno)
	}
}

func writeFile(t *testing.T, v *View, path, text string) {
	t.Helper()
	f, errno := v.OpenFile(path, sys.O_WRONLY|sys.O_CREAT|sys.O_TRUNC, 0o600)
	must(t, errno)
	_, errno = f.Write([]byte(text))
	must(t, errno)
	must(t, f.Close())
}

func readFile(t *testing.T, v *View, path string) string {
	t.Helper()
	f, errno := v.OpenFile(path, sys.O_RDONLY, 0)
	if errno != 0 {
		return "error: " + errno.Error()
	}
	st, errno := f.Stat()
	must(t, errno)
	b := make([]byte, st.Size+10)
	n, errno := f.Read(b)
	must(t, errno)
	must(t, f.Close())
	return string(b[:n])
}

// keys counts the table's records of a kind.
func keys(t *testing.T, tb Table, kind byte) (n int) {
	t.Helper()
	if err := tb.Keys(t.Context(), []byte{kind}, func([]byte, int) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRestart: what was closed is there again.
func TestRestart(t *testing.T) {
	tb := table(t)
	f, v := open(t, tb)
	must(t, v.Mkdir("d", 0o700))
	long := strings.Repeat("0123456789abcdef", 5000)
	writeFile(t, v, "d/long", long)
	writeFile(t, v, "empty", "")
	must(t, v.Utimens("d/long", 5, 7))
	must(t, v.Chmod("d/long", 0o640))
	must(t, v.Rename("d", "e"))
	total, count := f.total, f.count
	f, v = open(t, tb)
	if f.total != total || f.count != count || total != int64(len(long)) || count != 4 {
		t.Errorf("%d bytes in %d nodes, before %d in %d", f.total, f.count, total, count)
	}
	if got := readFile(t, v, "/e/long"); got != long {
		t.Errorf("the file has %d bytes", len(got))
	}
	st, errno := v.Stat("e/long")
	must(t, errno)
	if st.Mtim != 7 || st.Atim != 5 || st.Mode != 0o640 {
		t.Errorf("stat %+v", st)
	}
	if readFile(t, v, "d/long") == long {
		t.Error("the old name is there")
	}
	writeFile(t, v, "new", "new") // its inode is nobody's
	if got := readFile(t, v, "e/long"); got != long {
		t.Errorf("now the file has %d bytes", len(got))
	}
}

// TestCrash: a file that was unlinked while it was open is gone after a crash, and
// what an unlink has left is cleared away.
func TestCrash(t *testing.T) {
	tb := table(t)
	_, v := open(t, tb)
	file, errno := v.OpenFile("f", sys.O_RDWR|sys.O_CREAT, 0o600)
	must(t, errno)
	_, errno = file.Write(make([]byte, 3*BlockSize))
	must(t, errno)
	must(t, file.Sync())
	must(t, v.Unlink("f"))
	if b, o := keys(t, tb, keyBlock), keys(t, tb, keyOrphan); b != 3 || o != 1 {
		t.Errorf("%d blocks, %d orphans", b, o)
	}
	f, v := open(t, tb) // without a Close: a crash
	if b, o, n := keys(t, tb, keyBlock), keys(t, tb, keyOrphan), keys(t, tb, keyNode); b != 0 || o != 0 || n != 1 || f.count != 1 || f.total != 0 {
		t.Errorf("%d blocks, %d orphans, %d nodes", b, o, n)
	}
	if _, errno := v.Stat("f"); errno != sys.ENOENT {
		t.Error(errno)
	}
}

// broken is a table whose writes fail from the n-th on.
type broken struct {
	Table
	left int
}

var errBroken = errors.New("broken")

func (b *broken) Batch(ctx context.Context, ops []kvstore.Op) error {
	if b.left == 0 {
		return errBroken
	}
	b.left--
	return b.Table.Batch(ctx, ops)
}

// TestEveryCrash stops the store after each write in turn: afterwards the file system
// opens, every name leads to a node, and no block is nobody's.
func TestEveryCrash(t *testing.T) {
	for n := range 40 {
		tb := table(t)
		b := &broken{tb, n}
		f, err := Open(t.Context(), b, nil)
		if err == nil {
			v := f.View(func(int) {})
			_ = v.Mkdir("a", 0o700)
			_ = v.Mkdir("a/b", 0o700)
			for i := range 3 {
				if file, errno := v.OpenFile(fmt.Sprintf("a/f%d", i), sys.O_RDWR|sys.O_CREAT, 0o600); errno == 0 {
					_, _ = file.Write(make([]byte, (i+1)*BlockSize))
					_ = file.Sync()
					_ = file.Truncate(int64(i) * 1000)
					_ = file.Close()
				}
			}
			_ = v.Rename("a/f0", "a/f1")
			_ = v.Rename("a/b", "c")
			_ = v.Unlink("a/f2")
			_ = v.Rmdir("c")
		}
		f, v := open(t, tb)
		nodes := 1
		blocks := map[uint64]bool{}
		var walk func(path string)
		walk = func(path string) {
			d, errno := v.OpenFile(path, sys.O_RDONLY|sys.O_DIRECTORY, 0)
			must(t, errno)
			all, errno := d.Readdir(-1)
			must(t, errno)
			must(t, d.Close())
			for _, e := range all {
				nodes++
				st, errno := v.Stat(path + "/" + e.Name)
				must(t, errno)
				if e.IsDir() {
					walk(path + "/" + e.Name)
				} else {
					blocks[st.Ino] = true
					if got := readFile(t, v, path+"/"+e.Name); int64(len(got)) != st.Size {
						t.Errorf("after %d writes %s has %d bytes of %d", n, e.Name, len(got), st.Size)
					}
				}
			}
		}
		walk("/")
		if nodes != f.count || keys(t, tb, keyOrphan) != 0 {
			t.Errorf("after %d writes there are %d nodes, %d with names, %d orphans", n, f.count, nodes, keys(t, tb, keyOrphan))
		}
		err = tb.Keys(t.Context(), []byte{keyBlock}, func(key []byte, _ int) error {
			if r, err := f.record(beUint64(key[1:])); err != nil || r.dir || !blocks[beUint64(key[1:])] {
				t.Errorf("after %d writes a block of node %d is nobody's", n, beUint64(key[1:]))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func beUint64(b []byte) (v uint64) {
	for _, c := range b[:8] {
		v = v<<8 | uint64(c)
	}
	return v
}

// TestModel holds reads and writes of one file against a slice of bytes.
func TestModel(t *testing.T) {
	tb := table(t)
	_, v := open(t, tb)
	rnd := rand.New(rand.NewPCG(3, 4))
	var model []byte
	file, errno := v.OpenFile("f", sys.O_RDWR|sys.O_CREAT, 0o600)
	must(t, errno)
	for step := range 400 {
		off := rnd.IntN(5 * BlockSize)
		switch rnd.IntN(5) {
		case 0, 1:
			b := make([]byte, rnd.IntN(2*BlockSize))
			for i := range b {
				b[i] = byte(rnd.Uint32())
			}
			n, errno := file.Pwrite(b, int64(off))
			must(t, errno)
			if n != len(b) {
				t.Fatalf("step %d: %d bytes written of %d", step, n, len(b))
			}
			if len(b) > 0 {
				if need := off + len(b); need > len(model) {
					model = append(model, make([]byte, need-len(model))...)
				}
				copy(model[off:], b)
			}
		case 2:
			must(t, file.Truncate(int64(off)))
			if off < len(model) {
				model = model[:off:off]
			} else {
				model = append(model, make([]byte, off-len(model))...)
			}
		case 3:
			b := make([]byte, rnd.IntN(2*BlockSize))
			n, errno := file.Pread(b, int64(off))
			must(t, errno)
			var want []byte
			if off < len(model) {
				want = model[off:min(len(model), off+len(b))]
			}
			if !bytes.Equal(b[:n], want) {
				t.Fatalf("step %d: %d bytes at %d differ", step, n, off)
			}
		case 4:
			if rnd.IntN(4) == 0 {
				must(t, file.Close())
				_, v = open(t, tb)
				file, errno = v.OpenFile("f", sys.O_RDWR, 0)
				must(t, errno)
			} else {
				must(t, file.Datasync())
			}
		}
	}
	must(t, file.Close())
	if got := readFile(t, v, "f"); got != string(model) {
		t.Errorf("%d bytes at the end, want %d", len(got), len(model))
	}
}

// TestTwo: two instances see each other's writes to an open file.
func TestTwo(t *testing.T) {
	f, a := open(t, table(t))
	b := f.View(func(int) {})
	x, errno := a.OpenFile("f", sys.O_RDWR|sys.O_CREAT, 0o600)
	must(t, errno)
	y, errno := b.OpenFile("f", sys.O_RDONLY, 0)
	must(t, errno)
	_, errno = x.Write([]byte("written"))
	must(t, errno)
	buf := make([]byte, 10)
	if n, errno := y.Read(buf); errno != 0 || string(buf[:n]) != "written" {
		t.Errorf("%q, %v", buf[:n], errno)
	}
	must(t, a.Unlink("f"))
	must(t, x.Close())
	if n, errno := y.Pread(buf, 0); errno != 0 || string(buf[:n]) != "written" {
		t.Errorf("after the unlink: %q, %v", buf[:n], errno)
	}
	must(t, y.Close())
	if f.count != 1 || f.total != 0 || len(f.nodes) != 0 {
		t.Errorf("%d nodes, %d bytes, %d open", f.count, f.total, len(f.nodes))
	}
}

func TestBounds(t *testing.T) {
	f, v := open(t, table(t))
	file, errno := v.OpenFile("f", sys.O_RDWR|sys.O_CREAT, 0o600)
	must(t, errno)
	if _, errno := file.Pwrite([]byte("x"), MaxFile); errno != EFBIG {
		t.Errorf("a write behind the largest file: %v", errno)
	}
	if _, errno := file.Pwrite([]byte("x"), 1<<63-1); errno != EFBIG {
		t.Errorf("a write at the end of numbers: %v", errno)
	}
	if _, errno := file.Pwrite([]byte("x"), -1); errno != sys.EINVAL {
		t.Errorf("a write before the beginning: %v", errno)
	}
	if errno := file.Truncate(MaxFile + 1); errno != EFBIG {
		t.Errorf("a file that is too large: %v", errno)
	}
	f.total = MaxTotal
	if _, errno := file.Write([]byte("x")); errno != ENOSPC {
		t.Errorf("one byte too many: %v", errno)
	}
	f.total = 0
	f.count = MaxNodes
	if errno := v.Mkdir("d", 0o700); errno != ENOSPC {
		t.Errorf("one directory too many: %v", errno)
	}
	f.count = 2
	for path, want := range map[string]sys.Errno{
		strings.Repeat("x", 256): sys.ENAMETOOLONG, strings.Repeat("x/", 2100): sys.ENAMETOOLONG, "a\x00b": sys.EINVAL, "a\xffb": sys.EINVAL,
		"none/x": sys.ENOENT, "f/x": sys.ENOTDIR, "f/": sys.ENOTDIR,
	} {
		if _, errno := v.Stat(path); errno != want {
			t.Errorf("%.20q: %v, want %v", path, errno, want)
		}
	}
	var all []sys.File
	for range MaxOpen - 1 {
		file, errno := v.OpenFile("f", sys.O_RDONLY, 0)
		must(t, errno)
		all = append(all, file)
	}
	if _, errno := v.OpenFile("f", sys.O_RDONLY, 0); errno != sys.EAGAIN {
		t.Errorf("one open file too many: %v", errno)
	}
	must(t, all[0].Close())
	must(t, all[0].Close()) // twice is no error
	if _, errno := all[0].Read(nil); errno != sys.EBADF {
		t.Errorf("a closed file: %v", errno)
	}
	file, errno = v.OpenFile("f", sys.O_RDONLY, 0)
	must(t, errno)
	if _, errno := file.Write([]byte("x")); errno != sys.EBADF {
		t.Errorf("a write to a file that was opened for reading: %v", errno)
	}
}

func TestSplit(t *testing.T) {
	for path, want := range map[string]string{
		"": "", "/": "", ".": "", "a": "a", "/a/b": "a b", "a//b/./c": "a b c", "a/../b": "b", "../../x": "x", "a/..": "", "...": "...",
	} {
		names, _, errno := split(path)
		if errno != 0 || strings.Join(names, " ") != want {
			t.Errorf("%q: %q, %v", path, names, errno)
		}
	}
}

// TestDamage: records that are none are told when they are met.
func TestDamage(t *testing.T) {
	for name, op := range map[string]kvstore.Op{
		"no root":          del(nodeKey(rootIno)),
		"short record":     put(nodeKey(2), []byte{1}),
		"future version":   put(nodeKey(2), append([]byte{2}, make([]byte, recordSize-1)...)),
		"huge":             put(nodeKey(2), record{size: MaxFile + 1}.appendBinary(nil)),
		"key of a node":    put([]byte("i1"), nil),
		"key of an orphan": put([]byte("o1"), nil),
	} {
		tb := table(t)
		_, v := open(t, tb)
		writeFile(t, v, "f", "text")
		if err := tb.Batch(t.Context(), []kvstore.Op{op}); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), tb, nil); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	tb := table(t)
	_, v := open(t, tb)
	writeFile(t, v, "f", "text")
	if err := tb.Batch(t.Context(), []kvstore.Op{put(entryKey(rootIno, "f"), []byte("x"))}); err != nil {
		t.Fatal(err)
	}
	if _, errno := v.Stat("f"); errno != sys.EIO {
		t.Errorf("a damaged entry: %v", errno)
	}
}

// TestAccess: each operation is told of before it happens, and none holds the lock
// when what is told ends the guest.
func TestAccess(t *testing.T) {
	f, v := open(t, table(t))
	writeFile(t, v, "f", "text")
	w := f.View(func(int) { panic("ended") })
	for name, do := range map[string]func(){
		"open": func() { _, _ = w.OpenFile("f", sys.O_RDONLY, 0) }, "stat": func() { _, _ = w.Stat("f") },
		"mkdir": func() { _ = w.Mkdir("d", 0) }, "rename": func() { _ = w.Rename("f", "g") }, "unlink": func() { _ = w.Unlink("f") },
		"rmdir": func() { _ = w.Rmdir("d") }, "chmod": func() { _ = w.Chmod("f", 0) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s was not told", name)
				}
			}()
			do()
		}()
	}
	done := make(chan string)
	go func() { done <- readFile(t, v, "f") }()
	select {
	case got := <-done:
		if got != "text" {
			t.Error(got)
		}
	case <-time.After(time.Minute):
		t.Fatal("the lock is held")
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(record{dir: true, perm: uint32(fs.ModePerm)}.appendBinary(nil))
	f.Add(record{size: 5, mtime: -1}.appendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRecord(b)
		if err == nil && !bytes.Equal(r.appendBinary(nil), b) {
			t.Errorf("%x is read and written as %x", b, r.appendBinary(nil))
		}
		for n := range b {
			if _, err := parseRecord(b[:n]); err == nil && n < recordSize {
				t.Errorf("a prefix of %d bytes is a record", n)
			}
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	s, err := kvstore.OpenMemory(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	f, err := Open(context.Background(), s.Table("files"), nil)
	if err != nil {
		b.Fatal(err)
	}
	v := f.View(func(int) {})
	buf := slices.Repeat([]byte("x"), 4096)
	b.SetBytes(1 << 20)
	for b.Loop() {
		file, _ := v.OpenFile("f", sys.O_WRONLY|sys.O_CREAT|sys.O_TRUNC, 0o600)
		for range 256 {
			if _, errno := file.Write(buf); errno != 0 {
				b.Fatal(errno)
			}
		}
		if errno := file.Close(); errno != 0 {
			b.Fatal(errno)
		}
	}
}
