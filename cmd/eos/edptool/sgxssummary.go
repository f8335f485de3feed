package edptool

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
)

// infoClass is what pages that share a line have in common.
type infoClass struct {
	flags    sgx.SecInfoFlags
	measured uint16
	data     string
	tcs      string
	gap      bool
}

func newInfoClass(p *sgxs.Page) infoClass {
	c := infoClass{flags: p.Flags, measured: p.Measured, data: infoData(p.Data)}
	if p.Flags.PageType() == sgx.PageTCS {
		// Not sgx.ParseTCS: the fields are shown whatever the page holds.
		le := binary.LittleEndian
		c.tcs = fmt.Sprintf(" [oentry=%#x, ossa=%#x, nssa=%d]", le.Uint64(p.Data[32:]), le.Uint64(p.Data[16:]), le.Uint32(p.Data[28:]))
	}
	return c
}

var infoTypes = [...]string{"Secs", "Tcs", "Reg", "Va", "Trim"}

// String is what the line says; the page type must be known.
func (c infoClass) String() string {
	if c.gap {
		return "(unmapped)"
	}
	return fmt.Sprintf("%-4s %s %7s meas=%s%s", infoTypes[c.flags.PageType()], c.flags.Perm(), c.data, infoMeasured(c.measured), c.tcs)
}

// infoRun is a run of pages, or of page addresses without a page.
type infoRun struct {
	start, end uint64 // end is that of the last page, inclusive
	class      infoClass
}

// infoSummary prints one line for each run of equal pages.
func infoSummary(out io.Writer, r *sgxs.PageReader) error {
	head, err := r.Header()
	if err != nil {
		return err
	}
	next := func() (run infoRun, ok bool, err error) {
		p, err := r.Next()
		if err == io.EOF {
			return run, false, nil
		}
		if err != nil {
			return run, false, err
		}
		return infoRun{p.Offset, p.Offset + sgx.PageSize - 1, newInfoClass(p)}, true, nil
	}
	page, more, err := next()
	if err != nil {
		return err
	}
	width := 8
	if head.Kind == sgxs.KindUnsized {
		if _, err := fmt.Fprintln(out, "(unsized)"); err != nil {
			return err
		}
	} else {
		width = len(fmt.Sprintf("%x", head.Size-1))
	}

	var line infoRun
	begun := false
	add := func(run infoRun) (err error) {
		if begun && line.class == run.class {
			line.end = run.end
			return nil
		}
		if t := line.class.flags.PageType(); int(t) >= len(infoTypes) {
			return fmt.Errorf("page at %#x has the unknown type %d", line.start, uint8(t))
		}
		if begun {
			_, err = fmt.Fprintf(out, "%*x-%*x %v\n", width, line.start, width, line.end, line.class)
		}
		line, begun = run, true
		return err
	}
	var at uint64 // where the next run starts
	gap := func(to uint64) error {
		if at >= to {
			return nil
		}
		return add(infoRun{at, (to-1)&^(sgx.PageSize-1) + sgx.PageSize - 1, infoClass{gap: true}})
	}
	for more {
		if err := gap(page.start); err != nil {
			return err
		}
		// The page counts only when the one after it has been read: an error
		// there keeps the line before from being printed.
		after, ok, err := next()
		if err != nil {
			return err
		}
		if err := add(page); err != nil {
			return err
		}
		at = page.end + 1
		page, more = after, ok
	}
	size := head.Size
	if head.Kind == sgxs.KindUnsized {
		size = sgxs.SizeFitNatural(at)
	}
	if err := gap(size); err != nil {
		return err
	}
	return add(infoRun{}) // prints the last line
}
