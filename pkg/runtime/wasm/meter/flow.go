package meter

import (
	"cmp"
	"slices"
)

// flow is the control flow of a function as an undirected graph of points, joined by
// edges with a cost each: stretches of code that run as a whole, and ways of branches
// on which code can be put. Not every edge has to be charged for the sum to be right at
// the end. On a tree of edges nothing is charged: what is owed at a point then follows
// from the way through the tree, and each edge that closes a circle is charged what sets
// that right (Knuth's way to count with few counters). The tree gets the edges that seem
// to run most often.
type flow struct {
	up    []int   // of each point: a point of the same tree, itself at the top
	owed  []int64 // more than at up
	edges []edge
	order []int // of edges, by weight
}

// edge leads from point to point and costs.
type edge struct {
	from, to int
	cost     int64
	freq     int64 // a guess how often it runs
	weight   int64 // how much it is worth not to charge here
	charge   int64 // found by settle
}

func (f *flow) point() int {
	f.up, f.owed = append(f.up, len(f.up)), append(f.owed, 0)
	return len(f.up) - 1
}

// top gives the top of a point's tree, and what is owed at the point more than there.
func (f *flow) top(p int) (int, int64) {
	t, sum := p, int64(0)
	for f.up[t] != t {
		sum += f.owed[t]
		t = f.up[t]
	}
	for owed := sum; f.up[p] != t && p != t; { // next time it is one step
		next, o := f.up[p], f.owed[p]
		f.up[p], f.owed[p] = t, owed
		p, owed = next, owed-o
	}
	return t, sum
}

// join makes two points of one tree: at b cost more is owed than at a. It does nothing
// where they are of one already.
func (f *flow) join(a, b int, cost int64) {
	ta, oa := f.top(a)
	tb, ob := f.top(b)
	if ta != tb {
		f.up[tb], f.owed[tb] = ta, oa+cost-ob
	}
}

// same says that two points are one, before any edge is joined: there is no code between
// them.
func (f *flow) same(a, b int) { f.join(a, b, 0) }

// add makes an edge and returns its index.
func (f *flow) add(e edge) int {
	f.edges = append(f.edges, e)
	return len(f.edges) - 1
}

// settle finds what is charged on each edge.
func (f *flow) settle() {
	for i := range f.edges {
		f.order = append(f.order, i)
	}
	slices.SortStableFunc(f.order, func(a, b int) int { return cmp.Compare(f.edges[b].weight, f.edges[a].weight) })
	for _, i := range f.order {
		e := &f.edges[i]
		f.join(e.from, e.to, e.cost)
	}
	for i := range f.edges {
		e := &f.edges[i]
		_, from := f.top(e.from)
		_, to := f.top(e.to)
		e.charge = from + e.cost - to
	}
}
