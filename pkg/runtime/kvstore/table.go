package kvstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/enclaveos/eos/pkg/channel/kvwire"
)

// Table is a name space of keys with encryption keys of its own. A table is there when
// it is asked for; one without keys leaves no trace.
type Table struct {
	s      *Store
	name   string
	prefix string // of its keys in the index
	keys   *tableKeys

	// Guarded by Store.mu.
	quota   *Quota // nil: there is none
	counted string // keys below this one are counted
	all     bool   // all of them are
}

// Table returns the table of a name, which has 1 to MaxTable bytes: another length
// panics, since names are the program's own.
func (s *Store) Table(name string) *Table {
	if t, ok := s.tables.Load(name); ok {
		return t.(*Table)
	}
	if len(name) == 0 || len(name) > MaxTable {
		panic(fmt.Sprintf("kvstore: a table's name has 1 to %d bytes, %q has %d", MaxTable, name, len(name)))
	}
	t, _ := s.tables.LoadOrStore(name, &Table{s: s, name: name, prefix: string(byte(len(name))) + name, keys: newTableKeys(s.master[:], name)})
	return t.(*Table)
}

// Name returns the table's name.
func (t *Table) Name() string { return t.name }

// indexKey is the key in the index.
func (t *Table) indexKey(key []byte) string { return t.prefix + string(key) }

func checkKey(key []byte) error {
	if len(key) == 0 || len(key) > MaxKey {
		return fmt.Errorf("%w: a key has 1 to %d bytes, not %d", ErrTooLarge, MaxKey, len(key))
	}
	return nil
}

// Op is an operation of a batch.
type Op struct {
	Key    []byte
	Value  []byte // of a put
	Delete bool   // a key that there is not may be deleted, too
}

// Put sets the value of a key: 1 to MaxKey bytes, and at most MaxValue. When it has
// returned nil, the value survives what the host survives. An error of ctx leaves open
// whether it has happened. Put does not keep the slices.
func (t *Table) Put(ctx context.Context, key, value []byte) error {
	return t.Batch(ctx, []Op{{Key: key, Value: value}})
}

// Delete deletes a key, if it is there.
func (t *Table) Delete(ctx context.Context, key []byte) error {
	return t.Batch(ctx, []Op{{Key: key, Delete: true}})
}

// Batch carries out the operations in their order: all or none of them.
func (t *Table) Batch(ctx context.Context, ops []Op) error {
	if len(ops) == 0 {
		return nil
	}
	if len(ops) > MaxOps {
		return fmt.Errorf("%w: a batch of %d operations, at most %d", ErrTooLarge, len(ops), MaxOps)
	}
	r := &request{ops: make([]change, len(ops)), count: len(ops), done: make(chan error, 1)}
	for _, o := range ops {
		if err := checkKey(o.Key); err != nil {
			return err
		}
		if len(o.Value) > MaxValue {
			return fmt.Errorf("%w: a value has at most %d bytes, not %d", ErrTooLarge, MaxValue, len(o.Value))
		}
		r.wire += kvwire.OpSize(kvwire.Op{Key: make([]byte, 1+nameSize), Delete: true})
		if !o.Delete {
			r.wire += 4 + valueOverhead + len(o.Value)
		}
		r.log += maxLogOp + len(t.prefix) + len(o.Key)
	}
	if r.wire+r.log > MaxBatch {
		return fmt.Errorf("%w: a batch of %d bytes, at most %d", ErrTooLarge, r.wire+r.log, MaxBatch)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for i, o := range ops {
		c := change{key: t.indexKey(o.Key), table: t, name: t.keys.name(o.Key)}
		if !o.Delete {
			c.version = version{t.s.next.Add(1), t.s.session}
			c.size = uint32(len(o.Value))
			c.record = t.keys.sealValue(t.name, c.name, c.version, o.Value)
		}
		r.ops[i] = c
	}
	select {
	case t.s.queue <- r:
	case <-t.s.ending:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		if r.taken.CompareAndSwap(false, true) {
			r.ops = nil // it waits on in the queue, which must not fill the memory
		}
		return ctx.Err()
	case <-t.s.ended:
		select {
		case err := <-r.done:
			return err
		default:
			return ErrClosed // nobody has taken it
		}
	}
}

// Get returns the value of a key, or ErrNotFound.
func (t *Table) Get(ctx context.Context, key []byte) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	return t.get(ctx, key)
}

func (t *Table) get(ctx context.Context, plain []byte) ([]byte, error) {
	key := t.indexKey(plain)
	for {
		e, f, err := t.s.look(ctx, key)
		if err != nil {
			return nil, err
		}
		if f != nil {
			return t.s.await(ctx, f, key)
		}
		if e.value != nil {
			return append(make([]byte, 0, len(*e.value)), *e.value...), nil
		}
		name := t.keys.name(plain)
		record, err := t.s.backend.Get(ctx, append([]byte{kindValue}, name[:]...))
		why := "missing"
		if err == nil {
			var value []byte
			if value, why = t.keys.openValue(t.name, name, e.version, e.size, record); why == "" {
				t.s.keepValue(key, e.version, value)
				return value, nil
			}
		} else if !errors.Is(err, ErrAbsent) {
			return nil, err
		}
		// The record may be newer than what we looked up; else it was not we who
		// have written it.
		if !t.s.still(key, e) {
			continue
		}
		return nil, t.integrity(key, why)
	}
}

