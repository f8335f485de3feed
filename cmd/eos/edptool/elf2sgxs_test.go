package edptool

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// elfVectors has inputs of ours and what ftxsgx-elf2sgxs 0.6.3 made of them; its
// ORIGIN.md says how. The runs are in manifest.json.
var elfVectors, _ = filepath.Abs("../../../testdata/vectors/edp")

type vectorRun struct {
	ID      string
	Argv    []string
	RC      int
	Stdout  string
	Stderr  string
	Outputs map[string]struct {
		Size      int
		SHA256    string
		MREnclave string
	}
}

// runIn runs a tool in a directory and returns what it printed.
func runIn(t *testing.T, dir, name string, args ...string) (rc int, stdout, stderr string) {
	t.Helper()
	t.Chdir(dir)
	var o, e bytes.Buffer
	rc = Run(name, args, strings.NewReader(""), &o, &e)
	return rc, o.String(), e.String()
}

func TestELF2SGXSVectors(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(elfVectors, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var runs []vectorRun
	if err := json.Unmarshal(text, &runs); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, r := range runs {
		if r.Argv[0] != elf2sgxsName {
			continue
		}
		n++
		t.Run(r.ID, func(t *testing.T) {
			dir := t.TempDir()
			elf, err := os.ReadFile(filepath.Join(elfVectors, "elf", r.Argv[1]))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, r.Argv[1]), elf, 0o600); err != nil {
				t.Fatal(err)
			}
			rc, stdout, stderr := runIn(t, dir, elf2sgxsName, r.Argv[1:]...)
			if rc != r.RC || stdout != r.Stdout || stderr != r.Stderr {
				t.Errorf("exit code %d, want %d\nstdout %q, want %q\nstderr %q, want %q", rc, r.RC, stdout, r.Stdout, stderr, r.Stderr)
			}
			files, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			if r.RC != 0 {
				// The original leaves a part of the image behind; nothing is right.
				if len(files) != 1 {
					t.Errorf("files left behind: %v", files)
				}
				return
			}
			for name, want := range r.Outputs {
				got, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				sum := sha256.Sum256(got)
				if hex.EncodeToString(sum[:]) != want.SHA256 || len(got) != want.Size {
					t.Errorf("%s differs: %d bytes, want %d", name, len(got), want.Size)
				}
			}
			if len(files) != 1+len(r.Outputs) {
				t.Errorf("files left behind: %v", files)
			}
		})
	}
	if n < 15 {
		t.Errorf("only %d runs in the manifest", n)
	}
}

// basicELF returns the path of a sound program in a new directory.
func basicELF(t *testing.T, name string) (dir, path string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elfVectors, "elf", "basic.elf"))
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, path
}

func TestELF2SGXSUsage(t *testing.T) {
	const (
		required = "USAGE:\n    ftxsgx-elf2sgxs [OPTIONS] <elf> --heap-size <BYTES> --stack-size <BYTES>\n\nFor more information try --help\n"
		validate = "USAGE:\n    ftxsgx-elf2sgxs <elf> --heap-size <BYTES> --ssaframesize <PAGES> --stack-size <BYTES> --threads <N>\n\nFor more information try --help\n"
		notWant  = " which wasn't expected, or isn't valid in this context\n\n"
		missing  = "error: The following required arguments were not provided:\n"
	)
	for _, x := range []struct{ args, want string }{
		{"", missing + "    <elf>\n    --heap-size <BYTES>\n    --stack-size <BYTES>\n\n" + validate},
		{"x -S 1", missing + "    --heap-size <BYTES>\n\n" + validate},
		{"x y -H 1 -S 1", "error: Found argument 'y'" + notWant + required},
		{"--foo", "error: Found argument '--foo'" + notWant + required},
		{"--foo=1", "error: Found argument '--foo'" + notWant + required},
		{"-z", "error: Found argument '-z'" + notWant + required},
		{"-d -z", "error: Found argument '-z'" + notWant + strings.Replace(required, "[OPTIONS] <elf> ", "<elf> --debug ", 1)},
		{"-H -5 -S 1 x", "error: Found argument '-5'" + notWant + required},
		{"x -S 1 -H", "error: The argument '--heap-size <BYTES>' requires a value but none was supplied\n\n" + validate},
		{"x -S 1 -H 1 -H 2", "error: The argument '--heap-size <BYTES>' was provided more than once, but cannot be used multiple times\n\n" + validate},
		{"x -S 1 -H 0X10", "error: Invalid value for '--heap-size <BYTES>': the value must be numeric\n"},
		{"x -S 1 -H 1K", "error: Invalid value for '--heap-size <BYTES>': the value must be numeric\n"},
		{"x -S 1 -H 1_0", "error: Invalid value for '--heap-size <BYTES>': the value must be numeric\n"},
		{"x -S 1 -H 0x", "error: Invalid value for '--heap-size <BYTES>': the value must be numeric\n"},
		{"x -S 1 -H 18446744073709551616", "error: Invalid value for '--heap-size <BYTES>': the value must be numeric\n"},
		{"x -S 1 -H 1 --ssaframesize 0x100000000", "error: Invalid value for '--ssaframesize <PAGES>': the value must be numeric\n"},
		{"x -S 1 -H 1 -t=", "error: Invalid value for '--threads <N>': the value must be numeric\n"},
	} {
		rc, stdout, stderr := runIn(t, t.TempDir(), elf2sgxsName, strings.Fields(x.args)...)
		if rc != 1 || stdout != "" || stderr != x.want {
			t.Errorf("%q: exit code %d, stdout %q\n%s\nwant\n%s", x.args, rc, stdout, stderr, x.want)
		}
	}
	for args, want := range map[string]string{"-V": "ftxsgx-elf2sgxs 0.6.3\n", "x --version": "ftxsgx-elf2sgxs 0.6.3\n"} {
		if rc, stdout, stderr := runIn(t, t.TempDir(), elf2sgxsName, strings.Fields(args)...); rc != 0 || stdout != want || stderr != "" {
			t.Errorf("%s: %d %q %q", args, rc, stdout, stderr)
		}
	}
	for _, args := range []string{"-h", "--help", "-dh", "x --help"} {
		rc, stdout, stderr := runIn(t, t.TempDir(), elf2sgxsName, strings.Fields(args)...)
		if rc != 0 || stderr != "" || !strings.HasPrefix(stdout, "ftxsgx-elf2sgxs 0.6.3\nConvert ") || !strings.Contains(stdout, "\n        --ssaframesize <PAGES>    Specify SSAFRAMESIZE [default: 1]\n") {
			t.Errorf("%s: %d %q %q", args, rc, stdout, stderr)
		}
	}
}

