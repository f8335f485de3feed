package kernel

import (
	"sync/atomic"

	ring "github.com/enclaveos/eos/pkg/channel"
	wire "github.com/enclaveos/eos/pkg/channel/wire"
	wall "github.com/enclaveos/eos/pkg/wall"
)

// stdioWrite sends bytes to the host's stdout or stderr.
func stdioWrite(t *thread, stream, p, size uint64) uint64 {
	limit := min(uint64(maxStdio), rpc.capacity/4)
	for done := uint64(0); done < size; {
		n := min(size-done, limit)
		var r request
		r.begin(0, wire.StdioWrite, 4+n)
		r.put(stream, 4)
		if !r.send(p+done, n, 0) {
			return errIO
		}
		done += n
	}
	return size
}

// stdinBusy: one reader at a time has a request with the host.
var stdinBusy uint32

func stdinRead(t *thread, p, size uint64) uint64 {
	if size == 0 {
		return 0
	}
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

// stdin is the request for stdin and what has come of it; guarded by rpcInLock.
var stdin struct {
	asked, want uint64 // id of the request that waits for its answer, and most bytes; 0: none
	waiter      uint32 // the thread that does
	there       bool   // an answer has come
	failed      bool   // it is an error
	buf         uint64 // maxStdio bytes of ours
	from, to    uint64 // what of them is not yet read
}

// stdinAsk asks and waits. If a signal ends the wait, the request stays, and its
// answer is taken by the next read.
func stdinAsk(t *thread, p, size uint64) uint64 {
	if stdin.buf == 0 {
		b := mem.mmap(0, maxStdio, 3, mapAnonymous)
		if failed(b) {
			return b
		}
		stdin.buf = b
	}
	for {
		lock(&rpcInLock)
		stdin.waiter = t.idx
		if !stdin.there {
			rpcTake()
		}
		if stdin.there {
			r := stdinGive(p, size)
			rpcUnlock(t)
			return r
		}
		dead := rpcIn.Status() != ring.OK
		ask := stdin.asked == 0
		if ask && !dead {
			stdin.asked, stdin.want = uint64(t.idx)|1<<8, min(size, maxStdio, rpc.capacity/4)
		}
		id, want := stdin.asked, stdin.want
		rpcUnlock(t)
		if dead {
			return errIO
		}
		if ask {
			var r request
			r.begin(id, wire.StdioRead, 4)
			r.put(want, 4)
			if !r.send(p, 0, wall.RPCOnly) {
				return errIO
			}
			continue
		}
		if t.deliverable() {
			return errIntr
		}
		// The host wakes the thread whose index is in the id, and whoever takes
		// the answer wakes this one. If it was another one that has asked, before a
		// signal, nobody may be there to take it.
		deadline := forever
		if id&0xff != uint64(t.idx) {
			deadline = now(false) + second/100
		}
		t.park(deadline, 0)
	}
}

// stdinGive gives of the answer what fits.
func stdinGive(p, size uint64) uint64 {
	if stdin.failed {
		stdin.there, stdin.failed = false, false
		return errIO
	}
	n := min(size, stdin.to-stdin.from)
	move(p, stdin.buf+stdin.from, n)
	stdin.from += n
	stdin.there = stdin.from != stdin.to
	return n
}

// stdinTake takes the current response, with header h, which is not the program's.
// What does not fit the request is a lie and ends the channel. rpcInLock is held.
func stdinTake(h [wire.ResponseSize]byte) {
	n := rpcIn.Len() - wire.ResponseSize
	if stdin.asked == 0 || le(h[0:8]) != stdin.asked || le(h[12:16]) != n || n > stdin.want {
		rpcIn.Kill(ring.ErrMessage)
		return
	}
	if n != 0 {
		rpcIn.Copy(span(stdin.buf, n), wire.ResponseSize)
	}
	rpcIn.Advance()
	stdin.asked, stdin.from, stdin.to = 0, 0, n
	stdin.there, stdin.failed = true, le(h[8:12]) != uint64(wire.StatusOK)
	rpcDo.stdin = true
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
