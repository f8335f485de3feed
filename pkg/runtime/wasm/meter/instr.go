package meter

import "fmt"

// Opcodes that the pass looks at.
const (
	opUnreachable  = 0x00
	opNop          = 0x01
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opSelectT      = 0x1c
	opLocalGet     = 0x20
	opLocalSet     = 0x21
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opMemorySize   = 0x3f
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44
	opI64LtS       = 0x53
	opI64Add       = 0x7c
	opI64Sub       = 0x7d
	opI64Shl       = 0x86
	opI64ShrU      = 0x88
	opI64ExtendU   = 0xad
	opRefNull      = 0xd0
	opRefIsNull    = 0xd1
	opRefFunc      = 0xd2
	opMisc         = 0xfc
	opVec          = 0xfd

	miscMemoryInit = 8
	miscDataDrop   = 9
	miscMemoryCopy = 10
	miscMemoryFill = 11
	miscTableInit  = 12
	miscTableCopy  = 14
	miscTableGrow  = 15
	miscTableFill  = 17
)

// instr is one decoded instruction.
type instr struct {
	off   int    // offset of the opcode in the body
	end   int    // offset behind the immediates
	op    byte   // opcode or prefix
	sub   uint32 // opcode behind a prefix
	index uint32 // label, local, global, function, type: the first index immediate
	deep  uint32 // br_table: the outermost label
	block int64  // the type of a block, loop or if
}

// next decodes one instruction of body r, and refuses by name what the engine is
// not built for.
func (d *module) next(r *reader) instr {
	in := instr{off: r.off}
	in.op = r.u8()
	switch op := in.op; {
	case op == opBlock || op == opLoop || op == opIf:
		in.block = d.blockType(r)
	case op == opBr || op == opBrIf:
		in.index = r.u32()
	case op == opBrTable:
		n := r.count("labels", 1)
		for range n + 1 {
			in.deep = max(in.deep, r.u32())
		}
	case op == opCall || op == opRefFunc:
		in.index = r.u32()
		if r.ok() && in.index >= uint32(d.functions()) {
			r.failAt(in.off, "function %d of %d", in.index, d.functions())
		}
	case op == opCallIndirect:
		in.index = r.u32()
		if r.ok() && in.index >= uint32(len(d.types)) {
			r.failAt(in.off, "type %d of %d", in.index, len(d.types))
		}
		d.table(r)
	case op == opSelectT:
		for range r.count("types", 1) {
			r.valueType()
		}
	case op >= opLocalGet && op <= opLocalTee:
		in.index = r.u32()
	case op == opGlobalGet || op == opGlobalSet:
		in.index = r.u32()
		if r.ok() && in.index >= uint32(d.globals) {
			r.failAt(in.off, "global %d of %d", in.index, d.globals)
		}
	case op == 0x25 || op == 0x26: // table.get, table.set
		d.table(r)
	case op >= 0x28 && op <= 0x3e: // loads and stores
		memarg(r)
	case op == opMemorySize || op == opMemoryGrow:
		d.memory(r)
	case op == opI32Const:
		r.leb(32, true)
	case op == opI64Const:
		r.leb(64, true)
	case op == opF32Const:
		r.bytes(4)
	case op == opF64Const:
		r.bytes(8)
	case op == opRefNull:
		r.refType()
	case op == opMisc:
		d.misc(r, &in)
	case op == opVec:
		d.vec(r, &in)
	case op == opUnreachable, op == opNop, op == opElse, op == opEnd, op == opReturn,
		op == 0x1a, op == 0x1b, // drop, select
		op >= 0x45 && op <= 0xc4, op == opRefIsNull:
	default:
		r.failAt(in.off, "%s: not supported", opcodeName(op))
	}
	in.end = r.off
	return in
}

// blockType reads the type of a block, loop or if.
func (d *module) blockType(r *reader) int64 {
	start := r.off
	t := r.leb(33, true)
	switch {
	case !r.ok():
	case t == -0x40 || t >= -0x05 && t <= -0x01 || t == -0x10 || t == -0x11:
	case t < 0 || t >= int64(len(d.types)):
		r.failAt(start, "block type %d with %d types", t, len(d.types))
	}
	return t
}

