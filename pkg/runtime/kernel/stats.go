package kernel

import (
	"sync/atomic"

	wire "github.com/enclaveos/eos/pkg/channel/wire"
	wall "github.com/enclaveos/eos/pkg/wall"
)

// statsTold is the number of the host's last question for statistics that has been
// answered.
var statsTold uint32

// tellStats tells the host how much is used, if it has asked since it was last told.
// Every thread that comes back from a sleep looks: the host that asks wakes those that
// sleep, and of a program that computes on all processors the Go runtime's monitor
// comes back every 10 ms. What is told is no secret, as the host is told it at the end
// anyway; one that asks all the time takes only time from the program.
func tellStats() {
	if atomic.LoadUint32(&rpc.state) != channelReady {
		return
	}
	asked, told := rpcIn.Asked(), atomic.LoadUint32(&statsTold)
	if asked != told && atomic.CompareAndSwapUint32(&statsTold, told, asked) {
		sendStats()
	}
}

// sendStats tells the host how much is used.
func sendStats() {
	var r request
	r.begin(0, wire.Stats, 7*8)
	b := boot()
	for _, v := range [...]uint64{
		mem.used * pageSize,
		mem.usedMax * pageSize,
		mem.wanted,
		uint64(atomic.LoadUint32(&threadsMax)),
		usable(),
		b.HeapEnd - b.HeapLo,
		uint64(min(atomic.LoadUint32(&outOfTCS), 1)),
	} {
		r.put(v, 8)
	}
	r.send(0, 0, wall.RPCOnly)
}
