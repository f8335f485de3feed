package kvstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/enclaveos/eos/pkg/channel/kvwire"
	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runtime/rpc"
)

// ErrAbsent is a Backend's answer that it has no such key or file.
var ErrAbsent = errors.New("absent")

// Backend is where records and files lie: with the host, which is believed nothing.
// All methods may be called at once. A write has happened, and survives a crash, when
// its method has returned nil; after an error it may have happened or not.
type Backend interface {
	// Get returns the value of a key, or ErrAbsent.
	Get(ctx context.Context, key []byte) ([]byte, error)
	// MultiGet returns the values of the keys, nil for those that are absent.
	MultiGet(ctx context.Context, keys [][]byte) ([][]byte, error)
	// Apply carries out all operations or none.
	Apply(ctx context.Context, ops []kvwire.Op) error
	// Commit is Apply for batches that are under way at the same time: they happen in
	// the order of their numbers, from 1 on, and none without those before it. Number 1
	// begins anew.
	Commit(ctx context.Context, number uint64, ops []kvwire.Op) error
	// Scan returns at most limit pairs from start on and before end, in ascending
	// order; none only if there are none.
	Scan(ctx context.Context, start, end []byte, limit int) ([]kvwire.Pair, error)
	// DeleteRange deletes the keys from start on and before end.
	DeleteRange(ctx context.Context, start, end []byte) error
	// GetFile returns the content of a file, or ErrAbsent.
	GetFile(ctx context.Context, name string) ([]byte, error)
	// PutFile replaces a file: what is read later is the old one or the new one.
	PutFile(ctx context.Context, name string, content []byte) error
}

// Caller makes requests to the host. It is *rpc.Client.
type Caller interface {
	Call(ctx context.Context, method wire.Method, payload []byte) ([]byte, error)
}

// hostTable is the one table of the host's that we use, so that batches span all.
const hostTable = "eos"

// Remote is the Backend behind the RPC channel.
func Remote(c Caller) Backend { return remote{c} }

type remote struct{ c Caller }

func (r remote) Get(ctx context.Context, key []byte) ([]byte, error) {
	b, err := r.call(ctx, kvwire.Get, kvwire.AppendGet(nil, hostTable, key))
	if err == nil && len(b) > kvwire.MaxValue {
		return nil, &HostError{"reading", fmt.Errorf("the answer has %d bytes, at most %d are possible", len(b), kvwire.MaxValue)}
	}
	return b, err
}

func (r remote) MultiGet(ctx context.Context, keys [][]byte) ([][]byte, error) {
	b, err := r.call(ctx, kvwire.MultiGet, kvwire.AppendMultiGet(nil, hostTable, keys))
	if err != nil {
		return nil, err
	}
	values, err := kvwire.ParseValues(b, len(keys))
	return values, wrongAnswer("reading", err)
}

func (r remote) Apply(ctx context.Context, ops []kvwire.Op) error {
	return r.write(ctx, kvwire.WriteBatch, kvwire.AppendWriteBatch(make([]byte, 0, batchSize(ops)), hostTable, ops))
}

func (r remote) Commit(ctx context.Context, number uint64, ops []kvwire.Op) error {
	return r.write(ctx, kvwire.Commit, kvwire.AppendCommit(make([]byte, 0, batchSize(ops)), number, hostTable, ops))
}

// batchSize is enough for a batch.
func batchSize(ops []kvwire.Op) int {
	n := 8 + 2 + len(hostTable) + 4
	for _, o := range ops {
		n += kvwire.OpSize(o)
	}
	return n
}

func (r remote) Scan(ctx context.Context, start, end []byte, limit int) ([]kvwire.Pair, error) {
	b, err := r.call(ctx, kvwire.Scan, kvwire.AppendScan(nil, hostTable, uint32(limit), start, end))
	if err != nil {
		return nil, err
	}
	pairs, err := kvwire.ParsePairs(b)
	if err == nil && len(pairs) > limit {
		err = fmt.Errorf("%d pairs, where %d were asked for", len(pairs), limit)
	}
	for _, p := range pairs {
		if err == nil && (string(p.Key) < string(start) || len(end) > 0 && string(p.Key) >= string(end)) {
			err = errors.New("a key lies outside the range that was asked for")
		}
	}
	if err != nil {
		return nil, wrongAnswer("scanning", err)
	}
	return pairs, nil
}

func (r remote) DeleteRange(ctx context.Context, start, end []byte) error {
	return r.write(ctx, kvwire.DeleteRange, kvwire.AppendDeleteRange(nil, hostTable, start, end))
}

func (r remote) GetFile(ctx context.Context, name string) ([]byte, error) {
	b, err := r.call(ctx, kvwire.StateGet, []byte(name))
	if err == nil && len(b) > kvwire.MaxFile {
		return nil, &HostError{"reading file " + name, fmt.Errorf("the answer has %d bytes, at most %d are possible", len(b), kvwire.MaxFile)}
	}
	return b, err
}

func (r remote) PutFile(ctx context.Context, name string, content []byte) error {
	return r.write(ctx, kvwire.StatePut, kvwire.AppendStatePut(nil, name, content))
}

func (r remote) write(ctx context.Context, m wire.Method, payload []byte) error {
	b, err := r.call(ctx, m, payload)
	if err != nil {
		return err
	}
	return wrongAnswer("writing", kvwire.ParseNothing(b))
}

func (r remote) call(ctx context.Context, m wire.Method, payload []byte) ([]byte, error) {
	b, err := r.c.Call(ctx, m, payload)
	var status *rpc.StatusError
	switch {
	case err == nil:
		return b, nil
	case errors.As(err, &status) && status.Status == kvwire.StatusAbsent && (m == kvwire.Get || m == kvwire.StateGet):
		return nil, ErrAbsent
	case errors.As(err, &status) && len(status.Payload) > 0:
		return nil, &HostError{"", fmt.Errorf("%w: %q", err, status.Payload[:min(len(status.Payload), 200)])}
	}
	return nil, &HostError{"", err}
}

// HostError says that the host did not do its part, or gave an answer that is none.
type HostError struct {
	Doing string // what was being done, or ""
	Err   error
}

func (e *HostError) Error() string {
	if e.Doing == "" {
		return fmt.Sprintf("the host's store: %v", e.Err)
	}
	return fmt.Sprintf("the host's store: %s: %v", e.Doing, e.Err)
}

func (e *HostError) Unwrap() error { return e.Err }

func wrongAnswer(doing string, err error) error {
	if err == nil {
		return nil
	}
	return &HostError{doing, err}
}
