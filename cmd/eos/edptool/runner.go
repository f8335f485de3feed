package edptool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/enclaveos/eos/pkg/runner"
	"github.com/enclaveos/eos/pkg/runner/edp"
	"github.com/enclaveos/eos/pkg/runner/platform"
)

// OpenPlatform opens the platform that ftxsgx-runner runs enclaves on. The
// program sets it, for the choice and the place of its keys are the program's.
var OpenPlatform func() (platform.Platform, error)

// exitEnclave is the exit code of ftxsgx-runner when the enclave has failed.
const exitEnclave = 255

var runnerCommand = command{
	name: defaultRunner,
	args: []arg{
		{name: "file", required: true, help: "The enclave SGXS file"},
		{name: "signature", short: 's', long: "signature", value: "signature", check: checkSignature,
			help: "coresident, dummy or file=PATH (default: coresident if it can be read, else dummy)"},
		{name: "enclave-args", many: true, help: "Arguments passed to the enclave. They are neither secret nor to be trusted by it"},
	},
}

func checkSignature(s string) error {
	if _, err := runner.ParseSignature(s); err != nil {
		return fmt.Errorf("%q is not coresident, dummy or file=PATH", s)
	}
	return nil
}

// runEnclave is ftxsgx-runner: it runs FILE as an enclave with the arguments
// that follow. The order of what it looks at is the original's: the platform,
// the signature, the image.
func runEnclave(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	g, code, done := runnerCommand.parse(args, stdout, stderr)
	if done {
		return code
	}
	file := g.get("file", "")
	signature := runner.Signature{Kind: runner.SignatureAutoAny}
	if g.has("signature") {
		signature, _ = runner.ParseSignature(g.get("signature", "")) // checked
	}

	p, err := OpenPlatform()
	if err != nil {
		return rustMainError(stderr, "While opening SGX device", err)
	}
	e, what, err := loadEnclave(p, file, signature)
	if err != nil {
		return rustMainError(stderr, what, err)
	}
	defer e.Close()
	if !p.Caps().EnforcesTCB {
		fmt.Fprintln(stderr, "WARNING: No SGX hardware is used. The enclave has no secrets from this host.")
	}

	signal.Ignore(syscall.SIGPIPE) // the enclave gets the error of its write
	ctx, status := stopOnSignal()
	c, err := edp.NewCommand(e, edp.Options{Args: *g.rest, Stdin: stdin, Stdout: stdout, Stderr: stderr})
	if err != nil {
		return rustMainError(stderr, "While loading SGX enclave", err)
	}
	err = c.Run(ctx)
	if n := status(); n != 0 && errors.Is(err, context.Canceled) {
		return n
	}
	if err == nil {
		return 0
	}
	if errors.As(err, new(*edp.PanicError)) {
		fmt.Fprintln(stderr, "Attaching debugger")
	}
	fmt.Fprintf(stderr, "Error while executing SGX enclave.\n%v\n", err)
	if why := edp.Explain(err); why != "" {
		fmt.Fprintln(stderr, why)
	}
	return exitEnclave
}

// loadEnclave makes an enclave of the image at path. Beside an error it returns
// what was being done.
func loadEnclave(p platform.Platform, path string, signature runner.Signature) (e *runner.Enclave, what string, err error) {
	sig, dummy, err := signature.Resolve(path, p.Caps())
	if err != nil && !dummy {
		name := signature.Path
		if signature.Kind == runner.SignatureCoresident {
			name = runner.CoresidentPath(path)
		}
		return nil, "While loading coresident signature", fmt.Errorf("Failed to load signature file '%s': %w", name, err)
	}
	const loading = "While loading SGX enclave"
	if err != nil {
		return nil, loading, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, loading, err
	}
	defer f.Close()
	e, err = runner.Load(p, f, sig, runner.LoadOptions{})
	return e, loading, err
}

// rustMainError prints the error of a Rust program's main and returns its exit
// code.
func rustMainError(stderr io.Writer, what string, cause error) int {
	fmt.Fprintf(stderr, "Error: %s\n\nCaused by:\n    %s\n", what, strings.ReplaceAll(cause.Error(), "\n", "\n    "))
	return 1
}

// stopOnSignal returns a context that SIGINT and SIGTERM end, and the exit code
// that goes with the one that did, or 0. A second signal ends the program at
// once.
func stopOnSignal() (context.Context, func() int) {
	ctx, cancel := context.WithCancel(context.Background())
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	var code atomic.Int32
	go func() {
		s := <-c
		signal.Stop(c)
		if n, ok := s.(syscall.Signal); ok {
			code.Store(128 + int32(n))
		}
		cancel()
	}()
	return ctx, func() int { return int(code.Load()) }
}
