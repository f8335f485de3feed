package edptool_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/enclaveos/eos/cmd/eos/edptool"
	"github.com/enclaveos/eos/pkg/sgxs"
)

// sgxsDir makes the working directory one with the golden inputs of append and
// some odd files, and returns it.
func sgxsDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(edpVectors, "append"))); err != nil {
		t.Fatal(err)
	}
	head := []byte("UNSIZED\x00")
	page := append(append([]byte("EADD\x00\x00\x00\x00"), make([]byte, 8)...), 3, 2)
	create := append([]byte("ECREATE\x00"), 1, 0, 0, 0, 0, 0x10)
	unmeasured := append([]byte("UNMEASRD"), make([]byte, 312)...)
	record := func(b []byte) []byte { return append(bytes.Clone(b), make([]byte, 64-len(b))...) }
	for name, b := range map[string][]byte{
		"empty":      nil,
		"junk":       bytes.Repeat([]byte{'j'}, 64),
		"cut":        record(head)[:63],
		"cutlater":   append(record(head), record(page)[:40]...),
		"pagefirst":  record(page),
		"unaligned":  append(append([]byte("UNSIZED\x00"), 1, 0, 0, 0, 4), make([]byte, 51)...),
		"nopages":    record(head),
		"nosize":     append(record(head), record(page)...),
		"unmeasured": append(append(record(head), record(page)...), unmeasured...),
		"oddtype":    append(append(append([]byte("ECREATE\x00"), 1, 0, 0, 0, 0, 0x10), make([]byte, 50)...), record(append(append([]byte("EADD\x00\x00\x00\x00"), make([]byte, 8)...), 0, 9))...),
		"oddlater":   append(append(append(create, make([]byte, 50)...), record(page)...), record([]byte("EADD\x00\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00\x09"))...),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	return dir
}

// tool runs a tool.
func tool(name string, args ...string) (rc int, stdout, stderr string) {
	var out, errs bytes.Buffer
	rc = edptool.Run(name, args, strings.NewReader(""), &out, &errs)
	return rc, out.String(), errs.String()
}

func TestSGXSAppendErrors(t *testing.T) {
	sgxsDir(t)
	const usage = "Usage:\n\tsgxs-append [-i|--] <file0> [-<mode> <file1>|-align <num>] ...\n"
	for _, c := range []struct {
		args  string
		want  string // after "ERROR: "
		usage bool
	}{
		{"", "Must specify file0", true},
		{"-i", "Must specify file0", true},
		{"--", "Must specify file0", true},
		{"nofile", "Unable to open `nofile'", false},
		{"-- -i", "Unable to open `-i'", false},
		{"u.sgxs -r", "After `-r': expected parameter", true},
		{"u.sgxs r f10", "Unable to parse `r': expected -<mode> or -align", true},
		{"u.sgxs -rq f10", "Unable to parse `-rq': got `q', expected `m', `r', `w', or `x'", true},
		{"u.sgxs -align x", "Unable to parse `x': expected unsigned integer", true},
		{"u.sgxs -align 0x1000", "Unable to parse `0x1000': expected unsigned integer", true},
		{"u.sgxs -align 18446744073709551616", "Unable to parse `18446744073709551616': expected unsigned integer", true},
		{"u.sgxs -align 0", "-align 0: the alignment must be at least 1", false},
		{"u.sgxs -r nofile -q f10", "Unable to open `nofile'", false},
		{"u.sgxs -r .", "Unable to read `.'", false},
		{".", "Unable to read `.'", false},
		{"-i .", "Unable to open `.'", false},
		{"empty", "Empty SGXS file", false},
		{"junk", "reading initial SGXS data", false},
		{"cut", "reading initial SGXS data", false},
		{"pagefirst", "reading initial SGXS data", false},
		{"unaligned", "Unsized size offset must be naturally aligned", false},
		{"cutlater", "reading SGXS data", false},
		{"nopages", "No data found in SGXS", false},
		{"nosize", "Unable to find enclave size position in SGXS", false},
		{"unmeasured", "Can only append to SGXS files without UNMEASRD records: sgxs: record 3 at 0x80: stream has UNMEASRD records", false},
		{"-i sized.sgxs -r f10", "Can only append to unsized SGXS files", false},
		{"u.sgxs -rm f10 -align 12290 -rm f10", "sgxs: f10: an alignment that is no power of two leads to", false},
	} {
		rc, out, errs := tool("sgxs-append", strings.Fields(c.args)...)
		if rc != 1 || errs != "" || !strings.Contains(out, "ERROR: "+c.want) || strings.HasPrefix(out, usage) != c.usage || !c.usage && !strings.HasPrefix(out, "ERROR") {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", c.args, rc, out, errs)
		}
	}
}

