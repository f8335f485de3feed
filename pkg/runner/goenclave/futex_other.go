//go:build !linux

package goenclave

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// word is a word that threads sleep on.
type word struct {
	atomic.Uint32
	once sync.Once
	bell chan struct{}
}

func (w *word) init() { w.once.Do(func() { w.bell = make(chan struct{}, 1) }) }

// sleep sleeps while the word is v, for at most d; a negative d is for ever. It
// may return early.
func (w *word) sleep(v uint32, d time.Duration) {
	w.init()
	if w.Load() != v {
		return
	}
	var timeout <-chan time.Time
	if d >= 0 {
		timeout = time.After(d)
	}
	select {
	case <-w.bell:
	case <-timeout:
	}
}

// wake wakes one who sleeps on the word.
func (w *word) wake() {
	w.init()
	select {
	case w.bell <- struct{}{}:
	default:
	}
}

// yield gives the processor to another thread of the host.
func yield() { runtime.Gosched() }
