package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/runtime/wasm/abi"
	"github.com/enclaveos/eos/pkg/runtime/wasm/meter"
	"github.com/enclaveos/eos/pkg/runtime/wasm/wasifs"
)

// App is a compiled module and what it may do. Its methods may be called at once.
type App struct {
	manifest.App
	// Hash is the SHA-256 of the module as it was given.
	Hash [32]byte
	// BuiltIn reports whether it is part of the image.
	BuiltIn bool

	host      *Host
	log       *slog.Logger
	runtime   wazero.Runtime
	compiled  wazero.CompiledModule
	functions map[string]function
	command   bool // it has _start: runs once a request
	reactor   bool // it has _initialize
	places    chan struct{}
	pool      *pool // nil: instances are made when they are needed
	budget    *memoryBudget
	size      int64      // of an instance, beside its memory
	memory    memoryUse  // of the budget; the budget's lock guards it
	keyMu     sync.Mutex // held while a key is made
	files     *wasifs.FS // nil: there is no store
	kv, keys  Table
	quota     Quota // nil: nothing bounds what it stores

	stats stats
}

// function is an export as callers see it.
type function struct {
	abi.Signature
	export string
}

// Host is what apps have of the enclave.
type Host struct {
	Engine EngineKind
	Log    *slog.Logger
	Tables Tables // nil: no store
	Quotas Quotas // nil: what apps store is not bounded
	// SealRoot is the key that apps' seal keys are derived from; nil: there are none.
	SealRoot []byte
	Fetch    Fetcher // nil: no HTTPS
	Dial     Dialer  // nil: no connections
	// SetExtension keeps an app's attestation extension; nil: there are none.
	SetExtension func(ctx context.Context, app string, n uint32, value []byte) error
	// Memory bounds the linear memory of all instances together, in bytes; 0: nothing
	// does.
	Memory int64
	memory memoryBudget
	pools  pools

	compiling sync.Mutex   // one module at a time: it takes memory
	fetched   atomic.Int64 // bytes that calls under way have fetched
}

const (
	wasiModule  = wasi_snapshot_preview1.ModuleName
	initExport  = "_initialize"
	startExport = "_start"
)

// Load compiles a module. The code must be what the description says; errors are
// for whoever wants the app loaded.
func (h *Host) Load(ctx context.Context, desc manifest.App, code []byte) (*App, error) {
	return h.load(ctx, desc, code, false)
}

func (h *Host) load(ctx context.Context, desc manifest.App, code []byte, builtIn bool) (_ *App, err error) {
	a := &App{App: desc, Hash: sha256.Sum256(code), BuiltIn: builtIn, host: h, budget: &h.memory}
	h.memory.bound(h.Memory)
	a.log = h.Log.With("app", desc.Name)
	if err := h.Engine.room(len(code)); err != nil { // metering takes some of it already
		return nil, fmt.Errorf("app %s: %w", desc.Name, err)
	}
	metered, err := meter.Instrument(code, meter.Options{Stack: meter.DefaultStack, Large: builtIn})
	if err != nil {
		return nil, fmt.Errorf("app %s: %w", desc.Name, err)
	}
	a.size = meter.InstanceSize(metered)
	if h.Memory > 0 && a.size > h.Memory {
		return nil, fmt.Errorf("app %s: an instance takes %d KiB for its tables and globals, and this enclave has %d KiB for all: build it with a larger --heap-size",
			desc.Name, a.size>>10, h.Memory>>10)
	}
	a.runtime = wazero.NewRuntimeWithConfig(ctx, h.Engine.config().WithMemoryLimitPages(min(desc.Limits.MemoryPages, 1<<16)))
	if err := a.compile(ctx, metered); err != nil {
		return nil, fmt.Errorf("app %s: %w", desc.Name, err)
	}
	defer func() {
		if err != nil {
			_ = a.runtime.Close(ctx)
		}
	}()
	if err := a.imports(ctx); err != nil {
		return nil, fmt.Errorf("app %s: %w", desc.Name, err)
	}
	if err := a.exports(); err != nil {
		return nil, fmt.Errorf("app %s: %w", desc.Name, err)
	}
	if h.Tables != nil {
		if err := a.openStore(ctx); err != nil {
			return nil, fmt.Errorf("app %s: %w", desc.Name, err)
		}
	}
	if desc.Limits.Pool > 0 && len(a.functions) == 0 {
		return nil, fmt.Errorf("app %s: limits.pool: it has no functions, and an instance of a command begins with its request", desc.Name)
	}
	a.places = make(chan struct{}, max(1, desc.Limits.Concurrency))
	if desc.Limits.Pool > 0 {
		a.pool = h.pools.open(a, int(desc.Limits.Pool))
	}
	return a, nil
}

// compile compiles the module, which can take seconds and does not look at the context:
// who gives up does not wait for its end.
func (a *App) compile(ctx context.Context, metered []byte) error {
	type result struct {
		compiled wazero.CompiledModule
		err      error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if p := recover(); p != nil {
				r.err = gaveUp(p)
			}
			done <- r
		}()
		a.host.compiling.Lock()
		defer a.host.compiling.Unlock()
		if r.err = a.host.Engine.room(len(metered)); r.err == nil {
			r.compiled, r.err = a.runtime.CompileModule(ctx, metered)
		}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			_ = a.runtime.Close(ctx)
		}
		a.compiled = r.compiled
		return r.err
	case <-ctx.Done():
		go func() {
			<-done
			_ = a.runtime.Close(context.WithoutCancel(ctx))
		}()
		return ctx.Err()
	}
}

