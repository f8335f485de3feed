package fromwasm

import (
	"errors"
	"fmt"
	"io"

	"github.com/enclaveos/eos/pkg/manifest/payload"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/wall"
)

// ErrNoApps is the error of Describe for images that take no payload, or that
// have got none yet.
var ErrNoApps = errors.New("not an image with apps")

// measuredPage is the mask of a page all of whose chunks are measured.
const measuredPage = 1<<sgx.ChunksPerPage - 1

// Description is what an image says of its apps.
type Description struct {
	Payload  *payload.Payload
	CodeSize uint64 // of the memory that can be written and executed, 0 for the interpreter
}

// Describe reads the payload of an image. A payload that is not measured as a
// whole, or that could be changed at run time, is refused: it would not be what
// MRENCLAVE says.
func Describe(image io.Reader) (*Description, error) {
	var boot *wall.Boot
	var content []byte
	for pages := sgxs.NewPageReader(image); ; {
		p, err := pages.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if boot == nil {
			if p.Offset != wall.BootOff || !wall.IsBoot(p.Data) {
				return nil, ErrNoApps
			}
			if boot, err = wall.ParseBoot(p.Data); err != nil {
				return nil, err
			}
			if boot.Payload == 0 {
				return nil, ErrNoApps
			}
		}
		start := boot.Payload - wall.Base
		if p.Offset < start {
			continue
		}
		switch {
		case p.Offset != start+uint64(len(content)):
			return nil, fmt.Errorf("apps: no page at %#x", start+uint64(len(content)))
		case p.Flags != sgx.SecInfoREGR:
			return nil, fmt.Errorf("apps: the page at %#x is %s: it must be read-only", p.Offset, p.Flags.Perm())
		case p.Measured != measuredPage:
			return nil, fmt.Errorf("apps: the page at %#x is not measured as a whole", p.Offset)
		}
		content = append(content, p.Data...)
	}
	if content == nil {
		return nil, ErrNoApps
	}
	b, err := wall.ParsePayload(content)
	if err != nil {
		return nil, err
	}
	p, err := payload.Parse(b)
	if err != nil {
		return nil, err
	}
	return &Description{p, boot.CodeHi - boot.CodeLo}, nil
}
