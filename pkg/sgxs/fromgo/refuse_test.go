package fromgo

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const testMod = "module example.com/m\n\ngo 1.25\n"

func TestRefuses(t *testing.T) {
	const pure = "package main\n\nfunc main() {}\n"
	for _, c := range []struct {
		name  string
		pkg   string
		files []string
		what  []string // in the error
	}{
		{"cgo", ".", []string{"main.go", "package main\n\nimport \"C\"\n\nfunc main() {}\n"}, []string{"example.com/m", "uses cgo", "main.go"}},
		{"cgo beside Go", ".", []string{"main.go", "package main\n\nfunc main() { f() }\n", "c.go", "package main\n\n// int x;\nimport \"C\"\n\nfunc f() { C.x = 1 }\n"}, []string{"example.com/m", "uses cgo", "c.go"}},
		{"cgo below", ".", []string{"main.go", "package main\n\nimport _ \"example.com/m/dep\"\n\nfunc main() {}\n", "dep/dep.go", "package dep\n\nimport \"C\"\n"},
			[]string{"example.com/m/dep", "uses cgo", "dep.go", "imported by example.com/m"}},
		{"cgo's own package", ".", []string{"main.go", "package main\n\nimport _ \"runtime/cgo\"\n\nfunc main() {}\n"}, []string{"package runtime/cgo is cgo's", "imported by example.com/m"}},
		{"plugin", ".", []string{"main.go", "package main\n\nimport _ \"example.com/m/dep\"\n\nfunc main() {}\n", "dep/dep.go", "package dep\n\nimport _ \"plugin\"\n"},
			[]string{"example.com/m/dep", "uses plugins", "imported by example.com/m"}},
		{"object", ".", []string{"main.go", pure, "x.syso", "ELF"}, []string{"example.com/m", "machine code without source", "x.syso"}},
		{"uncertain assembly", ".", []string{"main.go", "package main\n\nfunc f()\n\nfunc main() { f() }\n", "x.s", "TEXT ·f(SB),4,$0\n\tJLS 3(PC)\n#ifdef X\n\tNOP\n#endif\n\tSYSCALL\n\tRET\n"},
			[]string{"package example.com/m cannot be an enclave's", "x.s:2", "JLS 3(PC)"}},
		{"forbidden instruction", ".", []string{"main.go", "package main\n\nfunc f()\n\nfunc main() { f() }\n", "x.s", "TEXT ·f(SB),4,$0\n\tOUTB\n\tINT $0x80\n\tSYSENTER\n\tRET\n"},
			[]string{"OUT at main.f", "INT at main.f", "SYSENTER at main.f"}},
		{"hidden instruction", ".", []string{"main.go", "package main\n\nfunc f()\n\nfunc main() { f() }\n", "x.s", "TEXT ·f(SB),4,$0\n\tLONG $0x90050f90\n\tRET\n"}, []string{"SYSCALL at main.f"}},
		{"library", ".", []string{"x.go", "package x\n"}, []string{"example.com/m is package x, not a main package"}},
		{"several", "./...", []string{"a/main.go", pure, "b/main.go", pure}, []string{"names 2 packages"}},
		{"a file", "main.go", []string{"main.go", pure}, []string{"main.go is a file of Go source"}},
		{"nothing there", ".", []string{"README", "x"}, []string{"no Go files"}},
		{"no directory", "./x", []string{"main.go", pure}, []string{"no such file"}},
		{"no directory but a file", "./x", []string{"main.go", pure, "x", ""}, []string{"is not a directory"}},
		{"unknown import", ".", []string{"main.go", "package main\n\nimport _ \"example.com/none\"\n\nfunc main() {}\n"}, []string{"main.go:3:8", "example.com/none"}},
		{"syntax", ".", []string{"main.go", "package main\n\nfunc main( {}\n"}, []string{"main.go:3"}},
		{"type", ".", []string{"main.go", "package main\n\nfunc main() { x() }\n"}, []string{"main.go:3:15: undefined: x"}},
		{"no name", "", []string{"main.go", pure}, []string{`"" is not the name of a package`}},
		{"a flag", "-x", []string{"main.go", pure}, []string{`"-x" is not the name of a package`}},
		{"standard library", "cmd/go", []string{"main.go", pure}, []string{"cmd/go is a package of the Go tool chain"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := defaults(c.pkg)
			o.Dir = tree(t, append(c.files, "go.mod", testMod)...)
			var out bytes.Buffer
			_, err := Build(t.Context(), &out, o)
			if err == nil {
				t.Fatal("built")
			}
			for _, w := range c.what {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%v, want %q", err, w)
				}
			}
			if out.Len() > 0 {
				t.Error("something was written")
			}
		})
	}
}

