package edp

import (
	"errors"
	"fmt"
	"testing"
)

// TestFifo compares the two sides' views of one queue at every state.
func TestFifo(t *testing.T) {
	a := newTestArena(t, 1<<20)
	const length, elem = 4, 24
	fresh := func() (*fifo, *encQueue) {
		addr, _ := a.alloc(fifoSize(length, elem), 16, 0)
		b, err := a.bytes(addr, fifoSize(length, elem))
		if err != nil {
			t.Fatal(err)
		}
		clear(b)
		f := newFifo("test", b, length, elem)
		d := f.descriptor(addr)
		return f, &encQueue{le.Uint64(d[:]), le.Uint64(d[8:]), le.Uint64(d[16:]), elem}
	}
	for used := 0; used <= length; used++ {
		for turn := range 3 * length {
			t.Run(fmt.Sprintf("%d used, turn %d", used, turn), func(t *testing.T) {
				// From the enclave.
				f, q := fresh()
				p := make([]byte, elem-8)
				take := func(id uint64, wantWake bool) {
					t.Helper()
					got, ok, _, wake, err := f.pop(p)
					if err != nil || !ok || got != id || le.Uint64(p) != id+1 || le.Uint64(p[8:]) != id+2 || wake != wantWake {
						t.Errorf("pop: %d %v %v %v, %x; want %d, wake %v", got, ok, wake, err, p, id, wantWake)
					}
				}
				for i := range uint64(turn) {
					q.push(i+1, i+2, i+3)
					take(i+1, false)
				}
				for i := range uint64(used) {
					if !q.push(i+1, i+2, i+3) {
						t.Fatal("full too early")
					}
				}
				if used == length && q.push(9, 9, 9) {
					t.Error("not full")
				}
				for i := range uint64(used) {
					take(i+1, used == length && i == 0)
				}
				if _, ok, claimed, _, err := f.pop(p); ok || claimed || err != nil {
					t.Error("not empty")
				}

				// To the enclave.
				f, q = fresh()
				put := func(id uint64, wantWake bool) {
					t.Helper()
					le.PutUint64(p, id+1)
					le.PutUint64(p[8:], id+2)
					ok, wake, err := f.push(id, p)
					if !ok || wake != wantWake || err != nil {
						t.Errorf("push: %v %v %v", ok, wake, err)
					}
				}
				for i := range uint64(turn) {
					put(i+1, true)
					if w := q.pop(); w == nil || w[0] != i+1 || w[1] != i+2 || w[2] != i+3 {
						t.Errorf("the enclave got %v", w)
					}
				}
				for i := range uint64(used) {
					put(i+1, i == 0)
				}
				if used == length {
					if ok, _, err := f.push(9, p); ok || err != nil {
						t.Error("not full")
					}
				}
				for i := range uint64(used) {
					if w := q.pop(); w == nil || w[0] != i+1 || w[2] != i+3 {
						t.Errorf("the enclave got %v", w)
					}
				}
				if q.pop() != nil {
					t.Error("not empty")
				}
			})
		}
	}
}

// FuzzFifo lets the enclave write anything to a queue: the host never panics,
// and moves its own offset only past elements that are there.
func FuzzFifo(f *testing.F) {
	f.Add(uint64(1)<<32, uint64(7), true)
	f.Add(uint64(1), uint64(0), false)
	f.Add(^uint64(0), uint64(1), true)
	f.Fuzz(func(t *testing.T, offsets, id uint64, reader bool) {
		mem := make([]uint64, (4*24+8)/8)
		b := bytesOf(mem)
		q := newFifo("test", b, 4, 24)
		for i := 0; i < len(mem)-1; i += 3 {
			mem[i] = id
		}
		mem[len(mem)-1] = offsets
		var p [16]byte
		for range 10 {
			pos := q.pos
			var ok bool
			var err error
			if reader {
				_, ok, _, _, err = q.pop(p[:])
			} else {
				ok, _, err = q.push(1, p[:])
			}
			var qe *QueueError
			if err != nil && !errors.As(err, &qe) {
				t.Fatal(err)
			}
			if ok != (q.pos != pos) {
				t.Fatalf("ok is %v, the offset went from %d to %d", ok, pos, q.pos)
			}
		}
	})
}
