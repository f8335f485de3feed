package goenclave

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/enclaveos/eos/pkg/channel"
	"github.com/enclaveos/eos/pkg/runner/dispatch"
	"github.com/enclaveos/eos/pkg/wall"
)

// program is a program while it runs.
type program struct {
	enc     *Enclave
	o       Options
	threads []*thread
	clock   *clock
	rpc     *dispatch.Server
	polls   polls

	ended  atomic.Bool
	done   chan struct{} // closed when ended
	idle   chan struct{} // closed when ended and busy is zero
	busy   atomic.Int64  // goroutines inside, or in a host call that can be woken
	onIdle sync.Once

	mu     sync.Mutex
	result error // why it ended
	start  time.Time
	stop   time.Time

	memory []hostMemory // what the enclave has been given the address of
}

// end ends the program for this reason, nil being exit code 0. Only the first call
// counts. It does not wait.
func (p *program) end(reason error) {
	p.mu.Lock()
	if p.ended.Load() {
		p.mu.Unlock()
		return
	}
	p.result = reason
	p.stop = time.Now()
	p.ended.Store(true)
	p.mu.Unlock()
	close(p.done)
	for _, t := range p.threads {
		t.stop()
	}
	p.interruptPoll()
	p.unbusy() // newProgram's
}

func (p *program) interruptPoll() { p.polls.interrupt() }

func (p *program) dataErr() error {
	if p.polls.data == nil {
		return nil
	}
	return p.polls.data.Err()
}

// exit ends the program as it wishes. The caller's thread does not enter again.
func (p *program) exit(code int) error {
	if code == 0 {
		p.end(nil)
	} else {
		p.end(&ExitError{code})
	}
	return errStopped
}

// enterBusy and unbusy count who is at work for the program and will notice its
// end by itself.
func (p *program) enterBusy() { p.busy.Add(1) }

func (p *program) unbusy() {
	if p.busy.Add(-1) == 0 && p.ended.Load() {
		p.onIdle.Do(func() { close(p.idle) })
	}
}

// serveRPC is NotifyRPC. It may wait for who reads the program's output, for ever; the
// program's end does not wait for that.
func (p *program) serveRPC(a1 uint64) error {
	p.unbusy()
	defer p.enterBusy()
	return p.rpc.Serve(dispatch.Caller{Looks: a1&wall.RPCLooks != 0, Only: a1&wall.RPCOnly != 0})
}

// spawn asks for a thread, on a goroutine that is made when it is first asked for.
func (p *program) spawn(t *thread) (twice bool) {
	twice = t.spawn()
	p.mu.Lock()
	first := !t.started && !p.ended.Load()
	t.started = t.started || first
	p.mu.Unlock()
	if first {
		t.launch(t.serveSpawns)
	}
	return twice
}

// run makes the first ECALLs, the last of which is the program.
func (p *program) run(t *thread) error {
	if err := t.call(wall.ECallInitChannel, p.channel(p.rpc.Rings())); err != nil {
		return err
	}
	if p.polls.data != nil {
		if err := t.call(wall.ECallInitDataChannel, p.channel(p.polls.data.Rings())); err != nil {
			return err
		}
	}
	desc, err := p.runDesc()
	if err != nil {
		return err
	}
	p.clock.set()
	if err := t.call(wall.ECallRun, desc); err != nil {
		return err
	}
	return &ProtocolError{t.idx, "ecall_run of the first TCS returned"}
}

// give allocates memory that lives as long as the program.
func (p *program) give(bytes int) hostMemory {
	m := newHostMemory(bytes)
	p.memory = append(p.memory, m)
	return m
}

// channel returns the address of a ChannelDesc.
func (p *program) channel(e2h, h2e *channel.Memory) uint64 {
	m := p.give(wall.ChannelDescSize)
	for i, v := range []uint64{uint64(e2h.Header), uint64(e2h.Bytes), uint64(h2e.Header), uint64(h2e.Bytes), e2h.Capacity} {
		m.store(i, v)
	}
	return m.addr()
}

// runDesc returns the address of the RunDesc.
func (p *program) runDesc() (uint64, error) {
	var args []byte
	for _, a := range p.o.Args {
		args = append(append(args, a...), 0)
	}
	if len(p.o.Args) > wall.MaxArgc || len(args) > wall.MaxArgs {
		return 0, fmt.Errorf("%d arguments of %d bytes together: at most %d of %d bytes", len(p.o.Args), len(args), wall.MaxArgc, wall.MaxArgs)
	}
	text := p.give(len(args) + 8) // not empty
	copy(text.bytes(), args)
	m := p.give(wall.RunDescSize)
	var flags uint64
	if p.enc.Caps.XInUse {
		flags |= wall.RunInUse
	}
	for i, v := range []uint64{text.addr(), uint64(len(args)), uint64(len(p.o.Args)), p.clock.page.addr(), uint64(processors()), flags} {
		m.store(i, v)
	}
	return m.addr(), nil
}

// shutdown asks the program to end, for this reason, and ends it if it does not
// within the grace time.
func (p *program) shutdown(reason error) {
	time.AfterFunc(p.o.Grace, func() { p.end(reason) })
	if len(p.threads) == 1 { // there is no way in beside the program
		p.end(reason)
		return
	}
	last := p.threads[len(p.threads)-1]
	last.launch(func() error {
		why := uint64(0)
		if errors.Is(reason, ErrInterrupted) {
			why = wall.ShutdownInterrupt
		}
		err := last.call(wall.ECallShutdown, why)
		// Whoever sleeps may look whether it is over.
		for _, t := range p.threads {
			t.wakeUp(p.interruptPoll)
		}
		if err != nil && !errors.Is(err, errStopped) {
			return fmt.Errorf("%w (%w)", reason, err)
		}
		return err
	})
}
