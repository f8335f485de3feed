package kernel

// Numbers of the system calls about sockets.
const (
	sysSocket      = 41
	sysConnect     = 42
	sysAccept      = 43
	sysSendto      = 44
	sysRecvfrom    = 45
	sysSendmsg     = 46
	sysRecvmsg     = 47
	sysShutdown    = 48
	sysBind        = 49
	sysListen      = 50
	sysGetsockname = 51
	sysGetpeername = 52
	sysSocketpair  = 53
	sysSetsockopt  = 54
	sysGetsockopt  = 55
	sysAccept4     = 288
	sysSplice      = 275
)

// sockCall answers the system calls that are about sockets. ok is false if the call
// is none of them.
func sockCall(t *thread, f *frame) (r uint64, ok bool) {
	switch f.ax {
	case sysSocket:
		return sockSocket(f.di, f.si, f.dx), true
	case sysSocketpair:
		return errAFNoSupport, true
	case sysSplice:
		// Not ENOSYS: EINVAL is what makes Go copy from socket to socket itself.
		return errInval, true
	case sysIoctl:
		if d := fdAt(f.di); d == nil || d.kind != fdSocket {
			return 0, false
		}
	case sysConnect, sysAccept, sysSendto, sysRecvfrom, sysSendmsg, sysRecvmsg, sysShutdown, sysBind, sysListen,
		sysGetsockname, sysGetpeername, sysSetsockopt, sysGetsockopt, sysAccept4:
	default:
		return 0, false
	}
	d := fdAt(f.di)
	switch {
	case d == nil:
		return errBadF, true
	case d.kind == fdLink:
		return linkCall(f, d), true
	case d.kind != fdSocket:
		return errNotSock, true
	}
	return sockOp(t, f, d), true
}

// sockOp is a call whose first argument is the socket d.
func sockOp(t *thread, f *frame, d *fd) uint64 {
	block := d.flags&oNONBLOCK == 0
	switch f.ax {
	case sysConnect:
		return sockConnect(t, f.di, f.si, f.dx)
	case sysAccept:
		return sockAccept(t, f.di, f.si, f.dx, 0)
	case sysAccept4:
		return sockAccept(t, f.di, f.si, f.dx, f.r10)
	case sysSendto:
		if e := sendFlags(f.r10, &block); e != 0 {
			return e
		}
		if f.r8 != 0 && f.r9 != 0 && sockAt(d.obj).state == sockOpen {
			return errIsConn
		}
		return sockSend(t, d.obj, block, f.si, f.dx)
	case sysRecvfrom:
		peek, e := recvFlags(f.r10, &block)
		if e != 0 {
			return e
		}
		if f.r9 != 0 {
			*at[uint32](f.r9) = 0 // no address: it is the peer's
		}
		return sockRecv(t, d.obj, block, peek, f.si, f.dx)
	case sysSendmsg:
		if e := sendFlags(f.dx, &block); e != 0 {
			return e
		}
		return sockMsg(t, d, at[msghdr](f.si), block, false, true)
	case sysRecvmsg:
		peek, e := recvFlags(f.dx, &block)
		if e != 0 {
			return e
		}
		return sockMsg(t, d, at[msghdr](f.si), block, peek, false)
	case sysShutdown:
		return sockShutdown(d.obj, f.si)
	case sysBind:
		return sockBind(d.obj, f.si, f.dx)
	case sysListen:
		return sockListen(t, d.obj, f.si)
	case sysGetsockname:
		return sockName(d.obj, false, f.si, f.dx)
	case sysGetpeername:
		return sockName(d.obj, true, f.si, f.dx)
	case sysSetsockopt:
		return sockSetopt(d.obj, f.si, f.dx, f.r10, f.r8)
	case sysGetsockopt:
		return sockGetopt(d.obj, f.si, f.dx, f.r10, f.r8)
	}
	return sockIoctl(d, f.si, f.dx)
}

// Flags of send and recv.
const (
	msgOOB      = 0x1
	msgPeek     = 0x2
	msgDontWait = 0x40
	msgWaitAll  = 0x100
	msgNoSignal = 0x4000
	msgMore     = 0x8000
	msgCloexec  = 0x40000000
)

// sendFlags clears block if the flags say so. There is never a SIGPIPE: it is what
// Go's runtime makes of it that programs know, and that is EPIPE.
func sendFlags(flags uint64, block *bool) uint64 {
	if flags&^(msgDontWait|msgNoSignal|msgMore) != 0 {
		return errOpNotSupp
	}
	*block = *block && flags&msgDontWait == 0
	return 0
}

func recvFlags(flags uint64, block *bool) (peek bool, e uint64) {
	if flags&msgOOB != 0 {
		return false, errInval
	}
	if flags&^(msgPeek|msgDontWait|msgNoSignal|msgWaitAll|msgCloexec) != 0 {
		return false, errOpNotSupp
	}
	*block = *block && flags&msgDontWait == 0
	return flags&msgPeek != 0, 0
}

// msghdr is struct msghdr. A connection has its peer, and TCP has no control
// data: the fields for their addresses are not looked at.
type msghdr struct {
	_          uint64 // name
	nameLen    uint32
	_          uint32
	iov, count uint64
	_          uint64 // control
	controlSz  uint64
	flags      uint32
}

// sockMsg is sendmsg and recvmsg. There is no control data on TCP.
func sockMsg(t *thread, d *fd, m *msghdr, block, peek, out bool) uint64 {
	if m.count > 1024 {
		return errInval
	}
	if out && m.controlSz != 0 {
		return errInval
	}
	total := uint64(0)
	for i := uint64(0); i < m.count; i++ {
		p, n := *at[uint64](m.iov + 16*i), *at[uint64](m.iov + 16*i + 8)
		if n == 0 {
			continue
		}
		r := uint64(0)
		if out {
			r = sockSend(t, d.obj, block, p, n)
		} else {
			r = sockRecv(t, d.obj, block && total == 0, peek, p, n)
		}
		if failed(r) {
			if total == 0 {
				return r
			}
			break
		}
		total += r
		if r < n || peek {
			break
		}
	}
	if !out {
		m.nameLen, m.controlSz, m.flags = 0, 0, 0
	}
	return total
}

const (
	ioFIONREAD = 0x541b
	ioFIONBIO  = 0x5421
)

func sockIoctl(d *fd, req, arg uint64) uint64 {
	switch req {
	case ioFIONREAD:
		lock(&netLock)
		s := sockAt(d.obj)
		r, n := uint64(0), s.buffered
		if s.state == sockListening {
			r = errInval
		}
		unlock(&netLock)
		if r == 0 {
			*at[uint32](arg) = n
		}
		return r
	case ioFIONBIO:
		d.flags &^= oNONBLOCK
		if *at[uint32](arg) != 0 {
			d.flags |= oNONBLOCK
		}
		return 0
	}
	return errNotTTY
}
