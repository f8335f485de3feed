package platformtest

import (
	"bytes"
	"errors"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

// exitOnly is an enclave that leaves at once.
func exitOnly() *image { return newCode(func(a *asm) { a.exit() }, nil) }

func testBuild(t *testing.T, p platform.Platform) {
	subtests(t, p, []subtest{
		{"caps", testCaps},
		{"create refuses", testCreateRefuses},
		{"create at an address", testCreateAt},
		{"add refuses", testAddRefuses},
		{"extend refuses", testExtendRefuses},
		{"content", testContent},
		{"repeated extend", testRepeatedExtend},
		{"abandoned", testAbandoned},
	})
}

func testCaps(t *testing.T, p platform.Platform) {
	c := p.Caps()
	if n := p.Name(); n != "software" && n != "hardware" {
		t.Errorf("name is %q", n)
	}
	if want := sgx.AttrMode64Bit | sgx.AttrDebug; c.Attributes&want != want {
		t.Errorf("attributes are %s, want at least %s", c.Attributes, want)
	}
	if c.XFRM&sgx.XFRMLegacy != sgx.XFRMLegacy {
		t.Errorf("XFRM is %s, want at least %s", c.XFRM, sgx.XFRMLegacy)
	}
	if c.MaxSize < imageSize || c.MaxSize&(c.MaxSize-1) != 0 {
		t.Errorf("largest size is %#x", c.MaxSize)
	}
	// The legacy region and the XSAVE header (SDM vol. 1 13.4).
	if n := c.XSAVESize(sgx.XFRMLegacy); n != 576 {
		t.Errorf("XSAVE size of X87 and SSE is %d, want 576", n)
	}
	if n := c.XSAVESize(c.XFRM); n < 576 {
		t.Errorf("XSAVE size of %s is %d", c.XFRM, n)
	}
}

func testCreateRefuses(t *testing.T, p platform.Platform) {
	caps := p.Caps()
	for name, change := range map[string]func(*sgx.SECS){
		"size zero":              func(s *sgx.SECS) { s.Size = 0 },
		"size odd":               func(s *sgx.SECS) { s.Size = 0x3000 },
		"one page":               func(s *sgx.SECS) { s.Size = 0x1000 },
		"too large":              func(s *sgx.SECS) { s.Size = caps.MaxSize * 2 },
		"base":                   func(s *sgx.SECS) { s.BaseAddr = 1<<40 + imageSize/2 },
		"no SSE":                 func(s *sgx.SECS) { s.Attributes.XFRM = sgx.XFRMX87 },
		"no x87":                 func(s *sgx.SECS) { s.Attributes.XFRM = sgx.XFRMSSE },
		"XFRM bit 63":            func(s *sgx.SECS) { s.Attributes.XFRM |= 1 << 63 },
		"half of AVX512":         func(s *sgx.SECS) { s.Attributes.XFRM |= sgx.XFRMAVX | sgx.XFRMOpmask; s.SSAFrameSize = 4 },
		"AVX512 without AVX":     func(s *sgx.SECS) { s.Attributes.XFRM |= sgx.XFRMAVX512; s.SSAFrameSize = 4 },
		"no frame":               func(s *sgx.SECS) { s.SSAFrameSize = 0 },
		"INIT":                   func(s *sgx.SECS) { s.Attributes.Flags |= sgx.AttrInit },
		"attribute bit 3":        func(s *sgx.SECS) { s.Attributes.Flags |= 1 << 3 },
		"MISCSELECT bit 31":      func(s *sgx.SECS) { s.MiscSelect = 1 << 31 },
		"CONFIGID without KSS":   func(s *sgx.SECS) { s.ConfigID[0] = 1 },
		"CONFIGSVN without KSS":  func(s *sgx.SECS) { s.ConfigSVN = 1 },
		"CET fields without CET": func(s *sgx.SECS) { s.CETAttributes = 1 },
	} {
		secs := exitOnly().secs
		change(&secs)
		if b, err := p.Create(&secs); err == nil {
			t.Errorf("%s: accepted", name)
			_ = b.Close()
		}
	}
}

// An enclave lies where SECS.BASEADDR says, and the address is free again when
// it is closed.
func testCreateAt(t *testing.T, p platform.Platform) {
	im := exitOnly()
	b := im.build(t, p)
	im.secs.BaseAddr = b.Base()
	if b.Base()%imageSize != 0 {
		t.Fatalf("base %#x is not aligned to the size", b.Base())
	}
	if c, err := p.Create(&im.secs); err == nil {
		t.Errorf("a second enclave at %#x is accepted", c.Base())
		_ = c.Close()
	}
	must(t, b.Close())
	for range 3 {
		e := im.start(t, p)
		if e.base != im.secs.BaseAddr || e.SECS().BaseAddr != e.base {
			t.Fatalf("base is %#x, SECS has %#x, want %#x", e.base, e.SECS().BaseAddr, im.secs.BaseAddr)
		}
		must(t, e.Close())
	}
}

func testAddRefuses(t *testing.T, p platform.Platform) {
	im := exitOnly()
	b := im.build(t, p)
	cssa, reserved := bytes.Clone(im.page(offTCS).data), bytes.Clone(im.page(offTCS).data)
	cssa[24] = 1
	reserved[4095] = 1
	for name, v := range map[string]page{
		"not aligned":        {off: offHole + 0x10, flags: sgx.SecInfoREGR},
		"outside":            {off: imageSize, flags: sgx.SecInfoREGR},
		"far outside":        {off: 1<<64 - 4096, flags: sgx.SecInfoREGR},
		"twice":              {off: offData, flags: sgx.SecInfoREGRW},
		"reserved bit":       {off: offHole, flags: sgx.SecInfoREGR | 1<<6},
		"PENDING":            {off: offHole, flags: sgx.SecInfoREGR | sgx.SecInfoPending},
		"W without R":        {off: offHole, flags: sgx.SecInfoREG | sgx.SecInfoW},
		"page type SECS":     {off: offHole, flags: sgx.SecInfoR},
		"page type VA":       {off: offHole, flags: sgx.SecInfoFlags(sgx.PageVA) << 8},
		"page type TRIM":     {off: offHole, flags: sgx.SecInfoFlags(sgx.PageTRIM)<<8 | sgx.SecInfoR},
		"TCS with rights":    {off: offHole, flags: sgx.SecInfoTCS | sgx.SecInfoR, data: im.page(offTCS).data},
		"TCS with CSSA":      {off: offHole, flags: sgx.SecInfoTCS, data: cssa},
		"TCS, reserved byte": {off: offHole, flags: sgx.SecInfoTCS, data: reserved},
		"short data":         {off: offHole, flags: sgx.SecInfoREGR, data: make([]byte, 100)},
	} {
		if err := b.Add(v.off, v.flags, v.data); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// None of them was measured.
	e, err := b.Init(im.signature(t))
	must(t, err)
	must(t, e.Close())
}

func testExtendRefuses(t *testing.T, p platform.Platform) {
	im := exitOnly()
	b := im.build(t, p)
	for name, off := range map[string]uint64{
		"not aligned": offData + 0x80, "no page": offHole, "outside": imageSize, "far outside": 1<<64 - 256,
	} {
		if err := b.Extend(off); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	e, err := b.Init(im.signature(t))
	must(t, err)
	must(t, e.Close())
}

// Pages have what was added, copied, and zeros where nothing was given.
func testContent(t *testing.T, p platform.Platform) {
	im := exitOnly()
	random := make([]byte, sgx.PageSize)
	for i := range random {
		random[i] = byte(i*7 + i>>8)
	}
	im.page(offConst).data = random
	b := im.build(t, p)
	want := bytes.Clone(random)
	sig := im.signature(t)
	clear(random) // the platform has its own copy
	e, err := b.Init(sig)
	must(t, err)
	t.Cleanup(func() { _ = e.Close() })
	got := make([]byte, sgx.PageSize)
	must(t, e.DebugRead(offConst, got))
	if !bytes.Equal(got, want) {
		t.Error("a page has another content than was added")
	}
	must(t, e.DebugRead(offStack, got))
	if !bytes.Equal(got, make([]byte, sgx.PageSize)) {
		t.Error("a page that was added without content is not zero")
	}
	secs := e.SECS()
	wantSECS := im.secs
	wantSECS.BaseAddr = b.Base()
	wantSECS.Attributes.Flags |= sgx.AttrInit
	wantSECS.MREnclave, wantSECS.MRSigner = sig.EnclaveHash, sig.MRSigner()
	wantSECS.ISVProdID, wantSECS.ISVSVN = 1, 2
	if secs != wantSECS {
		t.Errorf("SECS is\n%+v, want\n%+v", secs, wantSECS)
	}
}

// A chunk may be measured twice, which gives another MRENCLAVE.
func testRepeatedExtend(t *testing.T, p platform.Platform) {
	im := exitOnly()
	b := im.build(t, p)
	must(t, b.Extend(offData))
	if _, err := b.Init(im.signature(t)); !errors.Is(err, sgx.InvalidMeasurement) {
		t.Errorf("error is %v, want %v", err, sgx.InvalidMeasurement)
	}
}

// Builders that are closed before EINIT leave nothing behind, and may be
// closed twice.
func testAbandoned(t *testing.T, p platform.Platform) {
	im := exitOnly()
	im.secs.Size = min(1<<30, p.Caps().MaxSize)
	for range 300 {
		b, err := p.Create(&im.secs)
		must(t, err)
		must(t, b.Add(offData, sgx.SecInfoREGRW, nil))
		must(t, b.Close())
		must(t, b.Close())
	}
}
