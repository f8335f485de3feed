package meter

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// script is one of the specification's test scripts, as wast2json writes it.
type script struct {
	Commands []command `json:"commands"`
}

type command struct {
	Type     string  `json:"type"`
	Line     int     `json:"line"`
	Name     string  `json:"name"`
	As       string  `json:"as"`
	Filename string  `json:"filename"`
	Kind     string  `json:"module_type"`
	Action   action  `json:"action"`
	Expected []value `json:"expected"`
	Text     string  `json:"text"`
}

type action struct {
	Type   string  `json:"type"`
	Module string  `json:"module"`
	Field  string  `json:"field"`
	Args   []value `json:"args"`
}

type value struct {
	Type  string          `json:"type"`
	Lane  string          `json:"lane_type"`
	Value json.RawMessage `json:"value"`
}

// lane is one number of a value: its bits, or a kind of NaN.
type lane struct {
	bits uint64
	nan  string
}

var laneBits = map[string]int{"i8": 8, "i16": 16, "i32": 32, "f32": 32, "i64": 64, "f64": 64, "externref": 64, "funcref": 64}

func number(t testing.TB, text, typ string) lane {
	switch {
	case strings.HasPrefix(text, "nan:"):
		return lane{nan: text}
	case text == "null" || typ == "funcref":
		return lane{}
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if typ == "externref" { // zero is null
		n++
	}
	return lane{bits: n}
}

// lanes are the numbers of a value, and the bits of each.
func (v value) lanes(t testing.TB) ([]lane, int) {
	if v.Type != "v128" {
		var text string
		if v.Value != nil {
			if err := json.Unmarshal(v.Value, &text); err != nil {
				t.Fatal(err)
			}
		}
		return []lane{number(t, text, v.Type)}, laneBits[v.Type]
	}
	var texts []string
	if err := json.Unmarshal(v.Value, &texts); err != nil {
		t.Fatal(err)
	}
	var list []lane
	for _, text := range texts {
		list = append(list, number(t, text, v.Lane))
	}
	return list, laneBits[v.Lane]
}

// words are a value as arguments for the engine.
func (v value) words(t testing.TB) []uint64 {
	list, bits := v.lanes(t)
	words := make([]uint64, max(1, len(list)*bits/64))
	for i, l := range list {
		n := l.bits
		if l.nan != "" {
			n = map[int]uint64{32: 0x7fc00000, 64: 0x7ff8000000000000}[bits]
		}
		words[i*bits/64] |= n << (i * bits % 64)
	}
	return words
}

// is reports whether words are the value.
func (v value) is(t testing.TB, words []uint64) bool {
	list, bits := v.lanes(t)
	for i, l := range list {
		n := words[i*bits/64] >> (i * bits % 64)
		if bits < 64 {
			n &= 1<<bits - 1
		}
		quiet := bits == 32 && uint32(n)&0x7fc00000 == 0x7fc00000 || bits == 64 && n&0x7ff8000000000000 == 0x7ff8000000000000
		switch {
		case l.nan == "" && n != l.bits, l.nan != "" && !quiet:
			return false
		case l.nan == "nan:canonical" && bits == 32 && uint32(n)&^(1<<31) != 0x7fc00000:
			return false
		case l.nan == "nan:canonical" && bits == 64 && n&math.MaxInt64 != 0x7ff8000000000000:
			return false
		}
	}
	return true
}

// traps are wazero's words for the specification's.
var traps = []struct{ text, err string }{
	{"undefined element", "invalid table access"}, {"uninitialized element", "invalid table access"},
	{"undefined", "invalid table access"}, {"out of bounds table access", "invalid table access"},
	{"indirect call type mismatch", "indirect call type mismatch"}, {"invalid conversion to integer", "invalid conversion to integer"},
}

// long are scripts that take long under the race detector: much arithmetic, which the
// pass leaves alone, or much memory.
var long = regexp.MustCompile("^(simd_|f32|f64|float_|const|conversions|memory_(grow|copy|fill)|skip-stack)")

// TestSpecification runs the specification's own tests, which wazero's module carries,
// on metered modules: results and traps are those that they want in both engines, and
// each call takes the same fuel in both. What they call malformed or invalid is refused
// here or, with the code of the pass in it, by the engine.
func TestSpecification(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatal(err)
	}
	tests := filepath.Join(strings.TrimSpace(string(dir)), "internal/integration_test/spectest/v2/testdata")
	files, err := filepath.Glob(filepath.Join(tests, "*.json"))
	if err != nil || len(files) < 100 {
		t.Fatalf("%d scripts in %s: %v", len(files), tests, err)
	}
	calls := 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if raceEnabled && long.MatchString(name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var s script
			if err := json.Unmarshal(b, &s); err != nil {
				t.Fatal(err)
			}
			var spent [2][]int64
			for i, engine := range []string{"compiler", "interpreter"} {
				spent[i] = newSpecRun(t, tests, engine).play(t, s.Commands)
			}
			if !slices.Equal(spent[0], spent[1]) {
				t.Errorf("fuel of the calls: compiler %v, interpreter %v", spent[0], spent[1])
			}
			calls += len(spent[0])
		})
	}
	t.Logf("%d calls in each engine", calls)
}

