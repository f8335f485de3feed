package kernel

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// asmDefines reads the #define lines of the assembly, sums of them too.
func asmDefines(t *testing.T) map[string]uint64 {
	t.Helper()
	b, err := source.ReadFile("overlay/eos_amd64.s.txt")
	if err != nil {
		t.Fatal(err)
	}
	defs := map[string]uint64{}
	for _, m := range regexp.MustCompile(`(?m)^#define (\w+)\s+\(?(?:(\w+)\+)?(\w+)\)?$`).FindAllStringSubmatch(string(b), -1) {
		v, err := strconv.ParseUint(m[3], 0, 64)
		if err != nil {
			continue
		}
		defs[m[1]] = defs[m[2]] + v
	}
	return defs
}

// The kernel runs where nothing of the Go runtime works.
func TestCompiled(t *testing.T) {
	files, err := Overlay()
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[string]bool{
		"unsafe": true, "sync/atomic": true, wallPath: true, channelPath: true, wirePath: true,
	}
	seen := map[string]bool{}
	for _, f := range files {
		if seen[f.Path] {
			t.Errorf("%s twice", f.Path)
		}
		seen[f.Path] = true
		if strings.Contains(f.Text, "github.com/") {
			t.Errorf("%s: still says where it comes from", f.Path)
		}
		if !strings.HasSuffix(f.Path, ".go") || strings.HasPrefix(f.Path, "runtime/") {
			continue
		}
		head, _, _ := strings.Cut(f.Text, "\nfunc ")
		for _, m := range regexp.MustCompile(`(?m)^(?:import |\t)(?:\w+ )?"([^"]+)"`).FindAllStringSubmatch(head, -1) {
			if !allowed[m[1]] {
				t.Errorf("%s imports %s", f.Path, m[1])
			}
		}
		for _, word := range []string{"\tdefer ", "\tgo ", "make(", "new(", "panic(", "map[", "recover("} {
			if strings.HasPrefix(f.Path, kernelPath) && strings.Contains(f.Text, word) {
				t.Errorf("%s: contains %q", f.Path, strings.TrimSpace(word))
			}
		}
	}
	for _, p := range []string{"runtime/eos.go", "runtime/eos_amd64.s", kernelPath + "/machine.go", kernelPath + "/trap.go", wallPath + "/layout.go"} {
		if !seen[p] {
			t.Errorf("no %s", p)
		}
	}
	cmd := exec.Command("go", "build", "-gcflags=-m", "-o", os.DevNull, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "./trap.go") {
		t.Fatalf("the compiler says nothing:\n%s", out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, ": append escapes") {
			continue // allocates only beyond the capacity, and wire's messages have a bound
		}
		native := strings.HasPrefix(line, "./overlay.go") || strings.HasPrefix(line, "./machine.go")
		if !native && (strings.Contains(line, "escapes to heap") || strings.Contains(line, "moved to heap")) {
			t.Errorf("allocates: %s", line)
		}
	}
}
