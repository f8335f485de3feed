package kvstore

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/channel/kvwire"
)

// TestManyAtOnce: ten thousand writers at a time wait for each other, not the host for
// them: it has a few commits to do at a time, and all happen.
func TestManyAtOnce(t *testing.T) {
	const writers = 10_000
	var here, most atomic.Int32
	b := NewMemory()
	s := open(t, b, Options{})
	closeStore(t, s)
	s, err := Open(t.Context(), crowd{b, &here, &most}, testMaster, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			if err := s.Table("a").Put(t.Context(), fmt.Appendf(nil, "%d", i), make([]byte, 100)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if st := s.Stats(); st.Keys != writers || st.Commit > writers/10 {
		t.Errorf("%d keys, %d commits", st.Keys, st.Commit)
	}
	if n := most.Load(); n > maxUnderWay {
		t.Errorf("%d commits at the host at a time", n)
	}
	closeStore(t, s)
}

// deaf is a host that does not answer to commits until it is let.
type deaf struct {
	Backend
	hears chan struct{}
}

func (d deaf) Commit(ctx context.Context, number uint64, ops []kvwire.Op) error {
	<-d.hears
	return d.Backend.Commit(ctx, number, ops)
}

// TestDeafHost: a host that does not answer takes no more than the callers' time; what they
// wanted to write does not stay in memory when they have gone, and what was begun is ended
// when it answers again.
func TestDeafHost(t *testing.T) {
	b := NewMemory()
	closeStore(t, open(t, b, Options{}))
	d := deaf{b, make(chan struct{})}
	s, err := Open(t.Context(), d, testMaster, Options{})
	if err != nil {
		t.Fatal(err)
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	table := s.Table("a")
	for range 20 { // one after the other, so that it is not the callers' memory
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				if err := table.Put(ctx, fmt.Appendf(nil, "%d", i), make([]byte, MaxValue/2)); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		cancel()
	}
	// Each commit has what it was made of and the host's batch of it.
	if after := heap(); after > before+(maxUnderWay+2)*3*maxFlight {
		t.Errorf("%d MiB are kept for callers who have gone", (after-before)>>20)
	}
	close(d.hears)
	put(t, table, "last", "value")
	wantValue(t, table, "last", "value")
	closeStore(t, s)
}
