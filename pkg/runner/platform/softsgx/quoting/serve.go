package quoting

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/sgx"
)

// Handler does a request of the RPC channel.
type Handler = func(ctx context.Context, payload []byte) (status int32, reply []byte)

// Handlers are those of the quoting enclave's methods. The reply to a request
// that fails is the reason, in words.
func (q *Quoter) Handlers() map[wire.Method]Handler {
	handler := func(size int, f func(payload []byte) ([]byte, error)) Handler {
		return func(_ context.Context, payload []byte) (int32, []byte) {
			if len(payload) != size {
				return wire.StatusError, fmt.Appendf(nil, "%d bytes, want %d", len(payload), size)
			}
			reply, err := f(payload)
			if err != nil {
				return wire.StatusError, []byte(err.Error())
			}
			return wire.StatusOK, reply
		}
	}
	return map[wire.Method]Handler{
		wire.QEGetTargetInfo: handler(0, func([]byte) ([]byte, error) {
			b := q.TargetInfo()
			return b[:], nil
		}),
		wire.QEGetQuote: handler(sgx.ReportSize, func(b []byte) ([]byte, error) { return q.Quote([sgx.ReportSize]byte(b)) }),
		wire.QEGetCollateral: handler(0, func([]byte) ([]byte, error) {
			c, err := q.Collateral()
			if err != nil {
				return nil, err
			}
			return json.Marshal(c)
		}),
	}
}
