package fromwasm

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/runtime/wasm/abi"
	"github.com/enclaveos/eos/pkg/runtime/wasm/meter"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
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

// Kind is what a module is to its callers.
type Kind string

// The kinds.
const (
	Command Kind = "command" // exports _start: runs once for each request
	Reactor Kind = "reactor" // exports functions, and _initialize to begin with
	Library Kind = "library" // exports functions
)

// Module is what is known of a module from its bytes alone.
type Module struct {
	Kind       Kind                 `json:"kind"`
	Functions  []abi.Signature      `json:"functions"`  // that can be called, by name
	Interfaces []manifest.Interface `json:"interfaces"` // that its imports are of
	WASI       bool                 `json:"wasi"`       // it imports WASI
	MinPages   uint32               `json:"min_pages"`  // of memory, at its start
}

// The first eight bytes of a module and of a component: "\0asm", a version, a
// layer.
var (
	moduleHead    = []byte("\x00asm\x01\x00\x00\x00")
	componentMark = []byte{1, 0} // at offset 6
)

// Check validates a module as the runtime will, and says what is in it. A module
// that is not valid, or that wants what no host of ours has, is refused.
func Check(ctx context.Context, code []byte) (*Module, error) {
	switch {
	case len(code) < len(moduleHead) || !bytes.HasPrefix(code, moduleHead[:4]):
		return nil, refuse("a module begins with the bytes 00 61 73 6d; compile it to core WebAssembly", "not a WASM module")
	case bytes.Equal(code[6:8], componentMark):
		return nil, refuse("build a core module instead: for Go GOOS=wasip1, for Rust wasm32-wasi, for C --target=wasm32-wasi", "components: not yet")
	case !bytes.HasPrefix(code, moduleHead):
		return nil, refuse("", "WASM version %d: this version of eos knows 1", uint32(code[4])|uint32(code[5])<<8)
	}
	// What the runtime does not run is refused by its own rules, and by name.
	if _, err := meter.Instrument(code, meter.Options{Stack: meter.DefaultStack, Large: true}); err != nil {
		return nil, refuse(languageHint(err), "not a module that the runtime takes: %v", err)
	}
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2).WithCustomSections(true))
	defer r.Close(ctx)
	compiled, err := r.CompileModule(ctx, code)
	if err != nil {
		return nil, refuse("", "not a valid WASM module: %v", err)
	}
	m := &Module{Kind: Library, Functions: []abi.Signature{}, Interfaces: []manifest.Interface{}}
	if m.MinPages, err = meter.Pages(code); err != nil {
		return nil, err
	}
	if err := m.imports(ctx, r, compiled); err != nil {
		return nil, err
	}
	return m, m.exports(compiled)
}

// imports refuses what no host function answers to.
func (m *Module) imports(ctx context.Context, r wazero.Runtime, compiled wazero.CompiledModule) error {
	wasi, err := wasi_snapshot_preview1.NewBuilder(r).Compile(ctx)
	if err != nil {
		return err
	}
	for _, f := range compiled.ImportedFunctions() {
		module, name, _ := f.Import()
		var params, results []api.ValueType
		switch module {
		case wasi_snapshot_preview1.ModuleName:
			known, ok := wasi.ExportedFunctions()[name]
			if !ok {
				return refuse(wasiHint(name), "it imports %s.%s, which is not of WASI preview 1", module, name)
			}
			m.WASI = true
			params, results = known.ParamTypes(), known.ResultTypes()
		case abi.Module:
			known, ok := abi.Lookup(name)
			if !ok {
				return refuse("see the list of the host's functions in docs/wasm.md", "it imports %s.%s, which the host does not have", module, name)
			}
			if i := manifest.Interface(known.Interface); i != "" && !slices.Contains(m.Interfaces, i) {
				m.Interfaces = append(m.Interfaces, i)
			}
			params, results = known.Params, known.Results
		default:
			if module == "env" && name == "abort" { // AssemblyScript's
				params = []api.ValueType{api.ValueTypeI32, api.ValueTypeI32, api.ValueTypeI32, api.ValueTypeI32}
				break
			}
			return refuse(importHint(module, name), "it imports %s.%s, which the host does not have", module, name)
		}
		if !slices.Equal(f.ParamTypes(), params) || !slices.Equal(f.ResultTypes(), results) {
			return refuse("", "it imports %s.%s with the type %s instead of %s", module, name, coreType(f.ParamTypes(), f.ResultTypes()), coreType(params, results))
		}
	}
	slices.Sort(m.Interfaces)
	return nil
}

