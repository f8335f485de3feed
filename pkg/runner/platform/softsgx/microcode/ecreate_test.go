package microcode

import (
	"testing"

	"github.com/enclaveos/eos/pkg/sgx"
)

func TestECreateAccepts(t *testing.T) {
	for name, change := range map[string]func(*sgx.SECS){
		"plain":         func(*sgx.SECS) {},
		"two pages":     func(s *sgx.SECS) { s.Size = 0x2000 },
		"largest":       func(s *sgx.SECS) { s.Size, s.BaseAddr = testCaps.MaxSize, testCaps.MaxSize },
		"base anywhere": func(s *sgx.SECS) { s.BaseAddr = 0 },
		"debug":         func(s *sgx.SECS) { s.Attributes.Flags |= sgx.AttrDebug },
		"AVX":           func(s *sgx.SECS) { s.Attributes.XFRM |= sgx.XFRMAVX },
		"AVX512":        func(s *sgx.SECS) { s.Attributes.XFRM |= sgx.XFRMAVX | sgx.XFRMAVX512 },
		"MPX":           func(s *sgx.SECS) { s.Attributes.XFRM |= sgx.XFRMBndRegs | sgx.XFRMBndCSR },
		"AMX":           func(s *sgx.SECS) { s.Attributes.XFRM |= sgx.XFRMAMX; s.SSAFrameSize = 3 },
		"EXINFO":        func(s *sgx.SECS) { s.MiscSelect = sgx.MiscEXINFO },
		"KSS":           func(s *sgx.SECS) { s.Attributes.Flags |= sgx.AttrKSS; s.ConfigID[63] = 1; s.ConfigSVN = 9 },
		"CET": func(s *sgx.SECS) {
			s.Attributes.Flags |= sgx.AttrCET
			s.CETAttributes = 4
			s.CETLegBitmapOffset = 0x1000
		},
		"frames too many": func(s *sgx.SECS) { s.SSAFrameSize = 1 << 31 }, // cannot be entered, but is made
	} {
		s := testSECS()
		change(s)
		e, err := Create(s, testCaps)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if e.SECS() != *s {
			t.Errorf("%s: SECS is %+v, want %+v", name, e.SECS(), *s)
		}
	}
}

// What only the processor writes is cleared, not refused: "Clear TMP_SECS to
// Uninitialized".
func TestECreateClears(t *testing.T) {
	s := testSECS()
	s.MREnclave[0], s.MRSigner[0], s.ISVProdID, s.ISVSVN = 1, 2, 3, 4
	if e := create(t, s); e.SECS() != *testSECS() {
		t.Errorf("SECS is %+v", e.SECS())
	}
}

