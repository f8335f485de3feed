package kernel

import (
	"math/rand/v2"
	"testing"
)

// A model of the address space: what each page should be.
type pageModel struct {
	taken, live bool
	value       byte // what the program has written to a live page
}

// TestMemoryModel does what programs do, at random, and compares with a model.
// The memory holds the host's garbage at first.
func TestMemoryModel(t *testing.T) {
	for seed := uint64(0); seed < 3; seed++ {
		e := newEnclave(t)
		for _, a := range [][2]uint64{{e.MetaLo, e.MetaHi}, {e.HeapLo, e.HeapEnd}, {e.CodeLo, e.CodeHi}} {
			b := span(a[0], a[1]-a[0])
			for i := 0; i < len(b); i += 512 {
				b[i] = 0xa5
			}
		}
		mem.init(e.Boot)
		r := rand.New(rand.NewPCG(seed, 1))
		model := map[uint64]*pageModel{}
		page := func(p uint64) *pageModel {
			if model[p] == nil {
				model[p] = new(pageModel)
			}
			return model[p]
		}
		first := mem.taken + 2*(mem.liveBits-mem.taken)
		check := func(p, n uint64) {
			t.Helper()
			for ; n > 0; n -= pageSize {
				if m := page(p); m.live {
					b := span(p, pageSize)
					if b[0] != m.value || b[4095] != m.value || b[512] != m.value || (m.value == 0 && !isZero(p)) {
						t.Fatalf("seed %d: page %#x has %#x %#x %#x, want %#x", seed, p, b[0], b[512], b[4095], m.value)
					}
				}
				p += pageSize
			}
		}
		write := func(p, n uint64, v byte) {
			for ; n > 0; n -= pageSize {
				if m := page(p); m.live {
					m.value = v
					b := span(p, pageSize)
					for i := range b {
						b[i] = v
					}
				}
				p += pageSize
			}
		}
		type mapping struct{ p, n uint64 }
		var maps []mapping
		for op := 0; op < 2000; op++ {
			n := pageSize * (1 + r.Uint64N(16))
			if r.IntN(80) == 0 {
				n = largeSize
			}
			prot := uint64(3)
			if r.IntN(3) == 0 {
				prot = 0
			}
			switch k := r.IntN(10); {
			case k < 4 || len(maps) == 0:
				if r.IntN(20) == 0 {
					prot = 7
				}
				p := mem.mmap(0, n, prot, mapAnonymous)
				if failed(p) {
					if p != errNoMem {
						t.Fatalf("mmap: %d", int64(p))
					}
					break
				}
				a := mem.areaOf(p, n)
				if a == nil || p < first || p%pageSize != 0 || (n >= largeSize && prot != 7 && p%arenaSize != 0) || (prot == 7 && a != &mem.code) {
					t.Fatalf("mmap of %#x: %#x", n, p)
				}
				for q := p; q < p+n; q += pageSize {
					m := page(q)
					if m.taken {
						t.Fatalf("seed %d: %#x given out twice", seed, q)
					}
					*m = pageModel{taken: true, live: prot != 0}
				}
				check(p, n)
				write(p, n, byte(1+r.IntN(255)))
				maps = append(maps, mapping{p, n})
			default:
				i := r.IntN(len(maps))
				m := maps[i]
				off := pageSize * r.Uint64N(m.n/pageSize)
				p, n := m.p+off, pageSize*(1+r.Uint64N((m.n-off)/pageSize))
				switch {
				case k < 6:
					if got := mem.munmap(m.p, m.n); got != 0 {
						t.Fatalf("munmap: %d", int64(got))
					}
					for q := m.p; q < m.p+m.n; q += pageSize {
						*page(q) = pageModel{}
					}
					maps[i] = maps[len(maps)-1]
					maps = maps[:len(maps)-1]
				case k == 6:
					if got := mem.mmap(p, n, prot, mapAnonymous|mapFixed); got != p && got != errNoMem {
						t.Fatalf("fixed mmap at %#x: %#x", p, got)
					} else if got == p {
						for q := p; q < p+n; q += pageSize {
							*page(q) = pageModel{taken: true, live: prot != 0}
						}
					}
				case k == 7:
					got := mem.mprotect(p, n, 3)
					if reach := mem.areaOf(p, n).end; (got == 0) != (p+n <= reach) {
						t.Fatalf("mprotect %#x+%#x: %d", p, n, int64(got))
					}
					for q := p; q < p+n && got == 0; q += pageSize {
						page(q).live = true
					}
				case k == 8:
					if got := mem.madvise(p, n, madvDontNeed); got != 0 {
						t.Fatalf("madvise: %d", int64(got))
					}
					for q := p; q < p+n; q += pageSize {
						page(q).value = 0
					}
				default:
					write(p, n, byte(1+r.IntN(255)))
				}
				check(p, n)
			}
		}
		live, used := uint64(0), uint64(0)
		for p, m := range model {
			check(p, pageSize)
			if m.live {
				live++
				if p >= e.HeapLo && p < e.HeapHi {
					used++
				}
			}
		}
		if live != mem.live || used != mem.used || mem.usedMax < used || used == 0 {
			t.Errorf("seed %d: %d pages live, %d of the heap, want %d and %d", seed, mem.live, mem.used, live, used)
		}
	}
}

