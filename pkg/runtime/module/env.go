package module

import (
	"crypto/x509"
	"log/slog"

	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/runtime/rpc"
	"github.com/enclaveos/eos/pkg/runtime/seal"
)

// Env is what a module has of the runtime, from Start to the end of Stop.
type Env struct {
	// Log is the module's. The host reads it: nothing secret belongs into it.
	Log *slog.Logger
	// Payload is what is appended to the image, nil if nothing is. It is part of the
	// measurement, and must not be written to.
	Payload []byte
	// Quoter makes quotes of this enclave.
	Quoter ratls.Quoter
	// RPC is the channel to the host, which is not to be trusted; nil where there is
	// none, as in tests.
	RPC *rpc.Client
	// State is what is sealed and stored: a store with tables, and keys of its own for
	// each purpose. It is closed after Stop. It is nil in tests that have none.
	State *seal.State
	// Authorities are the CAs to trust in connections to the outside, as they were
	// sealed at the first start; nil: those that are part of the runtime.
	Authorities []*x509.Certificate
	// Changed says that ConfigLeaves or Extensions now return something else. When
	// it returns, the root is the new one and connections that begin from then on see
	// it in their certificate.
	Changed func() error
}
