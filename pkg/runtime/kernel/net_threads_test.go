package kernel

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	ring "github.com/enclaveos/eos/pkg/channel"
	wire "github.com/enclaveos/eos/pkg/channel/wire"
	wall "github.com/enclaveos/eos/pkg/wall"
)

// echoHost echoes what connections send, from a goroutine of its own: the rings'
// flags alone decide whether an enclave thread that sleeps hears of it.
type echoHost struct {
	mu    sync.Mutex
	in    *ring.Consumer
	out   *ring.Producer
	conns map[uint32]*echoConn
	polls [wall.MaxThreads]bool
	kick  chan struct{}
	wake  func(i int)
	stop  atomic.Bool
	rung  bool
	fail  func(format string, args ...any)
}

type echoConn struct {
	grant, credit int
	buf           []byte
	fin, finSent  bool
	closed, open  bool
}

// flush is NotifyData; mu is held.
func (h *echoHost) flush() {
	for h.in.Next() == ring.OK {
		b := make([]byte, h.in.Len())
		h.in.Copy(b, 0)
		h.in.Advance()
		m, f := wire.Parse(b, wire.FromEnclave)
		if f != wire.Sound {
			h.fail("the enclave sent %x: %v", b[:min(len(b), 20)], f)
			return
		}
		c := h.conns[m.ID]
		switch m.Type {
		case wire.TcpConnect:
			h.conns[m.ID] = &echoConn{grant: wire.FirstWindow}
		case wire.TcpData:
			c.buf = append(c.buf, m.Payload...)
			if len(c.buf)+c.credit > wire.Window {
				h.fail("%d bytes under way", len(c.buf)+c.credit)
			}
		case wire.TcpCredit:
			if c.grant += int(m.Credit()); c.grant > wire.Window {
				h.fail("granted %d", c.grant)
			}
		case wire.TcpFin:
			c.fin = true
		case wire.TcpClose:
			c.closed = true
		}
	}
	h.in.Release()
	if s := h.in.Status(); s != ring.OK {
		h.fail("ring from the enclave: %v", s)
	}
	if h.out.Publish() {
		h.ringAll()
	}
	select {
	case h.kick <- struct{}{}:
	default:
	}
}

// ringAll wakes who polls; if there is nobody yet, the next one does not wait.
func (h *echoHost) ringAll() {
	h.rung = true
	for i := range h.polls {
		if h.polls[i] {
			h.rung = false
			h.wake(i)
		}
	}
}

// run is the network: it moves a little whenever something has changed.
func (h *echoHost) run() {
	rng := rand.New(rand.NewPCG(7, 8))
	for !h.stop.Load() {
		<-h.kick
		h.mu.Lock()
		for more := true; more; {
			more = false
			for id, c := range h.conns {
				put := func(b []byte) bool {
					for h.out.Put(b, nil) != ring.OK {
						if h.out.Publish() {
							h.ringAll()
						}
						if h.out.PrepareWait(uint64(len(b))) {
							return false
						}
						if h.out.Status() != ring.OK {
							h.fail("host's ring: %v", h.out.Status())
							return false
						}
					}
					return true
				}
				if !c.open {
					c.open = put(wire.Append(nil, wire.TcpConnected, id, []byte("1.1.1.1:1\n2.2.2.2:2")))
					more = more || c.open
					continue
				}
				if c.closed {
					if put(wire.Append(nil, wire.TcpClose, id, nil)) {
						delete(h.conns, id)
					}
					continue
				}
				if k := min(len(c.buf), c.grant, 1+rng.IntN(9000), int(h.out.Capacity()/4)); k > 0 {
					if !put(wire.Append(nil, wire.TcpData, id, c.buf[:k])) {
						continue
					}
					c.buf = c.buf[k:]
					c.grant -= k
					c.credit += k
					more = true
				}
				if c.credit >= wire.Window/4 || c.credit > 0 && len(c.buf) == 0 {
					if put(wire.AppendCredit(nil, id, uint32(c.credit))) {
						c.credit = 0
					}
				}
				if c.fin && !c.finSent && len(c.buf) == 0 && c.credit == 0 {
					c.finSent = put(wire.Append(nil, wire.TcpFin, id, nil))
				}
			}
			if h.out.Publish() {
				h.ringAll()
			}
		}
		h.mu.Unlock()
	}
}

// Threads that block on their own sockets, or that poll for others, with a host
// which works on its own: nobody misses a wake-up, and every byte arrives.
func TestSocketThreads(t *testing.T) {
	for _, capacity := range []uint64{4 << 10, 64 << 10, 1 << 20} {
		t.Run(fmt.Sprint(capacity), func(t *testing.T) { testSocketThreads(t, capacity) })
	}
}

