package kvstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// usage counts by another way what tables take.
func usage(t *testing.T, tables ...*Table) (n uint64) {
	t.Helper()
	for _, table := range tables {
		if err := table.Keys(t.Context(), nil, func(key []byte, size int) error {
			n += uint64(len(key) + size + RecordSize)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func setQuota(t *testing.T, s *Store, limit uint64, tables ...*Table) *Quota {
	t.Helper()
	q, err := s.SetQuota(t.Context(), limit, tables...)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestQuota(t *testing.T) {
	b := NewMemory()
	s := open(t, b, Options{})
	a, a2, other := s.Table("a"), s.Table("a2"), s.Table("b")
	q := setQuota(t, s, 1000, a, a2)
	put(t, a, "key", strings.Repeat("x", 300))  // 399
	put(t, a2, "key", strings.Repeat("x", 300)) // 798
	full := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrQuota) {
			t.Errorf("%s: %v", what, err)
		}
	}
	ctx := t.Context()
	full("one more", a.Put(ctx, []byte("new"), make([]byte, 104)))
	if err := a.Put(ctx, []byte("new"), make([]byte, 103)); err != nil {
		t.Errorf("just as much as there is room for: %v", err)
	}
	full("a byte", a2.Put(ctx, []byte("key"), make([]byte, 301)))
	// All or nothing, and in its order.
	full("a batch", a.Batch(ctx, []Op{{Key: []byte("new"), Delete: true}, {Key: []byte("1"), Value: make([]byte, 60)}, {Key: []byte("2"), Value: make([]byte, 60)}}))
	wantAbsent(t, a, "1")
	if err := a.Batch(ctx, []Op{{Key: []byte("1"), Value: make([]byte, 500)}, {Key: []byte("1"), Delete: true}, {Key: []byte("new"), Value: nil}, {Key: []byte("1")}}); err != nil {
		t.Errorf("a batch that needs no more in the end: %v", err)
	}
	if used, limit := q.Used(); used != usage(t, a, a2) || limit != 1000 {
		t.Errorf("%d of %d, there are %d", used, limit, usage(t, a, a2))
	}
	put(t, other, "key", strings.Repeat("x", 10_000)) // a neighbour has its own room

	closeStore(t, s)
	s = open(t, b, Options{})
	a, a2 = s.Table("a"), s.Table("a2")
	q = setQuota(t, s, 500, a, a2) // less than they have
	if used, _ := q.Used(); used != usage(t, a, a2) {
		t.Errorf("after a restart: %d, there are %d", used, usage(t, a, a2))
	}
	full("beyond it already", a.Put(ctx, []byte("k"), nil))
	put(t, a, "key", strings.Repeat("x", 299))
	if err := a2.Delete(ctx, []byte("key")); err != nil {
		t.Errorf("a deletion: %v", err)
	}
	if used, _ := q.Used(); used != usage(t, a, a2) {
		t.Errorf("%d, there are %d", used, usage(t, a, a2))
	}
	closeStore(t, s)
}

// TestQuotaWhileWriting counts tables that are being written to, with an index that does
// not fit into memory.
func TestQuotaWhileWriting(t *testing.T) {
	b := NewMemory()
	s := open(t, b, Options{CacheSize: 20_000})
	a := s.Table("a")
	key := func(i int) []byte { return fmt.Appendf(nil, "key %d", i) }
	for i := 0; i < 6000; i += 1000 {
		var ops []Op
		for j := range 1000 {
			ops = append(ops, Op{Key: key(i + j), Value: make([]byte, (i+j)%50)})
		}
		if err := a.Batch(t.Context(), ops); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(w)))
			for ctx.Err() == nil {
				ops := []Op{{Key: key(rnd.IntN(8000)), Value: make([]byte, rnd.IntN(60))}, {Key: key(rnd.IntN(8000)), Delete: true}}
				if err := a.Batch(t.Context(), ops); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var quotas []*Quota
	for range 5 {
		quotas = append(quotas, setQuota(t, s, 1<<40, a))
	}
	cancel()
	writers.Wait()
	if used, _ := quotas[4].Used(); used != usage(t, a) {
		t.Errorf("%d are counted, there are %d", used, usage(t, a))
	}
	closeStore(t, s)
}
