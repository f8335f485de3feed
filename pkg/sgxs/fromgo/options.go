package fromgo

import (
	"fmt"
	"math/bits"
	"strings"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/wall"
)

// Options say what to build, and how big.
type Options struct {
	// Dir is where the go command runs, the working directory if empty.
	Dir string
	// Package is a main package: a directory, absolute or relative to Dir, or
	// an import path.
	Package string

	HeapSize uint64   // bytes of memory for the program
	CodeSize uint64   // bytes of memory that can be written and executed
	Threads  uint32   // how many threads the program can have at a time
	Tags     string   // build constraints that hold besides the usual, separated by commas
	LDFlags  string   // flags for Go's linker: -X PACKAGE.NAME=VALUE sets a string
	Env      []string // the environment, "KEY=value"; part of the measurement. GOMEMLIMIT is added
	Debug    bool     // the program may tell the host what it panics with
	Unsized  bool     // leave the size open, for pkg/sgxs's Appender
	Payload  bool     // the program has a payload, which is appended to the image: its size is open
	Test     bool     // Package is any package: build the program of its tests, as "go test -c"
}

// The defaults of the command line.
const (
	DefaultHeapSize = 64 << 20
	DefaultThreads  = 32
)

// memLimit is the part of the heap, in percent, at which the runtime collects
// garbage whatever GOGC says.
const memLimit = 85

// The limits of Options. Below MinHeapSize the Go runtime does not start, and its
// page tables are made for maxSpan bytes of addresses.
const (
	MinHeapSize = 8 << 20
	MinThreads  = 4
	MaxThreads  = wall.MaxThreads - 1 // one is the kernel's

	maxHeap = 32 << 30
	maxCode = 1 << 30
	maxEnv  = 64 << 10
)

// Error is a refusal, and what to do about it.
type Error struct {
	Msg  string
	Hint string
}

func (e *Error) Error() string { return e.Msg }

func refuse(hint, format string, args ...any) error {
	return &Error{fmt.Sprintf(format, args...), hint}
}

func (o *Options) check() error {
	size := func(what string, n, least, most uint64) error {
		switch {
		case n%sgx.PageSize != 0:
			return refuse(fmt.Sprintf("the next one is %#x", (n+sgx.PageSize-1)&^(sgx.PageSize-1)), "%s of %#x bytes is not a multiple of a page", what, n)
		case n < least:
			return refuse("", "%s of %d MiB is too small: the Go runtime needs %d MiB", what, n>>20, least>>20)
		case n > most:
			return refuse("", "%s of %d MiB is too big: at most %d MiB", what, n>>20, most>>20)
		}
		return nil
	}
	if err := size("a heap", o.HeapSize, MinHeapSize, maxHeap); err != nil {
		return err
	}
	if err := size("a code area", o.CodeSize, 0, maxCode); err != nil {
		return err
	}
	if o.Threads < MinThreads || o.Threads > MaxThreads {
		return refuse("", "%d threads: the Go runtime needs %d, and an image has at most %d", o.Threads, MinThreads, MaxThreads)
	}
	if err := o.checkGoFlags(); err != nil {
		return err
	}
	_, err := o.env()
	return err
}

// env is the environment as the image has it: NUL-terminated strings. Unless
// the user says how to collect garbage, the Go runtime is told to do it more
// often before the heap is full: its pages are all there will ever be.
func (o *Options) env() ([]byte, error) {
	var b []byte
	seen := map[string]bool{}
	for _, kv := range o.Env {
		key, _, ok := strings.Cut(kv, "=")
		switch {
		case !ok || key == "":
			return nil, refuse("write for example TZ=UTC", "environment variable %q is not KEY=value", kv)
		case strings.ContainsRune(kv, 0):
			return nil, refuse("", "environment variable %q has a NUL byte", key)
		case seen[key]:
			return nil, refuse("", "environment variable %s is given twice", key)
		}
		seen[key] = true
		b = append(append(b, kv...), 0)
	}
	if o.Test && !seen["ZONEINFO"] {
		b = append(b, "ZONEINFO=/"+treeGo+"/"+treeZones+"\x00"...)
	}
	if !seen["GOMEMLIMIT"] && !seen["GOGC"] {
		b = fmt.Appendf(b, "GOMEMLIMIT=%dB\x00", o.HeapSize/100*memLimit)
	}
	if len(b) > maxEnv {
		return nil, refuse("", "the environment has %d bytes: at most %d", len(b), maxEnv)
	}
	return b, nil
}

func nextPowerOfTwo(n uint64) uint64 { return 1 << bits.Len64(n-1) }
