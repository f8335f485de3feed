package kernel

import (
	"sync/atomic"

	ring "github.com/enclaveos/eos/pkg/channel"
	wire "github.com/enclaveos/eos/pkg/channel/wire"
	wall "github.com/enclaveos/eos/pkg/wall"
)

// /dev/eos/rpc is the program's own part of the RPC channel: a descriptor that
// keeps messages apart, never blocks, and can be polled. A write is one or more
// whole requests, a read takes one whole response. There is no queue but the ring:
// responses that the program does not read stay there, and its bound is theirs.
//
// Responses for stdin come by the same ring. Whoever looks at the ring takes them
// away (rpcTake), so neither reader waits for the other for longer than the
// program leaves its responses unread.
var rpcFile struct {
	open   uint32 // 1: there is a descriptor; atomic
	asked  uint32 // the program's requests without response; atomic
	fd     uint32 // the descriptor
	told   bool   // epoll has been told of what is in the ring
	parked uint32 // threads that sleep in epoll_wait
	room   uint64 // bytes that a writer waits for, 0 if none does; guarded by rpcLock
}

// rpcPath is what a program opens.
const rpcPath = "/dev/eos/rpc"

// rpcOpen opens the descriptor, of which there can be one at a time. It stays busy
// until the responses of a former one have come.
func rpcOpen() uint64 {
	if atomic.LoadUint32(&rpc.state) != channelReady {
		return errNoEnt
	}
	lock(&rpcInLock)
	rpcTake()
	busy := atomic.LoadUint32(&rpcFile.open) != 0 || atomic.LoadUint32(&rpcFile.asked) != 0
	if !busy {
		rpcFile.told = false
		atomic.StoreUint32(&rpcFile.open, 1)
	}
	rpcUnlock(nil)
	if busy {
		return errBusy
	}
	r := fdNew(fdRPC, oRDWR|oNONBLOCK, 0)
	if failed(r) {
		atomic.StoreUint32(&rpcFile.open, 0)
		return r
	}
	rpcFile.fd = uint32(r)
	return r
}

func rpcClose() { atomic.StoreUint32(&rpcFile.open, 0) }

// What rpcUnlock has to do; guarded by rpcInLock.
var rpcDo struct {
	events uint32 // that epoll is to be told of
	bell   bool   // the host waits for room
	stdin  bool   // stdin's answer has been taken
	dead   bool   // the ring has ended, and that has not been said on stderr
	said   bool   // it has
}

// rpcUnlock releases rpcInLock and does what could not be done under it. t is the
// caller if it waits for stdin's answer.
func rpcUnlock(t *thread) {
	do := rpcDo
	rpcDo.events, rpcDo.bell, rpcDo.stdin, rpcDo.dead = 0, false, false, false
	unlock(&rpcInLock)
	if do.dead {
		sayEnd("RPC", rpcIn.Status(), wire.Sound)
	}
	if do.bell {
		notify(wall.NotifyRPC, wall.RPCOnly, 0, 0)
	}
	if do.stdin && (t == nil || stdin.waiter != t.idx) {
		notify(wall.NotifyWake, uint64(stdin.waiter), 0, 0)
	}
	if do.events != 0 {
		pollReady(rpcFile.fd, do.events)
	}
}

// rpcTake looks at the ring from the host, up to the first response of the
// program's, and reports whether there is one. rpcInLock is held.
func rpcTake() bool {
	for {
		switch s := rpcIn.Next(); {
		case s == ring.ErrEmpty:
			rpcRelease()
			return false
		case s != ring.OK:
			if s != ring.ErrNotSetUp && !rpcDo.said {
				rpcDo.dead, rpcDo.said = true, true
			}
			rpcTell(pollIn | pollOut | pollErr | pollHup)
			rpcDo.stdin = rpcDo.stdin || stdin.asked != 0
			return false
		}
		var h [wire.ResponseSize]byte
		rpcIn.Copy(h[:], 0)
		id := le(h[0:8])
		switch {
		case rpcIn.Len() < wire.ResponseSize:
			rpcIn.Kill(ring.ErrMessage)
		case id&0xff != wire.IDProgram:
			stdinTake(h)
		case atomic.LoadUint32(&rpcFile.asked) == 0:
			rpcIn.Kill(ring.ErrMessage)
		case atomic.LoadUint32(&rpcFile.open) != 0:
			rpcRelease()
			return true
		default: // nobody is there to read it any more
			atomic.AddUint32(&rpcFile.asked, ^uint32(0))
			rpcIn.Advance()
		}
	}
}

// rpcRelease gives the room of what was taken back.
func rpcRelease() {
	if rpcIn.Release() {
		rpcDo.bell = true
	}
}

// rpcTell tells epoll, once for each time that the program has seen the ring empty.
func rpcTell(events uint32) {
	if atomic.LoadUint32(&rpcFile.open) != 0 && !rpcFile.told {
		rpcFile.told = true
		rpcDo.events = events
	}
}

// rpcRecv takes a response to size bytes at p: errAgain if there is none. What it
// checks is the copy.
func rpcRecv(p, size uint64) uint64 {
	for {
		if !rpcTake() {
			if rpcIn.Status() != ring.OK {
				return errIO
			}
			rpcFile.told = false
			if rpcFile.parked != 0 && !rpcIn.PreparePark() {
				continue // it has come just now
			}
			return errAgain
		}
		n := rpcIn.Len()
		if n > wire.ResponseSize+wire.MaxPayload {
			rpcIn.Kill(ring.ErrMessage)
			continue
		}
		if n > size {
			return errMsgSize
		}
		b := span(p, n)
		rpcIn.Copy(b, 0)
		if le(b[12:16]) != n-wire.ResponseSize || b[0] != wire.IDProgram {
			rpcIn.Kill(ring.ErrMessage)
			continue
		}
		atomic.AddUint32(&rpcFile.asked, ^uint32(0))
		rpcIn.Advance()
		rpcTake() // stdin's may be behind it
		rpcRelease()
		return n
	}
}

