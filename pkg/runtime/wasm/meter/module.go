package meter

import (
	"bytes"
	"fmt"
)

// Section ids.
const (
	secCustom    = 0
	secType      = 1
	secImport    = 2
	secFunction  = 3
	secTable     = 4
	secMemory    = 5
	secGlobal    = 6
	secExport    = 7
	secStart     = 8
	secElement   = 9
	secCode      = 10
	secData      = 11
	secDataCount = 12
)

var sectionNames = [...]string{"custom", "type", "import", "function", "table", "memory", "global",
	"export", "start", "element", "code", "data", "data count"}

// order gives the place of a section: data count stands before code.
func order(id byte) int {
	switch {
	case id == secDataCount:
		return secCode
	case id >= secCode:
		return int(id) + 1
	}
	return int(id)
}

// Bounds on a module, those of the browsers where they have one
// (webassembly.github.io/spec/js-api, "Limits") and where each instance does not take
// memory of its own for it.
const (
	maxModule   = 128 << 20
	maxTypes    = 1_000_000
	maxImports  = 100_000
	maxFuncs    = 1_000_000
	maxGlobals  = 10_000
	maxExports  = 100_000
	maxBody     = 7_654_321
	maxLocals   = 50_000
	maxParams   = 1000
	maxTables   = 100
	maxTable    = 1 << 18 // elements of all tables, and of all segments for them
	maxSegments = 100_000
)

// bounds on control flow: the time that the engine's compiler takes grows with the
// square of a function's blocks, for loops with more.
type bounds struct {
	loops, blocks int    // of a function
	work          int64  // the sum over all functions of blocks² + 25 loops²
	more          string // what to do about more, for errors
}

// At the bounds of any module, the worst takes some seconds for a function and less than
// a minute in all; programs have a few hundred blocks in their largest function, large
// ones of Go some thousand. Large modules are one's own, and far from the worst: Go's
// linker has functions of 14 000 blocks, and takes ten seconds.
var (
	anyBounds   = bounds{1000, 10_000, 500_000_000, "; what eos build makes part of an image may have more"}
	largeBounds = bounds{5000, 100_000, 20_000_000_000, ""}
)

type section struct {
	id   byte
	off  int // of the contents, in the module
	body []byte
}

type funcType struct{ params, results []byte }

// module is a decoded module.
type module struct {
	sections []section
	types    []funcType
	imports  []uint32 // types of the imported functions
	funcs    []uint32 // types of the module's own functions
	tables   int
	globals  int
	mems     int
	exports  map[string]bool
	pages    uint32 // initial pages of the memory
	bounds   bounds
	codes    []code
}

type code struct {
	off    int // of the locals, in the module
	locals []byte
	nLocal int // without parameters
	v128   int // locals of type v128
	body   []byte
	bodyAt int // offset of body in the module
}

func (d *module) functions() int { return len(d.imports) + len(d.funcs) }

var magic = []byte("\x00asm")

