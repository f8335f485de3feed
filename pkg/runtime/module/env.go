package module

import "log/slog"

// Env is what a module has of the runtime, from Start to the end of Stop.
type Env struct {
	// Log is the module's. The host reads it: nothing secret belongs into it.
	Log *slog.Logger
	// Changed says that ConfigLeaves or Extensions now return something else. When
	// it returns, the root is the new one and connections that begin from then on see
	// it in their certificate.
	Changed func() error
}
