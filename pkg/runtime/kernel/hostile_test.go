package kernel_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/channel"
	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runner/goenclave"
	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/wall"
)

// hostile is a host without manners. It serves just enough OCALLs to keep a
// program going.
type hostile struct {
	t       *testing.T
	e       *goenclave.Enclave
	memory  *channel.Memory // descriptors, arguments and clock page lie in its bytes
	e2h     *channel.Memory
	h2e     *channel.Memory
	out     channel.Consumer
	outLock sync.Mutex
	text    strings.Builder

	forge   func() uint64 // the answers of OCALLs
	respond func(request []byte) (responses [][]byte)
	in      channel.Producer
	attack  func(th platform.Thread, tcs uint64)
	spawned [wall.MaxThreads]chan struct{}
	parked  [wall.MaxThreads]chan struct{}
	threads [wall.MaxThreads]atomic.Value
	code    chan uint64
	end     sync.Once
	ended   chan bool // closed when the program has
	group   sync.WaitGroup
	over    atomic.Bool
}

func newHostile(t *testing.T) *hostile {
	t.Helper()
	return newHostileOf(t, image)
}

func newHostileOf(t *testing.T, image func() ([]byte, error)) *hostile {
	t.Helper()
	h := &hostile{t: t, e: load(t, image), code: make(chan uint64, 100), ended: make(chan bool), forge: func() uint64 { return 0 }}
	t.Cleanup(func() { h.e.Close() })
	for _, m := range []**channel.Memory{&h.memory, &h.e2h, &h.h2e} {
		var err error
		if *m, err = channel.NewMemory(4 << 20); err != nil {
			t.Fatal(err)
		}
	}
	h.out.Init(h.e2h.Header, h.e2h.Bytes, h.e2h.Capacity)
	h.in.Init(h.h2e.Header, h.h2e.Bytes, h.h2e.Capacity)
	h.out.PreparePark()
	for i := range h.spawned {
		h.spawned[i] = make(chan struct{}, 1)
		h.parked[i] = make(chan struct{}, 1)
	}
	return h
}

// enter makes an entry that must end by EEXIT, and returns how.
func (h *hostile) enter(th platform.Thread, tcs uint64, r platform.Regs) platform.Regs {
	h.t.Helper()
	exit, err := th.Enter(tcs, sgx.LeafEENTER, &r)
	if err != nil || exit.Kind != platform.ExitEEXIT {
		h.t.Fatalf("EENTER: %v, %v", exit, err)
	}
	if r.R10 != 0 {
		h.t.Errorf("R10 leaks %#x", r.R10)
	}
	return r
}

// refused makes an ECALL that must be refused.
func (h *hostile) refused(th platform.Thread, tcs uint64, call, a1 uint64, want wall.Refusal) {
	h.t.Helper()
	r := h.enter(th, tcs, platform.Regs{RDI: call, RSI: a1, RDX: 1, R8: 2, R9: 3, R10: 4})
	if r.RDI != wall.ExitReturn || wall.Refusal(r.RSI) != want || r.RDX|r.R8|r.R9 != 0 {
		h.t.Errorf("ECALL %d(%#x): %+v, want %d", call, a1, r, want)
	}
}

// put writes numbers to the host's memory and returns their address.
func (h *hostile) put(off int, words ...uint64) uint64 {
	p := uint64(h.memory.Bytes) + uint64(off)
	for i, w := range words {
		*word(p + 8*uint64(i)) = w
	}
	return p
}

func (h *hostile) channelDesc() uint64 {
	return h.put(0, uint64(h.e2h.Header), uint64(h.e2h.Bytes), uint64(h.h2e.Header), uint64(h.h2e.Bytes), h.e2h.Capacity)
}

func (h *hostile) runDesc(args ...string) uint64 {
	s := strings.Join(args, "\x00") + "\x00"
	p := uint64(h.memory.Bytes)
	for i := range len(s) {
		*octet(p + 8192 + uint64(i)) = s[i]
	}
	clock := h.put(4096, 0, 1, 1<<31, 1_000_000_000, 1_800_000_000_000_000_000)
	return h.put(256, p+8192, uint64(len(s)), uint64(len(args)), clock, 2)
}

