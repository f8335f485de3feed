package fromgo

import (
	"debug/buildinfo"
	"debug/elf"
	"io"
	"strings"
)

// Open lays out a program that has been linked before: the file at path is what
// WriteTo has written, from a build of the same Package with a code area if o has
// one. The file may be removed afterwards.
func Open(path string, o Options) (*Built, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	bi, err := buildinfo.ReadFile(path)
	if err != nil {
		return nil, elfError("%v", err)
	}
	// "go1.26.8 X:…" names the experiments as well, which are no choice.
	version, _, _ := strings.Cut(strings.ReplaceAll(bi.GoVersion, "-X:", " "), " ")
	b := &Built{}
	if err := b.open(path, &o, version, nil); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// Info returns what the image says of how it was built.
func (b *Built) Info() *Info { return b.info }

// RuntimeMain is the function that is in the program of every runtime image.
const RuntimeMain = "github.com/enclaveos/eos/pkg/runtime/boot.Main"

// hasFunction reports whether a program has a function of that name.
func hasFunction(program io.ReaderAt, name string) (bool, error) {
	f, err := elf.NewFile(program)
	if err != nil {
		return false, elfError("%v", err)
	}
	syms, err := f.Symbols()
	if err != nil {
		return false, elfError("symbols: %v", err)
	}
	for _, s := range syms {
		if s.Name == name && elf.ST_TYPE(s.Info) == elf.STT_FUNC {
			return true, nil
		}
	}
	return false, nil
}
