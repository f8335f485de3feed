package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs/fromelf"
	"github.com/enclaveos/eos/pkg/sgxs/fromgo"
	"github.com/spf13/cobra"
)

func buildCmd(u *ui) *cobra.Command {
	var (
		asJSON bool
		output string
		o      = fromelf.Options{Threads: 4, SSAFrameSize: 1}
		heap   = sizeFlag(32 << 20)
		stack  = sizeFlag(128 << 10)
		g      goFlags
		w      wasmFlags
		rt     bool
	)
	cmd := &cobra.Command{
		Use:   "build [FLAGS] PROGRAM...",
		Short: "make an enclave image of WASM modules, an ELF program or a Go package",
		Long: `Make an enclave image (SGXS) and print its MRENCLAVE.

An ELF program of the target x86_64-fortanix-unknown-sgx is converted, by
default to a file beside it. The bytes are those of ftxsgx-elf2sgxs with the
same sizes.

A Go main package, a directory or an import path, is compiled with the go
command of PATH. The same source makes the same image everywhere. By default a
Go program has 64 MiB of heap and 32 threads.

WASM modules go, with a manifest that says what each may do, behind the runtime
of eos: all of it is measured. Each is an app with the name of its file. Without
--manifest they get the defaults: the store, keys and random numbers, no network,
callable by everybody. A module compressed with zstd stays so in the image.

With --runtime it is the runtime that serves modules over attested TLS, as eos
run then starts it: that of eos itself or, if a PROGRAM is named, a Go package
that calls boot.Main with modules of its own. WASM modules may follow it.

  eos build app.wasm
  eos build -m eos.toml -o apps.sgxs
  eos build --engine interpreter app.wasm more.wasm -o apps.sgxs
  eos build --runtime -o base.sgxs
  eos build app.elf
  eos build --heap-size 256MiB --threads 8 -o app.sgxs target/debug/app
  eos build ./cmd/app -o app.sgxs
  eos build --env TZ=UTC --heap-size 256MiB example.com/mod/cmd/app`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && (rt || w.manifest != "") || len(args) > 1 && isWASM(args) {
				return nil
			}
			return positional(1, "PROGRAM")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			goOptions := fromgo.Options{HeapSize: uint64(heap), Threads: o.Threads, Debug: o.Debug, Unsized: o.Unsized}
			if w.manifest != "" || isWASM(args) {
				if rt && len(args) > 0 && isGoPackage(args[0]) {
					goOptions.Package, args = args[0], args[1:]
				}
				return buildWASM(cmd, u, args, output, goOptions, &g, &w, asJSON)
			}
			if rt {
				return buildRuntime(cmd, u, args, output, goOptions, &g, &w, asJSON)
			}
			if err := refuseFlags(cmd, wasmOnly, "other programs than WASM modules"); err != nil {
				return err
			}
			if isGoPackage(args[0]) {
				return buildGo(cmd, u, args[0], output, goOptions, &g, asJSON)
			}
			if err := refuseFlags(cmd, goOnly, "ELF programs"); err != nil {
				return err
			}
			o.HeapSize, o.StackSize, o.Measure = uint64(heap), uint64(stack), !o.Unsized
			in, out := args[0], output
			if out == "" {
				out = replaceExt(in, ".sgxs")
			}
			layout, err := build(u, in, out, o)
			if err != nil {
				return err
			}
			if asJSON {
				return u.json(newBuildInfo(out, layout))
			}
			return printBuild(u, out, layout)
		},
		ValidArgsFunction: completeFiles(""),
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVarP(&output, "output", "o", "", "the image (default: `APP.sgxs` beside the program)")
	fl.VarP(&heap, "heap-size", "H", "heap")
	fl.VarP(&stack, "stack-size", "S", "stack of each thread")
	fl.Uint32VarP(&o.Threads, "threads", "t", o.Threads, "`NUMBER` of threads (TCSs)")
	fl.Uint32Var(&o.SSAFrameSize, "ssaframesize", o.SSAFrameSize, "`PAGES` of an SSA frame")
	fl.BoolVarP(&o.Debug, "debug", "d", false, "tell the program that it may print panics to the debug buffer")
	fl.BoolVar(&o.Library, "library", false, "a library enclave: every thread is an entry point (experimental)")
	fl.BoolVar(&rt, "runtime", false, "the runtime, or a Go package that is one")
	fl.BoolVar(&o.Unsized, "unsized", false, "leave the size open, for eos append")
	g.add(cmd)
	w.add(cmd)
	jsonFlag(cmd, &asJSON)
	completeFlagFiles(cmd, "output", "sgxs")
	return cmd
}

// build converts the program at in to an image at out.
func build(u *ui, in, out string, o fromelf.Options) (*fromelf.Layout, error) {
	f, err := openProgram(in) // first: of an image as the program it says so
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := checkDistinct(out, in); err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var layout *fromelf.Layout
	p := u.progress("writing "+out, 0)
	defer p.end()
	err = writeFile(out, 0o666, func(w io.Writer) error {
		layout, err = fromelf.Convert(io.MultiWriter(w, p), f, fi.Size(), o)
		return err
	})
	return layout, programError(in, err)
}

