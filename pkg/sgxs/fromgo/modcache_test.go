package fromgo

import (
	"archive/zip"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A module with a system call, CPUID in bytes, and a directory to embed.
var asmModule = []string{
	"go.mod", "module example.com/asm\n\ngo 1.25\n",
	"asm.go", "package asm\n\nimport _ \"embed\"\n\n//go:embed data/x.txt\nvar Text string\n\nfunc Getpid() int\n\nfunc Leaf() uint32\n",
	"data/x.txt", "embedded",
	"asm_amd64.s", "#include \"textflag.h\"\n\nTEXT ·Getpid(SB),NOSPLIT,$0-8\n\tMOVL $39, AX\n\tSYSCALL\n\tMOVQ AX, ret+0(FP)\n\tRET\n\n" +
		"TEXT ·Leaf(SB),NOSPLIT,$0-4\n\tXORL AX, AX\n\tXORL CX, CX\n\tBYTE $0x0f; BYTE $0xa2\n\tMOVL AX, ret+0(FP)\n\tRET\n",
}

// A module without assembly, so that it is linked to and not copied.
var plainModule = []string{
	"go.mod", "module example.com/plain\n\ngo 1.25\n",
	"plain.go", "package plain\n\nimport \"embed\"\n\n//go:embed data\nvar Data embed.FS\n",
	"data/sub/x.txt", "embedded",
}

const asmUser = "package main\n\nimport (\n\t\"example.com/asm\"\n\t\"example.com/plain\"\n)\n\n" +
	"func main() {\n\tb, err := plain.Data.ReadFile(\"data/sub/x.txt\")\n\tprintln(asm.Getpid() > 0, asm.Leaf() > 0, asm.Text, string(b), err)\n}\n"

// publish adds a module to the module proxy in dir.
func publish(t *testing.T, dir, module, version string, files []string) {
	t.Helper()
	at := filepath.Join(dir, filepath.FromSlash(module), "@v")
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(at, version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	for i := 0; i < len(files); i += 2 {
		w, err := z.Create(module + "@" + version + "/" + files[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{".info": fmt.Sprintf(`{"Version":%q}`, version), ".mod": files[1]} {
		if err := os.WriteFile(filepath.Join(at, version+name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// snapshot says what is below dir: names, modes, sizes, times.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		all[path] = fmt.Sprint(fi.Mode(), fi.Size(), fi.ModTime().UnixNano())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func goIn(t *testing.T, dir string, args ...string) {
	t.Helper()
	c := exec.Command("go", args...)
	c.Dir = dir
	c.Env = append(c.Environ(), "GOFLAGS=-mod=mod")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go %v: %v\n%s", args, err, out)
	}
}

// Assembly of other modules is rewritten wherever the module is, and nothing is
// written there.
func TestModules(t *testing.T) {
	root := goroot(t)
	cache := filepath.Join(t.TempDir(), "mod")
	t.Setenv("GOMODCACHE", cache)
	proxy := t.TempDir()
	publish(t, proxy, "example.com/asm", "v1.2.3", asmModule)
	publish(t, proxy, "example.com/plain", "v0.1.0", plainModule)
	t.Setenv("GOPROXY", "file://"+proxy)
	t.Setenv("GOSUMDB", "off")
	t.Setenv("GOFLAGS", "")
	t.Setenv("GOWORK", "")
	t.Cleanup(func() { goIn(t, root, "clean", "-modcache") }) // its directories are read-only

	const mod = "module example.com/m\n\ngo 1.25\n\nrequire (\n\texample.com/asm v1.2.3\n\texample.com/plain v0.1.0\n)\n"
	for _, c := range []struct {
		name    string
		files   []string
		dir     string // where to build
		prepare []string
	}{
		{"module cache", []string{"go.mod", mod, "main.go", asmUser}, ".", []string{"mod", "tidy"}},
		{"nothing downloaded", []string{"go.mod", mod, "main.go", asmUser}, ".", []string{"clean", "-modcache"}},
		{"vendored", []string{"go.mod", mod, "main.go", asmUser}, ".", []string{"mod", "vendor"}},
		{"replaced", append([]string{"m/go.mod", mod + "\nreplace example.com/asm => ../asm\n\nreplace example.com/plain => ../plain\n", "m/main.go", asmUser}, slices.Concat(prefixed("asm/", asmModule), prefixed("plain/", plainModule))...), "m", nil},
		{"workspace", append([]string{"go.work", "go 1.25\n\nuse ./m\nuse ./asm\nuse ./plain\n", "m/go.mod", "module example.com/m\n\ngo 1.25\n", "m/main.go", asmUser}, slices.Concat(prefixed("asm/", asmModule), prefixed("plain/", plainModule))...), "m", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			top := tree(t, c.files...)
			dir := filepath.Join(top, c.dir)
			if c.prepare != nil {
				goIn(t, dir, "mod", "tidy")
				goIn(t, dir, c.prepare...)
			}
			if err := os.MkdirAll(cache, 0o755); err != nil {
				t.Fatal(err)
			}
			places := []string{top, cache, root}
			var before []map[string]string
			for _, p := range places {
				before = append(before, snapshot(t, p))
			}
			img, _ := mustBuild(t, defaults(dir))
			for i, p := range places {
				if after := snapshot(t, p); !maps.Equal(before[i], after) {
					for name := range after {
						if before[i][name] != after[name] {
							t.Errorf("%s: was %q, is %q", name, before[i][name], after[name])
						}
					}
					t.Errorf("something in %s has changed", p)
				}
			}
			if c.name != "workspace" && (len(img.Info.Deps) != 2 || img.Info.Deps[0].Path != "example.com/asm" || img.Info.Deps[0].Version != "v1.2.3") {
				t.Errorf("modules %+v", img.Info.Deps)
			}
		})
	}
}

func prefixed(dir string, files []string) []string {
	files = slices.Clone(files)
	for i := 0; i < len(files); i += 2 {
		files[i] = dir + files[i]
	}
	return files
}

// What the build sees of a module with assembly: all of it, one file changed.
func TestMirror(t *testing.T) {
	from := tree(t, "example.com/a@v1/x.s", "old", "example.com/a@v1/sub/y.txt", "y", "example.com/a@v1/sub/w.s", "old", "example.com/a/!big@v1/z.go", "z",
		"cache/download/example.com/a/!big/@v/v1.mod", "m", "cache/download/example.com/a/!big/@v/list", "v1", "cache/lock", "",
		"other@v2/o.go", "o", "half@v1/h.go", "h", "cache/download/half/@v/v1.partial", "", "cache/download/half/@v/v1.zip", "zip")
	to := filepath.Join(t.TempDir(), "mod")
	modules := []moduleVersion{{"example.com/a", "v1"}, {"example.com/a/Big", "v1"}, {"half", "v1"}, {"none", "v9"}}
	if err := mirror(from, to, modules); err != nil {
		t.Fatal(err)
	}
	if err := replace(to, map[string][]byte{"example.com/a@v1/x.s": []byte("new"), "example.com/a@v1/sub/w.s": []byte("w")}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"example.com/a@v1/x.s": "new", "example.com/a@v1/sub/y.txt": "y", "example.com/a/!big@v1/z.go": "z", "example.com/a@v1/sub/w.s": "w",
		"cache/download/example.com/a/!big/@v/v1.mod": "m", "cache/download/half/@v/v1.zip": "zip"} {
		if got, err := os.ReadFile(filepath.Join(to, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	if got, err := os.ReadFile(filepath.Join(from, "example.com/a@v1/x.s")); err != nil || string(got) != "old" {
		t.Errorf("the original: %q, %v", got, err)
	}
	for name, link := range map[string]bool{"example.com/a@v1": false, "example.com/a/!big@v1": true, "cache": false} {
		fi, err := os.Lstat(filepath.Join(to, name))
		if err != nil || fi.Mode()&fs.ModeSymlink != 0 != link {
			t.Errorf("%s: %v, %v", name, fi, err)
		}
	}
	// What is not the program's, what was not unpacked to the end, what the go
	// command writes itself.
	for _, name := range []string{"other@v2", "half@v1", "cache/lock", "cache/download/example.com/a/!big/@v/list"} {
		if _, err := os.Lstat(filepath.Join(to, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := mirror(filepath.Join(from, "none"), filepath.Join(t.TempDir(), "mod"), modules); err != nil {
		t.Errorf("without a module cache: %v", err)
	}
	if got := moduleDir("example.com/a@v1/b/c@d.s"); got != "example.com/a@v1" {
		t.Errorf("module of a file: %q", got)
	}
}

// A go.sum that names places outside the module cache gets no links to them.
func TestModulesOfASum(t *testing.T) {
	dir := tree(t, "go.mod", "module m\n", "go.sum", "example.com/A v1.0.0 h1:x=\nexample.com/A v1.0.0/go.mod h1:x=\n../../etc v1 h1:x=\n/etc v1 h1:x=\nx ../../v1 h1:x=\ncache/download/x/ v h1:x=\ncache/download/x/@v/y v h1:x=\nshort\n")
	got, err := (&toolchain{}).modules(t.Context(), filepath.Join(dir, "go.mod"), "")
	if want := []moduleVersion{{"example.com/A", "v1.0.0"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

// Modules of the world: x/sys and x/crypto, and wazero, which is changed only
// if there is memory for its compiler. It takes the network, once.
func TestRealModules(t *testing.T) {
	for _, c := range []struct {
		app  string
		code uint64
	}{{"sys", 0}, {"wazero", 0}, {"wazero", 1 << 20}} {
		dir := filepath.Join(goapps, c.app)
		download := exec.Command("go", "mod", "download")
		download.Dir = dir
		if out, err := download.CombinedOutput(); err != nil {
			t.Skipf("its modules cannot be had here: %v\n%s", err, strings.TrimSpace(string(out)))
		}
		o := defaults(c.app)
		o.CodeSize = c.code
		img, _ := mustBuild(t, o)
		if len(img.Info.Deps) == 0 || img.Info.Deps[0].Sum == "" {
			t.Errorf("%s: modules %+v", c.app, img.Info.Deps)
		}
	}
}
