//go:build linux

package proxy

import (
	"context"
	"fmt"
	"net"

	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/enclaveos/eos/pkg/channel"
	"github.com/enclaveos/eos/pkg/channel/wire"
)

// Options say how a data plane behaves. The zero value is a good one.
type Options struct {
	// Capacity of each ring in bytes; 0 is DefaultCapacity.
	Capacity uint64
	// Publish maps ports that the program listens on to addresses of the host.
	Publish []Publish
	// MaxConns is how many connections are open at a time; 0 is DefaultMaxConns.
	// Further ones wait in their listener's backlog.
	MaxConns int
	// Resolver is the host's resolver; nil is net.DefaultResolver.
	Resolver *net.Resolver
	// Listening is called for each listener with the address that the program asked
	// for and the one that it got, or why it has not got the one that it was to. It
	// must not call the Proxy.
	Listening func(asked, got string, err error)
}

// Defaults of Options.
const (
	DefaultCapacity = 4 << 20
	DefaultMaxConns = 16384
)

// maxIDs bounds the ids that the enclave has not closed, with the dead ones among
// them: a program that never closes has lost.
const maxIDs = 1 << 17

// lingerTime is how long data that a program has left behind a closed connection may
// take to reach the client.
const lingerTime = 60 * time.Second

// Proxy is a data plane. Its methods may be called from several goroutines, but Poll
// from one at a time.
type Proxy struct {
	opt            Options
	ctx            context.Context
	cancel         context.CancelFunc
	e2hMem, h2eMem *channel.Memory
	epoll, event   int

	life         sync.RWMutex // kick and a wait against Close: a closed descriptor may be somebody else's
	waiting      atomic.Bool  // a Poll is in epoll_wait, or about to be, or has just been
	interrupted  atomic.Bool
	polls, waits atomic.Uint64
	failure      atomic.Pointer[error] // err, for those without the lock
	want         atomic.Bool           // work was asked for while another had the lock

	mu        lock
	e2h       channel.Consumer
	h2e       channel.Producer
	ids       map[uint32]*sock
	slots     []*sock  // by the index that epoll tells
	free      []uint32 // free slots
	ready     []*sock  // who has something for the enclave, a queue
	readyHead int
	done      []func() // results of goroutines, to be taken by whoever moves data
	lingering map[*sock]time.Time
	paused    []*sock // listeners that wait for a connection to end
	conns     int
	nextID    uint32
	blocked   uint64 // bytes of room in h2e that the head of ready waits for
	announced uint64 // h2e bytes that the last Poll has told of
	bell      bool   // the enclave waited for room, and there is some now
	closed    bool
	err       error
	stats     Stats
	control   [wire.MaxControl]byte
	message   []byte // scratch for messages to the enclave

	events [256]unix.EpollEvent // of Poll alone
}

// Stats are what a Proxy has done.
type Stats struct {
	Accepted, Connected, Failed uint64 // connections
	Open, Peak                  int    // connections
	In, Out                     uint64 // payload bytes to and from the enclave
	RingIn, RingOut             uint64 // ring bytes to and from the enclave
	Polls, Waits                uint64 // calls of Poll; waits in the kernel
	Full                        uint64 // times that the ring to the enclave was full
}

// New makes a data plane with its two rings.
func New(o Options) (*Proxy, error) {
	if o.Capacity == 0 {
		o.Capacity = DefaultCapacity
	}
	if o.MaxConns <= 0 {
		o.MaxConns = DefaultMaxConns
	}
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	p := &Proxy{opt: o, ids: map[uint32]*sock{}, lingering: map[*sock]time.Time{}, epoll: -1, event: -1}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	var err error
	if p.e2hMem, err = channel.NewMemory(o.Capacity); err == nil {
		p.h2eMem, err = channel.NewMemory(o.Capacity)
	}
	if err != nil {
		return nil, fmt.Errorf("proxy: rings of %d bytes: %w", o.Capacity, err)
	}
	if s := p.e2h.Init(p.e2hMem.Header, p.e2hMem.Bytes, o.Capacity); s != channel.OK {
		return nil, s
	}
	if s := p.h2e.Init(p.h2eMem.Header, p.h2eMem.Bytes, o.Capacity); s != channel.OK {
		return nil, s
	}
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("proxy: epoll: %w", err)
	}
	if p.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(p.epoll)
		return nil, fmt.Errorf("proxy: eventfd: %w", err)
	}
	// Slot 0 is the eventfd. It is edge-triggered, so nobody has to read it.
	p.slots = []*sock{nil}
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET}
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, p.event, &e); err != nil {
		unix.Close(p.epoll)
		unix.Close(p.event)
		return nil, fmt.Errorf("proxy: epoll: %w", err)
	}
	return p, nil
}

