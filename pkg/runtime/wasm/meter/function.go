package meter

// point is a place where cost is charged: everything that surely runs once the
// point is passed, unless it traps.
type point struct {
	off   int // the instruction before which it stands, in the body
	cost  int64
	check bool // ask whether fuel is left
	loops int  // how deep in loops
}

// construct is an open block, loop or if; the first is the function itself.
type construct struct {
	op     byte
	point  int // that held at its entry; -1 in dead code
	loops  int // around it
	escape int // the outermost construct that a branch inside leads to
	hasAlt bool
}

// plan is what one function needs.
type plan struct {
	blocks int // blocks, loops, ifs and branches
	loops  int // loops among them

	points  []point
	calls   bool  // it calls something, so it takes part in recursion
	loop    bool  // it has a loop
	local   bool  // fuel is kept in a local between calls
	size    bool  // it has instructions that cost by an operand
	vec     bool  // it has instructions on vectors
	byIndex bool  // it speaks of data segments
	sync    int64 // weight of the calls, around which a local would be written back
	frame   int64 // what a call takes from the stack budget
}

// Costs in fuel beside 1 for every instruction. Blocks, loops, else and end are
// free: they are no work.
const (
	costCall         = 4
	costCallIndirect = 6
)

// plan walks the body of function i once and checks its structure.
func (d *module) plan(i int) (plan, *Error) {
	c := &d.codes[i]
	t := d.types[d.funcs[i]]
	r := &reader{b: c.body, base: c.bodyAt}
	p := plan{points: []point{{}}}
	open := []construct{{op: opBlock, escape: 0}}
	locals := uint32(len(t.params) + c.nLocal)
	cur := 0
	start := func(off, loops int, check bool) {
		p.points = append(p.points, point{off: off, loops: loops, check: check})
		cur = len(p.points) - 1
	}
	for r.ok() && len(open) > 0 {
		in := d.next(r)
		if !r.ok() {
			break
		}
		top := &open[len(open)-1]
		loops := top.loops
		if top.op == opLoop {
			loops++
		}
		cost := int64(1)
		jump := -1 // the construct that a branch leads to
		switch in.op {
		case opBlock, opLoop, opElse, opEnd:
			cost = 0
		case opCall:
			cost = costCall
		case opCallIndirect:
			cost = costCallIndirect
		case opLocalGet, opLocalSet, opLocalTee:
			if in.index >= locals {
				r.failAt(in.off, "function %d: local %d of %d", len(d.imports)+i, in.index, locals)
			}
		case opBr, opBrIf:
			jump = len(open) - 1 - int(in.index)
		case opBrTable:
			jump = len(open) - 1 - int(in.deep)
		case opReturn:
			jump = 0
		}
		if in.index > uint32(len(open)-1) && (in.op == opBr || in.op == opBrIf) ||
			in.op == opBrTable && in.deep > uint32(len(open)-1) {
			r.failAt(in.off, "function %d: branch out of the function", len(d.imports)+i)
			break
		}
		if cur >= 0 {
			p.points[cur].cost += cost
		}
		if jump >= 0 {
			top.escape = min(top.escape, jump)
		}
		switch in.op {
		case opLoop:
			p.loops++
			p.blocks++
		case opBlock, opIf, opBr, opBrIf:
			p.blocks++
		case opBrTable:
			p.blocks += in.end - in.off // at least its labels
		}
		if p.loops > maxLoops || p.blocks > maxBlocks {
			r.failAt(in.off, "function %d: more than %d loops or %d blocks and branches", len(d.imports)+i, maxLoops, maxBlocks)
			break
		}
		switch in.op {
		case opCall, opCallIndirect:
			p.calls = true
			p.sync += weight(loops)
		case opMemoryGrow:
			p.size = true
		case opVec:
			p.vec = true
		case opMisc:
			p.size = p.size || sized(in)
			p.byIndex = p.byIndex || in.sub == miscMemoryInit || in.sub == miscDataDrop
		case opBlock, opLoop, opIf:
			open = append(open, construct{op: in.op, point: cur, loops: loops, escape: len(open)})
			if cur < 0 {
				break
			}
			if in.op == opLoop {
				p.loop = true
				start(in.end, loops+1, true)
			} else if in.op == opIf {
				start(in.end, loops, false)
			}
		case opElse:
			if top.op != opIf || top.hasAlt {
				r.failAt(in.off, "function %d: else without if", len(d.imports)+i)
				break
			}
			top.hasAlt = true
			cur = -1
			if top.point >= 0 {
				start(in.end, loops, false)
			}
		case opEnd:
			done := *top
			level := len(open) - 1
			open = open[:level]
			if level == 0 {
				break
			}
			open[level-1].escape = min(open[level-1].escape, done.escape)
			switch cur = done.point; {
			case cur < 0:
			case done.escape < level:
				start(in.end, done.loops, false)
			}
		case opBr, opBrTable, opReturn, opUnreachable:
			cur = -1
		case opBrIf:
			if cur >= 0 {
				start(in.end, loops, false)
			}
		}
	}
	if r.ok() && r.left() != 0 {
		r.fail("function %d: code behind its end", len(d.imports)+i)
	}
	if r.err != nil {
		return p, r.err
	}
	p.points[0].check = p.calls
	var all int64
	for _, q := range p.points {
		all += weight(q.loops)
	}
	// A charge on the global is a load, a subtraction and a store; on a local it
	// is the subtraction, but calls want the global.
	p.local = p.loop && all+2*p.sync < 3*all
	// A frame has room for every value that has to outlive a call. Code that makes
	// such a value has some bytes.
	p.frame = 128 + 8*int64(len(t.params)+c.nLocal+c.v128) + int64(len(c.body))
	if p.vec {
		p.frame += int64(len(c.body))
	}
	return p, nil
}

