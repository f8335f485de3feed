package main

import (
	"context"
	"fmt"
	"math/bits"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/enclaveos/eos/pkg/runner/dispatch"
	"github.com/enclaveos/eos/pkg/runner/goenclave"
	"github.com/enclaveos/eos/pkg/sgxs/fromgo"
	"github.com/enclaveos/eos/pkg/wall"
)

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

// askStats is printStats of a program that runs. What it has told before is shown, with
// its age, if it does not answer.
func askStats(ctx context.Context, u *ui, c *goenclave.Command, net network) {
	patience, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	_ = c.Ask(patience)
	printStats(u, c, net)
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
		if e.NoThread {
			threads += "; more were wanted"
		}
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
// has used: heap in steps of the Go runtime's own, and a thread to spare. Of what there
// was too little, how much would be enough is a guess.
func fitFlags(e dispatch.Stats) string {
	const step = 4 << 20
	heap := (e.HeapHigh + step - 1) / step * step
	if e.HeapRefused > 0 {
		heap = max(uint64(1)<<bits.Len64(e.HeapHigh+e.HeapRefused), 2*e.HeapSize)
	}
	threads := e.ThreadsHigh + 1
	if e.NoThread {
		threads = 2 * e.ThreadsHigh
	}
	// In whole units: a fraction is no size that the flag takes.
	const mib = 1 << 20
	n, unit := (max(heap, fromgo.MinHeapSize)+mib-1)/mib, "MiB"
	if n%1024 == 0 {
		n, unit = n/1024, "GiB"
	}
	return fmt.Sprintf("--heap-size %d%s --threads %d", n, unit,
		min(max(threads, fromgo.MinThreads), fromgo.MaxThreads))
}