// serve runs a thread from an entry until it ends.
func (h *hostile) serve(i int, th platform.Thread, r platform.Regs) {
	tcs := h.e.TCS[i]
	for leaf := sgx.LeafEENTER; ; {
		exit, err := th.Enter(tcs, leaf, &r)
		leaf = sgx.LeafEENTER
		if h.over.Load() {
			return
		}
		switch {
		case err != nil:
			h.t.Errorf("thread %d: %v", i, err)
			h.code <- 999
			return
		case exit.Kind != platform.ExitEEXIT:
			if h.attack != nil {
				h.attack(th, tcs)
			}
			if !h.handle(th, tcs, noise()) {
				h.code <- 999
				return
			}
			leaf = sgx.LeafERESUME
			continue
		case r.RDI == wall.ExitReturn && wall.Refusal(r.RSI) == wall.RefusedThread && !<-h.ended:
			return // it was to start when the program ended
		case r.RDI != wall.ExitNotify:
			h.t.Errorf("thread %d leaves with %+v", i, r)
			h.code <- 999
			return
		}
		switch wall.Notify(r.RSI) {
		case wall.NotifyPark:
			select {
			case <-h.parked[i]:
			case <-time.After(min(time.Duration(r.RDX), 20*time.Millisecond)):
			}
		case wall.NotifyWake:
			select {
			case h.parked[r.RDX] <- struct{}{}:
			default:
			}
		case wall.NotifySpawn:
			h.spawned[r.RDX] <- struct{}{}
		case wall.NotifyKick:
			if th, ok := h.threads[r.RDX].Load().(platform.Thread); ok {
				th.Interrupt()
			}
		case wall.NotifyRPC:
			h.outLock.Lock()
			for h.out.Next() == channel.OK {
				b := make([]byte, h.out.Len())
				h.out.Copy(b, 0)
				h.out.Advance()
				if len(b) > 18 && b[8] == 0x10 {
					h.text.Write(b[18:])
				}
				if h.respond != nil && b[0] == wire.IDProgram {
					for _, r := range h.respond(b) {
						h.in.Put(r, nil)
						h.in.Publish()
					}
				}
			}
			h.out.Release()
			h.out.PreparePark()
			h.outLock.Unlock()
		case wall.NotifyExit:
			if r.RDX == 1 {
				h.end.Do(func() { close(h.ended) })
				h.code <- r.R8
			}
			return
		}
		// An answer is RSI alone; the rest is noise.
		r = noise()
		r.RSI = h.forge()
	}
}

func noise() platform.Regs {
	return platform.Regs{RDI: rand.Uint64(), RSI: rand.Uint64(), RDX: rand.Uint64(), R8: rand.Uint64(), R9: rand.Uint64(), R10: rand.Uint64()}
}

// handle enters at CSSA 1 until the handler has ended, which must be for the
// better.
func (h *hostile) handle(th platform.Thread, tcs uint64, r platform.Regs) bool {
	for leaf := sgx.LeafEENTER; ; leaf = sgx.LeafERESUME {
		exit, err := th.Enter(tcs, leaf, &r)
		switch {
		case err == nil && exit.Kind == platform.ExitInterrupt:
			continue
		case err != nil || exit.Kind != platform.ExitEEXIT || r.RDI != wall.ExitAEX || r.RSI != 1 || r.RDX|r.R8|r.R9|r.R10 != 0:
			h.t.Errorf("entry at CSSA 1: %v, %v, %+v", exit, err, r)
			return false
		}
		return true
	}
}

// run starts the program and returns its exit code.
func (h *hostile) run(args ...string) uint64 {
	h.t.Helper()
	for i := 1; i < len(h.e.TCS); i++ {
		h.group.Go(func() {
			th, err := h.e.NewThread()
			if err != nil {
				h.t.Error(err)
				return
			}
			defer th.Close()
			h.threads[i].Store(th)
			for {
				<-h.spawned[i]
				if h.over.Load() {
					return
				}
				h.serve(i, th, platform.Regs{RDI: uint64(wall.ECallRun), RSI: rand.Uint64()})
			}
		})
	}
	h.group.Go(func() {
		th, err := h.e.NewThread()
		if err != nil {
			h.t.Error(err)
			return
		}
		defer th.Close()
		if r := h.enter(th, h.e.TCS[0], platform.Regs{RDI: uint64(wall.ECallInitChannel), RSI: h.channelDesc()}); r.RSI != 0 {
			h.t.Errorf("init: %d", int64(r.RSI))
		}
		h.threads[0].Store(th) // from here on interrupts are answered
		h.serve(0, th, platform.Regs{RDI: uint64(wall.ECallRun), RSI: h.runDesc(append([]string{"inside"}, args...)...)})
	})
	var code uint64
	select {
	case code = <-h.code:
	case <-time.After(60 * time.Second):
		h.t.Error("the program does not end")
	}
	h.over.Store(true)
	for i := range h.e.TCS {
		if th, ok := h.threads[i].Load().(platform.Thread); ok {
			th.Interrupt()
		}
		for _, c := range []chan struct{}{h.parked[i], h.spawned[i]} {
			select {
			case c <- struct{}{}:
			default:
			}
		}
	}
	h.group.Wait()
	return code
}