func TestECreateRefuses(t *testing.T) {
	for _, v := range []struct {
		name   string
		change func(*sgx.SECS)
		what   string
	}{
		{"size zero", func(s *sgx.SECS) { s.Size = 0 }, "SIZE is 0x0 bytes, not a power of two"},
		{"size odd", func(s *sgx.SECS) { s.Size = 0x3000 }, "SIZE is 0x3000 bytes, not a power of two"},
		{"one page", func(s *sgx.SECS) { s.Size = 0x1000 }, "less than two pages"},
		{"too large", func(s *sgx.SECS) { s.Size, s.BaseAddr = testCaps.MaxSize*2, 0 }, "the largest enclave"},
		{"base", func(s *sgx.SECS) { s.BaseAddr += testSize / 2 }, "not aligned to SIZE"},
		{"base not canonical", func(s *sgx.SECS) { s.BaseAddr = 1 << 47 }, "not canonical"},
		{"no x87", func(s *sgx.SECS) { s.Attributes.XFRM = sgx.XFRMSSE }, "X87 and SSE must be set"},
		{"no SSE", func(s *sgx.SECS) { s.Attributes.XFRM = sgx.XFRMX87 | sgx.XFRMAVX }, "X87 and SSE must be set"},
		{"XFRM unsupported", func(s *sgx.SECS) { s.Attributes.XFRM |= sgx.XFRMPKRU }, "XFRM has PKRU"},
		{"XFRM bit 63", func(s *sgx.SECS) { s.Attributes.XFRM |= 1 << 63 }, "XFRM has 0x8000000000000000"},
		{"AVX512 alone", func(s *sgx.SECS) { s.Attributes.XFRM |= sgx.XFRMAVX512 }, "AVX512 needs AVX"},
		{"AVX512 opmask only", func(s *sgx.SECS) { s.Attributes.XFRM |= sgx.XFRMAVX | sgx.XFRMOpmask }, "AVX512 must be set together"},
		{"AVX512 no hi16", func(s *sgx.SECS) { s.Attributes.XFRM |= sgx.XFRMAVX | sgx.XFRMOpmask | sgx.XFRMZMMHi256 }, "AVX512 must be set together"},
		{"AMX tile config only", func(s *sgx.SECS) { s.Attributes.XFRM |= sgx.XFRMTileCfg }, "AMX must be set together"},
		{"MPX half", func(s *sgx.SECS) { s.Attributes.XFRM |= sgx.XFRMBndCSR }, "BNDREGS|BNDCSR must be set together"},
		{"INIT", func(s *sgx.SECS) { s.Attributes.Flags |= sgx.AttrInit }, "INIT is set"},
		{"32-bit", func(s *sgx.SECS) { s.Attributes.Flags = 0 }, "MODE64BIT is clear"},
		{"attribute", func(s *sgx.SECS) { s.Attributes.Flags |= sgx.AttrAEXNotify }, "ATTRIBUTES has AEXNOTIFY"},
		{"attribute bit 3", func(s *sgx.SECS) { s.Attributes.Flags |= 1 << 3 }, "ATTRIBUTES has 0x8"},
		{"MISCSELECT", func(s *sgx.SECS) { s.MiscSelect = sgx.MiscCPINFO }, "MISCSELECT has CPINFO"},
		{"no frame", func(s *sgx.SECS) { s.SSAFrameSize = 0 }, "SSAFRAMESIZE is 0 pages"},
		{"frame too small", func(s *sgx.SECS) { s.Attributes.XFRM |= sgx.XFRMAMX; s.SSAFrameSize = 2 }, "needs 11192 bytes (3 pages)"},
		{"CONFIGID without KSS", func(s *sgx.SECS) { s.ConfigID[0] = 1 }, "CONFIGID is not zero"},
		{"CONFIGSVN without KSS", func(s *sgx.SECS) { s.ConfigSVN = 1 }, "CONFIGSVN is 1"},
		{"CET_ATTRIBUTES without CET", func(s *sgx.SECS) { s.CETAttributes = 1 }, "CET_ATTRIBUTES is 0x1, but"},
		{"CET bitmap without CET", func(s *sgx.SECS) { s.CETLegBitmapOffset = 0x1000 }, "CET_LEG_BITMAP_OFFSET is 0x1000, but"},
		{"CET bitmap alignment", func(s *sgx.SECS) { s.Attributes.Flags |= sgx.AttrCET; s.CETLegBitmapOffset = 0x800 }, "not page aligned"},
		{"CET reserved", func(s *sgx.SECS) { s.Attributes.Flags |= sgx.AttrCET; s.CETAttributes = 0x80 }, "reserved bits 0x80"},
	} {
		s := testSECS()
		v.change(s)
		_, err := Create(s, testCaps)
		wantFault(t, v.name, err, sgx.VectorGP, "ECREATE: #GP: ")
		wantFault(t, v.name, err, sgx.VectorGP, v.what)
		if CheckSECS(s, testCaps) == nil {
			t.Errorf("%s: CheckSECS accepts it", v.name)
		}
	}
	if err := CheckSECS(testSECS(), testCaps); err != nil {
		t.Error(err)
	}
}

// The room that a frame needs is exact: a page less a byte too little is
// refused, the page is enough.
func TestSSAFrameSizeExact(t *testing.T) {
	caps := testCaps
	for misc, rest := range map[sgx.MiscSelect]uint32{0: 4096 - 184, sgx.MiscEXINFO: 4096 - 184 - 16} {
		s := testSECS()
		s.MiscSelect = misc
		caps.XSAVESize = func(sgx.XFRM) uint32 { return rest }
		if _, err := Create(s, caps); err != nil {
			t.Errorf("MISCSELECT %s: %v", misc, err)
		}
		caps.XSAVESize = func(sgx.XFRM) uint32 { return rest + 1 }
		_, err := Create(s, caps)
		wantFault(t, misc.String(), err, sgx.VectorGP, "(2 pages)")
	}
}
