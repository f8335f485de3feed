package goenclave_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/runner"
	"github.com/enclaveos/eos/pkg/runner/goenclave"
	"github.com/enclaveos/eos/pkg/runner/goenclave/goenclavetest"
	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/microcode"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs/fromgo"
	"github.com/enclaveos/eos/pkg/wall"
)

// image is the program testdata/goapps/acts.
var image = sync.OnceValues(func() ([]byte, error) {
	var b bytes.Buffer
	_, err := fromgo.Build(context.Background(), &b, fromgo.Options{
		Dir: "../../../testdata/goapps/acts", Package: ".", HeapSize: 32 << 20, Threads: 12, Debug: true,
	})
	return b.Bytes(), err
})

// load loads the program. Since there is one place for Go images, it has to be
// closed before the next one.
func load(t testing.TB) *goenclave.Enclave {
	t.Helper()
	b, err := image()
	if err != nil {
		t.Fatal(err)
	}
	p, err := softsgx.New(softsgx.Options{Device: microcode.NewDevice([microcode.SeedSize]byte{1})})
	if err != nil {
		t.Fatal(err)
	}
	sig, err := runner.DummySignature(bytes.NewReader(b), p.Caps())
	if err != nil {
		t.Fatal(err)
	}
	e, err := goenclave.Load(p, bytes.NewReader(b), sig, runner.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

type result struct {
	stdout, stderr string
	err            error
	stats          goenclave.Stats
}

// act runs one act with the host h, and fails the test if it takes too long.
func act(t testing.TB, h goenclavetest.Host, stdin string, args ...string) result {
	t.Helper()
	errTimeout := errors.New("test timeout")
	ctx, cancel := context.WithTimeoutCause(context.Background(), time.Minute, errTimeout)
	defer cancel()
	e := load(t)
	goenclavetest.Interpose(e, h)
	var stdout, stderr bytes.Buffer
	c, err := goenclave.NewCommand(e, goenclave.Options{
		Args: append([]string{"acts"}, args...), Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr,
	})
	if err != nil {
		t.Fatal(err)
	}
	err = c.Run(ctx)
	if err := e.Close(); err != nil {
		t.Errorf("closing the enclave: %v", err)
	}
	if ctx.Err() != nil {
		t.Fatalf("the program did not end by itself: %v; stdout %q, stderr %q", err, stdout.String(), stderr.String())
	}
	return result{stdout.String(), stderr.String(), err, c.Stats()}
}

func TestActs(t *testing.T) {
	for _, c := range []struct {
		args           string
		stdin          string
		stdout, stderr string
		code           int
	}{
		{args: "args a -b", stdout: "[\"a\" \"-b\"]\n"},
		{args: "exit 7", code: 7},
		{args: "unknown", stderr: "acts: no such act\n", code: 2},
		{args: "nil", stdout: "recovered: runtime error: invalid memory address or nil pointer dereference\n"},
		{args: "panic", stderr: "panic: as asked", code: 2},
		{args: "cat", stdin: "one\ntwo\n", stdout: "1 one\n2 two\n", stderr: "end of input\n"},
		{args: "sleep 20ms", stdout: "sleeping\n"},
		{args: "preempt", stdout: "preempted\n"},
		{args: "trees 20", stdout: "trees are sound\n"},
		{args: "balls 2000", stdout: "balls came back\n"},
	} {
		t.Run(c.args, func(t *testing.T) {
			r := act(t, goenclavetest.Host{}, c.stdin, strings.Fields(c.args)...)
			var exit *goenclave.ExitError
			if errors.As(r.err, &exit) != (c.code != 0) || exit != nil && exit.Code != c.code || exit == nil && r.err != nil {
				t.Errorf("ended by %v, want exit code %d", r.err, c.code)
			}
			if r.stdout != c.stdout || !strings.HasPrefix(r.stderr, c.stderr) {
				t.Errorf("stdout %q, want %q; stderr %q, want %q", r.stdout, c.stdout, r.stderr, c.stderr)
			}
			if s := r.stats; s.Enclave == nil || s.Enclave.HeapHigh == 0 || s.Enclave.HeapHigh > 32<<20 || s.Enclave.HeapSize != 32<<20 || s.Enclave.Threads != 12 {
				t.Errorf("the program says of itself %+v", s.Enclave)
			}
		})
	}
}

// Nothing of x87 and vector registers passes the wall, with either way to clean them.
func TestVectorsAreCleaned(t *testing.T) {
	for _, c := range []struct {
		name  string
		clear uint64 // flags of the RunDesc that the host takes away
	}{{"as the processor is", 0}, {"without XGETBV", wall.RunInUse}} {
		t.Run(c.name, func(t *testing.T) {
			r := act(t, goenclavetest.Host{Enter: func(th *goenclavetest.Thread, _ sgx.Leaf, regs *platform.Regs) {
				if th.Index == 0 && wall.ECall(regs.RDI) == wall.ECallRun {
					hostWords(regs.RSI, 6)[5] &^= c.clear
				}
			}}, "", "vectors")
			if r.err != nil || r.stdout != "registers are clean\n" {
				t.Errorf("ended by %v: %.20000q", r.err, r.stdout)
			}
		})
	}
}

func TestWallClock(t *testing.T) {
	before := time.Now()
	r := act(t, goenclavetest.Host{}, "", "clock", "10000")
	after := time.Now()
	ms, err := strconv.ParseInt(strings.TrimSpace(r.stdout), 10, 64)
	if at := time.UnixMilli(ms); err != nil || at.Before(before.Truncate(time.Millisecond)) || at.After(after) {
		t.Errorf("the clock says %v, not between %v and %v (%v)", at, before, after, r.err)
	}
}

// firstLine tells when something is written.
type firstLine struct {
	once sync.Once
	seen chan struct{}
}

func (f *firstLine) Write(b []byte) (int, error) {
	f.once.Do(func() { close(f.seen) })
	return len(b), nil
}

// stop runs an act and asks it to end once it has written something.
func stop(t *testing.T, args ...string) error {
	e := load(t)
	defer e.Close()
	out := &firstLine{seen: make(chan struct{})}
	c, err := goenclave.NewCommand(e, goenclave.Options{Args: append([]string{"acts"}, args...), Stdout: out})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { <-out.seen; cancel() }()
	return c.Run(ctx)
}

func TestAskedToEnd(t *testing.T) {
	for args, code := range map[string]int{"term": 3, "sleep 1h": 128 + int(syscall.SIGTERM), "yes": 128 + int(syscall.SIGTERM)} {
		err := stop(t, strings.Fields(args)...)
		var exit *goenclave.ExitError
		if !errors.As(err, &exit) || exit.Code != code {
			t.Errorf("%s ended by %v, want exit code %d", args, err, code)
		}
	}
}

// An idle program does not run: its host's threads sleep.
func TestIdle(t *testing.T) {
	e := load(t)
	defer e.Close()
	out := &firstLine{seen: make(chan struct{})}
	c, err := goenclave.NewCommand(e, goenclave.Options{Args: []string{"acts", "sleep", "1h"}, Stdout: out, Grace: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	<-out.seen
	// Its runtime has things to do at first, each less often than the last.
	quiet := 0
	for last := uint64(0); quiet < 5; {
		time.Sleep(50 * time.Millisecond)
		s := c.Stats()
		if n := s.Entries(); n == last {
			quiet++
		} else {
			quiet, last = 0, n
		}
	}
	cancel()
	<-ended
}

// The hosts here lie about all that they are asked. The programs must either not
// notice or be ended by their kernel; what they say must be true.
func TestLyingHosts(t *testing.T) {
	random := func() uint64 {
		switch rand.IntN(4) {
		case 0:
			return wall.Base + rand.Uint64N(1<<29)
		case 1:
			return ^uint64(rand.IntN(200))
		default:
			return rand.Uint64() >> rand.IntN(64)
		}
	}
	// Not at each third entry: a regular host can keep a program from going on.
	kick := func(th *goenclavetest.Thread, _ sgx.Leaf, _ *platform.Regs) {
		if rand.IntN(3) == 0 {
			th.Interrupt()
		}
	}
	isAnswer := func(regs *platform.Regs) bool { return regs.RDI == 0 }
	hosts := map[string]func() goenclavetest.Host{
		"forged answers": func() goenclavetest.Host {
			return goenclavetest.Host{Enter: func(_ *goenclavetest.Thread, leaf sgx.Leaf, regs *platform.Regs) {
				if leaf == sgx.LeafEENTER && isAnswer(regs) {
					regs.RSI, regs.RDX, regs.R8, regs.R9, regs.R10 = random(), random(), random(), random(), random()
				}
			}}
		},
		"an ECALL instead of an answer": func() goenclavetest.Host {
			return goenclavetest.Host{Enter: func(_ *goenclavetest.Thread, leaf sgx.Leaf, regs *platform.Regs) {
				if leaf == sgx.LeafEENTER && isAnswer(regs) {
					regs.RDI = 1 + rand.Uint64N(4)
				}
			}}
		},
		"interrupts everywhere": func() goenclavetest.Host {
			return goenclavetest.Host{Enter: kick}
		},
		"the handler twice": func() goenclavetest.Host {
			return goenclavetest.Host{
				Enter: kick,
				Left: func(th *goenclavetest.Thread, exit *platform.Exit, regs *platform.Regs) {
					if exit.Kind != platform.ExitInterrupt {
						return
					}
					r := platform.Regs{RDI: random(), RSI: random()}
					leaf := sgx.LeafEENTER // refused if the handler was interrupted
					for {
						x, err := th.Enter(tcs(th.Index), leaf, &r)
						if err == nil && x.Kind == platform.ExitEEXIT && r.RDI != wall.ExitAEX {
							t.Errorf("the handler left with RDI %d", r.RDI)
						}
						if err != nil || x.Kind == platform.ExitEEXIT {
							return
						}
						leaf = sgx.LeafERESUME
					}
				},
			}
		},
	}
	for name, host := range hosts {
		t.Run(name, func(t *testing.T) {
			for args, want := range map[string]string{
				"nil":       "recovered: runtime error: invalid memory address or nil pointer dereference\n",
				"trees 10":  "trees are sound\n",
				"balls 300": "balls came back\n",
			} {
				r := act(t, host(), "", strings.Fields(args)...)
				if r.err != nil || r.stdout != want {
					t.Errorf("%s ended by %v, stdout %q, stderr %q", args, r.err, r.stdout, r.stderr)
				}
			}
		})
	}
}

// tcs is the offset of a TCS of the image.
func tcs(i int) uint64 {
	b, err := image()
	if err != nil {
		return 0
	}
	boot, err := goenclave.ReadBoot(bytes.NewReader(b))
	if err != nil {
		return 0
	}
	return boot.Blocks - boot.Base + uint64(i)*wall.BlockSize
}

// The host writes anything into the clock page, at any time: the program's monotonic
// time does not go back, and nothing hangs.
func TestLyingClock(t *testing.T) {
	stop := make(chan struct{})
	var liar sync.WaitGroup
	var once sync.Once
	var page []uint64
	r := act(t, goenclavetest.Host{Enter: func(th *goenclavetest.Thread, _ sgx.Leaf, regs *platform.Regs) {
		if wall.ECall(regs.RDI) != wall.ECallRun {
			return
		}
		if th.Index == 0 {
			page = hostWords(hostWords(regs.RSI, 5)[3], 5)
		}
		if th.Index != 2 {
			return // the Go runtime does not start without a clock
		}
		once.Do(func() {
			liar.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						i := rand.IntN(len(page))
						switch v := &page[i]; rand.IntN(4) {
						case 0:
							atomic.StoreUint64(v, rand.Uint64())
						case 1:
							atomic.StoreUint64(v, 0)
						default:
							atomic.AddUint64(v, -rand.Uint64N(1<<40))
						}
					}
				}
			})
		})
	}}, "", "clock", "300000")
	close(stop)
	liar.Wait()
	if r.err != nil || r.stderr != "" {
		t.Errorf("ended by %v, stderr %q", r.err, r.stderr)
	}
}

