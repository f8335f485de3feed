package meter

import (
	"context"
	"errors"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

var (
	errFuel  = errors.New("out of fuel")
	errStack = errors.New("out of stack")
)

// engines are both of wazero's.
var engines = map[string]func() wazero.RuntimeConfig{
	"compiler":    wazero.NewRuntimeConfigCompiler,
	"interpreter": wazero.NewRuntimeConfigInterpreter,
}

// machine runs a module with fuel.
type machine struct {
	mod    api.Module
	left   int64 // not yet handed out
	slice  int64
	given  int64
	visits int
}

func start(t testing.TB, engine string, wasm []byte, budget int64) *machine {
	t.Helper()
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, engines[engine]().WithMemoryLimitPages(64))
	t.Cleanup(func() { _ = r.Close(ctx) })
	m := &machine{left: budget, slice: 1 << 20}
	_, err := r.NewHostModuleBuilder(Module).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(m.refill), []api.ValueType{api.ValueTypeI32}, nil).Export(Refill).
		Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if m.mod, err = r.InstantiateWithConfig(ctx, wasm, wazero.NewModuleConfig().WithName("")); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *machine) refill(_ context.Context, mod api.Module, stack []uint64) {
	m.visits++
	if OutOfStack(uint32(stack[0])) {
		panic(errStack)
	}
	g := mod.ExportedGlobal(Fuel).(api.MutableGlobal)
	fuel := int64(g.Get())
	for fuel < 0 {
		n := min(m.slice, m.left)
		if n == 0 {
			panic(errFuel)
		}
		m.left -= n
		m.given += n
		fuel += n
	}
	g.Set(uint64(fuel))
}

func (m *machine) used() int64 { return m.given - int64(m.mod.ExportedGlobal(Fuel).Get()) }

func metered(t testing.TB, wasm []byte) []byte {
	t.Helper()
	b, err := Instrument(wasm, Options{Stack: DefaultStack})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func BenchmarkLoops(b *testing.B) {
	wasm := build(fib(0), sum())
	for name, arg := range map[string]uint64{"fib": 27, "sum": 4 << 20} {
		for engine := range engines {
			for _, with := range []bool{false, true} {
				what := map[bool]string{false: "plain", true: "metered"}[with]
				b.Run(name+"/"+engine+"/"+what, func(b *testing.B) {
					m := wasm
					if with {
						m = metered(b, wasm)
					}
					mc := start(b, engine, m, 1<<62)
					f := mc.mod.ExportedFunction(name)
					for b.Loop() {
						if _, err := f.Call(context.Background(), arg); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}