// TestSGXSAppendInPlace: the file changes as a whole or not at all, keeps its
// mode, and a link to it stays a link.
func TestSGXSAppendInPlace(t *testing.T) {
	dir := sgxsDir(t)
	want, err := os.ReadFile("rm_f10.sgxs")
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile("u.sgxs")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod("u.sgxs", 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("u.sgxs", "link"); err != nil {
		t.Fatal(err)
	}
	if rc, out, errs := tool("sgxs-append", "-i", "link", "-r", "."); rc != 1 || errs != "" {
		t.Errorf("exit code %d, %q, %q", rc, out, errs)
	}
	if got, err := os.ReadFile("u.sgxs"); err != nil || !bytes.Equal(got, before) {
		t.Errorf("a failed run changed the file (%v)", err)
	}
	if rc, out, errs := tool("sgxs-append", "-i", "link", "-mr", "f10"); rc != 0 || out != "" || errs != "" {
		t.Errorf("exit code %d, %q, %q", rc, out, errs)
	}
	got, err := os.ReadFile("u.sgxs")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("other bytes (%v)", err)
	}
	if fi, err := os.Lstat("u.sgxs"); err != nil || fi.Mode() != 0o640 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	if fi, err := os.Lstat("link"); err != nil || fi.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v", err)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasPrefix(n.Name(), ".") {
			t.Errorf("left behind: %s", n.Name())
		}
	}
	// Rust reads a plus sign, too, and -- is nothing.
	if err := os.WriteFile("u.sgxs", before, 0o644); err != nil {
		t.Fatal(err)
	}
	_, a, _ := tool("sgxs-append", "--", "u.sgxs", "-align", "+65536", "-rm", "f10")
	if b, err := os.ReadFile("align_65536.sgxs"); err != nil || a != string(b) {
		t.Errorf("other bytes with a plus sign (%v)", err)
	}
}

// TestSGXSAppendBug: a page that is not full gets the permissions of the file
// that follows, as the original has it.
func TestSGXSAppendBug(t *testing.T) {
	sgxsDir(t)
	rc, out, _ := tool("sgxs-append", "u.sgxs", "-rm", "f10", "-rwm", "f0")
	if rc != 0 {
		t.Fatalf("exit code %d: %s", rc, out)
	}
	r := sgxs.NewPageReader(strings.NewReader(out))
	var last string
	for {
		p, err := r.Next()
		if err != nil {
			break
		}
		last = p.Flags.String()
	}
	if last != "REG rw-" {
		t.Errorf("last page is %s, want REG rw-", last)
	}
}

