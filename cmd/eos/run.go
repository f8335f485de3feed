package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/enclaveos/eos/pkg/runner"
	"github.com/enclaveos/eos/pkg/runner/edp"
	"github.com/enclaveos/eos/pkg/runner/goenclave"
	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/sgxs/fromelf"
	"github.com/spf13/cobra"
)

// exitPanic is the status of eos run when the enclave has failed, as that of
// ftxsgx-runner.
const exitPanic = 255

type runFlags struct {
	platform  platformFlags
	signature string
	elf       string
	config    configFlags
	runGo     runGoFlags
	runtime   runtimeFlags
}

func runCmd(u *ui) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [--signature coresident|dummy|file=PATH] [--platform NAME] APP.sgxs [ARGS...]",
		Short: "run an image as an enclave",
		Long: `Run an image as an enclave: one of a Go program, or one that speaks the Fortanix
SGX ABI (Rust's x86_64-fortanix-unknown-sgx). What follows APP.sgxs are the
enclave's arguments; it has stdin, stdout, stderr and TCP.

The image of a runtime (eos build --runtime, eos build app.wasm) serves attested
TLS at --listen until Ctrl-C or SIGTERM; then it finishes what it does, writes its
state and ends with status 0. What it is told at its first start stays with its
state: the CA that signs its certificates, and who its operator is. Of the
operator's token it gets the hash only. It has no arguments, so flags may follow
its image.

  eos run notes.sgxs --listen :8443 --host notes.example --state /srv/notes

The SIGSTRUCT is APP.sig beside the image or, if there is none, a debug one made
on the spot (dummy). --platform software runs it without SGX hardware: the same
pages and rules, but nothing is secret from this host. Its keys are made on
first use, in $XDG_STATE_HOME/eos or --platform-dir.

--config-id and --config-svn are what the enclave finds as CONFIGID and CONFIGSVN
in its reports: who starts it says which configuration it has to take. The image
must be signed with eos sign --kss.

The exit status is that of a Go program; of another one 0 if it exits without a
panic and 255 if it panics. It is 255 if the enclave faults or breaks the ABI, 1
if it cannot be started, and 130 after Ctrl-C.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return positional(1, "APP.sgxs")(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if isRuntimeImage(args[0]) {
				// It takes no arguments, so what follows can only be more flags.
				fl := cmd.Flags()
				if err := fl.Parse(args[1:]); err != nil {
					return flagError(cmd, err)
				}
				if help, _ := fl.GetBool("help"); help {
					return cmd.Help()
				}
				if fl.NArg() > 0 {
					return usagef("%s is a runtime, which takes no arguments: %q is no flag", args[0], fl.Arg(0))
				}
				return runEnclave(u, args[0], nil, f)
			}
			if err := refuseFlags(cmd, runtimeOnly, "this image: it is not that of a runtime"); err != nil {
				return err
			}
			return runEnclave(u, args[0], args[1:], f)
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return []string{"sgxs"}, cobra.ShellCompDirectiveFilterFileExt
			}
			return nil, cobra.ShellCompDirectiveDefault
		},
	}
	fl := cmd.Flags()
	fl.SetInterspersed(false) // what follows the image is the enclave's
	fl.StringVarP(&f.signature, "signature", "s", "", "`WHICH`: coresident, dummy or file=PATH (default: coresident if it is there, else dummy)")
	fl.StringVar(&f.elf, "elf", "", "the ELF program of the image, `APP.elf`, to name functions in messages about faults (default: beside the image)")
	f.runGo.add(cmd)
	f.runtime.add(cmd)
	f.config.add(cmd)
	f.platform.add(cmd)
	completeFlagFiles(cmd, "elf", "elf")
	completeFlagWords(cmd, "signature", "coresident", "dummy", "file=")
	return cmd
}

func runEnclave(u *ui, path string, args []string, f runFlags) error {
	var signature runner.Signature
	if f.signature != "" {
		var err error
		if signature, err = runner.ParseSignature(f.signature); err != nil {
			return usagef("--signature: %q is not coresident, dummy or file=PATH", f.signature)
		}
	}
	options, err := f.config.options()
	if err != nil {
		return err
	}
	symbolize, err := openSymbols(f.elf)
	if err != nil {
		return err
	}
	if f.elf == "" {
		// The program beside the image, if it is there and sound, is a help
		// with messages and nothing more.
		symbolize, _ = openSymbols(replaceExt(path, ".elf"))
	}
	if err := checkImage(path); err != nil {
		return err
	}
	p, err := f.platform.open()
	if err != nil {
		return err
	}

	// From here on a write to a closed pipe is the enclave's to see, and
	// Ctrl-C ends it as a whole.
	signal.Ignore(syscall.SIGPIPE)
	ctx, caught := untilSignal()
	if isGo, err := isGoImage(path); err != nil {
		return where(path, err)
	} else if isGo {
		var host *runtimeHost
		if isRuntimeImage(path) {
			if host, err = openRuntime(u, path, &f.runtime, &f.platform); err != nil {
				return err
			}
		}
		return errors.Join(runGo(ctx, u, p, path, args, signature, options, f.runGo, host, quotingHandlers(&f.platform), caught), host.close())
	}
	e, err := loadEnclave(u, p, path, signature, options, runner.Load)
	if err != nil {
		return err
	}
	defer e.Close()
	c, err := edp.NewCommand(e, edp.Options{
		Args: args, Stdin: u.stdin, Stdout: u.stdout, Stderr: u.stderr, Symbolize: symbolize,
	})
	if err != nil {
		return err
	}
	err = c.Run(ctx)
	if s := caught(); s != 0 && errors.Is(err, context.Canceled) {
		return s
	}
	if err != nil {
		return withStatus{enclaveError(err), exitPanic}
	}
	return nil
}

// enclaveError says in our words how an enclave has ended; package edp says it
// in those of ftxsgx-runner.
func enclaveError(err error) error {
	explained := edp.Explain(err)
	var fault *edp.ExceptionError
	var panicked *edp.PanicError
	switch {
	case errors.As(err, &fault) && explained != "":
		return fmt.Errorf("the enclave faulted: %s", explained)
	case errors.As(err, &panicked):
		err = panicError(panicked)
	default:
		err = errors.New(lowerFirst(strings.TrimSuffix(err.Error(), ".")))
	}
	if explained != "" {
		return withHint(err, "%s", explained)
	}
	return err
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }

func panicError(p *edp.PanicError) error {
	switch {
	case p.Text == "" && p.Status != "":
		return fmt.Errorf("the enclave %s", lowerFirst(p.Status))
	case p.Status != "":
		return fmt.Errorf("the enclave panicked: %s (%s)", p.Text, p.Status)
	case p.Text != "":
		return fmt.Errorf("the enclave panicked: %s", p.Text)
	case len(p.Raw) > 0:
		raw := bytes.TrimRight(p.Raw, "\x00")
		return fmt.Errorf("the enclave panicked, with a message that is no text: %.200q", raw)
	}
	return withHint(errors.New("the enclave panicked and does not say why"), "only an image of eos build --debug can, and only if the program has left a message")
}

// checkImage says at once, and in better words than the loader could, that a
// file is something else than an image.
func checkImage(path string) error {
	// Asked before it is opened: the open of a pipe waits for its writer.
	switch fi, err := os.Stat(path); {
	case err == nil && fi.IsDir():
		return withHint(fmt.Errorf("%s is a directory, not an image", path), "eos build makes an image of the Go program in a directory")
	case err == nil && fi.Mode().Type() == os.ModeNamedPipe:
		return fmt.Errorf("%s is a pipe, and an image is read more than once: make it a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, 16)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return notImage(path, head[:n])
}

// loadFunc is runner.Load, or what does the same for another kind of image.
type loadFunc[E any] func(platform.Platform, io.Reader, *sgx.SigStruct, runner.LoadOptions) (E, error)

// loadEnclave makes an enclave of the image at path.
func loadEnclave[E any](u *ui, p platform.Platform, path string, signature runner.Signature, o runner.LoadOptions, load loadFunc[E]) (e E, err error) {
	sig, dummy, err := signature.Choose(path, p.Caps())
	if errors.Is(err, runner.ErrUnsized) {
		return e, loadError(path, err)
	}
	if err != nil {
		return e, imageHint(path, err) // it names the file that is at fault
	}
	if err := checkConfig(path, o, sig); err != nil {
		return e, err
	}
	if dummy {
		o.Sign = runner.SignDummy
	}
	f, err := os.Open(path)
	if err != nil {
		return e, err
	}
	defer f.Close()
	var size int64
	if fi, err := f.Stat(); err == nil {
		size = fi.Size()
	}
	show := u.progress("loading "+path, size)
	defer show.end()
	e, err = load(p, io.TeeReader(f, show), sig, o)
	if err != nil {
		return e, loadError(path, err)
	}
	show.end()
	if !p.Caps().EnforcesTCB {
		u.warn("software platform: nothing is secret from this host, nor is the host safe from the enclave (eos doctor says more)")
	}
	if dummy {
		u.warn("signed on the spot with the public debug key: what the enclave seals to MRSIGNER anybody can open")
	}
	return e, nil
}

func loadError(path string, err error) error {
	if errors.Is(err, runner.ErrUnsized) {
		return withHint(fmt.Errorf("%s is unsized", path), "eos append %s fixes its size", path)
	}
	var step *runner.LoadError
	if errors.As(err, new(*sgxs.FormatError)) && errors.As(err, &step) {
		err = step.Err // which says what was being read
	}
	return where(path, err)
}

// untilSignal returns a context that SIGINT and SIGTERM end, and what says
// which of them did; a second one ends the program at once.
func untilSignal() (context.Context, func() exitStatus) {
	ctx, cancel := context.WithCancelCause(context.Background())
	c := make(chan os.Signal, 1)
	status := make(chan exitStatus, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	go func() {
		s := <-c
		signal.Stop(c)
		status <- exitStatus(signalStatus(s))
		if s == os.Interrupt {
			cancel(goenclave.ErrInterrupted)
		}
		cancel(nil)
	}()
	return ctx, func() exitStatus {
		select {
		case s := <-status:
			return s
		default:
			return 0
		}
	}
}

// openSymbols returns what names offsets by the program at path; nil for no
// path.
func openSymbols(path string) (func(uint64) string, error) {
	if path == "" {
		return nil, nil
	}
	if fi, err := os.Stat(path); err == nil && !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	z, err := fromelf.Open(f) // holds all it needs; the file may close
	f.Close()
	if err != nil {
		return nil, programError(path, err)
	}
	return func(off uint64) string {
		section, symbol, delta, ok := z.Lookup(off)
		switch {
		case !ok:
			return ""
		case symbol == "":
			return fmt.Sprintf("%s+%#x", oneLine(section), delta)
		}
		return fmt.Sprintf("%s+%#x", oneLine(symbol), delta)
	}, nil
}
