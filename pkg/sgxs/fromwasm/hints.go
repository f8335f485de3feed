package fromwasm

import (
	"slices"
	"strings"
)

// languageHints say what to do about a module that the runtime does not take, by words
// of the reason.
var languageHints = []struct{ words, hint string }{
	{"threads", "build it without threads: a target without -threads, no -pthread"},
	{"exception handling", "build it without exceptions: in C++ -fno-exceptions, in Rust panic=abort; in C without setjmp"},
	{"64-bit memory", "build it for wasm32"},
	{"tail calls", "build it without them: for clang no -mtail-call"},
	{"garbage collection", "languages that leave this to the engine cannot be apps yet: Kotlin, Dart, Java"},
	{"typed function references", "languages that leave garbage collection to the engine cannot be apps yet: Kotlin, Dart, Java"},
	{"relaxed SIMD", "build it without relaxed SIMD: for clang no -mrelaxed-simd"},
	{"extended constant expressions", "build it without them: for clang no -mextended-const"},
	{"multiple memories", "link it with one memory"},
	{"imports the memory", "link it with a memory of its own, exported as \"memory\": one that is imported is for JavaScript or for dynamic linking"},
	{"loops or ", "split its largest functions, or build it for size: for clang -Os"},
	{"would take minutes", "take parts out, or build it for size: for clang -Os"},
	{"imports the ", "link all of it into one module: what is shared with others is for dynamic linking"},
}

func languageHint(err error) string {
	for _, h := range languageHints {
		if strings.Contains(err.Error(), h.words) {
			return h.hint
		}
	}
	return ""
}

// scriptImports are the beginnings of what AssemblyScript imports from env where it has
// no WASI.
var scriptImports = []string{"seed", "trace", "console.", "Date.", "performance.", "process.", "crypto."}

const hostHas = "the host has wasi_snapshot_preview1 and eos"

// importHint says what to do about an import that nothing answers to: it shows what
// the module was made for.
func importHint(module, name string) string {
	switch {
	case module == "wasi_unstable":
		return "it is built for a WASI of 2019: build it for wasi_snapshot_preview1"
	case module == "go", module == "gojs":
		return "it is built for a browser: build it with GOOS=wasip1"
	case strings.Contains(module, "wbindgen"), module == "wbg", strings.HasPrefix(module, "./"):
		return "it is wasm-bindgen's, for JavaScript: build it for wasm32-wasip1 without wasm-bindgen"
	case strings.HasPrefix(module, "wasi:"):
		return "it is built for components: build a core module for WASI preview 1"
	case strings.HasPrefix(module, "wasix"), name == "thread-spawn":
		return "it is built for threads or WASIX: build it for WASI preview 1 without them"
	case module == "env" && (strings.HasPrefix(name, "emscripten_") || strings.HasPrefix(name, "invoke_") || strings.HasPrefix(name, "__syscall_")), len(module) == 1:
		return "it seems to be Emscripten's, for JavaScript: build it with clang --target=wasm32-wasi"
	case module == "env" && strings.HasPrefix(name, "__cxa_"):
		return "the host has no C++ exceptions: build it with -fno-exceptions"
	case module == "env" && slices.ContainsFunc(scriptImports, func(p string) bool { return strings.HasPrefix(name, p) }):
		return "it is AssemblyScript's, for JavaScript: build it with @assemblyscript/wasi-shim"
	case module == "env":
		return "nobody defines this function: link what does; " + hostHas
	}
	return hostHas
}

// wasiHint is importHint for functions that WASI preview 1 has not.
func wasiHint(name string) string {
	if strings.HasPrefix(name, "sock_") {
		return "sockets to open are of other hosts; here a connection is a file: see docs/wasm.md"
	}
	return "it is built for another host than one of WASI preview 1"
}
