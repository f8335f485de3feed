//go:build linux && amd64

package softsgx

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

const crashEnv = "SOFTSGX_TEST_CRASH"

// What ends an ordinary Go program ends one with enclaves in the same way: the
// Go runtime says why. The test runs itself as the program that ends.
func TestCrash(t *testing.T) {
	for name, want := range map[string]string{
		"panic":          "panic: runtime error: invalid memory address or nil pointer dereference",
		"signal outside": "SIGFPE",
		"signal inside":  "SIGSEGV",
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$", "-test.timeout=1m")
			cmd.Env = append(os.Environ(), crashEnv+"="+name)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), want) {
				t.Errorf("%v, output %q, want exit status 2 and %q", err, out, want)
			}
		})
	}
}

func TestCrashChild(t *testing.T) {
	how := os.Getenv(crashEnv)
	if how == "" {
		return // it is TestCrash's
	}
	p := testPlatform(t, false)
	e := spinImage(1).build(t, p)
	switch how {
	case "panic":
		th := newThread(t, e)
		th.Interrupt()
		if _, err := th.Enter(tcsOff(0), sgx.LeafEENTER, new(platform.Regs)); err != nil {
			t.Fatal(err)
		}
		go func() { // not a test's goroutine: those recover
			th, err := e.NewThread()
			if err != nil {
				panic(err)
			}
			defer th.Close()
			var q *int
			*q = 1
		}()
	case "signal outside":
		newThread(t, e)
		kill(t, syscall.Gettid(), syscall.SIGFPE)
	case "signal inside":
		tid := make(chan int)
		go func() {
			th, err := e.NewThread()
			if err != nil {
				panic(err)
			}
			tid <- syscall.Gettid()
			x, err := th.Enter(tcsOff(0), sgx.LeafEENTER, new(platform.Regs))
			t.Error("left the enclave:", x, err)
		}()
		id := <-tid
		waitBusy(e.(*enclave))
		kill(t, id, syscall.SIGSEGV)
	}
	select {}
}

func kill(t *testing.T, tid int, s syscall.Signal) {
	t.Helper()
	if err := unix.Tgkill(syscall.Getpid(), tid, s); err != nil {
		t.Fatal(err)
	}
}
