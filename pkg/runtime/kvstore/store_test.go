package kvstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/channel/kvwire"
)

var testMaster = [KeySize]byte{1, 2, 3, 31: 4}

// open opens a store over b, which it creates if it is empty. What is closed by the
// test is not closed again.
func open(t testing.TB, b Backend, o Options) *Store {
	t.Helper()
	if _, err := b.GetFile(t.Context(), RootFile); errors.Is(err, ErrAbsent) {
		if err := Create(t.Context(), b, testMaster); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(t.Context(), b, testMaster, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, table *Table, key, value string) {
	t.Helper()
	if err := table.Put(t.Context(), []byte(key), []byte(value)); err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
}

func wantValue(t testing.TB, table *Table, key, value string) {
	t.Helper()
	if got, err := table.Get(t.Context(), []byte(key)); err != nil || got == nil || string(got) != value {
		t.Fatalf("%s: %.40q is %.40q, %v; want %.40q", table.Name(), key, got, err, value)
	}
}

func wantAbsent(t testing.TB, table *Table, key string) {
	t.Helper()
	if got, err := table.Get(t.Context(), []byte(key)); !errors.Is(err, ErrNotFound) {
		t.Fatalf("%s: %.40q is %.40q, %v; want nothing", table.Name(), key, got, err)
	}
}

func keysOf(t testing.TB, table *Table, prefix string) []string {
	t.Helper()
	keys := []string{}
	if err := table.Scan(t.Context(), []byte(prefix), func(k, _ []byte) error {
		keys = append(keys, string(k))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestStore(t *testing.T) {
	b := NewMemory()
	s := open(t, b, Options{})
	a, other := s.Table("app:a"), s.Table("app:b")
	put(t, a, "name", "one")
	put(t, a, "name", "two")
	put(t, a, "empty", "")
	put(t, a, "names", "three")
	put(t, other, "name", "four")
	check := func(a, other *Table) {
		t.Helper()
		wantValue(t, a, "name", "two")
		wantValue(t, a, "empty", "")
		wantValue(t, other, "name", "four")
		wantAbsent(t, a, "nam")
		wantAbsent(t, other, "names")
		if got := keysOf(t, a, "name"); !slices.Equal(got, []string{"name", "names"}) {
			t.Errorf("keys: %q", got)
		}
		if got := keysOf(t, a, ""); !slices.Equal(got, []string{"empty", "name", "names"}) {
			t.Errorf("keys: %q", got)
		}
	}
	check(a, other)
	closeStore(t, s)
	if err := a.Put(t.Context(), []byte("k"), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("put after close: %v", err)
	}
	life := &mortal{Backend: b}
	s = open(t, life, Options{})
	a, other = s.Table("app:a"), s.Table("app:b")
	check(a, other)
	if err := a.Delete(t.Context(), []byte("name")); err != nil {
		t.Fatal(err)
	}
	if err := a.Delete(t.Context(), []byte("never")); err != nil {
		t.Fatal(err)
	}
	wantAbsent(t, a, "name")
	if err := a.Batch(t.Context(), []Op{
		{Key: []byte("x"), Value: []byte("1")}, {Key: []byte("x"), Value: []byte("2")},
		{Key: []byte("y"), Value: []byte("1")}, {Key: []byte("y"), Delete: true},
		{Key: []byte("empty"), Delete: true}, {Key: []byte("empty"), Value: []byte("full")},
	}); err != nil {
		t.Fatal(err)
	}
	wantValue(t, a, "x", "2")
	wantAbsent(t, a, "y")
	wantValue(t, a, "empty", "full")
	life.end()
	s = open(t, b, Options{}) // without Close before it
	wantValue(t, s.Table("app:a"), "x", "2")
	wantAbsent(t, s.Table("app:a"), "name")
}

// TestNothingInClear: no key, value or table is with the host as it is.
func TestNothingInClear(t *testing.T) {
	b := NewMemory()
	s := open(t, b, Options{})
	secret := strings.Repeat("secret", 8)
	put(t, s.Table("table-"+secret), "key-"+secret, "value-"+secret)
	closeStore(t, s)
	checkpointNow(t, s)
	if len(b.kv) != 3 || len(b.files) != 1 { // value, node, checkpoint
		t.Errorf("%d records, %d files", len(b.kv), len(b.files))
	}
	for k, v := range b.kv {
		if bytes.Contains(v, []byte("secret")) || strings.Contains(k, "secret") {
			t.Errorf("record %q: %q", k, v)
		}
	}
}

// checkpointNow makes a checkpoint of a store that is closed, so that nobody else does.
func checkpointNow(t testing.TB, s *Store) {
	t.Helper()
	if err := s.checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestLimits(t *testing.T) {
	s := open(t, NewMemory(), Options{})
	a := s.Table("a")
	longest := strings.Repeat("k", MaxKey)
	large := strings.Repeat("v", MaxValue)
	put(t, a, longest, large)
	wantValue(t, a, longest, large)
	for name, op := range map[string]Op{
		"no key":     {},
		"long key":   {Key: []byte(longest + "k")},
		"long value": {Key: []byte("k"), Value: []byte(large + "v")},
	} {
		if err := a.Batch(t.Context(), []Op{op}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := a.Get(t.Context(), []byte(longest+"k")); !errors.Is(err, ErrTooLarge) {
		t.Errorf("get: %v", err)
	}
	if err := a.Batch(t.Context(), []Op{{Key: []byte("1"), Value: []byte(large)}, {Key: []byte("2"), Value: []byte(large)}}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("batch: %v", err)
	}
	if err := a.Batch(t.Context(), make([]Op, MaxOps+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("batch: %v", err)
	}
	if err := a.Batch(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if got := keysOf(t, a, ""); !slices.Equal(got, []string{longest}) {
		t.Errorf("%.80q", got)
	}
	defer func() {
		if recover() == nil {
			t.Error("a table without a name")
		}
	}()
	s.Table("")
}

// TestModel does random things to a store with little memory, and to a map.
func TestModel(t *testing.T) {
	for seed := range uint64(3) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		b := NewMemory()
		o := Options{CacheSize: 20_000, ValueCache: 5000, RootInterval: time.Hour}
		life := &mortal{Backend: b}
		s := open(t, life, o)
		tables := []string{"a", "b", "long name of a table"}
		model := map[string]map[string]string{}
		for _, n := range tables {
			model[n] = map[string]string{}
		}
		space := 1 + rnd.IntN(3000)
		deletes := rnd.IntN(10)
		key := func() string { return fmt.Sprintf("%x/%d", rnd.IntN(8), rnd.IntN(space)) }
		for step := range 500 {
			if step == 350 {
				deletes = 9 // most of it goes again
			}
			name := tables[rnd.IntN(len(tables))]
			table, m := s.Table(name), model[name]
			switch n := rnd.IntN(100); {
			case n < 60:
				var ops []Op
				for range 1 + rnd.IntN(30) {
					op := Op{Key: []byte(key()), Delete: rnd.IntN(10) < deletes}
					if !op.Delete {
						op.Value = fmt.Appendf(nil, "%d", rnd.Uint64())
						m[string(op.Key)] = string(op.Value)
					} else {
						delete(m, string(op.Key))
					}
					ops = append(ops, op)
				}
				if err := table.Batch(t.Context(), ops); err != nil {
					t.Fatal(err)
				}
			case n < 90:
				k := key()
				if v, ok := m[k]; ok {
					wantValue(t, table, k, v)
				} else {
					wantAbsent(t, table, k)
				}
			case n < 98:
				prefix := key()[:rnd.IntN(3)]
				var want []string
				for k := range m {
					if strings.HasPrefix(k, prefix) {
						want = append(want, k)
					}
				}
				slices.Sort(want)
				if got := keysOf(t, table, prefix); !slices.Equal(got, want) {
					t.Fatalf("seed %d step %d: %q: %d keys, want %d", seed, step, prefix, len(got), len(want))
				}
			default:
				if rnd.IntN(2) == 0 {
					closeStore(t, s)
				}
				life.end()
				life = &mortal{Backend: b}
				s = open(t, life, o)
			}
			if step%20 == 0 {
				checkTree(t, s)
			}
		}
		for name, m := range model {
			n := 0
			if err := s.Table(name).Scan(t.Context(), nil, func(k, v []byte) error {
				n++
				if m[string(k)] != string(v) {
					return fmt.Errorf("%q is %q, want %q", k, v, m[string(k)])
				}
				return nil
			}); err != nil || n != len(m) {
				t.Fatalf("seed %d: table %s: %d keys, %v; want %d", seed, name, n, err, len(m))
			}
		}
	}
}

// checkTree holds the index's numbers against the index.
func checkTree(t testing.TB, s *Store) {
	t.Helper()
	s.mu.RLock()
	defer s.mu.RUnlock()
	memory, dirty, values := 0, 0, 0
	var walk func(n *node, from, to string)
	walk = func(n *node, from, to string) {
		if n.size != n.measure() {
			t.Fatalf("a node of %d bytes is said to have %d", n.measure(), n.size)
		}
		memory += n.size
		for _, e := range n.entries {
			if e.value != nil {
				values += len(*e.value) + valueMemory
			}
		}
		if n.ref == (ref{}) {
			dirty += n.size
		}
		for i, k := range n.keys {
			if k < from || to != "" && k >= to || i > 0 && k <= n.keys[i-1] {
				t.Fatalf("key %q is out of order", k)
			}
		}
		if !n.leaf() && len(n.keys) != len(n.kids)-1 {
			t.Fatalf("%d keys, %d kids", len(n.keys), len(n.kids))
		}
		for i, k := range n.kids {
			if k.n == nil {
				continue
			}
			if k.n.ref == (ref{}) && n.ref != (ref{}) {
				t.Fatal("a dirty node below a clean one")
			}
			lo, hi := from, to
			if i > 0 {
				lo = n.keys[i-1]
			}
			if i < len(n.keys) {
				hi = n.keys[i]
			}
			walk(k.n, lo, hi)
		}
	}
	walk(s.tree.root, "", "")
	if memory != s.tree.memory || dirty != s.tree.dirty && !s.pinned {
		t.Fatalf("%d bytes, %d dirty; counted %d, %d", s.tree.memory, s.tree.dirty, memory, dirty)
	}
	if values != s.tree.values || values > 2*s.o.ValueCache {
		t.Fatalf("%d bytes of values in memory; counted %d, at most %d", s.tree.values, values, s.o.ValueCache)
	}
	if limit := 2*s.o.CacheSize + 100_000; memory > limit {
		t.Fatalf("%d bytes of the index in memory, more than %d", memory, limit)
	}
}

// TestNoLeak: what checkpoints replace is deleted with the host.
func TestNoLeak(t *testing.T) {
	b := NewMemory()
	o := Options{CacheSize: 50_000}
	s := open(t, b, o)
	a := s.Table("a")
	for round := range 20 {
		var ops []Op
		for i := range 1000 {
			ops = append(ops, Op{Key: fmt.Appendf(nil, "%d", i), Value: fmt.Appendf(nil, "%d", round)})
		}
		if err := a.Batch(t.Context(), ops); err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, s)
	s = open(t, b, o)
	closeStore(t, s)
	checkpointNow(t, s)
	kinds := map[byte]int{}
	for k := range b.kv {
		kinds[k[0]]++
	}
	if kinds[kindValue] != 1000 || kinds[kindLog] != 0 || kinds[kindNode] > 50 || kinds[kindCheckpoint] != 1 {
		t.Errorf("values, logs, nodes, checkpoints: %d %d %d %d", kinds[kindValue], kinds[kindLog], kinds[kindNode], kinds[kindCheckpoint])
	}
}

// TestConcurrent: readers and writers of the same keys, while a writer's own reads
// must show its last write.
func TestConcurrent(t *testing.T) {
	s := open(t, NewMemory(), Options{CacheSize: 30_000})
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	fail := func(format string, args ...any) { t.Errorf(format, args...) }
	for w := range 8 {
		writers.Go(func() {
			own, hot := s.Table("own"), s.Table("hot")
			rnd := rand.New(rand.NewPCG(uint64(w), 0))
			for i := range 80 {
				k := fmt.Appendf(nil, "%d/%d", w, rnd.IntN(20))
				v := fmt.Appendf(nil, "%d", i)
				if i%5 == 4 {
					if err := own.Delete(t.Context(), k); err != nil {
						fail("%v", err)
					}
					if _, err := own.Get(t.Context(), k); !errors.Is(err, ErrNotFound) {
						fail("after delete: %v", err)
					}
					continue
				}
				if err := own.Put(t.Context(), k, v); err != nil {
					fail("%v", err)
				}
				if got, err := own.Get(t.Context(), k); err != nil || !bytes.Equal(got, v) {
					fail("own write: %q, %v; want %q", got, err, v)
				}
				// Two keys that always change together.
				if err := hot.Batch(t.Context(), []Op{{Key: []byte("x"), Value: k}, {Key: []byte("y"), Value: k}}); err != nil {
					fail("%v", err)
				}
			}
		})
	}
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := s.Table("hot").Get(t.Context(), []byte("x")); err != nil && !errors.Is(err, ErrNotFound) {
					fail("%v", err)
				}
				if err := s.Table("own").Scan(t.Context(), nil, func(_, _ []byte) error { return nil }); err != nil {
					fail("%v", err)
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	checkTree(t, s)
}

// TestReadersWait: who reads what is being written gets the new value, once the host
// has it.
func TestReadersWait(t *testing.T) {
	b := &gate{Backend: NewMemory(), applies: make(chan chan error)}
	go func() { (<-b.applies) <- nil }()
	s := open(t, b, Options{})
	a := s.Table("a")
	put(t, a, "k", "old")
	written := make(chan error)
	go func() { written <- a.Put(t.Context(), []byte("k"), []byte("new")) }()
	landing := <-b.applies
	read := make(chan string)
	go func() {
		v, err := a.Get(t.Context(), []byte("k"))
		read <- fmt.Sprint(string(v), err)
	}()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Get(ctx, []byte("k")); !errors.Is(err, context.Canceled) {
		t.Errorf("a reader whose time is over: %v", err)
	}
	select {
	case v := <-read:
		t.Errorf("read %q before it was with the host", v)
	default:
	}
	landing <- nil
	if v, err := <-read, <-written; v != "new<nil>" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
}

// gate holds back Commit.
type gate struct {
	Backend
	applies chan chan error
}

func (g *gate) Commit(ctx context.Context, number uint64, ops []kvwire.Op) error {
	c := make(chan error)
	g.applies <- c
	if err := <-c; err != nil {
		return err
	}
	return g.Backend.Commit(ctx, number, ops)
}

// mute is a host that does not answer when the root is written.
type mute struct{ Backend }

func (m mute) PutFile(context.Context, string, []byte) error { select {} }

// TestCloseWithMuteHost: Close waits as long as it was told, for whatever.
func TestCloseWithMuteHost(t *testing.T) {
	b := NewMemory()
	closeStore(t, open(t, b, Options{}))
	s, err := Open(t.Context(), mute{b}, testMaster, Options{RootInterval: 1})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s.Table("a"), "k", "v")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
