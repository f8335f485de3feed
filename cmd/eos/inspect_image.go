package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"strings"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"golang.org/x/term"
)

var le = binary.LittleEndian

func inspectImage(u *ui, path string, in io.Reader, f inspectFlags) error {
	var size int64
	if fi, err := os.Stat(path); err == nil && fi.Mode().IsRegular() {
		size = fi.Size()
	}
	p := u.progress("reading "+path, size)
	defer p.end()
	in = io.TeeReader(in, p)
	switch {
	case f.records:
		return where(path, listRecords(u, in, f.json))
	case f.pages:
		return where(path, listPages(u, in, f.json))
	case f.dump:
		return where(path, dumpMemory(u, in, f.output))
	case len(f.symbolize) > 0:
		return symbolizeImage(u, path, f.symbolize)
	}
	info, err := scanImage(in)
	p.end()
	if err != nil {
		return where(path, err)
	}
	var symbols []symbol
	if f.elf != "" {
		if symbols, err = biggestSymbols(f.elf); err != nil {
			return err
		}
	}
	d, err := describeGo(path)
	if err != nil {
		return where(path, err)
	}
	var program *goImage
	if d != nil {
		nameRegions(info, d)
		program = newGoImage(d)
	}
	apps, err := readApps(path)
	if err != nil {
		return where(path, err)
	}
	if f.json {
		return u.json(struct {
			*imageInfo
			Go      *goImage   `json:"go,omitempty"`
			Apps    *imageApps `json:"payload,omitempty"`
			Symbols []symbol   `json:"symbols,omitempty"`
		}{info, program, apps, symbols})
	}
	if d != nil {
		info = foldThreads(info, d)
	}
	if err := printImage(u, path, info); err != nil {
		return err
	}
	if apps != nil {
		if err := printImageApps(u, apps); err != nil {
			return err
		}
	}
	if program != nil {
		if err := printGoImage(u, program); err != nil {
			return err
		}
	}
	if f.elf != "" {
		return printSymbols(u, f.elf, symbols)
	}
	return nil
}

// where adds the file to an error of its content.
func where(path string, err error) error {
	if err == nil {
		return nil
	}
	return imageHint(path, fmt.Errorf("%s: %w", path, err))
}

// imageHint adds what to do about an image that cannot be read.
func imageHint(path string, err error) error {
	switch {
	case errors.Is(err, sgxs.ErrNotCanonical):
		return withHint(err, "eos takes only images that mean one thing; eos inspect --records shows the records")
	case errors.Is(err, sgxs.ErrUnsized):
		return withHint(err, "eos append %s fixes its size", path)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return withHint(err, "the file is cut short: build or copy it again")
	}
	return err
}

