package edp_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/runner"
	"github.com/enclaveos/eos/pkg/runner/edp"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/microcode"
	"github.com/enclaveos/eos/pkg/sgxs/fromelf"
	"github.com/enclaveos/eos/testdata/enclaves"
)

// load builds a test enclave and loads it into the software platform.
func load(t testing.TB, name string, o fromelf.Options) *runner.Enclave {
	t.Helper()
	p, err := softsgx.New(softsgx.Options{Device: microcode.NewDevice([microcode.SeedSize]byte{1})})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(enclaves.Build(t, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	var image bytes.Buffer
	if _, err := fromelf.Convert(&image, f, info.Size(), o); err != nil {
		t.Fatal(err)
	}
	sig, err := runner.DummySignature(bytes.NewReader(image.Bytes()), p.Caps())
	if err != nil {
		t.Fatal(err)
	}
	e, err := runner.Load(p, &image, sig, runner.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("closing the enclave: %v", err)
		}
	})
	return e
}

// small is enough for all test enclaves that do not say otherwise.
var small = fromelf.Options{HeapSize: 1 << 20, StackSize: 128 << 10, Threads: 9, SSAFrameSize: 1, Debug: true}

// run runs a test enclave and returns its output.
func run(t testing.TB, name string, fo fromelf.Options, stdin io.Reader, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	c, err := edp.NewCommand(load(t, name, fo), edp.Options{Args: args, Stdin: stdin, Stdout: &out, Stderr: &errs})
	if err != nil {
		t.Fatal(err)
	}
	errTimeout := errors.New("test timeout")
	ctx, cancel := context.WithTimeoutCause(context.Background(), 2*time.Minute, errTimeout)
	defer cancel()
	err = c.Run(ctx)
	if errors.Is(err, errTimeout) {
		t.Fatalf("%s did not end within two minutes; it wrote\n%s\n%s", name, out.String(), errs.String())
	}
	return out.String(), errs.String(), err
}

func TestSoftHello(t *testing.T) {
	out, _, err := run(t, "hello", small, nil, "x", "layout")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"hello from the enclave\n", "argv[0] = enclave\n", "argv[1] = x\n", "argv[2] = layout\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("output is %q, want in it %q", out, want)
		}
	}
}

// TestSoft runs the test enclaves that check themselves.
func TestSoft(t *testing.T) {
	for _, tt := range []struct {
		name  string
		stdin string
		args  []string
		want  string
	}{
		{"usercalls", "input\n", nil, ""},
		{"events", "", nil, ""},
		{"threads", "", nil, ""},
		{"async", "async input\n", nil, ""},
		{"async", "", []string{"no-cancel"}, ""},
		{"async", "", []string{"pending"}, ""},
		{"async", "", []string{"exit", "0"}, ""},
		{"time", "", nil, ""},
		{"report", "", nil, ""},
		{"xstate", "", []string{"200", "3"}, ""},
		{"oom", "", []string{"host"}, ""},
		{"oom", "", []string{"heap"}, ""},
		{"oom", "", []string{"hold", "1000", "10000"}, ""},
	} {
		t.Run(strings.Join(append([]string{tt.name}, tt.args...), " "), func(t *testing.T) {
			out, errs, err := run(t, tt.name, small, strings.NewReader(tt.stdin), tt.args...)
			if err != nil {
				t.Errorf("%v\nstdout: %s\nstderr: %s", err, out, errs)
			}
		})
	}
}

