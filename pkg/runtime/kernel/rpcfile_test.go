package kernel

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	ring "github.com/enclaveos/eos/pkg/channel"
	wire "github.com/enclaveos/eos/pkg/channel/wire"
)

func requestBytes(id uint64, payload string) string {
	return string(wire.AppendRequest(nil, wire.Request{ID: id, Method: 0x7001, Payload: []byte(payload)}))
}

func responseBytes(id uint64, payload string) []byte {
	return wire.AppendResponse(nil, wire.Response{ID: id, Payload: []byte(payload)})
}

// rpcWorld is an enclave with the descriptor open, registered with epoll.
type rpcWorld struct {
	*enclave
	th     *thread
	fd, ep uint64
	p      uint64 // a page of the program's
	in     *ring.Consumer
	out    *ring.Producer
	bells  int
}

func newRPC(t *testing.T, capacity uint64) *rpcWorld {
	w := &rpcWorld{enclave: newEnclave(t)}
	w.boot(t)
	w.th = threadAt(0)
	w.p = w.user(t, 64<<10)
	put(w.p, rpcPath+"\x00")
	if r := openat(0, w.p, oRDWR, 0); r != errNoEnt {
		t.Errorf("open without a channel: %d", int64(r))
	}
	desc, in, out := w.channels(t, capacity)
	initChannel(&rpc, desc)
	w.in, w.out = in, out
	in.PreparePark()
	old := machine.ocall
	machine.ocall = func(kind, a1, a2, a3 uint64) uint64 {
		switch kind {
		case 1: // the kernel itself waits for room
			w.taken()
		case 8:
			w.bells++
		}
		return old(kind, a1, a2, a3)
	}
	w.fd = openat(0, w.p, oRDWR, 0)
	reset(&pollOpen)
	w.ep = epollCreate()
	if failed(w.fd) || failed(w.ep) {
		t.Fatalf("descriptors %d and %d", int64(w.fd), int64(w.ep))
	}
	put(w.p, string(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(nil, pollIn|pollOut|pollRdHup|1<<31), 4711)))
	if r := epollCtl(w.ep, epollAdd, w.fd, w.p); r != 0 {
		t.Fatalf("epoll_ctl: %d", int64(r))
	}
	return w
}

func (w *rpcWorld) write(s string) uint64 {
	put(w.p, s)
	return write(w.th, w.fd, w.p, uint64(len(s)))
}

func (w *rpcWorld) send(b ...[]byte) (bell bool) {
	for _, m := range b {
		w.out.Put(m, nil)
		bell = w.out.Publish() || bell
	}
	return bell
}

func (w *rpcWorld) read(size uint64) string {
	switch r := read(w.th, w.fd, w.p, size); {
	case r == errAgain:
		return "EAGAIN"
	case r == errMsgSize:
		return "EMSGSIZE"
	case r == errIO:
		return "EIO"
	case failed(r):
		return "another error"
	default:
		return string(span(w.p, r)[16:])
	}
}

// events are what epoll tells now.
func (w *rpcWorld) events() uint32 {
	if epollWait(w.th, w.ep, w.p, 8, 0) == 0 {
		return 0
	}
	return *at[uint32](w.p)
}

func (w *rpcWorld) taken() (all []string) {
	for w.in.Next() == ring.OK {
		b := make([]byte, w.in.Len())
		w.in.Copy(b, 0)
		all = append(all, string(b[14:]))
		w.in.Advance()
		w.in.Release()
	}
	w.in.PreparePark()
	return all
}

