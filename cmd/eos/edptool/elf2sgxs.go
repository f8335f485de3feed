package edptool

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/enclaveos/eos/pkg/sgxs/fromelf"
)

// elf2sgxsName is the tool that turns an ELF into an image.
const elf2sgxsName = "ftxsgx-elf2sgxs"

var elf2sgxsCommand = command{
	name:    elf2sgxsName,
	version: "0.6.3", // of the tools that this one takes the place of
	unified: true,
	about:   "Convert an x86_64-fortanix-unknown-sgx ELF binary to SGXS",
	args: []arg{
		{name: "elf", required: true, help: "Path to the ELF binary to be converted"},
		{name: "heap-size", short: 'H', long: "heap-size", value: "BYTES", required: true, check: checkRange(64),
			help: "Specify heap size"},
		{name: "stack-size", short: 'S', long: "stack-size", value: "BYTES", required: true, check: checkRange(64),
			help: "Specify stack size"},
		{name: "threads", short: 't', long: "threads", value: "N", initial: "1", check: checkRange(64),
			help: "Specify the number of threads"},
		{name: "ssaframesize", long: "ssaframesize", value: "PAGES", initial: "1", check: checkRange(32),
			help: "Specify SSAFRAMESIZE"},
		{name: "debug", short: 'd', long: "debug", help: "Set enclave debug mode"},
		{name: "library", long: "library", help: "This is a library enclave (experimental)"},
		{name: "unsized", long: "unsized", help: "Output an unsized enclave, for use with sgxs-append"},
		{name: "output", short: 'o', long: "output", value: "FILE", help: "Specify output file"},
	},
}

// elf2sgxs is ftxsgx-elf2sgxs. Its errors go to stdout.
func elf2sgxs(args []string, _ io.Reader, stdout, stderr io.Writer) int {
	g, code, done := elf2sgxsCommand.parse(args, stdout, stderr)
	if done {
		return code
	}
	number := func(name string) uint64 {
		n, _ := parseNumber(g.get(name, ""), 64) // checked by parse
		return n
	}
	o := fromelf.Options{
		HeapSize: number("heap-size"), StackSize: number("stack-size"), SSAFrameSize: uint32(number("ssaframesize")),
		Debug: g.has("debug"), Library: g.has("library"), Unsized: g.has("unsized"),
	}
	if o.Library {
		fmt.Fprintln(stdout, "WARNING: Library support is experimental")
	}
	path := g.get("elf", "")
	out := g.get("output", withExtension(path, "sgxs"))
	if err := convertFile(path, out, number("threads"), o); err != nil {
		fmt.Fprintf(stdout, "ERROR: %s\n", err)
		return 1
	}
	return 0
}

func convertFile(path, out string, threads uint64, o fromelf.Options) error {
	// A directory can be opened but not read.
	f, err := os.Open(path)
	if err != nil {
		return errReadingELF
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || fi.IsDir() {
		return errReadingELF
	}
	if threads > math.MaxUint32 {
		return fmt.Errorf("%d threads do not fit into the address space", threads)
	}
	o.Threads = uint32(threads)
	elf, size, done, err := readable(f, fi)
	if err != nil {
		return errReadingELF
	}
	defer done()
	return writeOutput(out, func(w io.Writer) error {
		_, err := fromelf.Convert(w, elf, size, o)
		return err
	})
}

// errReadingELF has the original's text, which does not say why.
var errReadingELF = fmt.Errorf("Reading ELF file")

// readable returns what Convert can read at random: the file itself or, for a
// pipe, a copy in a temporary file.
func readable(f *os.File, fi os.FileInfo) (r io.ReaderAt, size int64, done func(), err error) {
	if fi.Mode().IsRegular() {
		return f, fi.Size(), func() {}, nil
	}
	t, err := os.CreateTemp("", "eos-elf-*")
	if err != nil {
		return nil, 0, nil, err
	}
	os.Remove(t.Name()) // the open file stays
	size, err = io.Copy(t, f)
	if err != nil {
		t.Close()
		return nil, 0, nil, err
	}
	return t, size, func() { t.Close() }, nil
}

// withExtension replaces the extension of the path's last element, or adds one.
// A leading dot starts no extension; a path without a last element stays.
func withExtension(path, ext string) string {
	trimmed := strings.TrimRight(path, "/")
	for strings.HasSuffix(trimmed, "/.") {
		trimmed = strings.TrimRight(strings.TrimSuffix(trimmed, "/."), "/")
	}
	base := filepath.Base(trimmed)
	if trimmed == "" || base == ".." || base == "." {
		return path
	}
	if i := strings.LastIndexByte(base, '.'); i > 0 {
		trimmed = trimmed[:len(trimmed)-len(base)+i]
	}
	return trimmed + "." + ext
}
