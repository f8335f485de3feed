package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/enclaveos/eos/pkg/enclave"
	"github.com/enclaveos/eos/pkg/runtime/kvstore"
	"github.com/enclaveos/eos/pkg/runtime/module"
	"github.com/enclaveos/eos/pkg/runtime/quoting"
	"github.com/enclaveos/eos/pkg/runtime/rpc"
	"github.com/enclaveos/eos/pkg/runtime/seal"
	"github.com/enclaveos/eos/pkg/wall/start"
)

// Main is the whole program of a runtime image with these modules. The name of this
// function in an image tells eos run that the image is one.
//
//go:noinline
func Main(modules ...module.Module) {
	log := newLog(os.Stderr)
	if err := run(log, os.Args, modules); err != nil {
		log.Error(err.Error())
		os.Exit(1)
	}
}

func run(log *slog.Logger, args []string, modules []module.Module) error {
	if len(args) != 2 {
		return errors.New("the runtime takes one argument, its start configuration, from eos run")
	}
	config, err := start.Parse([]byte(args[1]))
	if err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer cancel()
	payload, err := enclave.Payload()
	if err != nil && !errors.Is(err, enclave.ErrNoPayload) {
		return err
	}
	// First, so that an address that is in use leaves no state behind.
	l, err := net.Listen("tcp", config.Listen)
	if err != nil {
		return fmt.Errorf("%w; hint: --listen [IP]:PORT of eos run names another address", err)
	}
	defer l.Close()
	host, err := rpc.Open()
	if err != nil {
		return err
	}
	defer host.Close()
	q := quoting.New(host)
	state, err := seal.Open(ctx, kvstore.Remote(host), func(sections map[string][]byte) error {
		return newIdentity(config, sections)
	})
	if err != nil {
		return err
	}
	if state.First {
		log.Info("a new state")
	}
	err = serveOn(ctx, l, Options{
		Config: config, Modules: modules, Payload: payload, Sealed: state, State: state,
		Quoter: q, Collateral: q.Collateral, RPC: host, Log: log,
	})
	closing, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	if err := errors.Join(err, state.Close(closing)); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}

func serveOn(ctx context.Context, l net.Listener, o Options) error {
	r, err := New(ctx, o)
	if err != nil {
		return err
	}
	fmt.Printf("listening on https://%s\n", l.Addr())
	return r.Serve(ctx, l)
}
