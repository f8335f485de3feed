package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/enclaveos/eos/pkg/sgxs/fromgo"
	"github.com/enclaveos/eos/pkg/wall"
)

// goImage is what inspect tells of the image of a Go program.
type goImage struct {
	Build       *fromgo.Info `json:"build"`
	Environment []string     `json:"environment"`
	Debug       bool         `json:"debug"`
	Symbols     []symbol     `json:"symbols"` // the biggest functions
}

// describeGo reads the image at path if it is one of a Go program. It returns
// nil for others, and for what is no regular file.
func describeGo(path string) (*fromgo.Description, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil, err
	}
	d, err := fromgo.Describe(bufio.NewReaderSize(f, 1<<20))
	if errors.Is(err, fromgo.ErrNotGo) {
		return nil, nil
	}
	return d, err
}

func newGoImage(d *fromgo.Description) *goImage {
	g := &goImage{Build: d.Info, Environment: []string{}, Debug: d.Info.Debug, Symbols: []symbol{}}
	for _, kv := range d.Env {
		g.Environment = append(g.Environment, oneLine(kv))
	}
	for _, f := range d.Biggest(topSymbols) {
		g.Symbols = append(g.Symbols, symbol{oneLine(f.Name), f.Addr - d.Boot.Base, f.Size, ".text"})
	}
	return g
}

// nameRegions labels the regions by what the boot page says of them.
func nameRegions(info *imageInfo, d *fromgo.Description) {
	for i := range info.Regions {
		r := &info.Regions[i]
		r.Note = d.RegionName(r.Offset, r.flags)
	}
}

// foldThreads returns info with one region for all threads but the first.
func foldThreads(info *imageInfo, d *fromgo.Description) *imageInfo {
	b := d.Boot
	lo, hi := b.Blocks-b.Base+wall.BlockSize, b.Blocks-b.Base+b.Threads*wall.BlockSize
	if lo == hi {
		return info
	}
	folded := *info
	folded.Regions = nil
	for _, r := range info.Regions {
		switch {
		case r.Offset < lo || r.Offset >= hi:
			folded.Regions = append(folded.Regions, r)
		case r.Offset == lo:
			note := fmt.Sprintf("threads 1 to %d, laid out as thread 0", b.Threads-1)
			folded.Regions = append(folded.Regions, region{Offset: lo, Size: hi - lo, Note: note})
		}
	}
	return &folded
}

func printGoImage(u *ui, g *goImage) error {
	b := g.Build
	facts := []string{"program", fmt.Sprintf("%s, %s, eos ABI %d", oneLine(b.Package), oneLine(b.Go), b.ABI)}
	facts = append(facts, "memory", fmt.Sprintf("heap %s, code area %s, %d threads for the program", humanSize(b.HeapSize), humanSize(b.CodeSize), b.Threads))
	debug := "no: a crash tells the host addresses only (inspect --symbolize)"
	if g.Debug {
		debug = "yes: a crash tells the host everything"
	}
	facts = append(facts, "debug", debug)
	for _, kv := range g.Environment {
		facts = append(facts, "environment", kv)
	}
	if b.Module != nil {
		facts = append(facts, "module", moduleText(b.Module))
	}
	for i := range b.Deps {
		facts = append(facts, "", moduleText(&b.Deps[i]))
	}
	u.printf("\n")
	if err := u.facts(facts...); err != nil {
		return err
	}
	if len(g.Symbols) == 0 {
		return nil
	}
	u.printf("\nbiggest functions\n")
	w := u.table()
	for _, s := range g.Symbols {
		fmt.Fprintf(w, "%s\t%#x\t%s\n", humanSize(s.Size), s.Offset, s.Name)
	}
	return w.Flush()
}

func moduleText(m *fromgo.Module) string {
	text := strings.Join(strings.Fields(oneLine(m.Path+" "+m.Version+" "+m.Sum)), " ")
	if m.Replace != nil {
		text += " => " + moduleText(m.Replace)
	}
	return text
}

// address finds what may be addresses in text.
var address = regexp.MustCompile(`\b0x[0-9a-fA-F]{1,16}\b`)

// symbolizeImage names the addresses given on the command line, or, for "-",
// those in the text on stdin.
func symbolizeImage(u *ui, path string, addrs []string) error {
	d, err := describeGo(path)
	if err != nil {
		return where(path, err)
	}
	if d == nil {
		return withHint(fmt.Errorf("%s is not the image of a Go program", path), "eos run names addresses of other programs if APP.elf lies beside the image")
	}
	for _, a := range addrs {
		if a == "-" {
			if err := symbolizeText(u, d); err != nil {
				return err
			}
			continue
		}
		n, err := strconv.ParseUint(a, 0, 64)
		if err != nil {
			return usagef("--symbolize: %q is not an address", a)
		}
		name := oneLine(symbolName(d, n))
		if name == "" {
			name = "not in the program's code"
		}
		if err := u.printf("%#x %s\n", n, name); err != nil {
			return err
		}
	}
	return nil
}

// symbolName takes an address or an offset in the image.
func symbolName(d *fromgo.Description, n uint64) string {
	if n < d.Boot.Base {
		n += d.Boot.Base
	}
	return d.Symbolize(n)
}

func symbolizeText(u *ui, d *fromgo.Description) error {
	lines := bufio.NewScanner(u.stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text := address.ReplaceAllStringFunc(lines.Text(), func(a string) string {
			n, err := strconv.ParseUint(a, 0, 64)
			name := d.Symbolize(n)
			if err != nil || name == "" {
				return a
			}
			return a + " (" + oneLine(name) + ")"
		})
		if err := u.printf("%s\n", text); err != nil {
			return err
		}
	}
	return lines.Err()
}
