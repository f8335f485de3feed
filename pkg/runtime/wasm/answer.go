package wasm

import (
	"context"
	"encoding/base64"

	"github.com/enclaveos/eos/pkg/runtime/wasm/abi"
)

// What is answered lies on the heap that all share until it is written, and a client that
// is slow, or many of them, could make it lie there for long. So it is counted with what
// instances take beside their memory, and a call waits until there is room.

// answerCopies is how often the JSON of a result is in memory until it is written.
const answerCopies = 4

// hold counts n bytes more that stay until the answer is written.
func (in *instance) hold(n int64) *Fault {
	if n <= 0 {
		return nil
	}
	budget := in.app.budget
	if !budget.ever(in.held + n) {
		return faultf(FaultOutput, "the app's result takes %d KiB, more than this enclave has room for: build it with a larger --heap-size", (in.held+n)>>10)
	}
	if f := in.await(func() bool { return budget.admit(&in.app.memory, n) }, n); f != nil {
		return f
	}
	in.held += n
	return nil
}

// release counts no longer what was held, when the request is over.
func (in *instance) release() {
	n, a := in.held, in.app
	in.held = 0
	switch {
	case n == 0:
	case in.spare || in.ctx.Done() == nil: // nobody has asked
		a.budget.dismiss(&a.memory, n)
	default:
		context.AfterFunc(in.ctx, func() { a.budget.dismiss(&a.memory, n) })
	}
}

// ever says whether an app could have n bytes beside its instance.
func (b *memoryBudget) ever(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.limit <= 0 || n <= b.limit/2
}

// jsonSize is how long indirectJSON gets, at most.
func jsonSize(t abi.Type, b []byte) int64 {
	switch t {
	case abi.JSON:
		return int64(len(b))
	case abi.String:
		n := int64(len(b)) + 2
		for _, c := range b {
			switch {
			case c < ' ', c == 0x7f:
				n += 5
			case c == '"', c == '\\':
				n++
			case c == 0xe2: // of U+2028 and U+2029
				n += 3
			}
		}
		return n
	}
	return int64(base64.StdEncoding.EncodedLen(len(b))) + 2
}
