// Package meter rewrites a WASM module so that running it costs fuel, counted by
// the module itself: the same count in every engine.
//
// An instruction costs one unit (a call 4, an indirect call 6; moving or clearing memory
// one unit for eight bytes, growing it 8192 a page, one unit an element of a table). What
// a function costs is not charged everywhere, but where it takes the fewest charges for
// the sum to be right when the function returns: mostly once where it begins, once where
// a loop begins, and in one arm of each if. So a call that returns has been charged
// exactly what it ran; one that traps, and one that is still running, can be off by
// what the code of the functions under way costs once, which the stack budget bounds, and
// is so in the same way in every engine.
//
// Fuel is an i64 global that the guest cannot name. It is looked at where functions
// begin that call others, and where loops begin: below zero, the module calls the host,
// which puts more into the global or ends the guest. So a host hands fuel out in slices,
// and a guest in an endless loop comes back to it after each.
//
// The same way every function that calls others takes an upper guess of its
// frame from a stack budget and gives it back when it returns.
//
// Data segments that lie close together become one, which saves an instance of a Go
// program half of its beginning. Nothing else changes: memory, tables, exports, elements, data, start and the
// names of functions and locals mean what they meant. Debug sections go, since
// they speak of places in the code.
package meter

import (
	"slices"
)

const (
	// Module and Refill name the host function that the metered module imports
	// behind its own imports: (reason i32) -> (). Guests cannot import it.
	Module = "eos:meter"
	Refill = "refill"
	// Fuel is the name under which the fuel global, a mutable i64 that begins at
	// zero, is exported.
	Fuel = "eos:fuel"
)

// Reasons of a call to Refill.
const (
	reasonFuel  = 0 // fuel is below zero: put more into the global, or trap
	reasonStack = 1 // the stack budget is spent: trap
)

// OutOfStack reports whether the reason given to Refill is a spent stack budget.
func OutOfStack(reason uint32) bool { return reason == reasonStack }

// Options of the pass.
type Options struct {
	// Stack is the budget in bytes for the frames of one call chain.
	Stack uint32
	// Large takes modules whose compiling takes long, as an image's own may: who measures
	// it has chosen them.
	Large bool
}

// DefaultStack lets ordinary programs recurse some thousand calls deep.
const DefaultStack = 4 << 20

// Instrument returns the metered form of a module. It decodes strictly; an error
// is an *Error that names what is malformed or not supported.
func Instrument(wasm []byte, o Options) ([]byte, error) {
	d, err := decode(wasm)
	if err != nil {
		return nil, err
	}
	if d.bounds = anyBounds; o.Large {
		d.bounds = largeBounds
	}
	out := &output{module: d, fuel: uint32(d.globals), stack: uint32(d.globals) + 1, budget: o.Stack}
	b, e := out.write()
	if e != nil {
		return nil, e
	}
	return b, nil
}

// Pages is how much memory a module begins with, exported or not, in pages of 64 KiB.
func Pages(wasm []byte) (uint32, error) {
	d, err := decode(wasm)
	if err != nil {
		return 0, err
	}
	return d.pages, nil
}

// output writes the metered module.
type output struct {
	*module
	fuel, stack uint32 // the added globals
	budget      uint32
	added       []funcType // types behind the module's own
	wrappers    map[string]uint32
	data        []segment // the data section anew; nil: it stays as it is
	work        int64     // how long compiling may take, in some unit
	byIndex     bool      // code speaks of data segments by their index
	grows       bool      // code grows a table
	scratch     plan      // memory for the plan of each function
}

// blockType encodes the type of a block without parameters.
func (o *output) blockType(results []byte) []byte {
	switch len(results) {
	case 0:
		return []byte{0x40}
	case 1:
		return results
	}
	i, ok := o.wrappers[string(results)]
	if !ok {
		if o.wrappers == nil {
			o.wrappers = map[string]uint32{}
		}
		i = o.addType(funcType{results: results})
		o.wrappers[string(results)] = i
	}
	return appendS64(nil, int64(i))
}

func (o *output) addType(t funcType) uint32 {
	o.added = append(o.added, t)
	return uint32(len(o.types) + len(o.added) - 1)
}

// write puts the sections together. Sections that have to be there are made
// where they are missing.
func (o *output) write() ([]byte, *Error) {
	refill := o.addType(funcType{params: []byte{tI32}})
	bodies := appendU32(nil, uint32(len(o.codes)))
	for i := range o.codes {
		var err *Error
		if bodies, err = o.function(bodies, i); err != nil {
			return nil, err
		}
	}
	o.joinData()
	out := append(slices.Clip(slices.Clone(magic)), 1, 0, 0, 0)
	put := func(id byte, body []byte) {
		out = append(appendU32(append(out, id), uint32(len(body))), body...)
	}
	need := []byte{secType, secImport, secGlobal, secExport}
	ensure := func(before int) {
		for len(need) > 0 && order(need[0]) < before {
			body, _ := o.rewrite(section{id: need[0], body: []byte{0}}, refill, nil)
			put(need[0], body)
			need = need[1:]
		}
	}
	for _, s := range o.sections {
		if s.id == secCustom {
			if body := o.custom(s); body != nil {
				put(secCustom, body)
			}
			continue
		}
		ensure(order(s.id))
		if len(need) > 0 && need[0] == s.id {
			need = need[1:]
		}
		body, err := o.rewrite(s, refill, bodies)
		if err != nil {
			return nil, err
		}
		put(s.id, body)
	}
	ensure(order(secData) + 1)
	return out, nil
}

