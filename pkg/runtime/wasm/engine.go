package wasm

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// EngineKind is how modules are run.
type EngineKind string

const (
	// Compiler makes machine code of a module; it needs memory that is written and
	// then executed.
	Compiler EngineKind = "compiler"
	// Interpreter needs no such memory, and some fifty times the time.
	Interpreter EngineKind = "interpreter"
)

// Features are those of the language that is run: WebAssembly 2.0 with SIMD, and
// nothing experimental. The metering pass refuses everything else by name.
const Features = api.CoreFeaturesV2

// Probe says which engine can be used here: the compiler where there is executable
// memory, which is a measured property of an image, else the interpreter.
func Probe(ctx context.Context) EngineKind {
	if err := tryCompiler(ctx); err != nil {
		return Interpreter
	}
	return Compiler
}

// tryCompiler runs a function of four bytes.
func tryCompiler(ctx context.Context) (err error) {
	defer func() {
		if r := recover(); r != nil { // that is how the engine says it
			err = fmt.Errorf("no executable memory: %v", r)
		}
	}()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
	defer r.Close(ctx)
	// (module (func (export "f") (result i32) i32.const 42))
	m, err := r.Instantiate(ctx, []byte("\x00asm\x01\x00\x00\x00\x01\x05\x01\x60\x00\x01\x7f\x03\x02\x01\x00"+
		"\x07\x05\x01\x01f\x00\x00\x0a\x06\x01\x04\x00\x41\x2a\x0b"))
	if err != nil {
		return err
	}
	v, err := m.ExportedFunction("f").Call(ctx)
	if err == nil && v[0] != 42 {
		err = fmt.Errorf("the compiler's code gives %d for 42", v[0])
	}
	return err
}

// What a metered module takes at most while it is compiled, in bytes for each of its
// bytes. The compiler gives nearly all of it back; what the interpreter makes stays.
const (
	compilerNeed    = 12
	interpreterNeed = 25
)

// room says whether there is memory for compiling a module of so many bytes. To find
// out by trying would be the end of the enclave.
func (k EngineKind) room(size int) error {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		return nil
	}
	need := int64(size) * interpreterNeed
	if k == Compiler {
		need = int64(size) * compilerNeed
	}
	runtime.GC()
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	if free := limit - int64(now.HeapAlloc); need > free {
		return fmt.Errorf("for a module of %d KiB the %s needs up to %d MiB, and the enclave has %d MiB left: build it with a larger --heap-size",
			size>>10, k, need>>20, max(0, free>>20))
	}
	return nil
}

func (k EngineKind) config() wazero.RuntimeConfig {
	c := wazero.NewRuntimeConfigInterpreter()
	if k == Compiler {
		c = wazero.NewRuntimeConfigCompiler()
	}
	return c.WithCoreFeatures(Features).WithCustomSections(true).WithDebugInfoEnabled(false)
}
