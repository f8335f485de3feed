package meter

import "slices"

// stretch is code that runs as a whole, and where its charge stands.
type stretch struct {
	off   int // the instruction before which it stands, in the body
	edge  int
	check bool // ask whether fuel is left
}

// side is a branch, or the end of an if without else, and its ways that can be charged.
type side struct {
	off  int // of the instruction
	ways []way
}

// way is an edge that begins at a branch with this label.
type way struct {
	label uint32
	edge  int
}

// construct is an open block, loop or if; the first is the function itself.
type construct struct {
	op       byte
	live     bool // it can be reached
	label    int  // point that branches lead to
	head     int  // if: the point before its arms
	values   int  // that a branch to it carries
	targeted bool // a branch leads to it
	hasAlt   bool
	loops    int   // around it
	freq     int64 // of its entry
}

// plan is what one function needs.
type plan struct {
	flow
	stretches []stretch
	sides     []side

	blocks  int   // blocks, loops, ifs and branches
	loops   int   // loops among them
	calls   bool  // it calls something, so it takes part in recursion
	loop    bool  // it has a loop
	local   bool  // fuel is kept in a local between calls
	size    bool  // it has instructions that cost by an operand
	table   bool  // it has a br_table with ways that are charged
	vec     bool  // it has instructions on vectors
	byIndex bool  // it speaks of data segments
	grows   bool  // it grows a table
	sync    int64 // how often it calls, by guess
	frame   int64 // what a call takes from the stack budget
}

// Costs in fuel beside 1 for every instruction. Blocks, loops, else and end are
// free: they are no work.
const (
	costCall         = 4
	costCallIndirect = 6
)

// Guesses of how often code runs.
const (
	freqEntry = 1 << 30
	freqLoop  = 8 // times what is around it
	freqMost  = 1 << 50
	maxWays   = 2000 // ways of a function that can be charged
)

// arity is how many values a branch to a construct of this type carries.
func (d *module) arity(op byte, block int64) int {
	switch {
	case block == -0x40:
		return 0
	case block < 0:
		if op == opLoop {
			return 0
		}
		return 1
	case op == opLoop:
		return len(d.types[block].params)
	}
	return len(d.types[block].results)
}

func cost(in instr) int64 {
	switch in.op {
	case opBlock, opLoop, opElse, opEnd:
		return 0
	case opCall:
		return costCall
	case opCallIndirect:
		return costCallIndirect
	}
	return 1
}

