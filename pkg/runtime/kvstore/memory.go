package kvstore

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/enclaveos/eos/pkg/channel/kvwire"
)

// Memory is a Backend that forgets everything with the process: for tests.
type Memory struct {
	mu    sync.Mutex
	kv    map[string][]byte
	files map[string][]byte
	turns kvwire.Turns
}

// NewMemory returns an empty Memory.
func NewMemory() *Memory {
	return &Memory{kv: make(map[string][]byte), files: make(map[string][]byte)}
}

// Clone returns a copy, as a host could make one.
func (m *Memory) Clone() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Memory{kv: maps.Clone(m.kv), files: maps.Clone(m.files)}
}

// Get is a method of Backend.
func (m *Memory) Get(_ context.Context, key []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.kv[string(key)]
	if !ok {
		return nil, ErrAbsent
	}
	return bytes.Clone(v), nil
}

// MultiGet is a method of Backend.
func (m *Memory) MultiGet(_ context.Context, keys [][]byte) ([][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	values := make([][]byte, len(keys))
	for i, k := range keys {
		if v, ok := m.kv[string(k)]; ok {
			values[i] = append([]byte{}, v...)
		}
	}
	return values, nil
}

// Apply is a method of Backend.
func (m *Memory) Apply(_ context.Context, ops []kvwire.Op) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range ops {
		if o.Delete {
			delete(m.kv, string(o.Key))
		} else {
			m.kv[string(o.Key)] = append([]byte{}, o.Value...)
		}
	}
	return nil
}

// Commit is a method of Backend.
func (m *Memory) Commit(ctx context.Context, number uint64, ops []kvwire.Op) error {
	return m.turns.Take(ctx, number, func() error { return m.Apply(ctx, ops) })
}

// Scan is a method of Backend.
func (m *Memory) Scan(_ context.Context, start, end []byte, limit int) ([]kvwire.Pair, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []string
	for k := range m.kv {
		if k >= string(start) && (len(end) == 0 || k < string(end)) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	var pairs []kvwire.Pair
	for _, k := range keys[:min(limit, len(keys))] {
		pairs = append(pairs, kvwire.Pair{Key: []byte(k), Value: bytes.Clone(m.kv[k])})
	}
	return pairs, nil
}

// DeleteRange is a method of Backend.
func (m *Memory) DeleteRange(_ context.Context, start, end []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.kv, func(k string, _ []byte) bool {
		return k >= string(start) && (len(end) == 0 || k < string(end))
	})
	return nil
}

// GetFile is a method of Backend.
func (m *Memory) GetFile(_ context.Context, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.files[name]
	if !ok {
		return nil, ErrAbsent
	}
	return bytes.Clone(b), nil
}

// PutFile is a method of Backend.
func (m *Memory) PutFile(_ context.Context, name string, content []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[name] = append([]byte{}, content...)
	return nil
}
