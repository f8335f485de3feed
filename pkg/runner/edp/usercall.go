package edp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// errExit is the reason of a good end.
var errExit = errors.New("exit")

// usercall is one request of the enclave.
type usercall struct {
	call
	number Number
	args   [4]uint64
	tcs    *tcs // nil if asynchronous
}

// bad is the reason to end an enclave that broke the rules of this call.
func (c *usercall) bad(format string, a ...any) error {
	return c.fail(fmt.Errorf(format, a...))
}

func (c *usercall) fail(err error) error {
	e := &UsercallError{Number: c.number, Args: c.args, Async: c.tcs == nil, Err: err}
	if c.tcs != nil {
		e.TCS = c.tcs.off
	}
	return e
}

// serve answers one usercall. An error is errStopped, errExit, errWaits, or the
// reason to end the enclave.
func (s *server) serve(c *usercall) (r1, r2 uint64, err error) {
	if !c.number.known() {
		return s.serveUser(c)
	}
	for i := calls[c.number].args; i < len(c.args); i++ {
		if c.args[i] != 0 {
			return 0, 0, c.bad("argument %d is unused and must be 0", i+1)
		}
	}
	switch c.number {
	case CallWrite:
		r2, err = s.write(c)
	case CallRead:
		r2, err = s.read(c)
	case CallAlloc:
		r2, err = s.alloc(c)
	case CallFree:
		return 0, 0, s.freeBlock(c)
	case CallSend:
		err = s.send(c.args[0], c.args[1])
	case CallWait:
		r2, err = s.waitEvents(c)
	case CallInsecureTime:
		return uint64(time.Now().UnixNano()), s.timeInfo, nil
	case CallReadAlloc:
		err = s.readAlloc(c)
	case CallFlush:
		err = s.flush(c)
	case CallClose:
		s.fds.remove(c.args[0])
		return 0, 0, nil
	case CallBindStream:
		r2, err = s.bindStream(c)
	case CallAcceptStream:
		r2, err = s.acceptStream(c)
	case CallConnectStream:
		r2, err = s.connectStream(c)
	case CallLaunchThread:
		err = s.launchThread()
	case CallExit:
		return 0, 0, s.exit(c, c.args[0] != 0)
	case CallAsyncQueues:
		err = s.asyncQueues(c)
	}
	switch e := err.(type) {
	case nil:
		return 0, r2, nil
	case Result:
		return uint64(e), 0, nil
	case *UsercallError, *PanicError:
		return 0, 0, err
	}
	if err == errStopped || err == errWaits {
		return 0, 0, err
	}
	return uint64(resultOf(err)), 0, nil
}

// serveUser answers a number that is not of the ABI.
func (s *server) serveUser(c *usercall) (r1, r2 uint64, err error) {
	h := s.opts.UserCalls[c.number]
	if h == nil {
		e := &InvalidUsercallError{Number: c.number}
		if c.tcs != nil {
			e.TCS = c.tcs.off
		}
		return 0, 0, e
	}
	s.unwakeable(func() {
		r1, r2, err = h(&UserCallContext{Context: s.ctx, Args: c.args, server: s})
	})
	switch {
	case err == nil:
		return r1, r2, nil
	case s.ended.Load():
		return 0, 0, errStopped
	}
	return 0, 0, c.fail(err)
}

// buffer is the memory of a pointer and length of the enclave. A null pointer
// is the enclave's mistake to be told of; one that points elsewhere ends it.
func (s *server) buffer(c *usercall, addr, n uint64) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	if addr == 0 {
		return nil, ResultInvalidInput
	}
	b, err := s.mem.bytes(addr, n)
	if err != nil {
		if addr-s.base < s.size {
			err = fmt.Errorf("%d bytes at %#x are inside the enclave", n, addr)
		}
		return nil, c.fail(err)
	}
	return b, nil
}

func (s *server) read(c *usercall) (uint64, error) {
	b, err := s.buffer(c, c.args[1], c.args[2])
	if err != nil {
		return 0, err
	}
	st, err := s.fds.stream(c.args[0])
	if err != nil {
		return 0, err
	}
	if len(b) == 0 && st.r != nil {
		return 0, nil
	}
	n, err := st.read(c.call, b)
	return uint64(n), err
}

