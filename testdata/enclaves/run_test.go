package enclaves

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/runner/edp"
	"github.com/enclaveos/eos/pkg/sgxs/fromelf"
)

// deadline ends a test whose enclave hangs. No test measures time by it.
const deadline = time.Minute

var defaults = fromelf.Options{HeapSize: 1 << 20, StackSize: 128 << 10, Threads: 2, SSAFrameSize: 1, Debug: true}

// onEach runs a test on each way of leaving an enclave.
func onEach(t *testing.T, f func(t *testing.T, m *machine)) {
	t.Run("patched", func(t *testing.T) { f(t, newMachine(t, false)) })
	t.Run("trap-only", func(t *testing.T) { f(t, newMachine(t, true)) })
	t.Run("interrupted", func(t *testing.T) {
		m := newMachine(t, false)
		m.interrupts = new(atomic.Uint64)
		f(t, m)
		t.Logf("%d interrupts", m.interrupts.Load())
	})
}

type result struct {
	stdout, stderr string
	err            error
}

// run runs an enclave to its end.
func (m *machine) run(t *testing.T, image []byte, o edp.Options) result {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), deadline, errors.New("the enclave hangs"))
	defer cancel()
	return m.runContext(ctx, t, image, o)
}

func (m *machine) runContext(ctx context.Context, t *testing.T, image []byte, o edp.Options) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if o.Stdout == nil {
		o.Stdout = &stdout
	}
	if o.Stderr == nil {
		o.Stderr = &stderr
	}
	e, err := m.load(image)
	if err != nil {
		return result{err: err}
	}
	c, err := edp.NewCommand(e, o)
	if err == nil {
		err = c.Run(ctx)
	}
	if cerr := e.Close(); cerr != nil {
		t.Errorf("closing the enclave: %v", cerr)
	}
	return result{stdout.String(), stderr.String(), err}
}

// image builds and converts.
func image(t testing.TB, name string, o fromelf.Options, variants ...Option) []byte {
	t.Helper()
	return convert(t, Build(t, name, variants...), o)
}

func threads(n uint32) fromelf.Options {
	o := defaults
	o.Threads = n
	return o
}

func (r result) want(t *testing.T, stdout string) {
	t.Helper()
	if r.err != nil || r.stdout != stdout {
		t.Errorf("error: %v\nstdout:\n%s\nstderr:\n%s\nwant stdout:\n%s", r.err, r.stdout, r.stderr, stdout)
	}
}

func TestHello(t *testing.T) {
	onEach(t, func(t *testing.T, m *machine) {
		const greeting = "hello from the enclave\nargv[0] = enclave\n"
		for _, v := range [][]Option{nil, {OldEHSymbols}, {LargeBSS}, {CodeBehindNoSGX}, {PageOfNoSGX}, {Unaligned}, {Unaligned, LargeBSS, PageOfNoSGX}} {
			m.run(t, image(t, "hello", defaults, v...), edp.Options{}).want(t, greeting)
		}
		img := image(t, "hello", defaults)
		m.run(t, img, edp.Options{Args: []string{"one", "", "drei und vier", "\xff"}}).
			want(t, greeting+"argv[1] = one\nargv[2] = \nargv[3] = drei und vier\nargv[4] = \xff\n")
		many := make([]string, 1000)
		want := greeting
		for i := range many {
			many[i] = strings.Repeat("x", i%900)
			want += fmt.Sprintf("argv[%d] = %s\n", i+1, many[i])
		}
		m.run(t, img, edp.Options{Args: many}).want(t, want)
	})
}

func TestLayout(t *testing.T) {
	onEach(t, func(t *testing.T, m *machine) {
		r := m.run(t, image(t, "hello", defaults), edp.Options{Args: []string{"layout"}})
		for _, line := range []string{"HEAP_SIZE=0x100000\n", "ENCLAVE_SIZE=0x200000\n", "RELACOUNT=2\n", "DEBUG=1\n", "base aligned: yes\n"} {
			if r.err != nil || !strings.Contains(r.stdout, line) {
				t.Errorf("error %v, want the line %q in\n%s", r.err, line, r.stdout)
			}
		}
	})
}

func TestUsercalls(t *testing.T) {
	onEach(t, func(t *testing.T, m *machine) {
		r := m.run(t, image(t, "usercalls", defaults), edp.Options{Stdin: strings.NewReader("input\n")})
		r.want(t, "ok alloc free\nok read read_alloc\nok write\nok flush close\n"+
			"ok bind_stream accept_stream connect_stream\nok wait send\nok insecure_time\nok async_queues\ndone\n")
		if r.stderr != "to stderr\n" {
			t.Errorf("stderr %q", r.stderr)
		}
	})
}