// specRun is a script that runs.
type specRun struct {
	dir     string
	engine  string
	runtime wazero.Runtime
	mods    map[string]api.Module // by the script's names
	last    api.Module            // nil: it is one that is not supported
	code    []byte                // of last
	spent   []int64               // by each call
}

func newSpecRun(t *testing.T, dir, engine string) *specRun {
	ctx := t.Context()
	s := &specRun{dir: dir, engine: engine, mods: map[string]api.Module{}}
	s.runtime = wazero.NewRuntimeWithConfig(ctx, engines[engine]().WithCoreFeatures(api.CoreFeaturesV2))
	t.Cleanup(func() { _ = s.runtime.Close(context.Background()) })
	nothing := api.GoModuleFunc(func(context.Context, api.Module, []uint64) {})
	b := s.runtime.NewHostModuleBuilder("spectest")
	i32, i64, f32, f64 := api.ValueTypeI32, api.ValueTypeI64, api.ValueTypeF32, api.ValueTypeF64
	for name, params := range map[string][]api.ValueType{"print": nil, "print_i32": {i32}, "print_i64": {i64}, "print_f32": {f32},
		"print_f64": {f64}, "print_i32_f32": {i32, f32}, "print_f64_f64": {f64, f64}} {
		b.NewFunctionBuilder().WithGoModuleFunction(nothing, params, nil).Export(name)
	}
	if _, err := b.Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	_, err := s.runtime.NewHostModuleBuilder(Module).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(s.refill), []api.ValueType{api.ValueTypeI32}, nil).Export(Refill).Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// refill serves all modules of the script: fuel is their own.
func (s *specRun) refill(_ context.Context, mod api.Module, stack []uint64) {
	if OutOfStack(uint32(stack[0])) {
		panic(errStack)
	}
	g := mod.ExportedGlobal(Fuel).(api.MutableGlobal)
	g.Set(g.Get() + 1<<20)
}