func TestRPCFile(t *testing.T) {
	w := newRPC(t, 64<<10)
	if e := w.events(); e != pollOut {
		t.Errorf("events at first: %#x", e)
	}
	put(w.p, rpcPath+"\x00")
	if r := openat(0, w.p, oRDWR, 0); r != errBusy {
		t.Errorf("a second open: %d", int64(r))
	}
	for _, s := range []string{
		"x", requestBytes(0x1ff, "hello")[:18], requestBytes(0x1ff, "hello") + "x", requestBytes(0x100, "stdin's"), requestBytes(0, ""),
		requestBytes(0x1ff, "") + requestBytes(0x101, ""), string(wire.AppendRequestHeader(nil, 0x1ff, 1, wire.MaxPayload+1)),
		string(wire.AppendRequestHeader(nil, 0x1ff, 1, 1<<32-1)),
	} {
		if r := w.write(s); r != errInval {
			t.Errorf("write %x: %d", s[:min(len(s), 20)], int64(r))
		}
	}
	if got := w.taken(); got != nil || rpcFile.asked != 0 || w.bells != 0 {
		t.Errorf("after nothing but mistakes: %q", got)
	}
	// Two in one write, with one bell; a third finds the host awake.
	two := requestBytes(0x1ff, "one") + requestBytes(0x2ff, "two")
	if r := w.write(two); r != uint64(len(two)) {
		t.Errorf("write: %d", int64(r))
	}
	w.write(requestBytes(0x3ff, "three"))
	if got := w.taken(); !slices.Equal(got, []string{"one", "two", "three"}) || w.bells != 1 || rpcFile.asked != 3 {
		t.Errorf("%q, %d bells, %d asked", got, w.bells, rpcFile.asked)
	}
	if got := w.read(100); got != "EAGAIN" {
		t.Errorf("read of nothing: %q", got)
	}
	// One event for however many responses, until the ring has been seen empty.
	w.send(responseBytes(0x2ff, "TWO"))
	for i, want := range []uint32{pollIn, 0, 0} {
		if e := w.events(); e != want {
			t.Errorf("event %d: %#x", i, e)
		}
		w.send(responseBytes(0x1ff, strings.Repeat("1", i+1)))
	}
	if got := w.read(17); got != "EMSGSIZE" {
		t.Errorf("too small a buffer: %q", got)
	}
	var got []string
	for range 4 {
		got = append(got, w.read(64))
	}
	if !slices.Equal(got, []string{"TWO", "1", "11", "EIO"}) {
		t.Errorf("read %q", got)
	}
	if rpcIn.Status() != ring.ErrMessage {
		t.Errorf("after more responses than requests: %v", rpcIn.Status())
	}
	if !strings.Contains(strings.Join(w.taken(), ""), "eos: the RPC channel has ended: peer sent a malformed message\n") {
		t.Errorf("it was not said")
	}
}

// The program sleeps in epoll_wait: the ring's flag says so whenever the program has
// seen the ring empty, and else it has been told.
func TestRPCSleep(t *testing.T) {
	w := newRPC(t, 64<<10)
	w.events()
	w.write(requestBytes(0x1ff, "") + requestBytes(0x2ff, "") + requestBytes(0x3ff, "") + requestBytes(0x4ff, ""))
	if !rpcPark() {
		t.Fatal("must not sleep")
	}
	if !w.send(responseBytes(0x1ff, "a")) {
		t.Error("the first response does not ring")
	}
	if w.send(responseBytes(0x2ff, "b")) {
		t.Error("the second one rings as well")
	}
	if rpcPark() {
		t.Error("sleeps on responses that nobody has been told of")
	}
	if e := w.events(); e != pollIn {
		t.Errorf("events %#x", e)
	}
	if !rpcPark() {
		t.Error("may sleep: the program has been told")
	}
	if a, b, c := w.read(64), w.read(64), w.read(64); a != "a" || b != "b" || c != "EAGAIN" {
		t.Errorf("read %q %q %q", a, b, c)
	}
	if !w.send(responseBytes(0x3ff, "c")) {
		t.Error("a response after the ring was empty does not ring, and two threads sleep")
	}
	rpcUnpark()
	rpcUnpark()
	if c, d := w.read(64), w.read(64); c != "c" || d != "EAGAIN" {
		t.Errorf("read %q %q", c, d)
	}
	if w.send(responseBytes(0x4ff, "d")) {
		t.Error("rings, and nobody sleeps")
	}
}

// A full ring: what fits is taken, the rest waits for room, and epoll tells.
func TestRPCRoom(t *testing.T) {
	w := newRPC(t, 4096)
	w.events()
	one := requestBytes(0x1ff, strings.Repeat("x", 1000))
	if r := w.write(one + one + one + one + one); r != 4*uint64(len(one)) && r != 3*uint64(len(one)) {
		t.Fatalf("wrote %d", int64(r))
	}
	for w.write(one) != errAgain {
	}
	put(w.p, one)
	if r := rpcExchange(w.fd, w.p, uint64(len(one)), w.p+8192, 100); r != errAgain {
		t.Errorf("exchange: %d", int64(r))
	}
	if e := w.events(); e != 0 {
		t.Errorf("events of a full ring: %#x", e)
	}
	w.in.Next()
	w.in.Advance()
	if !w.in.Release() {
		t.Error("the host is not told that somebody waits")
	}
	if e := w.events(); e != pollOut {
		t.Errorf("events after there is room: %#x", e)
	}
	if r := w.write(one); r != uint64(len(one)) {
		t.Errorf("write: %d", int64(r))
	}
	if r := w.write(requestBytes(0x1ff, strings.Repeat("x", 5000))); r != errIO {
		t.Errorf("a request that can never fit: %d", int64(r))
	}
}

