package platformtest

import (
	"errors"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

func testInit(t *testing.T, p platform.Platform) {
	subtests(t, p, []subtest{
		{"refuses", testInitRefuses},
		{"masks", testInitMasks},
		{"launch", testLaunch},
		{"measured zeros are not unmeasured zeros", testUnmeasured},
		{"nothing after", testAfterInit},
	})
}

func testInitRefuses(t *testing.T, p platform.Platform) {
	im := exitOnly()
	for _, v := range []struct {
		name   string
		signed func(*sgx.SigStruct) // before it is signed
		broken func(*sgx.SigStruct) // after
		code   sgx.ErrorCode
	}{
		{"VENDOR", func(s *sgx.SigStruct) {}, func(s *sgx.SigStruct) { s.Vendor = 7 }, sgx.InvalidSigStruct},
		{"EXPONENT", nil, func(s *sgx.SigStruct) { s.Exponent = 65537 }, sgx.InvalidSigStruct},
		{"MODULUS", nil, func(s *sgx.SigStruct) { s.Modulus[3] ^= 4 }, sgx.InvalidSignature},
		{"SIGNATURE", nil, func(s *sgx.SigStruct) { s.Signature[383] ^= 1 }, sgx.InvalidSignature},
		{"Q1", nil, func(s *sgx.SigStruct) { s.Q1[0] ^= 1 }, sgx.InvalidSignature},
		{"Q2", nil, func(s *sgx.SigStruct) { s.Q2[383] ^= 1 }, sgx.InvalidSignature},
		{"ISVSVN changed", nil, func(s *sgx.SigStruct) { s.ISVSVN++ }, sgx.InvalidSignature},
		{"DATE changed", nil, func(s *sgx.SigStruct) { s.Date++ }, sgx.InvalidSignature},
		{"ENCLAVEHASH", func(s *sgx.SigStruct) { s.EnclaveHash[31] ^= 1 }, nil, sgx.InvalidMeasurement},
		{"production wanted", func(s *sgx.SigStruct) { s.Attributes.Flags &^= sgx.AttrDebug }, nil, sgx.InvalidAttribute},
		{"attribute wanted", func(s *sgx.SigStruct) { s.Attributes.Flags |= sgx.AttrKSS }, nil, sgx.InvalidAttribute},
		{"XFRM wanted", func(s *sgx.SigStruct) { s.Attributes.XFRM |= sgx.XFRMAVX }, nil, sgx.InvalidAttribute},
		{"MISCSELECT wanted", func(s *sgx.SigStruct) { s.MiscSelect = sgx.MiscEXINFO }, nil, sgx.InvalidAttribute},
		{"ISVFAMILYID without KSS", func(s *sgx.SigStruct) { s.ISVFamilyID[0] = 1 }, nil, sgx.InvalidSigStruct},
	} {
		im.sign = v.signed
		b := im.build(t, p)
		sig := im.signature(t)
		if v.broken != nil {
			v.broken(sig)
		}
		e, err := b.Init(sig)
		if !errors.Is(err, v.code) {
			t.Errorf("%s: error is %v, want %v", v.name, err, v.code)
		}
		if err == nil {
			_ = e.Close()
		}
		must(t, b.Close())
	}
	// The text of a wrong measurement has both: it is the one that people see.
	im.sign = func(s *sgx.SigStruct) { s.EnclaveHash = sgx.Measurement{0xab} }
	_, err := im.build(t, p).Init(im.signature(t))
	if err == nil || !strings.Contains(err.Error(), sgx.Measurement{0xab}.String()) || !strings.Contains(err.Error(), im.measure(t).String()) {
		t.Errorf("text of a wrong measurement: %v", err)
	}
}

// What the masks leave out is free.
func testInitMasks(t *testing.T, p platform.Platform) {
	im := exitOnly()
	im.sign = func(s *sgx.SigStruct) {
		s.Attributes = sgx.Attributes{Flags: sgx.AttrKSS, XFRM: sgx.XFRMAMX}
		s.AttributeMask = sgx.Attributes{}
		s.MiscSelect, s.MiscMask = sgx.MiscCPINFO, 0
	}
	e := im.start(t, p)
	if a := e.SECS().Attributes; a.Flags != im.secs.Attributes.Flags|sgx.AttrInit || a.XFRM != im.secs.Attributes.XFRM {
		t.Errorf("attributes are %s", a)
	}
}

// EINITTOKENKEY is for launch enclaves only.
func testLaunch(t *testing.T, p platform.Platform) {
	im := exitOnly()
	im.secs.Attributes.Flags |= sgx.AttrEInitTokenKey
	secs := im.secs
	b, err := p.Create(&secs)
	if err != nil {
		return // refused earlier
	}
	must(t, b.Close())
	if _, err := im.build(t, p).Init(im.signature(t)); !errors.Is(err, sgx.InvalidAttribute) {
		t.Errorf("error is %v, want %v", err, sgx.InvalidAttribute)
	}
}

func testUnmeasured(t *testing.T, p platform.Platform) {
	im := exitOnly()
	sig := im.signature(t)
	im.page(offStack).plain = false
	if _, err := im.build(t, p).Init(sig); !errors.Is(err, sgx.InvalidMeasurement) {
		t.Errorf("error is %v, want %v", err, sgx.InvalidMeasurement)
	}
}

func testAfterInit(t *testing.T, p platform.Platform) {
	im := exitOnly()
	b := im.build(t, p)
	sig := im.signature(t)
	e, err := b.Init(sig)
	must(t, err)
	t.Cleanup(func() { _ = e.Close() })
	if err := b.Add(offHole, sgx.SecInfoREGR, nil); err == nil {
		t.Error("a page can be added")
	}
	if err := b.Extend(offData); err == nil {
		t.Error("a chunk can be measured")
	}
	if _, err := b.Init(sig); err == nil {
		t.Error("it can be initialised again")
	}
	must(t, b.Close())
	th, err := e.NewThread()
	must(t, err)
	defer th.Close()
	wantEEXIT(t, th, sgx.LeafEENTER, new(platform.Regs))
}