// decode reads a module, all but the instructions.
func decode(wasm []byte) (*module, error) {
	if len(wasm) < 8 || !bytes.Equal(wasm[:4], magic) {
		return nil, &Error{0, "not a WASM module"}
	}
	switch v := wasm[4:8]; {
	case bytes.Equal(v, []byte{1, 0, 0, 0}):
	case v[2] == 1 && v[3] == 0:
		return nil, &Error{4, "components: not yet; build a core module (WASI preview 1)"}
	default:
		return nil, &Error{4, fmt.Sprintf("WASM version %x: not supported", v)}
	}
	if len(wasm) > maxModule {
		return nil, &Error{0, fmt.Sprintf("module of %d bytes; at most %d", len(wasm), maxModule)}
	}
	d := &module{exports: map[string]bool{}}
	r := &reader{b: wasm, off: 8}
	last := 0
	dataCount := -1
	for r.ok() && r.left() > 0 {
		at := r.off
		id := r.u8()
		body := r.bytes(r.u32())
		if !r.ok() {
			break
		}
		if int(id) >= len(sectionNames) {
			if id == 13 {
				r.failAt(at, "exception handling (tag section): not supported")
			} else {
				r.failAt(at, "section %d: not supported", id)
			}
			break
		}
		if id != secCustom {
			if order(id) <= last {
				r.failAt(at, "%s section out of order", sectionNames[id])
				break
			}
			last = order(id)
		}
		s := section{id: id, off: r.off - len(body), body: body}
		d.sections = append(d.sections, s)
		c := &reader{b: body, base: s.off}
		switch id {
		case secType:
			d.readTypes(c)
		case secImport:
			d.readImports(c)
		case secFunction:
			for range c.count("functions", 1) {
				if t := c.u32(); c.ok() && t >= uint32(len(d.types)) {
					c.fail("type %d of %d", t, len(d.types))
				} else {
					d.funcs = append(d.funcs, t)
				}
			}
			bound(c, "functions", d.functions(), maxFuncs)
		case secTable:
			d.tables = c.count("tables", 3)
			bound(c, "tables", d.tables, maxTables)
			c.off = len(body) // read again when it is written
		case secMemory:
			d.readMemory(c)
		case secGlobal:
			for range c.count("globals", 4) {
				c.valueType()
				if m := c.u8(); m > 1 {
					c.failAt(c.off-1, "mutability %d", m)
				}
				d.constExpr(c, nil)
				d.globals++
			}
			bound(c, "globals", d.globals, maxGlobals)
		case secExport:
			d.readExports(c)
		case secStart:
			d.funcIndex(c)
		case secElement:
			c.off = len(body) // read again when it is written
		case secDataCount:
			dataCount = int(c.u32())
		case secCode:
			d.readCodes(c)
		case secData:
			n := c.count("data segments", 2)
			bound(c, "data segments", n, maxSegments)
			if c.ok() && dataCount >= 0 && n != dataCount {
				c.fail("%d data segments, %d announced", n, dataCount)
			}
			for range n {
				d.readData(c)
			}
		case secCustom:
			c.name()
			c.off = len(body)
		}
		if c.ok() && c.left() != 0 {
			c.fail("%s section: %d bytes too many", sectionNames[id], c.left())
		}
		if c.err != nil {
			return nil, c.err
		}
	}
	if r.err != nil {
		return nil, r.err
	}
	if len(d.codes) != len(d.funcs) {
		return nil, &Error{len(wasm), fmt.Sprintf("%d functions, %d bodies", len(d.funcs), len(d.codes))}
	}
	return d, nil
}

func bound(r *reader, what string, n, most int) {
	if r.ok() && n > most {
		r.fail("%d %s; at most %d", n, what, most)
	}
}

func (d *module) readTypes(r *reader) {
	n := r.count("types", 3)
	bound(r, "types", n, maxTypes)
	for range n {
		if c := r.u8(); r.ok() && c != 0x60 {
			r.failAt(r.off-1, "type form %#x (garbage collection): not supported", c)
		}
		var t funcType
		for _, list := range []*[]byte{&t.params, &t.results} {
			k := r.count("values", 1)
			bound(r, "values", k, maxParams)
			for range k {
				*list = append(*list, r.valueType())
			}
		}
		d.types = append(d.types, t)
	}
}

func (d *module) readImports(r *reader) {
	n := r.count("imports", 4)
	bound(r, "imports", n, maxImports)
	for range n {
		at := r.off
		mod, name := r.name(), r.name()
		kind := r.u8()
		switch {
		case !r.ok():
		case mod == Module:
			r.failAt(at, "imports %s.%s, which is not for guests", mod, name)
		case kind != 0:
			what := map[byte]string{1: "table", 2: "memory", 3: "global", 4: "tag"}[kind]
			if what == "" {
				what = fmt.Sprintf("kind %d", kind)
			}
			r.failAt(at, "imports the %s %s.%s: only functions can be imported", what, mod, name)
		default:
			t := r.u32()
			if r.ok() && t >= uint32(len(d.types)) {
				r.fail("type %d of %d", t, len(d.types))
			}
			d.imports = append(d.imports, t)
		}
	}
}

func (d *module) readMemory(r *reader) {
	d.mems = r.count("memories", 2)
	if r.ok() && d.mems > 1 {
		r.fail("multiple memories: not supported")
		return
	}
	for range d.mems {
		d.pages, _, _ = limits(r, 1<<16)
	}
}

// limits reads the limits of a table or memory: the minimum must be within most.
func limits(r *reader, most uint32) (lo, hi uint32, hasMax bool) {
	at := r.off
	switch f := r.u8(); {
	case f&0x02 != 0 && f < 8:
		r.failAt(at, "threads (shared memory): not supported")
	case f&0x04 != 0 && f < 8:
		r.failAt(at, "64-bit memory: not supported")
	case f > 1:
		r.failAt(at, "limits of kind %#x", f)
	default:
		hasMax = f == 1
	}
	lo = r.u32()
	if hasMax {
		hi = r.u32()
	}
	switch {
	case !r.ok():
	case lo > most:
		r.failAt(at, "a minimum of %d; at most %d", lo, most)
	case hasMax && hi < lo:
		r.failAt(at, "a minimum of %d and a maximum of %d", lo, hi)
	}
	return lo, hi, hasMax
}

