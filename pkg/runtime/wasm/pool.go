package wasm

import (
	"context"
	"slices"
	"sync"
	"time"
)

// pool has instances of an app that are made and initialized before they are needed. Each
// is used for one call, as any other: what one call leaves behind, no other finds. What
// an instance does while it is initialized (it reads the clock, takes random numbers)
// happens before its call.
type pool struct {
	ready chan *instance
	kick  chan struct{} // one may be missing: make another
	done  chan struct{} // closed when nobody makes any more
	stop  context.CancelFunc
}

// pools are those of all apps.
type pools struct {
	mu  sync.Mutex
	all []*pool
}

// open keeps n instances of an app ready.
func (s *pools) open(a *App, n int) *pool {
	ctx, stop := context.WithCancel(context.Background())
	p := &pool{ready: make(chan *instance, n), kick: make(chan struct{}, 1), done: make(chan struct{}), stop: stop}
	s.mu.Lock()
	s.all = append(s.all, p)
	s.mu.Unlock()
	go func() {
		defer close(p.done)
		for {
			// Only this goroutine puts instances in, so that there is room for one.
			for len(p.ready) < n && ctx.Err() == nil {
				in, err := (&instance{app: a, spare: true, ctx: ctx, end: a.deadline(), left: a.Limits.Fuel}).make(stdio{})
				if err != nil {
					a.log.Warn("no instance can be kept ready", "error", err)
					break
				}
				p.ready <- in
			}
			select {
			case <-p.kick:
			case <-ctx.Done():
				return
			}
		}
	}()
	return p
}

// take gives an instance that is ready to a call, or nil. Either way another is made.
func (p *pool) take(ctx context.Context, caller Caller, end time.Time) *instance {
	defer func() {
		select {
		case p.kick <- struct{}{}:
		default:
		}
	}()
	select {
	case in := <-p.ready:
		in.spare, in.ctx, in.end, in.caller = false, ctx, end, caller
		return in
	default:
		return nil
	}
}

// giveWay frees an instance that is ready, for the memory it has: calls that are there
// come before those that may come. It reports whether there was one.
func (s *pools) giveWay() bool {
	s.mu.Lock()
	all := slices.Clone(s.all)
	s.mu.Unlock()
	for _, p := range all {
		select {
		case in := <-p.ready:
			in.close()
			return true
		default:
		}
	}
	return false
}

// close frees what is ready, and makes no more.
func (s *pools) close(p *pool) {
	s.mu.Lock()
	s.all = slices.DeleteFunc(s.all, func(q *pool) bool { return q == p })
	s.mu.Unlock()
	p.stop()
	<-p.done
	for {
		select {
		case in := <-p.ready:
			in.close()
		default:
			return
		}
	}
}