// stdin's answers and the program's, in all orders, from both readers.
func TestRPCAndStdin(t *testing.T) {
	w := newRPC(t, 64<<10)
	stdinAnswer := wire.AppendResponse(nil, wire.Response{ID: 0x100, Payload: []byte("line")})
	mine := responseBytes(0x1ff, "mine")
	ask := func() {
		w.write(requestBytes(0x1ff, ""))
		stdin.asked, stdin.want = 0x100, 32 // as if a signal had ended the wait
		if stdin.buf == 0 {
			stdin.buf = w.user(t, maxStdio)
		}
	}
	for _, order := range [][][]byte{{stdinAnswer, mine}, {mine, stdinAnswer}} {
		for _, stdinFirst := range []bool{false, true} {
			ask()
			w.send(order...)
			if stdinFirst && len(order[0]) == len(mine) && order[0][0] == 0xff {
				// It lies behind the program's, which has to read first.
				if got := w.read(64); got != "mine" {
					t.Errorf("%q", got)
				}
				if n := read(w.th, 0, w.p, 32); n != 4 || string(span(w.p, 4)) != "line" {
					t.Errorf("stdin: %d", int64(n))
				}
				continue
			}
			if stdinFirst {
				// In two parts, as the reader wishes.
				for _, part := range []string{"li", "ne"} {
					if n := read(w.th, 0, w.p, 2); n != 2 || string(span(w.p, 2)) != part {
						t.Errorf("stdin: %d", int64(n))
					}
				}
			}
			if got := w.read(64); got != "mine" {
				t.Errorf("%q", got)
			}
			if !stdinFirst {
				if n := read(w.th, 0, w.p, 32); n != 4 || string(span(w.p, 4)) != "line" {
					t.Errorf("stdin: %d", int64(n))
				}
			}
			if got := w.read(64); got != "EAGAIN" {
				t.Errorf("%q is left", got)
			}
		}
	}
	// After close, what still comes is thrown away, and then it can be opened again.
	ask()
	closeFD(w.th, w.fd)
	put(w.p, rpcPath+"\x00")
	if r := openat(0, w.p, oRDWR, 0); r != errBusy {
		t.Errorf("open before the last response: %d", int64(r))
	}
	w.send(mine, stdinAnswer)
	put(w.p, rpcPath+"\x00")
	if r := openat(0, w.p, oRDWR, 0); failed(r) {
		t.Errorf("open after the last response: %d", int64(r))
	}
	if n := read(w.th, 0, w.p, 32); n != 4 {
		t.Errorf("stdin: %d", int64(n))
	}
}

// Each lie ends the ring, whoever looks.
func TestRPCLies(t *testing.T) {
	for what, b := range map[string][]byte{
		"nothing":            {},
		"half a header":      responseBytes(0x1ff, "")[:15],
		"a length too long":  wire.AppendResponseHeader(nil, 0x1ff, 0, 1),
		"a length of 4 GiB":  wire.AppendResponseHeader(nil, 0x1ff, 0, 1<<32-1),
		"a length too short": append(wire.AppendResponseHeader(nil, 0x1ff, 0, 0), 'x'),
		"stdin's, not asked": responseBytes(0x100, ""),
		"id 0":               responseBytes(0, ""),
		"all ones but one":   responseBytes(1<<64-2, ""),
	} {
		w := newRPC(t, 64<<10)
		w.write(requestBytes(0x1ff, "") + requestBytes(0x2ff, ""))
		w.events()
		w.send(b)
		if e := w.events(); e&pollErr == 0 && what != "a length too long" && what != "a length of 4 GiB" && what != "a length too short" {
			t.Errorf("%s: events %#x", what, e) // of those three, epoll sees the id alone
		}
		put(w.p, requestBytes(0x3ff, ""))
		if r := rpcExchange(w.fd, w.p, 14, w.p, 4096); r != errIO {
			t.Errorf("%s: exchange: %d", what, int64(r))
		}
		if got := w.read(4096); got != "EIO" {
			t.Errorf("%s: read: %q", what, got)
		}
	}
}

