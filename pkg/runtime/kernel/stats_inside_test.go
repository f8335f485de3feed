package kernel_test

import (
	"context"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/runner/goenclave"
	"github.com/enclaveos/eos/pkg/runner/proxy"
)

// A program is asked what it uses while it runs: one that sleeps, one that waits for the
// network, and one that computes. Each answers, every time.
func TestInsideAsked(t *testing.T) {
	for _, args := range [][]string{{"sleep"}, {"poll"}, {"sum", "1000000000000000000"}} {
		e := load(t, image)
		var out lines
		o := goenclave.Options{Args: append([]string{"inside"}, args...), Stdout: &out, Stderr: &out, Grace: time.Millisecond}
		if args[0] == "poll" {
			var err error
			if o.Data, err = proxy.New(proxy.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		c, err := goenclave.NewCommand(e, o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c.Run(ctx)
		}()
		patience, cancel := context.WithTimeout(ctx, time.Minute)
		for range 5 {
			before := c.Stats().Told
			if err := c.Ask(patience); err != nil {
				t.Fatalf("%v: %v\n%s", args, err, &out)
			}
			s := c.Stats()
			if s.Enclave == nil || s.Told <= before || s.Enclave.Heap == 0 || s.Enclave.HeapHigh < s.Enclave.Heap ||
				s.Enclave.HeapSize != 128<<20 || s.Enclave.ThreadsHigh == 0 || s.Enclave.Threads != 16 {
				t.Errorf("%v: told %v, before %v: %+v", args, s.Told, before, s.Enclave)
			}
		}
		cancel()
		stop()
		<-ended
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}
