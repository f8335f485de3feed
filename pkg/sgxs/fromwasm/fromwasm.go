// Package fromwasm puts WASM modules and the manifest that describes them behind
// a runtime image, so that one measurement covers all of it: the runtime, who
// may do what, and the code.
//
//	p, modules, err := fromwasm.Pack(ctx, m, stored)
//	done, err := fromwasm.Write(out, base, p)
//
// The modules are WebAssembly only. They are validated before they go into an
// image, and again when the runtime in the enclave loads them.
package fromwasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/manifest/payload"
	"github.com/enclaveos/eos/pkg/manifest/zstd"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/wall"
)

// Open returns a module as it runs: stored, or what a zstd stream holds.
func Open(stored []byte) ([]byte, error) {
	code := stored
	if payload.EncodingOf(stored) == manifest.Zstd {
		var err error
		if code, err = zstd.DecodeAtMost(stored, manifest.MaxModule); err != nil {
			return nil, err
		}
	}
	if len(code) > manifest.MaxModule {
		return nil, refuse("", "a module of %d bytes: at most %d", len(code), manifest.MaxModule)
	}
	return code, nil
}

// Pack checks the module of each app of m, by the app's name in stored, and
// fills in its identity. A module that is compressed with zstd stays so. It
// returns the payload and what is known of each app's module, in the order of
// the apps; m is sorted on the way.
func Pack(ctx context.Context, m *manifest.Manifest, stored map[string][]byte) (*payload.Payload, []*Module, error) {
	m.Normalize()
	p := &payload.Payload{Manifest: m}
	var modules []*Module
	for i := range m.Apps {
		a := &m.Apps[i]
		b, ok := stored[a.Name]
		if !ok {
			return nil, nil, fmt.Errorf("app %s has no module", a.Name)
		}
		code, err := Open(b)
		if err != nil {
			return nil, nil, fmt.Errorf("app %s: %w", a.Name, err)
		}
		found, err := Check(ctx, code)
		if err == nil {
			err = found.Fits(a)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("app %s: %w", a.Name, err)
		}
		a.Module = payload.Describe(b, code)
		p.Stored, modules = append(p.Stored, b), append(modules, found)
	}
	return p, modules, nil
}

// ErrNoRoom is the error of Write for a base that takes no apps.
var ErrNoRoom = errors.New("the image takes no apps: it is not an open image of a runtime")

// Image tells of an image that has been written.
type Image struct {
	Size        uint64 `json:"size"`         // ELRANGE
	Payload     uint64 `json:"payload"`      // where it begins
	PayloadSize uint64 `json:"payload_size"` // in whole pages
}

// Write writes base, an unsized image of a runtime, with the payload behind it.
func Write(w io.Writer, base io.ReadSeeker, p *payload.Payload) (*Image, error) {
	boot, err := readBoot(base)
	if err != nil {
		return nil, err
	}
	a, err := sgxs.NewAppender(base)
	if err != nil {
		return nil, err
	}
	size, err := p.Size()
	if err != nil {
		return nil, err
	}
	b := bytes.NewBuffer(wall.AppendPayloadHeader(make([]byte, 0, size+sgx.PageSize), uint64(size)))
	if _, err := p.WriteTo(b); err != nil {
		return nil, err
	}
	// Whole pages, so that no byte of them is left to who loads the image.
	b.Write(make([]byte, -b.Len()&(sgx.PageSize-1)))
	image := &Image{Payload: boot.Payload - wall.Base, PayloadSize: uint64(b.Len())}
	parts := []sgxs.Part{{Name: "the apps", Perm: sgx.SecInfoR, Measured: true, Data: bytes.NewReader(b.Bytes()), Size: int64(b.Len())}}
	done, err := a.Append(w, parts)
	if err != nil {
		return nil, err
	}
	if done.Placed[0] != image.Payload {
		return nil, fmt.Errorf("the base is damaged: its apps would be at %#x, where it looks for them is %#x", done.Placed[0], image.Payload)
	}
	image.Size = done.Size
	return image, nil
}

// readBoot reads the boot page of an image that takes a payload.
func readBoot(image io.ReadSeeker) (*wall.Boot, error) {
	if _, err := image.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	p, err := sgxs.NewPageReader(image).Next()
	switch {
	case errors.Is(err, io.EOF):
		return nil, ErrNoRoom
	case err != nil:
		return nil, err
	case p.Offset != wall.BootOff || !wall.IsBoot(p.Data):
		return nil, ErrNoRoom
	}
	b, err := wall.ParseBoot(p.Data)
	if err == nil && (b.Payload == 0 || b.Size != 0) {
		err = ErrNoRoom
	}
	return b, err
}