// programError says of which program an error of fromelf is, and its hint.
func programError(path string, err error) error {
	var refused *fromelf.Error
	if !errors.As(err, &refused) {
		return err
	}
	err = fmt.Errorf("%s: %w", path, err)
	if refused.Hint != "" {
		err = withHint(err, "%s", refused.Hint)
	}
	return err
}

// openProgram opens what build converts and refuses what later versions may.
func openProgram(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	refuse := func(err error) (*os.File, error) {
		f.Close()
		return nil, err
	}
	const takes = "eos build takes WASM modules, an ELF program of the target x86_64-fortanix-unknown-sgx, or a Go package"
	if !fi.Mode().IsRegular() {
		return refuse(withHint(fmt.Errorf("%s is not a regular file", path), takes))
	}
	head := make([]byte, 16)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return refuse(err)
	}
	switch {
	case kindOf(head[:n]) == kindImage:
		return refuse(withHint(fmt.Errorf("%s is an enclave image already", path), "eos sign signs it, eos append adds to it"))
	case filepath.Ext(path) == ".toml":
		return refuse(withHint(fmt.Errorf("%s is a manifest, not a program", path), "eos build -m %s builds what it names", path))
	case slices.Contains([]string{".c", ".cc", ".cpp", ".rs", ".ts"}, filepath.Ext(path)):
		return refuse(withHint(fmt.Errorf("%s is source, not a program", path), "its compiler makes a WASM module of it: docs/wasm.md"))
	}
	return f, nil
}

// builtInfo is what build reports, in the shape of its JSON.
type builtInfo struct {
	Output        string           `json:"output"`
	Sized         bool             `json:"sized"`
	MREnclave     *sgx.Measurement `json:"mrenclave,omitempty"`
	Size          uint64           `json:"size,omitempty"` // ELRANGE
	SizeOffset    uint64           `json:"size_offset"`
	CommittedSize uint64           `json:"committed_size"`
	MeasuredSize  uint64           `json:"measured_size"`
	MemorySize    uint64           `json:"memory_size"` // where appended data starts
	HeapBase      uint64           `json:"heap_base"`
	HeapSize      uint64           `json:"heap_size"`
	StackSize     uint64           `json:"stack_size"`
	Threads       uint32           `json:"threads"`
	SSAFrameSize  uint32           `json:"ssaframesize"`
	Entry         uint64           `json:"entry"`
	Debug         bool             `json:"debug"`
	Library       bool             `json:"library"`
}

func newBuildInfo(out string, l *fromelf.Layout) builtInfo {
	b := builtInfo{
		Output: out, Sized: !l.Options.Unsized, Size: l.EnclaveSize, SizeOffset: l.SizeOffset, MemorySize: l.MemorySize,
		HeapBase: l.HeapBase, HeapSize: l.Options.HeapSize, StackSize: l.Options.StackSize, Threads: l.Options.Threads,
		SSAFrameSize: l.Options.SSAFrameSize, Entry: l.Entry, Debug: l.Options.Debug, Library: l.Options.Library,
	}
	if b.Sized {
		b.MREnclave = &l.MREnclave
	}
	for r := range l.Regions() {
		if r.Mapped {
			b.CommittedSize += r.Size
		}
		if r.Measured {
			b.MeasuredSize += r.Size
		}
	}
	return b
}

func printBuild(u *ui, out string, l *fromelf.Layout) error {
	b := newBuildInfo(out, l)
	mr, elrange := "none yet: eos append "+out+" fixes the size", "unsized"
	if b.Sized {
		mr, elrange = b.MREnclave.String(), humanSize(b.Size)
	}
	if err := u.facts("MRENCLAVE", mr,
		"image", out,
		"ELRANGE", fmt.Sprintf("%s, committed %s, measured %s", elrange, humanSize(b.CommittedSize), humanSize(b.MeasuredSize)),
		"entry", fmt.Sprintf("%#x", b.Entry)); err != nil {
		return err
	}
	u.printf("\n")
	w := u.table()
	fmt.Fprint(w, "start\tsize\tperm\tmeasured\twhat\n")
	for r := range l.Regions() {
		what := r.Kind.String()
		if r.Kind >= fromelf.RegionGuard {
			if r.Index > 0 {
				break // all are laid out alike, and the regions ascend
			}
			what += " of thread 0"
		}
		perm, measured := r.Flags.Perm(), "no"
		if !r.Mapped {
			perm, measured = "unmapped", ""
		} else if r.Measured {
			measured = "yes"
		}
		fmt.Fprintf(w, "%#x\t%s\t%s\t%s\t%s\n", r.Offset, humanSize(r.Size), perm, measured, what)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	switch n := l.Options.Threads; {
	case n == 2:
		return u.printf("thread 1 follows, laid out as thread 0\n")
	case n > 2:
		return u.printf("threads 1 to %d follow, laid out as thread 0\n", n-1)
	}
	return nil
}
