package meter

import "slices"

// writer emits one function.
type writer struct {
	*module
	*plan
	b           []byte
	fuel, stack uint32 // globals
	refill      uint32 // function
	lFuel, lTmp uint32 // locals
	lIndex      uint32
}

// function appends the metered body of function i.
func (o *output) function(b []byte, i int) ([]byte, *Error) {
	p := &o.scratch
	if err := o.plan(i, p); err != nil {
		return nil, err
	}
	o.byIndex = o.byIndex || p.byIndex
	o.grows = o.grows || p.grows
	if o.work += int64(p.blocks)*int64(p.blocks) + 25*int64(p.loops)*int64(p.loops); o.work > o.bounds.work {
		return nil, &Error{o.codes[i].bodyAt, "the module has so many blocks in large functions that compiling it would take minutes" + o.bounds.more}
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
	if p.size || p.table {
		w.lIndex = add(tI32)
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
		w.op(opGlobalSet, w.stack)
		w.op(opGlobalGet, w.stack)
		w.i32(0)
		w.b = append(w.b, 0x4e, opIf, 0x40, opElse) // i32.ge_s
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
		w.op(opGlobalGet, w.stack)
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

// charge subtracts cost from the fuel and asks for more below zero.
func (w *writer) charge(check bool, cost int64) {
	if cost == 0 && !check {
		return
	}
	w.fuelGet()
	if cost != 0 {
		w.i64(cost)
		w.b = append(w.b, opI64Sub)
	}
	w.charged(check, cost != 0)
}

// charged keeps the fuel that is on the stack, and asks for more below zero.
func (w *writer) charged(check, keep bool) {
	if !check {
		w.fuelSet()
		return
	}
	if keep {
		w.op(opLocalTee, w.lTmp)
		w.fuelSet()
		w.op(opLocalGet, w.lTmp)
	}
	w.elseBelow()
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

// elseBelow begins what is done where the i64 on the stack is below zero. The other arm
// comes first, empty though it is: where the two meet, values are in the registers where
// the first has them, and this one calls.
func (w *writer) elseBelow() {
	w.i64(0)
	w.b = append(w.b, 0x59, opIf, 0x40, opElse) // i64.ge_s
}

// less puts the fuel less cost on the stack, and into lTmp.
func (w *writer) less(cost int64) {
	w.fuelGet()
	w.i64(cost)
	w.b = append(w.b, opI64Sub)
	w.op(opLocalTee, w.lTmp)
}

// refuel stands in the loop around a loop: where the fuel does not reach for the charge,
// it asks for more.
func (w *writer) refuel(cost int64) {
	w.less(cost)
	w.elseBelow()
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

// chargeLoop charges at the head of a loop, or goes to the loop around it, with the
// values that a loop may have.
func (w *writer) chargeLoop(cost int64, values bool) {
	w.less(cost)
	if values {
		w.i64(0)
		w.b = append(w.b, opI64LtS)
		w.op(opBrIf, 1)
	} else {
		w.elseBelow()
		w.op(opBr, 2)
		w.b = append(w.b, opEnd)
	}
	w.op(opLocalGet, w.lTmp)
	w.fuelSet()
}

// body copies the instructions, without the last end, and puts the charges
// between them. The plan has checked them all.
//
// A loop gets a loop around it, in which more fuel is asked for: so that the way round
// the loop itself has no call, which would cost it its registers.
//
// A br_if becomes an if with a br. It means the same, and the engine's compiler makes a
// comparison and a jump of it, where of a br_if to a place with several ways in it makes
// the comparison, its value, a test of the value and two jumps.
func (w *writer) body(c *code) {
	r := &reader{b: c.body}
	stretches, sides := w.stretches, w.sides
	outer := []int{0} // for each open construct, how many loops were added around it and its parents
	wrap := w.calls || w.local
	label := func(n uint32) uint32 {
		top := len(outer) - 1
		return n + uint32(outer[top]-outer[top-int(n)])
	}
	for r.left() > 0 {
		for len(stretches) > 0 && stretches[0].off == r.off {
			w.charge(stretches[0].check, w.edges[stretches[0].edge].charge)
			stretches = stretches[1:]
		}
		in := w.next(r)
		raw := c.body[in.off:in.end]
		var ways []way
		beside := len(sides) > 0 && sides[0].off == in.off
		if beside {
			ways, sides = sides[0].ways, sides[1:]
		}
		switch in.op {
		case opLoop:
			n := outer[len(outer)-1]
			w.b = append(w.b, raw...)
			if len(stretches) > 0 && stretches[0].off == in.end {
				cost := w.edges[stretches[0].edge].charge
				stretches = stretches[1:]
				w.refuel(cost)
				w.b = append(w.b, raw...)
				w.chargeLoop(cost, w.arity(opLoop, in.block) > 0)
				n++
			}
			outer = append(outer, n)
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
			if len(ways) > 0 && w.edges[ways[0].edge].charge != 0 {
				w.b = append(w.b, opElse)
				w.charge(false, w.edges[ways[0].edge].charge)
			}
		case opBr:
			w.op(opBr, label(in.index))
			continue
		case opBrIf:
			if beside {
				w.b = append(w.b, opIf, 0x40)
				for _, v := range ways {
					w.charge(false, w.edges[v.edge].charge)
				}
				w.op(opBr, label(in.index)+1)
				w.b = append(w.b, opEnd)
				continue
			}
			w.op(opBrIf, label(in.index))
			continue
		case opBrTable:
			w.brTable(labels(raw), ways, label)
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

// brTable writes a br_table. Labels whose way is charged get a block around the
// instruction, behind whose end the charge and the branch are.
func (w *writer) brTable(to []uint32, ways []way, label func(uint32) uint32) {
	var charged []way
	for _, v := range ways {
		if w.edges[v.edge].charge != 0 {
			charged = append(charged, v)
		}
	}
	n := uint32(len(charged))
	if n > 0 { // the index, around the blocks
		w.op(opLocalSet, w.lIndex)
		for range n {
			w.b = append(w.b, opBlock, 0x40)
		}
		w.op(opLocalGet, w.lIndex)
	}
	w.op(opBrTable, uint32(len(to)-1))
	for _, l := range to {
		k := slices.IndexFunc(charged, func(v way) bool { return v.label == l })
		if k >= 0 {
			w.b = appendU32(w.b, uint32(k))
		} else {
			w.b = appendU32(w.b, label(l)+n)
		}
	}
	for k, v := range charged {
		w.b = append(w.b, opEnd)
		w.charge(false, w.edges[v.edge].charge)
		w.op(opBr, label(v.label)+n-1-uint32(k))
	}
}

// sized charges for the count on top of the operand stack: eight bytes of memory
// or one element of a table are one unit.
func (w *writer) sized(shift byte, by int64) {
	w.op(opLocalTee, w.lIndex)
	w.fuelGet()
	w.op(opLocalGet, w.lIndex)
	w.b = append(w.b, opI64ExtendU)
	if by > 0 {
		w.i64(by)
		w.b = append(w.b, shift)
	}
	w.b = append(w.b, opI64Sub)
	w.charged(true, true)
}