func testSocketThreads(t *testing.T, capacity uint64) {
	n := newNet(t, capacity)
	var tsc atomic.Uint64
	machine.readTSC = func() uint64 { return tsc.Add(1000) }
	var who sync.Map
	h := &echoHost{in: n.in, out: n.out, conns: map[uint32]*echoConn{}, kick: make(chan struct{}, 1), fail: t.Errorf}
	h.wake = func(i int) {
		select {
		case n.tokens[i] <- struct{}{}:
		default:
		}
	}
	machine.ocall = func(kind, a1, a2, a3 uint64) uint64 {
		switch wall.Notify(kind) {
		case wall.NotifyData:
			h.mu.Lock()
			h.flush()
			h.mu.Unlock()
		case wall.NotifyPark:
			v, _ := who.Load(syscall.Gettid())
			i := int(v.(*thread).idx)
			if a2 == 1 {
				h.mu.Lock()
				h.flush()
				rung := h.rung
				h.rung, h.polls[i] = false, !rung
				h.mu.Unlock()
				if rung {
					return 0
				}
			}
			select {
			case <-n.tokens[i]:
			case <-time.After(60 * time.Second):
				t.Errorf("thread %d was never woken", i)
				panic("lost")
			}
			h.mu.Lock()
			h.polls[i] = false
			h.mu.Unlock()
		case wall.NotifyWake:
			h.wake(int(a1))
		case wall.NotifyYield:
			runtime.Gosched()
		}
		return 0
	}
	go h.run()
	const blocking, polled, size = 3, 12, 1 << 20
	var wg sync.WaitGroup
	enter := func(i uint64) *thread {
		growStack(64)
		runtime.LockOSThread()
		th := threadAt(i)
		th.state = stateBusy
		who.Store(syscall.Gettid(), th)
		return th
	}
	var pages [testThreads]uint64
	for i := range pages {
		pages[i] = n.user(t, 128<<10)
	}
	*at[[16]byte](n.page) = [16]byte{2, 0, 0, 80, 10, 0, 0, 1}
	for i := range uint64(blocking) {
		wg.Go(func() {
			th := enter(i + 1)
			p := pages[i+1]
			s := n.callOn(th, sysSocket, afInet, sockStream, 0)
			if r := n.callOn(th, sysConnect, s, n.page, 16); r != 0 {
				t.Errorf("connect: %d", int64(r))
				return
			}
			x, y := byte(i), byte(i)
			sent, got := 0, 0
			for got < size {
				// At most a quarter of the window is ever unread, so that the
				// write does not block for want of a reader.
				if k := min(50000, size-sent); k > 0 && sent-got < wire.Window/4 {
					b := span(p, uint64(k))
					for j := range b {
						b[j] = x
						x += 3
					}
					if r := n.callOn(th, sysWrite, s, p, uint64(k)); r != uint64(k) {
						t.Errorf("write: %d", int64(r))
						return
					}
					if sent += k; sent == size {
						n.callOn(th, sysShutdown, s, shutWr)
					}
				}
				r := n.callOn(th, sysRead, s, p, 100000)
				if failed(r) || r == 0 {
					t.Errorf("read: %d at %d", int64(r), got)
					return
				}
				for _, c := range span(p, r) {
					if c != y {
						t.Errorf("byte %d is %#x", got, c)
						return
					}
					y += 3
				}
				got += int(r)
			}
			if r := n.callOn(th, sysRead, s, p, 1); r != 0 {
				t.Errorf("at the end: %d", int64(r))
			}
			n.callOn(th, sysClose, s)
		})
	}
	wg.Go(func() {
		th := enter(blocking + 1)
		p := pages[blocking+1]
		type conn struct {
			sent, got []byte
			fin       bool
		}
		conns := map[uint64]*conn{}
		rng := rand.New(rand.NewPCG(9, 10))
		for range polled {
			s := n.callOn(th, sysSocket, afInet, sockStream|sockNonblok, 0)
			if r := n.callOn(th, sysConnect, s, n.page, 16); r != errInProgress {
				t.Errorf("connect: %d", int64(r))
				return
			}
			*at[uint32](p) = pollIn | pollOut | pollRdHup | 1<<31
			*at[uint64](p + 4) = s
			n.callOn(th, sysEpollCtl, n.ep, epollAdd, s, p)
			conns[s] = &conn{}
		}
		for len(conns) > 0 {
			r := n.callOn(th, sysEpollPwait, n.ep, p, 128, ^uint64(0))
			if failed(r) {
				t.Errorf("epoll_wait: %d", int64(r))
				return
			}
			var ready []uint64
			for i := range r {
				ready = append(ready, *at[uint64](p + 12*i + 4))
			}
			for _, s := range ready {
				c := conns[s]
				for len(c.sent) < size/4 {
					k := min(1+rng.Uint64N(60000), uint64(size/4-len(c.sent)))
					b := span(p, k)
					for j := range b {
						b[j] = byte(rng.Uint32())
					}
					r := n.callOn(th, sysWrite, s, p, k)
					if r == errAgain {
						break
					}
					if failed(r) {
						t.Errorf("write: %d", int64(r))
						return
					}
					c.sent = append(c.sent, b[:r]...)
				}
				if len(c.sent) == size/4 && !c.fin {
					c.fin = true
					n.callOn(th, sysShutdown, s, shutWr)
				}
				for {
					r := n.callOn(th, sysRead, s, p, 1+rng.Uint64N(60000))
					if r == errAgain {
						break
					}
					if failed(r) {
						t.Errorf("read: %d", int64(r))
						return
					}
					if r == 0 {
						if !bytes.Equal(c.sent, c.got) || len(c.got) != size/4 {
							t.Errorf("sent %d bytes, got %d", len(c.sent), len(c.got))
						}
						n.callOn(th, sysClose, s)
						delete(conns, s)
						break
					}
					c.got = append(c.got, span(p, r)...)
				}
			}
		}
	})
	wg.Wait()
	// The host ends its ids.
	who.Store(syscall.Gettid(), n.th)
	runtime.LockOSThread()
	for done := false; !done && !t.Failed(); {
		n.call(sysEpollPwait, n.ep, n.page, 128, 0)
		h.mu.Lock()
		done = len(h.conns) == 0
		h.mu.Unlock()
		runtime.Gosched()
	}
	h.stop.Store(true)
	h.mu.Lock()
	select {
	case h.kick <- struct{}{}:
	default:
	}
	h.mu.Unlock()
	n.call(sysEpollPwait, n.ep, n.page, 128, 0)
	n.empty()
}
