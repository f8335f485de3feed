package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runner/kvback"
	"github.com/enclaveos/eos/pkg/runtime/kvstore"
	"github.com/enclaveos/eos/pkg/runtime/rpc"
)

// The store's work: names hidden, values encrypted, an index authenticated, through all
// codecs, on the host's store; beside Pebble alone with its defaults. All writes are
// synced.
const (
	storeKeys  = 50_000
	storeValue = 160
)

// kv is one of the two.
type kv interface {
	put(key, value []byte) error
	get(key []byte) error
	fill(keys [][]byte, value []byte) error
}

func storeRows(dir string) []row {
	var rows []row
	side := func(name string, open func() kv, work func(b *testing.B, s kv)) side {
		return side{name: name, run: func(b *testing.B) { work(b, filled(name, open)) }}
	}
	ours := func() kv { return openStore(filepath.Join(dir, "store")) }
	raw := func() kv { return openPebble(filepath.Join(dir, "pebble")) }
	add := func(name string, work func(b *testing.B, s kv)) {
		rows = append(rows, row{name, side("eos", ours, work), side("Pebble alone", raw, work), "time ≤ 1.18"})
	}
	value := make([]byte, storeValue)
	var next atomic.Uint64
	for _, writers := range []int{1, 16, 64} {
		add(fmt.Sprintf("store: put, %d writers", writers), func(b *testing.B, s kv) {
			b.SetParallelism(max(1, writers/2)) // for each of two processors
			put := func() { check(s.put(storeKey(next.Add(1)%storeKeys), value)) }
			if writers == 1 {
				for b.Loop() {
					put()
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					put()
				}
			})
		})
	}
	add("store: get", func(b *testing.B, s kv) {
		for b.Loop() {
			check(s.get(storeKey(rand.Uint64N(storeKeys))))
		}
	})
	return rows
}

func storeKey(i uint64) []byte {
	key := make([]byte, 32)
	binary.BigEndian.PutUint64(key, i*0x9e3779b97f4a7c15)
	return key
}

var (
	openStores = map[string]kv{}
	storesLock sync.Mutex
)

// filled opens a store at its first use and fills it.
func filled(name string, open func() kv) kv {
	storesLock.Lock()
	defer storesLock.Unlock()
	if s := openStores[name]; s != nil {
		return s
	}
	s := open()
	value := make([]byte, storeValue)
	for i := uint64(0); i < storeKeys; i += 1000 {
		var keys [][]byte
		for j := range uint64(1000) {
			keys = append(keys, storeKey(i+j))
		}
		check(s.fill(keys, value))
	}
	openStores[name] = s
	return s
}

type rawPebble struct{ db *pebble.DB }

func openPebble(dir string) kv {
	// What goes on when the files are removed at the end is no corruption.
	ignore := &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}}
	db, err := pebble.Open(dir, &pebble.Options{Logger: quiet{}, EventListener: ignore})
	check(err)
	return rawPebble{db}
}

// quiet is Pebble's log.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

func (p rawPebble) put(key, value []byte) error { return p.db.Set(key, value, pebble.Sync) }

func (p rawPebble) get(key []byte) error {
	v, c, err := p.db.Get(key)
	if err != nil {
		return err
	}
	_ = append([]byte(nil), v...) // the caller's own, as ours
	return c.Close()
}

func (p rawPebble) fill(keys [][]byte, value []byte) error {
	b := p.db.NewBatch()
	defer b.Close()
	for _, k := range keys {
		if err := b.Set(k, value, nil); err != nil {
			return err
		}
	}
	return b.Commit(pebble.Sync)
}

// sealedStore is the enclave's store above the host's, without the rings between.
type sealedStore struct{ t *kvstore.Table }

// host calls the host's handlers directly.
type host map[wire.Method]func(context.Context, []byte) (int32, []byte)

func (h host) Call(ctx context.Context, m wire.Method, payload []byte) ([]byte, error) {
	status, b := h[m](ctx, payload)
	if status != wire.StatusOK {
		return nil, &rpc.StatusError{Method: m, Status: status, Payload: b}
	}
	return b, nil
}

func openStore(dir string) kv {
	back, err := kvback.Open(dir)
	check(err)
	b := kvstore.Remote(host(back.Handlers()))
	var master [kvstore.KeySize]byte
	check(kvstore.Create(context.Background(), b, master))
	s, err := kvstore.Open(context.Background(), b, master, kvstore.Options{})
	check(err)
	return sealedStore{s.Table("bench")}
}

func (s sealedStore) put(key, value []byte) error { return s.t.Put(context.Background(), key, value) }

func (s sealedStore) get(key []byte) error {
	_, err := s.t.Get(context.Background(), key)
	return err
}

func (s sealedStore) fill(keys [][]byte, value []byte) error {
	ops := make([]kvstore.Op, len(keys))
	for i, k := range keys {
		ops[i] = kvstore.Op{Key: k, Value: value}
	}
	return s.t.Batch(context.Background(), ops)
}
