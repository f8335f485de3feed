package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/enclaveos/eos/pkg/sgxs/diff"
	"github.com/spf13/cobra"
)

func diffCmd(u *ui) *cobra.Command {
	var (
		asJSON     bool
		elfA, elfB string
	)
	cmd := &cobra.Command{
		Use:   "diff [--elf-a A.elf] [--elf-b B.elf] [--json] A.sgxs B.sgxs",
		Short: "say why two images measure differently",
		Long: `Compare two images record by record: the first difference, with page, chunk and
field, and a summary by region. With the ELF programs that they were built from
it names sections and symbols too.

The exit status is 0 if both have the same measurement and 1 if they differ. An
error is 1 as well, with a word on stderr and nothing on stdout.`,
		Args: positional(2, "A.sgxs", "B.sgxs"),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := diffImages(u, args[0], args[1], elfA, elfB)
			if err != nil {
				return err
			}
			if asJSON {
				err = u.json(r)
			} else {
				err = printDiff(u, args[0], args[1], r)
			}
			if err == nil && !r.Same {
				err = exitStatus(1)
			}
			return err
		},
		ValidArgsFunction: completeFiles("sgxs", "sgxs"),
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().StringVar(&elfA, "elf-a", "", "the ELF program of A, `A.elf`")
	cmd.Flags().StringVar(&elfB, "elf-b", "", "the ELF program of B, `B.elf`")
	completeFlagFiles(cmd, "elf-a", "elf")
	completeFlagFiles(cmd, "elf-b", "elf")
	return cmd
}

func diffImages(u *ui, a, b, elfA, elfB string) (*diff.Result, error) {
	var images [2]diff.Image
	var total int64
	for i, path := range []string{a, b} {
		if err := checkImage(path); err != nil {
			return nil, err
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if fi, err := f.Stat(); err == nil {
			total += fi.Size()
		}
		images[i] = diff.Image{Name: path, Stream: f}
	}
	for i, path := range []string{elfA, elfB} {
		if path == "" {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		images[i].Symbols, err = diff.ReadSymbols(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	p := u.progress("comparing", total)
	defer p.end()
	for i := range images {
		images[i].Stream = io.TeeReader(images[i].Stream, p)
	}
	r, err := diff.Images(images[0], images[1])
	return r, imageHint("", err)
}

func printDiff(u *ui, a, b string, r *diff.Result) error {
	if r.Same {
		text := "both measure the same"
		if r.A.MREnclave != nil {
			text += ": MRENCLAVE " + r.A.MREnclave.String()
		}
		u.printf("%s\n", text)
		if r.UnmeasuredPages == 0 {
			return nil
		}
		differ := "pages differ"
		if r.UnmeasuredPages == 1 {
			differ = "page differs"
		}
		u.printf("%d %s in what is loaded unmeasured\n\n", r.UnmeasuredPages, differ)
		return printDiffRegions(u, r)
	}
	if err := u.facts("A", a+"  "+sideWords(r.A), "B", b+"  "+sideWords(r.B)); err != nil {
		return err
	}
	if r.First != nil {
		u.printf("\n")
		if err := printFirst(u, r.First); err != nil {
			return err
		}
	}
	u.printf("\n")
	if err := printDiffRegions(u, r); err != nil {
		return err
	}
	return printDiffSymbols(u, r)
}

func sideWords(s diff.Side) string {
	if s.MREnclave == nil {
		return "unsized"
	}
	return s.MREnclave.String()
}

func printFirst(u *ui, d *diff.Difference) error {
	at := func(p diff.At) string {
		if p.Record == 0 {
			return "the end"
		}
		return fmt.Sprintf("record %d at %#x", p.Record, p.Pos)
	}
	facts := []string{"first difference", d.Field}
	if d.Field != diff.FieldSize && d.Field != diff.FieldSSAFrameSize && d.Field != diff.FieldSizeOffset {
		place := fmt.Sprintf("page %#x", d.Page)
		if d.Chunk != d.Page || d.Field == diff.FieldData {
			place += fmt.Sprintf(", chunk %#x", d.Chunk)
		}
		if d.Field == diff.FieldData {
			place += fmt.Sprintf(", byte %#x", d.Addr)
		}
		facts = append(facts, "where", place)
	}
	facts = append(facts, "in A", d.A+"  ("+at(d.AtA)+")"+placeWords(d.PlaceA), "in B", d.B+"  ("+at(d.AtB)+")"+placeWords(d.PlaceB))
	return u.facts(facts...)
}

func placeWords(p *diff.Place) string {
	if p == nil {
		return ""
	}
	return ", " + oneLine(p.String())
}

func printDiffRegions(u *ui, r *diff.Result) error {
	w := u.table()
	fmt.Fprint(w, "start\tend\tA\tB\tdifference\tsections\n")
	for _, g := range r.Regions {
		var what []string
		if g.Changed > 0 {
			text := fmt.Sprintf("%d of %d pages", g.Changed, g.Pages)
			if g.Bytes > 0 {
				text += fmt.Sprintf(", %d %s", g.Bytes, plural(g.Bytes, "byte"))
			}
			what = append(what, text)
		}
		if g.Unmeasured > 0 {
			what = append(what, fmt.Sprintf("%d pages, unmeasured", g.Unmeasured))
		}
		if what == nil {
			what = []string{"same"}
		}
		fmt.Fprintf(w, "%#x\t%#x\t%s\t%s\t%s\t%s\n", g.Start, g.End()-1, mappingWords(g.A), mappingWords(g.B),
			strings.Join(what, "; "), oneLine(strings.Join(g.Sections, " ")))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if r.MoreRegions > 0 {
		return u.printf("and %d more regions\n", r.MoreRegions)
	}
	return nil
}

func mappingWords(m *diff.Mapping) string {
	if m == nil {
		return "-"
	}
	return m.Words + ", measured " + m.Measured
}

func printDiffSymbols(u *ui, r *diff.Result) error {
	if len(r.Symbols) == 0 {
		return nil
	}
	w := u.table()
	fmt.Fprint(w, "\nfirst byte\tbytes\tsymbol\n")
	for _, s := range r.Symbols {
		fmt.Fprintf(w, "%#x\t%d\t%s\n", s.Addr, s.Bytes, oneLine(s.Place.String()))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if r.MoreSymbols {
		return u.printf("and more symbols\n")
	}
	return nil
}
