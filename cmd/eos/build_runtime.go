package main

import (
	"cmp"
	"context"

	"github.com/enclaveos/eos/cmd/eos/base"
	"github.com/enclaveos/eos/pkg/sgxs/fromgo"
	"github.com/spf13/cobra"
)

// buildRuntime builds the runtime, or the Go package args[0] as one.
func buildRuntime(cmd *cobra.Command, u *ui, args []string, out string, o fromgo.Options, g *goFlags, w *wasmFlags, asJSON bool) error {
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
	if err := runtimeSizes(cmd, &o, g, w); err != nil {
		return err
	}
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
func runtimeSizes(cmd *cobra.Command, o *fromgo.Options, g *goFlags, w *wasmFlags) error {
	switch {
	case w.engine != engineCompiler && w.engine != engineInterpreter:
		return usagef("--engine: %q is none: want %s or %s", w.engine, engineCompiler, engineInterpreter)
	case w.engine == engineInterpreter && g.code != 0:
		return usagef("--code-size is memory for the compiler, and the engine is the interpreter")
	case w.engine == engineCompiler && cmd.Flags().Changed("code-size") && g.code == 0:
		return withHint(usagef("the compiler needs memory for its code"), "--engine interpreter needs none")
	}
	if o.Package == "" {
		if err := refuseFlags(cmd, compileOnly, "the runtime of eos itself, which is compiled already"); err != nil {
			return err
		}
	}
	g.set(o)
	fl := cmd.Flags()
	if !fl.Changed("heap-size") {
		o.HeapSize = base.DefaultHeapSize
	}
	if w.engine == engineCompiler && !fl.Changed("code-size") {
		o.CodeSize = base.DefaultCodeSize
	}
	if !fl.Changed("threads") {
		o.Threads = base.DefaultThreads
	}
	return nil
}
