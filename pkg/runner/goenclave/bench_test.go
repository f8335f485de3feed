package goenclave

import (
	"sync/atomic"
	"testing"

	"github.com/enclaveos/eos/pkg/wall"
)

// What the host does for an OCALL; entry and exit of the fake are a channel's.
func BenchmarkNotify(b *testing.B) {
	e := newFake(b, 2)
	c, err := NewCommand(e.enc, Options{})
	if err != nil {
		b.Fatal(err)
	}
	c.p.clock.set()
	t := c.p.threads[0]
	for name, f := range map[string]func(){
		"wake":      func() { t.notify(wall.NotifyWake, 1, 0) },
		"wake+park": func() { t.notify(wall.NotifyWake, 0, 0); t.notify(wall.NotifyPark, ^uint64(0), 0) },
		"yield":     func() { t.notify(wall.NotifyYield, 0, 0) },
		"rpc":       func() { t.notify(wall.NotifyRPC, 0, 0) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}

// A wake of a thread that sleeps, and back.
func BenchmarkWakeLatency(b *testing.B) {
	var x, y parking
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		for !stop.Load() {
			y.wait(-1)
			x.wakeUp(nil)
		}
		close(done)
	}()
	for b.Loop() {
		y.wakeUp(nil)
		x.wait(-1)
	}
	stop.Store(true)
	y.wakeUp(nil)
	<-done
}