// rewrite gives the new contents of a section.
func (o *output) rewrite(s section, refill uint32, bodies []byte) ([]byte, *Error) {
	r := &reader{b: s.body, base: s.off}
	var b []byte
	switch s.id {
	case secType:
		n := r.u32()
		b = append(appendU32(nil, n+uint32(len(o.added))), s.body[r.off:]...)
		for _, t := range o.added {
			b = append(appendU32(append(b, 0x60), uint32(len(t.params))), t.params...)
			b = append(appendU32(b, uint32(len(t.results))), t.results...)
		}
		return b, nil
	case secImport:
		n := r.u32()
		b = append(appendU32(nil, n+1), s.body[r.off:]...)
		b = appendName(appendName(b, Module), Refill)
		return appendU32(append(b, 0), refill), nil
	case secGlobal:
		n := r.u32()
		b = appendU32(nil, n+2)
		for range n {
			b = append(b, r.u8(), r.u8())
			o.constExpr(r, &b)
		}
		b = append(b, tI64, 1, opI64Const, 0, opEnd)
		return append(appendS64(append(b, tI32, 1, opI32Const), int64(min(o.budget, 1<<31-1))), opEnd), nil
	case secExport:
		n := r.u32()
		b = appendU32(nil, n+1)
		for range n {
			b = appendName(b, r.name())
			kind := r.u8()
			i := r.u32()
			if kind == 0 {
				i = o.renumber(i)
			}
			b = appendU32(append(b, kind), i)
		}
		return appendU32(append(appendName(b, Fuel), 3), o.fuel), nil
	case secStart:
		return appendU32(nil, o.renumber(r.u32())), nil
	case secTable:
		b = o.tableSection(r)
	case secElement:
		b = o.elements(r)
	case secCode:
		return bodies, nil
	case secDataCount:
		if o.data != nil {
			return appendU32(nil, uint32(len(o.data))), nil
		}
		return s.body, nil
	case secData:
		b = o.dataSection(r)
	default:
		return s.body, nil
	}
	if r.ok() && r.left() != 0 {
		r.fail("%s section: %d bytes too many", sectionNames[s.id], r.left())
	}
	return b, r.err
}

// tableSection copies the tables with a maximum that keeps them small together: growing
// a table beyond it fails, as growing may. Where no code grows any, none can.
func (o *output) tableSection(r *reader) []byte {
	type table struct {
		kind   byte
		lo, hi uint32
	}
	tables := make([]table, r.u32())
	room := int64(maxTable)
	for i := range tables {
		at := r.off
		if t := r.u8(); t == 0x40 {
			r.failAt(at, "table with an initial value: not supported")
		}
		r.off = min(at, len(r.b))
		t := &tables[i]
		t.kind = r.refType()
		var hasMax bool
		t.lo, t.hi, hasMax = limits(r, maxTable)
		if !hasMax {
			t.hi = maxTable
		}
		if room -= int64(t.lo); r.ok() && room < 0 {
			r.failAt(at, "tables of more than %d elements together", maxTable)
		}
	}
	if !r.ok() {
		return nil
	}
	b := appendU32(nil, uint32(len(tables)))
	for _, t := range tables {
		hi := t.lo
		if o.grows {
			hi = min(t.hi, t.lo+uint32(room/int64(len(tables))))
		}
		b = appendU32(appendU32(append(b, t.kind, 1), t.lo), hi)
	}
	return b
}

// elements copies the element section with its functions renumbered.
func (o *output) elements(r *reader) []byte {
	n := r.count("element segments", 2)
	bound(r, "element segments", n, maxSegments)
	b := appendU32(nil, uint32(n))
	all := 0
	for range n {
		at := r.off
		kind := r.u32()
		if r.ok() && kind > 7 {
			r.failAt(at, "element segment of kind %d", kind)
		}
		if !r.ok() {
			return nil
		}
		b = appendU32(b, kind)
		if kind&1 == 0 { // active
			if kind&2 != 0 {
				b = appendU32(b, r.u32())
			}
			o.constExpr(r, &b)
		}
		exprs := kind&4 != 0
		if kind&3 != 0 {
			if exprs {
				b = append(b, r.refType())
			} else {
				if k := r.u8(); r.ok() && k != 0 {
					r.failAt(r.off-1, "element kind %d", k)
				}
				b = append(b, 0)
			}
		}
		k := r.count("elements", 1)
		all += k
		bound(r, "elements", all, maxTable)
		b = appendU32(b, uint32(k))
		for range k {
			if exprs {
				o.constExpr(r, &b)
			} else if i := o.funcIndex(r); r.ok() {
				b = appendU32(b, o.renumber(i))
			}
		}
	}
	return b
}
