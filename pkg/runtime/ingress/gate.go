package ingress

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// gate is the listener that net/http sees: its connections have finished TLS. It bounds
// how many are shaking hands, and how many there are. Who comes when that bound is
// reached is let in at the cost of the one that has held its place for longest without
// use: a shaker of hands, or an idle connection. So clients that hold places shut out
// each other, not those that want to work.
type gate struct {
	l     net.Listener
	o     *Options
	ready chan *tls.Conn
	done  chan struct{} // closed by Close
	fail  error         // of l; set before ended is closed
	ended chan struct{} // closed when nothing is accepted any more
	wg    sync.WaitGroup

	once sync.Once

	mu      sync.Mutex
	conns   int
	shaking *list.List                 // of net.Conn, the oldest first
	idle    *list.List                 // of net.Conn (*tls.Conn), the oldest first
	where   map[net.Conn]*list.Element // in idle
}

func newGate(l net.Listener, o *Options) *gate {
	return &gate{
		l: l, o: o, ready: make(chan *tls.Conn), done: make(chan struct{}), ended: make(chan struct{}),
		shaking: list.New(), idle: list.New(), where: make(map[net.Conn]*list.Element),
	}
}

// accept takes connections until l ends.
func (g *gate) accept(ctx context.Context) {
	defer close(g.ended)
	pause := 5 * time.Millisecond
	for {
		raw, err := g.l.Accept()
		if err != nil {
			if t, ok := err.(interface{ Temporary() bool }); ok && t.Temporary() {
				select {
				case <-time.After(pause):
					pause = min(2*pause, time.Second)
					continue
				case <-g.done:
				}
			}
			g.fail = err
			return
		}
		pause = 5 * time.Millisecond
		g.admit(ctx, raw)
	}
}

// admit makes room for raw and shakes hands with it.
func (g *gate) admit(ctx context.Context, raw net.Conn) {
	g.mu.Lock()
	var out net.Conn
	switch {
	case g.shaking.Len() >= g.o.MaxHandshakes:
		out = g.shaking.Front().Value.(net.Conn)
		g.shaking.Remove(g.shaking.Front())
	case g.conns >= g.o.MaxConns && g.idle.Len() > 0:
		out = g.idle.Front().Value.(net.Conn)
		delete(g.where, out)
		g.idle.Remove(g.idle.Front())
	case g.conns >= g.o.MaxConns:
		out, raw = raw, nil // all of them are at work
	}
	var at *list.Element
	if raw != nil {
		raw = &counted{Conn: raw, g: g}
		at = g.shaking.PushBack(raw)
		g.conns++
	}
	g.mu.Unlock()
	if out != nil {
		// In the background: the end of TLS is a write, and a client may not read.
		g.wg.Go(func() { closeNow(out) })
	}
	if raw != nil {
		g.wg.Go(func() { g.shake(ctx, raw, at) })
	}
}

// closeNow closes a connection without waiting for its client.
func closeNow(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	c.Close()
}

// shake does the handshake and hands the connection to net/http.
func (g *gate) shake(ctx context.Context, raw net.Conn, at *list.Element) {
	ctx, cancel := context.WithTimeout(ctx, g.o.HandshakeTimeout)
	defer cancel()
	t, err := g.o.Attester.Handshake(ctx, raw)
	g.mu.Lock()
	g.shaking.Remove(at) // nothing if it was shut out
	g.mu.Unlock()
	if err != nil {
		g.o.Log.Debug("handshake", "err", err)
		return
	}
	select {
	case g.ready <- t:
	case <-g.done:
		closeNow(t)
	}
}

// counted is a connection that is one of g.conns until it is closed, whoever has it.
type counted struct {
	net.Conn
	g    *gate
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() {
		c.g.mu.Lock()
		c.g.conns--
		c.g.mu.Unlock()
	})
	return c.Conn.Close()
}

// state is http.Server.ConnState: it knows which connections are idle.
func (g *gate) state(c net.Conn, s http.ConnState) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e := g.where[c]; e != nil {
		g.idle.Remove(e)
		delete(g.where, c)
	}
	if s == http.StateNew || s == http.StateIdle { // a new one has not asked for anything yet
		g.where[c] = g.idle.PushBack(c)
	}
}

// closeIdle closes the connections that do not work for anybody.
func (g *gate) closeIdle() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.where {
		g.wg.Go(func() { closeNow(c) })
	}
}

// Accept, Close and Addr are net.Listener.
func (g *gate) Accept() (net.Conn, error) {
	select {
	case c := <-g.ready:
		return c, nil
	case <-g.done:
		return nil, net.ErrClosed
	case <-g.ended:
		if g.fail != nil && !errors.Is(g.fail, net.ErrClosed) {
			return nil, g.fail
		}
		return nil, net.ErrClosed
	}
}

func (g *gate) Close() error {
	var err error
	g.once.Do(func() {
		close(g.done)
		err = g.l.Close()
	})
	return err
}

func (g *gate) Addr() net.Addr { return g.l.Addr() }

// wait returns when no goroutine is left.
func (g *gate) wait() {
	g.Close()
	<-g.ended
	g.wg.Wait()
}