// TestELF2SGXSForms gives the same options in different forms.
func TestELF2SGXSForms(t *testing.T) {
	var want []byte
	for _, args := range []string{
		"p.elf -H 16384 -S 8192 -t 2 -d",
		"p.elf -H 0x4000 -S 0x2000 -t 0x2 --debug",
		"-H0x4000 -S=0x2000 --threads=2 p.elf -d",
		"--heap-size=+16384 --stack-size 0x+2000 --threads 02 --debug p.elf",
		"-dH 0x4000 -S 0x2000 -t2 -- p.elf",
		"-dt2 -H 0x0004000 -S 0x2000 --ssaframesize 1 p.elf",
	} {
		dir, _ := basicELF(t, "p.elf")
		rc, stdout, stderr := runIn(t, dir, elf2sgxsName, strings.Fields(args)...)
		if rc != 0 || stdout+stderr != "" {
			t.Fatalf("%s: %d %q %q", args, rc, stdout, stderr)
		}
		got, err := os.ReadFile("p.sgxs")
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: another image", args)
		}
	}
}

func TestELF2SGXSErrors(t *testing.T) {
	dir, _ := basicELF(t, "p.elf")
	if err := os.WriteFile(filepath.Join(dir, "text"), []byte("no ELF at all, but long enough"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ args, want string }{
		{"none -H 0 -S 0", "ERROR: Reading ELF file\n"},
		{". -H 0 -S 0", "ERROR: Reading ELF file\n"},
		{"none -H 0 -S 0 --library", "WARNING: Library support is experimental\nERROR: Reading ELF file\n"},
		{"text -H 0 -S 0", "ERROR: Loading ELF file: Did not find ELF magic number\n"},
		{"p.elf -H 0 -S 0 -t 4294967296", "ERROR: 4294967296 threads do not fit into the address space\n"},
		{"p.elf -H 0 -S 0 -o no/dir.sgxs", "ERROR: Writing output file no/dir.sgxs: no such file or directory\n"},
		{"p.elf -H 0 -S 0 -o .", "ERROR: Writing output file .: is a directory\n"},
		// Of several faults those of the program come first.
		{"text -H 0 -S 0 -o no/dir.sgxs", "ERROR: Loading ELF file: Did not find ELF magic number\n"},
		{"p.elf -H 1 -S 0 -o no/dir.sgxs", "ERROR: The given offset is not a multiple of the page size.\n"},
	} {
		rc, stdout, stderr := runIn(t, dir, elf2sgxsName, strings.Fields(x.args)...)
		if rc != 1 || !strings.HasPrefix(stdout, x.want) || strings.Count(stdout, "ERROR") != 1 || stderr != "" {
			t.Errorf("%s: %d %q %q", x.args, rc, stdout, stderr)
		}
		if files, _ := os.ReadDir("."); len(files) != 2 {
			t.Fatalf("%s: files left behind: %v", x.args, files)
		}
	}
}

// TestELF2SGXSOutput replaces, follows links, keeps permissions, and leaves what
// was there when it fails.
func TestELF2SGXSOutput(t *testing.T) {
	dir, _ := basicELF(t, "p.elf")
	t.Chdir(dir)
	if err := os.WriteFile("real", []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", "link"); err != nil {
		t.Fatal(err)
	}
	if rc, stdout, _ := runIn(t, dir, elf2sgxsName, "p.elf", "-H", "1", "-S", "0", "-o", "link"); rc != 1 {
		t.Fatal(stdout)
	}
	if b, _ := os.ReadFile("real"); string(b) != "old" {
		t.Error("a failed run has changed the output")
	}
	if rc, stdout, _ := runIn(t, dir, elf2sgxsName, "p.elf", "-H", "0x4000", "-S", "0x2000", "-o", "link"); rc != 0 {
		t.Fatal(stdout)
	}
	want, err := os.ReadFile(filepath.Join(dir, "real"))
	if err != nil || len(want) != 31616 {
		t.Fatalf("%d bytes, %v", len(want), err)
	}
	if fi, err := os.Lstat("link"); err != nil || fi.Mode()&os.ModeSymlink == 0 {
		t.Error("the link is gone")
	}
	if fi, err := os.Stat("real"); err != nil || fi.Mode().Perm() != 0o640 {
		t.Error("other permissions")
	}
	// A link to nothing makes the file; one to itself is an error.
	for name, to := range map[string]string{"first": "second", "second": "new", "loop": "loop"} {
		if err := os.Symlink(to, name); err != nil {
			t.Fatal(err)
		}
	}
	if rc, stdout, _ := runIn(t, dir, elf2sgxsName, "p.elf", "-H", "0x4000", "-S", "0x2000", "-o", "first"); rc != 0 {
		t.Error(stdout)
	}
	if got, err := os.ReadFile("new"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("through a link to nothing: %v", err)
	}
	if fi, err := os.Lstat("second"); err != nil || fi.Mode()&os.ModeSymlink == 0 {
		t.Error("the link is gone")
	}
	if rc, stdout, _ := runIn(t, dir, elf2sgxsName, "p.elf", "-H", "0", "-S", "0", "-o", "loop"); rc != 1 || stdout != "ERROR: Writing output file loop: too many levels of symbolic links\n" {
		t.Errorf("link to itself: %d %q", rc, stdout)
	}
	// The program itself as the output, as with the original.
	if rc, stdout, _ := runIn(t, dir, elf2sgxsName, "p.elf", "-H", "0x4000", "-S", "0x2000", "-o", "p.elf"); rc != 0 {
		t.Fatal(stdout)
	}
	if got, _ := os.ReadFile("p.elf"); !bytes.Equal(got, want) {
		t.Error("another image")
	}
	if runtime.GOOS == "linux" {
		if rc, stdout, _ := runIn(t, dir, elf2sgxsName, "real", "-H", "0", "-S", "0", "-o", "/dev/null"); rc != 1 || !strings.Contains(stdout, "magic") {
			t.Error(stdout)
		}
	}
}

// TestELF2SGXSPipe reads the program from a pipe and writes the image to one.
func TestELF2SGXSPipe(t *testing.T) {
	if _, err := os.Stat("/dev/fd"); err != nil {
		t.Skipf("SKIPPED: no /dev/fd: %v", err)
	}
	_, path := basicELF(t, "p.elf")
	elf, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	in, toIn, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fromOut, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer fromOut.Close()
	go func() { toIn.Write(elf); toIn.Close() }()
	got := make(chan []byte)
	go func() { b, _ := io.ReadAll(fromOut); got <- b }()
	fd := func(f *os.File) string { return "/dev/fd/" + itoa(int(f.Fd())) }
	var stdout, stderr bytes.Buffer
	rc := Run(elf2sgxsName, []string{fd(in), "-H", "0x4000", "-S", "0x2000", "-o", fd(out)}, nil, &stdout, &stderr)
	out.Close()
	b := <-got
	sum := sha256.Sum256(b)
	if rc != 0 || hex.EncodeToString(sum[:4]) != "f6b0419a" {
		t.Errorf("%d, %d bytes, %s%s", rc, len(b), &stdout, &stderr)
	}
}

func itoa(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}

// TestELF2SGXSInterrupted leaves nothing behind when it is interrupted.
func TestELF2SGXSInterrupted(t *testing.T) {
	dir, _ := basicELF(t, "p.elf")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "p.elf", "-H", "0x10000000000", "-S", "0") // an image of 17 GB
	cmd.Args[0], cmd.Dir = elf2sgxsName, dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(files) > 1 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	if cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("exit status: %v", err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("files left behind: %v", files)
	}
}

func TestWithExtension(t *testing.T) {
	for in, want := range map[string]string{
		"a": "a.sgxs", "a.elf": "a.sgxs", "a.b.elf": "a.b.sgxs", ".a": ".a.sgxs", ".a.elf": ".a.sgxs", "a.": "a.sgxs", "d.x/a": "d.x/a.sgxs",
		"d/a/": "d/a.sgxs", "d/a.b//": "d/a.sgxs", "d/a/.": "d/a.sgxs", "..": "..", "d/..": "d/..", "/": "/", "": "", ".": ".", "/a": "/a.sgxs", "...": "...sgxs",
	} {
		if got := withExtension(in, "sgxs"); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
