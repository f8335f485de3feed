package boot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/enclaveos/eos/pkg/runtime/measure"
	"github.com/enclaveos/eos/pkg/runtime/module"
	"github.com/enclaveos/eos/pkg/wall/start"
)

// drain is how long requests in progress have once the end has come. The host waits
// a little longer.
const drain = 3 * time.Second

// Options are what a runtime is made of.
type Options struct {
	Config  *start.Config
	Modules []module.Module
	Payload []byte // nil: none
	Log     *slog.Logger
}

// Runtime is a runtime that has been brought up.
type Runtime struct {
	config  *start.Config
	modules []module.Module
	payload []byte
	log     *slog.Logger
	started time.Time
	handler http.Handler

	caCert   []byte
	operator []byte // SHA-256 of the operator's token; nil: there is none

	tree     atomic.Pointer[measure.Tree]
	ready    atomic.Bool
	requests atomic.Uint64
	accepted atomic.Uint64
	stop     context.CancelFunc // ends Serve

	mu      sync.Mutex // guards servers and changes of the tree
	servers []server
}

// New brings up a runtime: the modules have been started when it returns.
func New(ctx context.Context, o Options) (*Runtime, error) {
	if err := checkNames(o.Modules); err != nil {
		return nil, err
	}
	r := &Runtime{
		config: o.Config, modules: o.Modules, payload: o.Payload, log: o.Log, started: time.Now(), stop: func() {},
	}
	var err error
	if r.operator, err = start.ParseOperator(o.Config.Operator); err != nil {
		return nil, err
	}
	for i, m := range r.modules {
		if s, ok := m.(module.Starter); ok {
			env := &module.Env{Log: o.Log.With("module", m.Name()), Changed: r.changed}
			if err := s.Start(ctx, env); err != nil {
				return nil, errors.Join(fmt.Errorf("module %s: %w", m.Name(), err), stopModules(r.modules[:i]))
			}
		}
	}
	if err := r.changed(); err != nil {
		return nil, errors.Join(err, stopModules(r.modules))
	}
	r.handler = r.newHandler()
	return r, nil
}

// stopModules stops them, the last first, whatever becomes of each.
func stopModules(modules []module.Module) error {
	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	var all error
	for _, m := range slices.Backward(modules) {
		if s, ok := m.(module.Stopper); ok {
			if err := s.Stop(ctx); err != nil {
				all = errors.Join(all, fmt.Errorf("module %s: %w", m.Name(), err))
			}
		}
	}
	return all
}

// Serve answers on l until ctx ends or the operator says so; then requests in progress
// are finished, and the modules stopped.
func (r *Runtime) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.stop = cancel
	r.ready.Store(true)
	err := r.serve(ctx, l)
	r.ready.Store(false)
	return errors.Join(err, stopModules(r.modules))
}

func (r *Runtime) connections() uint64 { return r.accepted.Load() }

// setServers takes a new list of attestation servers, and returns its hash.
func (r *Runtime) setServers(servers []server) (hash string, err error) {
	r.mu.Lock()
	r.servers = servers
	r.mu.Unlock()
	sum := sha256.Sum256(serversText(servers))
	return hex.EncodeToString(sum[:]), r.changed()
}