func TestSGXSBuildErrors(t *testing.T) {
	sgxsDir(t)
	const noFile = "called `Result::unwrap()` on an `Err` value: Os { code: 2, kind: NotFound, message: \"No such file or directory\" }"
	for args, want := range map[string]string{
		"x":                                 "Invalid argument: «x»",
		"wr=f10":                            "Invalid argument: «wr=f10»",
		"=f10":                              "Invalid argument: «=f10»",
		"r=f10 ssaframesize=2":              "ssaframesize must be the first argument if specified",
		"ssaframesize=":                     "ssaframesize must be a number: ParseIntError { kind: Empty }",
		"ssaframesize=-1":                   "ssaframesize must be a number: ParseIntError { kind: InvalidDigit }",
		"ssaframesize=4294967296":           "ssaframesize must be a number: ParseIntError { kind: PosOverflow }",
		"tcs=1":                             "tcs must be specified as tcs=nssa:N",
		"tcs=nssa:0x1":                      "nssa must be a number: ParseIntError { kind: InvalidDigit }",
		"r=nofile":                          noFile,
		"r=f10 rw=nofile":                   noFile,
		"r=.":                               "kind: IsADirectory",
		"ssaframesize=65536 tcs=nssa:65536": "65536 SSA frames of 65536 pages are too many",
	} {
		rc, out, errs := tool("sgxs-build", strings.Fields(args)...)
		if rc != 101 || !strings.Contains(errs, "panicked") || !strings.Contains(errs, want) || args != "r=." && out != "" {
			t.Errorf("%s: exit code %d, %d bytes on stdout, stderr %q, want %q", args, rc, len(out), errs, want)
		}
	}
	if rc, out, errs := tool("sgxs-build"); rc != 0 || errs != "" || out != "ECREATE\x00\x01"+strings.Repeat("\x00", 55) {
		t.Errorf("no arguments: exit code %d, %q, %q", rc, out, errs)
	}
	if rc, out, _ := tool("sgxs-build", "r=f0"); rc != 0 || len(out) != 64 {
		t.Errorf("empty file: exit code %d, %d bytes", rc, len(out))
	}
}

func TestSGXSInfoErrors(t *testing.T) {
	sgxsDir(t)
	for _, c := range []struct {
		args   string
		rc     int
		stdout string
		stderr string
	}{
		{"list-all nofile", 101, "", "called `Result::unwrap()` on an `Err` value: No such file or directory (os error 2)"},
		{"list-all junk", 101, "", "An invalid measurement tag 6a6a6a6a6a6a6a6a was encountered."},
		{"list-all cutlater", 101, "UNSIZED offset=0x0 ssaframesize=0\n", "failed to fill whole buffer"},
		{"list-all empty", 0, "", ""},
		{"list-all pagefirst", 0, "EADD offset=0x       0 pagetype=2 flags=R | W\n", ""},
		{"list-pages empty", 101, "", "The stream is not canonical."},
		{"list-pages pagefirst", 101, "", "The stream is not canonical."},
		{"list-pages nosize", 0, "UNSIZED offset=0x0 ssaframesize=0\nEADD offset=0x       0 pagetype=2    flags=R | W     data=(empty) measured=none\n", ""},
		{"list-pages cutlater", 101, "UNSIZED offset=0x0 ssaframesize=0\n", "failed to fill whole buffer"},
		{"list-pages oddtype", 0, "ECREATE size=0x1000 ssaframesize=1\nEADD offset=0x       0 pagetype=9    flags=(empty)   data=(empty) measured=none\n", ""},
		{"summary cutlater", 101, "", "failed to fill whole buffer"},
		{"summary oddtype", 101, "", "unknown type 9"},
		{"summary oddlater", 101, "  0-fff Reg  rw- (empty) meas=none\n", "page at 0x1000 has the unknown type 9"},
		{"info nosize", 0, "(unsized)\n       0-     fff Reg  rw- (empty) meas=none\n", ""},
		{"info nopages", 0, "(unsized)\n", ""},
		{"dump-mem unmeasured", 0, strings.Repeat("\x00", 4096), ""},
		{"dump-mem junk", 101, "", "An invalid measurement tag"},
		{"", 1, "", "error: The following required arguments were not provided:\n    <mode>\n    <file>\n\nUSAGE:\n    sgxs-info <mode> <file>\n\nFor more information try --help\n"},
		{"list-all", 1, "", "error: The following required arguments were not provided:\n    <file>\n"},
		{"bad empty", 1, "", "error: 'bad' isn't a valid value for '<mode>'\n\t[possible values: dump-mem, info, list-all, list-pages, summary]\n"},
		{"list-all a b", 1, "", "error: Found argument 'b' which wasn't expected, or isn't valid in this context\n"},
	} {
		rc, out, errs := tool("sgxs-info", strings.Fields(c.args)...)
		if rc != c.rc || out != c.stdout || !strings.Contains(errs, c.stderr) || c.rc == 0 && errs != "" {
			t.Errorf("%s: exit code %d, want %d; stdout %q, want %q; stderr %q, want %q", c.args, rc, c.rc, out, c.stdout, errs, c.stderr)
		}
	}
	rc, out, _ := tool("sgxs-info", "--help")
	if rc != 0 || !strings.Contains(out, "    <mode>     [possible values: list-all, list-pages, info, summary, dump-mem]\n") {
		t.Errorf("help: exit code %d, %q", rc, out)
	}
}

