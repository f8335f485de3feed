package fromgo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// toolchain is a Go tool chain, and how to call it.
type toolchain struct {
	root     string // GOROOT
	version  string // "go1.26.8"
	minor    int    // 26
	modCache string // GOMODCACHE, the user's
	mirror   string // the build's own
	dir      string // where the go command runs
	env      []string
}

// The Go releases that are supported: the minor version of go.mod, the one before
// and the one after.
const (
	minMinor = 25
	maxMinor = 27
)

// GoError is a failure of the go command. Output is what it said.
type GoError struct {
	Args   []string
	Output string
	Err    error
}

func (e *GoError) Error() string {
	if e.Output == "" {
		return fmt.Sprintf("go %s: %v", e.Args[0], e.Err)
	}
	return fmt.Sprintf("go %s: %s", e.Args[0], strings.TrimSpace(e.Output))
}

func (e *GoError) Unwrap() error { return e.Err }

// unset are the variables of the environment that change what the go command
// makes. Those that pinned does not set are taken away.
var unset = []string{
	"GOFLAGS", "GOEXPERIMENT", "GOOS", "GOARCH", "GOAMD64", "CGO_ENABLED", "GODEBUG", "GOROOT", "GOTOOLCHAIN", "GO111MODULE",
	"GOFIPS140", "GO_EXTLINK_ENABLED", "GOCOVERDIR", "GOROOT_FINAL", "PWD",
}

// pinned are their values. An empty one would let the user's "go env -w" show
// through: noarenas changes nothing, since no release has arenas by default,
// so a program's runtime.Version is what it is natively.
var pinned = []string{
	"GOFLAGS=-trimpath -modcacherw", "GOEXPERIMENT=noarenas", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "CGO_ENABLED=0", "GO111MODULE=on", "GOFIPS140=off",
	"GO_EXTLINK_ENABLED=0",
}

// findToolchain asks the go command of PATH which tool chain is for the module
// in dir. What it writes goes below scratch.
func findToolchain(ctx context.Context, dir, scratch string) (*toolchain, error) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		return nil, refuse("install Go from https://go.dev/dl, or add its bin directory to PATH", "no go command in PATH")
	}
	t := &toolchain{dir: dir, mirror: filepath.Join(scratch, "mod")}
	// GOTOOLCHAIN is the user's here: it says whether a module that wants
	// another Go gets it.
	env := without(os.Environ(), others(unset, "GOTOOLCHAIN"))
	out, err := run(ctx, dir, env, goTool, "env", "-json", "GOROOT", "GOVERSION", "GOMODCACHE", "GOMOD", "GOWORK")
	if err != nil {
		return nil, err
	}
	var vars struct{ GOROOT, GOVERSION, GOMODCACHE, GOMOD, GOWORK string }
	if err := json.Unmarshal(out, &vars); err != nil || vars.GOROOT == "" {
		return nil, fmt.Errorf("go env: not understood: %q", out)
	}
	t.root, t.version, t.modCache = vars.GOROOT, vars.GOVERSION, vars.GOMODCACHE
	if t.minor = minorOf(t.version); t.minor < minMinor || t.minor > maxMinor {
		return nil, refuse(fmt.Sprintf("set GOTOOLCHAIN, for example to go1.%d.0", maxMinor),
			"%s in %s is not supported: eos builds with Go 1.%d to 1.%d", t.version, t.root, minMinor, maxMinor)
	}
	if t.root, err = filepath.EvalSymlinks(t.root); err != nil {
		return nil, err
	}
	t.env = append(without(os.Environ(), append(unset, "GOMODCACHE", "GOTMPDIR")),
		append(pinned, "GOROOT="+t.root, "GOTOOLCHAIN=local", "GOMODCACHE="+t.mirror, "GOTMPDIR="+scratch, "PWD="+dir)...)
	modules, err := t.modules(ctx, vars.GOMOD, vars.GOWORK)
	if err != nil {
		return nil, err
	}
	return t, mirror(t.modCache, t.mirror, modules)
}

// minorOf returns 26 for "go1.26.8", 0 for what it does not understand.
func minorOf(version string) int {
	rest, ok := strings.CutPrefix(version, "go1.")
	end := 0
	for end < len(rest) && '0' <= rest[end] && rest[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(rest[:end])
	if !ok || err != nil {
		return 0
	}
	return n
}

// run calls this tool chain's go command and returns its standard output.
func (t *toolchain) run(ctx context.Context, args ...string) ([]byte, error) {
	out, err := run(ctx, t.dir, t.env, filepath.Join(t.root, "bin", "go"), args...)
	var failed *GoError
	if errors.As(err, &failed) {
		failed.Output = t.name(failed.Output)
	}
	return out, err
}

// name replaces the names of files in the mirror by those in the module cache.
func (t *toolchain) name(text string) string { return strings.ReplaceAll(text, t.mirror, t.modCache) }

// place is name for a position, which the go command makes relative if that is
// shorter.
func (t *toolchain) place(pos string) string {
	if abs := filepath.Join(t.dir, pos); pos != "" && !filepath.IsAbs(pos) && strings.HasPrefix(abs, t.mirror) {
		pos = abs
	}
	return t.name(pos)
}

func run(ctx context.Context, dir string, env []string, tool string, args ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	c := exec.CommandContext(ctx, tool, args...)
	c.Dir, c.Env, c.Stdout, c.Stderr = dir, env, &stdout, &stderr
	// Interrupted, the go command ends what it has started, if it is not in the
	// middle of a compilation.
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = time.Second
	if err := c.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &GoError{args, stderr.String(), err}
	}
	return stdout.Bytes(), nil
}

// without returns env without those variables.
func without(env []string, names []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(names, name)
	})
}

// others returns names without that one.
func others(names []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name })
}
