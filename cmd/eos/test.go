package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/enclaveos/eos/pkg/sgxs/fromgo"
	"github.com/spf13/cobra"
)

// Tests want more than the program does.
const (
	testHeapSize = 256 << 20
	testThreads  = 32
)

func testCmd(u *ui) *cobra.Command {
	var (
		heap    = sizeFlag(testHeapSize)
		threads = uint32(testThreads)
		g       goFlags
		f       runFlags
	)
	cmd := &cobra.Command{
		Use:   "test [FLAGS] PACKAGE [TESTFLAGS...]",
		Short: "run the tests of a Go package in an enclave",
		Long: `Compile the tests of a Go package, a directory or an import path, to an enclave
image and run it. What follows the package are flags of the test program, with or
without "test.", such as -v, -run REGEXP or -short.

There is no host file system. The files beside the package and its testdata are
measured into the image; what tests write, in their directory or in /tmp, stays in
the enclave's memory. Programs cannot be started.

  eos test ./pkg/app
  eos test encoding/json -short -v -run 'Test.*Int'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return positional(1, "PACKAGE")(cmd, args)
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			o := fromgo.Options{HeapSize: uint64(heap), Threads: threads, Debug: true, Test: true}
			g.set(&o)
			return runTests(u, args[0], testFlags(args[1:]), o, f)
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.SetInterspersed(false) // what follows the package is the test program's
	fl.VarP(&heap, "heap-size", "H", "heap")
	fl.Uint32VarP(&threads, "threads", "t", threads, "number of threads (TCSs)")
	g.addMemory(cmd)
	g.addCompile(cmd)
	fl.BoolVar(&f.runGo.stats, "stats", false, "say at the end what the tests have used")
	f.platform.add(cmd)
	return cmd
}

// ofTests are the flags of go test that the test program knows by "test." and
// their name.
var ofTests = []string{
	"bench", "benchmem", "benchtime", "count", "cpu", "failfast", "fullpath", "fuzz", "list", "parallel", "run", "short", "shuffle", "skip", "timeout", "v",
}

// testFlags puts "test." before flags that have it, and a limit of time to those
// that have none, as go test does.
func testFlags(args []string) []string {
	out := slices.Clone(args)
	timeout := false
	for i, a := range out {
		name, _, _ := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if strings.HasPrefix(a, "-") && slices.Contains(ofTests, name) {
			out[i] = "-test." + strings.TrimLeft(a, "-")
		}
		timeout = timeout || strings.HasPrefix(out[i], "-test.timeout")
	}
	if !timeout {
		out = append([]string{"-test.timeout=10m"}, out...)
	}
	return append([]string{"-test.paniconexit0"}, out...)
}

// runTests builds the tests of a package beside nothing of the user's, and runs
// them.
func runTests(u *ui, pkg string, args []string, o fromgo.Options, f runFlags) error {
	o.Package = pkg
	dir, err := os.MkdirTemp("", "eos-test-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	image := filepath.Join(dir, "test.sgxs")
	if _, err := makeGoImage(image, "", func(ctx context.Context) (*fromgo.Built, error) { return fromgo.Prepare(ctx, o) }); err != nil {
		return goError(u, err)
	}
	return runEnclave(u, image, args, f)
}
