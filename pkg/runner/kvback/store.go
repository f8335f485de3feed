package kvback

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/enclaveos/eos/pkg/channel/kvwire"
)

// Store is an open state directory, or its twin in memory. Its methods may be called
// by many goroutines, but for Close.
type Store struct {
	db    *pebble.DB
	dir   string // "" in memory
	lock  *os.File
	cache *pebble.Cache

	turns  kvwire.Turns
	filing sync.Mutex
	files  map[string][]byte // in memory
}

// LockedError says that another process has the directory open.
type LockedError struct {
	Dir string
	PID string // of the other process, "" if it does not tell
}

func (e *LockedError) Error() string {
	if e.PID == "" {
		return fmt.Sprintf("state directory %s: in use by another process", e.Dir)
	}
	return fmt.Sprintf("state directory %s: in use by process %s", e.Dir, e.PID)
}

// DamagedError says that the store's files do not open.
type DamagedError struct {
	Dir string
	Err error
}

func (e *DamagedError) Error() string { return fmt.Sprintf("state directory %s: %v", e.Dir, e.Err) }
func (e *DamagedError) Unwrap() error { return e.Err }

// Names in a state directory.
const (
	lockName  = "lock"
	filesName = "sealed"
	storeName = "store"
)

// Open opens a state directory, and makes it if there is none; its files are for
// this user alone. The error is a *LockedError if another process has it open, and
// a *DamagedError if its files do not open.
func Open(dir string) (*Store, error) {
	if err := makeDirs(dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, lock: lock}
	if err := s.open(filepath.Join(dir, storeName), false); err != nil {
		lock.Close()
		return nil, &DamagedError{dir, err}
	}
	return s, nil
}

// makeDirs makes what is missing, durably.
func makeDirs(dir string) error {
	for _, d := range []string{dir, filepath.Join(dir, filesName)} {
		if _, err := os.Stat(d); err == nil {
			continue
		}
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
		if err := syncDir(filepath.Dir(d)); err != nil {
			return err
		}
	}
	return nil
}

// Memory is a store that is gone when the process ends: the same code over a file
// system in memory.
func Memory() (*Store, error) {
	s := &Store{files: make(map[string][]byte)}
	return s, s.open(storeName, false)
}

// Tuning. The values are ciphertext, so that compression would find nothing.
const (
	cacheSize    = 64 << 20
	memTableSize = 32 << 20
	bloomBits    = 10
)

func options(cache *pebble.Cache) *pebble.Options {
	o := &pebble.Options{Cache: cache, MemTableSize: memTableSize, Logger: logger{}, FormatMajorVersion: pebble.FormatNewest}
	// Left alone Pebble would end the program. Who asked for what is damaged gets the
	// error, and all others go on.
	o.EventListener = &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}}
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBits)
	}
	return o
}

func (s *Store) open(dir string, readOnly bool) error {
	s.cache = pebble.NewCache(cacheSize)
	o := options(s.cache)
	o.ReadOnly, o.ErrorIfNotExists = readOnly, readOnly
	if s.dir == "" {
		o.FS = vfs.NewMem()
	}
	db, err := pebble.Open(dir, o)
	if err != nil {
		s.cache.Unref()
		return err
	}
	s.db = db
	return nil
}

// Close ends all use of the store; what is acknowledged is on the disk already.
func (s *Store) Close() error {
	err := s.db.Close()
	s.cache.Unref()
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// errAbsent is the answer for a key or a file that is not there.
var errAbsent = errors.New("absent")

// place is where a key of a table lies in Pebble.
func place(table string, key []byte) []byte {
	b := make([]byte, 0, 1+len(table)+len(key))
	return append(append(append(b, byte(len(table))), table...), key...)
}

// span is where the keys of a table from start on and before end lie; an empty end
// is the table's.
func span(table string, start, end []byte) (from, to []byte) {
	from = place(table, start)
	if len(end) > 0 {
		return from, place(table, end)
	}
	return from, after(place(table, nil))
}

// after is the first key that does not begin with prefix; nil if there is none.
func after(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			b := append([]byte(nil), prefix[:i+1]...)
			b[i]++
			return b
		}
	}
	return nil
}

// get appends the value of a key to dst.
func (s *Store) get(dst []byte, table string, key []byte) ([]byte, error) {
	v, closer, err := s.db.Get(place(table, key))
	if errors.Is(err, pebble.ErrNotFound) {
		return dst, errAbsent
	}
	if err != nil {
		return dst, err
	}
	dst = append(dst, v...)
	return dst, closer.Close()
}

// Empty reports whether there are no records.
func (s *Store) Empty() (bool, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{})
	if err != nil {
		return false, err
	}
	any := it.First()
	return !any, errors.Join(it.Error(), it.Close())
}

// apply carries out a batch, all of it or nothing.
func (s *Store) apply(table string, ops []kvwire.Op) error {
	b := s.db.NewBatch()
	defer b.Close()
	if err := fill(b, table, ops); err != nil {
		return err
	}
	return b.Commit(pebble.Sync)
}

// commit is apply in the order of the numbers. Pebble's log has the batches in the order
// in which they were given to it, and one that waits for the disk keeps none behind it
// from being given: so the disk is synced for several at once.
func (s *Store) commit(ctx context.Context, number uint64, table string, ops []kvwire.Op) error {
	b := s.db.NewBatch()
	defer b.Close()
	err := s.turns.Take(ctx, number, func() error {
		if err := fill(b, table, ops); err != nil {
			return err
		}
		return s.db.ApplyNoSyncWait(b, pebble.Sync)
	})
	if err != nil {
		return err
	}
	return b.SyncWait()
}

func fill(b *pebble.Batch, table string, ops []kvwire.Op) error {
	for _, o := range ops {
		var err error
		if o.Delete {
			err = b.Delete(place(table, o.Key), nil)
		} else {
			err = b.Set(place(table, o.Key), o.Value, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) deleteRange(table string, start, end []byte) error {
	from, to := span(table, start, end)
	if string(from) >= string(to) {
		return nil
	}
	return s.db.DeleteRange(from, to, pebble.Sync)
}

// scan calls f with each pair of a range, in order, until f returns false. The
// slices are valid during the call; the key is the enclave's.
func (s *Store) scan(table string, start, end []byte, f func(k, v []byte) bool) error {
	from, to := span(table, start, end)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(err, it.Close())
		}
		if !f(it.Key()[1+len(table):], v) {
			break
		}
	}
	return it.Close()
}

// logger is where Pebble's own words go: nowhere, but for the last ones.
type logger struct{}

func (logger) Infof(string, ...any)  {}
func (logger) Errorf(string, ...any) {}

// Fatalf must not return: Pebble calls it where it cannot tell any more what is on
// the disk, as after a failed write of its log. What is acknowledged is there when
// the directory is opened again.
func (logger) Fatalf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "eos: error: the host's store has failed: %s; hint: see that the disk is sound and has room, and start again\n", fmt.Sprintf(format, args...))
	os.Exit(1)
}
