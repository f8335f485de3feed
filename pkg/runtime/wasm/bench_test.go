package wasm

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/runtime/wasm/abi"
	"github.com/enclaveos/eos/pkg/runtime/wasm/meter"
)

// BenchmarkCall is a call of a Go guest in a fresh instance, beside the same with
// wazero alone: instantiate, initialize, allocate, call, close.
func BenchmarkCall(b *testing.B) {
	code := guest(b)
	params := map[string]json.RawMessage{"name": json.RawMessage(`"eos"`)}
	b.Run("eos", func(b *testing.B) {
		a := sharedGuest(b)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := a.Call(context.Background(), Caller{}, "greet", params); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("eos-ready", func(b *testing.B) {
		h := newHost(b, Compiler)
		a := load(b, h, "guest", code, func(m *manifest.App) { m.Limits.Pool = 4 })
		defer a.Close(context.Background())
		b.ReportAllocs()
		for b.Loop() {
			if _, err := a.Call(context.Background(), Caller{}, "greet", params); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("wazero", func(b *testing.B) {
		ctx := context.Background()
		r := wazero.NewRuntimeWithConfig(ctx, Compiler.config())
		defer r.Close(ctx)
		wasi_snapshot_preview1.MustInstantiate(ctx, r)
		var got []byte
		h := r.NewHostModuleBuilder(abi.Module)
		for _, f := range abi.Functions {
			h.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, mod api.Module, stack []uint64) {
				got, _ = mod.Memory().Read(uint32(stack[0]), uint32(stack[1]))
				stack[0] = 0
			}), f.Params, f.Results).Export(f.Name)
		}
		if _, err := h.Instantiate(ctx); err != nil {
			b.Fatal(err)
		}
		c, err := r.CompileModule(ctx, code)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			m, err := r.InstantiateModule(ctx, c, wazero.NewModuleConfig().WithName("").WithStartFunctions(initExport))
			if err != nil {
				b.Fatal(err)
			}
			p, err := m.ExportedFunction(abi.ExportAlloc).Call(ctx, 3)
			if err != nil {
				b.Fatal(err)
			}
			m.Memory().WriteString(uint32(p[0]), "eos")
			if _, err := m.ExportedFunction("greet(name:string)string").Call(ctx, p[0], 3); err != nil {
				b.Fatal(err)
			}
			if string(got) != "hello, eos" {
				b.Fatalf("%q", got)
			}
			_ = m.Close(ctx)
		}
	})
}

// BenchmarkMetering is what metering costs an ordinary program, beside the same module
// without it.
func BenchmarkMetering(b *testing.B) {
	code := guest(b)
	metered, err := meter.Instrument(code, meter.Options{Stack: meter.DefaultStack})
	if err != nil {
		b.Fatal(err)
	}
	for name, code := range map[string][]byte{"plain": code, "metered": metered} {
		b.Run(name, func(b *testing.B) {
			ctx := context.Background()
			r := wazero.NewRuntimeWithConfig(ctx, Compiler.config())
			defer r.Close(ctx)
			wasi_snapshot_preview1.MustInstantiate(ctx, r)
			h := r.NewHostModuleBuilder(abi.Module)
			for _, f := range abi.Functions {
				h.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(context.Context, api.Module, []uint64) {}), f.Params, f.Results).Export(f.Name)
			}
			if _, err := h.Instantiate(ctx); err != nil {
				b.Fatal(err)
			}
			fuel := r.NewHostModuleBuilder(meter.Module).NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, mod api.Module, _ []uint64) {
				g := mod.ExportedGlobal(meter.Fuel).(api.MutableGlobal)
				g.Set(g.Get() + slice)
			}), []api.ValueType{api.ValueTypeI32}, nil).Export(meter.Refill)
			if _, err := fuel.Instantiate(ctx); err != nil {
				b.Fatal(err)
			}
			m, err := r.InstantiateWithConfig(ctx, code, wazero.NewModuleConfig().WithStartFunctions(initExport))
			if err != nil {
				b.Fatal(err)
			}
			f := m.ExportedFunction("work(n:s32)s32")
			for b.Loop() {
				if _, err := f.Call(ctx, 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