func (s *server) write(c *usercall) (uint64, error) {
	b, err := s.buffer(c, c.args[1], c.args[2])
	if err != nil {
		return 0, err
	}
	st, err := s.fds.stream(c.args[0])
	if err != nil {
		return 0, err
	}
	if len(b) == 0 && st.w != nil {
		return 0, nil
	}
	var n int
	if st.conn != nil || c.cancel != nil || c.alone {
		n, err = st.write(c.call, b)
	} else {
		s.unwakeable(func() { n, err = st.write(c.call, b) })
	}
	return uint64(n), err
}

func (s *server) flush(c *usercall) error {
	st, err := s.fds.stream(c.args[0])
	if err != nil {
		return err
	}
	s.unwakeable(func() { err = st.flush(c.call) })
	return err
}

// outBuffer is a ByteBuffer that the host fills: data, then length, 8 bytes
// each. The zero value is one that the enclave did not ask for.
type outBuffer struct{ b []byte }

// out checks a pointer to a ByteBuffer; null is allowed. The length becomes
// zero until there is something to hand out.
func (s *server) out(c *usercall, addr uint64) (outBuffer, error) {
	if addr == 0 {
		return outBuffer{}, nil
	}
	b, err := s.buffer(c, addr, byteBufferSize)
	return outBuffer{b}, err
}

func (o outBuffer) clear() {
	if o.b != nil {
		clear(o.b[8:])
	}
}

// set hands a copy of p out.
func (s *server) set(o outBuffer, p []byte) error {
	if o.b == nil {
		return nil
	}
	if len(p) == 0 {
		clear(o.b)
		return nil
	}
	addr, ok := s.newBlock(p, 1)
	if !ok {
		return ResultOther
	}
	le.PutUint64(o.b, addr)
	le.PutUint64(o.b[8:], uint64(len(p)))
	return nil
}

func (s *server) readAlloc(c *usercall) error {
	if c.args[1] == 0 {
		return ResultInvalidInput
	}
	o, err := s.out(c, c.args[1])
	if err != nil {
		return err
	}
	data := le.Uint64(o.b)
	o.clear()
	if data != 0 {
		return ResultInvalidInput
	}
	st, err := s.fds.stream(c.args[0])
	if err != nil {
		return err
	}
	b := make([]byte, readAllocMax)
	n, err := st.read(c.call, b)
	if err != nil {
		return err
	}
	return s.set(o, b[:n])
}

// hookContext is the context of a call into a hook.
func (s *server) hookContext(c *usercall) (context.Context, context.CancelFunc) {
	if c.cancel == nil && !c.alone {
		return s.ctx, func() {}
	}
	return context.WithCancel(s.ctx)
}

// address copies and checks an address of the enclave.
func (s *server) address(c *usercall) (string, error) {
	if c.args[1] > maxAddrLen {
		return "", ResultInvalidInput
	}
	b, err := s.buffer(c, c.args[0], c.args[1])
	if err != nil {
		return "", err
	}
	return addrText(b)
}

func (s *server) bindStream(c *usercall) (uint64, error) {
	local, err := s.out(c, c.args[2])
	if err != nil {
		return 0, err
	}
	local.clear()
	addr, err := s.address(c)
	if err != nil {
		return 0, err
	}
	l, err := hook(s, c, s.opts.Bind, addr)
	if err != nil {
		return 0, err
	}
	if err := s.set(local, []byte(netAddr(l.Addr()))); err != nil {
		_ = l.Close() // the enclave never had it
		return 0, err
	}
	return s.fds.add(file{listener: newListener(l)})
}

func (s *server) acceptStream(c *usercall) (uint64, error) {
	local, err := s.out(c, c.args[1])
	if err != nil {
		return 0, err
	}
	peer, err := s.out(c, c.args[2])
	if err != nil {
		return 0, err
	}
	local.clear()
	peer.clear()
	l, err := s.fds.listener(c.args[0])
	if err != nil {
		return 0, err
	}
	conn, err := l.accept(c.call)
	if err != nil {
		return 0, err
	}
	return s.addConn(conn, local, peer)
}

func (s *server) connectStream(c *usercall) (uint64, error) {
	local, err := s.out(c, c.args[2])
	if err != nil {
		return 0, err
	}
	peer, err := s.out(c, c.args[3])
	if err != nil {
		return 0, err
	}
	local.clear()
	peer.clear()
	addr, err := s.address(c)
	if err != nil {
		return 0, err
	}
	conn, err := hook(s, c, s.opts.Connect, addr)
	if err != nil {
		return 0, err
	}
	return s.addConn(conn, local, peer)
}

