package kernel_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/runner"
	"github.com/enclaveos/eos/pkg/runner/goenclave"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/microcode"
	"github.com/enclaveos/eos/pkg/sgxs/fromgo"
)

// image is testdata/goapps/inside, built once.
var image = sync.OnceValues(func() ([]byte, error) {
	var b bytes.Buffer
	_, err := fromgo.Build(context.Background(), &b, fromgo.Options{
		Dir: "../../../testdata/goapps/inside", Package: ".", HeapSize: 128 << 20, Threads: 16, Env: []string{"PLACE=inside"}, Debug: true,
	})
	return b.Bytes(), err
})

// production is the same program without Debug.
var production = sync.OnceValues(func() ([]byte, error) {
	var b bytes.Buffer
	_, err := fromgo.Build(context.Background(), &b, fromgo.Options{
		Dir: "../../../testdata/goapps/inside", Package: ".", HeapSize: 32 << 20, Threads: 16,
	})
	return b.Bytes(), err
})

// load makes an enclave of an image. There can be one at a time, since all have
// the same address: close it.
func load(t *testing.T, image func() ([]byte, error)) *goenclave.Enclave {
	t.Helper()
	b, err := image()
	if err != nil {
		t.Fatal(err)
	}
	p, err := softsgx.New(softsgx.Options{Device: microcode.NewDevice([microcode.SeedSize]byte{})})
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

// run runs an act and returns what it has printed, stdout and stderr together,
// and its exit code.
func run(t *testing.T, ctx context.Context, stdin string, args ...string) (output string, code int, stats goenclave.Stats) {
	t.Helper()
	return runImage(t, ctx, image, stdin, args...)
}

func runImage(t *testing.T, ctx context.Context, image func() ([]byte, error), stdin string, args ...string) (output string, code int, stats goenclave.Stats) {
	t.Helper()
	var out lines
	e := load(t, image)
	defer e.Close()
	c, err := goenclave.NewCommand(e, goenclave.Options{
		Args: append([]string{"inside"}, args...), Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &out,
	})
	if err != nil {
		t.Fatal(err)
	}
	err = c.Run(ctx)
	var exit *goenclave.ExitError
	if errors.As(err, &exit) {
		code = exit.Code
	} else if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, &out)
	}
	return out.String(), code, c.Stats()
}

// lines is a buffer for two writers.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestInside(t *testing.T) {
	ctx := context.Background()
	stress := "20s"
	if d := os.Getenv("EOS_STRESS"); d != "" {
		stress = d
	}
	in := strings.Repeat("a line of the host's\n", 50_000)
	for _, c := range []struct {
		args  []string
		stdin string
		code  int
		want  []string
	}{
		{[]string{"world", "a b", ""}, "", 0, []string{`["a b" ""] ["PLACE=inside"`, strings.Repeat("x", 150_000) + "\n", "to stderr\n"}},
		{[]string{"stdin"}, in, 0, []string{fmt.Sprintf("%d %x\n", len(in), sha256.Sum256([]byte(in)))}},
		{[]string{"stdin"}, "", 0, []string{"0 "}},
		{[]string{"recover"}, "", 0, []string{"recovered\n"}},
		{[]string{"pipes"}, "", 0, []string{"piped\n"}},
		{[]string{"timers"}, "", 0, []string{"on time\n"}},
		{[]string{"threads", "6"}, "", 0, []string{"ended\n"}},
		{[]string{"preempt"}, "", 0, []string{"collected\n"}},
		{[]string{"stress", stress}, "", 0, []string{"stressed\n"}},
		{[]string{"exit", "77"}, "", 77, nil},
		{[]string{"panic"}, "", 2, []string{"panic: as asked", "goroutine 1 [running]:", "main.main()"}},
		{[]string{"nil"}, "", 2, []string{"nil pointer dereference", "addr=0x0", "main.go:"}},
		{[]string{"stack"}, "", 2, []string{"stack exceeds 33554432-byte limit", "fatal error: stack overflow", "main.deep"}},
		{[]string{"lock"}, "", 2, []string{"all goroutines are asleep - deadlock!"}},
		{[]string{"abort"}, "", 2, []string{"SIGABRT: abort"}},
		{[]string{"memory"}, "", 2, []string{"eos: the enclave is out of memory: build it with a larger --heap-size than 128MiB", "runtime: out of memory", "main.memory"}},
		{[]string{"blocked", "100"}, "", 0, []string{"eos: the enclave is out of threads: build it with a larger --threads than 16", "done\n"}},
		{[]string{"threads", "60"}, "", 2, []string{"eos: the enclave is out of threads: build it with a larger --threads than 16", "fatal error"}},
	} {
		out, code, _ := run(t, ctx, c.stdin, c.args...)
		if code != c.code {
			t.Errorf("%v: exit code %d, want %d\n%.2000s", c.args, code, c.code, out)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(out, w) {
				t.Errorf("%v: no %.80q in\n%.2000s", c.args, w, out)
			}
		}
	}
}

// The host asks for the end: a program that waits for the signal gets it, any
// other one ends, even one that never makes a system call.
func TestInsideShutdown(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"term"}, "terminated\n", 5},
		{[]string{"sleep"}, "sleeping\n", 143},
		{[]string{"sum", "1000000000000000000"}, "", 143},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		out, code, _ := run(t, ctx, "", c.args...)
		cancel()
		if !strings.Contains(out, c.want) || code != c.code {
			t.Errorf("%v: exit code %d\n%s", c.args, code, out)
		}
	}
}

// A production image says where it has crashed, and no word of what it held.
func TestInsideProduction(t *testing.T) {
	for _, act := range []string{"panic", "nil", "lock"} {
		out, code, _ := runImage(t, context.Background(), production, "", act)
		if code != 2 || !strings.HasPrefix(out, "eos: the program has crashed") || !strings.Contains(out, "eos: at 0x1000") {
			t.Errorf("%s: exit code %d\n%s", act, code, out)
		}
		for line := range strings.Lines(out) {
			if !strings.HasPrefix(line, "eos: ") || strings.Contains(line, "main") || strings.Contains(line, "as asked") {
				t.Errorf("%s: says %q", act, line)
			}
		}
	}
	out, code, _ := runImage(t, context.Background(), production, "", "print")
	if code != 2 || !strings.HasPrefix(out, "printed 1\neos: the program has crashed") || strings.Contains(out, "as asked") {
		t.Errorf("exit code %d: %q", code, out)
	}
	out, code, _ = runImage(t, context.Background(), production, "", "recover")
	if code != 0 || out != "recovered\n" {
		t.Errorf("exit code %d: %q", code, out)
	}
}