// gaveUp is the error of an engine that panics. The compiler does so where there is no
// memory for its code.
func gaveUp(p any) error {
	if err, ok := p.(error); ok && errors.Is(err, syscall.ENOMEM) {
		return errors.New("there is no room left for machine code: build it with a larger --code-size, or for --engine interpreter")
	}
	return fmt.Errorf("the engine gave up: %v", p)
}

// imports provides what the module wants, and refuses what there is not.
func (a *App) imports(ctx context.Context) error {
	need := map[string]bool{}
	for _, f := range a.compiled.ImportedFunctions() {
		mod, name, _ := f.Import()
		need[mod] = true
		switch mod {
		case meter.Module, wasiModule, abortModule:
		case abi.Module:
			fn, ok := abi.Lookup(name)
			if !ok {
				return fmt.Errorf("imports %s.%s, which there is not", mod, name)
			}
			if !slices.Equal(f.ParamTypes(), fn.Params) || !slices.Equal(f.ResultTypes(), fn.Results) {
				return fmt.Errorf("imports %s.%s as a function of another type", mod, name)
			}
		default:
			return fmt.Errorf("imports %s.%s: apps can import from %s and %s", mod, name, wasiModule, abi.Module)
		}
	}
	if need[wasiModule] {
		b := a.runtime.NewHostModuleBuilder(wasiModule)
		wasi_snapshot_preview1.NewFunctionExporter().ExportFunctions(b)
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(poll), pollParams, pollParams[:1]).Export(pollName)
		wasi, err := b.Instantiate(experimental.WithFunctionListenerFactory(ctx, errnos{}))
		if err != nil {
			return err
		}
		known := wasi.ExportedFunctionDefinitions()
		for _, f := range a.compiled.ImportedFunctions() {
			mod, name, _ := f.Import()
			if mod != wasiModule {
				continue
			}
			if known[name] == nil {
				return fmt.Errorf("imports %s.%s, which there is not", mod, name)
			}
			if !slices.Equal(f.ParamTypes(), known[name].ParamTypes()) || !slices.Equal(f.ResultTypes(), known[name].ResultTypes()) {
				return fmt.Errorf("imports %s.%s as a function of another type", mod, name)
			}
		}
	}
	if err := a.instantiateHost(ctx, need); err != nil {
		return err
	}
	return nil
}

// exports finds the functions that can be called: those that are declared, or that
// have types which JSON has.
func (a *App) exports() error {
	a.functions = map[string]function{}
	defs := a.compiled.ExportedFunctions()
	_, a.command = defs[startExport]
	_, a.reactor = defs[initExport]
	var declared []abi.Signature
	for _, s := range a.compiled.CustomSections() {
		if s.Name() == abi.Section {
			if declared != nil {
				return fmt.Errorf("two sections %s", abi.Section)
			}
			var err error
			if declared, err = abi.ParseSection(s.Data()); err != nil {
				return err
			}
		}
	}
	taken := map[string]bool{}
	add := func(s abi.Signature) error {
		export := s.Name
		if s.Export != "" {
			export = s.Export
		}
		d, ok := defs[export]
		if !ok {
			return fmt.Errorf("function %s is declared, but there is no export %q", s.Name, export)
		}
		if err := s.Check(d.ParamTypes(), d.ResultTypes()); err != nil {
			return err
		}
		if _, ok := defs[abi.ExportAlloc]; !ok && s.NeedsAlloc() {
			return fmt.Errorf("function %s takes %s, for which the module must export %s", s.Name, s, abi.ExportAlloc)
		}
		if _, ok := a.functions[s.Name]; ok {
			return fmt.Errorf("two functions named %q", s.Name)
		}
		a.functions[s.Name] = function{s, export}
		taken[export] = true
		return nil
	}
	for _, s := range declared {
		if err := add(s); err != nil {
			return err
		}
	}
	names := make([]string, 0, len(defs))
	for name := range defs {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		s, ok, err := abi.ParseExport(name)
		if err != nil {
			return err
		}
		if ok && !taken[name] {
			if err := add(s); err != nil {
				return err
			}
		}
	}
	for _, name := range names {
		d := defs[name]
		if _, ok := a.functions[name]; ok || taken[name] || name == startExport || name == initExport ||
			name == abi.ExportAlloc || strings.ContainsRune(name, '(') {
			continue
		}
		var paramNames []string
		if n := d.ParamNames(); len(n) == len(d.ParamTypes()) {
			paramNames = n
		}
		if s, ok := abi.Infer(name, d.ParamTypes(), d.ResultTypes(), paramNames); ok {
			a.functions[name] = function{s, name}
		}
	}
	if d, ok := defs[abi.ExportAlloc]; ok && !(slices.Equal(d.ParamTypes(), []api.ValueType{api.ValueTypeI32}) &&
		slices.Equal(d.ResultTypes(), []api.ValueType{api.ValueTypeI32})) {
		return fmt.Errorf("export %s is not of type (i32) -> i32", abi.ExportAlloc)
	}
	if len(a.functions) == 0 && !a.command {
		return fmt.Errorf("the module exports nothing that can be called")
	}
	return nil
}

// Functions are those that can be called, by name.
func (a *App) Functions() []abi.Signature {
	list := make([]abi.Signature, 0, len(a.functions))
	for _, f := range a.functions {
		s := f.Signature
		s.Export = ""
		list = append(list, s)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

// CodeHash is Hash in hex.
func (a *App) CodeHash() string { return hex.EncodeToString(a.Hash[:]) }

// Close waits for the calls under way and frees what the app has.
func (a *App) Close(ctx context.Context) error {
	for range cap(a.places) {
		select {
		case a.places <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if a.pool != nil {
		a.host.pools.close(a.pool)
	}
	return a.runtime.Close(ctx)
}
