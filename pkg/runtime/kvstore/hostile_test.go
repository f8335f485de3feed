package kvstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/channel/kvwire"
	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runner/kvback"
	"github.com/enclaveos/eos/pkg/runtime/kvstore"
	"github.com/enclaveos/eos/pkg/runtime/rpc"
)

var master = [kvstore.KeySize]byte{9}

// host is an honest host's store behind the RPC payloads, whose answers can be bent.
type host struct {
	handlers map[wire.Method]func(context.Context, []byte) (int32, []byte)

	mu   sync.Mutex
	bend func(m wire.Method, request []byte, status int32, reply []byte) (int32, []byte) // nil: none
	drop func(m wire.Method, request []byte) bool                                        // does not happen, but is answered
	bent int                                                                             // answers that were bent
}

func newHost(t testing.TB) *host {
	t.Helper()
	s, err := kvback.Memory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &host{handlers: s.Handlers()}
}

func (h *host) answer(ctx context.Context, m wire.Method, request []byte) (int32, []byte) {
	h.mu.Lock()
	bend, drop := h.bend, h.drop
	h.mu.Unlock()
	if drop != nil && drop(m, request) {
		h.count()
		return wire.StatusOK, nil
	}
	status, reply := h.handlers[m](ctx, request)
	if bend != nil {
		s, r := bend(m, request, status, bytes.Clone(reply))
		if s != status || !bytes.Equal(r, reply) {
			h.count()
		}
		return s, r
	}
	return status, reply
}

func (h *host) count() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bent++
}

func (h *host) lie(bend func(wire.Method, []byte, int32, []byte) (int32, []byte)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bend, h.bent = bend, 0
}

func (h *host) lies() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bent
}

// Call makes the host a kvstore.Caller.
func (h *host) Call(ctx context.Context, m wire.Method, payload []byte) ([]byte, error) {
	status, reply := h.answer(ctx, m, payload)
	if status != wire.StatusOK {
		return nil, &rpc.StatusError{Method: m, Status: status, Payload: reply}
	}
	return reply, nil
}

// uncached makes that values are read from the host each time.
var uncached = kvstore.Options{ValueCache: -1}

// copied is all that a host has.
type copied struct {
	pairs []kvwire.Pair
	root  []byte
}

func (h *host) copy(t *testing.T) (c copied) {
	t.Helper()
	b := kvstore.Remote(h)
	var err error
	if c.pairs, err = b.Scan(t.Context(), nil, nil, kvwire.MaxItems); err != nil {
		t.Fatal(err)
	}
	if c.root, err = b.GetFile(t.Context(), "root"); err != nil {
		t.Fatal(err)
	}
	return c
}

func (h *host) restore(t *testing.T, c copied) {
	t.Helper()
	h.lie(nil)
	b := kvstore.Remote(h)
	var ops []kvwire.Op
	for _, p := range c.pairs {
		ops = append(ops, kvwire.Op{Key: p.Key, Value: p.Value})
	}
	if err := errors.Join(b.DeleteRange(t.Context(), nil, nil), b.Apply(t.Context(), ops), b.PutFile(t.Context(), "root", c.root)); err != nil {
		t.Fatal(err)
	}
}

// small makes that nodes are read from the host all the time.
var small = kvstore.Options{CacheSize: 8000, ValueCache: -1, RootInterval: time.Hour}

// told reports whether an error says that it is the host who is wrong.
func told(err error) bool {
	var (
		h *kvstore.HostError
		i *kvstore.IntegrityError
		r *kvstore.RollbackError
	)
	return errors.As(err, &h) || errors.As(err, &i) || errors.As(err, &r) || errors.Is(err, kvstore.ErrFailed) ||
		err != nil && strings.HasPrefix(err.Error(), "sealed root:")
}

