package kvstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/channel/kvwire"
)

// crowd is a host that takes its time, so that commits come together at it.
type crowd struct {
	Backend
	here, most *atomic.Int32
}

func (c crowd) Commit(ctx context.Context, number uint64, ops []kvwire.Op) error {
	if n := c.here.Add(1); n > c.most.Load() {
		c.most.Store(n)
	}
	defer c.here.Add(-1)
	time.Sleep(100 * time.Microsecond)
	return c.Backend.Commit(ctx, number, ops)
}

// TestCrashManyWriters is TestCrashAtEveryWrite with several commits under way at a
// time: whatever is there after a crash, is there with all that was written before it.
func TestCrashManyWriters(t *testing.T) {
	const writers, keys = 8, 10
	o := Options{CacheSize: 6_000, RootInterval: time.Hour}
	key := func(w, i int) []byte { return fmt.Appendf(nil, "%d/%d", w, i%keys) }
	var here, most atomic.Int32
	for n := 2; n < 80; n++ {
		b := NewMemory()
		if err := Create(t.Context(), b, testMaster); err != nil {
			t.Fatal(err)
		}
		m := &mortal{Backend: b, last: n, does: n%2 == 0}
		s, err := Open(t.Context(), crowd{m, &here, &most}, testMaster, o)
		if err != nil {
			t.Fatal(err)
		}
		var acknowledged [writers]int
		var all sync.WaitGroup
		for w := range writers {
			acknowledged[w] = -1
			all.Go(func() {
				for i := 0; ; i++ {
					v := strconv.AppendInt(nil, int64(i), 10)
					err := s.Table("a").Batch(t.Context(), []Op{{Key: key(w, i), Value: v}, {Key: fmt.Appendf(nil, "%d/last", w), Value: v}})
					if err != nil {
						if !errors.Is(err, ErrFailed) {
							t.Error(err)
						}
						return
					}
					acknowledged[w] = i
				}
			})
		}
		all.Wait()
		s.Close(t.Context())
		got := contentOf(t, b, o)
		for w := range writers {
			last := -1
			if v, ok := got[fmt.Sprintf("%d/last", w)]; ok {
				if last, err = strconv.Atoi(v); err != nil {
					t.Fatal(err)
				}
			}
			if last < acknowledged[w] || last > acknowledged[w]+1 {
				t.Fatalf("write %d: %d was acknowledged, the newest is %d", n, acknowledged[w], last)
			}
			for i := max(0, last-keys+1); i <= last; i++ {
				if got[string(key(w, i))] != strconv.Itoa(i) {
					t.Fatalf("write %d: number %d of %d is %q", n, i, last, got[string(key(w, i))])
				}
			}
		}
	}
	if most.Load() < 2 {
		t.Error("there was never more than one commit under way")
	}
}
