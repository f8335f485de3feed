// Wazero compiles modules by its compiler, and calls them.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"
)

// module is, in the text format:
//
//	(module
//	  (import "host" "twice" (func $twice (param i32) (result i32)))
//	  (memory (export "memory") 1)
//	  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
//	  (func (export "twice") (param i32) (result i32) (call $twice (local.get 0)))
//	  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
//	  (func (export "set") (param i32 i32) (i32.store (local.get 0) (local.get 1)))
//	  (func (export "get") (param i32) (result i32) (i32.load (local.get 0)))
//	  (func (export "trap") unreachable)
//	  (func $deep (export "deep") (param i32) (result i32)
//	    (if (result i32) (local.get 0)
//	      (then (i32.add (i32.const 1) (call $deep (i32.sub (local.get 0) (i32.const 1)))))
//	      (else (i32.const 0))))
//	  (func (export "count") (param i32) (result i32) (local i32)
//	    (loop $l
//	      (local.set 1 (i32.add (local.get 1) (i32.const 3)))
//	      (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
//	    (local.get 1))
//	  (func (export "forever") (loop $l (br $l))))
var module = func() []byte {
	section := func(id byte, b ...byte) []byte { return append([]byte{id, byte(len(b))}, b...) }
	name := func(s string, kind, index byte) []byte {
		return append(append([]byte{byte(len(s))}, s...), kind, index)
	}
	code := func(b ...byte) []byte { return append([]byte{byte(len(b))}, b...) }
	long := func(id byte, b []byte) []byte { // a section of 128 to 16383 bytes
		return append([]byte{id, byte(len(b)) | 0x80, byte(len(b) >> 7)}, b...)
	}
	cat := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	return cat([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, 4, 0x60, 2, 0x7f, 0x7f, 1, 0x7f, 0x60, 1, 0x7f, 1, 0x7f, 0x60, 2, 0x7f, 0x7f, 0, 0x60, 0, 0),
		section(2, append([]byte{1, 4, 'h', 'o', 's', 't'}, name("twice", 0, 1)...)...),
		section(3, 9, 0, 1, 1, 2, 1, 3, 1, 1, 3),
		section(5, 1, 0, 1),
		section(7, cat([]byte{10}, name("memory", 2, 0), name("add", 0, 1), name("twice", 0, 2), name("grow", 0, 3), name("set", 0, 4),
			name("get", 0, 5), name("trap", 0, 6), name("deep", 0, 7), name("count", 0, 8), name("forever", 0, 9))...),
		long(10, cat([]byte{9},
			code(0, 0x20, 0, 0x20, 1, 0x6a, 0x0b),
			code(0, 0x20, 0, 0x10, 0, 0x0b),
			code(0, 0x20, 0, 0x40, 0, 0x0b),
			code(0, 0x20, 0, 0x20, 1, 0x36, 2, 0, 0x0b),
			code(0, 0x20, 0, 0x28, 2, 0, 0x0b),
			code(0, 0x00, 0x0b),
			code(0, 0x20, 0, 0x04, 0x7f, 0x41, 1, 0x20, 0, 0x41, 1, 0x6b, 0x10, 7, 0x6a, 0x05, 0x41, 0, 0x0b, 0x0b),
			code(1, 1, 0x7f, 0x03, 0x40, 0x20, 1, 0x41, 3, 0x6a, 0x21, 1, 0x20, 0, 0x41, 1, 0x6b, 0x22, 0, 0x0d, 0, 0x0b, 0x20, 1, 0x0b),
			code(0, 0x03, 0x40, 0x0c, 0, 0x0b, 0x0b),
			nil)))
}()

func main() {
	log.SetFlags(0)
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCloseOnContextDone(true).WithMemoryLimitPages(300))
	defer r.Close(ctx)
	twice := func(_ context.Context, m api.Module, n uint32) uint32 {
		if n == 13 {
			panic("an unlucky number")
		}
		return 2 * n
	}
	if _, err := r.NewHostModuleBuilder("host").NewFunctionBuilder().WithFunc(twice).Export("twice").Instantiate(ctx); err != nil {
		log.Fatal(err)
	}
	compiled, err := r.CompileModule(ctx, module)
	if err != nil {
		log.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 5 {
				m, err := r.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithName(""))
				if err != nil {
					log.Fatal(err)
				}
				use(ctx, m, uint64(i))
				m.Close(ctx)
			}
		})
	}
	all.Wait()
	// Compiled and dropped again and again: code memory comes back.
	for range 50 {
		fresh := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
		if _, err := fresh.CompileModule(ctx, module); err != nil {
			log.Fatal(err)
		}
		fresh.Close(ctx)
	}
	if len(os.Args) > 1 && os.Args[1] == "count" {
		r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
		r.NewHostModuleBuilder("host").NewFunctionBuilder().WithFunc(twice).Export("twice").Instantiate(ctx)
		m, _ := r.Instantiate(ctx, module)
		start := time.Now()
		m.ExportedFunction("count").Call(ctx, 1_000_000_000)
		fmt.Println("count to 1e9:", time.Since(start))
	}
	fmt.Println(42)
}

// use calls what the module has.
func use(ctx context.Context, m api.Module, n uint64) {
	call := func(f string, args ...uint64) uint64 {
		got, err := m.ExportedFunction(f).Call(ctx, args...)
		if err != nil {
			log.Fatal(f, args, err)
		}
		if len(got) == 0 {
			return 0
		}
		return got[0]
	}
	want := func(f string, got, want uint64) {
		if got != want {
			log.Fatalf("%s: %d, want %d", f, got, want)
		}
	}
	fails := func(f, what string, args ...uint64) {
		if _, err := m.ExportedFunction(f).Call(ctx, args...); err == nil || !strings.Contains(err.Error(), what) {
			log.Fatalf("%s %d: %v, want %q", f, args, err, what)
		}
	}
	want("add", call("add", 40, n), 40+n)
	want("twice", call("twice", 21), 42)
	want("deep", call("deep", 20_000), 20_000)
	want("count", call("count", 50_000), 150_000)
	fails("get", "out of bounds", 65536)
	want("grow", call("grow", 10), 1)
	call("set", 65536*10, n+7)
	want("get", call("get", 65536*10), n+7)
	want("memory", uint64(m.Memory().Size()), 11*65536)
	want("grow too far", call("grow", 1000), 0xffffffff)
	want("grow", call("grow", 200), 11)
	want("get", call("get", 65536*10), n+7)
	want("get", call("get", 65536*211-4), 0)
	fails("trap", "unreachable")
	fails("twice", "an unlucky number", 13)
	if n == 0 { // it takes some hundred MiB
		fails("deep", "stack overflow", 1<<31)
	}
	want("add", call("add", 1, n), 1+n)
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	_, err := m.ExportedFunction("forever").Call(short)
	var exit *sys.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != sys.ExitCodeDeadlineExceeded {
		log.Fatal("forever: ", err)
	}
}
