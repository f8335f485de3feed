package edptool_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/enclaveos/eos/cmd/eos/edptool"
)

const edpVectors = "../../../testdata/vectors/edp"

// sgxsBlobs are the inputs of the golden runs of sgxs-build, which are formulas.
func sgxsBlobs() map[string][]byte {
	blob := func(n, factor, first int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(factor*i + first)
		}
		return b
	}
	return map[string][]byte{"a100": blob(100, 1, 0), "p4096": blob(4096, 7, 0), "p5000": blob(5000, 13, 1), "zeros8192": blob(8192, 0, 0)}
}

// golden is an entry of the manifest: one run of an original tool.
type golden struct {
	ID, Dir    string
	Argv       []string
	RC         int
	Stdout     string
	StdoutFile string `json:"stdout_file"`
	Outputs    map[string]struct{ SHA256 string }
}

// TestSGXSGolden does again what the original sgxs-append, sgxs-build and
// sgxs-info did, and compares stdout, exit code and files.
func TestSGXSGolden(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(edpVectors, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var runs []golden
	if err := json.Unmarshal(b, &runs); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, g := range runs {
		if !slices.Contains([]string{"sgxs-append", "sgxs-build", "sgxs-info"}, g.Argv[0]) {
			continue
		}
		count[g.Argv[0]]++
		t.Run(g.ID, func(t *testing.T) {
			root := t.TempDir()
			if err := os.CopyFS(root, os.DirFS(edpVectors)); err != nil {
				t.Fatal(err)
			}
			t.Chdir(filepath.Join(root, g.Dir))
			for name, blob := range sgxsBlobs() {
				if err := os.WriteFile(name, blob, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var out, errs bytes.Buffer
			if rc := edptool.Run(g.Argv[0], g.Argv[1:], strings.NewReader(""), &out, &errs); rc != g.RC || errs.Len() != 0 {
				t.Errorf("exit code %d, want %d; stderr %q", rc, g.RC, errs.String())
			}
			want := []byte(g.Stdout)
			if g.StdoutFile != "" {
				if want, err = os.ReadFile(g.StdoutFile); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(out.Bytes(), want) {
				t.Errorf("stdout differs:\n%.2000s\nwant\n%.2000s", &out, want)
			}
			for name, o := range g.Outputs {
				b, err := os.ReadFile(name)
				sum := sha256.Sum256(b)
				if err != nil || hex.EncodeToString(sum[:]) != o.SHA256 {
					t.Errorf("%s: hash %x, want %s (%v)", name, sum, o.SHA256, err)
				}
			}
		})
	}
	if count["sgxs-append"] < 8 || count["sgxs-build"] < 3 || count["sgxs-info"] < 5 {
		t.Errorf("too few golden runs: %v", count)
	}
}
