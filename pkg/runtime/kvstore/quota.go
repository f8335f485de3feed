package kvstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
)

// ErrQuota is the answer to a batch that would make tables larger than their Quota.
var ErrQuota = errors.New("kvstore: the quota is used up")

// RecordSize is what a record counts for beside the bytes of its key and its value: what
// it takes with the host and in the index.
const RecordSize = 96

// Quota bounds what some tables take together. What they take is told by the index, so
// that it is exact at any time, and after a restart too, without being kept anywhere.
type Quota struct {
	s           *Store
	limit, used int64 // guarded by Store.mu
}

// SetQuota bounds what tables take: each key counts with its bytes, those of its value,
// and RecordSize. It returns when they are counted, and takes the place of an earlier
// Quota. Tables may have more than the limit already: then they can only shrink.
func (s *Store) SetQuota(ctx context.Context, limit uint64, tables ...*Table) (*Quota, error) {
	q := &Quota{s: s, limit: int64(min(limit, math.MaxInt64))}
	s.mu.Lock()
	for _, t := range tables {
		t.quota, t.counted, t.all = q, t.prefix, false
	}
	s.mu.Unlock()
	for _, t := range tables {
		if err := t.count(ctx, q); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// countedAtOnce bounds the keys that are counted while all others wait.
const countedAtOnce = 1024

// count counts the keys of a table while others write: those below t.counted are counted,
// and what is done to them counts at once.
func (t *Table) count(ctx context.Context, q *Quota) error {
	s := t.s
	for {
		s.mu.Lock()
		if t.quota != q {
			s.mu.Unlock()
			return nil // there is another one already
		}
		n, end := 0, true
		m := s.tree.ascend(t.counted, func(key string, e entry) bool {
			if !strings.HasPrefix(key, t.prefix) {
				return false
			}
			if n == countedAtOnce {
				end = false
				return false
			}
			n++
			q.used += t.cost(key, e.size)
			t.counted = strings.Clone(key) + "\x00"
			return true
		})
		t.all = m == nil && end
		done := t.all
		s.mu.Unlock()
		if done {
			return nil
		}
		if m != nil {
			if err := s.load(ctx, m); err != nil {
				return err
			}
		}
	}
}

// cost is what a key of the index counts for.
func (t *Table) cost(key string, size uint32) int64 {
	return int64(len(key)-len(t.prefix)) + int64(size) + RecordSize
}

// charge counts what a request does to its table, or refuses it. The caller holds
// Store.mu, and the paths to all keys are in memory.
func (q *Quota) charge(r *request) error {
	growth := int64(0)
	var before map[string]int64 // costs of keys of which there are several operations
	if len(r.ops) > 1 {
		before = make(map[string]int64, len(r.ops))
	}
	for i := range r.ops {
		c := &r.ops[i]
		if t := c.table; !t.all && c.key >= t.counted {
			continue
		}
		was, seen := before[c.key]
		if !seen {
			if e, found, _ := q.s.tree.find(c.key); found {
				was = c.table.cost(c.key, e.size)
			}
		}
		now := int64(0)
		if c.record != nil {
			now = c.table.cost(c.key, c.size)
		}
		growth += now - was
		if before != nil {
			before[c.key] = now
		}
	}
	if growth > 0 && growth > q.limit-q.used {
		return fmt.Errorf("%w: %d bytes of %d are taken, %d more are wanted", ErrQuota, q.used, q.limit, growth)
	}
	q.used += growth
	return nil
}

// Used returns what the tables take, and what they may.
func (q *Quota) Used() (used, limit uint64) {
	q.s.mu.RLock()
	defer q.s.mu.RUnlock()
	return uint64(q.used), uint64(q.limit)
}
