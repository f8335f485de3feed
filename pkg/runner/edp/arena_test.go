package edp

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

func newTestArena(t testing.TB, limit uint64) *arena {
	t.Helper()
	a, err := newArena(limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.close)
	return a
}

// TestArenaModel allocates and frees at random, and compares with a plain map:
// blocks are aligned, apart from each other, keep their contents, and exactly
// they are accessible.
func TestArenaModel(t *testing.T) {
	const limit = 16 << 20
	a := newTestArena(t, limit)
	rng := rand.New(rand.NewPCG(1, 2))
	type block struct {
		addr, size uint64
		fill       byte
	}
	var live []block
	fill := func(b block) {
		p, err := a.bytes(b.addr, b.size)
		if err != nil {
			t.Fatal(err)
		}
		for i := range p {
			p[i] = b.fill
		}
	}
	check := func(b block) {
		p, err := a.bytes(b.addr, b.size)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range p {
			if c != b.fill {
				t.Fatalf("byte %d of the %d at %#x is %d, want %d", i, b.size, b.addr, c, b.fill)
			}
		}
		if _, err := a.bytes(b.addr, b.size+1); err == nil {
			t.Fatalf("a byte beyond the %d at %#x is accessible", b.size, b.addr)
		}
		if _, err := a.bytes(b.addr+b.size, 1); err == nil {
			// It may be the next block's.
			for _, o := range live {
				if b.addr+b.size >= o.addr && b.addr+b.size < o.addr+o.size {
					return
				}
			}
			t.Fatalf("the byte behind the %d at %#x is nobody's and accessible", b.size, b.addr)
		}
	}
	full := 0
	for i := range 8000 {
		if rng.IntN(2) == 0 || len(live) == 0 {
			size := uint64(1) << rng.IntN(22)
			size += rng.Uint64N(size)
			align := uint64(1) << rng.IntN(18)
			addr, ok := a.alloc(size, align, 0)
			if !ok {
				full++
				continue
			}
			if addr%align != 0 {
				t.Fatalf("%#x is not aligned to %d", addr, align)
			}
			b := block{addr, size, byte(i)}
			for _, o := range live {
				if b.addr < o.addr+o.size && o.addr < b.addr+b.size {
					t.Fatalf("%#x..%#x overlaps %#x..%#x", b.addr, b.addr+b.size, o.addr, o.addr+o.size)
				}
			}
			live = append(live, b)
			fill(b)
			continue
		}
		k := rng.IntN(len(live))
		b := live[k]
		if i%16 == 0 {
			check(b)
		}
		if err := a.freeBlock(b.addr, b.size); err != nil {
			t.Fatal(err)
		}
		if err := a.freeBlock(b.addr, b.size); err == nil {
			t.Fatalf("%#x can be freed twice", b.addr)
		}
		if _, err := a.bytes(b.addr, 1); err == nil {
			t.Fatalf("%#x is accessible after it was freed", b.addr)
		}
		live[k] = live[len(live)-1]
		live = live[:len(live)-1]
	}
	if full == 0 {
		t.Error("the arena never was full: the test does not test that")
	}
	for _, b := range live {
		check(b)
		if err := a.freeBlock(b.addr, b.size); err != nil {
			t.Fatal(err)
		}
	}
	// Small spans stay with their class; the rest is whole again.
	spans := uint64(0)
	for _, r := range a.free {
		spans += r.n
	}
	for i := range a.classes {
		spans += uint64(len(a.classes[i].free)) << i >> spanShift
	}
	if spans != a.size>>spanShift {
		t.Errorf("%d of %d spans came back", spans, a.size>>spanShift)
	}
}

func TestArenaLimits(t *testing.T) {
	a := newTestArena(t, 16<<20)
	for _, tt := range []struct{ size, align uint64 }{
		{17 << 20, 1}, {1 << 62, 1}, {1<<63 - 1, 1}, {1, 1 << 40}, {1, 1 << 62}, {1 << 63, 1 << 63},
	} {
		if addr, ok := a.alloc(tt.size, tt.align, 0); ok {
			t.Errorf("alloc(%#x, %#x) gave %#x", tt.size, tt.align, addr)
		}
	}
	// All of it in one, twice.
	for range 2 {
		n := a.size
		addr, ok := a.alloc(n, 1, 0)
		if !ok {
			t.Fatalf("%d bytes of %d are not there", n, a.size)
		}
		b, err := a.bytes(addr, n)
		if err != nil {
			t.Fatal(err)
		}
		if b[0] != 0 || b[n-1] != 0 {
			t.Error("a large block has the bytes of the one before")
		}
		b[0], b[n-1] = 1, 1
		if _, ok := a.alloc(1, 1, 0); ok {
			t.Error("there is more memory than the limit")
		}
		if err := a.freeBlock(addr, n); err != nil {
			t.Fatal(err)
		}
	}
}

