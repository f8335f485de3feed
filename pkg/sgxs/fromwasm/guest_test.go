package fromwasm

import (
	"encoding/binary"
	"slices"
)

// guest writes small modules: one function type after the other, each import and
// export with a type of its own.
type guest struct {
	imports []function
	exports []function
	memory  int      // pages; below zero for none
	custom  []string // name, content, name, content …
	other   []byte   // sections to put in front
}

type function struct {
	name            string // of an import "module.name"
	params, results []byte
}

const (
	i32 = 0x7f
	i64 = 0x7e
	f32 = 0x7d
)

func leb(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }

func vec(items ...[]byte) []byte {
	return append(leb(len(items)), slices.Concat(items...)...)
}

func text(s string) []byte { return append(leb(len(s)), s...) }

func section(id byte, content []byte) []byte {
	return slices.Concat([]byte{id}, leb(len(content)), content)
}

func (g guest) bytes() []byte {
	var types, imports, funcs, exports, code [][]byte
	typeOf := func(f function) []byte {
		types = append(types, slices.Concat([]byte{0x60}, leb(len(f.params)), f.params, leb(len(f.results)), f.results))
		return leb(len(types) - 1)
	}
	for _, f := range g.imports {
		dot := slices.Index([]byte(f.name), '.')
		imports = append(imports, slices.Concat(text(f.name[:dot]), text(f.name[dot+1:]), []byte{0}, typeOf(f)))
	}
	for i, f := range g.exports {
		funcs = append(funcs, typeOf(f))
		exports = append(exports, slices.Concat(text(f.name), []byte{0}, leb(len(g.imports)+i)))
		body := []byte{0, 0x00, 0x0b} // no locals, unreachable, end
		code = append(code, slices.Concat(leb(len(body)), body))
	}
	b := slices.Concat(moduleHead, g.other, section(1, vec(types...)), section(2, vec(imports...)), section(3, vec(funcs...)))
	if g.memory >= 0 {
		b = append(b, section(5, vec(append([]byte{0}, leb(g.memory)...)))...)
		exports = append(exports, slices.Concat(text("memory"), []byte{2, 0}))
	}
	b = slices.Concat(b, section(7, vec(exports...)), section(10, vec(code...)))
	for i := 0; i+1 < len(g.custom); i += 2 {
		b = append(b, section(0, append(text(g.custom[i]), g.custom[i+1]...))...)
	}
	return b
}

func fn(name string, params ...byte) function { return function{name, params, nil} }

func (f function) returns(results ...byte) function {
	f.results = results
	return f
}

// alloc is the export that functions with text need.
var alloc = fn("eos_alloc", i32).returns(i32)
