package kernel

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	ring "github.com/enclaveos/eos/pkg/channel"
	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/wall"
)

//go:embed *.go overlay/*.txt
var source embed.FS

// native are the files that are not part of the kernel in an image.
var native = []string{"machine.go", "overlay.go"}

// File is a file that an image's Go tree has and the stock tree has not.
type File struct {
	Path string // below GOROOT/src
	Text string
}

const (
	kernelPath  = "internal/runtime/eoskernel"
	wallPath    = "internal/runtime/eoswall"
	channelPath = "internal/runtime/eoschannel"
	wirePath    = "internal/runtime/eoswire"
)

// Overlay returns all files that make the Go runtime of an image contain this
// kernel, besides the changes of the runtime's own files.
func Overlay() ([]File, error) {
	var files []File
	for _, p := range []struct {
		src  fs.FS
		path string
	}{
		{wall.Source, wallPath},
		{ring.Source, channelPath},
		{wire.Source, wirePath},
		{source, kernelPath},
	} {
		f, err := carry(p.src, p.path)
		if err != nil {
			return nil, err
		}
		files = append(files, f...)
	}
	for _, f := range []struct{ name, path string }{
		{"overlay/machine.go.txt", kernelPath + "/machine.go"},
		{"overlay/eos.go.txt", "runtime/eos.go"},
		{"overlay/eos_amd64.s.txt", "runtime/eos_amd64.s"},
	} {
		b, err := source.ReadFile(f.name)
		if err != nil {
			return nil, fmt.Errorf("kernel: %w", err)
		}
		files = append(files, File{f.path, rename(string(b))})
	}
	return files, nil
}

// carry takes the Go files of a package to another import path.
func carry(src fs.FS, to string) ([]File, error) {
	entries, err := fs.ReadDir(src, ".")
	if err != nil {
		return nil, fmt.Errorf("kernel: %w", err)
	}
	var files []File
	for _, e := range entries {
		name := e.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || slices.Contains(native, name) {
			continue
		}
		b, err := fs.ReadFile(src, name)
		if err != nil {
			return nil, fmt.Errorf("kernel: %w", err)
		}
		files = append(files, File{to + "/" + name, rename(string(b))})
	}
	return files, nil
}

// renames are the package clauses and import paths inside the Go tree.
var renames = strings.NewReplacer(
	"\npackage kernel\n", "\npackage eoskernel\n",
	"\npackage wall\n", "\npackage eoswall\n",
	"\npackage channel\n", "\npackage eoschannel\n",
	"\npackage wire\n", "\npackage eoswire\n",
	`wall "github.com/enclaveos/eos/pkg/wall"`, `wall "`+wallPath+`"`,
	`ring "github.com/enclaveos/eos/pkg/channel"`, `ring "`+channelPath+`"`,
	`wire "github.com/enclaveos/eos/pkg/channel/wire"`, `wire "`+wirePath+`"`,
)

func rename(text string) string {
	return strings.TrimPrefix(renames.Replace("\n"+text), "\n")
}
