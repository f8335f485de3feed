package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/enclaveos/eos/pkg/runtime/kvstore"
	"github.com/enclaveos/eos/pkg/runtime/wasm/wasifs"
)

// Table is one table of the sealed store.
type Table interface {
	// Get returns the value of a key, or an error that is kvstore.ErrNotFound.
	Get(ctx context.Context, key []byte) ([]byte, error)
	Put(ctx context.Context, key, value []byte) error
	Delete(ctx context.Context, key []byte) error
	// Scan calls f for each key with the prefix, in ascending order. What f gets is
	// its own.
	Scan(ctx context.Context, prefix []byte, f func(key, value []byte) error) error
	// Keys is Scan without the values, of which f gets the sizes.
	Keys(ctx context.Context, prefix []byte, f func(key []byte, size int) error) error
	// Batch carries out all operations or none.
	Batch(ctx context.Context, ops []kvstore.Op) error
}

// Tables gives the table of a name; tables of different names have nothing in
// common.
type Tables func(name string) Table

// Quota is what bounds an app's tables.
type Quota interface {
	// Used returns what they take and what they may, in bytes.
	Used() (used, limit uint64)
}

// Quotas bounds what the tables of these names take together: batches that would make
// them larger fail with kvstore.ErrQuota.
type Quotas func(ctx context.Context, limit uint64, tables ...string) (Quota, error)

// storeOf gives apps the sealed store.
func storeOf(s *kvstore.Store) (Tables, Quotas) {
	quotas := func(ctx context.Context, limit uint64, names ...string) (Quota, error) {
		tables := make([]*kvstore.Table, len(names))
		for i, n := range names {
			tables[i] = s.Table(n)
		}
		return s.SetQuota(ctx, limit, tables...)
	}
	return func(name string) Table { return s.Table(name) }, quotas
}

// openStore gives the app its tables, and bounds them.
func (a *App) openStore(ctx context.Context) error {
	h := a.host
	a.kv, a.keys = timed{h.table("kv", a.Name)}, timed{h.table("key", a.Name)}
	var room func() int64
	if h.Quotas != nil {
		var err error
		if a.quota, err = h.Quotas(ctx, a.Limits.Storage, tableName("kv", a.Name), tableName("key", a.Name), tableName("fs", a.Name)); err != nil {
			return err
		}
		room = func() int64 {
			used, limit := a.quota.Used()
			return int64(limit) - int64(used)
		}
	}
	files, err := wasifs.Open(ctx, h.table("fs", a.Name), room)
	if err != nil {
		return fmt.Errorf("its files: %w", err)
	}
	a.files = files
	return nil
}

// table is an app's table: kind is "kv", "key" or "fs".
func (h *Host) table(kind, app string) Table { return h.Tables(tableName(kind, app)) }

// tableName names it. Names that would be too long for the store are hashed; '#' is in no
// app's name.
func tableName(kind, app string) string {
	name := kind + ":" + app
	if len(name) > kvstore.MaxTable {
		sum := sha256.Sum256([]byte(app))
		name = kind + ":#" + hex.EncodeToString(sum[:20])
	}
	return name
}

// timed is a table whose host may not answer: an instance waits for it until its time is
// over.
type timed struct{ t Table }

func until(ctx context.Context) (context.Context, context.CancelFunc) {
	if in, ok := ctx.Value(instanceKey{}).(*instance); ok {
		return context.WithDeadline(ctx, in.end)
	}
	return ctx, func() {}
}

func (t timed) Get(ctx context.Context, key []byte) ([]byte, error) {
	ctx, cancel := until(ctx)
	defer cancel()
	return t.t.Get(ctx, key)
}

func (t timed) Put(ctx context.Context, key, value []byte) error {
	ctx, cancel := until(ctx)
	defer cancel()
	return t.t.Put(ctx, key, value)
}

func (t timed) Delete(ctx context.Context, key []byte) error {
	ctx, cancel := until(ctx)
	defer cancel()
	return t.t.Delete(ctx, key)
}

func (t timed) Scan(ctx context.Context, prefix []byte, f func(key, value []byte) error) error {
	ctx, cancel := until(ctx)
	defer cancel()
	return t.t.Scan(ctx, prefix, f)
}

func (t timed) Keys(ctx context.Context, prefix []byte, f func(key []byte, size int) error) error {
	ctx, cancel := until(ctx)
	defer cancel()
	return t.t.Keys(ctx, prefix, f)
}

func (t timed) Batch(ctx context.Context, ops []kvstore.Op) error {
	ctx, cancel := until(ctx)
	defer cancel()
	return t.t.Batch(ctx, ops)
}

// errStop ends a Scan early.
var errStop = errors.New("stop")
