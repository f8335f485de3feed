package main

import (
	"cmp"
	"context"

	"github.com/enclaveos/eos/cmd/eos/base"
	"github.com/enclaveos/eos/pkg/sgxs/fromgo"
	"github.com/spf13/cobra"
)

// buildRuntime builds the runtime, or the Go package args[0] as one.
func buildRuntime(cmd *cobra.Command, u *ui, args []string, out string, o fromgo.Options, g *goFlags, asJSON bool) error {
	if err := refuseFlags(cmd, elfOnly, "the runtime"); err != nil {
		return err
	}
	if len(args) > 0 {
		if !isGoPackage(args[0]) {
			return withHint(usagef("%s is not a Go package", args[0]), "eos build --runtime alone makes the runtime of eos itself")
		}
		o.Package = args[0]
	}
	if out == "" {
		var err error
		if out, err = goImageName(cmp.Or(o.Package, base.Package)); err != nil {
			return err
		}
	}
	runtimeSizes(cmd, &o, g)
	img, err := makeGoImage(out, g.elf, func(ctx context.Context) (*fromgo.Built, error) { return base.Prepare(ctx, o) })
	if err != nil {
		return goError(u, err)
	}
	if asJSON {
		return u.json(newGoBuilt(out, img))
	}
	return printGoBuilt(u, out, img)
}

// runtimeSizes sets what the command line leaves open.
func runtimeSizes(cmd *cobra.Command, o *fromgo.Options, g *goFlags) {
	o.CodeSize, o.Env = uint64(g.code), g.env
	fl := cmd.Flags()
	if !fl.Changed("heap-size") {
		o.HeapSize = base.DefaultHeapSize
	}
	if !fl.Changed("code-size") {
		o.CodeSize = base.DefaultCodeSize
	}
	if !fl.Changed("threads") {
		o.Threads = base.DefaultThreads
	}
}
