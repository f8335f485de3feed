package attest

import "sync"

// memo remembers at most size values, the oldest goes first. What it keeps
// does not depend on the time; dates are compared at each use.
type memo[V any] struct {
	mu    sync.Mutex
	vals  map[[32]byte]V
	order [][32]byte
}

// memoSize is how many platforms a verifier remembers, at some 50 KiB each.
const memoSize = 128

func (m *memo[V]) get(k [32]byte) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.vals[k]
	return v, ok
}

func (m *memo[V]) put(k [32]byte, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.vals[k]; ok {
		return
	}
	if m.vals == nil {
		m.vals = make(map[[32]byte]V)
	}
	if len(m.order) == memoSize {
		delete(m.vals, m.order[0])
		m.order = append(m.order[:0], m.order[1:]...)
	}
	m.vals[k] = v
	m.order = append(m.order, k)
}
