package kernel

import (
	"sync/atomic"

	ring "github.com/enclaveos/eos/pkg/channel"
	wire "github.com/enclaveos/eos/pkg/channel/wire"
)

// stdioWrite sends bytes to the host's stdout or stderr.
func stdioWrite(t *thread, stream, p, size uint64) uint64 {
	limit := min(uint64(maxStdio), rpc.capacity/4)
	for done := uint64(0); done < size; {
		n := min(size-done, limit)
		var r request
		r.begin(0, wire.StdioWrite, 4+n)
		r.put(stream, 4)
		if !r.send(p+done, n) {
			return errIO
		}
		done += n
	}
	return size
}

// stdin: one reader at a time has a request with the host; the answer is the
// only message that the host sends on the RPC ring.
var stdinBusy uint32

func stdinRead(t *thread, p, size uint64) uint64 {
	if size == 0 {
		return 0
	}
	size = min(size, maxStdio, rpc.capacity/4)
	for !atomic.CompareAndSwapUint32(&stdinBusy, 0, 1) {
		lock(&waitLock)
		t.enqueue(addrOf(&stdinBusy))
		unlock(&waitLock)
		if atomic.LoadUint32(&stdinBusy) == 0 {
			t.dequeue()
			continue
		}
		if t.wait(forever) == waitSignal {
			return errIntr
		}
	}
	r := stdinAsk(t, p, size)
	atomic.StoreUint32(&stdinBusy, 0)
	wake(addrOf(&stdinBusy), 1)
	return r
}

// stdinAsked is the id of the request that waits for its answer.
var stdinAsked uint64

// stdinAsk asks and waits. If a signal ends the wait, the request stays, and its
// answer is taken by the next read.
func stdinAsk(t *thread, p, size uint64) uint64 {
	id := uint64(t.idx) | 1<<8
	if stdinAsked == 0 {
		var r request
		r.begin(id, wire.StdioRead, 4)
		r.put(size, 4)
		if !r.send(p, 0) {
			return errIO
		}
		stdinAsked = id
	}
	for {
		switch s := rpcIn.Next(); {
		case s == ring.OK:
			return stdinTake(p, size)
		case s != ring.ErrEmpty:
			return errIO
		}
		if t.deliverable() {
			return errIntr
		}
		if rpcIn.PreparePark() {
			t.park(forever, 0)
		}
		rpcIn.CancelPark()
	}
}

// stdinTake reads the answer. What does not fit the request is a lie and ends the
// channel.
func stdinTake(p, size uint64) uint64 {
	var h [wire.ResponseSize]byte
	n := rpcIn.Len() - wire.ResponseSize
	if rpcIn.Copy(h[:], 0) != len(h) || le(h[0:8]) != stdinAsked || le(h[12:16]) != n || n > size {
		rpcIn.Kill(ring.ErrMessage)
		return errIO
	}
	if n != 0 {
		rpcIn.Copy(span(p, n), wire.ResponseSize)
	}
	rpcIn.Advance()
	rpcIn.Release()
	stdinAsked = 0
	if le(h[8:12]) != uint64(wire.StatusOK) {
		return errIO
	}
	return n
}

// le is a little-endian number.
func le(b []byte) uint64 {
	v := uint64(0)
	for i := len(b) - 1; i >= 0; i-- {
		v = v<<8 | uint64(b[i])
	}
	return v
}

// sayText prints a constant text of up to 160 bytes on stderr.
func sayText(text string) {
	var line [160]byte
	stdioWrite(nil, 2, addrOf(&line), uint64(copy(line[:], text)))
}

// say prints a word of the kernel's own on stderr: before, a number, after.
func say(before string, n uint64, after string) {
	var line [160]byte
	k := copy(line[:100], before)
	var digits [20]byte
	i := len(digits)
	for {
		i--
		digits[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			break
		}
	}
	k += copy(line[k:], digits[i:])
	k += copy(line[k:], after)
	stdioWrite(nil, 2, addrOf(&line), uint64(k))
}

// sendStats tells the host how much was used, at the end.
func sendStats() {
	var r request
	r.begin(0, wire.Stats, 6*8)
	b := boot()
	for _, v := range [...]uint64{
		mem.live * pageSize,
		mem.liveMax * pageSize,
		mem.wanted,
		uint64(atomic.LoadUint32(&threadsMax)),
		usable(),
		b.HeapEnd - b.HeapLo,
	} {
		r.put(v, 8)
	}
	r.send(0, 0)
}
