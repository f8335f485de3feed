package meter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// outcome is what a run leaves behind.
type outcome struct {
	result uint64
	trap   string
	memory []byte
	steps  uint64
	count  uint64 // of the naive counter
	fuel   int64  // of the pass
}

// same reports whether two programs did the same.
func (o outcome) same(p outcome) bool {
	return o.result == p.result && o.trap == p.trap && o.steps == p.steps && bytes.Equal(o.memory, p.memory)
}

func (o outcome) String() string {
	return fmt.Sprintf("%d %q steps=%d count=%d fuel=%d", int32(o.result), o.trap, o.steps, o.count, o.fuel)
}

// run calls f of a generated module.
func run(t testing.TB, engine string, wasm []byte, arg uint64) outcome {
	t.Helper()
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, engines[engine]())
	defer r.Close(ctx)
	m := &machine{left: 1 << 40, slice: 50}
	_, err := r.NewHostModuleBuilder(Module).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(m.refill), []api.ValueType{api.ValueTypeI32}, nil).Export(Refill).Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if m.mod, err = r.Instantiate(ctx, wasm); err != nil {
		t.Fatalf("%s: %v\n%x", engine, err, wasm)
	}
	var o outcome
	res, err := m.mod.ExportedFunction("f").Call(ctx, arg)
	if err == nil {
		o.result = res[0]
	} else {
		o.trap, _, _ = bytesCut(err.Error())
	}
	o.memory, _ = m.mod.Memory().Read(0, m.mod.Memory().Size())
	o.steps = m.mod.ExportedGlobal("steps").Get()
	o.count = m.mod.ExportedGlobal("count").Get()
	if m.mod.ExportedGlobal(Fuel) != nil {
		o.fuel = m.used()
	}
	return o
}

func bytesCut(s string) (string, string, bool) {
	a, b, ok := bytes.Cut([]byte(s), []byte("\n"))
	return string(a), string(b), ok
}

// check holds the metered module against the plain one, in both engines, and its
// fuel against the naive count.
func check(t testing.TB, src []byte) (trapped bool) {
	plain, naive := generate(src)
	met := metered(t, plain)
	arg := uint64(len(src))
	want := run(t, "compiler", plain, arg)
	var fuel []int64
	for engine := range engines {
		got := run(t, engine, met, arg)
		if !got.same(want) {
			t.Fatalf("%s: metered %v, plain %v\n%x", engine, got, want, src)
		}
		fuel = append(fuel, got.fuel)
	}
	if fuel[0] != fuel[1] {
		t.Fatalf("fuel %d in one engine, %d in the other\n%x", fuel[0], fuel[1], src)
	}
	count := run(t, "compiler", naive, arg)
	if !count.same(want) {
		t.Fatalf("the naive counter changes the program: %v, plain %v\n%x", count, want, src)
	}
	// What traps was charged for all of the stretch in which it did.
	if want.trap == "" && fuel[0] != int64(count.count) {
		t.Fatalf("fuel %d, counted one by one %d\n%x", fuel[0], count.count, src)
	}
	return want.trap != ""
}

func TestGenerated(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	ended := 0
	for range 150 {
		src := make([]byte, 20+rnd.IntN(400))
		for i := range src {
			src[i] = byte(rnd.Uint32())
		}
		if !check(t, src) {
			ended++
		}
	}
	if ended < 30 {
		t.Errorf("only %d programs of 150 ended without a trap", ended)
	}
	t.Logf("%d of 150 ended without a trap", ended)
}

func FuzzSame(f *testing.F) {
	f.Add([]byte("\x03\x05\x03\x07\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c"))
	f.Fuzz(func(t *testing.T, src []byte) {
		if len(src) < 2000 {
			check(t, src)
		}
	})
}

// FuzzInstrument gives the pass any bytes: it must not panic, and what it makes of a
// module that the engine takes, the engine takes too.
func FuzzInstrument(f *testing.F) {
	f.Add(build(fib(0), sum(), spin()))
	p, _ := generate([]byte("seed of a program that is long enough to have some blocks"))
	f.Add(p)
	f.Fuzz(func(t *testing.T, wasm []byte) {
		out, err := Instrument(wasm, Options{Stack: DefaultStack})
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Off < 0 || e.Off > len(wasm) {
				t.Fatalf("%v", err)
			}
			return
		}
		ctx := context.Background()
		r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithMemoryLimitPages(16))
		defer r.Close(ctx)
		c, err := r.CompileModule(ctx, wasm)
		if err != nil {
			return
		}
		_ = c.Close(ctx)
		if _, err := r.CompileModule(ctx, out); err != nil {
			t.Fatalf("the module is taken, its metered form is not: %v\n%x", err, out)
		}
	})
}
