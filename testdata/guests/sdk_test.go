package guests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/manifest/toml"
	"github.com/enclaveos/eos/pkg/runtime/wasm/abi"
)

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// imports counts the core parameters of each host function that a file declares, by
// the pattern: its first group is the name, its second the parameters.
func imports(text, pattern string, width func(param string) int) map[string]int {
	found := map[string]int{}
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		n := 0
		for p := range strings.SplitSeq(m[2], ",") {
			if p = strings.TrimSpace(p); p != "" && p != "void" {
				n += width(p)
			}
		}
		found[m[1]] = n
	}
	return found
}

func one(string) int { return 1 }

// TestSDKs: each SDK declares all functions of the host, as they are. TestSDKsAgree calls
// them.
func TestSDKs(t *testing.T) {
	for _, sdk := range []struct {
		file, pattern string
		width         func(string) int
	}{
		{"sdk/go/host_wasip1_unsafe.go", `//go:wasmimport eos (\w+)\nfunc \w+\(([^)]*)\) int32\n`, func(p string) int {
			if strings.HasSuffix(p, " string") {
				return 2
			}
			return 1
		}},
		{"sdk/c/eos.h", `(?m)^EOS_IMPORT\((\w+)\)\(([^)]*)\);`, one},
		{"sdk/assemblyscript/index.ts", `@external\("eos", "(\w+)"\) declare function \w+\(([^)]*)\): i32;`, one},
	} {
		found := imports(read(t, sdk.file), sdk.pattern, sdk.width)
		for name, n := range found {
			if f, ok := abi.Lookup(name); !ok || len(f.Params) != n {
				t.Errorf("%s: %s has %d parameters; the host's: %v, %v", sdk.file, name, n, f.Params, ok)
			}
		}
		for _, f := range abi.Functions {
			if _, ok := found[f.Name]; !ok {
				t.Errorf("%s: no %s", sdk.file, f.Name)
			}
		}
	}
}

// TestGoSDKCompiles: all of it, for guests and for their native tests.
func TestGoSDKCompiles(t *testing.T) {
	for _, env := range [][]string{{"GOOS=wasip1", "GOARCH=wasm"}, nil} {
		cmd := exec.Command("go", "vet", ".")
		cmd.Dir = "../../sdk/go"
		cmd.Env = append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", env, err, out)
		}
	}
}

// TestCHeaderIsCPlusPlus: guests in C++ include it as it is.
func TestCHeaderIsCPlusPlus(t *testing.T) {
	cmd := exec.Command("clang", "-x", "c++", "--target=wasm32", "-nostdlib", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-")
	cmd.Stdin = strings.NewReader("#define EOS_IMPLEMENTATION\n#include \"../../sdk/c/eos.h\"\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestDocumentedFunctions: docs/wasm.md has the host's functions as they are.
func TestDocumentedFunctions(t *testing.T) {
	var table strings.Builder
	table.WriteString("| group | function | parameters; what comes back |\n| --- | --- | --- |\n")
	for _, f := range abi.Functions {
		group := string(f.Interface)
		if group == "" {
			group = "(all)"
		}
		fmt.Fprintf(&table, "| %s | `%s` | %s |\n", group, f.Name, strings.ReplaceAll(f.Doc, "|", `\|`))
	}
	if !strings.Contains(read(t, "docs/wasm.md"), table.String()) {
		t.Errorf("docs/wasm.md has another table; it should be\n\n%s", &table)
	}
}

// TestDocumentedManifest: the example of docs/manifest.md and of package toml, and that
// of the notes, are manifests.
func TestDocumentedManifest(t *testing.T) {
	_, text, _ := strings.Cut(read(t, "docs/manifest.md"), "```toml\n")
	text, _, _ = strings.Cut(text, "```")
	for name, text := range map[string]string{"docs/manifest.md": text, "examples/notes/eos.toml": read(t, "examples/notes/eos.toml")} {
		m, err := toml.Parse([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i := range m.Apps {
			m.Apps[i].Module = manifest.Module{SHA256: manifest.Hash{1}, Size: 1, StoredSize: 1, Encoding: manifest.Raw}
		}
		m.Normalize()
		if err := m.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