func rpcRead(p, size uint64) uint64 {
	if size < wire.ResponseSize {
		return errMsgSize
	}
	lock(&rpcInLock)
	r := rpcRecv(p, size)
	rpcUnlock(nil)
	return r
}

// rpcWrite puts whole requests in the ring, as many as there is room for or, with
// all, all or none (errMsgSize: not even an empty ring has the room), and reports whether the host has to be rung.
func rpcWrite(p, size uint64, all bool) (done uint64, bell bool) {
	if rpcOut.Status() != ring.OK {
		return errIO, false
	}
	count := uint64(0)
	for end := uint64(0); end < size; count++ {
		n := uint64(wire.RequestSize)
		if size-end >= n {
			n += le(span(p+end+10, 4))
		}
		if n > size-end || n > wire.RequestSize+wire.MaxPayload || *at[byte](p + end) != wire.IDProgram {
			return errInval, false
		}
		end += n
	}
	frames := size + (count-1)*ring.FrameHeader
	if all && frames > rpcOut.Capacity()-ring.FrameHeader {
		return errMsgSize, false
	}
	lock(&rpcLock)
	if all && rpcOut.Room() < frames && rpcOut.PrepareWait(frames) {
		rpcFile.room = frames
		unlock(&rpcLock)
		return errAgain, false
	}
	for done < size {
		n := wire.RequestSize + le(span(p+done+10, 4))
		s := rpcOut.Reserve(n)
		if s == ring.ErrFull && !rpcOut.Pending() && rpcOut.PrepareWait(n) {
			rpcFile.room = n
			break
		}
		if s == ring.ErrFull {
			if rpcOut.Pending() {
				break
			}
			continue // room has come just now
		}
		if s != ring.OK {
			unlock(&rpcLock)
			return errIO, false
		}
		rpcOut.Fill(0, span(p+done, n))
		rpcOut.Commit(n)
		atomic.AddUint32(&rpcFile.asked, 1)
		done += n
	}
	bell = rpcOut.Publish()
	unlock(&rpcLock)
	if done == 0 && size != 0 {
		return errAgain, false
	}
	return done, bell
}

func rpcSend(p, size uint64) uint64 {
	r, bell := rpcWrite(p, size, false)
	if bell {
		notify(wall.NotifyRPC, wall.RPCOnly, 0, 0)
	}
	return r
}

// rpcExchange is rpcSend of all of the n bytes of whole requests at p, or none
// (errAgain), and then rpcRead, with 0 if there is no response now. A program that
// gets one must call it again, with n = 0, until it gets 0: epoll need not be told
// of what came while the host had the requests.
func rpcExchange(fd, p, n, buf, size uint64) uint64 {
	d := fdAt(fd)
	if d == nil || d.kind != fdRPC {
		return errBadF
	}
	if size < wire.ResponseSize {
		return errMsgSize
	}
	if n != 0 {
		r, bell := rpcWrite(p, n, true)
		if bell {
			notify(wall.NotifyRPC, wall.RPCLooks|wall.RPCOnly, 0, 0)
		}
		if failed(r) {
			return r
		}
	}
	lock(&rpcInLock)
	r := rpcRecv(buf, size)
	switch r {
	case errAgain:
		r = 0
	case errMsgSize: // somebody with a larger buffer shall take it
		r = 0
		rpcFile.told = false
		rpcTell(pollIn)
	}
	rpcUnlock(nil)
	return r
}

// rpcReady is what the descriptor is ready for now.
func rpcReady() (events uint32) {
	lock(&rpcInLock)
	if rpcTake() {
		events |= pollIn
	}
	if rpcIn.Status() != ring.OK {
		events |= pollIn | pollErr | pollHup
	}
	rpcUnlock(nil)
	lock(&rpcLock)
	if rpcFile.room == 0 {
		events |= pollOut
	}
	unlock(&rpcLock)
	return events
}

// rpcPump tells epoll what the host has done.
func rpcPump() {
	if atomic.LoadUint32(&rpcFile.open) == 0 {
		return
	}
	lock(&rpcInLock)
	if rpcTake() {
		rpcTell(pollIn)
	}
	rpcUnlock(nil)
	lock(&rpcLock)
	room := rpcFile.room != 0 && (rpcOut.Room() >= rpcFile.room || rpcOut.Status() != ring.OK)
	if room {
		rpcFile.room = 0
		rpcOut.CancelWait()
	}
	unlock(&rpcLock)
	if room {
		pollReady(rpcFile.fd, pollOut)
	}
}

// rpcPark is netPark for the responses of the program. The ring's flag is set as
// long as a thread sleeps and the program has seen the ring empty (rpcRecv).
func rpcPark() bool {
	if atomic.LoadUint32(&rpcFile.open) == 0 {
		return true
	}
	lock(&rpcInLock)
	ok := rpcFile.told || rpcIn.Status() != ring.OK || rpcIn.PreparePark()
	if ok {
		rpcFile.parked++
	}
	unlock(&rpcInLock)
	return ok
}

// rpcUnpark ends a sleep that rpcPark has allowed.
func rpcUnpark() {
	if atomic.LoadUint32(&rpcFile.open) == 0 {
		return
	}
	lock(&rpcInLock)
	if rpcFile.parked != 0 {
		if rpcFile.parked--; rpcFile.parked == 0 {
			rpcIn.CancelPark()
		}
	}
	unlock(&rpcInLock)
}
