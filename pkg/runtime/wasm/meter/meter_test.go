package meter

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// TestCost holds the fuel of small functions, counted by hand.
func TestCost(t *testing.T) {
	for _, c := range []struct {
		name string
		f    fn
		arg  []uint64
		want int64
	}{
		{"empty", fn{code: nil}, nil, 0},
		{"two instructions", fn{code: seq(i32c(1), 0x1a)}, nil, 2},
		{"block and end are free", fn{code: seq(opBlock, 0x40, opBlock, 0x40, opNop, opEnd, opEnd)}, nil, 1},
		{"branch not taken", fn{params: []byte{tI32}, code: seq(get(0), opIf, 0x40, opNop, opNop, opElse, opNop, opEnd)}, []uint64{0}, 3},
		{"branch taken", fn{params: []byte{tI32}, code: seq(get(0), opIf, 0x40, opNop, opNop, opElse, opNop, opEnd)}, []uint64{1}, 4},
		{"what is branched over is free", fn{code: seq(opBlock, 0x40, ix(opBr, 0), opNop, opNop, opEnd, opNop)}, nil, 2},
		{"what is behind a return is free", fn{code: seq(opNop, opReturn, opNop, opNop)}, nil, 2},
		{"a loop, four times", fn{params: []byte{tI32}, code: seq(
			opLoop, 0x40, get(0), i32c(1), 0x6b, ix(opLocalTee, 0), ix(opBrIf, 0), opEnd)}, []uint64{4}, 20},
		{"filling 800 bytes", fn{code: seq(i32c(0), i32c(1), i32c(800), opMisc, miscMemoryFill, 0)}, nil, 4 + 100},
		{"copying 801 bytes", fn{code: seq(i32c(0), i32c(1), i32c(801), opMisc, miscMemoryCopy, 0, 0)}, nil, 4 + 100},
		{"growing by two pages", fn{code: seq(i32c(2), opMemoryGrow, 0, 0x1a)}, nil, 3 + 2*8192},
		{"growing a table by two", fn{code: seq(opRefNull, tFuncref, i32c(2), opMisc, miscTableGrow, 0, 0x1a)}, nil, 4 + 2},
	} {
		c.f.name = "f"
		for engine := range engines {
			m := start(t, engine, metered(t, build(c.f)), 1<<30)
			if _, err := m.mod.ExportedFunction("f").Call(t.Context(), c.arg...); err != nil || m.used() != c.want {
				t.Errorf("%s: %s: fuel %d, %v; want %d", c.name, engine, m.used(), err, c.want)
			}
		}
	}
	for engine := range engines {
		m := start(t, engine, metered(t, build(fib(0))), 1<<30)
		// Five calls end at once, four call twice.
		if _, err := m.mod.ExportedFunction("fib").Call(t.Context(), 4); err != nil || m.used() != 5*5+4*19 {
			t.Errorf("fib(4): %s: fuel %d, %v", engine, m.used(), err)
		}
	}
}

// TestEnds: guests without end come to one, at the same fuel in both engines.
func TestEnds(t *testing.T) {
	wasm := metered(t, build(
		spin(), deep(1),
		fn{name: "grow", code: seq(opLoop, 0x40, i32c(0), opMemoryGrow, 0, 0x1a, ix(opBr, 0), opEnd)},
		fn{name: "fill", code: seq(opLoop, 0x40, i32c(0), i32c(0), i32c(0x10000), opMisc, miscMemoryFill, 0, ix(opBr, 0), opEnd)},
		fn{name: "table", code: seq(opLoop, 0x40, ix(opBlock, 0x40), ix(opBr, 0), opEnd, i32c(0), opBrTable, 0, 0, opEnd)},
	))
	for name, want := range map[string]error{"spin": errFuel, "deep": errStack, "grow": errFuel, "fill": errFuel, "table": errFuel} {
		var used []int64
		for engine := range engines {
			m := start(t, engine, wasm, 3<<16)
			m.slice = 1 << 16
			_, err := m.mod.ExportedFunction(name).Call(t.Context())
			if engine == "interpreter" && name == "deep" { // which has a limit of its own, too
				if err == nil {
					t.Errorf("deep ended")
				}
				continue
			}
			if !errors.Is(err, want) {
				t.Errorf("%s: %s: %v, want %v", name, engine, err, want)
			}
			used = append(used, m.used())
			if m.visits > 5 {
				t.Errorf("%s: asked for fuel %d times", name, m.visits)
			}
		}
		if len(slices.Compact(used)) != 1 {
			t.Errorf("%s: fuel %v", name, used)
		}
	}
}

