package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/runtime/wasm"
	"github.com/enclaveos/eos/pkg/runtime/wasm/abi"
	"github.com/enclaveos/eos/pkg/runtime/wasm/meter"
	"github.com/enclaveos/eos/testdata/guests"
)

// wasmRows run modules in this process, outside of any enclave, beside wazero alone: what
// a call in a fresh instance costs, and what it costs to count fuel.
func wasmRows() []row {
	call := func(name, guest string, pool uint32) row {
		return row{name,
			side{name: "eos", run: func(b *testing.B) { ourCalls(b, guest, pool) }},
			side{name: "wazero alone", run: func(b *testing.B) { theirCalls(b, guest) }}, "time ≤ 1.11"}
	}
	metered := func(name, guest, function string, n uint64, goal string) row {
		side := func(name string, metered bool) side {
			return side{name: name, run: func(b *testing.B) { work(b, guest, function, n, metered) }}
		}
		return row{name, side("metered", true), side("as it is", false), goal}
	}
	return []row{
		call("WASM: a fresh instance's call, C", "hello-c", 0),
		call("WASM: a fresh instance's call, Go", "hello-go", 0),
		call("WASM: the same with a pool of 8, Go", "hello-go", 8),
		metered("WASM: fuel, a loop of one line, C", "work-c", "tight(n:s32)s32", 1_000_000, "time ≤ 2"),
		metered("WASM: fuel, an ordinary program, C", "work-c", "work(n:s32)s32", 1, "time ≤ 1.2"),
		metered("WASM: fuel, an ordinary program, Go", "work-go", "work(n:s32)s32", 1, "time ≤ 1.2"),
	}
}

// guestCode is a module of testdata/guests or examples.
func guestCode(name string) []byte {
	path, err := guests.File(name)
	check(err)
	code, err := os.ReadFile(path)
	check(err)
	return code
}

// ourCalls call hello as the runtime does.
func ourCalls(b *testing.B, guest string, pool uint32) {
	ctx := context.Background()
	h := &wasm.Host{Engine: wasm.Compiler, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	desc := manifest.NewApp("hello")
	desc.Limits.Pool = pool
	a, err := h.Load(ctx, desc, guestCode(guest))
	check(err)
	defer a.Close(ctx)
	params := map[string]json.RawMessage{"name": json.RawMessage(`"eos"`)}
	for b.Loop() {
		if _, err := a.Call(ctx, wasm.Caller{}, "hello", params); err != nil {
			panic(err)
		}
	}
}

// theirCalls instantiate, initialize, allocate, call and close.
func theirCalls(b *testing.B, guest string) {
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
	defer r.Close(ctx)
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	var reply []byte
	env := r.NewHostModuleBuilder(abi.Module)
	for _, f := range abi.Functions {
		env.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, mod api.Module, stack []uint64) {
			reply, _ = mod.Memory().Read(uint32(stack[0]), uint32(stack[1]))
			stack[0] = 0
		}), f.Params, f.Results).Export(f.Name)
	}
	_, err := env.Instantiate(ctx)
	check(err)
	c, err := r.CompileModule(ctx, guestCode(guest))
	check(err)
	for b.Loop() {
		m, err := r.InstantiateModule(ctx, c, wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize"))
		check(err)
		p, err := m.ExportedFunction(abi.ExportAlloc).Call(ctx, 3)
		check(err)
		m.Memory().WriteString(uint32(p[0]), "eos")
		_, err = m.ExportedFunction("hello(name:string)string").Call(ctx, p[0], 3)
		check(err)
		if len(reply) == 0 {
			panic("no reply")
		}
		check(m.Close(ctx))
	}
}

// fuelSlice is how much fuel a guest gets at a time, as in the runtime.
const fuelSlice = 1 << 20

// work calls a function over and over in one instance.
func work(b *testing.B, guest, function string, n uint64, metered bool) {
	ctx := context.Background()
	code := guestCode(guest)
	if metered {
		var err error
		code, err = meter.Instrument(code, meter.Options{Stack: meter.DefaultStack})
		check(err)
	}
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
	defer r.Close(ctx)
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	env := r.NewHostModuleBuilder(abi.Module)
	for _, f := range abi.Functions {
		env.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(context.Context, api.Module, []uint64) {}), f.Params, f.Results).Export(f.Name)
	}
	_, err := env.Instantiate(ctx)
	check(err)
	_, err = r.NewHostModuleBuilder(meter.Module).NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, mod api.Module, _ []uint64) {
		g := mod.ExportedGlobal(meter.Fuel).(api.MutableGlobal)
		for int64(g.Get()) < 0 {
			g.Set(g.Get() + fuelSlice)
		}
	}), []api.ValueType{api.ValueTypeI32}, nil).Export(meter.Refill).Instantiate(ctx)
	check(err)
	m, err := r.InstantiateWithConfig(ctx, code, wazero.NewModuleConfig().WithStartFunctions("_initialize"))
	check(err)
	f := m.ExportedFunction(function)
	for b.Loop() {
		_, err := f.Call(ctx, n)
		check(err)
	}
}