// Entries in the wrong order, with numbers that are no ECALL, and with pointers
// that are no host memory.
func TestHostileEntries(t *testing.T) {
	h := newHostile(t)
	th, err := h.e.NewThread()
	if err != nil {
		t.Fatal(err)
	}
	defer th.Close()
	first, last := h.e.TCS[0], h.e.TCS[len(h.e.TCS)-1]
	boot := h.e.Boot
	for _, tcs := range []uint64{first, last} {
		for _, call := range []uint64{0, 5, 6, 1 << 32, ^uint64(0)} {
			h.refused(th, tcs, call, 0, wall.RefusedCall)
		}
	}
	h.refused(th, first, uint64(wall.ECallRun), h.runDesc("inside"), wall.RefusedState)
	h.refused(th, last, uint64(wall.ECallRun), h.runDesc("inside"), wall.RefusedThread)
	for _, p := range []uint64{0, boot.Base, boot.StackLo, boot.Base + boot.Size - 8, boot.Base - 8, h.channelDesc() + 1, 1 << 62, ^uint64(7)} {
		h.refused(th, first, uint64(wall.ECallInitChannel), p, wall.RefusedPointer)
		h.refused(th, first, uint64(wall.ECallInitDataChannel), p, wall.RefusedPointer)
	}
	h.put(0, boot.StackLo)
	desc := h.put(0, boot.StackLo, uint64(h.e2h.Bytes), uint64(h.h2e.Header), uint64(h.h2e.Bytes), h.e2h.Capacity)
	h.refused(th, first, uint64(wall.ECallInitChannel), desc, wall.RefusedPointer)
	h.put(32, 3<<12)
	h.channelDesc()
	h.put(32, 3<<12)
	h.refused(th, first, uint64(wall.ECallInitChannel), desc, wall.RefusedSize)
	if r := h.enter(th, first, platform.Regs{RDI: uint64(wall.ECallInitChannel), RSI: h.channelDesc()}); r.RSI != 0 {
		t.Fatalf("a good one: %+v", r)
	}
	h.refused(th, last, uint64(wall.ECallInitChannel), h.channelDesc(), wall.RefusedState)
	run := h.runDesc("inside", "sum", "1")
	h.put(256+24, boot.MetaLo)
	h.refused(th, first, uint64(wall.ECallRun), run, wall.RefusedPointer)
	h.runDesc("inside", "sum", "1")
	h.put(256+16, 7)
	h.refused(th, first, uint64(wall.ECallRun), run, wall.RefusedSize)

	// After a shutdown nothing is accepted any more.
	h.runDesc("inside", "sum", "1")
	if r := h.enter(th, last, platform.Regs{RDI: uint64(wall.ECallShutdown)}); r.RSI != 0 {
		t.Fatalf("shutdown: %+v", r)
	}
	h.refused(th, first, uint64(wall.ECallRun), run, wall.RefusedState)
	h.refused(th, last, uint64(wall.ECallShutdown), 0, wall.RefusedState)
	h.refused(th, last, uint64(wall.ECallInitDataChannel), h.channelDesc(), wall.RefusedState)
}