// TestStackGivenBack: the stack budget is whole again after calls that return.
func TestStackGivenBack(t *testing.T) {
	// f calls g(n), which calls itself n times and returns by four ways.
	g := fn{params: []byte{tI32}, results: []byte{tI32, tI32}, code: seq(
		get(0), opIf, 0x40, get(0), i32c(1), 0x6b, ix(opCall, 0), 0x1a, 0x1a, opEnd,
		opBlock, 0x40, opBlock, 0x40, opBlock, 0x40, get(0), i32c(3), 0x71, opBrTable, 2, 0, 1, 2, opEnd,
		i32c(1), i32c(2), opReturn, opEnd,
		i32c(3), i32c(4), ix(opBr, 1), opEnd,
		i32c(5), i32c(6))}
	f := fn{name: "f", params: []byte{tI32}, code: seq(
		opLoop, 0x40, i32c(200), ix(opCall, 0), 0x1a, 0x1a, get(0), i32c(1), 0x6b, ix(opLocalTee, 0), ix(opBrIf, 0), opEnd)}
	for engine := range engines {
		m := start(t, engine, metered(t, build(g, f)), 1<<40)
		if _, err := m.mod.ExportedFunction("f").Call(t.Context(), 300); err != nil {
			t.Errorf("%s: %v", engine, err)
		}
	}
}

// raw is a module of sections.
func raw(sections ...[]byte) []byte {
	return cat(append([][]byte{magic, {1, 0, 0, 0}}, sections...)...)
}

// one is a module of one function () -> () with a memory, a table and two globals.
func one(code ...any) []byte { return build(fn{name: "f", code: seq(code...)}) }

