package channel

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// The doorbell protocol as two small programs over the four shared words and one
// token for each side's parker, on a machine with store buffers (x86-TSO): a plain
// store goes to the process's own buffer and reaches memory at some later moment. A
// store with a fence, and a swap, wait until the buffer is empty and write memory.
// All interleavings are walked through. It is a lost wake-up when nobody can take
// a step and somebody has not finished.

const (
	wHead = iota
	wTail
	wParked // consumer parked
	wWaits  // producer waits
	words
)

type store struct{ word, value int8 }

// state is a state of the model. It is comparable.
type state struct {
	mem    [words]int8
	buf    [2][2]store // store buffers, oldest first; no program has more than two under way
	bufLen [2]int8
	pc     [2]int8
	seen   [2]int8 // the peer's cursor as this side last saw it
	own    [2]int8 // own cursor
	token  [2]bool // the bell has rung for this side
	reg    [2]int8
}

// fences says which of the four stores are full fences.
type fences struct{ publish, park, release, wait bool }

const (
	producer, consumer = 0, 1

	frames   = 4 // to be sent
	capacity = 2 // frames that fit
)

// read gives what a process sees: its own youngest buffered store, or memory.
func (s *state) read(who, word int) int8 {
	for i := s.bufLen[who] - 1; i >= 0; i-- {
		if s.buf[who][i].word == int8(word) {
			return s.buf[who][i].value
		}
	}
	return s.mem[word]
}

// put stores; false if it has to wait for the buffer.
func (s *state) put(who, word int, v int8, fence bool) bool {
	if fence {
		if s.bufLen[who] > 0 {
			return false
		}
		s.mem[word] = v
		return true
	}
	if int(s.bufLen[who]) == len(s.buf[who]) {
		return false
	}
	s.buf[who][s.bufLen[who]] = store{int8(word), v}
	s.bufLen[who]++
	return true
}

// drain moves the oldest buffered store to memory.
func (s *state) drain(who int) bool {
	if s.bufLen[who] == 0 {
		return false
	}
	s.mem[s.buf[who][0].word] = s.buf[who][0].value
	s.buf[who] = [2]store{s.buf[who][1]}
	s.bufLen[who]--
	return true
}

const finished = 100

// step takes the next step of a process; false if it cannot.
//
// Both sides run the same program: wait until one's own cursor may move, move it,
// look at the peer's flag. For the producer "may move" is that there is room, for
// the consumer that there is a frame.
func (s *state) step(who int, f fences) bool {
	peer := 1 - who
	ownWord, peerWord, ownFlag, peerFlag := wHead, wTail, wWaits, wParked
	moveFence, flagFence := f.publish, f.wait
	mayMove := func() bool { return s.own[who]-s.seen[who] < capacity }
	if who == consumer {
		ownWord, peerWord, ownFlag, peerFlag = wTail, wHead, wParked, wWaits
		moveFence, flagFence = f.release, f.park
		mayMove = func() bool { return s.own[who] < s.seen[who] }
	}
	next := func(pc int8) bool { s.pc[who] = pc; return true }
	switch s.pc[who] {
	case 0: // Reserve, Next: the cached cursor may do
		if s.own[who] == frames {
			return next(finished)
		}
		if mayMove() {
			return next(10)
		}
		return next(1)
	case 1: // refresh
		s.seen[who] = s.read(who, peerWord)
		if mayMove() {
			return next(10)
		}
		return next(2)
	case 2: // PrepareWait, PreparePark: swap32(flag, 1)
		return s.put(who, ownFlag, 1, flagFence) && next(3)
	case 3: // ... and look again
		s.seen[who] = s.read(who, peerWord)
		if mayMove() {
			return next(5)
		}
		return next(4)
	case 4: // Park
		if !s.token[who] {
			return false
		}
		s.token[who] = false
		return next(5)
	case 5: // CancelWait, CancelPark: swap32(flag, 0)
		return s.put(who, ownFlag, 0, true) && next(0)
	case 10: // Publish, Release: store64(cursor)
		if !s.put(who, ownWord, s.own[who]+1, moveFence) {
			return false
		}
		s.own[who]++
		return next(11)
	case 11: // ... and look at the flag
		if s.read(who, peerFlag) == 0 {
			return next(0)
		}
		return next(12)
	case 12: // swap32(flag, 0)
		if s.bufLen[who] > 0 {
			return false
		}
		s.reg[who] = s.mem[peerFlag]
		s.mem[peerFlag] = 0
		return next(13)
	case 13: // Ring
		if s.reg[who] != 0 {
			s.token[peer] = true
		}
		s.reg[who] = 0
		return next(0)
	}
	return false
}

