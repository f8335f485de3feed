package kvstore

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"
)

// TestCrashAtEveryWrite lets the enclave, or its host, die at each write that it makes
// to the host in turn: before the write happens, or after it has and before anybody is
// told. What comes up again has all that was acknowledged and nothing by halves.
func TestCrashAtEveryWrite(t *testing.T) {
	o := Options{CacheSize: 6_000, RootInterval: time.Hour}
	const commits = 25
	for _, does := range []bool{false, true} {
		for n := 1; ; n++ {
			b := NewMemory()
			if err := Create(t.Context(), b, testMaster); err != nil {
				t.Fatal(err)
			}
			m := &mortal{Backend: b, last: n, does: does}
			certain := map[string]string{} // acknowledged
			maybe := map[string]string{}   // with the last commit, too
			whole := n > 4 && n < 30       // also dies a second time
			crashed := life(t, m, o, 0, commits, certain, maybe)
			if whole {
				m = &mortal{Backend: b, last: 3, does: does}
				got := contentOf(t, m, o)
				if !maps.Equal(got, certain) && !maps.Equal(got, maybe) {
					t.Fatalf("write %d, done %v: something was lost", n, does)
				}
				set(certain, got)
				set(maybe, got)
				m = &mortal{Backend: b, last: 4, does: does}
				life(t, m, o, commits, 2*commits, certain, maybe)
			}
			got := contentOf(t, &mortal{Backend: b}, o)
			if !maps.Equal(got, certain) && !maps.Equal(got, maybe) {
				t.Fatalf("write %d, done %v: %d keys; %d were acknowledged, %d with the last commit", n, does, len(got), len(certain), len(maybe))
			}
			if !crashed {
				if n < commits+10 {
					t.Fatalf("only %d writes", n)
				}
				break
			}
		}
	}
}

// set makes a equal to b.
func set(a, b map[string]string) {
	clear(a)
	maps.Copy(a, b)
}

// life writes commits from to to, until the first error; it reports whether there was one.
func life(t *testing.T, m *mortal, o Options, from, to int, certain, maybe map[string]string) bool {
	s, err := Open(t.Context(), m, testMaster, o)
	if err != nil {
		if !errors.Is(err, errDead) {
			t.Fatal(err)
		}
		return true
	}
	table := s.Table("a")
	for i := from; i < to; i++ {
		var ops []Op
		for j := range 15 {
			k := fmt.Sprintf("key/%d", (i*7+j*13)%150)
			if j%5 == 4 {
				ops = append(ops, Op{Key: []byte(k), Delete: true})
				delete(maybe, k)
				continue
			}
			v := fmt.Sprintf("%d/%d", i, j)
			ops = append(ops, Op{Key: []byte(k), Value: []byte(v)})
			maybe[k] = v
		}
		if err := table.Batch(t.Context(), ops); err != nil {
			if !errors.Is(err, errDead) || !errors.Is(err, ErrFailed) {
				t.Fatal(err)
			}
			s.Close(t.Context())
			return true
		}
		set(certain, maybe)
	}
	err = s.Close(t.Context())
	m.mu.Lock()
	defer m.mu.Unlock()
	return err != nil || m.dead
}

func contentOf(t *testing.T, b Backend, o Options) map[string]string {
	t.Helper()
	s, err := Open(t.Context(), b, testMaster, o)
	if err != nil {
		t.Fatalf("it does not open again: %v", err)
	}
	got := map[string]string{}
	if err := s.Table("a").Scan(t.Context(), nil, func(k, v []byte) error {
		got[string(k)] = string(v)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if s.Stats().Keys != uint64(len(got)) {
		t.Fatalf("%d keys are counted, %d found", s.Stats().Keys, len(got))
	}
	if err := s.Close(t.Context()); err != nil && !errors.Is(err, errDead) {
		t.Fatal(err)
	}
	return got
}
