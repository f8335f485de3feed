package kernel

// Results of the system calls about sockets.
const (
	errAcces          = ^uint64(13 - 1)
	errNFile          = ^uint64(23 - 1)
	errNotSock        = ^uint64(88 - 1)
	errMsgSize        = ^uint64(90 - 1)
	errDestAddrReq    = ^uint64(89 - 1)
	errNoProtoOpt     = ^uint64(92 - 1)
	errProtoNoSupport = ^uint64(93 - 1)
	errOpNotSupp      = ^uint64(95 - 1)
	errAFNoSupport    = ^uint64(97 - 1)
	errAddrNotAvail   = ^uint64(99 - 1)
	errNetDown        = ^uint64(100 - 1)
	errNetUnreach     = ^uint64(101 - 1)
	errConnAborted    = ^uint64(103 - 1)
	errConnReset      = ^uint64(104 - 1)
	errNoBufs         = ^uint64(105 - 1)
	errIsConn         = ^uint64(106 - 1)
	errNotConn        = ^uint64(107 - 1)
	errAlready        = ^uint64(114 - 1)
	errInProgress     = ^uint64(115 - 1)
)

// hostErrno is the result for an errno that the host has given as the reason why
// a connection failed. Only those are taken that a socket of Linux can have:
// the others (EAGAIN, EINTR, EINPROGRESS …) mean something to whoever gets them.
func hostErrno(errno int32) uint64 {
	switch errno {
	case 1, 12, 13, 22, 23, 24, 32, 97, 98, 99, 100, 101, 102, 103, 104, 105, 110, 111, 112, 113:
		return ^uint64(errno - 1)
	}
	return errIO
}
