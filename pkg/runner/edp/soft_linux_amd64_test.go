package edp_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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
	image := bytes.NewBuffer(convert(t, name, o))
	sig, err := runner.DummySignature(bytes.NewReader(image.Bytes()), p.Caps())
	if err != nil {
		t.Fatal(err)
	}
	e, err := runner.Load(p, image, sig, runner.LoadOptions{})
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

// convert builds a test enclave and makes an image of it.
func convert(t testing.TB, name string, o fromelf.Options) []byte {
	t.Helper()
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
	return image.Bytes()
}

// An example has no testing.T; what goes wrong in it panics.
type exampleTB struct{ testing.TB }

func (exampleTB) Helper()                      {}
func (exampleTB) Cleanup(func())               {}
func (exampleTB) Fatal(args ...any)            { panic(fmt.Sprint(args...)) }
func (exampleTB) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }

// open loads a test enclave for an example.
func open(name string) *runner.Enclave {
	o := small
	o.Library = name == "library"
	return load(exampleTB{}, name, o)
}

// imagePath writes the image of a test enclave to a file for an example.
func imagePath(name string) string {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	path := filepath.Join(dir, name+".sgxs")
	if err := os.WriteFile(path, convert(exampleTB{}, name, small), 0o600); err != nil {
		panic(err)
	}
	return path
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
			e := load(t, "faults", small)
			var buf bytes.Buffer
			c, err := edp.NewCommand(e, edp.Options{Args: []string{tt.args}, Stdout: &buf})
			if err != nil {
				t.Fatal(err)
			}
			err = c.Run(context.Background())
			out := buf.String()
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

// TestSoftContext ends an enclave that spins on several threads.
func TestSoftContext(t *testing.T) {
	pr, pw := io.Pipe()
	c, err := edp.NewCommand(load(t, "spin", small), edp.Options{Args: []string{"2"}, Stdout: pw})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		bufio.NewScanner(pr).Scan()
		cancel()
	}()
	if err := c.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

// TestSoftLibrary calls an enclave in all ways.
func TestSoftLibrary(t *testing.T) {
	o := small
	o.Library, o.Threads = true, 3
	var out bytes.Buffer
	l, err := edp.NewLibrary(load(t, "library", o), edp.Options{Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx := context.Background()
	const (
		add, echo, echo45, write, launch, word, fault, forever, wait, send, tcs, spin, panics = 0, 1, 2, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14
	)
	call := func(p ...uint64) (r1, r2 uint64, err error) {
		var a [5]uint64
		copy(a[:], p)
		return l.Call(ctx, a[0], a[1], a[2], a[3], a[4])
	}
	want := func(w1, w2 uint64, p ...uint64) {
		t.Helper()
		if r1, r2, err := call(p...); r1 != w1 || r2 != w2 || err != nil {
			t.Errorf("call%v returned %d, %d, %v; want %d, %d", p, r1, r2, err, w1, w2)
		}
	}
	want(100, 1, add, 10, 20, 30, 40)
	want(7, 8, echo, 7, 8)
	want(3, 4, echo45, 1, 2, 3, 4)
	want(0, 0, write, 5)
	if out.String() != "library call 5\n" {
		t.Errorf("it wrote %q", out.String())
	}
	want(uint64(edp.ResultInvalidInput), 0, launch)
	want(uint64(edp.ResultWouldBlock), 0, wait, edp.EvUnpark, 0)

	var wg sync.WaitGroup
	for i := range uint64(20) {
		wg.Go(func() {
			want(i, i+1, echo, i, i+1)
			want(1000, 0, spin, 1000)
		})
	}
	wg.Wait()

	// One call waits, another sends to all.
	wg.Go(func() { want(0, edp.EvUnpark, wait, edp.EvUnpark, ^uint64(0)) })
	want(0, 0, send, edp.EvUnpark, 0)
	wg.Wait()

	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, _, err := l.Call(short, spin, ^uint64(0), 0, 0, 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call that spins: %v", err)
	}
	if _, _, err := call(forever); !errors.Is(err, edp.ErrThreadWaits) {
		t.Errorf("a call that waits for nothing: %v", err)
	}
	want(5, 6, echo, 5, 6) // the one TCS that is left
	if _, _, err := call(panics, 1); err == nil || err.Error() != "Enclave panicked: panic of a library, 1" {
		t.Errorf("a call that panics: %v", err)
	}
	if _, _, err := call(add); !errors.Is(err, edp.ErrOtherExited) {
		t.Errorf("after it: %v", err)
	}
}

// BenchmarkSoft times usercalls of the enclave's own code, there and back.
func BenchmarkSoft(b *testing.B) {
	for _, what := range []string{"null", "write", "alloc", "time", "close"} {
		b.Run(what, func(b *testing.B) {
			c, err := edp.NewCommand(load(b, "bench", small), edp.Options{Args: []string{what, strconv.Itoa(b.N)}})
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

// TestSoftMany runs several enclaves at once in one process: what one of them
// does, or how it ends, is nothing to the others.
func TestSoftMany(t *testing.T) {
	var wg sync.WaitGroup
	for _, tt := range []struct {
		name, want string
		stdin      string
		args       []string
	}{
		{"threads", "", "", nil},
		{"events", "", "", nil},
		{"async", "", "async input\n", nil},
		{"faults", "exception_vector: ", "", []string{"stack-overflow"}},
		{"exits", "Enclave panicked: so it ends, at 7", "", []string{"text"}},
		{"usercalls", "", "input\n", nil},
	} {
		for range 2 {
			// Loaded here: testing.T ends a test from its own goroutine only.
			e := load(t, tt.name, small)
			wg.Go(func() {
				c, err := edp.NewCommand(e, edp.Options{Args: tt.args, Stdin: strings.NewReader(tt.stdin)})
				if err != nil {
					t.Error(err)
					return
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				err = c.Run(ctx)
				if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
					t.Errorf("%s %v: %v, want %q", tt.name, tt.args, err, tt.want)
				}
			})
		}
	}
	wg.Wait()
}

// BenchmarkSoftLibrary times a call into an enclave, the thread for it
// included.
func BenchmarkSoftLibrary(b *testing.B) {
	o := small
	o.Library = true
	l, err := edp.NewLibrary(load(b, "library", o), edp.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	const echo = 1
	for b.Loop() {
		if r, _, err := l.Call(context.Background(), echo, 7, 0, 0, 0); r != 7 || err != nil {
			b.Fatal(r, err)
		}
	}
}
