package enclaves

import (
	"bytes"
	"sync/atomic"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/runner"
	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/microcode"
	"github.com/enclaveos/eos/pkg/sgx"
)

// machine is a platform to run on.
type machine struct {
	platform.Platform

	// interrupts, if not nil, makes every thread be interrupted again and
	// again, and counts the AEXs that came of it.
	interrupts *atomic.Uint64
}

func newMachine(t testing.TB, trapOnly bool) *machine {
	t.Helper()
	p, err := softsgx.New(softsgx.Options{Device: microcode.NewDevice([microcode.SeedSize]byte{1}), TrapOnly: trapOnly})
	if err != nil {
		t.Fatal(err)
	}
	return &machine{Platform: p}
}

// load loads an image under the debug signature.
func (m *machine) load(image []byte) (*runner.Enclave, error) {
	sig, err := runner.DummySignature(bytes.NewReader(image), m.Caps())
	if err != nil {
		return nil, err
	}
	e, err := runner.Load(m, bytes.NewReader(image), sig, runner.LoadOptions{})
	if err == nil && m.interrupts != nil {
		e.Enclave = &interruptedEnclave{e.Enclave, m.interrupts}
	}
	return e, err
}

func (m *machine) mustLoad(t testing.TB, image []byte) *runner.Enclave {
	t.Helper()
	e, err := m.load(image)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

type interruptedEnclave struct {
	platform.Enclave
	count *atomic.Uint64
}

type interruptedThread struct {
	platform.Thread
	count *atomic.Uint64
	stop  chan struct{}
}

func (e *interruptedEnclave) NewThread() (platform.Thread, error) {
	inner, err := e.Enclave.NewThread()
	if err != nil {
		return nil, err
	}
	t := &interruptedThread{inner, e.count, make(chan struct{})}
	go func() {
		for {
			select {
			case <-t.stop:
				return
			default:
				inner.Interrupt()
				time.Sleep(20 * time.Microsecond) // leave it some time to get on
			}
		}
	}()
	return t, nil
}

func (t *interruptedThread) Enter(tcs uint64, leaf sgx.Leaf, regs *platform.Regs) (platform.Exit, error) {
	exit, err := t.Thread.Enter(tcs, leaf, regs)
	if exit.Kind == platform.ExitInterrupt {
		t.count.Add(1)
	}
	return exit, err
}

func (t *interruptedThread) Close() {
	close(t.stop)
	t.Thread.Close()
}
