package fromgo

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/enclaveos/eos/pkg/wall"
)

// patch is a change of a source file: what, how often it must be there, and
// what it becomes. A Go release that changes such a place must be looked at by
// people, so nothing else than that number will do.
type patch struct {
	pkg, file string // import path, name
	re        *regexp.Regexp
	to        string
	count     int
}

// PatchError is a file that is not as expected.
type PatchError struct {
	File, Pattern string
	Want, Got     int
}

func (e *PatchError) Error() string {
	return fmt.Sprintf("%s: pattern %s is there %d times, want %d: this release of it is not supported", e.File, e.Pattern, e.Got, e.Want)
}

// heapBits is the size of the Go heap's address range, 2^36: it bounds tables
// that the runtime makes. arenaBase is where it starts.
const heapBits = 36

var goPatches = []patch{
	// The start of the program is the enclave's entry.
	{"runtime", "rt0_linux_amd64.s", regexp.MustCompile(`(?m)^(\s*JMP\s+)_rt0_amd64\(SB\)`), `${1}runtime·eosEntry(SB)`, 1},
	// Where the scheduler makes a thread for a P, there may be no TCS for it. The
	// P is then left to the threads that there are.
	{"runtime", "proc.go", regexp.MustCompile(`(\n\tnmp := mget\(\)\n\tif nmp == nil \{\n)(\t\t// No M is available)`),
		"${1}\t\tif eosNoThread(pp, spinning) {\n\t\t\tif !lockheld {\n\t\t\t\tunlock(&sched.lock)\n\t\t\t}\n\t\t\treleasem(mp)\n\t\t\treturn\n\t\t}\n${2}", 1},
	{"runtime", "proc.go", regexp.MustCompile(`(\n\t\t\t// Start M to run P\.  Do not start another M below\.)\n\t\t\tnewm\(nil, p, -1\)\n`),
		"${1}\n\t\t\tlock(&sched.lock)\n\t\t\tnone := eosNoThread(p, false)\n\t\t\tunlock(&sched.lock)\n\t\t\tif !none {\n\t\t\t\tnewm(nil, p, -1)\n\t\t\t}\n", 1},
	// The scheduler's monitor looks every 20 µs whether a system call takes long. A
	// sleep is an OCALL and two changes of threads, and few calls here wait.
	{"runtime", "proc.go", regexp.MustCompile(`(\n\t\tif idle == 0 \{ // start with 20us sleep\.\.\.\n\t\t\tdelay = )20\n`), "${1}200\n", 1},
	{"runtime", "proc.go", regexp.MustCompile(`(\n\t\t\t\tif syscallWake \{\n\t\t\t\t\tidle = 0\n\t\t\t\t\tdelay = )20\n`), "${1}200\n", 1},
	// Who prints is of interest in production images; the kernel has this function.
	{"runtime", "print.go", regexp.MustCompile(`\nfunc printlock\(\) \{\n\tmp := getg\(\)\.m\n\tmp\.locks\+\+ .*\n\tmp\.printlock\+\+\n\tif mp\.printlock == 1 \{\n\t\tlock\(&debuglock\)\n\t\}\n\tmp\.locks-- .*\n\}\n`), "\n", 1},
	// A recursion without an end shall be reported as that, not as a small heap.
	{"runtime", "proc.go", regexp.MustCompile(`(\n\t\tmaxstacksize = )1000000000\n`), "${1}eosMaxStack()\n", 1},
	// It sleeps deeper, until it is woken, when no P has anything to do at that moment,
	// and the next system call wakes it: with one client, that is each request. Here it
	// does so when it has found nothing to do for a while, some 30 ms.
	{"runtime", "proc.go", regexp.MustCompile(`(\n\t\tif debug\.schedtrace <= 0 && \(sched\.gcwaiting\.Load\(\) \|\| )(sched\.npidle\.Load\(\) == gomaxprocs\) \{\n)`), "${1}delay == 10*1000 && ${2}", 1},
	// Tables for 48 bits of addresses cost 33 MiB.
	{"runtime", "malloc.go", regexp.MustCompile(`(\n\theapAddrBits\s*=\s*\(_64bit\*[^\n]*?\)\)\*)48(\s*\+)`), fmt.Sprintf("${1}%d${2}", heapBits), 1},
	{"runtime", "malloc.go", regexp.MustCompile(`(\n\tarenaBaseOffset\s*=\s*)0xffff800000000000(\*goarch\.IsAmd64)`), fmt.Sprintf("${1}%#x${2}", uint64(wall.Base)), 1},
}

