// Package guests builds WASM modules with the tool chains that people use: Go,
// clang with wasi-libc, rustc and AssemblyScript. Those of examples are the
// examples themselves; the others are below src. "make guests" installs
// what they need.
package guests

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// recipe is how a module is made, in a directory of the repository; OUT stands for
// the module and REPO for the repository.
type recipe struct {
	dir     string
	command []string
	env     []string
}

var recipes = map[string]recipe{
	"hello-go":             goReactor("examples/hello-go"),
	"hello-c":              {"examples/hello-c", clang("hello.c", "-mexec-model=reactor"), nil},
	"hello-assemblyscript": {"examples/hello-assemblyscript", asc("hello.ts"), nil},
	"hello-rust":           {"testdata/guests/src", rustc("hello.rs", "cdylib"), nil},
	"notes":                goReactor("examples/notes"),
	"store-c":              {"testdata/guests/src", clang("store.c", "-mexec-model=reactor"), nil},
	"simd-c":               {"testdata/guests/src", clang("simd.c", "-mexec-model=reactor", "-msimd128", "-mbulk-memory"), nil},
	"all-c":                {"testdata/guests/src", clang("all.c", "-mexec-model=reactor"), nil},
	"all-go":               goReactor("testdata/guests/src/all-go"),
	"all-assemblyscript":   {"testdata/guests/src", asc("all.ts"), nil},
	"work-c":               {"testdata/guests/src", clang("work.c", "-mexec-model=reactor"), nil},
	"work-go":              goReactor("testdata/guests/src/work-go"),
	"cgi-c":                {"testdata/guests/src", clang("cgi.c"), nil},
	"wasi-c":               {"testdata/guests/src", clang("wasi.c"), nil},
	"cgi-rust":             {"testdata/guests/src", rustc("cgi.rs", "bin"), nil},
}

func goReactor(dir string) recipe {
	return recipe{dir, []string{"go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", "OUT", "."},
		[]string{"GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0"}}
}

func clang(source string, flags ...string) []string {
	return append([]string{"clang", "--target=wasm32-wasi", "-O2", "-Wall", "-Wextra", "-Werror", "-Wl,-s", "-I", "REPO/sdk/c", "-o", "OUT", source}, flags...)
}

// asc is the compiler that npm has put beside this file.
func asc(source string) []string {
	return []string{"REPO/testdata/guests/assemblyscript/node_modules/.bin/asc", source,
		"--transform", "REPO/sdk/assemblyscript/transform.mjs", "--runtime", "stub", "-O", "-o", "OUT"}
}

// rustc is Debian's, which has a standard library for this target.
func rustc(source, kind string) []string {
	return []string{"/usr/bin/rustc", "--edition", "2021", "--target", "wasm32-wasi", "--crate-type", kind, "-O", "-C", "strip=symbols", "-o", "OUT", source}
}

// Build makes a module and returns the path of its file, which the caller must not
// change. It ends the test when it cannot.
func Build(t testing.TB, name string) string {
	t.Helper()
	path, err := File(name)
	if err != nil {
		t.Fatalf("guest %s: %v", name, err)
	}
	return path
}

var built sync.Map // name -> func() (string, error)

// File is Build for who is no test.
func File(name string) (string, error) {
	r, ok := recipes[name]
	if !ok {
		return "", errors.New("there is none of this name")
	}
	once, _ := built.LoadOrStore(name, sync.OnceValues(func() (string, error) { return r.build(name) }))
	return once.(func() (string, error))()
}

func (r recipe) build(name string) (string, error) {
	repo, err := repository()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "eos-guest-")
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, name+".wasm")
	var args []string
	for _, a := range r.command {
		switch {
		case a == "OUT":
			a = out
		case len(a) > 5 && a[:5] == "REPO/":
			a = filepath.Join(repo, a[5:])
		}
		args = append(args, a)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = filepath.Join(repo, r.dir)
	cmd.Env = append(os.Environ(), r.env...)
	text, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("%w: make guests installs what is needed", err)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, text)
	}
	return out, nil
}

// repository is where this file is.
func repository() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) {
		return "", errors.New("the source is not at hand: test without -trimpath")
	}
	return filepath.Dir(filepath.Dir(filepath.Dir(file))), nil
}
