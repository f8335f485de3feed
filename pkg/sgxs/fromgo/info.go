package fromgo

import (
	"debug/buildinfo"
	"encoding/json"
	"io"
	"runtime/debug"

	"github.com/enclaveos/eos/pkg/wall"
)

// Info is what an image says of how it was built: for people, and part of the
// measurement. It is JSON behind the boot page.
type Info struct {
	Format   int      `json:"format"`
	ABI      int      `json:"abi"`     // wall.ABI
	Package  string   `json:"package"` // import path of the main package
	Go       string   `json:"go"`      // "go1.26.8"
	Module   *Module  `json:"module,omitempty"`
	Deps     []Module `json:"deps,omitempty"`
	Settings []string `json:"settings,omitempty"` // "KEY=value" of the build that matter
	HeapSize uint64   `json:"heap_size"`
	CodeSize uint64   `json:"code_size,omitempty"`
	Threads  uint32   `json:"threads"`
	Debug    bool     `json:"debug,omitempty"`
	Runtime  bool     `json:"runtime,omitempty"` // it is a runtime: it has RuntimeMain, and eos run configures it
}

// Module is a module in a program.
type Module struct {
	Path    string  `json:"path"`
	Version string  `json:"version,omitempty"`
	Sum     string  `json:"sum,omitempty"`
	Replace *Module `json:"replace,omitempty"`
}

const infoFormat = 1

func newInfo(elf io.ReaderAt, o *Options, version string) ([]byte, *Info, error) {
	b, err := buildinfo.Read(elf)
	if err != nil {
		return nil, nil, elfError("%v", err)
	}
	info := &Info{
		Format: infoFormat, ABI: wall.ABI, Package: b.Path, Go: version, Module: newModule(&b.Main),
		HeapSize: o.HeapSize, CodeSize: o.CodeSize, Threads: o.Threads, Debug: o.Debug,
	}
	if info.Runtime, err = hasFunction(elf, RuntimeMain); err != nil {
		return nil, nil, err
	}
	for _, d := range b.Deps {
		info.Deps = append(info.Deps, *newModule(d))
	}
	for _, s := range b.Settings {
		info.Settings = append(info.Settings, s.Key+"="+s.Value)
	}
	text, err := json.Marshal(info)
	return text, info, err
}

func newModule(m *debug.Module) *Module {
	if m == nil || m.Path == "" {
		return nil
	}
	return &Module{m.Path, m.Version, m.Sum, newModule(m.Replace)}
}