func printImage(u *ui, path string, info *imageInfo) error {
	u.printf("%s: enclave image\n", path)
	if err := u.facts(layoutFacts(info)...); err != nil {
		return err
	}
	u.printf("\n")
	if err := printRegions(u, info); err != nil {
		return err
	}
	if len(info.Threads) == 0 {
		return nil
	}
	w := u.table()
	fmt.Fprint(w, "\nTCS\toffset\tentry\tSSA\tframes\tFS base\tGS base\tflags\n")
	for i, t := range info.Threads {
		fmt.Fprintf(w, "%d\t%#x\t%#x\t%#x\t%d\t%#x\t%#x\t%#x\n", i, t.Offset, t.OEntry, t.OSSA, t.NSSA, t.FSBase, t.GSBase, t.Flags)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if info.MoreThreads > 0 {
		return u.printf("and %d more TCSs\n", info.MoreThreads)
	}
	return nil
}

// layoutFacts is the head of an image's description, also printed by build and
// append.
func layoutFacts(info *imageInfo) []string {
	var f []string
	elrange := "unsized"
	if info.Sized {
		f = append(f, "MRENCLAVE", info.MREnclave.String())
		elrange = humanSize(info.Size)
	} else {
		f = append(f, "MRENCLAVE", fmt.Sprintf("none yet: unsized, the size goes to offset %#x", info.SizeOffset))
	}
	sizes := fmt.Sprintf("%s, committed %s, measured %s", elrange, humanSize(info.CommittedSize), humanSize(info.MeasuredSize))
	if info.UnmeasuredSize > 0 {
		sizes += fmt.Sprintf(", loaded unmeasured %s", humanSize(info.UnmeasuredSize))
	}
	return append(f,
		"ELRANGE", sizes,
		"threads", fmt.Sprintf("%d, SSA frames of %d %s", uint64(len(info.Threads))+info.MoreThreads, info.SSAFrameSize, plural(uint64(info.SSAFrameSize), "page")))
}

func plural(n uint64, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

func printRegions(u *ui, info *imageInfo) error {
	w := u.table()
	fmt.Fprint(w, "start\tend\tsize\ttype\tperm\tmeasured\tcontent\t\n")
	var end uint64
	gap := func(to uint64) {
		if to > end {
			fmt.Fprintf(w, "%#x\t%#x\t%s\tnothing\t\t\t\t\n", end, to-1, humanSize(to-end))
		}
	}
	for _, r := range info.Regions {
		gap(r.Offset)
		fmt.Fprintf(w, "%#x\t%#x\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Offset, r.Offset+r.Size-1, humanSize(r.Size), r.Type, r.Perm, r.Measured, r.Content, r.Note)
		end = r.Offset + r.Size
	}
	if info.Sized && info.MorePages == 0 {
		gap(info.Size)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if info.MorePages > 0 {
		return u.printf("and more: %d pages; --pages lists them\n", info.MorePages)
	}
	return nil
}

// jsonList streams a list, so that it may be longer than memory.
type jsonList struct {
	u *ui
	n int
}

func (l *jsonList) add(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	sep := ",\n  "
	if l.n == 0 {
		sep = "[\n  "
	}
	l.n++
	return l.u.printf("%s%s", sep, b)
}

func (l *jsonList) end() error {
	if l.n == 0 {
		return l.u.printf("[]\n")
	}
	return l.u.printf("\n]\n")
}

type recordInfo struct {
	Pos          int64   `json:"pos"` // in the file
	Kind         string  `json:"kind"`
	Offset       *uint64 `json:"offset,omitempty"`
	Type         string  `json:"type,omitempty"`
	Perm         string  `json:"perm,omitempty"`
	Size         *uint64 `json:"size,omitempty"`
	SizeOffset   *uint64 `json:"size_offset,omitempty"`
	SSAFrameSize *uint32 `json:"ssaframesize,omitempty"`
	Content      string  `json:"content,omitempty"`
}

// listRecords lists the records as they are: the image need not be canonical.
func listRecords(u *ui, in io.Reader, asJSON bool) error {
	out := u.buffered()
	list := jsonList{u: out.ui}
	r := sgxs.NewReader(in)
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errors.Join(out.Flush(), err)
		}
		content := ""
		if rec.Data != nil {
			content = chunkWord(rec.Data)
		}
		if !asJSON {
			err = out.ui.printf("%10d  %s\n", r.Pos(), strings.TrimRight(rec.String()+"  "+content, " "))
		} else {
			err = list.add(newRecordInfo(r.Pos(), rec, content))
		}
		if err != nil {
			return err
		}
	}
	if asJSON {
		if err := list.end(); err != nil {
			return err
		}
	}
	return out.Flush()
}

func newRecordInfo(pos int64, rec sgxs.Record, content string) recordInfo {
	i := recordInfo{Pos: pos, Kind: rec.Kind.String(), Content: content}
	switch rec.Kind {
	case sgxs.KindECreate:
		i.Size, i.SSAFrameSize = &rec.Size, &rec.SSAFrameSize
	case sgxs.KindUnsized:
		i.SizeOffset, i.SSAFrameSize = &rec.SizeOffset, &rec.SSAFrameSize
	case sgxs.KindEAdd:
		i.Offset, i.Type, i.Perm = &rec.Offset, rec.Flags.PageType().String(), rec.Flags.Perm()
	default:
		i.Offset = &rec.Offset
	}
	return i
}

// chunkWord says what is in a chunk: "zero", "[0x90]*" or its first bytes.
func chunkWord(b []byte) string {
	for _, c := range b {
		if c != b[0] {
			return fmt.Sprintf("%x...", b[:8])
		}
	}
	if b[0] == 0 {
		return "zero"
	}
	return fmt.Sprintf("[%#02x]*", b[0])
}

type pageInfo struct {
	Offset   uint64 `json:"offset"`
	Type     string `json:"type"`
	Perm     string `json:"perm"`
	Measured uint16 `json:"measured"` // mask of chunks, bit 0 is the first
	Loaded   uint16 `json:"loaded"`
	Content  string `json:"content"`
}

func listPages(u *ui, in io.Reader, asJSON bool) error {
	out := u.buffered()
	list := jsonList{u: out.ui}
	pages := sgxs.NewPageReader(in)
	for {
		p, err := pages.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errors.Join(out.Flush(), err)
		}
		if asJSON {
			err = list.add(pageInfo{p.Offset, p.Flags.PageType().String(), p.Flags.Perm(), p.Measured, p.Present, contentWord(p)})
		} else {
			measured := measuredWord(p)
			if measured == "part" {
				measured = fmt.Sprintf("%d/16", bits.OnesCount16(p.Measured))
			}
			err = out.ui.printf("0x%08x  %s  measured %-5s  %s\n", p.Offset, p.Flags, measured, contentWord(p))
		}
		if err != nil {
			return err
		}
	}
	if asJSON {
		if err := list.end(); err != nil {
			return err
		}
	}
	return out.Flush()
}

// maxHole bounds what dumpMemory writes as zeros in one go.
const maxHole = 1 << 40

// dumpMemory writes the memory up to the end of the last page.
func dumpMemory(u *ui, in io.Reader, output string) error {
	if output != "" {
		return writeFile(output, 0o666, func(w io.Writer) error { return writeMemory(w, in) })
	}
	if f, ok := u.stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return withHint(usagef("--dump does not write memory to a terminal"), "name a file with -o, or use a pipe")
	}
	out := u.buffered()
	return errors.Join(writeMemory(out, in), out.Flush())
}

func writeMemory(w io.Writer, in io.Reader) error {
	pages := sgxs.NewPageReader(in)
	var end uint64
	for {
		p, err := pages.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if p.Offset-end > maxHole {
			return fmt.Errorf("the hole of %s before %#x is too big to write", humanSize(p.Offset-end), p.Offset)
		}
		for ; end < p.Offset; end += sgx.PageSize {
			if _, err := w.Write(zeroPage[:]); err != nil {
				return err
			}
		}
		if _, err := w.Write(p.Data); err != nil {
			return err
		}
		end += sgx.PageSize
	}
}
