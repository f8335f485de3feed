package wasm

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/enclaveos/eos/pkg/enclave"
	"github.com/enclaveos/eos/pkg/runtime/module"
)

// Start implements module.Starter.
func (m *Module) Start(ctx context.Context, env *module.Env) error {
	if m.Memory == 0 {
		m.Memory = memoryShare()
	}
	c := Config{
		Payload: env.Payload,
		Fetch: NewFetcher(&http.Transport{
			ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: time.Minute,
			MaxResponseHeaderBytes: maxHeaders,
		}),
		Dial: &net.Dialer{},
		Log:  env.Log, Changed: env.Changed,
	}
	if env.State != nil {
		root := env.State.Key("wasm seal keys")
		c.SealRoot = root[:]
		c.Tables = func(name string) Table { return env.State.Store.Table(name) }
	}
	return m.StartWith(ctx, c)
}

// memoryShare is half of the enclave's heap: the other half is for the compiled code,
// the runtime and the garbage between two collections. Outside of enclaves nothing
// bounds it.
func memoryShare() int64 {
	s, err := enclave.ReadStats()
	if err != nil {
		return 0
	}
	return int64(s.HeapMax / 2)
}
