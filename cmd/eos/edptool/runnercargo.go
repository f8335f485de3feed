package edptool

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// defaultRunner is the tool that runs an image.
const defaultRunner = "ftxsgx-runner"

// cargoSettings is what the table package.metadata.fortanix-sgx of a Cargo.toml
// can set.
type cargoSettings struct {
	heapSize                         uint64
	stackSize, ssaFrameSize, threads uint64
	debug                            bool
	runner                           string
}

// cargoError is an error with the exit code that goes with it.
type cargoError struct {
	text string
	code int
}

func (e *cargoError) Error() string { return e.text }

// runnerCargo is ftxsgx-runner-cargo, which cargo calls to run a program: it
// converts the program and runs the image. The arguments are the program's path
// and its arguments.
func runnerCargo(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	err := cargoRun(args, stdin, stdout, stderr)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "ERROR: %s\n", err)
	if e := (*cargoError)(nil); errors.As(err, &e) {
		return e.code
	}
	return 1
}

func cargoRun(args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	dir, ok := os.LookupEnv("CARGO_MANIFEST_DIR")
	if !ok {
		return errors.New("CARGO_MANIFEST_DIR is not defined in the environment.")
	}
	f, err := os.Open(dir + "/Cargo.toml")
	if err != nil {
		return errors.New("Unable to open the manifest")
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil || len(text) > maxManifest || !utf8.Valid(text) {
		return errors.New("Unable to read the manifest")
	}
	s, err := parseManifest(string(text))
	if err != nil {
		return errors.New("Unable to parse the manifest")
	}
	if len(args) == 0 {
		return errors.New("The program to run is missing: cargo gives it as the first argument")
	}
	program := args[0]
	image := program + ".sgxs"
	convert := []string{program,
		"--heap-size", strconv.FormatUint(s.heapSize, 10),
		"--ssaframesize", strconv.FormatUint(s.ssaFrameSize, 10),
		"--stack-size", strconv.FormatUint(s.stackSize, 10),
		"--threads", strconv.FormatUint(s.threads, 10)}
	if s.debug {
		convert = append(convert, "--debug")
	}
	if withExtension(program, "sgxs") != image {
		// A name with a dot: by itself the converter would replace what follows
		// the dot, and the image would not be found.
		convert = append(convert, "--output", image)
	}
	run := []string{image}
	if len(args) > 1 {
		run = append(append(run, "--"), args[1:]...)
	}
	if err := runTool(elf2sgxsName, convert, stdin, stdout, stderr); err != nil {
		return err
	}
	return runTool(s.runner, run, stdin, stdout, stderr)
}

// maxManifest is the size of the largest Cargo.toml that is read.
const maxManifest = 16 << 20

// parseManifest reads the settings from a Cargo.toml. Other keys are ignored; one
// of another type or out of range makes it an error.
func parseManifest(text string) (*cargoSettings, error) {
	var root map[string]any
	if _, err := toml.Decode(text, &root); err != nil {
		return nil, err
	}
	t := root
	for i, key := range []string{"package", "metadata", "fortanix-sgx"} {
		v, ok := t[key]
		if !ok && i > 0 {
			t = nil
			break
		}
		if t, ok = v.(map[string]any); !ok {
			return nil, fmt.Errorf("%s is not a table", key)
		}
	}
	s := &cargoSettings{
		heapSize: 0x2000000, stackSize: 0x20000, ssaFrameSize: 1, threads: uint64(runtime.NumCPU()),
		debug: true, runner: defaultRunner,
	}
	for _, x := range []struct {
		key string
		to  *uint64
		max uint64
	}{
		{"heap-size", &s.heapSize, math.MaxInt64},
		{"stack-size", &s.stackSize, math.MaxUint32},
		{"ssaframesize", &s.ssaFrameSize, math.MaxUint32},
		{"threads", &s.threads, math.MaxUint32},
	} {
		if v, ok := t[x.key]; ok {
			n, ok := v.(int64)
			if !ok || n < 0 || uint64(n) > x.max {
				return nil, fmt.Errorf("%s is no number up to %d", x.key, x.max)
			}
			*x.to = uint64(n)
		}
	}
	if v, ok := t["debug"]; ok {
		if s.debug, ok = v.(bool); !ok {
			return nil, errors.New("debug is neither true nor false")
		}
	}
	if v, ok := t["runner"]; ok {
		if s.runner, ok = v.(string); !ok {
			return nil, errors.New("runner is no string")
		}
	}
	return s, nil
}

// runTool runs a program and waits for it. One of the two usual ones that is not
// on the search path is this very program, called by that name.
func runTool(name string, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	cmd := exec.Command(name, args...)
	if errors.Is(cmd.Err, exec.ErrNotFound) && (name == elf2sgxsName || name == defaultRunner) {
		if self, err := os.Executable(); err == nil {
			cmd.Path, cmd.Err = self, nil
		}
	}
	if errors.Is(cmd.Err, exec.ErrDot) {
		cmd.Err = nil
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		code, how := exitStatus(exit)
		return &cargoError{fmt.Sprintf("while running %s got %s", rustCommand(name, args), how), code}
	}
	return fmt.Errorf("failed to run %s, %s", rustCommand(name, args), osError(err))
}

// exitStatus returns the exit code to pass on, and Rust's words for the status.
func exitStatus(e *exec.ExitError) (code int, how string) {
	ws, ok := e.Sys().(syscall.WaitStatus)
	if !ok || !ws.Signaled() {
		return e.ExitCode(), fmt.Sprintf("exit status: %d", e.ExitCode())
	}
	how = fmt.Sprintf("signal: %d", int(ws.Signal()))
	if n := signalNames[ws.Signal()]; n != "" {
		how += " (" + n + ")"
	}
	if ws.CoreDump() {
		how += " (core dumped)"
	}
	return 1, how
}

var signalNames = map[syscall.Signal]string{
	syscall.SIGHUP: "SIGHUP", syscall.SIGINT: "SIGINT", syscall.SIGQUIT: "SIGQUIT", syscall.SIGILL: "SIGILL",
	syscall.SIGTRAP: "SIGTRAP", syscall.SIGABRT: "SIGABRT", syscall.SIGBUS: "SIGBUS", syscall.SIGFPE: "SIGFPE",
	syscall.SIGKILL: "SIGKILL", syscall.SIGSEGV: "SIGSEGV", syscall.SIGPIPE: "SIGPIPE", syscall.SIGALRM: "SIGALRM",
	syscall.SIGTERM: "SIGTERM",
}

// osError is an error of starting a program in Rust's words.
func osError(err error) string {
	if errors.Is(err, exec.ErrNotFound) {
		err = syscall.ENOENT
	}
	var no syscall.Errno
	if !errors.As(err, &no) {
		return err.Error()
	}
	msg := no.Error()
	return fmt.Sprintf("%s (os error %d)", strings.ToUpper(msg[:1])+msg[1:], int(no))
}

// rustCommand shows a command as Rust does: each word quoted.
func rustCommand(name string, args []string) string {
	words := []string{rustQuote(name)}
	for _, a := range args {
		words = append(words, rustQuote(a))
	}
	return strings.Join(words, " ")
}

func rustQuote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02X`, s[0])
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == 0:
			b.WriteString(`\0`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
		s = s[n:]
	}
	b.WriteByte('"')
	return b.String()
}
