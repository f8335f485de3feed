package meter

// generator makes valid modules out of bytes: the same program twice, as it is and
// with a naive counter before every single instruction, against which the pass is
// held. Programs end: loops and calls spend steps, of which there are few.
type generator struct {
	src          []byte
	plain, naive []byte
	value        []bool // of each open construct: a branch to it carries an i32
	size         int
}

const (
	genFuncs  = 4
	genLocals = 4 // i32; the first is the parameter; one more is scratch
	scratch   = genLocals
	gSteps    = 0 // i32
	gCount    = 1 // i64, the naive count
	genSteps  = 150
)

func (g *generator) next() byte {
	if len(g.src) == 0 {
		return 0
	}
	c := g.src[0]
	g.src = g.src[1:]
	return c
}

// pick returns 0 to n-1; 0 when the bytes are used up.
func (g *generator) pick(n int) int { return int(g.next()) % n }

// emit writes an instruction of a cost to both.
func (g *generator) emit(cost int, ops ...any) {
	g.size++
	if cost > 0 {
		g.naive = append(g.naive, seq(ix(opGlobalGet, gCount), appendS64([]byte{opI64Const}, int64(cost)), opI64Add, ix(opGlobalSet, gCount))...)
	}
	b := seq(ops...)
	g.plain = append(g.plain, b...)
	g.naive = append(g.naive, b...)
}

// byCount lets the naive counter count the i32 on top of the stack, shifted.
func (g *generator) byCount(op byte, shift int64) {
	g.naive = append(g.naive, seq(ix(opLocalTee, scratch), ix(opGlobalGet, gCount), get(scratch), opI64ExtendU,
		appendS64([]byte{opI64Const}, shift), int(op), opI64Add, ix(opGlobalSet, gCount))...)
}

// step ends programs that take too long.
func (g *generator) step() {
	g.emit(1, ix(opGlobalGet, gSteps))
	g.emit(1, i32c(1))
	g.emit(1, 0x6b)
	g.emit(1, ix(opGlobalSet, gSteps))
	g.emit(1, ix(opGlobalGet, gSteps))
	g.emit(1, i32c(0))
	g.emit(1, 0x48)
	g.emit(1, opIf, 0x40)
	g.emit(1, opUnreachable)
	g.emit(0, opEnd)
}

func (g *generator) expr(deep int) {
	n := 15
	if deep <= 0 || g.size > 400 {
		n = 3
	}
	switch g.pick(n) {
	case 0:
		g.emit(1, i32c(int32(int8(g.next()))*77))
	case 1, 2:
		g.emit(1, get(uint32(g.pick(genLocals))))
	case 3, 4:
		g.expr(deep - 1)
		g.expr(deep - 1)
		g.emit(1, []int{0x6a, 0x6b, 0x6c, 0x71, 0x72, 0x73, 0x48, 0x6d, 0x70, 0x74}[g.pick(10)])
	case 5:
		g.expr(deep - 1)
		g.emit(1, []int{0x45, 0x67, 0x69, 0xc0}[g.pick(4)])
	case 6:
		g.expr(deep - 1)
		g.emit(1, 0x28, 2, 0) // i32.load, may trap
	case 7:
		g.expr(deep - 1)
		g.emit(4, ix(opCall, uint32(g.pick(genFuncs))))
	case 8:
		g.expr(deep - 1)
		g.expr(1)
		g.emit(1, i32c(3))
		g.emit(1, 0x71)
		g.emit(6, opCallIndirect, 0, 0)
	case 9:
		g.expr(deep - 1)
		g.emit(1, opIf, tI32)
		g.open(true)
		g.statements(deep - 1)
		g.expr(deep - 1)
		g.emit(0, opElse)
		g.expr(deep - 1)
		g.close()
	case 10:
		g.emit(0, opBlock, tI32)
		g.open(true)
		g.statements(deep - 1)
		g.expr(deep - 1)
		g.close()
	case 11:
		g.emit(1, 0x3f, 0) // memory.size
	case 12:
		g.expr(deep - 1)
		g.emit(1, i32c(1))
		g.emit(1, 0x71)
		g.byCount(opI64Shl, 13)
		g.emit(1, opMemoryGrow, 0)
	case 13:
		g.expr(deep - 1)
		g.emit(1, 0xac)             // i64.extend_i32_s
		g.emit(1, 0xfd, 0x12)       // i64x2.splat
		g.emit(1, 0xfd, 0xc1, 0x01) // i64x2.neg
		g.emit(1, 0xfd, 0x1b, 0x01) // i32x4.extract_lane 1
	case 14: // a loop with a parameter, which branches to it carry
		g.expr(deep - 1)
		g.emit(0, opLoop, 0)
		g.open(true)
		g.step()
		g.statements(deep - 1)
		if g.pick(2) == 1 {
			g.expr(deep - 1)
			g.emit(1, ix(opBrIf, 0))
		}
		g.close()
	}
}

func (g *generator) open(value bool) { g.value = append(g.value, value) }

func (g *generator) close() {
	g.value = g.value[:len(g.value)-1]
	g.emit(0, opEnd)
}

