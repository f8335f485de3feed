package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseSize(t *testing.T) {
	for _, c := range []struct {
		in   string
		want uint64
	}{
		{"0", 0}, {"4096", 4096}, {"0x1000", 4096}, {"0xB", 11}, {"64MiB", 64 << 20}, {"64M", 64 << 20},
		{"64mib", 64 << 20}, {"128 KiB", 128 << 10}, {"1GiB", 1 << 30}, {"2T", 2 << 40}, {"17B", 17},
		{"18446744073709551615", 1<<64 - 1}, {"16777215T", 16777215 << 40},
	} {
		if got, err := parseSize(c.in); err != nil || got != c.want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", c.in, got, err, c.want)
		}
	}
}

func TestParseSize_Errors(t *testing.T) {
	for in, want := range map[string]string{
		"":                     `"" is not a size: write for example 4096, 0x1000, 128KiB or 64MiB`,
		"MiB":                  `"MiB" is not a size: write for example 4096, 0x1000, 128KiB or 64MiB`,
		"-1":                   `"-1" is not a size: write for example 4096, 0x1000, 128KiB or 64MiB`,
		"1.5MiB":               `"1.5MiB" is not a size: write for example 4096, 0x1000, 128KiB or 64MiB`,
		"0x":                   `"0x" is not a size`,
		"0x1g":                 `"0x1g" is not a size`,
		"64MB":                 `"64MB" could mean two sizes: write MiB for a power of two`,
		"18446744073709551616": `size 18446744073709551616 does not fit in 64 bits`,
		"16777216T":            `size 16777216T does not fit in 64 bits`,
	} {
		if _, err := parseSize(in); err == nil || err.Error() != want {
			t.Errorf("parseSize(%q): %v; want %s", in, err, want)
		}
	}
}

func TestHumanSize(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 4096: "4 KiB", 42000: "41 KiB", 43000: "42 KiB", 1536: "1.5 KiB",
		64 << 20: "64 MiB", 1 << 40: "1 TiB", 1<<64 - 1: "16384 PiB",
	} {
		if got := humanSize(n); got != want {
			t.Errorf("humanSize(%d) = %s, want %s", n, got, want)
		}
	}
	// What is printed as a default must be what the flag reads.
	for _, n := range []sizeFlag{32 << 20, 128 << 10, 4096, 0} {
		var back sizeFlag
		if err := back.Set(n.String()); err != nil || back != n {
			t.Errorf("%s reads as %d, %v; want %d", n.String(), back, err, n)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"build", "append", "inspect", "--heap-size", "--threads", "diff"}
	for word, want := range map[string]string{
		"biuld": "build", "buidl": "build", "bild": "build", "buil": "build", "inspct": "inspect", "insp": "inspect",
		"--heapsize": "--heap-size", "--thread": "--threads", "zzz": "", "d": "", "": "",
	} {
		if got := nearest(word, known); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestOneLine(t *testing.T) {
	if got, want := oneLine("a\nb\x1b[31m\u202e é\n"), `a; b\x1b[31m\x202e é`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFailPrintsOutermostHint(t *testing.T) {
	var out bytes.Buffer
	u := &ui{stderr: &out}
	u.fail(withHint(fmt.Errorf("outer: %w", withHint(errors.New("inner"), "deep")), "shallow"))
	if want := "eos: error: outer: inner; hint: shallow\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestWriteFileIsWholeOrNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	boom := errors.New("boom")
	fail := func(w io.Writer) error {
		io.WriteString(w, strings.Repeat("half", 1<<20))
		return boom
	}
	if err := writeFile(path, 0o666, fail); !errors.Is(err, boom) {
		t.Fatalf("got %v", err)
	}
	if names := ls(t, dir); len(names) != 0 {
		t.Fatalf("left behind: %v", names)
	}
	for _, text := range []string{"first", "second"} {
		if err := writeFile(path, 0o600, func(w io.Writer) error { _, err := io.WriteString(w, text); return err }); err != nil {
			t.Fatal(err)
		}
		if b, _ := os.ReadFile(path); string(b) != text {
			t.Fatalf("got %q, want %q", b, text)
		}
	}
	if err := writeFile(path, 0o666, fail); !errors.Is(err, boom) {
		t.Fatalf("got %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "second" {
		t.Fatalf("a failed run changed the file: %.20q", b)
	}

	// Through a link the file behind it is replaced, and the link stays.
	link := filepath.Join(dir, "link")
	if err := os.Symlink("out", link); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(link, 0o600, func(w io.Writer) error { _, err := io.WriteString(w, "third"); return err }); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); string(b) != "third" {
		t.Fatalf("got %q", b)
	}
	if names := ls(t, dir); len(names) != 2 {
		t.Fatalf("left behind: %v", names)
	}
	if err := writeFile(filepath.Join(dir, "none", "out"), 0o600, fail); err == nil || strings.Contains(err.Error(), ".out.") {
		t.Fatalf("got %v", err)
	}
	if err := writeFile(dir, 0o600, fail); err == nil {
		t.Fatal("wrote to a directory")
	}
}

func ls(t *testing.T, dir string) (names []string) {
	t.Helper()
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		names = append(names, e.Name())
	}
	return names
}

func TestReplaceExt(t *testing.T) {
	for in, want := range map[string]string{
		"a.elf": "a.sgxs", "a": "a.sgxs", "d.x/a": "d.x/a.sgxs", "a.b.c": "a.b.sgxs", "d/.elf": "d/.elf.sgxs",
	} {
		if got := replaceExt(in, ".sgxs"); got != want {
			t.Errorf("replaceExt(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestProgressWipesWhatItShows(t *testing.T) {
	var out bytes.Buffer
	p := &progress{out: &out, what: "reading x", total: 2048, next: time.Now().Add(-time.Second)}
	p.Write(make([]byte, 1024))
	if want := "\r\x1b[Kreading x: 1 KiB of 2 KiB"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	out.Reset()
	p.end()
	p.end()
	if want := "\r\x1b[K"; out.String() != want {
		t.Errorf("got %q, want %q once", out.String(), want)
	}
	// Stderr that is no terminal gets none.
	u := &ui{stderr: &out}
	p = u.progress("reading x", 0)
	if p.Write(make([]byte, 10)); p.out != nil || p.done != 10 {
		t.Errorf("shown in a pipe, or not counted: %+v", p)
	}
}