func TestRefused(t *testing.T) {
	imports := func(b ...byte) []byte {
		return raw(sec(secType, vec(ftype(nil, nil))...), sec(secImport, append([]byte{1, 1, 'm', 1, 'n'}, b...)...))
	}
	for name, c := range map[string]struct {
		wasm []byte
		want string
	}{
		"nothing":             {nil, "not a WASM module"},
		"text":                {[]byte("(module)"), "not a WASM module"},
		"version 2":           {[]byte("\x00asm\x02\x00\x00\x00"), "version"},
		"component":           {[]byte("\x00asm\x0d\x00\x01\x00"), "components: not yet"},
		"threads":             {one(0xfe, 0x03, 0), "threads"},
		"tail call":           {one(0x12, 0), "tail calls"},
		"indirect tail call":  {one(0x13, 0, 0), "tail calls"},
		"call_ref":            {one(0x14, 0), "typed function references"},
		"try":                 {one(0x06, 0x40, opEnd), "exception handling"},
		"try_table":           {one(0x1f, 0x40, 0, opEnd), "exception handling"},
		"throw":               {one(0x08, 0), "exception handling"},
		"gc":                  {one(0xfb, 0), "garbage collection"},
		"relaxed SIMD":        {one(0xfd, 0x80, 0x02), "relaxed SIMD"},
		"no such SIMD":        {one(0xfd, 0x9a, 0x01), "no such instruction"},
		"long SIMD opcode":    {one(0xfd, 0x8c, 0x00), "more bytes than it needs"},
		"long 0xfc opcode":    {one(0xfc, 0x8b, 0x00, 0), "more bytes than it needs"},
		"no such instruction": {one(0xff), "instruction 0xff"},
		"second memory":       {one(opMemorySize, 1, 0x1a), "multiple memories"},
		"memory64":            {raw(sec(secMemory, 1, 4, 1)), "64-bit memory"},
		"shared memory":       {raw(sec(secMemory, 1, 3, 1, 1)), "threads"},
		"two memories":        {raw(sec(secMemory, 2, 0, 1, 0, 1)), "multiple memories"},
		"imported memory":     {imports(2, 0, 1), "imports the memory m.n"},
		"imported table":      {imports(1, tFuncref, 0, 1), "imports the table m.n"},
		"imported global":     {imports(3, tI32, 0), "imports the global m.n"},
		"imported tag":        {imports(4, 0, 0), "imports the tag m.n"},
		"tag section":         {raw(sec(13, 0)), "exception handling"},
		"section 14":          {raw(sec(14, 0)), "section 14"},
		"refill as import": {raw(sec(secType, vec(ftype([]byte{tI32}, nil))...),
			sec(secImport, vec(cat(appendName(appendName(nil, Module), Refill), []byte{0, 0}))...)), "not for guests"},
		"fuel as export": {raw(sec(secGlobal, 1, tI64, 1, opI64Const, 0, opEnd),
			sec(secExport, vec(cat(appendName(nil, Fuel), []byte{3, 0}))...)), "the name is taken"},
		"hidden global read":   {one(ix(opGlobalGet, 1), 0x1a), "global 1 of 1"},
		"hidden global set":    {one(opI64Const, 0, ix(opGlobalSet, 1)), "global 1 of 1"},
		"hidden global export": {raw(sec(secExport, vec(cat(appendName(nil, "x"), []byte{3, 0}))...)), "index 0 of 0"},
		"hidden function":      {one(i32c(0), ix(opCall, 1)), "function 1 of 1"},
		"hidden function ref":  {one(ix(opRefFunc, 1), 0x1a), "function 1 of 1"},
		"hidden local":         {one(get(0), 0x1a), "local 0 of 0"},
		"hidden type":          {one(i32c(0), i32c(0), opCallIndirect, 1, 0), "type 1 of 1"},
		"hidden block type":    {one(opBlock, 1, opEnd), "block type 1 with 1 types"},
		"branch out":           {one(ix(opBr, 1)), "branch out of the function"},
		"branch table out":     {one(i32c(0), opBrTable, 1, 0, 1), "branch out of the function"},
		"else without if":      {one(opBlock, 0x40, opElse, opEnd), "else without if"},
		"two elses":            {one(i32c(0), opIf, 0x40, opElse, opElse, opEnd), "else without if"},
		"code behind the end":  {one(opEnd, opNop), "code behind its end"},
		"no end":               {one(opBlock, 0x40), "too early"},
		"50 001 locals": {raw(sec(secType, vec(ftype(nil, nil))...), sec(secFunction, 1, 0),
			sec(secCode, 1, 7, 1, 0xd1, 0x86, 3, tI32, opEnd, opNop)), "more than 50000 locals"},
		"1001 loops":            {one(bytes.Repeat([]byte{opLoop, 0x40, opEnd}, 1001)), "more than 1000 loops"},
		"10001 blocks":          {one(bytes.Repeat([]byte{opBlock, 0x40, opEnd}, 10_001)), "10000 blocks"},
		"10001 labels":          {one(cat([]byte{opBlock, 0x40}, i32c(0), ix(opBrTable, 10_000), make([]byte, 10_001), []byte{opEnd})), "10000 blocks"},
		"many large functions":  {build(slices.Repeat([]fn{{code: bytes.Repeat([]byte{opBlock, 0x40, opEnd}, 9000)}}, 7)...), "would take minutes"},
		"a huge table":          {raw(sec(secTable, 1, tFuncref, 0, 0xff, 0xff, 0xff, 0x7f)), "at most 262144"},
		"sections out of order": {raw(sec(secMemory, 1, 0, 1), sec(secTable, 0)), "out of order"},
		"section twice":         {raw(sec(secMemory, 1, 0, 1), sec(secMemory, 1, 0, 1)), "out of order"},
		"long number":           {raw(append([]byte{secType, 0x80, 0x80, 0x80, 0x80, 0x10}, 0)), "longer than 32 bits"},
		"extended constant":     {raw(sec(secGlobal, 1, tI32, 0, opI32Const, 1, opI32Const, 1, 0x6a, opEnd)), "extended constant"},
		"bodies missing":        {raw(sec(secType, vec(ftype(nil, nil))...), sec(secFunction, 1, 0)), "1 functions, 0 bodies"},
		"many of nothing":       {raw(sec(secType, 0xff, 0xff, 0xff, 0xff, 0x0f)), "types in"},
		"two exports of a name": {raw(sec(secMemory, 1, 0, 1), sec(secExport, vec(
			cat(appendName(nil, "x"), []byte{2, 0}), cat(appendName(nil, "x"), []byte{2, 0}))...)), "two exports"},
	} {
		out, err := Instrument(c.wasm, Options{Stack: DefaultStack})
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.What, c.want) || out != nil {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
}

// TestLarge: an image's own modules may take longer to compile, not for ever.
func TestLarge(t *testing.T) {
	blocks := func(n int) []byte { return build(fn{code: bytes.Repeat([]byte{opBlock, 0x40, opEnd}, n)}) }
	for n, ok := range map[int]bool{10_001: true, 100_000: true, 100_001: false} {
		if _, err := Instrument(blocks(n), Options{Stack: DefaultStack, Large: true}); (err == nil) != ok {
			t.Errorf("%d blocks: %v", n, err)
		}
	}
}

// TestNoPrefix: no proper prefix of a module is one, but at the ends of sections.
func TestNoPrefix(t *testing.T) {
	wasm := build(fib(0), sum())
	for n := range wasm {
		if _, err := Instrument(wasm[:n], Options{}); err == nil && n != 8 {
			// A prefix without code, but with no functions either, is a module.
			d, _ := decode(wasm[:n])
			if len(d.funcs) != 0 {
				t.Errorf("a prefix of %d bytes of %d is taken", n, len(wasm))
			}
		}
	}
}

// TestKept: what a module shows of itself is what it was.
func TestKept(t *testing.T) {
	names := cat(appendName(nil, "name"),
		sec(0, appendName(nil, "mod")...),
		sec(1, vec(cat([]byte{0}, appendName(nil, "imported")), cat([]byte{1}, appendName(nil, "own")))...),
		sec(2, vec(cat([]byte{1}, vec(cat([]byte{0}, appendName(nil, "first")))))...))
	wasm := raw(
		sec(secType, vec(ftype(nil, nil), ftype([]byte{tI32}, []byte{tI32, tI64}))...),
		sec(secImport, vec(cat(appendName(appendName(nil, "m"), "i"), []byte{0, 0}))...),
		sec(secFunction, 2, 1, 0),
		sec(secTable, 2, tFuncref, 0, 3, tExternref, 1, 0, 9),
		sec(secMemory, 1, 1, 1, 2),
		sec(secGlobal, 2, tFuncref, 0, opRefFunc, 1, opEnd, tI32, 1, opI32Const, 5, opEnd),
		sec(secExport, vec(
			cat(appendName(nil, "own"), []byte{0, 1}), cat(appendName(nil, "i"), []byte{0, 0}),
			cat(appendName(nil, "mem"), []byte{2, 0}), cat(appendName(nil, "five"), []byte{3, 1}))...),
		sec(secStart, 2),
		sec(secElement, vec(
			cat([]byte{0}, i32c(0), []byte{opEnd, 2, 0, 1}),
			cat([]byte{1, 0, 1, 1}),
			cat([]byte{2, 0}, i32c(2), []byte{opEnd, 0, 1, 2}),
			cat([]byte{3, 0, 1, 0}),
			cat([]byte{4}, i32c(0), []byte{opEnd, 1, opRefFunc, 1, opEnd}),
			cat([]byte{5, tFuncref, 2, opRefNull, tFuncref, opEnd, opRefFunc, 2, opEnd}),
			cat([]byte{6, 0}, i32c(0), []byte{opEnd, tFuncref, 1, opRefFunc, 1, opEnd}),
			cat([]byte{7, tFuncref, 1, opRefFunc, 0, opEnd}))...),
		sec(secDataCount, 2),
		sec(secCode, vec(
			cat([]byte{9, 1, 1, tF64}, get(0), []byte{opI64Const, 3, opNop, opEnd}),
			cat([]byte{9, 0}, i32c(0), i32c(7), []byte{0x36, 2, 0, opEnd}))...),
		sec(secData, vec(
			cat([]byte{0}, i32c(100), []byte{opEnd}, appendName(nil, "text")),
			cat([]byte{1}, appendName(nil, "passive")))...),
		sec(secCustom, names...),
		sec(secCustom, append(appendName(nil, ".debug_line"), 1, 2, 3)...),
		sec(secCustom, append(appendName(nil, "mine"), 1, 2, 3)...),
	)
	ctx := t.Context()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCustomSections(true))
	defer r.Close(ctx)
	for _, name := range []string{"m", Module} {
		b := r.NewHostModuleBuilder(name)
		b.NewFunctionBuilder().WithFunc(func() {}).Export("i")
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc((&machine{left: 1 << 30, slice: 1 << 20}).refill),
			[]api.ValueType{api.ValueTypeI32}, nil).Export(Refill)
		if _, err := b.Instantiate(ctx); err != nil {
			t.Fatal(err)
		}
	}
	c, err := r.CompileModule(ctx, metered(t, wasm))
	if err != nil {
		t.Fatal(err)
	}
	if c.Name() != "mod" {
		t.Errorf("module name %q", c.Name())
	}
	own := c.ExportedFunctions()["own"]
	if own.Name() != "own" || !slices.Equal(own.ParamNames(), []string{"first"}) || len(own.ResultTypes()) != 2 {
		t.Errorf("export own is %q with parameters %v and %d results", own.Name(), own.ParamNames(), len(own.ResultTypes()))
	}
	if i := c.ExportedFunctions()["i"]; i.Name() != "imported" {
		t.Errorf("export i is %q", i.Name())
	}
	if s := c.CustomSections(); len(s) != 1 || s[0].Name() != "mine" || string(s[0].Data()) != "\x01\x02\x03" {
		t.Errorf("%d custom sections", len(s))
	}
	m, err := r.InstantiateModule(ctx, c, wazero.NewModuleConfig().WithName("x"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := m.ExportedFunction("own").Call(ctx, 40)
	if err != nil || !slices.Equal(res, []uint64{40, 3}) {
		t.Errorf("own(40) = %v, %v", res, err)
	}
	if v, _ := m.ExportedMemory("mem").ReadUint32Le(0); v != 7 {
		t.Errorf("the start function has stored %d", v)
	}
	if b, _ := m.ExportedMemory("mem").Read(100, 4); string(b) != "text" {
		t.Errorf("the data is %q", b)
	}
	if v := m.ExportedGlobal("five").Get(); v != 5 {
		t.Errorf("the global is %d", v)
	}
}

func TestDataJoined(t *testing.T) {
	data := func(items ...any) [][]byte {
		var s [][]byte
		for i := 0; i < len(items); i += 2 {
			s = append(s, cat([]byte{0}, i32c(int32(items[i].(int))), []byte{opEnd}, appendName(nil, items[i+1].(string))))
		}
		return s
	}
	for name, c := range map[string]struct {
		data [][]byte
		want int
	}{
		"none":        {nil, 0},
		"close":       {data(0, "a", 10, "b", 100, "c"), 1},
		"touching":    {data(0, "aa", 2, "b"), 1},
		"backwards":   {data(100, "c", 10, "b", 0, "a"), 1},
		"far":         {data(0, "a", 5000, "b", 5001, "c"), 2},
		"overlapping": {data(0, "aaaa", 2, "bb", 8, "c"), 3},
		"high":        {data(-8, "a", -4, "b"), 1},
	} {
		r := &reader{b: metered(t, raw(sec(secMemory, 1, 0, 1), sec(secData, vec(c.data...)...))), off: 8}
		for r.left() > 0 {
			id, body := r.u8(), r.bytes(r.u32())
			if id == secData && int(body[0]) != c.want {
				t.Errorf("%s: %d segments, want %d", name, body[0], c.want)
			}
		}
	}
}
