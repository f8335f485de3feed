package edptool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
)

const appendUsage = `Usage:
	sgxs-append [-i|--] <file0> [-<mode> <file1>|-align <num>] ...

	-i               Modify <file0> in place.
	--               Ignored (useful if <file0> is named ` + "`-i'" + `).
	-<mode> <file>   Append <file> with mode <mode>. <mode> is any
	                 combination the flags m, r, w, and x (or no flags). m means
	                 this memory will be measured. r, w, and x indicate the page
	                 permissions.
	-align <num>     Align the start of memory for the next file to <num>. The
	                 default is 1 byte if the page permissions and measurement
	                 are the same as the last file, 256 bytes if the page
	                 permissions are the same but the measurement is different,
	                 or 4096 if the page permissions are different.

`

// appendUsageError is an error that is printed below the usage.
type appendUsageError string

func (e appendUsageError) Error() string { return string(e) }

// sgxsAppend is sgxs-append. Its errors go to stdout.
func sgxsAppend(args []string, _ io.Reader, stdout, _ io.Writer) int {
	var j appendJob
	defer j.close()
	err := j.parse(args)
	if err == nil {
		err = j.run(stdout)
	}
	if err == nil {
		return 0
	}
	if errors.As(err, new(appendUsageError)) {
		io.WriteString(stdout, appendUsage)
	}
	fmt.Fprintf(stdout, "ERROR: %s\n", err)
	return 1
}

// appendJob is a command line with its files open.
type appendJob struct {
	inPlace bool
	base    *os.File
	parts   []sgxs.Part // Data is the open *os.File, Size not yet known
	closers []func()
}

func (j *appendJob) close() {
	for _, f := range j.closers {
		f()
	}
}

func (j *appendJob) open(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, appendFileError("open", path)
	}
	j.closers = append(j.closers, func() { f.Close() })
	return f, nil
}

func appendFileError(verb, path string) error {
	return fmt.Errorf("Unable to %s `%s'", verb, lossy(path))
}

// lossy is how Rust shows an argument that need not be UTF-8.
func lossy(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func (j *appendJob) parse(args []string) (err error) {
	flag := os.O_RDONLY
	if len(args) > 0 && (args[0] == "-i" || args[0] == "--") {
		if j.inPlace = args[0] == "-i"; j.inPlace {
			flag = os.O_RDWR // not written to, but refused as the original does
		}
		args = args[1:]
	}
	if len(args) == 0 {
		return appendUsageError("Must specify file0")
	}
	if j.base, err = j.open(args[0], flag); err != nil {
		return err
	}
	for args = args[1:]; len(args) > 0; args = args[2:] {
		part, err := j.parsePart(args)
		if err != nil {
			return err
		}
		j.parts = append(j.parts, part)
	}
	return nil
}

// parsePart reads a pair of arguments.
func (j *appendJob) parsePart(args []string) (part sgxs.Part, err error) {
	mode := args[0]
	refuse := func(format string, v ...any) (sgxs.Part, error) {
		return part, appendUsageError(fmt.Sprintf(format, v...))
	}
	if !utf8.ValidString(mode) {
		return refuse("Unable to parse `%s': expected -<mode> or -align", lossy(mode))
	}
	if len(args) < 2 {
		return refuse("After `%s': expected parameter", mode)
	}
	part.Name = args[1]
	if mode == "-align" {
		n, kind := rustUint(args[1], 64)
		if kind != "" {
			return refuse("Unable to parse `%s': expected unsigned integer", lossy(args[1]))
		}
		if n == 0 {
			return part, errors.New("-align 0: the alignment must be at least 1")
		}
		part.Align = n
		return part, nil
	}
	flags, ok := strings.CutPrefix(mode, "-")
	if !ok {
		return refuse("Unable to parse `%s': expected -<mode> or -align", mode)
	}
	for _, c := range flags {
		switch c {
		case 'r':
			part.Perm |= sgx.SecInfoR
		case 'w':
			part.Perm |= sgx.SecInfoW
		case 'x':
			part.Perm |= sgx.SecInfoX
		case 'm':
			part.Measured = true
		default:
			return refuse("Unable to parse `%s': got `%c', expected `m', `r', `w', or `x'", mode, c)
		}
	}
	part.Data, err = j.open(args[1], os.O_RDONLY)
	return part, err
}

// sized returns f from its start and its size; what is no regular file is
// copied to a temporary one.
func (j *appendJob) sized(f *os.File) (io.ReadSeeker, int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	r, size, done, err := readable(f, fi)
	if err != nil {
		return nil, 0, err
	}
	j.closers = append(j.closers, done)
	return io.NewSectionReader(r, 0, size), size, nil
}

func (j *appendJob) run(stdout io.Writer) error {
	base, _, err := j.sized(j.base)
	if err != nil {
		return appendFileError("read", j.base.Name())
	}
	a, err := sgxs.NewFortanixAppender(base)
	if err != nil {
		return appendBaseError(err, j.base.Name())
	}
	for i := range j.parts {
		p := &j.parts[i]
		if p.Data == nil {
			continue
		}
		if p.Data, p.Size, err = j.sized(p.Data.(*os.File)); err != nil {
			return appendFileError("read", p.Name)
		}
	}
	write := func(w io.Writer) error {
		_, err := a.Append(w, j.parts)
		var p *fs.PathError
		if errors.As(err, &p) && p.Op == "read" {
			return appendFileError("read", p.Path)
		}
		return err
	}
	if j.inPlace {
		return writeOutput(j.base.Name(), write)
	}
	return write(stdout)
}

// appendBaseError puts what is wrong with the file that is appended to in the
// original's words. For what crashes the original the words are ours.
func appendBaseError(err error, path string) error {
	var format *sgxs.FormatError
	switch {
	case errors.Is(err, sgxs.ErrEmpty):
		return errors.New("Empty SGXS file")
	case errors.Is(err, sgxs.ErrSized):
		return errors.New("Can only append to unsized SGXS files")
	case errors.Is(err, sgxs.ErrSizeOffset):
		return errors.New("Unsized size offset must be naturally aligned")
	case errors.Is(err, sgxs.ErrNoPages):
		return errors.New("No data found in SGXS")
	case errors.Is(err, sgxs.ErrNoSizeData):
		return errors.New("Unable to find enclave size position in SGXS")
	case errors.Is(err, sgxs.ErrUnmeasured):
		return fmt.Errorf("Can only append to SGXS files without UNMEASRD records: %w", err)
	case !errors.As(err, &format):
		return appendFileError("read", path)
	case format.Record == 1:
		return errors.New("reading initial SGXS data")
	}
	return errors.New("reading SGXS data")
}
