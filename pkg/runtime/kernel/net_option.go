package kernel

import (
	wire "github.com/enclaveos/eos/pkg/channel/wire"
)

// Options of sockets. Those that make sense for a connection which ends at the host
// are taken and remembered; the host's sockets keep their own settings (no delay,
// keep-alive). Others are refused as Linux refuses what it does not know.
const (
	optReuseAddr = iota
	optReusePort
	optKeepAlive
	optOOBInline
	optBroadcast
	optDontRoute
	optPriority
	optSndBuf
	optRcvBuf
	optRcvLowat
	optLinger
	optLingerTime
	optNoDelay
	optCork
	optKeepIdle
	optKeepIntvl
	optKeepCnt
	optSynCnt
	optLinger2
	optDeferAccept
	optQuickAck
	optUserTimeout
	optTOS
	optTTL
	optTClass
	optHops
	optV6Only
	optCount

	// Answered without a place of their own.
	optError
	optType
	optDomain
	optProtocol
	optAcceptConn
	optMaxSeg
	optTimeout
	optNone
)

var optDefaults = [optCount]uint32{
	optSndBuf: wire.Window, optRcvBuf: wire.Window, optRcvLowat: 1, optKeepIdle: 7200, optKeepIntvl: 75, optKeepCnt: 9,
	optSynCnt: 6, optLinger2: 60, optQuickAck: 1, optTTL: 64, optHops: 64,
}

const (
	solSocket = 1
	solIP     = 0
	solTCP    = 6
	solIPv6   = 41
)

// option is the option with a number, and whether it is a switch: 0 or 1.
func option(level, name uint64) (opt int, onOff bool) {
	switch level {
	case solSocket:
		switch name {
		case 2:
			return optReuseAddr, true
		case 3:
			return optType, false
		case 4:
			return optError, false
		case 5:
			return optDontRoute, true
		case 6:
			return optBroadcast, true
		case 7, 32:
			return optSndBuf, false
		case 8, 33:
			return optRcvBuf, false
		case 9:
			return optKeepAlive, true
		case 10:
			return optOOBInline, true
		case 12:
			return optPriority, false
		case 13:
			return optLinger, false
		case 15:
			return optReusePort, true
		case 18:
			return optRcvLowat, false
		case 20, 21:
			return optTimeout, false
		case 30:
			return optAcceptConn, false
		case 38:
			return optProtocol, false
		case 39:
			return optDomain, false
		}
	case solTCP:
		switch name {
		case 1:
			return optNoDelay, true
		case 2:
			return optMaxSeg, false
		case 3:
			return optCork, true
		case 4:
			return optKeepIdle, false
		case 5:
			return optKeepIntvl, false
		case 6:
			return optKeepCnt, false
		case 7:
			return optSynCnt, false
		case 8:
			return optLinger2, false
		case 9:
			return optDeferAccept, false
		case 12:
			return optQuickAck, true
		case 18:
			return optUserTimeout, false
		}
	case solIP:
		switch name {
		case 1:
			return optTOS, false
		case 2:
			return optTTL, false
		}
	case solIPv6:
		switch name {
		case 16:
			return optHops, false
		case 26:
			return optV6Only, true
		case 67:
			return optTClass, false
		}
	}
	return optNone, false
}

// Bounds of buffer sizes, as given by SO_SNDBUF and SO_RCVBUF.
const minBuf = 4 << 10

func sockSetopt(i uint32, level, name, p, n uint64) uint64 {
	if level == solIPv6 && sockAt(i).family != afInet6 {
		return errNoProtoOpt
	}
	opt, onOff := option(level, name)
	switch opt {
	case optNone, optError, optType, optDomain, optProtocol, optAcceptConn:
		return errNoProtoOpt
	}
	need := uint64(4)
	switch opt {
	case optLinger:
		need = 8
	case optTimeout:
		need = 16
	}
	if n < need {
		return errInval
	}
	v := *at[uint32](p)
	lock(&netLock)
	s := sockAt(i)
	r := uint64(0)
	switch {
	case onOff && opt == optV6Only:
		if s.bound || s.state != sockNew {
			r = errInval
			break
		}
		s.v6only = v != 0
		s.opts[opt] = min(v, 1)
	case onOff:
		s.opts[opt] = min(v, 1)
	case opt == optLinger:
		s.opts[optLinger], s.opts[optLingerTime] = min(v, 1), *at[uint32](p + 4)
	case opt == optSndBuf || opt == optRcvBuf:
		s.opts[opt] = max(min(v, wire.Window/2)*2, minBuf)
	case opt == optTimeout:
		// Deadlines of blocking calls: only the absence of one.
		if *at[uint64](p) != 0 || *at[uint64](p + 8) != 0 {
			r = errNoProtoOpt
		}
	case opt == optMaxSeg:
		if v != 0 && (v < 88 || v > 32767) {
			r = errInval
		} // otherwise it is the host's matter
	case opt == optKeepIdle && (v < 1 || v > 32767), opt == optKeepIntvl && (v < 1 || v > 32767),
		opt == optKeepCnt && (v < 1 || v > 127), opt == optSynCnt && (v < 1 || v > 127),
		(opt == optTTL || opt == optHops) && (v == 0 || v > 255 && v != ^uint32(0)):
		r = errInval
	default:
		s.opts[opt] = v
	}
	unlock(&netLock)
	return r
}

func sockGetopt(i uint32, level, name, p, lenp uint64) uint64 {
	if level == solIPv6 && sockAt(i).family != afInet6 {
		return errOpNotSupp // unlike setsockopt, as on Linux
	}
	opt, _ := option(level, name)
	switch {
	case opt != optNone:
	case level == solSocket || level == solIP || level == solTCP || level == solIPv6:
		return errNoProtoOpt
	default:
		return errOpNotSupp
	}
	room := uint64(*at[uint32](lenp))
	if int32(room) < 0 {
		return errInval
	}
	var b [16]byte
	n := uint64(4)
	v := uint32(0)
	lock(&netLock)
	s := sockAt(i)
	switch opt {
	case optError:
		v = uint32(-int64(s.takeErr()))
	case optType:
		v = sockStream
	case optDomain:
		v = uint32(s.family)
	case optProtocol:
		v = protoTCP
	case optAcceptConn:
		if s.state == sockListening {
			v = 1
		}
	case optMaxSeg:
		v = 1460
	case optTimeout:
		n = 16
	case optLinger:
		n = 8
		v = s.opts[optLingerTime]
		b[4], b[5], b[6], b[7] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
		v = s.opts[optLinger]
	default:
		v = s.opts[opt]
	}
	unlock(&netLock)
	b[0], b[1], b[2], b[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
	n = min(n, room)
	if n != 0 {
		copy(span(p, n), b[:n])
	}
	*at[uint32](lenp) = uint32(n)
	return 0
}