// explore walks through all states and counts those in which somebody sleeps for ever.
func explore(f fences) (states, stuck int) {
	seen := map[state]bool{{}: true}
	todo := []state{{}}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		moved := false
		try := func(t state, ok bool) {
			if !ok {
				return
			}
			moved = true
			if !seen[t] {
				seen[t] = true
				todo = append(todo, t)
			}
		}
		for who := range 2 {
			t := s
			try(t, t.step(who, f))
			t = s
			try(t, t.drain(who))
		}
		if !moved && (s.pc[0] != finished || s.pc[1] != finished) {
			stuck++
		}
	}
	return len(seen), stuck
}

func TestNoLostWakeUp(t *testing.T) {
	all := fences{true, true, true, true}
	states, stuck := explore(all)
	if stuck != 0 {
		t.Errorf("%d of %d states are stuck", stuck, states)
	}
	if states < 1000 {
		t.Errorf("only %d states: the model does not do much", states)
	}
	t.Logf("%d states", states)
	// Each of the four fences is needed: the model can find what it is to find.
	for name, f := range map[string]fences{
		"Publish":     {false, true, true, true},
		"PreparePark": {true, false, true, true},
		"Release":     {true, true, false, true},
		"PrepareWait": {true, true, true, false},
	} {
		if _, stuck := explore(f); stuck == 0 {
			t.Errorf("without the fence of %s nothing is lost: the model is too weak", name)
		}
	}
}

// The model is a model of the code: what each function does to shared words, in
// order, as the source has it.
func TestModelIsTheCode(t *testing.T) {
	want := map[string][]string{
		"Producer.Publish":     {"store64 offHead", "load32 offConsumerParked", "swap32 offConsumerParked 0"},
		"Consumer.Release":     {"store64 offTail", "load32 offProducerWaits", "swap32 offProducerWaits 0"},
		"Producer.PrepareWait": {"swap32 offProducerWaits 1", "Reserve", "CancelWait"},
		"Consumer.PreparePark": {"swap32 offConsumerParked 1", "Next", "CancelPark"},
		"Producer.CancelWait":  {"swap32 offProducerWaits 0"},
		"Consumer.CancelPark":  {"swap32 offConsumerParked 0"},
		"Producer.refresh":     {"load64 offTail"},
		"Consumer.refresh":     {"load64 offHead"},
		"Producer.Reserve":     {"refresh"},
		"Consumer.Next":        {"refresh"},
		"store64":              {"atomic.StoreUint64"},
		"swap32":               {"atomic.SwapUint32"},
		"load64":               {"atomic.LoadUint64"},
		"load32":               {"atomic.LoadUint32"},
	}
	steps := []string{"store64", "load64", "load32", "swap32", "refresh", "Reserve", "Next", "CancelWait", "CancelPark"}
	got := map[string][]string{}
	fset := token.NewFileSet()
	text := func(n ast.Node) string {
		var b strings.Builder
		printer.Fprint(&b, fset, n)
		return b.String()
	}
	for _, file := range []string{"producer.go", "consumer.go", "ring_unsafe.go"} {
		f, err := parser.ParseFile(fset, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			name := fn.Name.Name
			if fn.Recv != nil {
				name = strings.TrimPrefix(text(fn.Recv.List[0].Type), "*") + "." + name
			}
			ast.Inspect(fn.Body, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				callee := text(call.Fun)
				if strings.HasPrefix(callee, "atomic.") {
					got[name] = append(got[name], callee)
					return true
				}
				callee = callee[strings.LastIndexByte(callee, '.')+1:]
				if !slices.Contains(steps, callee) {
					return true
				}
				step := callee
				if strings.HasSuffix(callee, "64") || strings.HasSuffix(callee, "32") {
					where := text(call.Args[0])
					step += " " + where[strings.IndexByte(where, '+')+1:]
				}
				if callee == "swap32" {
					step += " " + text(call.Args[1])
				}
				got[name] = append(got[name], strings.ReplaceAll(step, "  ", " "))
				return true
			})
		}
	}
	for name, steps := range want {
		if g := fmt.Sprint(got[name]); strings.ReplaceAll(g, "+ ", "") != fmt.Sprint(steps) {
			t.Errorf("%s does %v, the model has it do %v", name, got[name], steps)
		}
	}
}
