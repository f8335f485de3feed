package kvstore

import (
	"context"
	"errors"
	"sync"

	"github.com/enclaveos/eos/pkg/channel/kvwire"
)

// mortal is a Backend for one life of an enclave: what it does after its end, or after
// so many writes, never reaches the host.
type mortal struct {
	Backend
	mu     sync.Mutex
	dead   bool
	writes int  // so far
	last   int  // write at which it dies, 0: none
	does   bool // that write still happens, but nobody is told
	turns  kvwire.Turns
}

var errDead = errors.New("the enclave is dead")

func (m *mortal) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
}

func (m *mortal) write(f func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return errDead
	}
	if m.writes++; m.writes == m.last {
		m.dead = true
		if m.does {
			_ = f()
		}
		return errDead
	}
	return f()
}

func (m *mortal) Apply(ctx context.Context, ops []kvwire.Op) error {
	return m.write(func() error { return m.Backend.Apply(ctx, ops) })
}

func (m *mortal) Commit(ctx context.Context, number uint64, ops []kvwire.Op) error {
	return m.turns.Take(ctx, number, func() error { return m.Apply(ctx, ops) })
}

func (m *mortal) DeleteRange(ctx context.Context, start, end []byte) error {
	return m.write(func() error { return m.Backend.DeleteRange(ctx, start, end) })
}

func (m *mortal) PutFile(ctx context.Context, name string, content []byte) error {
	return m.write(func() error { return m.Backend.PutFile(ctx, name, content) })
}
