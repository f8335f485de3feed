package runner

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
)

// Enclave is an image that has been loaded and initialised.
type Enclave struct {
	platform.Enclave
	TCS     []uint64      // offsets, in the order of the image: the first is the main thread's
	Regions []Region      // the pages, sorted
	Caps    platform.Caps // of the platform it runs on
}

// LoadOptions overrides what Load takes from the signature. The zero value
// overrides nothing.
type LoadOptions struct {
	// Attributes, if not nil, are SECS.ATTRIBUTES as given.
	Attributes *sgx.Attributes
	// MiscSelect, if not nil, is SECS.MISCSELECT as given.
	MiscSelect *sgx.MiscSelect
	// ConfigID and ConfigSVN are what the enclave finds in its reports; only
	// with ATTRIBUTES.KSS.
	ConfigID  [64]byte
	ConfigSVN uint16
	// Sign, if not nil, signs the image on the spot. It is called when all pages are
	// there, with a copy of the signature in which ENCLAVEHASH is what the platform
	// has measured.
	Sign func(*sgx.SigStruct) error
	// BaseAddr, if not zero, is the one address at which the image works. Where
	// it is taken the platform refuses.
	BaseAddr uint64
}

// ErrUnsized says that an image has no size yet.
var ErrUnsized = errors.New("the image is unsized: finish it with eos append")

// LoadError says at which step, and at which record or page of the image, it
// could not be loaded.
type LoadError struct {
	Step string // for example "EADD of page 0x3000 (REG rw-)"
	Err  error
}

// Error names the instruction once: a platform may say it as well.
func (e *LoadError) Error() string {
	instr, _, _ := strings.Cut(e.Step, " ")
	return e.Step + ": " + strings.TrimPrefix(e.Err.Error(), instr+": ")
}

// Unwrap returns Err.
func (e *LoadError) Unwrap() error { return e.Err }

// Load makes an enclave of the image, a sized, canonical SGXS stream, with the
// signature. It is read once, page by page. On an error nothing is left.
//
// SECS.ATTRIBUTES and MISCSELECT are those of the signature, without what the
// platform lacks and the signature's masks do not insist on.
func Load(p platform.Platform, image io.Reader, sig *sgx.SigStruct, o LoadOptions) (*Enclave, error) {
	pages := sgxs.NewPageReader(image)
	header, err := pages.Header()
	if err != nil {
		return nil, &LoadError{"reading the image", err}
	}
	if header.Kind == sgxs.KindUnsized {
		return nil, ErrUnsized
	}
	caps := p.Caps()
	secs, err := newSECS(header, sig, caps, o)
	if err != nil {
		return nil, err
	}
	b, err := p.Create(secs)
	if err != nil {
		return nil, &LoadError{fmt.Sprintf("ECREATE of %d bytes (SSAFRAMESIZE %d)", secs.Size, secs.SSAFrameSize), err}
	}
	defer b.Close()
	e := &Enclave{Caps: caps}
	for {
		page, err := pages.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, &LoadError{"reading the image", err}
		}
		if err := addPage(b, page); err != nil {
			return nil, err
		}
		if page.Flags.PageType() == sgx.PageTCS {
			e.TCS = append(e.TCS, page.Offset)
		}
		e.Regions = addRegion(e.Regions, page.Offset, page.Flags)
	}
	if o.Sign != nil {
		s := *sig
		s.EnclaveHash = b.Measurement()
		if err := o.Sign(&s); err != nil {
			return nil, fmt.Errorf("signing the image: %w", err)
		}
		sig = &s
	}
	if e.Enclave, err = b.Init(sig); err != nil {
		return nil, &LoadError{"EINIT", err}
	}
	return e, nil
}

// addPage does EADD and the EEXTENDs, in the order of the stream.
func addPage(b platform.Builder, page *sgxs.Page) error {
	data := page.Data
	if page.Present == 0 {
		data = nil
	}
	if err := b.Add(page.Offset, page.Flags, data); err != nil {
		return &LoadError{fmt.Sprintf("EADD of page %#x (%v)", page.Offset, page.Flags), err}
	}
	for _, chunk := range page.Order {
		off := page.Offset + uint64(chunk)*sgx.ChunkSize
		if err := b.Extend(off); err != nil {
			return &LoadError{fmt.Sprintf("EEXTEND of %#x, chunk %d of page %#x", off, chunk, page.Offset), err}
		}
	}
	return nil
}

// newSECS fills the SECS from the image's header and the signature.
func newSECS(header sgxs.Record, sig *sgx.SigStruct, caps platform.Caps, o LoadOptions) (*sgx.SECS, error) {
	secs := &sgx.SECS{
		Size:         header.Size,
		BaseAddr:     o.BaseAddr,
		SSAFrameSize: header.SSAFrameSize,
		Attributes:   sig.Attributes,
		MiscSelect:   sig.MiscSelect & caps.MiscSelect,
		ConfigID:     o.ConfigID,
		ConfigSVN:    o.ConfigSVN,
	}
	must := sig.Attributes.And(sig.AttributeMask)
	must.Flags &^= sgx.AttrInit
	if lack := must.Flags &^ caps.Attributes; lack != 0 {
		return nil, fmt.Errorf("the signature insists on ATTRIBUTES %v, which this platform does not have", lack)
	}
	if lack := must.XFRM &^ caps.XFRM; lack != 0 {
		return nil, fmt.Errorf("the signature insists on XFRM %v, which this platform does not have: sign with a mask without them (--xfrm)", lack)
	}
	if lack := sig.MiscSelect & sgx.MiscSelect(sig.MiscMask) &^ caps.MiscSelect; lack != 0 {
		return nil, fmt.Errorf("the signature insists on MISCSELECT %v, which this platform does not have", lack)
	}
	secs.Attributes = secs.Attributes.And(sgx.Attributes{Flags: caps.Attributes &^ sgx.AttrInit, XFRM: caps.XFRM})
	if o.Attributes != nil {
		secs.Attributes = *o.Attributes
	}
	if o.MiscSelect != nil {
		secs.MiscSelect = *o.MiscSelect
	}
	if secs.Attributes.Flags&sgx.AttrCET != 0 {
		secs.CETAttributes = sig.CETAttributes
	}
	return secs, nil
}
