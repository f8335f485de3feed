package enclave_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/enclave"
	"github.com/enclaveos/eos/pkg/runner"
	"github.com/enclaveos/eos/pkg/runner/goenclave"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/microcode"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/sgxs/fromgo"
	"github.com/enclaveos/eos/pkg/sign"
	"github.com/enclaveos/eos/pkg/sign/keyref"
	"github.com/enclaveos/eos/pkg/wall"
)

// The images are testdata/goapps/seals, twice: they differ in their environment,
// and so in MRENCLAVE.
const app = "../../testdata/goapps/seals"

var images = sync.OnceValues(func() (b [2][]byte, err error) {
	for i := range b {
		var w bytes.Buffer
		if _, err := fromgo.Build(context.Background(), &w, fromgo.Options{
			Dir: app, Package: ".", HeapSize: 32 << 20, Threads: 12, Env: []string{fmt.Sprint("BUILD=", i)},
		}); err != nil {
			return b, err
		}
		b[i] = w.Bytes()
	}
	return b, nil
})

// launch is one start of an image.
type launch struct {
	image   int
	bytes   []byte // the image, if it is another one
	machine byte
	isvSVN  uint16
	signer  crypto.Signer // nil: the debug key
}

// run starts the image, and returns what the program says.
func (l launch) run(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	b := l.bytes
	if b == nil {
		all, err := images()
		if err != nil {
			t.Fatal(err)
		}
		b = all[l.image]
	}
	p, err := softsgx.New(softsgx.Options{Device: microcode.NewDevice([microcode.SeedSize]byte{l.machine})})
	if err != nil {
		t.Fatal(err)
	}
	sig, err := runner.DummySignature(bytes.NewReader(b), p.Caps())
	if err != nil {
		t.Fatal(err)
	}
	sig.ISVSVN = l.isvSVN
	if l.signer == nil {
		l.signer = sign.DebugKey()
	}
	if err := sign.Sign(sig, l.signer); err != nil {
		t.Fatal(err)
	}
	e, err := goenclave.Load(p, bytes.NewReader(b), sig, runner.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var out, errs bytes.Buffer
	c, err := goenclave.NewCommand(e, goenclave.Options{Args: append([]string{"seals"}, args...), Stdout: &out, Stderr: &errs})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err = c.Run(ctx)
	var exit *goenclave.ExitError
	if ctx.Err() != nil || err != nil && (!errors.As(err, &exit) || exit.Code != 1) {
		t.Fatalf("%v ended by %v: %s", args, err, &errs)
	}
	if (err == nil) == (errs.Len() != 0) {
		t.Errorf("%v ended by %v, stderr %q", args, err, &errs)
	}
	return strings.TrimSuffix(out.String(), "\n"), errs.String()
}

// must is run of what cannot fail.
func (l launch) must(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr := l.run(t, args...)
	if stderr != "" {
		t.Fatalf("%.40q: %s", args, stderr)
	}
	return stdout
}

// refused is run of what must fail with an error that matches.
func (l launch) refused(t *testing.T, want string, args ...string) {
	t.Helper()
	stdout, stderr := l.run(t, args...)
	if stdout != "" || !regexp.MustCompile(want).MatchString(stderr) {
		t.Errorf("%.40q: stdout %q, stderr %q, want %q", args, stdout, stderr, want)
	}
}

func TestReportsInside(t *testing.T) {
	a, b := launch{isvSVN: 3}, launch{image: 1}
	self := strings.Fields(a.must(t, "self"))
	if len(self) != 4 || self[2] != "0" || self[3] != "3" {
		t.Fatalf("self: %q", self)
	}
	report := a.must(t, "report", b.must(t, "target"), "hello")
	if got := b.must(t, "verify", report); got != self[0]+" says hello" {
		t.Errorf("verify: %s, want %s", got, self[0])
	}
	a.refused(t, "was not made for this enclave", "verify", report)
	launch{image: 1, machine: 1}.refused(t, "was not made for this enclave", "verify", report)
	b.refused(t, "was not made for this enclave", "verify", strings.Replace(report, "68656c6c6f", "68656c6c70", 1))
	a.refused(t, "names no enclave", "report", strings.Repeat("00", sgx.TargetInfoSize))
	a.refused(t, "EGETKEY: SGX_INVALID_ATTRIBUTE", "key", "x")
	a.refused(t, "KeyError", "key", "12345")
}

func TestSealingInside(t *testing.T) {
	key, err := keyref.Load("../../testdata/vectors/edp/keys/key1.pem", nil)
	if err != nil {
		t.Fatal(err)
	}
	a, other := launch{isvSVN: 2}, launch{image: 1, isvSVN: 2}
	blob := a.must(t, "seal", "mrenclave", "my secret", "name")
	if got := a.must(t, "unseal", blob, "name"); got != "my secret" {
		t.Errorf("the next launch reads %q", got)
	}
	a.refused(t, "not authentic", "unseal", blob, "another name")
	other.refused(t, `its MRENCLAVE was [0-9a-f]{64}, here it is .*OtherEnclaveError`, "unseal", blob, "name")
	launch{isvSVN: 2, machine: 1}.refused(t, "not authentic", "unseal", blob, "name")
	a.refused(t, `BlobError`, "unseal", blob[:len(blob)-2], "name")
	a.refused(t, `BlobError`, "unseal", "", "name")

	blob = a.must(t, "seal", "mrsigner", "our secret", "name")
	for what, l := range map[string]launch{"same": a, "other image": other, "newer": {image: 1, isvSVN: 3}} {
		if got := l.must(t, "unseal", blob, "name"); got != "our secret" {
			t.Errorf("%s reads %q", what, got)
		}
	}
	launch{isvSVN: 1}.refused(t, "sealed by a newer version: its ISVSVN was 2, here it is 1", "unseal", blob, "name")
	launch{isvSVN: 2, signer: key}.refused(t, "its MRSIGNER was", "unseal", blob, "name")
	a.refused(t, "choose whose the blob is", "seal", "nobody", "secret", "name")
}

// Images that take a payload: with one, with an empty one, and completed with
// something else.
func TestPayloadInside(t *testing.T) {
	var base bytes.Buffer
	if _, err := fromgo.Build(t.Context(), &base, fromgo.Options{Dir: app, Package: ".", HeapSize: 32 << 20, Threads: 12, Payload: true}); err != nil {
		t.Fatal(err)
	}
	with := func(data []byte) launch {
		a, err := sgxs.NewAppender(bytes.NewReader(base.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, make([]byte, -len(data)&(sgx.PageSize-1))...)
		var image bytes.Buffer
		if _, err := a.Append(&image, []sgxs.Part{{Name: "payload", Align: sgx.PageSize, Perm: sgx.SecInfoR, Measured: true, Data: bytes.NewReader(data), Size: int64(len(data))}}); err != nil {
			t.Fatal(err)
		}
		return launch{bytes: image.Bytes()}
	}
	text := bytes.Repeat([]byte("what is to be run. "), 5000)
	for _, p := range [][]byte{text, nil} {
		want := fmt.Sprintf("%d bytes: %.20s %x", len(p), p, sha256.Sum256(p))
		if got := with(append(wall.AppendPayloadHeader(nil, uint64(len(p))), p...)).must(t, "payload"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	const none = "takes a payload, and none was appended"
	with(text).refused(t, none, "payload")
	with(wall.AppendPayloadHeader(nil, 1<<40)).refused(t, none, "payload")
	with(wall.AppendPayloadHeader(nil, 1<<64-16)).refused(t, none, "payload")
	launch{}.refused(t, "takes no payload", "payload")
}

func TestKernelInside(t *testing.T) {
	var l launch
	for act, want := range map[string]string{"inside": "true", "many": "all opened", "stats": "stats are sound"} {
		if got := l.must(t, act); got != want {
			t.Errorf("%s: %q, want %q", act, got, want)
		}
	}
}

// The same program, built by the same tool chain but run as a process.
func TestSameProgramOutside(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "seals")
	build := exec.Command("go", "build", "-o", exe, ".")
	build.Dir, build.Env = app, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.Command(exe, "inside").CombinedOutput(); err != nil || string(out) != "false\n" {
		t.Errorf("inside: %q, %v", out, err)
	}
	for _, act := range []string{"self", "target", "seal", "unseal", "key", "many", "stats", "payload"} {
		out, err := exec.Command(exe, act).CombinedOutput()
		if err == nil || !strings.HasPrefix(string(out), enclave.ErrNotEnclave.Error()) {
			t.Errorf("%s: %q, %v", act, out, err)
		}
	}
}