// fill makes a store with enough keys for some levels of nodes, some of them overwritten.
func fill(t *testing.T, h *host) map[string]string {
	t.Helper()
	b := kvstore.Remote(h)
	if err := kvstore.Create(t.Context(), b, master); err != nil {
		t.Fatal(err)
	}
	s, err := kvstore.Open(t.Context(), b, master, small)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for round := range 2 {
		for i := 0; i < 300; i += 30 {
			var ops []kvstore.Op
			for j := i; j < i+30; j += 1 + round {
				k, v := fmt.Sprintf("key %03d", j), fmt.Sprintf("value %d of round %d", j, round)
				ops = append(ops, kvstore.Op{Key: []byte(k), Value: []byte(v)})
				want[k] = v
			}
			if err := s.Table("t").Batch(t.Context(), ops); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return want
}

// use does some of everything and returns the errors. What it is told is right.
func use(t *testing.T, name string, h *host, want map[string]string) (errs []error) {
	t.Helper()
	note := func(what string, err error) {
		if err == nil {
			return
		}
		if !told(err) {
			t.Errorf("%s: %s: %T %v", name, what, err, err)
		}
		errs = append(errs, err)
	}
	ctx := t.Context()
	s, err := kvstore.Open(ctx, kvstore.Remote(h), master, small)
	note("open", err)
	if err != nil {
		return errs
	}
	table := s.Table("t")
	for i := 0; i < 300; i += 17 {
		k := fmt.Sprintf("key %03d", i)
		v, err := table.Get(ctx, []byte(k))
		note("get", err)
		if err == nil && string(v) != want[k] {
			t.Errorf("%s: %q is %q, want %q", name, k, v, want[k])
		}
	}
	if v, err := table.Get(ctx, []byte("never")); err == nil {
		t.Errorf("%s: a key that was never written is %q", name, v)
	} else if !errors.Is(err, kvstore.ErrNotFound) {
		note("get", err)
	}
	seen := 0
	err = table.Scan(ctx, []byte("key 1"), func(k, v []byte) error {
		seen++
		if want[string(k)] != string(v) {
			t.Errorf("%s: scan: %q is %q, want %q", name, k, v, want[string(k)])
		}
		return nil
	})
	note("scan", err)
	if err == nil && seen != 100 {
		t.Errorf("%s: the scan has seen %d keys of 100", name, seen)
	}
	for i := range 15 {
		k, v := fmt.Sprintf("key %03d", i*19), fmt.Sprintf("late %d", i)
		err := table.Put(ctx, []byte(k), []byte(v))
		note("put", err)
		if err != nil {
			break
		}
		got, err := table.Get(ctx, []byte(k))
		note("get", err)
		if err == nil && string(got) != v {
			t.Errorf("%s: own write: %q is %q, want %q", name, k, got, v)
		}
	}
	note("close", s.Close(ctx))
	return errs
}

var methods = []wire.Method{kvwire.Get, kvwire.MultiGet, kvwire.Commit, kvwire.WriteBatch, kvwire.Scan, kvwire.DeleteRange, kvwire.StateGet, kvwire.StatePut}

// TestHostileAnswers bends every answer of every method in every way: what comes of it is
// an error that tells, and never a wrong value, a missing key, or a panic.
func TestHostileAnswers(t *testing.T) {
	type bend func(request []byte, status int32, reply []byte) (int32, []byte)
	bends := map[string]bend{
		"status -1":         func(_ []byte, _ int32, _ []byte) (int32, []byte) { return -1, nil },
		"status -10":        func(_ []byte, _ int32, _ []byte) (int32, []byte) { return wire.StatusUnsupported, nil },
		"status 1":          func(_ []byte, _ int32, _ []byte) (int32, []byte) { return kvwire.StatusAbsent, nil },
		"status 7 and text": func(_ []byte, _ int32, _ []byte) (int32, []byte) { return 7, []byte("\x1b[31mno\n") },
		"empty":             func(_ []byte, _ int32, _ []byte) (int32, []byte) { return 0, nil },
		"a byte less":       func(_ []byte, s int32, r []byte) (int32, []byte) { return s, r[:max(0, len(r)-1)] },
		"a byte more":       func(_ []byte, s int32, r []byte) (int32, []byte) { return s, append(r, 0) },
		"half":              func(_ []byte, s int32, r []byte) (int32, []byte) { return s, r[:len(r)/2] },
		"twice":             func(_ []byte, s int32, r []byte) (int32, []byte) { return s, append(r, r...) },
		"largest":           func(_ []byte, s int32, _ []byte) (int32, []byte) { return s, make([]byte, kvwire.MaxPayload) },
		"ones":              func(_ []byte, s int32, r []byte) (int32, []byte) { return s, bytes.Repeat([]byte{0xff}, len(r)+9) },
		"request":           func(q []byte, _ int32, _ []byte) (int32, []byte) { return 0, q },
	}
	for _, at := range []int{0, 1, 4, 5, 20, 45, 70} { // of headers, nonces, texts
		bends[fmt.Sprintf("byte %d changed", at)] = func(_ []byte, s int32, r []byte) (int32, []byte) {
			if at < len(r) {
				r[at] ^= 0x10
			}
			return s, r
		}
	}
	bends["last byte changed"] = func(_ []byte, s int32, r []byte) (int32, []byte) {
		if len(r) > 0 {
			r[len(r)-1] ^= 1
		}
		return s, r
	}
	h := newHost(t)
	want := fill(t, h)
	filled := h.copy(t)
	for _, method := range methods {
		for name, bend := range bends {
			name := fmt.Sprintf("%#x: %s", uint16(method), name)
			h.restore(t, filled)
			h.lie(func(m wire.Method, request []byte, status int32, reply []byte) (int32, []byte) {
				if m != method {
					return status, reply
				}
				return bend(request, status, reply)
			})
			errs := use(t, name, h, want)
			// A scan that is given wrong values asks for each again, and some ranges
			// that Open asks for are empty.
			if h.lies() > 0 && len(errs) == 0 && method != kvwire.Scan && method != kvwire.MultiGet {
				t.Errorf("%s: %d answers were bent and nobody has noticed", name, h.lies())
			}
		}
	}
}

// isGet reports whether a request reads a record of a kind.
func isGet(m wire.Method, request []byte, kind byte) bool {
	if m != kvwire.Get {
		return false
	}
	_, key, err := kvwire.ParseGet(request)
	return err == nil && key[0] == kind
}

// TestHostileRecords: old values, values of other keys and of other tables, absent ones, each
// of them whole and genuine.
func TestHostileRecords(t *testing.T) {
	h := newHost(t)
	b := kvstore.Remote(h)
	ctx := t.Context()
	if err := kvstore.Create(ctx, b, master); err != nil {
		t.Fatal(err)
	}
	s, err := kvstore.Open(ctx, b, master, uncached)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	table, other := s.Table("t"), s.Table("other")
	// answers are what the host has said to reads of values.
	var answers [][]byte
	remember := func(m wire.Method, q []byte, status int32, r []byte) (int32, []byte) {
		if isGet(m, q, 'v') {
			answers = append(answers, r)
		}
		return status, r
	}
	h.lie(remember)
	read := func(t *kvstore.Table, key string) { // reads what is with the host
		if _, err := t.Get(ctx, []byte(key)); err != nil {
			panic(err)
		}
	}
	for _, w := range []struct {
		t        *kvstore.Table
		key, val string
	}{{table, "k", "old"}, {table, "k", "new"}, {table, "l", "new"}, {other, "k", "new"}} {
		if err := w.t.Put(ctx, []byte(w.key), []byte(w.val)); err != nil {
			t.Fatal(err)
		}
		read(w.t, w.key)
	}
	if len(answers) != 4 {
		t.Fatalf("%d answers", len(answers))
	}
	old, mine, neighbour, foreign := answers[0], answers[1], answers[2], answers[3]
	mixed := append(bytes.Clone(mine[:17]), neighbour[17:]...)
	for name, c := range map[string]struct {
		answer []byte // nil: absent
		why    string
	}{
		"stale":                    {old, "version 1, the newest is 2"},
		"missing":                  {nil, "missing"},
		"another key's":            {neighbour, "version 3, the newest is 2"},
		"another table's":          {foreign, "version 4, the newest is 2"},
		"another key's, relabeled": {mixed, "changed, or the value of another key"},
	} {
		h.lie(func(m wire.Method, q []byte, status int32, r []byte) (int32, []byte) {
			switch {
			case isGet(m, q, 'v') && c.answer == nil:
				return kvwire.StatusAbsent, nil
			case isGet(m, q, 'v'):
				return wire.StatusOK, c.answer
			case m == kvwire.MultiGet: // of k and l
				return wire.StatusOK, kvwire.AppendValues(nil, [][]byte{c.answer, neighbour})
			}
			return status, r
		})
		var tampered *kvstore.IntegrityError
		if v, err := table.Get(ctx, []byte("k")); !errors.As(err, &tampered) || tampered.Why != c.why {
			t.Errorf("%s: get: %q, %v; want %q", name, v, err, c.why)
		}
		tampered = nil
		if err := table.Scan(ctx, nil, func(k, v []byte) error {
			if string(k) == "k" {
				t.Errorf("%s: scan: %q", name, v)
			}
			return nil
		}); !errors.As(err, &tampered) || tampered.Why != c.why {
			t.Errorf("%s: scan: %v", name, err)
		}
	}
	// A host that stops lying is believed again: each answer stands for itself.
	h.lie(nil)
	if v, err := table.Get(ctx, []byte("k")); err != nil || string(v) != "new" {
		t.Errorf("%q, %v", v, err)
	}
}

// TestHostileWrites: a write that is acknowledged and does not happen is found out by
// who reads it, and a deletion that does not happen is none that is seen.
func TestHostileWrites(t *testing.T) {
	h := newHost(t)
	b := kvstore.Remote(h)
	ctx := t.Context()
	if err := kvstore.Create(ctx, b, master); err != nil {
		t.Fatal(err)
	}
	s, err := kvstore.Open(ctx, b, master, kvstore.Options{RootInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	table := s.Table("t")
	for _, k := range []string{"a", "b"} {
		if err := table.Put(ctx, []byte(k), []byte("first")); err != nil {
			t.Fatal(err)
		}
	}
	h.mu.Lock()
	h.drop = func(m wire.Method, _ []byte) bool { return m == kvwire.Commit }
	h.mu.Unlock()
	if err := table.Batch(ctx, []kvstore.Op{{Key: []byte("a"), Value: []byte("second")}, {Key: []byte("b"), Delete: true}}); err != nil {
		t.Fatal(err)
	}
	var tampered *kvstore.IntegrityError
	if v, err := table.Get(ctx, []byte("a")); !errors.As(err, &tampered) {
		t.Errorf("%q, %v", v, err)
	}
	if v, err := table.Get(ctx, []byte("b")); !errors.Is(err, kvstore.ErrNotFound) {
		t.Errorf("%q, %v", v, err)
	}
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	h.drop = nil
	h.mu.Unlock()
	var rollback *kvstore.RollbackError
	if _, err := kvstore.Open(ctx, b, master, uncached); !errors.As(err, &rollback) {
		t.Errorf("opens without what was acknowledged: %v", err)
	}
}