// weight guesses how often code runs that lies in so many loops.
func weight(loops int) int64 { return 1 << min(3*loops, 30) }

// sized reports whether an 0xfc instruction costs by its top operand.
func sized(in instr) bool {
	switch in.sub {
	case miscMemoryInit, miscMemoryCopy, miscMemoryFill,
		miscTableInit, miscTableCopy, miscTableGrow, miscTableFill:
		return true
	}
	return false
}

// writer emits one function.
type writer struct {
	*module
	plan
	b              []byte
	fuel, stack    uint32 // globals
	refill         uint32 // function
	lFuel, lTmp    uint32 // locals
	lStack, lCount uint32
}

// function appends the metered body of function i.
func (o *output) function(b []byte, i int) ([]byte, *Error) {
	p, err := o.plan(i)
	if err != nil {
		return nil, err
	}
	o.byIndex = o.byIndex || p.byIndex
	if o.work += int64(p.blocks)*int64(p.blocks) + 25*int64(p.loops)*int64(p.loops); o.work > maxWork {
		return nil, &Error{o.codes[i].bodyAt, "the module has so many blocks in large functions that compiling it would take minutes"}
	}
	c := &o.codes[i]
	t := o.types[o.funcs[i]]
	w := &writer{module: o.module, plan: p, fuel: o.fuel, stack: o.stack, refill: uint32(len(o.imports))}
	next := uint32(len(t.params) + c.nLocal)
	groups := []byte{}
	add := func(kind byte) uint32 {
		groups = append(groups, 1, kind)
		next++
		return next - 1
	}
	w.lTmp = add(tI64)
	if p.local {
		w.lFuel = add(tI64)
	}
	if p.calls {
		w.lStack = add(tI32)
	}
	if p.size {
		w.lCount = add(tI32)
	}

	lr := &reader{b: c.locals}
	w.b = appendU32(w.b, lr.u32()+uint32(len(groups)/2))
	w.b = append(w.b, c.locals[lr.off:]...)
	w.b = append(w.b, groups...)
	wrap := p.calls || p.local
	if wrap {
		w.enter(o.blockType(t.results))
	}
	w.body(c)
	if wrap {
		w.leave()
	}
	w.b = append(w.b, opEnd)
	return append(appendU32(b, uint32(len(w.b))), w.b...), nil
}