// coreType writes a function's type, as in "(i32 i64) -> (i32)".
func coreType(params, results []api.ValueType) string {
	return "(" + typeNames(params) + ") -> (" + typeNames(results) + ")"
}

func typeNames(types []api.ValueType) string {
	var names []string
	for _, t := range types {
		names = append(names, api.ValueTypeName(t))
	}
	return strings.Join(names, " ")
}

// exports finds what can be called. A signature is that of the section
// eos.functions, or else of the export's name, or else inferred.
func (m *Module) exports(compiled wazero.CompiledModule) error {
	if _, ok := compiled.ExportedMemories()["memory"]; !ok && len(compiled.ImportedFunctions()) > 0 {
		return refuse("link it so that it exports its memory: the host reads and writes what a guest names there", "it exports no memory named \"memory\"")
	}
	exported := compiled.ExportedFunctions()
	declared, err := declarations(compiled, exported)
	if err != nil {
		return err
	}
	for name, f := range exported {
		switch name {
		case "_start":
			m.Kind = Command
			continue
		case "_initialize":
			if m.Kind != Command {
				m.Kind = Reactor
			}
			continue
		case abi.ExportAlloc:
			continue
		}
		s, ok := declared[name]
		if !ok {
			var err error
			if s, ok, err = abi.ParseExport(name); err != nil {
				return refuse("", "%v", err)
			}
			if !ok {
				if s, ok = abi.Infer(name, f.ParamTypes(), f.ResultTypes(), f.ParamNames()); !ok {
					continue // nobody can call it
				}
			}
		}
		if err := s.Check(f.ParamTypes(), f.ResultTypes()); err != nil {
			return refuse("", "%v", err)
		}
		if s.NeedsAlloc() && exported[abi.ExportAlloc] == nil {
			return refuse("the SDKs have it", "function %s takes text or bytes, and the module exports no %s(i32) i32 to make room for them", s.Name, abi.ExportAlloc)
		}
		m.Functions = append(m.Functions, s)
	}
	slices.SortFunc(m.Functions, func(a, b abi.Signature) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(m.Functions); i++ {
		if m.Functions[i].Name == m.Functions[i-1].Name {
			return refuse("", "it exports two functions named %s", m.Functions[i].Name)
		}
	}
	if m.Kind != Command && len(m.Functions) == 0 {
		return refuse("export a function, or _start", "it exports no function: there is nothing to call")
	}
	return nil
}

// declarations are the signatures of the section eos.functions, by export.
func declarations(compiled wazero.CompiledModule, exported map[string]api.FunctionDefinition) (map[string]abi.Signature, error) {
	declared := map[string]abi.Signature{}
	for _, section := range compiled.CustomSections() {
		if section.Name() != abi.Section {
			continue
		}
		list, err := abi.ParseSection(section.Data())
		if err != nil {
			return nil, refuse("", "%v", err)
		}
		for _, s := range list {
			export := cmp.Or(s.Export, s.Name)
			if exported[export] == nil {
				return nil, refuse("", "its section %s declares the function %s, which it does not export", abi.Section, export)
			}
			declared[export] = s
		}
	}
	return declared, nil
}

// Fits says whether what a manifest grants an app is enough for its module to
// start.
func (m *Module) Fits(a *manifest.App) error {
	if m.MinPages > a.Limits.MemoryPages {
		return refuse(fmt.Sprintf("give it limits.memory = \"%dKiB\" or more", uint64(m.MinPages)*manifest.PageSize>>10),
			"it starts with %d KiB of memory, and its limit is %d KiB", uint64(m.MinPages)*manifest.PageSize>>10, uint64(a.Limits.MemoryPages)*manifest.PageSize>>10)
	}
	for _, i := range m.Interfaces {
		if !a.May(i) {
			return refuse(fmt.Sprintf("add %q to its interfaces in the manifest", i), "it imports functions of the interface %q, which its manifest does not grant", i)
		}
	}
	if a.Limits.Pool > 0 && len(m.Functions) == 0 {
		return refuse("leave limits.pool out", "it has no functions, and an instance of a command begins with its request")
	}
	for _, f := range a.Permissions.Functions {
		if f.Name == "_start" && m.Kind == Command {
			continue
		}
		if !slices.ContainsFunc(m.Functions, func(g abi.Signature) bool { return g.Name == f.Name }) {
			return refuse("", "its manifest has a policy for the function %q, which it does not export", f.Name)
		}
	}
	return nil
}
