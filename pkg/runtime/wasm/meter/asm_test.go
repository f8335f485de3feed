package meter

// A small assembler: modules are made of these in tests.

func sec(id byte, body ...byte) []byte {
	return append(appendU32([]byte{id}, uint32(len(body))), body...)
}

func vec(items ...[]byte) []byte {
	b := appendU32(nil, uint32(len(items)))
	for _, i := range items {
		b = append(b, i...)
	}
	return b
}

func cat(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func ftype(params, results []byte) []byte {
	return cat([]byte{0x60}, appendU32(nil, uint32(len(params))), params, appendU32(nil, uint32(len(results))), results)
}

// fn is a function of a module under test: exported if it has a name.
type fn struct {
	name            string
	params, results []byte
	locals          []byte
	code            []byte // without the last end
}

// build makes a module with one memory of a page (at most four), one table of
// four funcref, one i32 global that starts at 7, and the functions.
func build(fns ...fn) []byte {
	var types, funcs, exports, codes [][]byte
	for i, f := range fns {
		types = append(types, ftype(f.params, f.results))
		funcs = append(funcs, appendU32(nil, uint32(i)))
		if f.name != "" {
			exports = append(exports, cat(appendName(nil, f.name), []byte{0}, appendU32(nil, uint32(i))))
		}
		locals := appendU32(nil, uint32(len(f.locals)))
		for _, l := range f.locals {
			locals = append(locals, 1, l)
		}
		body := cat(locals, f.code, []byte{opEnd})
		codes = append(codes, cat(appendU32(nil, uint32(len(body))), body))
	}
	exports = append(exports, cat(appendName(nil, "memory"), []byte{2, 0}), cat(appendName(nil, "g"), []byte{3, 0}))
	return cat(magic, []byte{1, 0, 0, 0},
		sec(secType, vec(types...)...),
		sec(secFunction, vec(funcs...)...),
		sec(secTable, 1, tFuncref, 1, 4, 4),
		sec(secMemory, 1, 1, 1, 4),
		sec(secGlobal, 1, tI32, 1, opI32Const, 7, opEnd),
		sec(secExport, vec(exports...)...),
		sec(secCode, vec(codes...)...),
	)
}

// instructions with their immediates
func i32c(v int32) []byte         { return appendS64([]byte{opI32Const}, int64(v)) }
func ix(op byte, i uint32) []byte { return appendU32([]byte{op}, i) }
func get(i uint32) []byte         { return ix(opLocalGet, i) }
func set(i uint32) []byte         { return ix(opLocalSet, i) }
func seq(ops ...any) (b []byte) {
	for _, o := range ops {
		switch o := o.(type) {
		case int:
			b = append(b, byte(o))
		case []byte:
			b = append(b, o...)
		}
	}
	return b
}

// fib is the doubly recursive function, of type i32 -> i32, as function self.
func fib(self uint32) fn {
	return fn{name: "fib", params: []byte{tI32}, results: []byte{tI32}, code: seq(
		get(0), i32c(2), 0x48, opIf, tI32, get(0), opElse,
		get(0), i32c(1), 0x6b, ix(opCall, self), get(0), i32c(2), 0x6b, ix(opCall, self), 0x6a, opEnd)}
}

// sum adds the bytes 0 to n-1 of the memory in a tight loop, n times over the page.
func sum() fn {
	return fn{name: "sum", params: []byte{tI32}, results: []byte{tI32}, locals: []byte{tI32, tI32}, code: seq(
		opLoop, 0x40,
		get(1), get(2), i32c(0xffff), 0x71, 0x2d, 0, 0, 0x6a, set(1), // s += mem[i & 0xffff]
		get(2), i32c(1), 0x6a, ix(opLocalTee, 2), get(0), 0x49, ix(opBrIf, 0), // ++i < n
		opEnd, get(1))}
}

// spin never ends.
func spin() fn { return fn{name: "spin", code: seq(opLoop, 0x40, ix(opBr, 0), opEnd)} }

// deep recurses without end.
func deep(self uint32) fn { return fn{name: "deep", code: seq(ix(opCall, self))} }
