package wasm

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/runtime/kvstore"
)

// deaf is a table whose host does not answer to writes while it is deaf, but for their
// time.
type deaf struct {
	Table
	is *atomic.Bool
}

func (d deaf) Put(ctx context.Context, key, value []byte) error {
	return d.Batch(ctx, []kvstore.Op{{Key: key, Value: value}})
}

func (d deaf) Batch(ctx context.Context, ops []kvstore.Op) error {
	if !d.is.Load() {
		return d.Table.Batch(ctx, ops)
	}
	<-ctx.Done()
	return ctx.Err()
}

// TestDeafHost: calls that wait for a host that does not answer end with their time, for
// keys and for files, and when it answers again all goes on.
func TestDeafHost(t *testing.T) {
	var is atomic.Bool
	tables, _ := openStore(t)
	h := &Host{Engine: Interpreter, Log: slog.New(slog.NewTextHandler(&logs, nil)), Tables: func(name string) Table { return deaf{tables(name), &is} }}
	a := load(t, h, "waits", guest(t), func(m *manifest.App) { m.Limits.TimeMS = 1000 })
	is.Store(true)
	for function, params := range map[string]string{"host": `{"calls":[["kv_put","k","v"]]}`, "write": `{"path":"/f","text":"x"}`} {
		_, err := call(t, a, function, params)
		var f *Fault
		if !errors.As(err, &f) || f.Kind != FaultTime {
			t.Errorf("%s: %v", function, err)
		}
	}
	is.Store(false)
	for function, params := range map[string]string{"host": `{"calls":[["kv_put","k","v"]]}`, "write": `{"path":"/f","text":"x"}`} {
		if _, err := call(t, a, function, params); err != nil {
			t.Errorf("%s: %v", function, err)
		}
	}
}
