package fromgo

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/enclaveos/eos/pkg/sgx"
)

// Image tells of an image that has been written.
type Image struct {
	Layout    *Layout
	Info      *Info
	MREnclave sgx.Measurement // zero if the size is open
}

// Built is a program that has been compiled and checked, and where everything
// in its image will be.
type Built struct {
	file   *os.File
	size   int64
	layout *Layout
	info   *Info
}

// Build compiles the program and writes its image to w.
func Build(ctx context.Context, w io.Writer, o Options) (*Image, error) {
	b, err := Prepare(ctx, o)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return b.Write(w)
}

// Prepare compiles the program. Errors that the user can do something about are
// of type *Error, those of the go command *GoError.
func Prepare(ctx context.Context, o Options) (*Built, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	dir, pattern, err := target(o.Dir, o.Package)
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp(os.Getenv("GOTMPDIR"), "eos-build-")
	if err != nil {
		return nil, err
	}
	// The linked program stays open, and can be read without its name.
	defer os.RemoveAll(tmp)
	if tmp, err = filepath.EvalSymlinks(tmp); err != nil {
		return nil, err
	}
	t, err := findToolchain(ctx, dir, tmp)
	if err != nil {
		return nil, err
	}
	pkgs, err := t.list(ctx, pattern, &o)
	if err != nil {
		return nil, err
	}
	if err := checkPackages(pkgs, &o); err != nil {
		return nil, err
	}
	src, err := t.rewrite(pkgs, &o)
	if err != nil {
		return nil, err
	}
	path, err := src.compile(ctx, tmp, pattern, &o)
	if err != nil {
		return nil, err
	}
	var tree []byte
	if o.Test {
		if tree, err = testTree(tested(pkgs), t.root); err != nil {
			return nil, err
		}
	}
	b := &Built{}
	if err := b.open(path, &o, t.version, tree); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// open reads the linked program and lays it out.
func (b *Built) open(path string, o *Options, version string, tree []byte) (err error) {
	if b.file, err = os.Open(path); err != nil {
		return err
	}
	fi, err := b.file.Stat()
	if err != nil {
		return err
	}
	b.size = fi.Size()
	p, err := readProgram(b.file, b.size)
	if err != nil {
		return err
	}
	if err := p.gate(); err != nil {
		return err
	}
	env, err := o.env()
	if err != nil {
		return err
	}
	text, info, err := newInfo(b.file, o, version)
	if err != nil {
		return err
	}
	b.info = info
	b.layout, err = layOut(p, o, env, text, tree)
	return err
}

// Write writes the image.
func (b *Built) Write(w io.Writer) (*Image, error) {
	mr, err := b.layout.write(w)
	if err != nil {
		return nil, err
	}
	return &Image{b.layout, b.info, mr}, nil
}

// WriteTo writes the program as it was linked, an ELF with its symbols.
func (b *Built) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, io.NewSectionReader(b.file, 0, b.size))
}

// Close gives the program up.
func (b *Built) Close() error {
	if b.file == nil {
		return nil
	}
	return b.file.Close()
}
