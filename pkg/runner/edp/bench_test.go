package edp

import (
	"context"
	"testing"

	"github.com/enclaveos/eos/pkg/runner"
	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

// loopEnclave costs nothing itself: each entry is another usercall at once. So
// what is timed is the server alone.
type loopEnclave struct {
	fakeEnclave
	n    int
	next func(e *loopEnclave, regs *platform.Regs)
}

type loopThread struct{ e *loopEnclave }

func (e *loopEnclave) NewThread() (platform.Thread, error) { return &loopThread{e}, nil }
func (th *loopThread) Interrupt()                          {}
func (th *loopThread) Close()                              {}

func (th *loopThread) Enter(_ uint64, _ sgx.Leaf, regs *platform.Regs) (platform.Exit, error) {
	th.e.next(th.e, regs)
	if th.e.n--; th.e.n < 0 {
		*regs = platform.Regs{RDI: uint64(CallExit)}
	}
	return platform.Exit{Kind: platform.ExitEEXIT}, nil
}

// BenchmarkServer times usercalls without an enclave behind them.
func BenchmarkServer(b *testing.B) {
	var p uint64
	for _, bench := range []struct {
		name string
		next func(e *loopEnclave, regs *platform.Regs)
	}{
		{"wait", func(_ *loopEnclave, r *platform.Regs) { *r = platform.Regs{RDI: uint64(CallWait)} }},
		{"write", func(_ *loopEnclave, r *platform.Regs) {
			if p == 0 {
				p = r.R10 // the debug buffer is memory like any other
			}
			*r = platform.Regs{RDI: uint64(CallWrite), RSI: FdStdout, RDX: p, R8: 64}
		}},
		{"alloc and free", func(e *loopEnclave, r *platform.Regs) {
			if e.n%2 == 0 && r.RDX != 0 {
				*r = platform.Regs{RDI: uint64(CallFree), RSI: r.RDX, RDX: 64, R8: 8}
			} else {
				*r = platform.Regs{RDI: uint64(CallAlloc), RSI: 64, RDX: 8}
			}
		}},
		{"send and wait", func(e *loopEnclave, r *platform.Regs) {
			if e.n%2 == 0 {
				*r = platform.Regs{RDI: uint64(CallSend), RSI: EvUnpark, RDX: fakeBase + 0x2000}
			} else {
				*r = platform.Regs{RDI: uint64(CallWait), RSI: EvUnpark, RDX: waitIndefinite}
			}
		}},
		{"insecure_time", func(_ *loopEnclave, r *platform.Regs) { *r = platform.Regs{RDI: uint64(CallInsecureTime)} }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			p = 0
			e := &loopEnclave{n: b.N &^ 1, next: bench.next}
			c, err := NewCommand(&runner.Enclave{Enclave: e, TCS: []uint64{0x2000}}, Options{})
			if err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			if err := c.Run(context.Background()); err != nil {
				b.Fatal(err)
			}
		})
	}
}