// TestArenaFaults has each way to free, or to point to, what one has not.
func TestArenaFaults(t *testing.T) {
	a := newTestArena(t, 16<<20)
	get := func(n uint64, owned uint32) uint64 {
		p, ok := a.alloc(n, 8, owned)
		if !ok {
			t.Fatal("no memory")
		}
		return p
	}
	small, large, host, gone := get(100, 0), get(100_000, 0), get(100, hostOwned), get(100, 0)
	if err := a.freeBlock(gone, 100); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		addr, size uint64
		want       string
	}{
		{0, 1, "not in user memory"},
		{a.lo - 1, 1, "not in user memory"},
		{a.lo + a.size, 1, "not in user memory"},
		{^uint64(0), 1, "not in user memory"},
		{a.lo + a.size - 1, 1, "not in a block"},
		{small, 99, "has 100 bytes, not 99"},
		{small, 101, "has 100 bytes, not 101"},
		{small, 1 << 63, "has 100 bytes"},
		{small + 1, 99, "not the start of a block: it is 1 bytes"},
		{large, 99_999, "has 100000 bytes, not 99999"},
		{large + 4096, 100_000 - 4096, "not the start of a block: it is 4096 bytes"},
		{host, 100, "belongs to the host"},
		{gone, 100, "freed before"},
	} {
		err := a.freeBlock(tt.addr, tt.size)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("free(%#x, %d): error is %v, want %q", tt.addr, tt.size, err, tt.want)
		}
	}
	for _, tt := range []struct {
		addr, size uint64
		want       string
	}{
		{0, 1, "not in user memory"},
		{a.lo - 1, 2, "not in user memory"},
		{^uint64(0), 2, "not in user memory"},
		{a.lo + a.size - 1, 1, "not in a block"},
		{small, 101, "past the end of the block of 100 bytes"},
		{small + 50, 51, "past the end"},
		{small, ^uint64(0), "past the end"},
		{small + 1, ^uint64(0), "past the end"},
		{large + 99_999, 2, "past the end"},
		{large + 100_001, 1, "past the end"},
		{gone, 1, "freed before"},
		{small + 110, 1, "past the end"},
	} {
		_, err := a.bytes(tt.addr, tt.size)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("bytes(%#x, %d): error is %v, want %q", tt.addr, tt.size, err, tt.want)
		}
	}
	for _, p := range []uint64{small, small + 99, large, large + 99_999, host} {
		if _, err := a.bytes(p, 1); err != nil {
			t.Error(err)
		}
	}
}