// The host rewrites a response between the first look and the copy.
func TestRPCRewritten(t *testing.T) {
	for off, v := range map[int]byte{0: 0, 12: 9} {
		w := newRPC(t, 64<<10)
		w.write(requestBytes(0x1ff, ""))
		w.send(responseBytes(0x1ff, "hello"))
		lock(&rpcInLock)
		if !rpcTake() {
			t.Fatal("nothing there")
		}
		*at[byte](rpc.h2eBytes + ring.FrameHeader + uint64(off)) = v
		rpcUnlock(nil)
		if got := w.read(64); got != "EIO" {
			t.Errorf("byte %d: %q", off, got)
		}
	}
}

// FuzzRPC is a program and a host that do what the input says: requests, responses
// that are right or nearly right, stdin, epoll, garbage in the ring. Nothing may
// crash or block; what the program reads is sound, and answers at most what it asked.
func FuzzRPC(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add([]byte{0, 0, 1, 3, 0, 1, 3, 3, 4, 5, 5, 2, 3, 6, 1, 3})
	f.Add([]byte{0, 7, 0x30, 0xff, 3, 0, 8, 3, 7, 16, 1, 3})
	f.Fuzz(func(t *testing.T, in []byte) {
		w := newRPC(t, 4096)
		stdin.buf = w.user(t, maxStdio)
		next := func() byte {
			if len(in) == 0 {
				return 0
			}
			b := in[0]
			in = in[1:]
			return b
		}
		var asked, answered, parked int
		take := func(r uint64) {
			if r == 0 || r == errAgain || r == errIO || r == errMsgSize {
				return
			}
			b := span(w.p, r)
			if answered++; failed(r) || r < 16 || b[0] != wire.IDProgram || le(b[12:16]) != r-16 || answered > asked {
				t.Fatalf("response %d of %d: %d", answered, asked, int64(r))
			}
		}
		for range 300 {
			if len(in) == 0 {
				break
			}
			switch next() % 10 {
			case 0:
				b := requestBytes(uint64(asked)<<8|0xff, strings.Repeat("x", int(next())))
				if r := w.write(b); !failed(r) {
					asked++
				}
			case 1:
				w.send(responseBytes(uint64(next())<<8|0xff, strings.Repeat("y", int(next())/8)))
			case 2:
				w.send(responseBytes(0x100, strings.Repeat("z", int(next())/8)))
			case 3:
				take(read(w.th, w.fd, w.p, 16+uint64(next())))
			case 4:
				if stdin.asked == 0 && !stdin.there {
					stdin.asked, stdin.want = 0x100, 20
				}
			case 5:
				if stdin.there {
					if r := read(w.th, 0, w.p, 1+uint64(next()%8)); r > 8 && r != errIO {
						t.Fatalf("stdin: %d", int64(r))
					}
				}
			case 6:
				b := requestBytes(uint64(asked)<<8|0xff, "")
				put(w.p, b)
				n := uint64(len(b))
				if next()%2 == 0 {
					n = 0
				}
				r := rpcExchange(w.fd, w.p, n, w.p, 4096)
				if n != 0 && (!failed(r) || r == errIO && rpcOut.Status() == ring.OK) {
					asked++
				}
				take(r)
			case 7: // garbage
				b := make([]byte, int(next())%40)
				for i := range b {
					b[i] = next()
				}
				w.send(b)
			case 8:
				w.taken()
				w.events()
			case 9:
				if parked == 0 && rpcPark() {
					parked++
				} else if parked > 0 {
					rpcUnpark()
					parked--
				}
			}
			if rpcInLock|rpcLock|pollLock|waitLock != 0 {
				t.Fatal("a lock is held")
			}
			if rpcIn.Status() == ring.OK && uint32(asked-answered) != rpcFile.asked {
				t.Fatalf("%d asked, %d answered, the kernel says %d are open", asked, answered, rpcFile.asked)
			}
		}
	})
}