// randomHeapPatch: the runtime would try random addresses for its heap, in vain.
var randomHeapPatch = patch{"runtime", "malloc.go", regexp.MustCompile(`(\n\trandomizeHeapBase = )(goexperiment\.RandomizedHeapBase64 && )`), "${1}false && ${2}", 1}

// scratchPatches make the buffer of the jitter entropy source, which only FIPS
// mode uses, 4 KiB instead of 32 MiB.
var scratchPatches = []patch{
	{"crypto/internal/entropy/v1.0.0", "entropy.go", regexp.MustCompile(`type ScratchBuffer \[1 << 25\]byte`), "type ScratchBuffer [1 << 12]byte", 1},
	{"crypto/internal/entropy/v1.0.0", "entropy.go", regexp.MustCompile(`& \(1<<25 - 1\)`), "& (1<<12 - 1)", 1},
}

// wazero's compiler asks for memory and, from v1.11 on, makes it executable only
// later. The kernel must know at once to take it from the code area.
var wazeroPatch = patch{"github.com/tetratelabs/wazero/internal/platform", "mmap_linux.go",
	regexp.MustCompile(`(prot := unix\.PROT_READ \| unix\.PROT_WRITE)\b`), "${1} | unix.PROT_EXEC", 1}

// wazeroAsksAtOnce is what the older ones have, in one of their files.
var wazeroAsksAtOnce = regexp.MustCompile(`PROT_READ \| syscall\.PROT_WRITE \| syscall\.PROT_EXEC`)

func needsWazeroPatch(p *goPackage) bool {
	for _, name := range p.GoFiles {
		src, err := os.ReadFile(filepath.Join(p.Dir, name))
		if err == nil && wazeroAsksAtOnce.Match(src) {
			return false
		}
	}
	return true
}

// execPatch tells the standard library's own tests, by their own means, that they
// cannot start programs, so that those that want to are skipped.
var execPatch = patch{"internal/testenv", "exec.go",
	regexp.MustCompile(`(// Assume that exec always works on non-mobile platforms and Android\.\n\t\treturn )nil`), `${1}errors.New("an enclave starts no programs")`, 1}

// patches returns the changes for these packages.
func (t *toolchain) patches(pkgs []*goPackage, o *Options) []patch {
	out := append([]patch(nil), goPatches...)
	if t.minor >= 26 {
		out = append(out, randomHeapPatch)
	}
	if t.minor >= 26 && find(pkgs, scratchPatches[0].pkg) != nil {
		out = append(out, scratchPatches...)
	}
	if o.Test && find(pkgs, execPatch.pkg) != nil {
		out = append(out, execPatch)
	}
	if p := find(pkgs, wazeroPatch.pkg); p != nil && o.CodeSize > 0 && needsWazeroPatch(p) {
		out = append(out, wazeroPatch)
	}
	return out
}

// find finds a package, or the form of it that is compiled for a test, whose files
// are the same.
func find(pkgs []*goPackage, path string) *goPackage {
	for _, p := range pkgs {
		if name, _, _ := strings.Cut(p.ImportPath, " "); name == path {
			return p
		}
	}
	return nil
}

func (p *patch) apply(file string, src []byte) ([]byte, error) {
	if n := len(p.re.FindAllIndex(src, -1)); n != p.count {
		return nil, &PatchError{file, p.re.String(), p.count, n}
	}
	return p.re.ReplaceAll(src, []byte(p.to)), nil
}

// required are the files of the Go tool chain that must have had something to
// be rewritten: if one has not, this release does its system calls elsewhere.
func (t *toolchain) required() map[string][]string {
	req := map[string][]string{
		"runtime/sys_linux_amd64.s":  {"SYSCALL"},
		"runtime/time_linux_amd64.s": {"SYSCALL"},
		"runtime/asm_amd64.s":        {"CPUID", "RDTSC", "RDTSCP"},
		"internal/cpu/cpu_x86.s":     {"CPUID"},
	}
	name := "internal/runtime/syscall/linux/asm_linux_amd64.s"
	if t.minor < 26 {
		name = strings.Replace(name, "/linux/", "/", 1)
	}
	req[name] = []string{"SYSCALL"}
	return req
}

// under returns the path of file below dir, with slashes.
func under(dir, file string) (string, bool) {
	rel, err := filepath.Rel(dir, file)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return "", false
	}
	return filepath.ToSlash(rel), true
}
