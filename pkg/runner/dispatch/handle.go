package dispatch

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/enclaveos/eos/pkg/channel/kvwire"
	"github.com/enclaveos/eos/pkg/channel/wire"
)

// A Handler does a request of the program's. The payload is its own; the reply must
// not change afterwards, and has at most wire.MaxPayload bytes. Handlers run
// concurrently, in no order. ctx ends when the program has ended.
type Handler func(ctx context.Context, payload []byte) (status int32, reply []byte)

const (
	// maxRunning bounds the goroutines of handlers.
	maxRunning = 64
	// maxInline bounds the enclave's threads that run a handler themselves: each
	// is missing inside as long as it does.
	maxInline = 4
	// quick is how long a handler may take, on average, to be run by the enclave's
	// thread: waking a goroutine, and by it the enclave, costs about as much.
	quick = 25 * time.Microsecond
	// maxBatch bounds the requests that one OCALL does itself: with more of them
	// several processors are better.
	maxBatch = 16
)

// waits reports whether the handlers of a method may wait for other requests of the
// program's: those of commits take turns. The enclave's own thread must not wait there,
// since it may be the one that has these requests to send.
func waits(m wire.Method) bool { return m == kvwire.Commit }

// method is a handler and how long it has taken lately.
type method struct {
	do    Handler
	waits bool
	mean  atomic.Int64 // nanoseconds; 0: not run yet
}

func (m *method) quick() bool {
	d := m.mean.Load()
	return !m.waits && d != 0 && d < int64(quick)
}

// note updates the mean, in which the last time has a weight of an eighth.
func (m *method) note(d time.Duration) {
	old := m.mean.Load()
	if old == 0 {
		m.mean.Store(max(int64(d), 1))
		return
	}
	m.mean.Store(max(old+(int64(d)-old)/8, 1))
}

// job is a request of the program's.
type job struct {
	id      uint64
	m       *method // nil: there is no such method
	payload []byte
}

// pool runs jobs on a bounded number of goroutines. Those that wait are bounded by
// wire.MaxInFlight.
type pool struct {
	methods map[wire.Method]*method
	ctx     context.Context
	cancel  context.CancelFunc
	inline  atomic.Int32

	mu      sync.Mutex
	running int
	waiting []job
	idle    sync.Cond // running is 0
}

func newPool(handlers map[wire.Method]Handler) *pool {
	p := &pool{methods: make(map[wire.Method]*method, len(handlers))}
	for m, h := range handlers {
		p.methods[m] = &method{do: h, waits: waits(m)}
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.idle.L = &p.mu
	return p
}

// run does a job and returns its response.
func (p *pool) run(j job) wire.Response {
	if j.m == nil {
		return wire.Response{ID: j.id, Status: wire.StatusUnsupported}
	}
	start := time.Now()
	status, reply := j.m.do(p.ctx, j.payload)
	j.m.note(time.Since(start))
	if len(reply) > wire.MaxPayload {
		status, reply = wire.StatusTooLarge, nil
	}
	return wire.Response{ID: j.id, Status: status, Payload: reply}
}

// now runs a job on this thread, if that is the better way.
func (p *pool) now(j job) (r wire.Response, done bool) {
	if j.m != nil && !j.m.quick() {
		return r, false
	}
	defer p.inline.Add(-1)
	if p.inline.Add(1) > maxInline {
		return r, false
	}
	return p.run(j), true
}

// later runs a job on a goroutine, which gives the response to respond.
func (p *pool) later(j job, respond func(wire.Response)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == maxRunning {
		p.waiting = append(p.waiting, j)
		return
	}
	p.running++
	go func() {
		for {
			respond(p.run(j))
			p.mu.Lock()
			if len(p.waiting) == 0 {
				break
			}
			j, p.waiting = p.waiting[0], p.waiting[1:]
			p.mu.Unlock()
		}
		if p.running--; p.running == 0 {
			p.idle.Broadcast()
		}
		p.mu.Unlock()
	}()
}

// close ends the handlers' context and waits until none runs.
func (p *pool) close() {
	p.cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = nil
	for p.running > 0 {
		p.idle.Wait()
	}
}
