package runner

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/sign"
	"github.com/enclaveos/eos/pkg/wall"
)

// SignatureKind says where the SIGSTRUCT of an image comes from.
type SignatureKind uint8

// The kinds. The zero value is the default of the tools.
const (
	// SignatureAuto is the file beside the image if there is one, else the
	// dummy. A file that cannot be used is an error.
	SignatureAuto SignatureKind = iota
	// SignatureAutoAny is the file beside the image if it can be used, else the
	// dummy, without a word: the habit of ftxsgx-runner.
	SignatureAutoAny
	// SignatureCoresident is the file beside the image.
	SignatureCoresident
	// SignatureDummy is a signature of our public debug key, made on the spot.
	SignatureDummy
	// SignatureFile is a file of any name.
	SignatureFile
)

// Signature says which SIGSTRUCT an image is started with.
type Signature struct {
	Kind SignatureKind
	Path string // of SignatureFile
}

// ParseSignature understands "coresident", "dummy" and "file=PATH".
func ParseSignature(s string) (Signature, error) {
	switch {
	case s == "coresident":
		return Signature{Kind: SignatureCoresident}, nil
	case s == "dummy":
		return Signature{Kind: SignatureDummy}, nil
	case strings.HasPrefix(s, "file="):
		return Signature{SignatureFile, strings.TrimPrefix(s, "file=")}, nil
	}
	return Signature{}, fmt.Errorf("signature %q: want coresident, dummy or file=PATH", s)
}

// CoresidentPath is the name of the signature beside an image: the image's with
// its extension replaced by ".sig".
func CoresidentPath(image string) string {
	dir, base := filepath.Split(image)
	if ext := filepath.Ext(base); ext != base {
		base = strings.TrimSuffix(base, ext)
	}
	return dir + base + ".sig"
}

// Resolve returns the signature for the image at that path, on a platform with
// these caps, and whether it is the dummy.
func (s Signature) Resolve(image string, caps platform.Caps) (sig *sgx.SigStruct, dummy bool, err error) {
	return s.resolve(image, caps, DummySignature)
}

// Choose is Resolve for those who load the image at once: the dummy is not signed
// yet. With SignDummy among its options Load does that, which measures the image
// anyway.
func (s Signature) Choose(image string, caps platform.Caps) (sig *sgx.SigStruct, dummy bool, err error) {
	return s.resolve(image, caps, unsignedDummy)
}

func (s Signature) resolve(image string, caps platform.Caps, make func(io.Reader, platform.Caps) (*sgx.SigStruct, error)) (sig *sgx.SigStruct, dummy bool, err error) {
	switch s.Kind {
	case SignatureFile:
		sig, err = ReadSignature(s.Path)
		return sig, false, err
	case SignatureCoresident:
		sig, err = ReadSignature(CoresidentPath(image))
		return sig, false, err
	case SignatureAuto, SignatureAutoAny:
		sig, err = ReadSignature(CoresidentPath(image))
		switch {
		case err == nil:
			return sig, false, nil
		case s.Kind == SignatureAuto && !errors.Is(err, fs.ErrNotExist):
			return nil, false, fmt.Errorf("%w (remove it, or choose --signature dummy)", err)
		}
	}
	f, err := os.Open(image)
	if err != nil {
		return nil, true, err
	}
	defer f.Close()
	sig, err = make(f, caps)
	if err != nil {
		return nil, true, fmt.Errorf("%s: %w", image, err)
	}
	return sig, true, nil
}

// ReadSignature reads a SIGSTRUCT from the start of a file. What follows it is
// not looked at, as the peer's tools do not either.
func ReadSignature(path string) (*sgx.SigStruct, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, sgx.SigStructSize)
	if n, err := io.ReadFull(f, b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("%s: %d bytes are no SIGSTRUCT, which has %d", path, n, sgx.SigStructSize)
		}
		return nil, err
	}
	sig, err := sgx.ParseSigStruct(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return sig, nil
}

