package kernel

// File descriptors. What a descriptor is, is a kind; what a kind does is in the
// switches of this file. Kinds are the standard streams, a few virtual files, the
// file tree of images that have one (tree.go), and what netpolling needs. Sockets
// have their own files (net_*.go).
type fd struct {
	kind  uint8
	flags uint32 // O_NONBLOCK and the access mode, as F_GETFL answers
	obj   uint32 // index in the kind's own table
	off   uint64 // position in a virtual file

	// Of epoll, guarded by pollLock.
	want   uint32 // events asked for; 0 if not registered
	ready  uint32 // events that have happened since they were reported
	queued bool
	next   uint32 // in the ready queue
	data   uint64
}

// Kinds of descriptors.
const (
	fdFree = iota
	fdReserved
	fdStdin
	fdStdout
	fdStderr
	fdNull
	fdRandom
	fdFile
	fdEpoll
	fdEvent
	fdSocket
	fdPipeOut // where a pipe is read
	fdPipeIn  // where it is written
	fdNode    // in the file tree
	fdLink    // the list of network interfaces
	fdRPC     // the program's part of the RPC channel
)

const (
	maxFDs = 8192

	oRDONLY   = 0
	oWRONLY   = 1
	oRDWR     = 2
	oACCMODE  = 3
	oNONBLOCK = 0x800
)

var (
	fds    [maxFDs]fd
	fdLock uint32
	fdLow  uint32 // no free descriptor below
)

func fdInit() {
	fds[0] = fd{kind: fdStdin, flags: oRDONLY}
	fds[1] = fd{kind: fdStdout, flags: oWRONLY}
	fds[2] = fd{kind: fdStderr, flags: oWRONLY}
	fdLow = 3
}

// fdAt is a descriptor in use, or nil.
func fdAt(n uint64) *fd {
	if n >= maxFDs || fds[n].kind <= fdReserved {
		return nil
	}
	return &fds[n]
}

// fdNew takes the lowest free descriptor.
func fdNew(kind uint8, flags, obj uint32) uint64 {
	lock(&fdLock)
	for i := fdLow; i < maxFDs; i++ {
		if d := &fds[i]; d.kind == fdFree && !d.queued {
			*d = fd{kind: kind, flags: flags, obj: obj}
			fdLow = i + 1
			unlock(&fdLock)
			return uint64(i)
		}
	}
	unlock(&fdLock)
	return errMFile
}

func closeFD(t *thread, n uint64) uint64 {
	d := fdAt(n)
	if d == nil {
		return errBadF
	}
	lock(&fdLock)
	kind, obj := d.kind, d.obj
	if kind <= fdReserved {
		unlock(&fdLock)
		return errBadF
	}
	d.kind = fdReserved
	unlock(&fdLock)

	pollForget(uint32(n))
	switch kind {
	case fdPipeOut, fdPipeIn:
		pipeClose(kind, obj)
	case fdSocket:
		sockClose(t, obj)
	case fdEpoll:
		pollClose()
	case fdRPC:
		rpcClose()
	case fdNode:
		treeClose(obj)
	}

	lock(&fdLock)
	d.kind = fdFree
	if uint32(n) < fdLow {
		fdLow = uint32(n)
	}
	unlock(&fdLock)
	return 0
}

func read(t *thread, n, p, size uint64) uint64 {
	d := fdAt(n)
	if d == nil {
		return errBadF
	}
	switch d.kind {
	case fdStdin:
		return stdinRead(t, p, size)
	case fdNull:
		return 0
	case fdRandom:
		return getrandom(p, size)
	case fdFile:
		r := fileRead(d.obj, d.off, p, size)
		if !failed(r) {
			d.off += r
		}
		return r
	case fdNode:
		r := nodeRead(d.obj, d.off, p, size)
		if !failed(r) {
			d.off += r
		}
		return r
	case fdEvent:
		return eventRead(t, n, p, size)
	case fdPipeOut:
		return pipeRead(t, d, p, size)
	case fdSocket:
		return sockRead(t, d, p, size)
	case fdRPC:
		return rpcRead(p, size)
	}
	return errBadF
}

