package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"

	"github.com/enclaveos/eos/pkg/sgxs/fromelf"
)

// edpNote is the section by which a program of the EDP target is known.
const edpNote = ".note.x86_64-fortanix-unknown-sgx"

type elfInfo struct {
	Kind     string       `json:"kind"` // "elf"
	Class    string       `json:"class"`
	Machine  string       `json:"machine"`
	Type     string       `json:"type"`
	EDP      bool         `json:"edp"` // made for x86_64-fortanix-unknown-sgx
	SGXEntry *uint64      `json:"sgx_entry,omitempty"`
	Segments []elfSegment `json:"segments"`
	Symbols  []symbol     `json:"symbols"`
}

type elfSegment struct {
	Offset   uint64 `json:"offset"` // virtual address
	FileSize uint64 `json:"file_size"`
	MemSize  uint64 `json:"memory_size"`
	Perm     string `json:"perm"`
}

// symbol is a function or an object of a program.
type symbol struct {
	Name    string `json:"name"`
	Offset  uint64 `json:"offset"`
	Size    uint64 `json:"size"`
	Section string `json:"section"`
}

// topSymbols is how many of the biggest symbols are shown.
const topSymbols = 20

func openELF(path string) (*elf.File, error) {
	f, err := elf.Open(path)
	var format *elf.FormatError
	if errors.As(err, &format) {
		return nil, withHint(fmt.Errorf("%s is not a readable ELF file: %w", path, err), "the file is damaged or cut short; build it again")
	}
	return f, err
}

// biggestSymbols returns the biggest symbols of the program at path.
func biggestSymbols(path string) ([]symbol, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := fromelf.Open(f)
	if err != nil {
		return nil, programError(path, err)
	}
	out := []symbol{}
	for _, s := range z.Biggest(topSymbols) {
		out = append(out, symbol{oneLine(s.Name), s.Addr, s.Size, oneLine(s.Section)})
	}
	return out, nil
}

func printSymbols(u *ui, path string, symbols []symbol) error {
	if len(symbols) == 0 {
		return u.printf("\n%s has no symbols with a size\n", path)
	}
	u.printf("\nbiggest symbols of %s\n", path)
	w := u.table()
	for _, s := range symbols {
		fmt.Fprintf(w, "%s\t%#x\t%s\t%s\n", humanSize(s.Size), s.Offset, s.Section, s.Name)
	}
	return w.Flush()
}

func inspectELF(u *ui, path string, asJSON bool) error {
	f, err := openELF(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info := elfInfo{
		Kind: "elf", Class: f.Class.String(), Machine: f.Machine.String(), Type: f.Type.String(),
		EDP: f.Section(edpNote) != nil, Segments: []elfSegment{}, Symbols: []symbol{},
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			info.Segments = append(info.Segments, elfSegment{p.Vaddr, p.Filesz, p.Memsz, elfPerm(p.Flags)})
		}
	}
	if dyn, err := f.DynamicSymbols(); err == nil {
		for _, s := range dyn {
			if s.Name == "sgx_entry" {
				info.SGXEntry = &s.Value
			}
		}
	}
	if info.Symbols, err = biggestSymbols(path); err != nil {
		return err
	}
	if asJSON {
		return u.json(info)
	}

	u.printf("%s: ELF program\n", path)
	target := "not of x86_64-fortanix-unknown-sgx: eos build will refuse it"
	if info.EDP {
		target = "x86_64-fortanix-unknown-sgx: eos build takes it"
	}
	entry := "no symbol sgx_entry"
	if info.SGXEntry != nil {
		entry = fmt.Sprintf("sgx_entry at %#x", *info.SGXEntry)
	}
	if err := u.facts("format", info.Class+" "+info.Machine+" "+info.Type, "target", target, "entry", entry); err != nil {
		return err
	}
	w := u.table()
	fmt.Fprint(w, "\nsegment\tperm\tin file\tin memory\n")
	for _, s := range info.Segments {
		fmt.Fprintf(w, "%#x\t%s\t%s\t%s\n", s.Offset, s.Perm, humanSize(s.FileSize), humanSize(s.MemSize))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return printSymbols(u, path, info.Symbols)
}

func elfPerm(f elf.ProgFlag) string {
	b := []byte("---")
	for i, bit := range []elf.ProgFlag{elf.PF_R, elf.PF_W, elf.PF_X} {
		if f&bit != 0 {
			b[i] = "rwx"[i]
		}
	}
	return string(b)
}