// DummySignature measures the image and signs it with our public debug key, for
// a debug enclave with all features of the processor that fit its SSA frames. A Go
// program gets EXINFO, too, by which it tells a nil dereference from other faults.
func DummySignature(image io.Reader, caps platform.Caps) (*sgx.SigStruct, error) {
	var head headSniffer
	mr, err := sgxs.Measure(io.TeeReader(image, &head))
	if err != nil {
		if errors.Is(err, sgxs.ErrUnsized) {
			return nil, ErrUnsized
		}
		return nil, err
	}
	sig, err := unsignedDummy(&head, caps)
	if err != nil {
		return nil, err
	}
	sig.EnclaveHash = mr
	return sig, SignDummy(sig)
}

// SignDummy signs with our public debug key.
func SignDummy(sig *sgx.SigStruct) error {
	if err := sign.Sign(sig, sign.DebugKey()); err != nil {
		return fmt.Errorf("making the dummy signature: %w", err)
	}
	return nil
}

// unsignedDummy is DummySignature without the measurement. It reads no more than the
// head of the image.
func unsignedDummy(image io.Reader, caps platform.Caps) (*sgx.SigStruct, error) {
	r := sgxs.NewReader(io.LimitReader(image, headSize))
	h, err := r.Next()
	if err != nil {
		return nil, err
	}
	if h.Kind == sgxs.KindUnsized {
		return nil, ErrUnsized
	}
	var misc sgx.MiscSelect
	if beginsWithBoot(r) {
		misc = caps.MiscSelect & sgx.MiscEXINFO
	}
	return sign.UnsignedDummy(XFRMFor(caps, h.SSAFrameSize), misc), nil
}

// beginsWithBoot reports whether what follows the stream's header is the boot page
// of a Go program.
func beginsWithBoot(r *sgxs.Reader) bool {
	page, err := r.Next()
	if err != nil || page.Kind != sgxs.KindEAdd || page.Offset != wall.BootOff {
		return false
	}
	chunk, err := r.Next()
	return err == nil && chunk.Kind == sgxs.KindEExtend && chunk.Offset == wall.BootOff && wall.IsBoot(chunk.Data)
}

// headSniffer keeps the first records of what is written to it, for reading: the
// header, the first page's, and its first chunk.
type headSniffer struct{ b []byte }

const headSize = 3*sgxs.HeaderSize + sgx.ChunkSize

func (h *headSniffer) Write(p []byte) (int, error) {
	if room := headSize - len(h.b); room > 0 {
		h.b = append(h.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

func (h *headSniffer) Read(p []byte) (int, error) {
	if len(h.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, h.b)
	h.b = h.b[n:]
	return n, nil
}

// xfrmSteps are the features beyond x87 and SSE, lowest first; bits of one step
// only make sense together, after those that it needs.
var xfrmSteps = []struct{ bits, needs sgx.XFRM }{
	{sgx.XFRMAVX, 0},
	{sgx.XFRMBndRegs | sgx.XFRMBndCSR, 0},
	{sgx.XFRMAVX512, sgx.XFRMAVX},
	{sgx.XFRMPKRU, 0},
	{sgx.XFRMAMX, 0},
}

// XFRMFor returns all features of the processor that an SSA frame of that many
// pages has room for.
func XFRMFor(caps platform.Caps, ssaFrameSize uint32) sgx.XFRM {
	x := sgx.XFRMLegacy
	room := uint64(ssaFrameSize) * sgx.PageSize
	for _, s := range xfrmSteps {
		with := x | s.bits
		if s.bits&^caps.XFRM != 0 || s.needs&^x != 0 || caps.XSAVESize == nil {
			continue
		}
		if uint64(caps.XSAVESize(with))+sgx.GPRSGXSize+sgx.EXINFOSize <= room {
			x = with
		}
	}
	return x
}
