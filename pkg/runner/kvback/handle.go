package kvback

import (
	"context"
	"errors"

	"github.com/enclaveos/eos/pkg/channel/kvwire"
	"github.com/enclaveos/eos/pkg/channel/wire"
)

// Handlers are the methods of package kvwire, to be served to one enclave; they may
// run at once. A request that does not parse, or that the disk fails, gets
// wire.StatusError and a text.
func (s *Store) Handlers() map[wire.Method]func(context.Context, []byte) (int32, []byte) {
	m := make(map[wire.Method]func(context.Context, []byte) (int32, []byte))
	for method, f := range map[wire.Method]func(context.Context, []byte) ([]byte, error){
		kvwire.Commit: s.handleCommit,
		kvwire.Put:    s.handlePut, kvwire.Get: s.handleGet, kvwire.Delete: s.handleDelete,
		kvwire.ListKeys: s.handleListKeys, kvwire.WriteBatch: s.handleWriteBatch,
		kvwire.MultiGet: s.handleMultiGet, kvwire.Scan: s.handleScan, kvwire.DeleteRange: s.handleDeleteRange,
		kvwire.StateGet: s.handleStateGet, kvwire.StatePut: s.handleStatePut,
	} {
		m[method] = func(ctx context.Context, payload []byte) (int32, []byte) {
			reply, err := f(ctx, payload)
			switch {
			case errors.Is(err, errAbsent):
				return kvwire.StatusAbsent, nil
			case err != nil:
				return wire.StatusError, []byte(err.Error())
			}
			return wire.StatusOK, reply
		}
	}
	return m
}

func (s *Store) handlePut(_ context.Context, b []byte) ([]byte, error) {
	table, key, value, err := kvwire.ParsePut(b)
	if err != nil {
		return nil, err
	}
	return nil, s.apply(table, []kvwire.Op{{Key: key, Value: value}})
}

func (s *Store) handleGet(_ context.Context, b []byte) ([]byte, error) {
	table, key, err := kvwire.ParseGet(b)
	if err != nil {
		return nil, err
	}
	return s.get(nil, table, key)
}

// handleDelete is not atomic with regard to what else happens to the key: between
// two that delete it, both may say that it was there.
func (s *Store) handleDelete(_ context.Context, b []byte) ([]byte, error) {
	table, key, err := kvwire.ParseGet(b)
	if err != nil {
		return nil, err
	}
	if _, err := s.get(nil, table, key); err != nil {
		return nil, err
	}
	return nil, s.apply(table, []kvwire.Op{{Key: key, Delete: true}})
}

func (s *Store) handleListKeys(_ context.Context, b []byte) ([]byte, error) {
	table, prefix, err := kvwire.ParseListKeys(b)
	if err != nil {
		return nil, err
	}
	var keys [][]byte
	size := 4
	err = s.scan(table, prefix, after(prefix), func(k, _ []byte) bool {
		size += 4 + len(k)
		if size > kvwire.MaxPayload || len(keys) == kvwire.MaxItems {
			return false
		}
		keys = append(keys, append([]byte{}, k...))
		return true
	})
	return kvwire.AppendKeys(nil, keys), err
}

func (s *Store) handleWriteBatch(_ context.Context, b []byte) ([]byte, error) {
	table, ops, err := kvwire.ParseWriteBatch(b)
	if err != nil {
		return nil, err
	}
	return nil, s.apply(table, ops)
}

func (s *Store) handleCommit(ctx context.Context, b []byte) ([]byte, error) {
	number, table, ops, err := kvwire.ParseCommit(b)
	if err != nil {
		return nil, err
	}
	return nil, s.commit(ctx, number, table, ops)
}

func (s *Store) handleMultiGet(_ context.Context, b []byte) ([]byte, error) {
	table, keys, err := kvwire.ParseMultiGet(b)
	if err != nil {
		return nil, err
	}
	values := make([][]byte, len(keys))
	size := 4
	for i, k := range keys {
		v, err := s.get([]byte{}, table, k)
		if errors.Is(err, errAbsent) {
			size++
			continue
		}
		if err != nil {
			return nil, err
		}
		if size += 1 + 4 + len(v); size > kvwire.MaxPayload {
			return nil, errors.New("the values are too many for one answer: ask for fewer")
		}
		values[i] = v
	}
	return kvwire.AppendValues(make([]byte, 0, size), values), nil
}

func (s *Store) handleScan(_ context.Context, b []byte) ([]byte, error) {
	table, limit, start, end, err := kvwire.ParseScan(b)
	if err != nil {
		return nil, err
	}
	var pairs []kvwire.Pair
	size := 4
	err = s.scan(table, start, end, func(k, v []byte) bool {
		size += 4 + len(k) + 4 + len(v)
		if size > kvwire.MaxPayload || len(pairs) == limit {
			return false
		}
		pairs = append(pairs, kvwire.Pair{Key: append([]byte{}, k...), Value: append([]byte{}, v...)})
		return true
	})
	return kvwire.AppendPairs(nil, pairs), err
}

func (s *Store) handleDeleteRange(_ context.Context, b []byte) ([]byte, error) {
	table, start, end, err := kvwire.ParseDeleteRange(b)
	if err != nil {
		return nil, err
	}
	return nil, s.deleteRange(table, start, end)
}

func (s *Store) handleStateGet(_ context.Context, b []byte) ([]byte, error) {
	name, err := kvwire.ParseStateGet(b)
	if err != nil {
		return nil, err
	}
	return s.file(name)
}

func (s *Store) handleStatePut(_ context.Context, b []byte) ([]byte, error) {
	name, content, err := kvwire.ParseStatePut(b)
	if err != nil {
		return nil, err
	}
	return nil, s.putFile(name, content)
}