func TestThreads(t *testing.T) {
	onEach(t, func(t *testing.T, m *machine) {
		m.run(t, image(t, "threads", threads(9)), edp.Options{}).want(t, "launched 8\nping-pong 500\nentered again 32\n")
	})
}

func TestEvents(t *testing.T) {
	onEach(t, func(t *testing.T, m *machine) {
		m.run(t, image(t, "events", defaults), edp.Options{}).
			want(t, "ok refusals\nok sets\nok counts\nok order\nok timeouts\nok two threads\n")
	})
}

func TestAsync(t *testing.T) {
	onEach(t, func(t *testing.T, m *machine) {
		img := image(t, "async", defaults)
		run := func(args ...string) result {
			return m.run(t, img, edp.Options{Args: args, Stdin: strings.NewReader("async input\n")})
		}
		run().want(t, "ok async write\nok results\nok turns 6144\nok full\nok streams\nok cancel\ndone\n")
		run("no-cancel").want(t, "ok no cancel queue\n")
		run("pending").want(t, "exit with an accept under way\n")
		run("exit", "0").want(t, "")
		run("stuck").want(t, "exit with a slot not filled\n")
		for _, what := range []string{"offsets", "overrun"} {
			var corrupt *edp.QueueError
			if r := run(what); !errors.As(r.err, &corrupt) || corrupt.Queue != "usercall" {
				t.Errorf("%s: error %v, want a corrupt usercall queue", what, r.err)
			}
		}
		wantError(t, run("exit", "1").err, "Enclave panicked: async exit with a panic")
		wantError(t, run("twice").err, "Enclave panicked.")
		var invalid *edp.InvalidUsercallError
		if r := run("unknown"); !errors.As(r.err, &invalid) || invalid.Number != 0x1234 {
			t.Errorf("error %v, want an invalid usercall 0x1234", r.err)
		}
	})
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
}

var keyLine = regexp.MustCompile(`(?m)^(signer|enclave) key ([0-9a-f]{32})$`)

func TestReport(t *testing.T) {
	onEach(t, func(t *testing.T, m *machine) {
		img := image(t, "report", defaults)
		e := m.mustLoad(t, img)
		secs := e.SECS()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		keys := func(r result) [][]string {
			t.Helper()
			k := keyLine.FindAllStringSubmatch(r.stdout, -1)
			if r.err != nil || len(k) != 2 {
				t.Fatalf("error %v, output\n%s", r.err, r.stdout)
			}
			return k
		}
		a := m.run(t, img, edp.Options{})
		want := fmt.Sprintf("ok report\nok seal keys\nok refusals\nMRENCLAVE %v\nMRSIGNER %v\n", secs.MREnclave, secs.MRSigner)
		if !strings.HasPrefix(a.stdout, want) {
			t.Errorf("output\n%s\nwant\n%s", a.stdout, want)
		}
		// Again, and as another enclave of the same signer.
		again, other := keys(m.run(t, img, edp.Options{})), keys(m.run(t, image(t, "report", threads(3)), edp.Options{}))
		first := keys(a)
		if again[0][2] != first[0][2] || again[1][2] != first[1][2] {
			t.Error("keys change from one start to the next")
		}
		if other[0][2] != first[0][2] {
			t.Error("the signer's key is not that of another enclave of the same signer")
		}
		if other[1][2] == first[1][2] {
			t.Error("the enclave's key is that of another enclave")
		}
	})
}

func TestTime(t *testing.T) {
	onEach(t, func(t *testing.T, m *machine) {
		img := image(t, "time", defaults)
		for _, info := range []bool{false, true} {
			before := time.Now().Unix()
			r := m.run(t, img, edp.Options{TSCInfo: info})
			var seconds int64
			if _, err := fmt.Sscanf(r.stdout, "seconds %d\n", &seconds); err != nil || r.err != nil {
				t.Fatalf("error %v, output %q", r.err, r.stdout)
			}
			if seconds < before || seconds > time.Now().Unix() {
				t.Errorf("time %d is not between %d and now", seconds, before)
			}
			if !info && !strings.HasSuffix(r.stdout, "info none\n") {
				t.Errorf("output %q, want no info", r.stdout)
			}
		}
	})
}
