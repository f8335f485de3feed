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
