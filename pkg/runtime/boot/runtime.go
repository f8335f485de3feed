package boot

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/runtime/ingress"
	"github.com/enclaveos/eos/pkg/runtime/measure"
	"github.com/enclaveos/eos/pkg/runtime/module"
	"github.com/enclaveos/eos/pkg/runtime/rpc"
	"github.com/enclaveos/eos/pkg/runtime/seal"
	"github.com/enclaveos/eos/pkg/wall/start"
)

// drain is how long requests in progress, and then modules, have once the end has come.
// The host waits longer than both.
const drain = 5 * time.Second

// Options are what a runtime is made of.
type Options struct {
	Config     *start.Config
	Modules    []module.Module
	Payload    []byte // nil: none
	Sealed     Sealed
	Quoter     ratls.Quoter
	Collateral func(context.Context) ([]byte, error) // of its quotes, JSON as the host has it
	RPC        *rpc.Client                           // for the modules
	State      *seal.State                           // for the modules
	Log        *slog.Logger
}

// Runtime is a runtime that has been brought up.
type Runtime struct {
	config     *start.Config
	modules    []module.Module
	payload    []byte // its SHA-256 in hex; nil: none
	sealed     Sealed
	collateral func(context.Context) ([]byte, error)
	log        *slog.Logger
	started    time.Time
	attester   *ratls.Attester
	operator   []byte              // SHA-256 of the operator's token; nil: there is none
	egress     []*x509.Certificate // whom to trust outside; nil: nobody has said

	tree     atomic.Pointer[measure.Tree]
	ready    atomic.Bool
	requests atomic.Uint64
	accepted atomic.Uint64
	stop     context.CancelFunc // ends Serve

	telling  sync.Mutex // one order of the operator's at a time
	changing sync.Mutex // one change of the tree at a time
	mu       sync.Mutex // guards what follows
	ca       *ratls.CA
	servers  []server
}

// New brings up a runtime: the modules have been started when it returns.
func New(ctx context.Context, o Options) (*Runtime, error) {
	if err := checkNames(o.Modules); err != nil {
		return nil, err
	}
	r := &Runtime{
		config: o.Config, modules: o.Modules, sealed: o.Sealed, collateral: o.Collateral, log: o.Log,
		started: time.Now(), stop: func() {},
	}
	if o.Payload != nil {
		h := sha256.Sum256(o.Payload)
		r.payload = []byte(hex.EncodeToString(h[:]))
	}
	if err := r.identify(ctx); err != nil {
		return nil, err
	}
	if err := r.newAttester(o.Quoter); err != nil {
		return nil, err
	}
	for i, m := range r.modules {
		if s, ok := m.(module.Starter); ok {
			env := &module.Env{
				Log: o.Log.With("module", m.Name()), Payload: o.Payload, Quoter: o.Quoter, RPC: o.RPC, State: o.State, Authorities: r.egress, Changed: r.changed,
			}
			if err := s.Start(ctx, env); err != nil {
				return nil, errors.Join(fmt.Errorf("module %s: %w", m.Name(), err), stopModules(r.modules[:i]))
			}
		}
	}
	if err := r.changed(); err != nil {
		return nil, errors.Join(err, stopModules(r.modules))
	}
	return r, nil
}

func (r *Runtime) newAttester(q ratls.Quoter) error {
	evidence, err := ratls.ParseEvidence(r.config.Evidence)
	if err != nil {
		return err
	}
	leaf, err := ratls.ParseLeafUse(r.config.Leaf)
	if err != nil {
		return err
	}
	r.attester, err = ratls.NewAttester(ratls.AttesterConfig{
		Quoter: q, CA: r.ca, Evidence: evidence, Leaf: leaf, Log: r.log,
		QuotesPerSecond: int(r.config.QuoteRate), Burst: int(r.config.QuoteRate), // 0 is the default there
	})
	return err
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
	s, err := ingress.New(ingress.Options{
		Attester: r.attester, Handler: r.newHandler(), Log: r.log, ShutdownTimeout: drain, MaxBuffered: bodyShare(),
	})
	if err == nil {
		r.ready.Store(true)
		err = s.Serve(ctx, &counted{l, &r.accepted})
		r.ready.Store(false)
	} else {
		l.Close()
	}
	return errors.Join(err, stopModules(r.modules))
}

// bodyShare is what requests' bodies may have of what the Go runtime may use: a
// sixteenth, for what is made of a body takes a few times as much, but room for the
// largest. 0 is the default, where there is no such limit.
func bodyShare() int64 {
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		return max(limit/16, maxData)
	}
	return 0
}

// counted counts connections.
type counted struct {
	net.Listener
	n *atomic.Uint64
}

func (l *counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.n.Add(1)
	}
	return c, err
}