// TestSoftEnds is the ways in which an enclave ends, in its own code.
func TestSoftEnds(t *testing.T) {
	const bad = "The enclave made a bad usercall "
	for _, tt := range []struct {
		args, want string // want "" for a good end; "..." at the end matches anything
	}{
		{"ok", ""},
		{"exit-0", ""},
		{"exit-1", "Enclave panicked."},
		{"exit-2", "Enclave panicked."},
		{"status 0", ""},
		{"status 3", "Enclave panicked: Exited with status code 3"},
		{"text", "Enclave panicked: so it ends, at 7"},
		{"text-1024", "Enclave panicked: " + strings.Repeat("x", 1023) + "!"},
		{"text-nul", "Enclave panicked: before"},
		{"text-invalid", "Enclave panicked: [98, 97, 100, 32, 255, 254, 32, ..."},
		{"text-lines", "Enclave panicked: first line\nsecond line\t\x1b[31mred"},
		{"text-then-usercall", "Enclave panicked: text before a usercall"},
		{"return", edp.ErrMainReturned.Error()},
		{"unknown-usercall", "The enclave performed an invalid usercall 0x1234"},
		{"usercall-17", "The enclave performed an invalid usercall 0x11"},
		{"user-defined", "The enclave performed an invalid usercall 0x80000001"},
		{"large-usercall", "The enclave performed an invalid usercall 0x100000004"},
		{"wait-forever", edp.ErrDeadlock.Error()},
		{"unused-argument", bad + "flush(0x1, 0x5): argument 2 is unused and must be 0"},
		{"unused-argument-4", bad + "read(0x0, 0x0, 0x0, 0x1): argument 4 is unused and must be 0"},
		{"free-alignment", bad + "free(..."},
		{"free-alignment-0", bad + "free(0x1000, 0x0, 0x3): size 0 with alignment 3 is no valid layout"},
		{"free-wild", bad + "free(0x12345678, 0x10, 0x1): 0x12345678 is not in user memory"},
		{"free-twice", bad + "free(..."},
		{"free-size", bad + "free(..."},
		{"free-inner", bad + "free(..."},
		{"write-wild", bad + "write(0x1, 0x10, 0x10): 16 bytes at 0x10 are not in user memory"},
		{"write-enclave", bad + "write(..."},
		{"thread-value", "The enclave returned 0x..."},
		{"thread-second-value", "The enclave returned 0x0, 0x..."},
		{"thread-panic", "Enclave panicked: ..."},
		{"thread-exit", ""},
		{"thread-waits", ""},
		{"exit-while-waiting", ""},
		{"exit-while-spinning", ""},
		{"panic-while-waiting", "Enclave panicked: main ends while a thread waits"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			out, _, err := run(t, "exits", small, nil, strings.Fields(tt.args)...)
			switch prefix, open := strings.CutSuffix(tt.want, "..."); {
			case tt.want == "" && err != nil:
				t.Errorf("%v; it wrote %q", err, out)
			case tt.want != "" && err == nil:
				t.Errorf("it ended well; it wrote %q", out)
			case tt.want != "" && err.Error() != tt.want && !(open && strings.HasPrefix(err.Error(), prefix)):
				t.Errorf("error is %q, want %q", err, tt.want)
			}
		})
	}
	for _, tt := range []struct{ args, want string }{
		{"twice", "Enclave panicked."},
		{"exit 1", "Enclave panicked: async exit with a panic"},
		{"unknown", "The enclave performed an invalid usercall 0x1234"},
	} {
		t.Run("async "+tt.args, func(t *testing.T) {
			_, _, err := run(t, "async", small, nil, strings.Fields(tt.args)...)
			if err == nil || err.Error() != tt.want {
				t.Errorf("error is %v, want %q", err, tt.want)
			}
		})
	}
}

// TestSoftFaults explains each fault of an enclave.
func TestSoftFaults(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"null-call", "call of a null pointer"},
		{"null-read", "null pointer: read of address 0x0"},
		{"stack-overflow", "stack overflow"},
		{"jump-out", "jump out of the enclave"},
		{"div", "division by zero"},
		{"ud2", "UD2"},
		{"int3", "breakpoint"},
		{"int80", "INT 80H"},
		{"syscall", "SYSCALL: an enclave has no system calls"},
		{"syscall-exit", "SYSCALL"},
		{"syscall-write", "SYSCALL"},
		{"cpuid", "CPUID is not allowed in an enclave"},
		{"hlt", "general protection fault"},
		{"non-canonical", "general protection fault"},
		{"write-text", "REG r-x"},
		{"write-rodata", "REG r--"},
		{"exec-data", "jump to offset"},
		{"exec-heap", "jump to offset"},
		{"read-unmapped", "where no page is"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			out, _, err := run(t, "faults", small, nil, tt.args)
			var ex *edp.ExceptionError
			if !errors.As(err, &ex) {
				t.Fatalf("error is %v; it wrote %q", err, out)
			}
			if ex.Regs == nil {
				t.Error("a debug enclave's registers are not known")
			}
			if s := edp.Explain(err); !strings.Contains(s, tt.want) {
				t.Errorf("the explanation is %q, want in it %q (%v)", s, tt.want, err)
			}
			if !strings.HasPrefix(err.Error(), "Enclave panicked: Enclave triggered exception: SgxEnclaveRun { function: EResume, exception_vector: ") {
				t.Errorf("error is %q", err)
			}
		})
	}
}
