package kernel_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/enclaveos/eos/pkg/sgxs/fromgo"
)

// A compiler inside: wazero writes machine code into the code area and runs it, with
// memory that grows, traps, deep recursion, and loops that are stopped from outside.
// Its module takes the network, once. It takes long, mostly to be built: EOS_STRESS=3s
// runs it; testdata/script/run_wasm.txtar runs modules inside each time.
func TestCompilerInside(t *testing.T) {
	if os.Getenv("EOS_STRESS") == "" {
		t.Skip("EOS_STRESS is not set")
	}
	const dir = "../../../testdata/goapps/wazero"
	download := exec.Command("go", "mod", "download")
	download.Dir = dir
	if out, err := download.CombinedOutput(); err != nil {
		t.Skipf("its modules cannot be had here: %v\n%s", err, strings.TrimSpace(string(out)))
	}
	out, code, _ := runImage(t, t.Context(), sync.OnceValues(func() ([]byte, error) {
		var b bytes.Buffer
		_, err := fromgo.Build(context.Background(), &b, fromgo.Options{Dir: dir, Package: ".", HeapSize: 768 << 20, CodeSize: 4 << 20, Threads: 16, Debug: true})
		return b.Bytes(), err
	}), "")
	if out != "42\n" || code != 0 {
		t.Errorf("exit code %d: %s", code, out)
	}
}
