package kernel

import (
	"sync/atomic"

	wall "github.com/enclaveos/eos/pkg/wall"
)

// Calls that Linux does not have, for enclave code: numbers that are ENOSYS on
// Linux, so that the same program can tell where it runs.
//
//	9000  present()                           1, the version of these calls
//	9001  report(targetinfo, data, report)    EREPORT: 512, 64 and 432 bytes
//	9002  key(keyrequest, key)                EGETKEY: 512 and 16 bytes; the result is the leaf's error code
//	                                          EINVAL: operands that the processor faults at
//	9003  statistic(n)                        see below
//	9004  exchange(fd, p, n, buf, size)       of /dev/eos/rpc, see rpcExchange
//	9005  payload(p)                          address and length of what was appended to the image;
//	                                          ENOENT: it takes none. EIO: there is none
const (
	callFirst     = 9000
	callPresent   = 9000
	callReport    = 9001
	callKey       = 9002
	callStatistic = 9003
	callExchange  = 9004
	callPayload   = 9005

	leafEREPORT = 0
	leafEGETKEY = 1
	leafFault   = ^uint64(0) // result of a leaf that has faulted
)

// Statistics.
const (
	statHeap       = 0 // bytes of the heap that are handed out now
	statHeapMax    = 1 // most
	statThreads    = 2 // threads now
	statThreadsMax = 3 // most
)

// scratch is a page for the operands of ENCLU, which must be aligned and inside.
// It is used by one thread at a time.
var (
	scratch     uint64
	scratchLock uint32
)

// Where the operands are in scratch.
const (
	scratchTarget  = 0
	scratchData    = 512
	scratchReport  = 1024
	scratchRequest = 1536
	scratchKey     = 2048

	targetInfoSize = 512
	reportDataSize = 64
	reportSize     = 432
	keyRequestSize = 512
	keySize        = 16
)

func call(f *frame) uint64 {
	switch f.ax {
	case callPresent:
		return 1
	case callReport:
		lock(&scratchLock)
		move(scratch+scratchTarget, f.di, targetInfoSize)
		move(scratch+scratchData, f.si, reportDataSize)
		// EREPORT leaves RAX alone.
		r := leaf(leafEREPORT, scratch+scratchTarget, scratch+scratchData, scratch+scratchReport)
		if r != leafFault {
			move(f.dx, scratch+scratchReport, reportSize)
			r = 0
		}
		unlock(&scratchLock)
		if r == leafFault {
			return errInval
		}
		return 0
	case callKey:
		lock(&scratchLock)
		move(scratch+scratchRequest, f.di, keyRequestSize)
		r := leaf(leafEGETKEY, scratch+scratchRequest, scratch+scratchKey, 0)
		if r == 0 {
			move(f.si, scratch+scratchKey, keySize)
		}
		zero(scratch+scratchKey, keySize)
		unlock(&scratchLock)
		if r == leafFault {
			return errInval
		}
		return r & 0xffffffff
	case callExchange:
		return rpcExchange(f.di, f.si, f.dx, f.r10, f.r8)
	case callPayload:
		return payload(f.di)
	case callStatistic:
		switch f.di {
		case statHeap:
			return mem.used * pageSize
		case statHeapMax:
			return mem.usedMax * pageSize
		case statThreads:
			return uint64(countThreads())
		case statThreadsMax:
			return uint64(atomic.LoadUint32(&threadsMax))
		}
		return errInval
	}
	return errNoSys
}

// payload tells where the payload lies that was appended to the image, and how
// long it is, in two words at p. It is part of the measurement; what is checked
// here guards against a builder's mistake.
func payload(p uint64) uint64 {
	b := boot()
	if b.Payload == 0 {
		return errNoEnt
	}
	end := b.Base + b.Size
	if b.Payload > end-wall.PayloadHeader || *at[uint64](b.Payload) != wall.PayloadMagic {
		return errIO
	}
	n := *at[uint64](b.Payload + 8)
	if n > end-b.Payload-wall.PayloadHeader {
		return errIO
	}
	*at[uint64](p), *at[uint64](p + 8) = b.Payload+wall.PayloadHeader, n
	return 0
}