func (t *Table) integrity(key, why string) error {
	return &IntegrityError{fmt.Sprintf("the value of a key of table %q", t.name), why}
}

// look looks a key up in the index; if a commit under way changes it, that is
// returned instead.
func (s *Store) look(ctx context.Context, key string) (entry, *flight, error) {
	for {
		s.mu.RLock()
		if f := s.changing(key); f != nil {
			s.mu.RUnlock()
			return entry{}, f, nil
		}
		e, found, m := s.tree.find(key)
		s.mu.RUnlock()
		switch {
		case m != nil:
			if err := s.load(ctx, m); err != nil {
				return entry{}, nil, err
			}
		case !found:
			return entry{}, nil, ErrNotFound
		default:
			return e, nil, nil
		}
	}
}

// changing returns the last commit under way that changes a key. It needs the lock.
func (s *Store) changing(key string) *flight {
	for i := len(s.flights) - 1; i >= 0; i-- {
		if f := s.flights[i]; f.changes[key] != nil {
			return f
		}
	}
	return nil
}

// still reports whether a key has the entry, and no commit under way changes it.
func (s *Store) still(key string, e entry) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.changing(key) != nil {
		return false
	}
	now, found, m := s.tree.find(key)
	return m == nil && found && now.version == e.version
}

// await waits for a commit and returns the value that it gives to a key. The record is
// in our memory, so that nobody has to be asked.
func (s *Store) await(ctx context.Context, f *flight, key string) ([]byte, error) {
	if err := landed(ctx, f); err != nil {
		return nil, err
	}
	c := f.changes[key]
	if c.record == nil {
		return nil, ErrNotFound
	}
	value, why := c.table.keys.openValue(c.table.name, c.name, c.version, c.size, c.record)
	if why != "" {
		return nil, c.table.integrity(key, why)
	}
	return value, nil
}

// landed waits for the end of a commit, and fails if the commit has.
func landed(ctx context.Context, f *flight) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Bounds of what a scan asks the host for at once; a larger value comes alone.
const (
	scanKeys  = 256
	scanBytes = 256 << 10
)

// found is an entry that a scan has come by.
type found struct {
	key string // without the table
	entry
}

// Scan calls f with the keys that begin with prefix, in the order of their bytes, and
// their values, until f returns an error, which Scan returns. The slices are f's. It
// sees each value as it was at some time during the Scan, not all as of one time.
func (t *Table) Scan(ctx context.Context, prefix []byte, f func(key, value []byte) error) error {
	return t.pages(ctx, prefix, func(page []found) error {
		names := make([][nameSize]byte, len(page))
		var keys [][]byte // of values that are not in memory
		for i, p := range page {
			if p.value == nil {
				names[i] = t.keys.name([]byte(p.key))
				keys = append(keys, append([]byte{kindValue}, names[i][:]...))
			}
		}
		var records [][]byte
		if len(keys) > 0 {
			var err error
			if records, err = t.s.backend.MultiGet(ctx, keys); err != nil {
				return err
			}
		}
		if len(records) != len(keys) {
			return &IntegrityError{"an answer", fmt.Sprintf("%d values for %d keys", len(records), len(keys))}
		}
		for i, p := range page {
			value, why := []byte(nil), ""
			if p.value != nil {
				value = append(make([]byte, 0, len(*p.value)), *p.value...)
			} else {
				value, why = t.keys.openValue(t.name, names[i], p.version, p.size, records[0])
				records = records[1:]
			}
			if why != "" {
				// Written meanwhile, or wrong: Get tells.
				var err error
				value, err = t.get(ctx, []byte(p.key))
				if errors.Is(err, ErrNotFound) {
					continue
				}
				if err != nil {
					return err
				}
			}
			if err := f([]byte(p.key), value); err != nil {
				return err
			}
		}
		return nil
	})
}

// Keys is Scan without the values: f gets the values' sizes. It asks the host for
// nothing that is in the index's memory.
func (t *Table) Keys(ctx context.Context, prefix []byte, f func(key []byte, size int) error) error {
	return t.pages(ctx, prefix, func(page []found) error {
		for _, p := range page {
			if err := f([]byte(p.key), int(p.size)); err != nil {
				return err
			}
		}
		return nil
	})
}

// pages calls f with the entries of a prefix, some at a time.
func (t *Table) pages(ctx context.Context, prefix []byte, f func([]found) error) error {
	all := t.indexKey(prefix)
	from := all
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		var page []found
		bytes, end := 0, true
		t.s.mu.RLock()
		var under *flight
		if n := len(t.s.flights); n > 0 {
			under = t.s.flights[n-1]
		}
		m := t.s.tree.ascend(from, func(key string, e entry) bool {
			if !strings.HasPrefix(key, all) {
				return false
			}
			if len(page) == scanKeys || len(page) > 0 && bytes+int(e.size) > scanBytes {
				end = false
				return false
			}
			page = append(page, found{strings.Clone(key[len(t.prefix):]), e})
			bytes += int(e.size)
			return true
		})
		t.s.mu.RUnlock()
		if len(page) == 0 && m != nil {
			if err := t.s.load(ctx, m); err != nil {
				return err
			}
			continue
		}
		// The index has the changes of a commit before the host has.
		if under != nil {
			if err := landed(ctx, under); err != nil {
				return err
			}
		}
		if len(page) > 0 {
			if err := f(page); err != nil {
				return err
			}
			from = t.prefix + page[len(page)-1].key + "\x00"
		}
		if m == nil && end {
			return nil
		}
	}
}