func (w *writer) op(code byte, index uint32) { w.b = appendU32(append(w.b, code), index) }
func (w *writer) i64(v int64)                { w.b = appendS64(append(w.b, opI64Const), v) }
func (w *writer) i32(v int64)                { w.b = appendS64(append(w.b, opI32Const), v) }

// enter opens the wrapper block: whatever leaves the function leaves the block,
// behind which the stack budget is given back and fuel is written to its global.
func (w *writer) enter(blockType []byte) {
	if w.calls {
		w.op(opGlobalGet, w.stack)
		w.i32(w.frame)
		w.b = append(w.b, 0x6b) // i32.sub
		w.op(opLocalTee, w.lStack)
		w.op(opGlobalSet, w.stack)
		w.op(opLocalGet, w.lStack)
		w.i32(0)
		w.b = append(w.b, 0x48, opIf, 0x40) // i32.lt_s
		w.i32(reasonStack)
		w.op(opCall, w.refill)
		w.b = append(w.b, opUnreachable, opEnd)
	}
	if w.local {
		w.op(opGlobalGet, w.fuel)
		w.op(opLocalSet, w.lFuel)
	}
	w.b = append(append(w.b, opBlock), blockType...)
}

func (w *writer) leave() {
	w.b = append(w.b, opEnd)
	w.writeBack()
	if w.calls {
		w.op(opLocalGet, w.lStack)
		w.i32(w.frame)
		w.b = append(w.b, 0x6a) // i32.add
		w.op(opGlobalSet, w.stack)
	}
}

func (w *writer) writeBack() {
	if w.local {
		w.op(opLocalGet, w.lFuel)
		w.op(opGlobalSet, w.fuel)
	}
}

func (w *writer) readBack() {
	if w.local {
		w.op(opGlobalGet, w.fuel)
		w.op(opLocalSet, w.lFuel)
	}
}

// charge subtracts cost() from the fuel and asks for more below zero.
func (w *writer) charge(check bool, cost func()) {
	w.fuelGet()
	cost()
	w.b = append(w.b, opI64Sub)
	if !check {
		w.fuelSet()
		return
	}
	w.op(opLocalTee, w.lTmp)
	w.fuelSet()
	w.op(opLocalGet, w.lTmp)
	w.i64(0)
	w.b = append(w.b, opI64LtS, opIf, 0x40)
	w.writeBack()
	w.i32(reasonFuel)
	w.op(opCall, w.refill)
	w.readBack()
	w.b = append(w.b, opEnd)
}

// fuelGet and fuelSet move fuel between its place in this function and the stack.
func (w *writer) fuelGet() {
	if w.local {
		w.op(opLocalGet, w.lFuel)
	} else {
		w.op(opGlobalGet, w.fuel)
	}
}

func (w *writer) fuelSet() {
	if w.local {
		w.op(opLocalSet, w.lFuel)
	} else {
		w.op(opGlobalSet, w.fuel)
	}
}

// below computes the fuel behind a charge into lTmp and asks whether it is below zero.
func (w *writer) below(cost int64) {
	w.fuelGet()
	w.i64(cost)
	w.b = append(w.b, opI64Sub)
	w.op(opLocalTee, w.lTmp)
	w.i64(0)
	w.b = append(w.b, opI64LtS)
}