func write(t *thread, n, p, size uint64) uint64 {
	d := fdAt(n)
	if d == nil {
		return errBadF
	}
	switch d.kind {
	case fdStdout:
		return stdioWrite(t, 1, p, size)
	case fdStderr:
		return stdioWrite(t, 2, p, size)
	case fdNull, fdRandom:
		return size
	case fdNode:
		if d.flags&oACCMODE == oRDONLY {
			return errBadF
		}
		var r uint64
		r, d.off = nodeWrite(d.obj, d.off, p, size, d.flags&oAPPEND != 0)
		return r
	case fdEvent:
		return eventWrite(n, p, size)
	case fdPipeIn:
		return pipeWrite(t, d, p, size)
	case fdSocket:
		return sockWrite(t, d, p, size)
	case fdRPC:
		return rpcSend(p, size)
	}
	return errBadF
}

// writev and readv are not atomic over their parts, as for Linux's sockets.
func vector(t *thread, n, iov, count uint64, out bool) uint64 {
	if count > 1024 {
		return errInval
	}
	total := uint64(0)
	for i := uint64(0); i < count; i++ {
		p, size := *at[uint64](iov + 16*i), *at[uint64](iov + 16*i + 8)
		if size == 0 {
			continue
		}
		var r uint64
		if out {
			r = write(t, n, p, size)
		} else {
			r = read(t, n, p, size)
		}
		if failed(r) {
			if total != 0 {
				return total
			}
			return r
		}
		total += r
		if r < size {
			break
		}
	}
	return total
}

func pread(n, p, size, off uint64) uint64 {
	d := fdAt(n)
	if d == nil {
		return errBadF
	}
	switch d.kind {
	case fdFile:
		return fileRead(d.obj, off, p, size)
	case fdNode:
		return nodeRead(d.obj, off, p, size)
	}
	return errSPipe
}

func lseek(n, off, whence uint64) uint64 {
	d := fdAt(n)
	if d == nil {
		return errBadF
	}
	switch d.kind {
	case fdNull, fdRandom:
		return 0
	case fdFile, fdNode:
	default:
		return errSPipe
	}
	switch whence {
	case 0:
	case 1:
		off += d.off
	case 2:
		if d.kind == fdNode {
			off += load(addrOf(&nodeAt(d.obj).size))
		} else {
			off += fileSize(d.obj)
		}
	default:
		return errInval
	}
	if int64(off) < 0 {
		return errInval
	}
	d.off = off
	return off
}

const (
	fDupFD        = 0
	fGetFD        = 1
	fSetFD        = 2
	fGetFL        = 3
	fSetFL        = 4
	fDupFDCloexec = 1030
)

func fcntl(t *thread, n, cmd, arg uint64) uint64 {
	d := fdAt(n)
	if d == nil {
		return errBadF
	}
	switch cmd {
	case fGetFD, fSetFD:
		return 0
	case fGetFL:
		return uint64(d.flags)
	case fSetFL:
		d.flags = d.flags&^oNONBLOCK | uint32(arg)&oNONBLOCK
		return 0
	case fDupFD, fDupFDCloexec:
		return dup(d)
	}
	return errInval
}

// dup makes a second descriptor. The two do not share a file position.
func dup(d *fd) uint64 {
	switch d.kind {
	case fdEpoll, fdEvent, fdPipeOut, fdPipeIn, fdRPC:
		return errMFile
	case fdSocket:
		sockDup(d.obj)
	case fdNode:
		treeDup(d.obj)
	}
	r := fdNew(d.kind, d.flags, d.obj)
	if !failed(r) {
		fds[r].off = d.off
	}
	return r
}
