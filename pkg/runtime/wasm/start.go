package wasm

import (
	"context"
	"math"
	"runtime/debug"

	"github.com/enclaveos/eos/pkg/runtime/module"
)

// Start implements module.Starter.
func (m *Module) Start(ctx context.Context, env *module.Env) error {
	engine := Probe(ctx)
	if m.Memory == 0 {
		m.Memory = memoryShare(engine)
	}
	m.trusted = newAuthorities(env.Authorities)
	c := Config{
		Engine:  engine,
		Payload: env.Payload,
		Fetch:   newFetcher(m.trusted.pool, guarded{}),
		Dial:    guarded{},
		Log:     env.Log, Changed: env.Changed,
	}
	if env.State != nil {
		root := env.State.Key("wasm seal keys")
		c.SealRoot = root[:]
		c.Tables, c.Quotas = storeOf(env.State.Store)
	}
	return m.StartWith(ctx, c)
}

// memoryShare is what guests may have of what the Go runtime may use, which in an enclave
// is what its image's heap allows (GOMEMLIMIT): three eighths, or a quarter beside the
// interpreter, whose code takes more. The rest is for that code, for the runtime and for
// what lies about between two collections. Where there is no such limit there is none
// here.
func memoryShare(engine EngineKind) int64 {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		return 0
	}
	if engine == Interpreter {
		return limit / 4
	}
	return limit / 8 * 3
}
