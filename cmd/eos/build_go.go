package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs/fromgo"
	"github.com/spf13/cobra"
)

// goFlags are the flags of build that are for Go programs.
type goFlags struct {
	code    sizeFlag
	env     []string
	elf     string
	tags    string
	ldflags string
}

func (g *goFlags) add(cmd *cobra.Command) {
	g.addMemory(cmd)
	g.addCompile(cmd)
	cmd.Flags().StringVar(&g.elf, "elf", "", "Go: also write the linked program with its symbols, for inspect --elf")
}

func (g *goFlags) addMemory(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.Var(&g.code, "code-size", "Go, WASM: memory that can be written and executed, for compilers inside")
	fl.StringArrayVarP(&g.env, "env", "e", nil, "Go, WASM: a `KEY=VALUE` of the program's environment; repeat it for more")
}

// addCompile adds flags that go build has as well.
func (g *goFlags) addCompile(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&g.tags, "tags", "", "Go: build tags, separated by commas (`TAG,...`), as go build takes them")
	fl.StringVar(&g.ldflags, "ldflags", "", "Go: '`-X PACKAGE.NAME=VALUE`' sets a string variable, as go build does")
}

// set puts the flags into o.
func (g *goFlags) set(o *fromgo.Options) {
	o.CodeSize, o.Env, o.Tags, o.LDFlags = uint64(g.code), g.env, g.tags, g.ldflags
}

// Flags that are for one kind of program only.
var (
	goOnly      = append([]string{"code-size", "env", "elf"}, compileOnly...)
	compileOnly = []string{"tags", "ldflags"}
	elfOnly     = []string{"stack-size", "ssaframesize", "library"}
)

// refuseFlags refuses flags that have been given but do nothing for this kind
// of program.
func refuseFlags(cmd *cobra.Command, names []string, kind string) error {
	for _, n := range names {
		if cmd.Flags().Changed(n) {
			return usagef("--%s is not for %s", n, kind)
		}
	}
	return nil
}

// isGoPackage tells a Go package from the path of a program: a directory, Go
// source, or an import path.
func isGoPackage(arg string) bool {
	fi, err := os.Stat(arg)
	switch {
	case err == nil:
		return fi.IsDir() || filepath.Ext(arg) == ".go"
	case !errors.Is(err, fs.ErrNotExist) || filepath.IsAbs(arg):
		return false
	}
	return filepath.Ext(arg) == ".go" || strings.Contains(arg, "...") || !strings.HasPrefix(arg, ".") && strings.Contains(arg, "/") && (filepath.Ext(path.Base(arg)) == "" || strings.Contains(arg, "@"))
}

// goImageName is where the image of a Go package goes: to the working
// directory, with the name that go build would give the program.
func goImageName(arg string) (string, error) {
	name := path.Base(filepath.ToSlash(arg))
	if fi, err := os.Stat(arg); err == nil && fi.IsDir() {
		abs, err := filepath.Abs(arg)
		if err != nil {
			return "", err
		}
		name = filepath.Base(abs)
	}
	return name + ".sgxs", nil
}

// buildGo builds the Go package arg.
func buildGo(cmd *cobra.Command, u *ui, arg, out string, o fromgo.Options, g *goFlags, asJSON bool) error {
	if err := refuseFlags(cmd, elfOnly, "Go programs"); err != nil {
		return err
	}
	o.Package = arg
	g.set(&o)
	if !cmd.Flags().Changed("heap-size") {
		o.HeapSize = fromgo.DefaultHeapSize
	}
	if !cmd.Flags().Changed("threads") {
		o.Threads = fromgo.DefaultThreads
	}
	var err error
	if out == "" {
		if out, err = goImageName(arg); err != nil {
			return err
		}
	}
	img, err := makeGoImage(out, g.elf, func(ctx context.Context) (*fromgo.Built, error) { return fromgo.Prepare(ctx, o) })
	if err != nil {
		return goError(u, err)
	}
	if asJSON {
		return u.json(newGoBuilt(out, img))
	}
	return printGoBuilt(u, out, img)
}