// hook calls Connect or Bind, on a goroutine of its own, so that one that does
// not heed its context can be left behind.
func hook[T interface{ Close() error }](s *server, c *usercall, f func(context.Context, string) (T, error), addr string) (T, error) {
	type result struct {
		v   T
		err error
	}
	var none T
	ctx, cancel := s.hookContext(c)
	ch := make(chan result, 1)
	go func() {
		v, err := f(ctx, addr)
		ch <- result{v, err}
	}()
	drop := func() {
		cancel()
		go func() {
			if r := <-ch; r.err == nil {
				_ = r.v.Close() // nobody is left to be told
			}
		}()
	}
	select {
	case r := <-ch:
		cancel()
		return r.v, r.err
	case <-c.cancel:
		drop()
		return none, ResultInterrupted
	case <-c.done:
		drop()
		return none, errStopped
	}
}

// addConn hands a connection out.
func (s *server) addConn(conn net.Conn, local, peer outBuffer) (uint64, error) {
	err := s.set(local, []byte(netAddr(conn.LocalAddr())))
	if err == nil {
		err = s.set(peer, []byte(netAddr(conn.RemoteAddr())))
	}
	if err != nil {
		_ = conn.Close() // the enclave never had it
		return 0, err
	}
	return s.fds.add(file{stream: newStream(conn, conn, conn)})
}

func (s *server) launchThread() error {
	if s.library {
		return ResultInvalidInput
	}
	t := s.takeFree()
	if t == nil {
		return ResultWouldBlock
	}
	s.launch(t, false, [5]uint64{})
	return nil
}

// exit is the reason that ends the enclave.
func (s *server) exit(c *usercall, panicked bool) error {
	switch {
	case !panicked:
		return errExit
	case c.tcs == nil:
		return &PanicError{Text: "async exit with a panic"}
	}
	return c.tcs.panic.error(c.tcs.off)
}

func (s *server) waitEvents(c *usercall) (uint64, error) {
	mask, timeout := c.args[0], c.args[1]
	if mask == 0 && timeout == waitIndefinite && c.tcs != nil {
		return 0, errWaits
	}
	if mask&^evAll != 0 {
		return 0, ResultInvalidInput
	}
	if c.tcs == nil {
		return 0, ResultOther // an asynchronous wait is nobody's
	}
	q := c.tcs.events
	if timeout == waitNo {
		set, ok := q.take(mask)
		if !ok {
			return 0, ResultWouldBlock
		}
		return set, nil
	}
	if timeout != waitIndefinite {
		return q.wait(mask, timeout, c.done, nil)
	}
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	return q.wait(mask, timeout, c.done, s.checkDeadlock)
}

func (s *server) send(set, target uint64) error {
	if set == 0 || set&^evAll != 0 {
		return ResultInvalidInput
	}
	if target != 0 {
		t := s.byAddr[target]
		if t == nil {
			return ResultInvalidInput
		}
		t.events.push(set)
		return nil
	}
	s.sendAll(set)
	return nil
}

func (s *server) sendAll(set uint64) {
	for _, t := range s.tcss {
		t.events.push(set)
	}
}

func (s *server) alloc(c *usercall) (uint64, error) {
	size, align := c.args[0], c.args[1]
	if size == 0 || !validLayout(size, align) {
		return 0, ResultInvalidInput
	}
	addr, ok := s.mem.alloc(size, align, 0)
	if !ok {
		return 0, ResultOther
	}
	return addr, nil
}

// validLayout reports whether align is a power of two and size, rounded up to
// it, is at most 2^63-1: Rust's rule for memory.
func validLayout(size, align uint64) bool {
	return align != 0 && align&(align-1) == 0 && align <= maxAllocSize && size <= maxAllocSize-(align-1)
}

// freeBlock takes memory back. Its alignment need not be that of the alloc:
// the Rust runtime frees with 1 what it allocated with 8.
func (s *server) freeBlock(c *usercall) error {
	addr, size, align := c.args[0], c.args[1], c.args[2]
	switch {
	case !validLayout(size, align):
		return c.bad("size %d with alignment %d is no valid layout", size, align)
	case size == 0:
		return nil
	}
	if err := s.mem.freeBlock(addr, size); err != nil {
		return c.fail(err)
	}
	return nil
}
