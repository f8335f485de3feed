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

// The processor that programs see: what everything since Haswell with AES, ADX and
// SHA has, and nothing that an enclave could not use or whose state XFRM would
// have to save.
func TestCPUIDTable(t *testing.T) {
	b, err := source.ReadFile("overlay/eos_amd64.s.txt")
	if err != nil {
		t.Fatal(err)
	}
	type key struct{ leaf, sub uint64 }
	rows := map[key][4]uint64{}
	for i, m := range regexp.MustCompile(`(?m)^ROW\((\w+), (\w+), (\w+), (\w+), (\w+), (\w+), (\w+)\)$`).FindAllStringSubmatch(string(b), -1) {
		var v [7]uint64
		for j := range v {
			if v[j], err = strconv.ParseUint(m[j+1], 0, 32); err != nil {
				t.Fatal(err)
			}
		}
		if v[0] != uint64(i) {
			t.Errorf("row %d is numbered %d", i, v[0])
		}
		rows[key{v[1], v[2]}] = [4]uint64(v[3:])
	}
	const all = 0xffffffff
	if len(rows) != 6 {
		t.Fatalf("%d rows", len(rows))
	}
	if _, ok := rows[key{all, 0}]; !ok {
		t.Error("the table has no end")
	}
	for _, c := range []struct {
		what     string
		row      key
		register int
		bits     []uint
	}{
		{"leaf 1 ECX: SSE3 PCLMULQDQ SSSE3 FMA CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE OSXSAVE AVX F16C RDRAND", key{1, all}, 2,
			[]uint{0, 1, 9, 12, 13, 19, 20, 22, 23, 25, 26, 27, 28, 29, 30}},
		{"leaf 7 EBX: FSGSBASE BMI1 AVX2 BMI2 ERMS ADX SHA", key{7, 0}, 1, []uint{0, 3, 5, 8, 9, 19, 29}},
		{"leaf 7 ECX", key{7, 0}, 2, nil},
		{"leaf 7 EDX: FSRM", key{7, 0}, 3, []uint{4}},
		{"extended ECX: LAHF LZCNT", key{0x80000001, all}, 2, []uint{0, 5}},
		{"extended EDX: SYSCALL NX RDTSCP LM", key{0x80000001, all}, 3, []uint{11, 20, 27, 29}},
	} {
		want := uint64(0)
		for _, n := range c.bits {
			want |= 1 << n
		}
		if got := rows[c.row][c.register]; got != want {
			t.Errorf("%s: %#x, want %#x", c.what, got, want)
		}
	}
	if r := rows[key{0, all}]; r[0] != 7 || r[1] != 0x756e6547 || r[3] != 0x49656e69 || r[2] != 0x6c65746e {
		t.Errorf("leaf 0: %#x", r)
	}
}
