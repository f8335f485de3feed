package fromgo

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/enclaveos/eos/pkg/sgx"
)

// Image tells of an image that Build has made.
type Image struct {
	Layout    *Layout
	Info      *Info
	MREnclave sgx.Measurement // zero if the size is open
}

// Build compiles the program and writes its image to w. Errors that the user
// can do something about are of type *Error, those of the go command *GoError.
func Build(ctx context.Context, w io.Writer, o Options) (*Image, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	dir, pattern, err := target(o.Dir, o.Package)
	if err != nil {
		return nil, err
	}
	t, err := findToolchain(ctx, dir)
	if err != nil {
		return nil, err
	}
	pkgs, err := t.list(ctx, pattern)
	if err != nil {
		return nil, err
	}
	if err := checkPackages(pkgs, o.Package); err != nil {
		return nil, err
	}
	src, err := t.rewrite(pkgs, &o)
	if err != nil {
		return nil, err
	}
	tmp, err := scratch()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	path, err := src.compile(ctx, tmp, pattern)
	if err != nil {
		return nil, err
	}
	return convert(w, path, &o, t.version)
}

// convert makes the image of a linked program.
func convert(w io.Writer, path string, o *Options, version string) (img *Image, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	p, err := readProgram(f, fi.Size())
	if err != nil {
		return nil, err
	}
	if err := p.gate(); err != nil {
		return nil, err
	}
	env, err := o.env()
	if err != nil {
		return nil, err
	}
	text, info, err := newInfo(f, o, version)
	if err != nil {
		return nil, err
	}
	l, err := layOut(p, o, env, text)
	if err != nil {
		return nil, err
	}
	if o.ELF != nil {
		if _, err := io.Copy(o.ELF, io.NewSectionReader(f, 0, fi.Size())); err != nil {
			return nil, err
		}
	}
	mr, err := l.write(w)
	if err != nil {
		return nil, err
	}
	return &Image{l, info, mr}, nil
}
