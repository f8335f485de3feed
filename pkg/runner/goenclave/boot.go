package goenclave

import (
	"errors"
	"fmt"
	"io"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/wall"
)

// ErrNotGo says that an image is not one of a Go program.
var ErrNotGo = errors.New("not the image of a Go program")

// ReadBoot reads the boot page of the image, a canonical SGXS stream, from its
// first page. The error wraps ErrNotGo if it
// is an image of another kind. An unsized image has a boot page, too.
func ReadBoot(image io.Reader) (*wall.Boot, error) {
	pages := sgxs.NewPageReader(image)
	header, err := pages.Header()
	if err != nil {
		return nil, err
	}
	page, err := pages.Next()
	if errors.Is(err, io.EOF) {
		return nil, ErrNotGo
	}
	if err != nil {
		return nil, err
	}
	if page.Offset != wall.BootOff || page.Flags != sgx.SecInfoREGR || !wall.IsBoot(page.Data) {
		return nil, ErrNotGo
	}
	boot, err := wall.ParseBoot(page.Data)
	switch {
	case err != nil:
		return nil, err
	case header.Kind == sgxs.KindECreate && boot.Size != header.Size:
		return nil, fmt.Errorf("the boot page says that the image has %#x bytes, the image %#x", boot.Size, header.Size)
	}
	return boot, nil
}