// Rings are the memories of the two rings: from the enclave, to the enclave.
func (p *Proxy) Rings() (e2h, h2e *channel.Memory) { return p.e2hMem, p.h2eMem }

// Err is why the data plane has ended, or nil. After Close it is still that.
func (p *Proxy) Err() error {
	if e := p.failure.Load(); e != nil {
		return *e
	}
	return nil
}

// Stats are the figures so far.
func (p *Proxy) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Open = p.conns
	s.Polls, s.Waits = p.polls.Load(), p.waits.Load()
	s.RingIn, s.RingOut = p.h2e.Written(), p.e2h.Read()
	return s
}

// Flush takes everything that the enclave has written and gives it to the sockets as
// far as they take it; what they do not take stays in their buffers. It never
// blocks. It tells whether it has put messages for the enclave into the ring.
func (p *Proxy) Flush() (more bool) {
	p.want.Store(true)
	if !p.mu.TryLock() {
		return false // whoever moves data now goes on
	}
	more = p.workAndTell()
	p.unlock()
	return more
}

// workAndTell is work by somebody who does not go back to the enclave as a poller:
// the one who waits is sent there.
func (p *Proxy) workAndTell() (more bool) {
	before := p.h2e.Written()
	p.work()
	if p.news() && p.waiting.Load() {
		p.kick()
	}
	return p.h2e.Written() != before || p.bell
}

// unlock releases the lock, and does what others wanted done meanwhile: they have
// not waited for it.
func (p *Proxy) unlock() {
	for {
		p.mu.Unlock()
		if !p.want.Load() || !p.mu.TryLock() {
			return
		}
		p.workAndTell()
	}
}

// Poll does what Flush does, then waits until there is something for the enclave,
// until Interrupt is called, or until the timeout is over (below 0: none).
func (p *Proxy) Poll(timeout time.Duration) {
	var deadline time.Time
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	p.polls.Add(1)
	p.waiting.Store(true) // from here on, whoever finds something kicks
	p.want.Store(true)
	locked := p.mu.TryLock() // if not, the one who has it does the work
	if !locked && timeout == 0 {
		p.waiting.Store(false)
		return
	}
	for polled := false; ; polled = true {
		wait := waitTime(timeout, deadline)
		if locked {
			p.work()
			if p.news() || timeout == 0 && polled {
				break
			}
			wait = p.sooner(wait)
			p.unlock()
		} else if wait < 0 || wait > 1000 {
			wait = 1000 // there may be something to be done in time
		}
		if p.interrupted.Load() {
			wait = 0
		}
		if wait != 0 {
			p.waits.Add(1)
		}
		n, err := p.waitEvents(wait)
		p.mu.Lock()
		locked = true
		if err != nil {
			p.fail(fmt.Errorf("proxy: epoll_wait: %w", err))
			break
		}
		if !p.closed {
			for i := range p.events[:n] {
				p.event1(&p.events[i])
			}
			p.inTime()
		}
		if p.interrupted.Swap(false) || timeout > 0 && n == 0 && !time.Now().Before(deadline) {
			p.work()
			break
		}
	}
	p.announced, p.bell = p.h2e.Written(), false
	p.waiting.Store(false)
	p.unlock()
}

// waitEvents fills p.events, without p.mu. Close does not take the descriptor away
// meanwhile.
func (p *Proxy) waitEvents(timeout int) (n int, err error) {
	p.life.RLock()
	defer p.life.RUnlock()
	if p.epoll < 0 {
		return 0, nil
	}
	return epollWait(p.epoll, p.events[:], timeout)
}

// news tells whether there is something that the enclave's poller has to hear of.
func (p *Proxy) news() bool {
	return p.h2e.Written() != p.announced || p.bell || p.err != nil || p.closed
}

// sooner shortens a wait if there is something to be done in time.
func (p *Proxy) sooner(wait int) int {
	if len(p.lingering) > 0 && (wait < 0 || wait > 1000) {
		wait = 1000
	}
	if len(p.paused) > 0 && p.conns < p.opt.MaxConns && (wait < 0 || wait > 100) {
		wait = 100 // the host was out of something; nobody tells when it is back
	}
	return wait
}

