package edptool

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
)

var infoModes = []string{"list-all", "list-pages", "info", "summary", "dump-mem"}

var infoCommand = command{
	name:  "sgxs-info",
	about: "Parses SGXS files for further analysis",
	args: []arg{
		{name: "mode", required: true, oneOf: infoModes},
		{name: "file", required: true},
	},
}

// sgxsInfo is sgxs-info. All errors but those of usage are panics.
func sgxsInfo(args []string, _ io.Reader, stdout, stderr io.Writer) int {
	g, code, done := infoCommand.parse(args, stdout, stderr)
	if done {
		return code
	}
	out := bufio.NewWriterSize(stdout, 256<<10)
	err := infoFile(out, g.get("mode", ""), g.get("file", ""))
	if ferr := out.Flush(); err == nil {
		err = ferr
	}
	if err != nil {
		return panicked(stderr, "sgxs-info", unwrapped(streamError(err)))
	}
	return 0
}

func infoFile(out io.Writer, mode, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	switch mode {
	case "list-all":
		return infoRecords(out, sgxs.NewReader(f))
	case "list-pages":
		return infoPages(out, sgxs.NewLenientPageReader(f))
	case "dump-mem":
		return infoMemory(out, sgxs.NewLenientPageReader(f))
	}
	return infoSummary(out, sgxs.NewLenientPageReader(f))
}

// streamError puts an error of a stream in the words of the original's library,
// with ours behind them.
func streamError(err error) string {
	var text string
	var tag sgxs.TagError
	var no syscall.Errno
	switch {
	case errors.As(err, &no):
		msg := no.Error()
		return fmt.Sprintf("%s (os error %d)", strings.ToUpper(msg[:1])+msg[1:], int(no))
	case errors.Is(err, io.ErrUnexpectedEOF):
		text = "failed to fill whole buffer"
	case errors.As(err, &tag):
		text = fmt.Sprintf("An invalid measurement tag %016x was encountered.", uint64(tag))
	case errors.Is(err, sgxs.ErrNotCanonical):
		text = "The stream is not canonical."
	case errors.Is(err, sgxs.ErrUnsized):
		text = "An unsized stream was encountered but a sized stream was expected."
	default:
		return err.Error()
	}
	return text + "\n(" + err.Error() + ")"
}

// infoFlags returns SECINFO.FLAGS without the page type and unknown bits.
func infoFlags(f sgx.SecInfoFlags) string {
	var s []string
	for i, name := range []string{"R", "W", "X", "PENDING", "MODIFIED", "PR"} {
		if f>>i&1 != 0 {
			s = append(s, name)
		}
	}
	if s == nil {
		return "(empty)"
	}
	return strings.Join(s, " | ")
}

// infoData says what is in a chunk or page.
func infoData(b []byte) string {
	switch {
	case !bytes.Equal(b[1:], b[:len(b)-1]):
		return "(data)"
	case b[0] == 0:
		return "(empty)"
	}
	return fmt.Sprintf("[%#02x]*", b[0])
}

func infoMeasured(chunks uint16) string {
	switch chunks {
	case 0xffff:
		return "all"
	case 0:
		return "none"
	}
	return "partial"
}

func infoHeader(out io.Writer, r sgxs.Record) error {
	word, n := "size", r.Size
	if r.Kind == sgxs.KindUnsized {
		word, n = "offset", r.SizeOffset
	}
	_, err := fmt.Fprintf(out, "%v %s=%#x ssaframesize=%d\n", r.Kind, word, n, r.SSAFrameSize)
	return err
}

func infoRecords(out io.Writer, r *sgxs.Reader) error {
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch rec.Kind {
		case sgxs.KindECreate, sgxs.KindUnsized:
			err = infoHeader(out, rec)
		case sgxs.KindEAdd:
			_, err = fmt.Fprintf(out, "EADD offset=0x%8x pagetype=%d flags=%s\n", rec.Offset, uint8(rec.Flags.PageType()), infoFlags(rec.Flags))
		default:
			_, err = fmt.Fprintf(out, "%v offset=0x%8x data=%s\n", rec.Kind, rec.Offset, infoData(rec.Data))
		}
		if err != nil {
			return err
		}
	}
}

func infoPages(out io.Writer, r *sgxs.PageReader) error {
	head, err := r.Header()
	if err == nil {
		err = infoHeader(out, head)
	}
	for err == nil {
		var p *sgxs.Page
		if p, err = r.Next(); err == nil {
			_, err = fmt.Fprintf(out, "EADD offset=0x%8x pagetype=%-4d flags=%-9s data=%7s measured=%s\n",
				p.Offset, uint8(p.Flags.PageType()), infoFlags(p.Flags), infoData(p.Data), infoMeasured(p.Measured))
		}
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// infoMemory writes the image as it lies in memory up to the last page.
func infoMemory(out io.Writer, r *sgxs.PageReader) error {
	var end uint64
	for {
		p, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for gap := p.Offset - end; gap > 0; {
			n := min(gap, 1<<30)
			if _, err := io.CopyN(out, zeros{}, int64(n)); err != nil {
				return err
			}
			gap -= n
		}
		if _, err := out.Write(p.Data); err != nil {
			return err
		}
		end = p.Offset + sgx.PageSize
	}
}

// zeros is an endless file of zero bytes.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
