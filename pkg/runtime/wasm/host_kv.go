package wasm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"

	"github.com/enclaveos/eos/pkg/runtime/kvstore"
	"github.com/enclaveos/eos/pkg/runtime/wasm/abi"
)

func kvGet(ctx context.Context, a *args) int32 {
	key := a.bytes(abi.MaxKey)
	if a.code < 0 || !a.store(a.in.app.kv, key) {
		return a.code
	}
	v, err := a.in.app.kv.Get(ctx, key)
	switch {
	case errors.Is(err, kvstore.ErrNotFound):
		return abi.ErrNotFound
	case err != nil:
		return a.storeError("kv_get", err)
	}
	return a.give(v)
}

func kvPut(ctx context.Context, a *args) int32 {
	key, value := a.bytes(abi.MaxKey), a.bytes(abi.MaxValue)
	if a.code < 0 || !a.store(a.in.app.kv, key) {
		return a.code
	}
	if err := a.in.app.kv.Put(ctx, key, value); err != nil {
		return a.storeError("kv_put", err)
	}
	return 0
}

func kvDelete(ctx context.Context, a *args) int32 {
	key := a.bytes(abi.MaxKey)
	if a.code < 0 || !a.store(a.in.app.kv, key) {
		return a.code
	}
	return a.remove(ctx, a.in.app.kv, key)
}

func kvList(ctx context.Context, a *args) int32 {
	prefix, after, limit := a.bytes(abi.MaxKey), a.bytes(abi.MaxKey), a.i32()
	if a.code < 0 {
		return a.code
	}
	if limit < 0 {
		return abi.ErrInvalid
	}
	if limit == 0 || limit > 1000 {
		limit = 1000
	}
	if !a.store(a.in.app.kv, []byte{0}) {
		return a.code
	}
	var out []byte
	err := a.in.app.kv.Keys(ctx, prefix, func(k []byte, _ int) error {
		a.in.chargeBytes(len(k))
		if len(after) > 0 && bytes.Compare(k, after) <= 0 {
			return nil
		}
		if limit == 0 {
			return errStop
		}
		limit--
		out = append(binary.LittleEndian.AppendUint32(out, uint32(len(k))), k...)
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		return a.storeError("kv_list", err)
	}
	return a.give(out)
}

// store reports whether there is a table, and the key can be one of it.
func (a *args) store(t Table, key []byte) bool {
	switch {
	case t == nil:
		a.code = abi.ErrUnavailable
	case len(key) == 0:
		a.code = abi.ErrInvalid
	default:
		a.in.charge(fuelStore)
	}
	return a.code == 0
}

// remove deletes a key and says whether there was one.
func (a *args) remove(ctx context.Context, t Table, key []byte) int32 {
	_, err := t.Get(ctx, key)
	if errors.Is(err, kvstore.ErrNotFound) {
		return 0
	}
	if err == nil {
		err = t.Delete(ctx, key)
	}
	if err != nil {
		return a.storeError("delete", err)
	}
	return 1
}
