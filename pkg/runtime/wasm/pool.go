package wasm

import (
	"context"
	"time"
)

// pool has instances that are made and initialized before they are needed. Each is used
// for one call, as any other: what one call leaves behind, no other finds. What an
// instance does while it is initialized (it reads the clock, takes random numbers)
// happens before its call.
type pool struct {
	ready chan *instance
	kick  chan struct{} // one is gone: make another
	done  chan struct{} // closed when nobody makes any more
	stop  context.CancelFunc
}

// newPool keeps n instances of a ready.
func newPool(a *App, n int) *pool {
	ctx, stop := context.WithCancel(context.Background())
	p := &pool{ready: make(chan *instance, n), kick: make(chan struct{}, 1), done: make(chan struct{}), stop: stop}
	go func() {
		defer close(p.done)
		for {
			// Only this goroutine puts instances in, so that there is room for one.
			for len(p.ready) < n {
				in, err := a.newInstance(ctx, Caller{}, a.deadline(), stdio{})
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

// take gives an instance that is ready to a call, or nil.
func (p *pool) take(ctx context.Context, caller Caller, end time.Time) *instance {
	select {
	case in := <-p.ready:
		in.ctx, in.end, in.caller = ctx, end, caller
		select {
		case p.kick <- struct{}{}:
		default:
		}
		return in
	default:
		return nil
	}
}

// close frees what is ready.
func (p *pool) close() {
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