// makeGoImage writes the image, and the program if elf is not empty. The go
// command and all temporary files end with an interrupt.
func makeGoImage(out, elf string, prepare func(context.Context) (*fromgo.Built, error)) (img *fromgo.Image, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b, err := prepare(ctx)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	stop()
	write := func() error {
		return writeFile(out, 0o666, func(w io.Writer) error {
			img, err = b.Write(w)
			return err
		})
	}
	if elf == "" {
		return img, write()
	}
	if err := checkDistinct(elf, out); err != nil {
		return nil, err
	}
	err = writeFile(elf, 0o777, func(w io.Writer) error {
		if _, err := b.WriteTo(w); err != nil {
			return err
		}
		return write()
	})
	return img, err
}

// goError shows what the go command said as it said it, and takes the hint of a
// refusal.
func goError(u *ui, err error) error {
	var tool *fromgo.GoError
	var refused *fromgo.Error
	switch {
	case errors.Is(err, context.Canceled):
		return exitStatus(signalStatus(os.Interrupt))
	case errors.As(err, &tool) && strings.Count(strings.TrimSpace(tool.Output), "\n") > 0:
		fmt.Fprint(u.stderr, tool.Output)
		return fmt.Errorf("go %s: %w", tool.Args[0], tool.Err)
	case errors.As(err, &tool) && strings.Contains(tool.Output, "go.mod file not found"):
		return withHint(err, "go mod init NAME makes a module of a directory")
	case errors.As(err, &refused) && refused.Hint != "":
		return withHint(err, "%s", refused.Hint)
	}
	return err
}

// goBuilt is what build reports of a Go program, in the shape of its JSON.
type goBuilt struct {
	Output        string           `json:"output"`
	Sized         bool             `json:"sized"`
	MREnclave     *sgx.Measurement `json:"mrenclave,omitempty"`
	Size          uint64           `json:"size,omitempty"` // ELRANGE
	CommittedSize uint64           `json:"committed_size"`
	MeasuredSize  uint64           `json:"measured_size"`
	HeapBase      uint64           `json:"heap_base"`
	HeapSize      uint64           `json:"heap_size"`
	CodeSize      uint64           `json:"code_size"`
	Threads       uint64           `json:"threads"`
	Entry         uint64           `json:"entry"`
	Build         *fromgo.Info     `json:"build"`
}

func newGoBuilt(out string, img *fromgo.Image) goBuilt {
	l := img.Layout
	b := goBuilt{
		Output: out, Sized: l.Size != 0, Size: l.Size, HeapBase: l.Boot.HeapLo - l.Boot.Base, HeapSize: l.Boot.HeapEnd - l.Boot.HeapLo,
		CodeSize: l.Boot.CodeHi - l.Boot.CodeLo, Threads: uint64(img.Info.Threads), Entry: l.Boot.Entry - l.Boot.Base, Build: img.Info,
	}
	if b.Sized {
		b.MREnclave = &img.MREnclave
	}
	for i := range l.Regions {
		r := &l.Regions[i]
		b.CommittedSize += r.Size
		if r.Measured {
			b.MeasuredSize += r.Size
		}
	}
	return b
}

func printGoBuilt(u *ui, out string, img *fromgo.Image) error {
	b := newGoBuilt(out, img)
	mr, elrange := "none yet: eos append "+out+" fixes the size", "unsized"
	if b.Sized {
		mr, elrange = b.MREnclave.String(), humanSize(b.Size)
	}
	if err := u.facts("MRENCLAVE", mr,
		"image", out,
		"program", fmt.Sprintf("%s, %s", img.Info.Package, img.Info.Go),
		"ELRANGE", fmt.Sprintf("%s, committed %s, measured %s", elrange, humanSize(b.CommittedSize), humanSize(b.MeasuredSize)),
		"threads", fmt.Sprint(b.Threads)); err != nil {
		return err
	}
	u.printf("\n")
	w := u.table()
	fmt.Fprint(w, "start\tsize\tperm\tmeasured\twhat\n")
	threads := 0
	for i := range img.Layout.Regions {
		r := &img.Layout.Regions[i]
		if r.Kind == fromgo.RegionTCS {
			threads++
		}
		what := r.Kind.String()
		if r.Kind.OfThread() {
			if threads > 1 {
				continue // all blocks are alike
			}
			what += " of thread 0"
		}
		measured := "no"
		if r.Measured {
			measured = "yes"
		}
		fmt.Fprintf(w, "%#x\t%s\t%s\t%s\t%s\n", r.Offset, humanSize(r.Size), r.Flags.Perm(), measured, what)
	}
	return w.Flush()
}