// TestArenaParallel lets goroutines free each other's blocks.
func TestArenaParallel(t *testing.T) {
	a := newTestArena(t, 64<<20)
	var wg sync.WaitGroup
	ch := make(chan [2]uint64, 64)
	for g := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			for range 3000 {
				size := 1 + rng.Uint64N(1<<(4+rng.IntN(14)))
				addr, ok := a.alloc(size, 16, 0)
				if !ok {
					continue
				}
				b, err := a.bytes(addr, size)
				if err != nil {
					t.Error(err)
					return
				}
				b[0], b[size-1] = 1, 1
				ch <- [2]uint64{addr, size}
				x := <-ch
				if err := a.freeBlock(x[0], x[1]); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestMemoryCalls is alloc and free with good and odd arguments.
func TestMemoryCalls(t *testing.T) {
	runMain(t, Options{MemoryLimit: 32 << 20}, func(f *fakeTCS) {
		for _, a := range [][2]uint64{
			{0, 1}, {0, 0}, {1, 0}, {1, 3}, {8, 12}, {1 << 63, 1}, {1<<63 - 1, 2}, {1<<63 - 8, 16}, {^uint64(0), 1}, {1, 1<<63 + 1}, {2, 1 << 63},
		} {
			f.wantResult(CallAlloc, ResultInvalidInput, a[0], a[1])
		}
		for _, a := range [][2]uint64{{1<<63 - 1, 1}, {33 << 20, 1}, {1, 1 << 62}, {1, 1 << 40}} {
			f.wantResult(CallAlloc, ResultOther, a[0], a[1])
		}
		for _, n := range []uint64{1, 15, 16, 17, 4096, 32768, 32769, 65536, 1 << 20} {
			for align := uint64(1); align <= 1<<17; align <<= 1 {
				r, p := f.call(CallAlloc, n, align)
				if r != 0 || p%align != 0 || p == 0 {
					t.Errorf("alloc(%d, %d) returned %#x, %#x", n, align, r, p)
				}
				f.want(CallFree, []uint64{p, n, 1}, 0, 0)
			}
		}
		f.want(CallFree, []uint64{0, 0, 1}, 0, 0)
		f.want(CallFree, []uint64{12345, 0, 4096}, 0, 0)
	})
	for _, tt := range []struct {
		name, want string
		main       func(f *fakeTCS)
	}{
		{"bad alignment", "alignment 3", func(f *fakeTCS) { f.call(CallFree, f.alloc(make([]byte, 8)), 8, 3) }},
		{"no alignment", "alignment 0", func(f *fakeTCS) { f.call(CallFree, f.alloc(make([]byte, 8)), 8, 0) }},
		{"bad alignment of nothing", "alignment 6", func(f *fakeTCS) { f.call(CallFree, 0, 0, 6) }},
		{"size of no layout", "no valid layout", func(f *fakeTCS) { f.call(CallFree, 8, 1<<63, 1) }},
		{"null", "0x0 is not in user memory", func(f *fakeTCS) { f.call(CallFree, 0, 1, 1) }},
		{"inside the enclave", "not in user memory", func(f *fakeTCS) { f.call(CallFree, f.addr(), 1, 1) }},
		{"twice", "freed before", func(f *fakeTCS) {
			p := f.alloc(make([]byte, 8))
			f.call(CallFree, p, 8, 8)
			f.call(CallFree, p, 8, 8)
		}},
		{"wrong size", "has 8 bytes, not 16", func(f *fakeTCS) { f.call(CallFree, f.alloc(make([]byte, 8)), 16, 8) }},
		{"the debug buffer", "belongs to the host", func(f *fakeTCS) { f.call(CallFree, f.debug, debugBufferSize, 1) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := failMain(t, Options{}, tt.main)
			wantText(t, err, "The enclave made a bad usercall free(")
			wantText(t, err, tt.want)
		})
	}
}

// TestPointers gives each usercall that takes a pointer one to each wrong
// place.
func TestPointers(t *testing.T) {
	places := []struct {
		name string
		addr func(f *fakeTCS) uint64
		want string
	}{
		{"low", func(*fakeTCS) uint64 { return 1 }, "not in user memory"},
		{"enclave", func(f *fakeTCS) uint64 { return f.addr() }, "inside the enclave"},
		{"top", func(*fakeTCS) uint64 { return ^uint64(0) - 3 }, "not in user memory"},
		{"freed", func(f *fakeTCS) uint64 {
			p := f.alloc(make([]byte, 64))
			f.call(CallFree, p, 64, 1)
			return p
		}, "freed before"},
		{"end", func(f *fakeTCS) uint64 { return f.alloc(make([]byte, 64)) + 63 }, "past the end of the block of 64 bytes"},
	}
	for _, tt := range []struct {
		name string
		call func(f *fakeTCS, p uint64)
	}{
		{"read", func(f *fakeTCS, p uint64) { f.call(CallRead, FdStdin, p, 64) }},
		{"read of no stream", func(f *fakeTCS, p uint64) { f.call(CallRead, 99, p, 64) }},
		{"read of much", func(f *fakeTCS, p uint64) { f.call(CallRead, FdStdin, p, 1<<62) }},
		{"write", func(f *fakeTCS, p uint64) { f.call(CallWrite, FdStdout, p, 64) }},
		{"write of all", func(f *fakeTCS, p uint64) { f.call(CallWrite, FdStdout, p, ^uint64(0)) }},
		{"read_alloc", func(f *fakeTCS, p uint64) { f.call(CallReadAlloc, FdStdin, p) }},
		{"bind_stream", func(f *fakeTCS, p uint64) { f.call(CallBindStream, p, 64) }},
		{"bind_stream local", func(f *fakeTCS, p uint64) { f.call(CallBindStream, 0, 0, p) }},
		{"accept_stream local", func(f *fakeTCS, p uint64) { f.call(CallAcceptStream, 0, p) }},
		{"accept_stream peer", func(f *fakeTCS, p uint64) { f.call(CallAcceptStream, 0, 0, p) }},
		{"connect_stream", func(f *fakeTCS, p uint64) { f.call(CallConnectStream, p, 64) }},
		{"connect_stream local", func(f *fakeTCS, p uint64) { f.call(CallConnectStream, 0, 0, p) }},
		{"connect_stream peer", func(f *fakeTCS, p uint64) { f.call(CallConnectStream, 0, 0, 0, p) }},
		{"async_queues", func(f *fakeTCS, p uint64) { f.call(CallAsyncQueues, p, f.alloc(make([]byte, 24)), 0) }},
		{"async_queues returns", func(f *fakeTCS, p uint64) { f.call(CallAsyncQueues, f.alloc(make([]byte, 24)), p, 0) }},
		{"async_queues cancels", func(f *fakeTCS, p uint64) {
			q := f.alloc(make([]byte, 480)) // of another size class than the freed one
			f.call(CallAsyncQueues, q, q+24, p)
		}},
	} {
		for _, where := range places {
			t.Run(fmt.Sprintf("%s/%s", tt.name, where.name), func(t *testing.T) {
				err := failMain(t, Options{}, func(f *fakeTCS) { tt.call(f, where.addr(f)) })
				name, _, _ := strings.Cut(tt.name, " ")
				wantText(t, err, "The enclave made a bad usercall "+name+"(")
				wantText(t, err, where.want)
			})
		}
	}
}

func BenchmarkArena(b *testing.B) {
	a := newTestArena(b, 64<<20)
	for b.Loop() {
		p, _ := a.alloc(64, 8, 0)
		if a.freeBlock(p, 64) != nil {
			b.Fatal("free")
		}
	}
}
