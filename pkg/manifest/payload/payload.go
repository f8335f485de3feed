// Package payload is what an image of WASM apps holds behind its runtime: the
// manifest and the modules that it names, in one run of measured pages.
//
//	0   8  magic "EOSWASM1"
//	8   4  bytes of the manifest, little-endian
//	12  4  number of modules, little-endian: as many as the manifest has apps
//	16     the manifest, canonical JSON
//	       the modules as they are stored, in the order of the apps
//
// The manifest and each module are followed by zeros up to a multiple of 16.
// How long a module is, how it is stored, and its hash say the manifest. The
// whole is a multiple of 16 bytes long, and nothing follows the last module.
//
// Both sides import it: the builder that writes a payload, and the runtime in
// the enclave that reads its own. Nothing here decompresses: who opens a module
// brings the decoder.
package payload

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/enclaveos/eos/pkg/manifest"
)

var le = binary.LittleEndian

// Magic begins a payload.
const Magic = "EOSWASM1"

const (
	headSize  = 16
	alignment = 16
	// maxSize bounds all modules together.
	maxSize = 1 << 32
)

// zstdMagic begins a zstd frame.
const zstdMagic = "\x28\xb5\x2f\xfd"

// FormatError says what is wrong with a payload.
type FormatError struct {
	Offset uint64
	What   string
}

func (e *FormatError) Error() string { return fmt.Sprintf("payload: at %#x: %s", e.Offset, e.What) }

// Payload is a manifest and its modules.
type Payload struct {
	Manifest *manifest.Manifest
	Stored   [][]byte // each app's module, as it is stored
}

// Decoder decompresses a zstd stream that has exactly size bytes. It must not
// take much more memory than that, whatever the stream is.
type Decoder func(stored []byte, size uint64) ([]byte, error)

// EncodingOf tells how a module is stored, by its first bytes. What is no zstd
// stream is taken for a plain module.
func EncodingOf(stored []byte) manifest.Encoding {
	if len(stored) >= len(zstdMagic) && string(stored[:len(zstdMagic)]) == zstdMagic {
		return manifest.Zstd
	}
	return manifest.Raw
}

// Describe is the identity of a module that is stored as these bytes and
// decompresses to code.
func Describe(stored, code []byte) manifest.Module {
	return manifest.Module{
		SHA256: sha256.Sum256(code), Size: uint64(len(code)),
		Encoding: EncodingOf(stored), StoredSize: uint64(len(stored)),
	}
}

// Size is the number of bytes that WriteTo writes.
func (p *Payload) Size() (int64, error) {
	text, err := p.check()
	if err != nil {
		return 0, err
	}
	n := headSize + padded(uint64(len(text)))
	for _, m := range p.Stored {
		n += padded(uint64(len(m)))
	}
	return int64(n), nil
}

// check returns the manifest's bytes if the modules are those of the manifest.
func (p *Payload) check() ([]byte, error) {
	text, err := p.Manifest.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	if len(p.Stored) != len(p.Manifest.Apps) {
		return nil, fmt.Errorf("payload: %d modules for %d apps", len(p.Stored), len(p.Manifest.Apps))
	}
	total := uint64(0)
	for i, m := range p.Stored {
		a := &p.Manifest.Apps[i]
		if a.Module.StoredSize != uint64(len(m)) || a.Module.Encoding != EncodingOf(m) {
			return nil, fmt.Errorf("payload: the module of app %s is not the one that the manifest describes", a.Name)
		}
		if total += padded(uint64(len(m))); total > maxSize {
			return nil, fmt.Errorf("payload: the modules have more than %d GiB", maxSize>>30)
		}
	}
	return text, nil
}

// WriteTo writes the payload.
func (p *Payload) WriteTo(w io.Writer) (n int64, err error) {
	text, err := p.check()
	if err != nil {
		return 0, err
	}
	head := append(make([]byte, 0, headSize), Magic...)
	head = le.AppendUint32(head, uint32(len(text)))
	head = le.AppendUint32(head, uint32(len(p.Stored)))
	var zeros [alignment]byte
	for _, part := range append([][]byte{head, text}, p.Stored...) {
		for _, b := range [][]byte{part, zeros[:padded(uint64(len(part)))-uint64(len(part))]} {
			k, err := w.Write(b)
			if n += int64(k); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func padded(n uint64) uint64 { return (n + alignment - 1) &^ (alignment - 1) }

// Parse reads a whole payload. The modules are slices of b. Their hashes are
// checked by Code.
func Parse(b []byte) (*Payload, error) {
	if len(b) < headSize || string(b[:len(Magic)]) != Magic {
		return nil, &FormatError{0, "it does not begin with " + Magic}
	}
	manifestLen, count := uint64(le.Uint32(b[8:])), uint64(le.Uint32(b[12:]))
	r := reader{b, headSize}
	text, err := r.take(manifestLen, "the manifest")
	if err != nil {
		return nil, err
	}
	m, err := manifest.Parse(text)
	if err != nil {
		return nil, err
	}
	if count != uint64(len(m.Apps)) {
		return nil, &FormatError{12, fmt.Sprintf("%d modules for %d apps", count, len(m.Apps))}
	}
	p := &Payload{Manifest: m}
	for i := range m.Apps {
		a := &m.Apps[i]
		at := r.at
		stored, err := r.take(a.Module.StoredSize, "the module of app "+a.Name)
		if err != nil {
			return nil, err
		}
		if EncodingOf(stored) != a.Module.Encoding {
			return nil, &FormatError{at, fmt.Sprintf("the module of app %s is not stored as %s", a.Name, a.Module.Encoding)}
		}
		p.Stored = append(p.Stored, stored)
	}
	if r.at != uint64(len(b)) {
		return nil, &FormatError{r.at, "something follows the last module"}
	}
	return p, nil
}

type reader struct {
	b  []byte
	at uint64
}

// take reads n bytes and the zeros behind them.
func (r *reader) take(n uint64, what string) ([]byte, error) {
	left := uint64(len(r.b)) - r.at
	if n > left || padded(n) > left {
		return nil, &FormatError{r.at, fmt.Sprintf("%s has %d bytes: there are %d", what, n, left)}
	}
	part := r.b[r.at : r.at+n : r.at+n]
	for i := r.at + n; i < r.at+padded(n); i++ {
		if r.b[i] != 0 {
			return nil, &FormatError{i, "no zero behind " + what}
		}
	}
	r.at += padded(n)
	return part, nil
}

// Code returns the module of the i-th app as it runs, after a check of its size
// and hash. It may be a slice of what Parse was given: it must not be changed.
func (p *Payload) Code(i int, zstd Decoder) ([]byte, error) {
	a := &p.Manifest.Apps[i]
	code := p.Stored[i]
	if a.Module.Encoding == manifest.Zstd {
		if zstd == nil {
			return nil, errors.New("payload: no decoder for zstd")
		}
		var err error
		if code, err = zstd(code, a.Module.Size); err != nil {
			return nil, fmt.Errorf("payload: the module of app %s: %w", a.Name, err)
		}
	}
	if got := uint64(len(code)); got != a.Module.Size {
		return nil, fmt.Errorf("payload: the module of app %s has %d bytes: its manifest says %d", a.Name, got, a.Module.Size)
	}
	if got := manifest.Hash(sha256.Sum256(code)); got != a.Module.SHA256 {
		return nil, fmt.Errorf("payload: the module of app %s has SHA-256 %s: its manifest says %s", a.Name, got, a.Module.SHA256)
	}
	return code, nil
}