// constExpr reads a constant expression to its end. Given somewhere to write,
// it copies the expression with its functions renumbered.
func (d *module) constExpr(r *reader, out *[]byte) {
	for r.ok() {
		at := r.off
		switch op := r.u8(); op {
		case opI32Const:
			r.leb(32, true)
		case opI64Const:
			r.leb(64, true)
		case opF32Const:
			r.bytes(4)
		case opF64Const:
			r.bytes(8)
		case opVec:
			if s := r.subopcode(); r.ok() && s != 12 {
				r.failAt(at, "not a constant")
			}
			r.bytes(16)
		case opRefNull:
			r.refType()
		case opRefFunc:
			i := d.funcIndex(r)
			if out != nil {
				*out = appendU32(append(*out, opRefFunc), d.renumber(i))
			}
			continue
		case opGlobalGet:
			if g := r.u32(); r.ok() && g >= uint32(d.globals) {
				r.failAt(at, "global %d of %d", g, d.globals)
			}
		case opEnd:
			if out != nil {
				*out = append(*out, opEnd)
			}
			return
		case 0x6a, 0x6b, 0x6c, opI64Add, opI64Sub, 0x7e:
			r.failAt(at, "extended constant expressions: not supported")
		default:
			r.failAt(at, "instruction %#x in a constant expression", op)
		}
		if out != nil && r.ok() {
			*out = append(*out, r.b[at:r.off]...)
		}
	}
}

// renumber gives a function's index behind the pass: the one import that is
// added stands behind the module's own imports.
func (d *module) renumber(i uint32) uint32 {
	if i >= uint32(len(d.imports)) {
		return i + 1
	}
	return i
}

// funcIndex reads the index of a function. Where the code section lies behind,
// the functions are all known already.
func (d *module) funcIndex(r *reader) uint32 {
	at := r.off
	i := r.u32()
	if r.ok() && i >= uint32(d.functions()) {
		r.failAt(at, "function %d of %d", i, d.functions())
	}
	return i
}

func (d *module) readExports(r *reader) {
	n := r.count("exports", 3)
	bound(r, "exports", n, maxExports)
	for range n {
		at := r.off
		name, kind := r.name(), r.u8()
		i := r.u32()
		most, ok := map[byte]int{0: d.functions(), 1: d.tables, 2: d.mems, 3: d.globals}[kind]
		switch {
		case !r.ok():
		case !ok:
			r.failAt(at, "export %q of kind %d: not supported", name, kind)
		case i >= uint32(most):
			r.failAt(at, "export %q: index %d of %d", name, i, most)
		case d.exports[name]:
			r.failAt(at, "two exports named %q", name)
		case name == Fuel:
			r.failAt(at, "export %q: the name is taken", name)
		}
		d.exports[name] = true
	}
}

func (d *module) readCodes(r *reader) {
	n := r.count("bodies", 3)
	if r.ok() && n != len(d.funcs) {
		r.fail("%d bodies for %d functions", n, len(d.funcs))
		return
	}
	d.codes = make([]code, 0, n)
	for i := range n {
		size := r.u32()
		bound(r, "bytes of code", int(size), maxBody)
		at := r.off
		b := r.bytes(size)
		c := code{off: r.base + at}
		l := &reader{b: b, base: c.off}
		for range l.count("locals", 2) {
			k, t := l.u32(), l.valueType()
			if l.ok() && uint64(k)+uint64(c.nLocal) > maxLocals {
				l.fail("function %d: more than %d locals", len(d.imports)+i, maxLocals)
			}
			if !l.ok() {
				break
			}
			c.nLocal += int(k)
			if t == tV128 {
				c.v128 += int(k)
			}
		}
		if l.err != nil {
			r.err = l.err
			return
		}
		c.locals, c.body, c.bodyAt = b[:l.off], b[l.off:], c.off+l.off
		d.codes = append(d.codes, c)
	}
}

func (d *module) readData(r *reader) {
	at := r.off
	switch kind := r.u32(); kind {
	case 2:
		if m := r.u32(); r.ok() && m != 0 {
			r.failAt(at, "multiple memories: not supported")
		}
		d.constExpr(r, nil)
	case 0:
		d.constExpr(r, nil)
	case 1:
	default:
		r.failAt(at, "data segment of kind %d", kind)
	}
	r.bytes(r.u32())
}
