// Package enclaves builds the test enclaves: small freestanding C programs to
// the published Fortanix SGX ABI, under src, on the runtime under runtime. It
// needs gcc and GNU ld, and no library of theirs.
package enclaves

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

//go:embed src/*.c runtime/*
var sources embed.FS

// cflags make code that can stand alone in an enclave: no library, no stack
// protector (it reads FS), position-independent, with unwind tables because
// the converter wants .eh_frame.
var cflags = []string{
	"-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-ffreestanding",
	"-fPIE", "-fvisibility=hidden", "-fno-stack-protector", "-fcf-protection=none",
	"-fno-tree-loop-distribute-patterns", "-fasynchronous-unwind-tables", "-ffile-prefix-map=.=/eos",
	"-Iruntime",
}

// ldflags make a PIE whose only relocations are relative ones, whose first
// page is not executable and which exports the symbols of the ABI alone.
var ldflags = []string{
	"-nostdlib", "-nostartfiles", "-pie",
	"-Wl,--no-dynamic-linker", "-Wl,--no-undefined", "-Wl,--build-id=none", "-Wl,--fatal-warnings",
	"-Wl,-z,separate-code", "-Wl,-z,max-page-size=4096", "-Wl,-z,norelro", "-Wl,-z,text",
	"-Wl,--version-script=runtime/enclave.ver", "-Wl,--export-dynamic", "-Wl,-e,elf_entry",
}

// Option makes a variant of an enclave.
type Option struct {
	name  string
	flags []string
}

// The variants, each a form of ELF that converters meet.
var (
	// OldEHSymbols has EH_FRM_HDR_BASE and EH_FRM_HDR_SIZE rather than the
	// four newer symbols.
	OldEHSymbols = Option{"old-eh", []string{"-DEOS_OLD_EH_SYMBOLS"}}
	// CodeBehindNoSGX has .text_no_sgx in the middle of the executable
	// segment.
	CodeBehindNoSGX = Option{"no-sgx-middle", []string{"runtime/after_no_sgx.S"}}
	// PageOfNoSGX has a .text_no_sgx that fills the last page of its segment,
	// so that cutting it off leaves a hole.
	PageOfNoSGX = Option{"no-sgx-page", []string{"-DEOS_PAGE_OF_NO_SGX"}}
	// Unaligned has three segments, none of which starts on a page, as LLD
	// makes them.
	Unaligned = Option{"unaligned", []string{"-Wl,-T,runtime/unaligned.ld"}}
	// LargeBSS has pages that are not in the file, 64 KiB of them.
	LargeBSS = Option{"large-bss", []string{"-DEOS_LARGE_BSS"}}
	// ExecutableFirstPage is refused by converters: its headers share a page
	// with its code.
	ExecutableFirstPage = Option{"executable-first-page", []string{"-Wl,-z,noseparate-code"}}
)

// Names returns the names of all enclaves, in alphabetical order.
func Names() []string {
	files, err := fs.Glob(sources, "src/*.c")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".c")
	}
	return files
}

// Build compiles the named enclave and returns the path of its ELF file,
// which the caller must not change: it is kept for the next test that has the
// same sources and compiler. It ends the test when it cannot.
func Build(t testing.TB, name string, options ...Option) string {
	t.Helper()
	path, err := build(name, options)
	if err != nil {
		t.Fatalf("building test enclave %s: %v", name, err)
	}
	return path
}

func build(name string, options []Option) (string, error) {
	if _, err := fs.Stat(sources, "src/"+name+".c"); err != nil {
		return "", fmt.Errorf("no such enclave; there are %s", strings.Join(Names(), ", "))
	}
	args := append([]string{}, cflags...)
	args = append(args, ldflags...)
	args = append(args, "runtime/entry.S", "runtime/runtime.c", "runtime/bytes.c", "runtime/sgx.c", "src/"+name+".c")
	file := name
	for _, o := range options {
		args = append(args, o.flags...) // behind the sources: the order of sections is theirs
		file += "+" + o.name
	}

	work, err := toolchain()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(work.id + "\x00" + strings.Join(args, "\x00")))
	path := filepath.Join(work.cache, hex.EncodeToString(sum[:8]), file+".elf")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), "build")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(dir, sources); err != nil {
		return "", err
	}
	cmd := exec.Command("gcc", append(args, "-o", "out.elf")...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("gcc: %v\n%s", err, bytes.TrimSpace(out))
	}
	// Another test may have been faster; its file is the same.
	return path, os.Rename(filepath.Join(dir, "out.elf"), path)
}

type compiler struct {
	id    string // hash of all sources and the compiler's version
	cache string // directory
}

var toolchain = sync.OnceValues(func() (*compiler, error) {
	version, err := exec.Command("gcc", "-v").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("the test enclaves need gcc and GNU ld (apt-get install gcc libc6-dev): %w", err)
	}
	h := sha256.New()
	h.Write(version)
	err = fs.WalkDir(sources, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := sources.ReadFile(path)
		fmt.Fprintf(h, "%s\x00%d\x00", path, len(b))
		h.Write(b)
		return err
	})
	if err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	return &compiler{hex.EncodeToString(h.Sum(nil)), filepath.Join(cache, "eos-test-enclaves")}, nil
})
