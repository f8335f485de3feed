package fromwasm

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestHints: what a module was made for shows in what it wants, and whoever gave it is
// told what to do.
func TestHints(t *testing.T) {
	module := func(sections ...[]byte) []byte { return slices.Concat(moduleHead, slices.Concat(sections...)) }
	one := section(1, vec([]byte{0x60, 0, 0}))
	body := func(code ...byte) []byte {
		b := slices.Concat([]byte{0}, code, []byte{0x0b})
		return slices.Concat(one, section(3, vec([]byte{0})), section(5, vec([]byte{0, 1})), section(10, vec(slices.Concat(leb(len(b)), b))))
	}
	imported := func(kind ...byte) []byte {
		return module(section(2, vec(slices.Concat(text("env"), text("shared"), kind))))
	}
	importing := func(name string) []byte {
		return guest{imports: []function{fn(name)}, exports: []function{fn("f")}}.bytes()
	}
	for _, c := range []struct {
		name, err, hint string
		code            []byte
	}{
		{"shared memory", "threads (shared memory)", "without threads", module(section(5, vec([]byte{3, 1, 1})))},
		{"an atomic instruction", "threads (instruction 0xfe)", "without threads", module(body(0xfe, 3, 0))},
		{"a tag", "exception handling (tag section)", "-fno-exceptions", module(one, section(13, vec([]byte{0, 0})))},
		{"a try", "exception handling (instruction 0x6)", "-fno-exceptions", module(body(0x06, 0x40, 0x0b))},
		{"64 bits", "64-bit memory", "wasm32", module(section(5, vec([]byte{4, 1})))},
		{"a tail call", "tail calls (instruction 0x12)", "without them", module(body(0x12, 0))},
		{"a structure", "garbage collection", "cannot be apps yet", module(section(1, vec([]byte{0x5f, 1, 0x7f, 0})))},
		{"call_ref", "typed function references", "cannot be apps yet", module(body(0x14, 0))},
		{"relaxed SIMD", "relaxed SIMD", "-mrelaxed-simd", module(body(0xfd, 0x80, 0x02))},
		{"two memories", "multiple memories", "one memory", module(section(5, vec([]byte{0, 1}, []byte{0, 1})))},
		{"a sum in a constant", "extended constant expressions", "-mextended-const", module(section(6, vec([]byte{0x7f, 0, 0x41, 1, 0x41, 1, 0x6a, 0x0b})))},
		{"an imported memory", "imports the memory env.shared", "a memory of its own", imported(2, 0, 1)},
		{"an imported table", "imports the table env.shared", "into one module", imported(1, 0x70, 0, 1)},
		{"an imported global", "imports the global env.shared", "into one module", imported(3, 0x7f, 0)},
		{"a function that is too large", "more than 5000 loops or 100000 blocks", "split", module(body(bytes.Repeat([]byte{0x02, 0x40, 0x0b}, 100_001)...))},
		{"WASI of 2019", "wasi_unstable.fd_write", "wasi_snapshot_preview1", importing("wasi_unstable.fd_write")},
		{"Go for browsers", "gojs.runtime.wasmExit", "GOOS=wasip1", importing("gojs.runtime.wasmExit")},
		{"wasm-bindgen", "wbg.__wbg_log", "without wasm-bindgen", importing("wbg.__wbg_log")},
		{"a component's part", "wasi:io/poll@0", "core module", importing("wasi:io/poll@0.2.0.poll")},
		{"threads of WASI", "wasi.thread-spawn", "without them", importing("wasi.thread-spawn")},
		{"Emscripten", "env.emscripten_resize_heap", "clang", importing("env.emscripten_resize_heap")},
		{"Emscripten, made small", "imports a.b", "clang", importing("a.b")},
		{"C++ exceptions", "env.__cxa_throw", "-fno-exceptions", importing("env.__cxa_throw")},
		{"AssemblyScript's clock", "env.Date.now", "wasi-shim", importing("env.Date.now")},
		{"what is not linked", "env.puts", "link what does", importing("env.puts")},
		{"another host's", "extism.alloc", hostHas, importing("extism.alloc")},
		{"sockets of another host", "sock_open, which is not of WASI preview 1", "docs/wasm.md", importing("wasi_snapshot_preview1.sock_open")},
		{"more than WASI", "proc_fork, which is not of WASI preview 1", "another host", importing("wasi_snapshot_preview1.proc_fork")},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Check(t.Context(), c.code)
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(e.Msg, c.err) || !strings.Contains(e.Hint, c.hint) {
				t.Errorf("%v; hint: %+v", err, e)
			}
		})
	}
}
