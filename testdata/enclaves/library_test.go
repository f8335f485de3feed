package enclaves

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/runner/edp"
	"github.com/enclaveos/eos/pkg/sgx"
)

// The calls of the library.
const (
	libAdd = iota
	libEcho
	libEcho45
	libWrite
	libSleep
	libLaunch
	libExit
	libWord
	libFault
	libForever
	libWait
	libSend
	libTCS
	libSpin
	libPanic
	libUsercall
)

// library starts the library enclave.
func (m *machine) library(t *testing.T, n uint32, o edp.Options) *edp.Library {
	t.Helper()
	opts := threads(n)
	opts.Library = true
	e := m.mustLoad(t, image(t, "library", opts))
	l, err := edp.NewLibrary(e, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestLibrary(t *testing.T) {
	onEach(t, func(t *testing.T, m *machine) {
		var out bytes.Buffer
		l := m.library(t, 1, edp.Options{Stdout: &out})
		call := func(want1, want2 uint64, p ...uint64) {
			t.Helper()
			r1, r2, err := l.Call(t.Context(), p[0], p[1], p[2], p[3], p[4])
			if err != nil || r1 != want1 || r2 != want2 {
				t.Errorf("call %v gave %#x, %#x, error %v; want %#x, %#x", p, r1, r2, err, want1, want2)
			}
		}
		call(10, 1, libAdd, 1, 2, 3, 4)
		call(3, 2, libAdd, ^uint64(0), 1, 1, 2)
		call(5, 6, libEcho, 5, 6, 7, 8)
		call(7, 8, libEcho45, 5, 6, 7, 8)
		call(0, 0, libWrite, 9, 0, 0, 0)
		if out.String() != "library call 9\n" {
			t.Errorf("output %q", out.String())
		}
		call(uint64(edp.ResultTimedOut), 0, libSleep, 1000, 0, 0, 0)
		call(uint64(edp.ResultInvalidInput), 0, libLaunch, 0, 0, 0, 0)
		call(0, 0, libWord, 42, 0, 0, 0)
		call(42, 0, libWord, 43, 0, 0, 0) // the TCS keeps its page
		call(43, 0, libWord, 0, 0, 0, 0)
	})
}

func TestLibraryThreads(t *testing.T) {
	onEach(t, func(t *testing.T, m *machine) {
		l := m.library(t, 4, edp.Options{})
		// Three wait until the fourth sends to all. Events are kept, so it does
		// not matter who is first.
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				r1, r2, err := l.Call(t.Context(), libWait, edp.EvUnpark, ^uint64(0), 0, 0)
				if err != nil || r1 != 0 || r2 != edp.EvUnpark {
					t.Errorf("wait gave %d, %d, error %v", r1, r2, err)
				}
			})
		}
		if r1, _, err := l.Call(t.Context(), libSend, edp.EvUnpark, 0, 0, 0); r1 != 0 || err != nil {
			t.Errorf("send gave %d, error %v", r1, err)
		}
		wg.Wait()

		// More callers than TCSs.
		var calls sync.Map
		for range 8 {
			wg.Go(func() {
				for range 200 {
					r1, n, err := l.Call(t.Context(), libAdd, 1, 2, 3, 4)
					if _, twice := calls.Swap(n, true); err != nil || r1 != 10 || twice {
						t.Errorf("add gave %d, call %d (before: %v), error %v", r1, n, twice, err)
					}
				}
			})
		}
		wg.Wait()
	})
}

// TestLibraryEnds has one call end the enclave, and looks at what another call
// under way and a later one see.
func TestLibraryEnds(t *testing.T) {
	ends := map[string]struct {
		call [2]uint64
		want string // in the error of the call
	}{
		"exit":           {[2]uint64{libExit, 0}, edp.ErrThreadExited.Error()},
		"exit panic":     {[2]uint64{libExit, 1}, "Enclave panicked."},
		"panic":          {[2]uint64{libPanic, 5}, "Enclave panicked: panic of a library, 5"},
		"fault":          {[2]uint64{libFault, 0}, fmt.Sprintf("exception_vector: %d", sgx.VectorUD)},
		"usercall":       {[2]uint64{libUsercall, 0x4321}, "The enclave performed an invalid usercall 0x4321"},
		"unknown number": {[2]uint64{999, 0}, "Enclave panicked: the library has no call 999"},
	}
	onEach(t, func(t *testing.T, m *machine) {
		for name, e := range ends {
			t.Run(name, func(t *testing.T) {
				// Before one call ends the enclave, the other must be out in a
				// usercall: entering an enclave that has exited is an exit, too.
				const block = edp.UserDefined | 1
				blocked, other := make(chan struct{}), make(chan error, 1)
				l := m.library(t, 2, edp.Options{UserCalls: map[edp.Number]edp.UserCall{
					block: func(c *edp.UserCallContext) (uint64, uint64, error) {
						close(blocked)
						<-c.Done()
						return 0, 0, nil
					},
				}})
				go func() {
					_, _, err := l.Call(t.Context(), libUsercall, uint64(block), 0, 0, 0)
					other <- err
				}()
				<-blocked
				_, _, err := l.Call(t.Context(), e.call[0], e.call[1], 0, 0, 0)
				if err == nil || !strings.Contains(err.Error(), e.want) {
					t.Errorf("error %v, want %q", err, e.want)
				}
				if err := <-other; !errors.Is(err, edp.ErrOtherExited) {
					t.Errorf("the other call: %v", err)
				}
				if _, _, err := l.Call(t.Context(), libAdd, 0, 0, 0, 0); err == nil {
					t.Error("a call after the end succeeded")
				}
			})
		}
	})
}

// TestLibraryStops gives up calls that never return.
func TestLibraryStops(t *testing.T) {
	onEach(t, func(t *testing.T, m *machine) {
		l := m.library(t, 3, edp.Options{})
		if _, _, err := l.Call(t.Context(), libForever, 0, 0, 0, 0); !errors.Is(err, edp.ErrThreadWaits) {
			t.Errorf("error %v", err)
		}
		enough := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, enough)
		defer cancel()
		if _, _, err := l.Call(ctx, libSpin, ^uint64(0), 0, 0, 0); !errors.Is(err, enough) {
			t.Errorf("error %v", err)
		}
		// One TCS is left, and works.
		if r1, _, err := l.Call(t.Context(), libAdd, 1, 1, 0, 0); err != nil || r1 != 2 {
			t.Errorf("add gave %d, error %v", r1, err)
		}
	})
}
