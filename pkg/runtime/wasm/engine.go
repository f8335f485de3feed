package wasm

import (
	"context"
	"fmt"

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

func (k EngineKind) config() wazero.RuntimeConfig {
	c := wazero.NewRuntimeConfigInterpreter()
	if k == Compiler {
		c = wazero.NewRuntimeConfigCompiler()
	}
	return c.WithCoreFeatures(Features).WithCustomSections(true).WithDebugInfoEnabled(false)
}