// TestSGXSInfoOdd has an image with every kind of line.
func TestSGXSInfoOdd(t *testing.T) {
	sgxsDir(t)
	var img bytes.Buffer
	w := sgxs.NewWriter(&img)
	chunk := func(kind sgxs.Kind, off uint64, c byte) error {
		return w.Write(sgxs.Record{Kind: kind, Offset: off, Data: bytes.Repeat([]byte{c}, 256)})
	}
	for _, err := range []error{
		w.Create(2, 0x10000),
		w.Page(0x1000, 0x200, nil), w.Page(0x2000, 0x23f|1<<40, bytes.Repeat([]byte{7}, 4096)),
		w.Page(0x3000, 0x205, nil), chunk(sgxs.KindUnmeasured, 0x3000, 1), chunk(sgxs.KindEExtend, 0x3100, 0),
		w.Page(0x4000, 0x300, nil), w.Page(0x6000, 0x100, nil), w.Page(0x7000, 0x100, nil), w.Flush(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile("odd", img.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	_, out, errs := tool("sgxs-info", "info", "odd")
	want := "" +
		"   0- fff (unmapped)\n" +
		"1000-1fff Reg  --- (empty) meas=none\n" +
		"2000-2fff Reg  rwx [0x07]* meas=all\n" +
		"3000-3fff Reg  r-x  (data) meas=partial\n" +
		"4000-4fff Va   --- (empty) meas=none\n" +
		"5000-5fff (unmapped)\n" +
		"6000-7fff Tcs  --- (empty) meas=none [oentry=0x0, ossa=0x0, nssa=0]\n" +
		"8000-ffff (unmapped)\n"
	if out != want || errs != "" {
		t.Errorf("info:\n%s%s\nwant\n%s", out, errs, want)
	}
	_, out, _ = tool("sgxs-info", "list-all", "odd")
	for _, line := range []string{
		"EADD offset=0x    2000 pagetype=2 flags=R | W | X | PENDING | MODIFIED | PR\n",
		"EEXTEND offset=0x    2f00 data=[0x07]*\n", "UNMEASRD offset=0x    3000 data=[0x01]*\n", "EEXTEND offset=0x    3100 data=(empty)\n",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("list-all has no line %q", line)
		}
	}
	_, out, _ = tool("sgxs-info", "dump-mem", "odd")
	memory := make([]byte, 0x8000)
	copy(memory[0x2000:], bytes.Repeat([]byte{7}, 4096))
	copy(memory[0x3000:], bytes.Repeat([]byte{1}, 256))
	if out != string(memory) {
		t.Errorf("dump-mem: %d bytes, other content", len(out))
	}
	// Half an image: the lines before the fault are printed, the page before
	// it is not.
	for n, want := range map[int]int{64: 1, 128: 1, 192: 2, 200: 2, 192 + 5120: 2, 192 + 5120 + 64: 3} {
		b := append(bytes.Clone(img.Bytes()[:n]), 'x')
		if err := os.WriteFile("half", b, 0o644); err != nil {
			t.Fatal(err)
		}
		rc, out, errs := tool("sgxs-info", "list-pages", "half")
		if lines := strings.Count(out, "\n"); rc != 101 || lines != want {
			t.Errorf("%s: exit code %d, %d lines, want %d: %s", fmt.Sprint(n, " bytes"), rc, lines, want, errs)
		}
	}
}