// refuel stands in the loop around a charged loop: where the fuel does not reach for
// the charge, it asks for more.
func (w *writer) refuel(cost int64) {
	w.below(cost)
	w.b = append(w.b, opIf, 0x40)
	w.op(opLocalGet, w.lTmp)
	w.op(opGlobalSet, w.fuel)
	w.i32(reasonFuel)
	w.op(opCall, w.refill)
	w.op(opGlobalGet, w.fuel)
	w.i64(cost)
	w.b = append(w.b, opI64Add)
	w.fuelSet()
	w.b = append(w.b, opEnd)
}

// chargeLoop charges at the head of a loop, or goes to the loop around it.
func (w *writer) chargeLoop(cost int64) {
	w.below(cost)
	w.op(opBrIf, 1)
	w.op(opLocalGet, w.lTmp)
	w.fuelSet()
}

// body copies the instructions, without the last end, and puts the charges
// between them. The plan has checked them all.
//
// A charged loop gets a loop around it, in which more fuel is asked for: so that
// the way round the loop itself has no call, which would cost it its registers.
func (w *writer) body(c *code) {
	r := &reader{b: c.body}
	points := w.points
	outer := []int{0} // for each open construct, how many loops were added around it and its parents
	wrap := w.calls || w.local
	label := func(n uint32) uint32 {
		top := len(outer) - 1
		return n + uint32(outer[top]-outer[top-int(n)])
	}
	for r.left() > 0 {
		for len(points) > 0 && points[0].off == r.off {
			if q := points[0]; q.cost > 0 {
				w.charge(q.check, func() { w.i64(q.cost) })
			}
			points = points[1:]
		}
		in := w.next(r)
		raw := c.body[in.off:in.end]
		switch in.op {
		case opLoop:
			n := outer[len(outer)-1]
			if len(points) > 0 && points[0].off == in.end && points[0].cost > 0 {
				q := points[0]
				points = points[1:]
				w.b = append(w.b, raw...)
				w.refuel(q.cost)
				w.b = append(w.b, raw...)
				w.chargeLoop(q.cost)
				outer = append(outer, n+1)
			} else {
				w.b = append(w.b, raw...)
				outer = append(outer, n)
			}
			continue
		case opBlock, opIf:
			outer = append(outer, outer[len(outer)-1])
		case opEnd:
			top := len(outer) - 1
			if top == 0 {
				return
			}
			if outer[top] != outer[top-1] {
				w.b = append(w.b, opEnd)
			}
			outer = outer[:top]
		case opBr, opBrIf:
			w.op(in.op, label(in.index))
			continue
		case opBrTable:
			t := &reader{b: raw, off: 1}
			n := t.u32()
			w.op(opBrTable, n)
			for range n + 1 {
				w.b = appendU32(w.b, label(t.u32()))
			}
			continue
		case opReturn:
			if wrap {
				w.op(opBr, label(uint32(len(outer)-1)))
				continue
			}
		case opCall:
			w.writeBack()
			w.op(opCall, w.renumber(in.index))
			w.readBack()
			continue
		case opRefFunc:
			w.op(opRefFunc, w.renumber(in.index))
			continue
		case opCallIndirect:
			w.writeBack()
			w.b = append(w.b, raw...)
			w.readBack()
			continue
		case opMemoryGrow:
			w.sized(opI64Shl, 13)
		case opMisc:
			switch in.sub {
			case miscMemoryInit, miscMemoryCopy, miscMemoryFill:
				w.sized(opI64ShrU, 3)
			case miscTableInit, miscTableCopy, miscTableGrow, miscTableFill:
				w.sized(opI64Shl, 0)
			}
		}
		w.b = append(w.b, raw...)
	}
}

// sized charges for the count on top of the operand stack: eight bytes of memory
// or one element of a table are one unit.
func (w *writer) sized(shift byte, by int64) {
	w.op(opLocalTee, w.lCount)
	w.charge(true, func() {
		w.op(opLocalGet, w.lCount)
		w.b = append(w.b, opI64ExtendU)
		if by > 0 {
			w.i64(by)
			w.b = append(w.b, shift)
		}
	})
}