// Every answer is a lie, every wait ends too early, and every interrupt is taken
// as an occasion to enter some times more. The program does not notice.
func TestHostileAnswers(t *testing.T) {
	for _, args := range [][]string{{"recover"}, {"threads", "5"}, {"preempt"}, {"stress", "1s"}, {"sum", "100000000"}} {
		h := newHostile(t)
		h.forge = rand.Uint64
		h.attack = func(th platform.Thread, tcs uint64) {
			for range 3 {
				h.handle(th, tcs, platform.Regs{RDI: uint64(wall.ECallRun), RSI: h.e.Boot.StackLo})
			}
		}
		stop := make(chan struct{})
		var disturb sync.WaitGroup
		disturb.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(100 * time.Microsecond):
				}
				h.in.Ask() // for statistics, all the time
				if th, ok := h.threads[n%len(h.e.TCS)].Load().(platform.Thread); ok {
					th.Interrupt()
				}
			}
		})
		code := h.run(args...)
		close(stop)
		disturb.Wait()
		if code != 0 {
			t.Errorf("%v: exit code %d\n%s", args, code, &h.text)
		}
		if args[0] == "sum" && !strings.Contains(h.text.String(), fmt.Sprint(100000000*(100000000-1)/2)) {
			t.Errorf("%v: %s", args, &h.text)
		}
		h.e.Close()
	}
}

// What a host can say to a request of the program's.
func TestHostileResponses(t *testing.T) {
	response := func(id uint64, status int32, length int, payload string) []byte {
		return append(wire.AppendResponseHeader(nil, id, status, uint32(length)), payload...)
	}
	const (
		honest = "\"hello\" <nil>\n"
		ended  = "\"\" rpc: the host broke the channel: its ring has ended\n"
	)
	for _, c := range []struct {
		what   string
		answer func(n int, id uint64, payload string) [][]byte
		want   string // the first line, or the first that is not honest
	}{
		{"the truth", func(n int, id uint64, p string) [][]byte { return [][]byte{response(id, 0, len(p), p)} }, honest},
		{"nothing", func(int, uint64, string) [][]byte { return nil }, "\"\" context deadline exceeded\n"},
		{"a status", func(_ int, id uint64, p string) [][]byte { return [][]byte{response(id, 42, len(p), p)} },
			"\"\" rpc: method 0x7001: the host answers status 42\n"},
		{"a length that is too large", func(_ int, id uint64, p string) [][]byte { return [][]byte{response(id, 0, 1<<30, p)} }, ended},
		{"a length that is too small", func(_ int, id uint64, p string) [][]byte { return [][]byte{response(id, 0, 1, p)} }, ended},
		{"half a header", func(_ int, id uint64, p string) [][]byte { return [][]byte{response(id, 0, 0, "")[:9]} }, ended},
		{"an empty frame", func(int, uint64, string) [][]byte { return [][]byte{nil} }, ended},
		{"too much", func(_ int, id uint64, _ string) [][]byte {
			return [][]byte{response(id, 0, wire.MaxPayload+1, strings.Repeat("x", wire.MaxPayload+1))}
		}, ended},
		{"stdin's answer", func(_ int, id uint64, p string) [][]byte { return [][]byte{response(0x100, 0, len(p), p)} }, ended},
		{"another's id", func(_ int, id uint64, p string) [][]byte { return [][]byte{response(id+0x7700, 0, len(p), p)} },
			"\"\" rpc: the host broke the channel: a response with id 0x78ff, which no request had\n"},
		{"the same twice", func(_ int, id uint64, p string) [][]byte { r := response(id, 0, len(p), p); return [][]byte{r, r} }, ended},
		{"an old one again", func(n int, id uint64, p string) [][]byte {
			if n < 2 {
				return [][]byte{response(id, 0, len(p), p)}
			}
			return [][]byte{response(0x1ff, 0, len(p), p)}
		}, "\"\" rpc: the host broke the channel: a second response to request 0x1ff\n"},
	} {
		h := newHostileOf(t, caller)
		n := 0
		h.respond = func(request []byte) [][]byte {
			r, f := wire.ParseRequest(request)
			if f != wire.Sound || r.Method != 0x7001 {
				t.Errorf("request %x", request)
			}
			n++
			return c.answer(n, r.ID, string(r.Payload))
		}
		code := h.run("call")
		text := h.text.String()
		first := ""
		for l := range strings.Lines(text) {
			if strings.HasPrefix(l, "eos: the RPC channel has ended: ") {
				if c.want != ended {
					t.Errorf("%s: %s", c.what, l)
				}
				continue
			}
			if first = l; l != honest {
				break
			}
		}
		if code != 0 || first != c.want && !(c.what == "the same twice" && first == honest) {
			t.Errorf("%s: exit code %d, want %s, got:\n%s", c.what, code, c.want, text)
		}
		h.e.Close()
	}
}
