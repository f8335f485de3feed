package main

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"syscall"

	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runner"
	"github.com/enclaveos/eos/pkg/runner/dispatch"
	"github.com/enclaveos/eos/pkg/runner/goenclave"
	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgxs/fromgo"
	"github.com/enclaveos/eos/pkg/wall"
	"github.com/spf13/cobra"
)

// runGoFlags are for the images of Go programs only.
type runGoFlags struct {
	publish []string
	stats   bool
}

func (f *runGoFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringArrayVarP(&f.publish, "publish", "p", nil, "`[IP:]PORT:APPPORT`: where the host listens for a Go program that listens on APPPORT (default: where it says)")
	fl.BoolVar(&f.stats, "stats", false, "say at the end, and on SIGUSR1, what a Go program has used")
}

// network is the TCP of a Go program.
type network interface {
	goenclave.DataPlane
	// facts are what --stats says of it.
	facts() []string
	// ended says what of the command line was for nothing.
	ended(u *ui)
}

// isGoImage reports whether the image at path is one of a Go program, by its first
// page. What is wrong with any other image its loader says best.
func isGoImage(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = goenclave.ReadBoot(f)
	var bad wall.BootError
	if errors.As(err, &bad) {
		return true, err
	}
	return err == nil, nil
}

// runGo runs the image of a Go program. host is nil if it is not a runtime; then
// handle are the handlers of its requests.
func runGo(ctx context.Context, u *ui, p platform.Platform, path string, args []string, signature runner.Signature, o runner.LoadOptions, f runGoFlags, host *runtimeHost, handle map[wire.Method]dispatch.Handler, caught func() exitStatus) error {
	net, err := openNetwork(u, f.publish)
	if err != nil {
		return err
	}
	e, err := loadEnclave(u, p, path, signature, o, goenclave.Load)
	if err != nil {
		return err
	}
	defer e.Close()
	// A thread that is inside holds a P, as in a system call. One that comes out
	// must not wait until it has one.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), len(e.TCS)+4))
	describe := sync.OnceValue(func() *fromgo.Description {
		d, err := describeGo(path)
		if err != nil {
			return nil // it was good enough to be loaded: the addresses must do
		}
		return d
	})
	symbolize := func(addr uint64) string {
		if d := describe(); d != nil {
			return oneLine(d.Symbolize(addr))
		}
		return ""
	}
	options := goenclave.Options{
		Args: append([]string{path}, args...), Stdin: u.stdin, Stdout: u.stdout, Stderr: &crashNames{u.stderr, symbolize}, Data: net, Handle: handle,
		Symbolize: symbolize,
	}
	if host != nil {
		options.Args, options.Handle, options.Grace = append(options.Args, host.config), host.handle, runtimeGrace
	}
	c, err := goenclave.NewCommand(e, options)
	if err != nil {
		return err
	}
	if f.stats {
		defer printStats(u, c, net)
		defer onUSR1(func() { askStats(ctx, u, c, net) })()
	}
	err = c.Run(ctx)
	net.ended(u)
	stopped := caught()
	var exit *goenclave.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && stopped != 0 && exit.Code == signalStatus(syscall.SIGTERM):
		return stopped // ecall_shutdown is SIGTERM inside, whatever it was here
	case errors.As(err, &exit):
		return exitStatus(exit.Code) // the program has said why
	case stopped != 0 && errors.Is(err, context.Canceled):
		return stopped
	case errors.As(err, new(*dispatch.OutputError)) && errors.Is(err, syscall.EPIPE):
		return exitStatus(signalStatus(syscall.SIGPIPE)) // as natively
	}
	return withStatus{err, exitPanic}
}
