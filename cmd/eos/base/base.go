// Package base makes runtime images: the program of cmd/eos-enclave, laid out for
// the memory, threads and environment that an image is to have.
//
// What eos carries is the program as it was linked, not the pages of an image. One
// program so serves every size of heap and both engines, and symbols are there for
// who wants them.
package base

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/enclaveos/eos/pkg/sgxs/fromgo"
	"github.com/klauspost/compress/zstd"
)

// Package is the program of an image when nobody says another.
const Package = "github.com/enclaveos/eos/cmd/eos-enclave"

// The sizes of a runtime image when nobody says others. The compiler of WASM wants
// memory for the code that it makes.
const (
	DefaultHeapSize = 256 << 20
	DefaultCodeSize = 64 << 20
	DefaultThreads  = fromgo.DefaultThreads
)

// linkedName is the file that the package link makes.
const linkedName = "program/eos-enclave.zst"

//go:embed program
var carried embed.FS

// Prepare makes a runtime image with these options. If o.Package is empty it is that
// of Package: as eos carries it or, in an eos that carries none, from source.
func Prepare(ctx context.Context, o fromgo.Options) (*fromgo.Built, error) {
	if o.Package == "" {
		f, err := carried.Open(linkedName)
		if err == nil {
			defer f.Close()
			return open(f, o)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		return fromSource(ctx, o)
	}
	b, err := fromgo.Prepare(ctx, o)
	if err != nil {
		return nil, err
	}
	if !b.Info().Runtime {
		b.Close()
		return nil, &fromgo.Error{
			Msg:  fmt.Sprintf("%s is not a runtime: it does not call boot.Main", o.Package),
			Hint: "eos build PACKAGE makes the image of any other Go program",
		}
	}
	return b, nil
}

// open unpacks the program, for as long as that takes, to a temporary file.
func open(packed io.Reader, o fromgo.Options) (*fromgo.Built, error) {
	z, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	f, err := os.CreateTemp("", "eos-runtime-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	if _, err := io.Copy(f, z); err != nil {
		f.Close()
		return nil, fmt.Errorf("unpacking the runtime that eos carries: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	return fromgo.Open(f.Name(), o)
}

// fromSource builds the program where the module is at hand: in its own tree, or in
// one that requires it.
func fromSource(ctx context.Context, o fromgo.Options) (*fromgo.Built, error) {
	o.Package = Package
	b, err := fromgo.Prepare(ctx, o)
	var refused *fromgo.Error
	var tool *fromgo.GoError
	if errors.As(err, &refused) || errors.As(err, &tool) {
		return nil, &fromgo.Error{
			Msg:  "this eos was built without the runtime, and its source is not at hand",
			Hint: "take an eos that make build has made, or stand in a Go module that requires github.com/enclaveos/eos; go says: " + err.Error(),
		}
	}
	return b, err
}
