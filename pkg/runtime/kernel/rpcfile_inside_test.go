package kernel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runner/dispatch"
	"github.com/enclaveos/eos/pkg/runner/goenclave"
	"github.com/enclaveos/eos/pkg/runner/proxy"
	"github.com/enclaveos/eos/pkg/sgxs/fromgo"
	"github.com/enclaveos/eos/pkg/wall"
)

// caller is testdata/goapps/rpc, built once.
var caller = sync.OnceValues(func() ([]byte, error) {
	var b bytes.Buffer
	_, err := fromgo.Build(context.Background(), &b, fromgo.Options{
		Dir: "../../../testdata/goapps/rpc", Package: ".", HeapSize: 48 << 20, Threads: 16, Debug: true,
	})
	return b.Bytes(), err
})

// handlers are what testdata/goapps/rpc asks for.
func handlers() map[wire.Method]dispatch.Handler {
	return map[wire.Method]dispatch.Handler{
		0x7001: func(_ context.Context, b []byte) (int32, []byte) { return wire.StatusOK, b },
		0x7002: func(_ context.Context, b []byte) (int32, []byte) {
			time.Sleep(2 * time.Millisecond)
			return wire.StatusOK, b
		},
		0x7003: func(_ context.Context, b []byte) (int32, []byte) { return 42, b },
		0x7004: func(ctx context.Context, _ []byte) (int32, []byte) { <-ctx.Done(); return wire.StatusError, nil },
	}
}

// callers runs testdata/goapps/rpc, with or without a network beside.
func callers(t *testing.T, network bool, stdin string, args ...string) (string, goenclave.Stats) {
	t.Helper()
	e := load(t, caller)
	defer e.Close()
	var out lines
	o := goenclave.Options{Args: append([]string{"rpc"}, args...), Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &out, Handle: handlers()}
	if network {
		var err error
		if o.Data, err = proxy.New(proxy.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	c, err := goenclave.NewCommand(e, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err = c.Run(ctx)
	var exit *goenclave.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %v\n%s", args, err, &out)
	}
	return out.String(), c.Stats()
}

func TestRequests(t *testing.T) {
	for _, network := range []bool{false, true} {
		for _, c := range []struct {
			args        []string
			stdin, want string
		}{
			{[]string{"all"}, "", "all is well\n"},
			{[]string{"load", "30", "200"}, "", "all is well\n"},
			{[]string{"stdin"}, strings.Repeat("a line\n", 20_000), "20000 lines\n"},
		} {
			if out, _ := callers(t, network, c.stdin, c.args...); out != c.want {
				t.Errorf("%v, network %v:\n%s", c.args, network, out)
			}
		}
	}
}

// A batch of the most requests that may be under way costs one OCALL, not one each.
func TestDoorbell(t *testing.T) {
	for _, network := range []bool{false, true} {
		out, stats := callers(t, network, "", "doorbell")
		// Those of other parts are for each of the large ones, and for room.
		if n := stats.OCalls[wall.NotifyRPC]; out != "all is well\n" || n > 100 {
			t.Errorf("network %v: %d OCALLs for the RPC ring\n%s", network, n, out)
		}
	}
}

// What a call costs: EOS_BENCH=1 go test -run TestRequestCost -v
func TestRequestCost(t *testing.T) {
	if os.Getenv("EOS_BENCH") == "" {
		t.Skip("EOS_BENCH is not set")
	}
	for _, network := range []bool{false, true} {
		for _, workers := range []string{"1", "2", "64"} {
			out, stats := callers(t, network, "", "bench", workers, "200")
			fmt.Printf("network %v: %s%v\n", network, out, stats.OCalls)
		}
	}
}
