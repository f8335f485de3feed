package kernel

import (
	"sync/atomic"

	wall "github.com/enclaveos/eos/pkg/wall"
)

// spinsBeforeYield is how often a lock is looked at before the processor is
// given to somebody else: its holder may have been interrupted by the host.
const spinsBeforeYield = 100

// lock takes a spin lock. Locks are held for some hundred instructions and never
// over an OCALL. The order is fdLock, pollLock, waitLock.
func lock(l *uint32) {
	for n := 0; !atomic.CompareAndSwapUint32(l, 0, 1); n++ {
		if n < spinsBeforeYield {
			pause()
		} else {
			ocall(uint64(wall.NotifyYield), 0, 0, 0)
		}
	}
}

func unlock(l *uint32) { atomic.StoreUint32(l, 0) }

// ended is set when the program has ended, with its exit code: no thread gets
// anywhere any more.
var (
	ended    uint32
	exitCode uint64
)

// notify is the OCALL.
func notify(kind wall.Notify, a1, a2, a3 uint64) uint64 {
	r := ocall(uint64(kind), a1, a2, a3)
	if atomic.LoadUint32(&ended) != 0 {
		stay()
	}
	return r
}

// stay is all that a thread does after the end.
func stay() {
	for {
		ocall(uint64(wall.NotifyExit), 1, exitCode, 0)
	}
}

// exit is the end of the program.
func exit(code uint64) {
	sendStats()
	exitCode = code & 0xff
	atomic.StoreUint32(&ended, 1)
	stay()
}