// A package that has files for builds without cgo can be built, and functions
// with forbidden instructions that the program does not have are no matter.
func TestTakes(t *testing.T) {
	for _, c := range []struct {
		name  string
		files []string
	}{
		{"cgo with a way around", []string{"main.go", "package main\n\nfunc main() { f() }\n", "c.go", "package main\n\nimport \"C\"\n\nfunc f() {}\n", "nocgo.go", "//go:build !cgo\n\npackage main\n\nfunc f() {}\n"}},
		{"unused assembly", []string{"main.go", "package main\n\nfunc f()\n\nfunc main() {}\n", "x.s", "TEXT ·f(SB),4,$0\n\tOUTB\n\tRET\n"}},
		{"data that is jumped over", []string{"main.go", "package main\n\nfunc f()\n\nfunc main() { f() }\n", "x.s", "TEXT ·f(SB),4,$0\n\tBYTE $0xeb; BYTE $0x03; BYTE $0x0f; BYTE $0xff; BYTE $0xf4\n\tRET\n"}},
		{"a header with a trap", []string{"main.go", "package main\n\nfunc f()\n\nfunc main() { f() }\n", "x.h", "#define TRAP SYSCALL\n", "x.s", "#include \"x.h\"\nTEXT ·f(SB),4,$0\n\tTRAP\n\tRET\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			mustBuild(t, defaults(tree(t, append(c.files, "go.mod", testMod)...)))
		})
	}
}

func TestOptionErrors(t *testing.T) {
	for _, c := range []struct {
		change func(*Options)
		what   string
	}{
		{func(o *Options) { o.HeapSize = 64<<20 + 1 }, "not a multiple of a page"},
		{func(o *Options) { o.HeapSize = 0 }, "too small"},
		{func(o *Options) { o.HeapSize = 1 << 40 }, "too big"},
		{func(o *Options) { o.CodeSize = 1 }, "not a multiple of a page"},
		{func(o *Options) { o.CodeSize = 1 << 40 }, "too big"},
		{func(o *Options) { o.Threads = 0 }, "0 threads"},
		{func(o *Options) { o.Threads = 64 }, "64 threads"},
		{func(o *Options) { o.Env = []string{"A"} }, "not KEY=value"},
		{func(o *Options) { o.Env = []string{"=x"} }, "not KEY=value"},
		{func(o *Options) { o.Env = []string{"A=\x00"} }, "NUL"},
		{func(o *Options) { o.Env = []string{"A=1", "A=2"} }, "given twice"},
		{func(o *Options) { o.Env = []string{"A=" + strings.Repeat("x", 64<<10)} }, "at most"},
	} {
		o := defaults("hello")
		c.change(&o)
		_, err := Prepare(t.Context(), o)
		var refused *Error
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.what) {
			t.Errorf("%v, want an Error with %q", err, c.what)
		}
	}
}

func TestNoGoCommand(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var refused *Error
	if _, err := Prepare(t.Context(), defaults(filepath.Join(goapps, "hello"))); !errors.As(err, &refused) || !strings.Contains(refused.Msg, "no go command") {
		t.Errorf("%v", err)
	}
}

// A Go release that has changed what the build relies on is refused, with the
// file and what was looked for.
func TestPatchesFailHard(t *testing.T) {
	root := goroot(t)
	for _, p := range append(goPatches, scratchPatches...) {
		path := filepath.Join(root, "src", filepath.FromSlash(p.pkg), p.file)
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out, err := p.apply(path, src)
		if err != nil {
			t.Error(err)
		}
		var changed *PatchError
		if _, err := p.apply(path, out); !errors.As(err, &changed) || changed.File != path || changed.Got != 0 {
			t.Errorf("%s: applied twice: %v", path, err)
		}
		if _, err := p.apply(path, append(src, src...)); !errors.As(err, &changed) || changed.Got != 2 {
			t.Errorf("%s: twice in the file: %v", path, err)
		}
	}
}

func TestAdviceOfGo(t *testing.T) {
	for text, want := range map[string][2]string{
		"no required module provides package a/b; to add it:\n\tgo get a/b":                   {"no required module provides package a/b", "go get a/b"},
		"missing go.sum entry for module providing package a/b; to add:\n\tgo get c/d@v1.0.0": {"missing go.sum entry for module providing package a/b", "go get c/d@v1.0.0"},
		"something else": {"something else", ""},
	} {
		if msg, hint := adviceFor(text, "."); msg != want[0] || hint != want[1] {
			t.Errorf("%q: %q, %q", text, msg, hint)
		}
	}
	tc := &toolchain{dir: "/home/me/app", mirror: "/tmp/eos-build-1/mod", modCache: "/home/me/go/pkg/mod"}
	for pos, want := range map[string]string{
		"../../../tmp/eos-build-1/mod/a@v1/a.go:1:2": "/home/me/go/pkg/mod/a@v1/a.go:1:2",
		"/tmp/eos-build-1/mod/a@v1/a.go:1:2":         "/home/me/go/pkg/mod/a@v1/a.go:1:2",
		"main.go:1:2":                                "main.go:1:2",
		"":                                           "",
	} {
		if got := tc.place(pos); got != want {
			t.Errorf("%q: %q, want %q", pos, got, want)
		}
	}
}

func TestMinorOf(t *testing.T) {
	for v, want := range map[string]int{"go1.26.8": 26, "go1.26": 26, "go1.25rc1": 25, "go1.26.8 X:y": 26, "devel go1.27-abc": 0, "go2.1": 0, "go1.": 0, "": 0} {
		if got := minorOf(v); got != want {
			t.Errorf("%q: %d, want %d", v, got, want)
		}
	}
}