// After ecall_shutdown nobody gets in any more.
func TestEntriesAfterTheEnd(t *testing.T) {
	e := load(t)
	defer e.Close()
	out := &firstLine{seen: make(chan struct{})}
	c, err := goenclave.NewCommand(e, goenclave.Options{Args: []string{"acts", "sleep", "1h"}, Stdout: out})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-out.seen; cancel() }()
	var exit *goenclave.ExitError
	if err := c.Run(ctx); !errors.As(err, &exit) {
		t.Fatal(err)
	}
	th, err := e.NewThread()
	if err != nil {
		t.Fatal(err)
	}
	defer th.Close()
	for i, off := range e.TCS {
		for _, call := range []wall.ECall{wall.ECallRun, wall.ECallInitChannel, wall.ECallInitDataChannel, wall.ECallShutdown} {
			regs := platform.Regs{RDI: uint64(call)}
			x, err := th.Enter(off, sgx.LeafEENTER, &regs)
			for err == nil && x.Kind == platform.ExitInterrupt { // of a kick that came too late
				x, err = th.Enter(off, sgx.LeafERESUME, &regs)
			}
			// A thread that was waiting for an answer says that the program has
			// ended, or is in the middle of an exception; no other one does a thing.
			refused := regs.RDI == wall.ExitReturn && int64(regs.RSI) < 0
			ended := regs.RDI == wall.ExitNotify && wall.Notify(regs.RSI) == wall.NotifyExit && regs.RDX == 1
			handled := regs.RDI == wall.ExitAEX
			if i == len(e.TCS)-1 && !refused {
				continue // ecall_shutdown itself, which the program's end has overtaken
			}
			if err != nil || x.Kind != platform.ExitEEXIT || !refused && !ended && !handled {
				t.Errorf("TCS %d, ECALL %d: %v, %v, RDI %d, RSI %#x", i, call, x, err, regs.RDI, regs.RSI)
			}
		}
	}
}

