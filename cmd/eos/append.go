package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/spf13/cobra"
)

func appendCmd(u *ui) *cobra.Command {
	var (
		asJSON, inPlace bool
		output          string
	)
	cmd := &cobra.Command{
		Use:   "append [-o OUT.sgxs | --in-place] BASE.sgxs [FILE[:OPTIONS]]...",
		Short: "add files to an unsized image and fix its size",
		Long: `Add files behind the last page of an unsized image (eos build --unsized), fix the
enclave's size and print its MRENCLAVE. OPTIONS say how a file is loaded, joined
by commas:

  r, rw, rx, rwx   permissions of its pages (default r)
  measured         part of MRENCLAVE: no other content can be loaded (default)
  unmeasured       not part of MRENCLAVE: anybody can change it
  align=SIZE       at a multiple of SIZE, a power of two

  eos append base.sgxs app.wasm config.json:unmeasured -o app.sgxs
  eos append base.sgxs table.bin:rw,align=64KiB --in-place

A file follows the one before at once if both are loaded alike, else it begins
at the next page (other permissions) or the next 256 bytes (other measuring).
Without a file only the size is fixed.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return positional(1, "BASE.sgxs")(cmd, args)
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			base, out := args[0], output
			switch {
			case inPlace && output != "":
				return usagef("only one of -o and --in-place")
			case inPlace:
				out = base
			case output == "":
				return withHint(usagef("eos append: the name of the new image is missing"), "-o OUT.sgxs, or --in-place to replace %s", base)
			}
			done, err := appendFiles(u, base, out, args[1:], inPlace)
			if err != nil {
				return err
			}
			if asJSON {
				return u.json(done)
			}
			return printAppended(u, done)
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return []string{"sgxs"}, cobra.ShellCompDirectiveFilterFileExt
			}
			return nil, cobra.ShellCompDirectiveDefault
		},
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().StringVarP(&output, "output", "o", "", "the new image, `OUT.sgxs`")
	cmd.Flags().BoolVar(&inPlace, "in-place", false, "replace the base")
	completeFlagFiles(cmd, "output", "sgxs")
	return cmd
}

// appendedInfo is what append reports, in the shape of its JSON.
type appendedInfo struct {
	Output    string          `json:"output"`
	MREnclave sgx.Measurement `json:"mrenclave"`
	Size      uint64          `json:"size"` // ELRANGE
	Files     []appendedFile  `json:"files"`
}

type appendedFile struct {
	File     string `json:"file"`
	Offset   uint64 `json:"offset"` // in the enclave
	Size     int64  `json:"size"`
	Perm     string `json:"perm"`
	Measured bool   `json:"measured"`
}

func appendFiles(u *ui, base, out string, specs []string, inPlace bool) (*appendedInfo, error) {
	parts := make([]sgxs.Part, len(specs))
	inputs := []string{}
	if !inPlace {
		inputs = append(inputs, base)
	}
	for i, spec := range specs {
		p, err := parsePart(spec)
		if err != nil {
			return nil, err
		}
		f, err := openInput(p.Name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		fi, err := f.Stat()
		if err != nil {
			return nil, err
		}
		p.Data, p.Size = f, fi.Size()
		parts[i], inputs = p, append(inputs, p.Name)
	}
	if err := checkDistinct(out, inputs...); err != nil {
		return nil, err
	}
	f, err := openInput(base)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	a, err := sgxs.NewAppender(f)
	if err != nil {
		return nil, appendError(base, err)
	}
	info := &appendedInfo{Output: out, Files: []appendedFile{}}
	p := u.progress("writing "+out, 0)
	defer p.end()
	err = writeFile(out, 0o666, func(w io.Writer) error {
		mr, err := measuring(func(m io.Writer) error {
			done, err := a.Append(io.MultiWriter(w, m, p), parts)
			if err != nil {
				return err
			}
			info.Size = done.Size
			for i, part := range parts {
				info.Files = append(info.Files, appendedFile{part.Name, done.Placed[i], part.Size, part.Perm.Perm(), part.Measured})
			}
			return nil
		})
		info.MREnclave = mr
		return err
	})
	return info, err
}

func appendError(base string, err error) error {
	switch {
	case errors.Is(err, sgxs.ErrSized):
		return withHint(fmt.Errorf("%s: %w", base, err), "build it with eos build --unsized")
	case errors.Is(err, sgxs.ErrNotCanonical), errors.Is(err, sgxs.ErrTag), errors.Is(err, io.ErrUnexpectedEOF):
		return imageError(base, err)
	}
	return fmt.Errorf("%s: %w", base, err)
}

// openInput opens a regular file.
func openInput(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		f.Close()
		if err == nil {
			err = fmt.Errorf("%s is not a regular file", path)
		}
		return nil, err
	}
	return f, nil
}

// measuring returns the measurement of what fill writes.
func measuring(fill func(io.Writer) error) (mr sgx.Measurement, err error) {
	r, w := io.Pipe()
	measured := make(chan error, 1)
	go func() {
		var err error
		mr, err = sgxs.Measure(r)
		// What is left must not hold up the writer.
		_, _ = io.Copy(io.Discard, r)
		measured <- err
	}()
	err = fill(w)
	w.Close()
	if merr := <-measured; err == nil {
		err = merr
	}
	return mr, err
}

// parsePart reads FILE[:OPTIONS]. A file whose name has a colon in it is found
// too, unless options follow that.
func parsePart(spec string) (sgxs.Part, error) {
	plain := sgxs.Part{Name: spec, Perm: sgx.SecInfoR, Measured: true}
	colon := strings.LastIndexByte(spec, ':')
	if colon < 0 {
		return plain, nil
	}
	p := plain
	p.Name = spec[:colon]
	for word := range strings.SplitSeq(spec[colon+1:], ",") {
		err := setPartOption(&p, word)
		if err == nil {
			continue
		}
		if _, serr := os.Stat(spec); serr == nil {
			return plain, nil
		}
		return p, withHint(usagef("%s: %w", spec, err), "for example %s:r,measured,align=64KiB", filepath.Base(p.Name))
	}
	return p, nil
}

func setPartOption(p *sgxs.Part, word string) error {
	switch word {
	case "r":
		p.Perm = sgx.SecInfoR
	case "rw":
		p.Perm = sgx.SecInfoR | sgx.SecInfoW
	case "rx":
		p.Perm = sgx.SecInfoR | sgx.SecInfoX
	case "rwx":
		p.Perm = sgx.SecInfoR | sgx.SecInfoW | sgx.SecInfoX
	case "measured":
		p.Measured = true
	case "unmeasured":
		p.Measured = false
	default:
		v, ok := strings.CutPrefix(word, "align=")
		if !ok {
			return fmt.Errorf("unknown option %q: want r, rw, rx, rwx, measured, unmeasured or align=SIZE", word)
		}
		n, err := parseSize(v)
		if err != nil {
			return err
		}
		if n == 0 || n&(n-1) != 0 {
			return fmt.Errorf("alignment %s is not a power of two", v)
		}
		p.Align = n
	}
	return nil
}

func printAppended(u *ui, a *appendedInfo) error {
	if err := u.facts("MRENCLAVE", a.MREnclave.String(), "image", a.Output, "ELRANGE", humanSize(a.Size)); err != nil {
		return err
	}
	if len(a.Files) == 0 {
		return nil
	}
	u.printf("\n")
	w := u.table()
	fmt.Fprint(w, "start\tsize\tperm\tmeasured\tfile\n")
	for _, f := range a.Files {
		measured := "no"
		if f.Measured {
			measured = "yes"
		}
		fmt.Fprintf(w, "%#x\t%s\t%s\t%s\t%s\n", f.Offset, humanSize(uint64(f.Size)), f.Perm, measured, f.File)
	}
	return w.Flush()
}