// plan walks the body of function i once and checks its structure. It writes over p, whose
// memory it uses.
func (d *module) plan(i int, p *plan) *Error {
	c := &d.codes[i]
	t := d.types[d.funcs[i]]
	r := &reader{b: c.body, base: c.bodyAt}
	*p = plan{flow: flow{p.up[:0], p.owed[:0], p.edges[:0], p.order[:0]}, stretches: p.stretches[:0], sides: p.sides[:0]}
	entry := p.point()
	open := []construct{{op: opBlock, live: true, label: entry, values: len(t.results), freq: freqEntry}}
	locals := uint32(len(t.params) + c.nLocal)
	cur, freq, loops, ways := -1, int64(freqEntry), 0, 0
	start := func(at, off int) {
		cur = p.add(edge{from: at, to: p.point(), freq: freq, weight: freq})
		p.stretches = append(p.stretches, stretch{off: off, edge: cur})
	}
	out := func() int { return p.edges[cur].to }
	check := func() { // at the stretch that has just begun
		p.stretches[len(p.stretches)-1].check = true
		p.edges[cur].weight = 0
	}
	leave := func() { // the stretch leaves the function or loops
		p.edges[cur].weight = min(p.edges[cur].weight, freq/16)
	}
	start(entry, 0)
	entryCheck := true
	for r.ok() && len(open) > 0 {
		in := d.next(r)
		if !r.ok() {
			break
		}
		top := &open[len(open)-1]
		switch in.op {
		case opLocalGet, opLocalSet, opLocalTee:
			if in.index >= locals {
				r.failAt(in.off, "function %d: local %d of %d", len(d.imports)+i, in.index, locals)
			}
		}
		if in.index > uint32(len(open)-1) && (in.op == opBr || in.op == opBrIf) ||
			in.op == opBrTable && in.deep > uint32(len(open)-1) {
			r.failAt(in.off, "function %d: branch out of the function", len(d.imports)+i)
			break
		}
		if cur >= 0 {
			p.edges[cur].cost += cost(in)
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
		if p.loops > d.bounds.loops || p.blocks > d.bounds.blocks {
			r.failAt(in.off, "function %d: more than %d loops or %d blocks and branches%s", len(d.imports)+i, d.bounds.loops, d.bounds.blocks, d.bounds.more)
			break
		}
		target := func(label uint32) *construct { return &open[len(open)-1-int(label)] }
		inside := func(c *construct) int { // loops around its label
			if c.op == opLoop {
				return c.loops + 1
			}
			return c.loops
		}
		switch in.op {
		case opCall, opCallIndirect:
			p.calls = true
			p.sync = min(p.sync+freq, freqMost)
		case opMemoryGrow:
			p.size = true
		case opVec:
			p.vec = true
		case opMisc:
			p.size = p.size || sized(in)
			p.grows = p.grows || in.sub == miscTableGrow
			p.byIndex = p.byIndex || in.sub == miscMemoryInit || in.sub == miscDataDrop
		case opBlock, opLoop, opIf:
			k := construct{op: in.op, live: cur >= 0, values: d.arity(in.op, in.block), loops: loops, freq: freq}
			if in.op == opLoop {
				loops++
			}
			if cur >= 0 {
				k.label = p.point()
				switch in.op {
				case opLoop:
					p.loop = true
					p.same(out(), k.label)
					if !p.calls && len(p.stretches) == 1 {
						entryCheck = false // whoever calls comes by here
					}
					freq = min(freq*freqLoop, freqMost)
					start(k.label, in.end)
					check()
				case opIf:
					k.head = out()
					freq /= 2
					start(k.head, in.end)
				}
			}
			open = append(open, k)
		case opElse:
			if top.op != opIf || top.hasAlt {
				r.failAt(in.off, "function %d: else without if", len(d.imports)+i)
				break
			}
			top.hasAlt = true
			if cur >= 0 {
				p.same(out(), top.label)
				top.targeted = true
			}
			cur = -1
			if top.live {
				freq = top.freq / 2
				start(top.head, in.end)
			}
		case opEnd:
			done := *top
			open = open[:len(open)-1]
			loops = done.loops
			if !done.live {
				break
			}
			if done.op == opLoop || !done.targeted && done.op == opBlock {
				freq = done.freq
				if len(open) == 0 && cur >= 0 {
					p.same(out(), entry)
				}
				break
			}
			if cur >= 0 {
				p.same(out(), done.label)
			}
			if done.op == opIf && !done.hasAlt {
				if ways < maxWays {
					ways++
					e := p.add(edge{from: done.head, to: done.label, freq: done.freq / 2, weight: done.freq / 2})
					p.sides = append(p.sides, side{in.off, []way{{0, e}}})
				} else {
					p.same(done.head, done.label)
				}
				done.targeted = true
			}
			if len(open) > 0 && (cur >= 0 || done.targeted) {
				freq = done.freq
				start(done.label, in.end)
			}
		case opBr:
			if cur >= 0 {
				to := target(in.index)
				to.targeted = true
				p.same(out(), to.label)
				if inside(to) < loops {
					leave()
				}
				cur = -1
			}
		case opBrIf:
			if cur >= 0 {
				to := target(in.index)
				to.targeted = true
				at := out()
				leaves := inside(to) < loops
				s := side{off: in.off}
				if leaves && to.values == 0 && ways < maxWays {
					ways++
					s.ways = []way{{in.index, p.add(edge{from: at, to: to.label, freq: freq / freqLoop, weight: freq / freqLoop})}}
				} else {
					p.same(at, to.label)
				}
				if to.values == 0 {
					p.sides = append(p.sides, s)
				}
				if to.op == opLoop {
					freq = max(freq/freqLoop, 1)
				} else if !leaves {
					freq /= 2
				}
				start(at, in.end)
			}
		case opBrTable:
			if cur >= 0 {
				labels := labels(c.body[in.off:in.end])
				first := labels[0]
				slices.Sort(labels)
				labels = slices.Compact(labels)
				s := side{off: in.off}
				for _, l := range labels {
					to := target(l)
					to.targeted = true
					if to.values > 0 || ways >= maxWays {
						p.same(out(), to.label)
						continue
					}
					ways++
					f := freq / 4 / int64(len(labels))
					if l == first {
						f = freq / 4 * 3
					}
					s.ways = append(s.ways, way{l, p.add(edge{from: out(), to: to.label, freq: f, weight: f})})
				}
				p.sides = append(p.sides, s)
				cur = -1
			}
		case opReturn:
			if cur >= 0 {
				p.same(out(), entry)
				leave()
				cur = -1
			}
		case opUnreachable:
			cur = -1
		}
	}
	if r.ok() && r.left() != 0 {
		r.fail("function %d: code behind its end", len(d.imports)+i)
	}
	if r.err != nil {
		return r.err
	}
	if p.calls && entryCheck {
		p.stretches[0].check = true
		p.edges[p.stretches[0].edge].weight = 0
	}
	p.settle()
	var all int64
	for _, e := range p.edges {
		if e.charge != 0 {
			all = min(all+e.freq, freqMost)
		}
	}
	for _, s := range p.sides {
		for _, v := range s.ways {
			if p.edges[v.edge].charge != 0 {
				p.blocks++
				p.table = p.table || c.body[s.off] == opBrTable
			}
		}
	}
	// A charge on the global is a load, a subtraction and a store; on a local it
	// is the subtraction, but calls want the global.
	p.local = p.loop && all+2*(p.sync+freqEntry) < 3*all
	// A frame has room for every value that has to outlive a call. Code that makes
	// such a value has some bytes.
	p.frame = 128 + 8*int64(len(t.params)+c.nLocal+c.v128) + int64(len(c.body))
	if p.vec {
		p.frame += int64(len(c.body))
	}
	return nil
}

// labels are those of a br_table.
func labels(raw []byte) []uint32 {
	r := &reader{b: raw, off: 1}
	var l []uint32
	for range r.u32() + 1 {
		l = append(l, r.u32())
	}
	return l
}

// sized reports whether an 0xfc instruction costs by its top operand.
func sized(in instr) bool {
	switch in.sub {
	case miscMemoryInit, miscMemoryCopy, miscMemoryFill,
		miscTableInit, miscTableCopy, miscTableGrow, miscTableFill:
		return true
	}
	return false
}
