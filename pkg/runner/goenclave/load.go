package goenclave

import (
	"bytes"
	"fmt"
	"io"
	"slices"

	"github.com/enclaveos/eos/pkg/runner"
	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/wall"
)

// Enclave is a Go image that has been loaded and initialised.
type Enclave struct {
	*runner.Enclave
	Boot  *wall.Boot
	begun moment // when loading began
}

// Load is runner.Load for a Go image. The error wraps ErrNotGo if it is none.
func Load(p platform.Platform, image io.Reader, sig *sgx.SigStruct, o runner.LoadOptions) (*Enclave, error) {
	begun := readClocks()
	// The boot page is read before the pages are added, since it says where; the
	// same bytes then go to the loader.
	var head bytes.Buffer
	boot, err := ReadBoot(io.TeeReader(image, &head))
	if err != nil {
		return nil, err
	}
	if boot.ABI != wall.ABI {
		return nil, &ABIError{boot.ABI}
	}
	o.BaseAddr = boot.Base
	if err := wants(p.Caps(), sig, &o); err != nil {
		return nil, err
	}
	e, err := runner.Load(p, io.MultiReader(&head, image), sig, o)
	if err != nil {
		return nil, err
	}
	g, err := newEnclave(e, boot, begun)
	if err != nil {
		e.Close()
		return nil, err
	}
	return g, nil
}

// newEnclave sorts the TCSs: number i is that of thread block i, wherever it is in
// the stream.
func newEnclave(e *runner.Enclave, boot *wall.Boot, begun moment) (*Enclave, error) {
	tcs := make([]uint64, boot.Threads)
	for i := range tcs {
		tcs[i] = boot.Blocks - boot.Base + uint64(i)*wall.BlockSize
		if !slices.Contains(e.TCS, tcs[i]) {
			return nil, fmt.Errorf("the boot page says %d threads, but there is no TCS at %#x, block %d", boot.Threads, tcs[i], i)
		}
	}
	if len(e.TCS) != len(tcs) {
		return nil, fmt.Errorf("the image has %d TCSs, its boot page says %d", len(e.TCS), len(tcs))
	}
	e.TCS = tcs
	return &Enclave{e, boot, begun}, nil
}

// wants adds to o what the kernel of a Go image needs, as far as the signature leaves
// it open: AVX, which Go's cryptography is built for, and the facts of page faults.
func wants(caps platform.Caps, sig *sgx.SigStruct, o *runner.LoadOptions) error {
	a := sig.Attributes
	if o.Attributes != nil {
		a = *o.Attributes
	}
	misc := sig.MiscSelect & caps.MiscSelect
	if o.MiscSelect != nil {
		misc = *o.MiscSelect
	}
	const xfrm = sgx.XFRMLegacy | sgx.XFRMAVX
	if lack := xfrm &^ (a.XFRM | ^sig.AttributeMask.XFRM); lack != 0 {
		return fmt.Errorf("the signature forbids XFRM %v, which Go programs need: sign with --xfrm legacy,avx", lack)
	}
	if lack := xfrm &^ caps.XFRM; lack != 0 {
		return fmt.Errorf("the platform lacks XFRM %v, which Go programs need", lack)
	}
	a = a.And(sgx.Attributes{Flags: caps.Attributes &^ sgx.AttrInit, XFRM: caps.XFRM})
	a.XFRM |= xfrm
	misc |= sgx.MiscEXINFO & caps.MiscSelect &^ sgx.MiscSelect(sig.MiscMask)
	o.Attributes, o.MiscSelect = &a, &misc
	return nil
}