func (s *specRun) read(t *testing.T, name string) []byte {
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// instantiate makes an instance of a metered module. The name is that of later imports.
func (s *specRun) instantiate(t *testing.T, wasm []byte, name string) (api.Module, error) {
	b, err := Instrument(wasm, Options{Stack: DefaultStack, Large: true})
	if err != nil {
		return nil, err
	}
	c, err := s.runtime.CompileModule(t.Context(), b)
	if err != nil {
		return nil, err
	}
	return s.runtime.InstantiateModule(t.Context(), c, wazero.NewModuleConfig().WithName(name).WithStartFunctions())
}

func (s *specRun) play(t *testing.T, commands []command) []int64 {
	for i, c := range commands {
		where := fmt.Sprintf("%s: line %d", s.engine, c.Line)
		switch c.Type {
		case "module":
			var err error
			s.code = s.read(t, c.Filename)
			if s.last, err = s.instantiate(t, s.code, registered(commands[i:])); err != nil && !unsupported(err) {
				t.Errorf("%s: %v", where, err)
			}
			if err != nil {
				clear(s.mods) // which it may have been meant to change
			} else if c.Name != "" {
				s.mods[c.Name] = s.last
			}
		case "register": // when it was made
		case "action", "assert_return", "assert_trap", "assert_exhaustion":
			s.do(t, where, c)
		case "assert_malformed", "assert_invalid", "assert_unlinkable", "assert_uninstantiable":
			if c.Kind == "text" {
				break
			}
			// The engine lets elements that do not fit trap when they are called.
			_, err := s.instantiate(t, s.read(t, c.Filename), "")
			if err == nil && c.Text != "out of bounds table access" {
				t.Errorf("%s: %s is taken: %s", where, c.Filename, c.Text)
			}
			if err != nil && unsupported(err) {
				s.last = nil // as above
				clear(s.mods)
			}
		default:
			t.Errorf("%s: what is %s?", where, c.Type)
		}
	}
	return s.spent
}

// registered is the name under which the first command's module is registered, which
// the engine wants to know when it makes the instance.
func registered(commands []command) string {
	last := true
	for _, c := range commands[1:] {
		switch {
		case c.Type == "register" && (c.Name == "" && last || c.Name != "" && c.Name == commands[0].Name):
			return c.As
		case c.Type == "module":
			last = false
		}
	}
	return ""
}

// unsupported is what guests cannot do and the tests' modules may.
func unsupported(err error) bool {
	return slices.ContainsFunc([]string{
		"only functions can be imported",
		"not instantiated",         // the module that is imported is one of those
		"more bytes than it needs", // the engines disagree about them
	}, func(s string) bool { return strings.Contains(err.Error(), s) })
}

func (s *specRun) do(t *testing.T, where string, c command) {
	m := s.last
	if c.Action.Module != "" {
		m = s.mods[c.Action.Module]
	}
	if m == nil {
		return
	}
	where += ": " + c.Action.Field
	if c.Action.Type == "get" {
		if g := m.ExportedGlobal(c.Action.Field); g == nil || !c.Expected[0].is(t, []uint64{g.Get()}) {
			t.Errorf("%s: another value", where)
		}
		return
	}
	f := m.ExportedFunction(c.Action.Field)
	if f == nil {
		t.Errorf("%s: no such export", where)
		return
	}
	var args []uint64
	for _, a := range c.Action.Args {
		args = append(args, a.words(t)...)
	}
	m.ExportedGlobal(Fuel).(api.MutableGlobal).Set(1 << 40)
	got, err := f.Call(t.Context(), args...)
	if c.Type == "assert_exhaustion" {
		// The interpreter has a bound of its own, of 2000 calls.
		if err == nil || !strings.Contains(err.Error(), errStack.Error()) && !strings.Contains(err.Error(), "stack overflow") {
			t.Errorf("%s: %v; want an end", where, err)
		}
		// The stack is not given back when there is a trap: an instance ends with it.
		if s.last, err = s.instantiate(t, s.code, ""); err != nil {
			t.Fatal(err)
		}
		return
	}
	s.spent = append(s.spent, 1<<40-int64(m.ExportedGlobal(Fuel).Get()))
	if c.Type == "assert_trap" {
		want := c.Text
		for _, w := range traps {
			if strings.HasPrefix(c.Text, w.text) {
				want = w.err
				break
			}
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", where, err, want)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	for _, v := range c.Expected {
		n := 1
		if v.Type == "v128" {
			n = 2
		}
		if !v.is(t, got[:n]) {
			t.Errorf("%s(%x): %x; want %s %s", where, args, got, v.Type, v.Value)
		}
		got = got[n:]
	}
}