func (d *module) table(r *reader) {
	start := r.off
	if i := r.u32(); r.ok() && i >= uint32(d.tables) {
		r.failAt(start, "table %d of %d", i, d.tables)
	}
}

func (d *module) memory(r *reader) {
	if r.u8() != 0 {
		r.failAt(r.off-1, "multiple memories: not supported")
	}
}

func memarg(r *reader) {
	start := r.off
	if align := r.u32(); align >= 32 {
		if align&0x40 != 0 {
			r.failAt(start, "multiple memories: not supported")
		}
		r.failAt(start, "alignment 2^%d", align)
	}
	r.u32()
}

// subopcode reads the opcode behind a prefix. Engines differ in how they read a
// longer form than needed, so only the shortest is taken.
func (r *reader) subopcode() uint32 {
	start := r.off
	v := r.u32()
	if r.ok() && r.off-start != len(appendU32(nil, v)) {
		r.failAt(start, "opcode in more bytes than it needs")
	}
	return v
}

func (d *module) misc(r *reader, in *instr) {
	in.sub = r.subopcode()
	switch in.sub {
	case 0, 1, 2, 3, 4, 5, 6, 7: // saturating truncation
	case miscMemoryInit:
		in.index = r.u32()
		d.memory(r)
	case miscDataDrop, 13: // data.drop, elem.drop
		in.index = r.u32()
	case miscMemoryCopy:
		d.memory(r)
		d.memory(r)
	case miscMemoryFill:
		d.memory(r)
	case miscTableInit:
		in.index = r.u32()
		d.table(r)
	case miscTableCopy:
		d.table(r)
		d.table(r)
	case miscTableGrow, 16, miscTableFill:
		d.table(r)
	default:
		if r.ok() {
			r.failAt(in.off, "instruction 0xfc %#x: not supported", in.sub)
		}
	}
}

func (d *module) vec(r *reader, in *instr) {
	in.sub = r.subopcode()
	switch s := in.sub; {
	case s <= 11 || s == 0x5c || s == 0x5d: // loads and stores
		memarg(r)
	case s == 12 || s == 13: // const, shuffle
		r.bytes(16)
	case s >= 21 && s <= 34: // extract and replace
		r.u8()
	case s >= 0x54 && s <= 0x5b: // lane loads and stores
		memarg(r)
		r.u8()
	case s == 0x9a || s == 0xa2 || s == 0xa5 || s == 0xa6 || s == 0xaf || s == 0xb0 ||
		s == 0xb2 || s == 0xb3 || s == 0xb4 || s == 0xbb || s == 0xc2 || s == 0xc5 || s == 0xc6 ||
		s == 0xcf || s == 0xd0 || s == 0xd2 || s == 0xd3 || s == 0xd4 || s == 0xe2 || s == 0xee:
		r.failAt(in.off, "SIMD instruction %#x: no such instruction", s)
	case s > 0xff && s <= 0x1ff:
		r.failAt(in.off, "relaxed SIMD instruction %#x: not supported", s)
	case s > 0xff:
		r.failAt(in.off, "SIMD instruction %#x: not supported", s)
	}
}

// opcodeName names what is refused.
func opcodeName(op byte) string {
	switch op {
	case 0x06, 0x07, 0x08, 0x09, 0x0a, 0x18, 0x19, 0x1f:
		return fmt.Sprintf("exception handling (instruction %#x)", op)
	case 0x12, 0x13:
		return fmt.Sprintf("tail calls (instruction %#x)", op)
	case 0x14, 0x15, 0xd4, 0xd5, 0xd6:
		return fmt.Sprintf("typed function references (instruction %#x)", op)
	case 0xfb, 0xd3:
		return fmt.Sprintf("garbage collection (instruction %#x)", op)
	case 0xfe:
		return "threads (instruction 0xfe)"
	}
	return fmt.Sprintf("instruction %#x", op)
}