// ECALLs that are not in order, and memory that is not the host's to give.
func TestRefusals(t *testing.T) {
	e := load(t)
	defer e.Close()
	th, err := e.NewThread()
	if err != nil {
		t.Fatal(err)
	}
	defer th.Close()
	call := func(i int, n wall.ECall, arg uint64) wall.Refusal {
		t.Helper()
		regs := platform.Regs{RDI: uint64(n), RSI: arg}
		exit, err := th.Enter(e.TCS[i], sgx.LeafEENTER, &regs)
		if err != nil || exit.Kind != platform.ExitEEXIT || regs.RDI != wall.ExitReturn {
			t.Fatalf("ECALL %d on TCS %d: %v, %v, RDI %d", n, i, exit, err, regs.RDI)
		}
		return wall.Refusal(regs.RSI)
	}
	for _, c := range []struct {
		what string
		tcs  int
		call wall.ECall
		arg  uint64
		want wall.Refusal
	}{
		{"no such call", 0, 0, 0, wall.RefusedCall},
		{"no such call", 0, 5, 0, wall.RefusedCall},
		{"run before init", 0, wall.ECallRun, 0, wall.RefusedState},
		{"null", 0, wall.ECallInitChannel, 0, wall.RefusedPointer},
		{"in the enclave", 0, wall.ECallInitChannel, wall.Base + 0x1000, wall.RefusedPointer},
		{"across its start", 0, wall.ECallInitChannel, wall.Base - 8, wall.RefusedPointer},
		{"wraps", 0, wall.ECallInitChannel, ^uint64(7), wall.RefusedPointer},
		{"not canonical", 0, wall.ECallInitChannel, 1 << 62, wall.RefusedPointer},
	} {
		if got := call(c.tcs, c.call, c.arg); got != c.want {
			t.Errorf("%s: ECALL %d on TCS %d: %d, want %d", c.what, c.call, c.tcs, got, c.want)
		}
	}
	if got := call(1, wall.ECallRun, 0); got >= 0 {
		t.Errorf("a thread that nobody has asked for: %d", got)
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		e := load(b)
		c, err := goenclave.NewCommand(e, goenclave.Options{Args: []string{"acts", "args"}, Stdout: io.Discard})
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Run(context.Background()); err != nil {
			b.Fatal(err)
		}
		if err := e.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
