package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"github.com/enclaveos/eos/pkg/runtime/kvstore"
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

// table names an app's table: kind is "kv", "key" or "fs". Names that would be too
// long for the store are hashed; '#' is in no app's name.
func (h *Host) table(kind, app string) Table {
	name := kind + ":" + app
	if len(name) > kvstore.MaxTable {
		sum := sha256.Sum256([]byte(app))
		name = kind + ":#" + hex.EncodeToString(sum[:20])
	}
	return h.Tables(name)
}

// errStop ends a Scan early.
var errStop = errors.New("stop")
