package main

import (
	"context"
	"sync"

	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runner/dispatch"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/quoting"
)

// openQuoting opens the software platform's quoting enclave.
func openQuoting(pf *platformFlags) (*quoting.Quoter, error) {
	dir, err := stateDir(pf.dir)
	if err != nil {
		return nil, err
	}
	device, err := openDevice(dir)
	if err != nil {
		return nil, err
	}
	return quoting.Open(dir, device)
}

// quotingHandlers are the handlers of the quoting enclave. It is opened, and its
// keys are made, when a program asks for it: few do.
func quotingHandlers(pf *platformFlags) map[wire.Method]dispatch.Handler {
	open := sync.OnceValues(func() (map[wire.Method]quoting.Handler, error) {
		q, err := openQuoting(pf)
		if err != nil {
			return nil, err
		}
		return q.Handlers(), nil
	})
	handlers := make(map[wire.Method]dispatch.Handler)
	for _, m := range []wire.Method{wire.QEGetTargetInfo, wire.QEGetQuote, wire.QEGetCollateral} {
		handlers[m] = func(ctx context.Context, payload []byte) (int32, []byte) {
			do, err := open()
			if err != nil {
				return wire.StatusError, []byte(err.Error())
			}
			return do[m](ctx, payload)
		}
	}
	return handlers
}