// label finds a construct that a branch with, or without, a value can lead to.
func (g *generator) label(value bool) (uint32, bool) {
	if len(g.value) == 0 {
		return 0, false
	}
	n := g.pick(len(g.value))
	for i := range g.value {
		d := (n + i) % len(g.value)
		if g.value[len(g.value)-1-d] == value {
			return uint32(d), true
		}
	}
	return 0, false
}

func (g *generator) statements(deep int) {
	for range g.pick(4) {
		if !g.statement(deep) {
			return // the rest is dead
		}
	}
}

// statement reports whether what follows can be reached.
func (g *generator) statement(deep int) bool {
	n := 15
	if deep <= 0 || g.size > 400 {
		n = 2
	}
	switch g.pick(n) {
	case 0, 1:
		g.expr(deep)
		g.emit(1, set(uint32(g.pick(genLocals))))
	case 2:
		g.expr(deep)
		g.emit(1, i32c(0xfffc))
		g.emit(1, 0x71)
		g.expr(deep)
		g.emit(1, 0x36, 2, 0)
	case 3:
		g.expr(deep)
		g.emit(1, opIf, 0x40)
		g.open(false)
		g.statements(deep - 1)
		if g.pick(2) == 1 {
			g.emit(0, opElse)
			g.statements(deep - 1)
		}
		g.close()
	case 4:
		g.emit(0, opBlock, 0x40)
		g.open(false)
		g.statements(deep - 1)
		g.close()
	case 5, 6:
		g.emit(0, opLoop, 0x40)
		g.open(false)
		g.step()
		g.statements(deep - 1)
		if g.pick(2) == 1 {
			g.expr(deep - 1)
			g.emit(1, ix(opBrIf, 0))
		}
		g.close()
	case 7:
		if d, ok := g.label(false); ok {
			g.expr(deep - 1)
			g.emit(1, ix(opBrIf, d))
		}
	case 8:
		if d, ok := g.label(false); ok {
			g.emit(1, ix(opBr, d))
			return false
		}
	case 9:
		d, ok := g.label(false)
		e, _ := g.label(false)
		if ok {
			g.expr(deep - 1)
			g.emit(1, opBrTable, 2, int(d), int(e), int(d))
			return false
		}
	case 10:
		g.expr(deep - 1)
		g.emit(1, opReturn)
		return false
	case 11:
		g.emit(1, i32c(int32(g.next())))
		g.emit(1, i32c(int32(g.next())))
		g.emit(1, i32c(int32(g.next())))
		g.byCount(opI64ShrU, 3)
		if g.pick(2) == 1 {
			g.emit(1, opMisc, miscMemoryFill, 0)
		} else {
			g.emit(1, opMisc, miscMemoryCopy, 0, 0)
		}
	case 12:
		g.expr(deep - 1)
		g.emit(1, 0x1a)
	case 13:
		if d, ok := g.label(true); ok {
			g.expr(deep - 1)
			g.expr(deep - 1)
			g.emit(1, ix(opBrIf, d))
			g.emit(1, 0x1a)
		}
	case 14:
		if d, ok := g.label(true); ok {
			e, _ := g.label(true)
			g.expr(deep - 1)
			g.expr(deep - 1)
			g.emit(1, opBrTable, 1, int(d), int(e))
			return false
		}
	}
	return true
}

// generate makes the two modules of some bytes. They export f (i32) -> i32, the
// memory, and both globals.
func generate(src []byte) (plain, naive []byte) {
	g := &generator{src: src}
	var p, n [][]byte
	for range genFuncs {
		g.plain, g.naive, g.size, g.value = nil, nil, 0, nil
		g.step()
		g.statements(4)
		g.statements(4)
		g.expr(3)
		p, n = append(p, g.plain), append(n, g.naive)
	}
	return genModule(p), genModule(n)
}

func genModule(codes [][]byte) []byte {
	var funcs, bodies [][]byte
	for _, c := range codes {
		funcs = append(funcs, []byte{0})
		body := cat([]byte{1, genLocals, tI32}, c, []byte{opEnd})
		bodies = append(bodies, cat(appendU32(nil, uint32(len(body))), body))
	}
	return cat(magic, []byte{1, 0, 0, 0},
		sec(secType, vec(ftype([]byte{tI32}, []byte{tI32}))...),
		sec(secFunction, vec(funcs...)...),
		sec(secTable, 1, tFuncref, 1, 4, 4),
		sec(secMemory, 1, 1, 1, 4),
		sec(secGlobal, vec(
			cat([]byte{tI32, 1}, i32c(genSteps), []byte{opEnd}),
			[]byte{tI64, 1, opI64Const, 0, opEnd})...),
		sec(secExport, vec(
			cat(appendName(nil, "f"), []byte{0, 0}), cat(appendName(nil, "memory"), []byte{2, 0}),
			cat(appendName(nil, "steps"), []byte{3, gSteps}), cat(appendName(nil, "count"), []byte{3, gCount}))...),
		sec(secElement, 1, 0, opI32Const, 0, opEnd, 4, 0, 1, 2, 3),
		sec(secCode, vec(bodies...)...),
		sec(secData, vec(
			cat([]byte{0}, i32c(100), []byte{opEnd}, appendName(nil, "some data")),
			cat([]byte{0}, i32c(40), []byte{opEnd}, appendName(nil, "before it")),
			cat([]byte{0}, i32c(4000), []byte{opEnd}, appendName(nil, "far away")))...),
	)
}
