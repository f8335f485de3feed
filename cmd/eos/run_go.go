package main

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runner"
	"github.com/enclaveos/eos/pkg/runner/dispatch"
	"github.com/enclaveos/eos/pkg/runner/goenclave"
	"github.com/enclaveos/eos/pkg/runner/platform"
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
	options := goenclave.Options{
		Args: append([]string{path}, args...), Stdin: u.stdin, Stdout: u.stdout, Stderr: u.stderr, Data: net, Handle: handle,
		Symbolize: func(addr uint64) string {
			if d, err := describeGo(path); err == nil && d != nil {
				return oneLine(d.Symbolize(addr))
			}
			return ""
		},
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
		defer onUSR1(func() {
			// What it has told before is shown, with its age, if it does not answer.
			patience, cancel := context.WithTimeout(ctx, askPatience)
			defer cancel()
			_ = c.Ask(patience)
			printStats(u, c, net)
		})()
	}
	err = c.Run(ctx)
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

// askPatience is how long a program may take to say what it uses: a hundred times what
// one needs that computes on all processors.
const askPatience = 2 * time.Second

// onUSR1 calls f at each SIGUSR1 until the returned function is called.
func onUSR1(f func()) (done func()) {
	c := make(chan os.Signal, 1)
	stop := make(chan struct{})
	signal.Notify(c, syscall.SIGUSR1)
	go func() {
		for {
			select {
			case <-c:
				f()
			case <-stop:
				return
			}
		}
	}()
	return func() {
		signal.Stop(c)
		close(stop)
	}
}

// printStats prints to stderr what a program has used.
func printStats(u *ui, c *goenclave.Command, net network) {
	err := &ui{stdout: u.stderr}
	_ = err.facts(append(statsFacts(c.Stats()), net.facts()...)...)
}

// notifyNames are the kinds of OCALL, as people know them.
var notifyNames = map[wall.Notify]string{
	0: "unknown", wall.NotifyPark: "park", wall.NotifyWake: "wake", wall.NotifySpawn: "spawn", wall.NotifyExit: "exit",
	wall.NotifyYield: "yield", wall.NotifyKick: "kick", wall.NotifyData: "data", wall.NotifyRPC: "rpc",
}

func statsFacts(s goenclave.Stats) []string {
	facts := []string{"time", s.Time.Round(time.Millisecond).String()}
	threads := fmt.Sprintf("%d of %d TCSs used", s.ThreadsUsed, s.Threads)
	if e := s.Enclave; e != nil {
		heap := fmt.Sprintf("%s at most, of %s", humanSize(e.HeapHigh), humanSize(e.HeapSize))
		if e.HeapRefused > 0 {
			heap += fmt.Sprintf("; a request of %s had no room", humanSize(e.HeapRefused))
		}
		if age := s.Time - s.Told; age > askPatience/2 {
			heap += fmt.Sprintf("; told %s ago", age.Round(time.Second))
		}
		facts = append(facts, "heap", heap)
		threads = fmt.Sprintf("%d at most, of %d", e.ThreadsHigh, e.Threads)
		facts = append(facts, "threads", threads, "would fit", fitFlags(*e))
	} else {
		facts = append(facts, "heap", "not known: the program has not told", "threads", threads)
	}
	var calls []string
	for kind, n := range s.OCalls {
		if n > 0 {
			calls = append(calls, fmt.Sprintf("%s %d", notifyNames[wall.Notify(kind)], n))
		}
	}
	return append(facts,
		"entries", fmt.Sprintf("%d, exceptions %d, interrupts %d", s.Entries(), s.Exceptions, s.Interrupts),
		"OCALLs", strings.Join(calls, ", "),
		"RPC rings", fmt.Sprintf("%s out, %s in, %d waits", humanSize(s.RPC.FromEnclave), humanSize(s.RPC.ToEnclave), s.RPC.Waits),
	)
}

// fitFlags are the flags of eos build with which the program would have had what it
// has used: heap in steps of the Go runtime's own, and a thread to spare.
func fitFlags(e dispatch.Stats) string {
	const step = 4 << 20
	heap := (max(e.HeapHigh, e.HeapRefused) + step - 1) / step * step
	if e.HeapRefused > 0 {
		heap = uint64(1) << bits.Len64(e.HeapHigh+e.HeapRefused)
	}
	return fmt.Sprintf("--heap-size %s --threads %d", strings.ReplaceAll(humanSize(max(heap, step)), " ", ""), e.ThreadsHigh+1)
}
