package kernel

// The list of network interfaces, as programs ask Linux for it: over a socket of
// AF_NETLINK. An enclave has none of its own, and what the host has is its business;
// what holds inside as outside is the loopback interface.
//
// A request is a header, of which type and sequence number matter (rtnetlink(7)).
// Both questions have one datagram for an answer.
const (
	afNetlink    = 16
	sockDgram    = 2
	sockRaw      = 3
	netlinkRoute = 0

	netlinkHeader = 16
	rtmGetLink    = 18
	rtmGetAddr    = 22
)

// The messages. Their sequence number and port are put in the place of the zeros at
// 8 and 12.
const (
	linkLoopback = "\x30\x00\x00\x00" + "\x10\x00\x02\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00" + // RTM_NEWLINK, NLM_F_MULTI
		"\x00\x00\x04\x03" + "\x01\x00\x00\x00" + "\x49\x00\x00\x00" + "\xff\xff\xff\xff" + // ARPHRD_LOOPBACK, index 1, up, loopback, running
		"\x08\x00\x04\x00" + "\x00\x00\x01\x00" + // IFLA_MTU 65536
		"\x07\x00\x03\x00" + "lo\x00\x00" // IFLA_IFNAME
	addrLoopback4 = "\x28\x00\x00\x00" + "\x14\x00\x02\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00" + // RTM_NEWADDR
		"\x02\x08\x80\xfe" + "\x01\x00\x00\x00" + // AF_INET, /8, permanent, of the host, index 1
		"\x08\x00\x01\x00" + "\x7f\x00\x00\x01" + "\x08\x00\x02\x00" + "\x7f\x00\x00\x01" // IFA_ADDRESS, IFA_LOCAL
	addrLoopback6 = "\x2c\x00\x00\x00" + "\x14\x00\x02\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00" +
		"\x0a\x80\x80\xfe" + "\x01\x00\x00\x00" + // AF_INET6, /128
		"\x14\x00\x01\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"
	linkDone = "\x14\x00\x00\x00" + "\x03\x00\x02\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00" // NLMSG_DONE
)

func linkSocket(typ, proto uint64) uint64 {
	if t := typ & sockTypes; t != sockRaw && t != sockDgram || proto != netlinkRoute {
		return errProtoNoSupport
	}
	return fdNew(fdLink, oRDWR|uint32(typ)&oNONBLOCK, 0)
}

// linkCall is a system call on a socket d of linkSocket. Its object is the type of
// the request that waits for its answer, its offset the sequence number.
func linkCall(f *frame, d *fd) uint64 {
	switch f.ax {
	case sysBind:
		return 0
	case sysSendto:
		if f.dx < netlinkHeader {
			return errInval
		}
		typ := *at[uint16](f.si + 4)
		if typ != rtmGetLink && typ != rtmGetAddr {
			return errOpNotSupp
		}
		d.obj, d.off = uint32(typ), uint64(*at[uint32](f.si + 8))
		return f.dx
	case sysGetsockname:
		linkName(f.si, f.dx, pid)
		return 0
	case sysRecvfrom:
		n := linkAnswer(d, f.si, f.dx)
		if !failed(n) {
			linkName(f.r8, f.r9, 0)
		}
		return n
	}
	return errOpNotSupp
}

// linkAnswer writes the answer to p. Whoever waits for one without a question would
// do so for ever.
func linkAnswer(d *fd, p, size uint64) uint64 {
	messages := [...]string{linkLoopback, linkDone, ""}
	switch d.obj {
	case 0:
		return errAgain
	case rtmGetAddr:
		messages = [...]string{addrLoopback4, addrLoopback6, linkDone}
	}
	total := uint64(0)
	for _, m := range messages {
		if uint64(len(m)) > size-total {
			return errMsgSize
		}
		if m == "" {
			continue
		}
		copy(span(p+total, uint64(len(m))), m)
		*at[uint32](p + total + 8), *at[uint32](p + total + 12) = uint32(d.off), pid
		total += uint64(len(m))
	}
	d.obj = 0
	return total
}

// linkName writes struct sockaddr_nl to p, if it is not 0, with the room and the
// size at lenp.
func linkName(p, lenp, port uint64) {
	if p == 0 || lenp == 0 {
		return
	}
	var b [12]byte
	b[0], b[4], b[5] = afNetlink, byte(port), byte(port>>8)
	n := at[uint32](lenp)
	copy(span(p, uint64(min(*n, uint32(len(b))))), b[:])
	*n = uint32(len(b))
}
