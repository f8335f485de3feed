package kvback_test

import (
	"context"

	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runner/kvback"
	"github.com/enclaveos/eos/pkg/runtime/kvstore"
	"github.com/enclaveos/eos/pkg/runtime/rpc"
)

// local is the RPC channel without the channel: it hands the payloads over.
type local map[wire.Method]func(context.Context, []byte) (int32, []byte)

func (l local) Call(ctx context.Context, m wire.Method, payload []byte) ([]byte, error) {
	status, reply := l[m](ctx, payload)
	if status != wire.StatusOK {
		return nil, &rpc.StatusError{Method: m, Status: status, Payload: reply}
	}
	return reply, nil
}

var testMaster = [kvstore.KeySize]byte{7}

// openOn opens the enclave's store on a host's, and makes it if that is empty.
func openOn(ctx context.Context, host *kvback.Store, o kvstore.Options) (*kvstore.Store, error) {
	b := kvstore.Remote(local(host.Handlers()))
	if _, err := b.GetFile(ctx, "root"); err != nil {
		if err := kvstore.Create(ctx, b, testMaster); err != nil {
			return nil, err
		}
	}
	return kvstore.Open(ctx, b, testMaster, o)
}
