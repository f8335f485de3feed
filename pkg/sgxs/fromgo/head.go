package fromgo

import (
	"errors"
	"io"

	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/wall"
)

// ReadInfo reads what an image says of how it was built, and no more of it than the
// pages at its start. The error is ErrNotGo for images of other programs.
func ReadInfo(image io.Reader) (*Info, error) {
	var m memory
	var boot *wall.Boot
	for pages := sgxs.NewPageReader(image); ; {
		p, err := pages.Next()
		if errors.Is(err, io.EOF) {
			if boot == nil {
				return nil, ErrNotGo
			}
			return nil, errors.New("info is missing")
		}
		if err != nil {
			return nil, err
		}
		if boot == nil {
			if p.Offset != wall.BootOff || !wall.IsBoot(p.Data) {
				return nil, ErrNotGo
			}
			if boot, err = wall.ParseBoot(p.Data); err != nil {
				return nil, err
			}
		}
		if p.Measured != 0 {
			m.add(p)
		}
		if text := m.read(boot.Info, boot.InfoLen); text != nil {
			return parseInfo(text)
		}
		if p.Offset+wall.Base > boot.Info+boot.InfoLen {
			return nil, errors.New("info is missing")
		}
	}
}
