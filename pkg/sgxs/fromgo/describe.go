package fromgo

import (
	"bytes"
	"cmp"
	"debug/gosym"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/wall"
)

// ErrNotGo is the error of Describe for images of other programs.
var ErrNotGo = errors.New("not the image of a Go program")

// Description is what an image says of itself.
type Description struct {
	Boot *wall.Boot
	Info *Info
	Env  []string

	image memory
	table *gosym.Table // nil if it has none that can be read
}

// Function is a function of a program.
type Function struct {
	Name string
	Addr uint64 // absolute
	Size uint64
}

// memory is the measured part of an image, without the code, in ascending runs
// of pages.
type memory []stretch

type stretch struct {
	off  uint64
	data []byte
}

func (m *memory) add(p *sgxs.Page) {
	if n := len(*m); n > 0 {
		last := &(*m)[n-1]
		if last.off+uint64(len(last.data)) == p.Offset {
			last.data = append(last.data, p.Data...)
			return
		}
	}
	*m = append(*m, stretch{p.Offset, slices.Clone(p.Data)})
}

// read returns n bytes at an address, nil if they are not there.
func (m memory) read(addr, n uint64) []byte {
	for _, r := range m {
		if off := addr - wall.Base - r.off; addr-wall.Base >= r.off && off <= uint64(len(r.data)) && n <= uint64(len(r.data))-off {
			return r.data[off : off+n]
		}
	}
	return nil
}

// Describe reads an image.
func Describe(image io.Reader) (*Description, error) {
	d := &Description{}
	for pages := sgxs.NewPageReader(image); ; {
		p, err := pages.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if d.Boot == nil {
			if p.Offset != wall.BootOff || !wall.IsBoot(p.Data) {
				return nil, ErrNotGo
			}
			if d.Boot, err = wall.ParseBoot(p.Data); err != nil {
				return nil, err
			}
		}
		// Code is in these areas as well, and not wanted.
		if p.Offset < d.Boot.Blocks-wall.Base && p.Measured != 0 && p.Flags&sgx.SecInfoX == 0 {
			d.image.add(p)
		}
	}
	if d.Boot == nil {
		return nil, ErrNotGo
	}
	b := d.Boot
	env, info := d.image.read(b.Env, b.EnvLen), d.image.read(b.Info, b.InfoLen)
	if env == nil || info == nil {
		return nil, errors.New("environment or info are missing")
	}
	if len(env) > 0 {
		d.Env = strings.Split(strings.TrimSuffix(string(env), "\x00"), "\x00")
	}
	var err error
	if d.Info, err = parseInfo(info); err != nil {
		return nil, err
	}
	d.table = findTable(d.image, b.TextLo)
	return d, nil
}

// parseInfo reads what newInfo has written. What later versions add to it is
// passed over.
func parseInfo(text []byte) (*Info, error) {
	info := new(Info)
	if err := json.Unmarshal(text, info); err != nil {
		return nil, fmt.Errorf("info: %w", err)
	}
	if info.Format != infoFormat {
		return nil, fmt.Errorf("info has format %d: this version of eos knows %d", info.Format, infoFormat)
	}
	return info, nil
}

// tableMagic begins the table of functions and lines of a Go program: a number
// for its version, two zeros, the unit of code and the size of a pointer.
var tableMagic = []byte{0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8}

// maxTables bounds how many places are tried that begin like one.
const maxTables = 16

// findTable finds that table in read-only data.
func findTable(m memory, text uint64) *gosym.Table {
	tried := 0
	for _, r := range m {
		for at := 0; ; at++ {
			n := bytes.Index(r.data[at:], tableMagic)
			if n < 0 {
				break
			}
			if at += n; at%8 == 0 {
				if tried++; tried > maxTables {
					return nil
				}
				if t := openTable(r.data[at:], text); t != nil {
					return t
				}
			}
		}
	}
	return nil
}

// openTable returns nil if data is no table after all. An image may have been
// made by anybody, and gosym panics on some bytes that are none.
func openTable(data []byte, text uint64) (t *gosym.Table) {
	defer func() {
		if recover() != nil {
			t = nil
		}
	}()
	t, err := gosym.NewTable(nil, gosym.NewLineTable(data, text))
	if err != nil || len(t.Funcs) == 0 {
		return nil
	}
	return t
}

// Biggest returns the n biggest functions.
func (d *Description) Biggest(n int) []Function {
	if d.table == nil {
		return nil
	}
	var all []Function
	for i := range d.table.Funcs {
		if f := &d.table.Funcs[i]; f.End > f.Entry {
			all = append(all, Function{f.Name, f.Entry, f.End - f.Entry})
		}
	}
	slices.SortFunc(all, func(a, b Function) int { return cmp.Or(cmp.Compare(b.Size, a.Size), cmp.Compare(a.Addr, b.Addr)) })
	return all[:min(n, len(all))]
}

// Symbolize says what is at an absolute address in the code: the function and,
// after a blank, the line of source, as in "main.main+0x1c main.go:7". It
// returns "" for other addresses.
func (d *Description) Symbolize(addr uint64) (text string) {
	if d.table == nil || addr < d.Boot.TextLo || addr >= d.Boot.TextHi {
		return ""
	}
	defer func() {
		if recover() != nil {
			text = ""
		}
	}()
	file, line, fn := d.table.PCToLine(addr)
	if fn == nil {
		return ""
	}
	return fmt.Sprintf("%s+%#x %s:%d", fn.Name, addr-fn.Entry, file, line)
}

// RegionName says what a region of pages is for that starts at off and has
// those permissions.
func (d *Description) RegionName(off uint64, flags sgx.SecInfoFlags) string {
	b := d.Boot
	addr := wall.Base + off
	switch {
	case off == wall.BootOff:
		return RegionBoot.String()
	case b.Payload != 0 && addr+sgx.PageSize >= b.Payload:
		return RegionPayload.String() // and the end, which has the same permissions
	case b.FilesLen != 0 && addr >= b.Files && addr-b.Files < pageUp(b.FilesLen):
		return RegionFiles.String()
	case addr >= b.CodeHi:
		return RegionEnd.String()
	case addr >= b.CodeLo:
		return RegionExec.String()
	case addr >= b.HeapLo:
		return RegionHeap.String()
	case addr >= b.MetaLo:
		return RegionMeta.String()
	case addr >= b.StackLo:
		return RegionStack.String()
	case addr >= b.Blocks:
		return d.threadRegion(addr - b.Blocks)
	case addr >= b.ZeroLo && addr < b.ZeroHi:
		return RegionZero.String()
	case flags&sgx.SecInfoX != 0:
		return RegionCode.String()
	case flags&sgx.SecInfoW != 0:
		return RegionData.String()
	}
	return RegionReadOnly.String()
}

func (d *Description) threadRegion(off uint64) string {
	kind := RegionTCS
	switch in := off % wall.BlockSize; {
	case in >= wall.BlockEStack:
		kind = RegionExceptionStack
	case in >= wall.BlockKStack:
		kind = RegionKernelStack
	case in >= wall.BlockTPA:
		kind = RegionTPA
	case in >= wall.BlockSSA:
		kind = RegionSSA
	}
	return fmt.Sprintf("%v %d", kind, off/wall.BlockSize)
}