// inTime does what is to be done now and then.
func (p *Proxy) inTime() {
	if len(p.lingering) > 0 {
		p.endLingering(time.Now())
	}
	if len(p.paused) > 0 && p.conns < p.opt.MaxConns {
		p.resume()
	}
}

// waitTime is what epoll_wait wants: milliseconds, rounded up as the Go runtime does.
func waitTime(timeout time.Duration, deadline time.Time) int {
	switch {
	case timeout < 0:
		return -1
	case timeout == 0:
		return 0
	}
	left := time.Until(deadline)
	if left <= 0 {
		return 0
	}
	return int(min((left+time.Millisecond-1)/time.Millisecond, 1<<30))
}

// Interrupt makes the Poll that runs, or else the next one, return at once.
func (p *Proxy) Interrupt() {
	p.interrupted.Store(true)
	if p.waiting.Load() {
		p.kick()
	}
}

// kick ends an epoll_wait.
func (p *Proxy) kick() {
	p.life.RLock()
	if p.event >= 0 {
		unix.Write(p.event, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
	p.life.RUnlock()
}

// later hands the result of a goroutine to whoever moves data next.
func (p *Proxy) later(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.done = append(p.done, f)
		p.kick()
	}
}

// work is all that can be done without waiting: take what goroutines have found out,
// drain the enclave's ring, fill the enclave's ring.
func (p *Proxy) work() {
	p.want.Store(false)
	if p.err != nil || p.closed {
		return
	}
	for len(p.done) > 0 {
		todo := p.done
		p.done = nil
		for _, f := range todo {
			f()
		}
	}
	p.drain()
	p.fill()
}

// fail ends the data plane: the first reason stays.
func (p *Proxy) fail(err error) {
	if p.err != nil {
		return
	}
	p.err = err
	p.failure.Store(&err)
	p.e2h.Kill(channel.ErrClosed)
	p.h2e.Kill(channel.ErrClosed)
	p.closeAll()
}

// lie ends the data plane for what the enclave did.
func (p *Proxy) lie(s channel.Status, what string, args ...any) {
	p.fail(fmt.Errorf("proxy: the enclave broke the rules of the data channel: %w: %s", s, fmt.Sprintf(what, args...)))
}

func (p *Proxy) closeAll() {
	for _, c := range p.slots {
		if c != nil {
			unix.Close(c.fd)
			c.fd = -1
		}
	}
	p.slots, p.free, p.ready, p.readyHead, p.done, p.paused = p.slots[:1], nil, nil, 0, nil, nil
	clear(p.ids)
	clear(p.lingering)
	p.conns = 0
}

// Close ends the data plane when the program has ended: what the program has written
// still reaches the clients, for at most grace. The error is the one of Err.
func (p *Proxy) Close(grace time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return p.err
	}
	deadline := time.Now().Add(grace)
	if p.err == nil {
		p.drain()
	}
	for _, c := range p.slots {
		if c != nil && c.kind == kindListener {
			p.closeFD(c)
		}
	}
	var events [64]unix.EpollEvent
	for p.err == nil && p.unsent() {
		wait := waitTime(grace, deadline)
		if wait <= 0 {
			break
		}
		n, err := epollWait(p.epoll, events[:], wait)
		if err != nil {
			break
		}
		for i := range events[:n] {
			if c := p.bySlot(&events[i]); c != nil && c.kind == kindConn {
				c.writable = true
				p.flushOut(c)
			}
		}
	}
	p.closed = true
	p.cancel()
	p.closeAll()
	p.e2h.Kill(channel.ErrClosed)
	p.h2e.Kill(channel.ErrClosed)
	for p.waiting.Load() { // a Poll is still there: it must not wait on a descriptor of somebody else's
		p.kick()
		p.mu.Unlock()
		time.Sleep(time.Millisecond)
		p.mu.Lock()
	}
	p.life.Lock()
	unix.Close(p.epoll)
	unix.Close(p.event)
	p.epoll, p.event = -1, -1
	p.life.Unlock()
	return p.err
}

// unsent tells whether a socket still has to take something.
func (p *Proxy) unsent() bool {
	for _, c := range p.slots {
		if c != nil && c.kind == kindConn && c.outLen() > 0 {
			return true
		}
	}
	return false
}