func TestMemoryRefusals(t *testing.T) {
	e := newEnclave(t)
	mem.init(e.Boot)
	heap := mem.mmap(0, arenaSize, 0, mapAnonymous)
	if heap != e.HeapLo {
		t.Fatalf("first arena at %#x", heap)
	}
	for _, c := range []struct {
		what                 string
		addr, n, prot, flags uint64
		want                 uint64
	}{
		{"nothing", 0, 0, 3, mapAnonymous, errInval},
		{"everything", 0, ^uint64(0), 3, mapAnonymous, errNoMem},
		{"more than there are addresses for", 0, 1 << 40, 0, mapAnonymous, errNoMem},
		{"a file", 0, pageSize, 3, 0, errNoSys},
		{"hint outside", 0xc000000000, arenaSize, 0, mapAnonymous, errNoMem},
		{"hint that is taken", heap, arenaSize, 0, mapAnonymous, errNoMem},
		{"hint that is free", heap + arenaSize, arenaSize, 0, mapAnonymous, heap + arenaSize},
		{"fixed, unaligned", heap + 1, pageSize, 3, mapAnonymous | mapFixed, errInval},
		{"fixed over the kernel's bitmaps", e.MetaLo, pageSize, 3, mapAnonymous | mapFixed, errNoMem},
		{"fixed over threads", e.Blocks, pageSize, 3, mapAnonymous | mapFixed, errNoMem},
		{"fixed over an end", e.MetaHi - pageSize, 2 * pageSize, 3, mapAnonymous | mapFixed, errNoMem},
		{"pages that exist", heap, 32 << 20, 3, mapAnonymous | mapFixed, heap},
		{"pages that do not", heap + 32<<20, pageSize, 3, mapAnonymous | mapFixed, errNoMem},
		{"too much code", 0, 2 << 20, 7, mapAnonymous, errNoMem},
		{"no replace", heap, pageSize, 3, mapAnonymous | mapFixed | mapNoReplace, errExist},
	} {
		if got := mem.mmap(c.addr, c.n, c.prot, c.flags); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.what, got, c.want)
		}
	}
	if r := mem.munmap(e.MetaLo, pageSize); r != 0 || !mem.bit(mem.taken, e.MetaLo) {
		t.Errorf("the kernel's bitmaps were unmapped")
	}
	if r := mem.mprotect(e.Base, pageSize, 1); r != 0 {
		t.Errorf("mprotect of the program's text: %d", int64(r))
	}
	// What cannot be done is not answered as if it were.
	reserved := heap + arenaSize // by the hint above
	code := mem.mmap(0, pageSize, 7, mapAnonymous)
	for _, c := range []struct {
		what       string
		addr, prot uint64
		want       uint64
	}{
		{"nothing of pages in use", heap, 0, errAcces}, {"nothing of reserved pages", reserved, 0, 0}, {"execution of data", heap, 5, errAcces},
		{"execution of code", code, 5, 0}, {"reading only", heap, 1, 0}, {"nothing of code in use", code, 0, errAcces},
	} {
		if r := mem.mprotect(c.addr, pageSize, c.prot); r != c.want {
			t.Errorf("mprotect, %s: %d, want %d", c.what, int64(r), int64(c.want))
		}
	}
	if r := mem.mprotect(0x1000, pageSize, 1); r != errNoMem {
		t.Errorf("mprotect outside: %d", int64(r))
	}
}

func BenchmarkMmap(b *testing.B) {
	var t testing.T
	e := newEnclave(&t)
	mem.init(e.Boot)
	for b.Loop() {
		p := mem.mmap(0, 16*pageSize, 3, mapAnonymous)
		mem.munmap(p, 16*pageSize)
	}
}
