package microcode

import (
	"testing"

	"github.com/enclaveos/eos/pkg/sgx"
)

func TestCheckEnter(t *testing.T) {
	e := build(t, testSECS(), testTCS())
	_, f := e.CheckEnter(0, 0)
	wantFault(t, "before EINIT", f, sgx.VectorGP, "not initialised")
	start(t, e, NewDevice([32]byte{}), nil)
	for cssa := range uint32(2) {
		if tcs, f := e.CheckEnter(0, cssa); f != nil || *tcs != *testTCS() {
			t.Errorf("CSSA %d: %v %+v", cssa, f, tcs)
		}
		if tcs, f := e.CheckResume(0, cssa+1); f != nil || *tcs != *testTCS() {
			t.Errorf("resume of frame %d: %v %+v", cssa, f, tcs)
		}
	}
	_, f = e.CheckEnter(0, 2)
	wantFault(t, "NSSA", f, sgx.VectorGP, "no free SSA frame: CSSA is 2, NSSA is 2")
	_, f = e.CheckResume(0x1000, 1)
	wantFault(t, "resume of code", f, sgx.VectorPF, "ERESUME: #PF: the page at offset 0x1000 is REG r-x, not a TCS")
	_, f = e.CheckResume(0, 0)
	wantFault(t, "resume", f, sgx.VectorGP, "nothing to resume")
	for off, what := range map[uint64]string{
		0x1000: "is REG r-x, not a TCS", 0x8000: "there is no page at offset 0x8000", testSize: "there is no page",
	} {
		_, f = e.CheckEnter(off, 0)
		wantFault(t, what, f, sgx.VectorPF, what)
		if f.Addr != testSECS().BaseAddr+off {
			t.Errorf("%s: address is %#x", what, f.Addr)
		}
	}
	_, f = e.CheckEnter(8, 0)
	wantFault(t, "alignment", f, sgx.VectorGP, "not page aligned")
}

func TestCheckEnterRefuses(t *testing.T) {
	for _, v := range []struct {
		name   string
		change func(*sgx.SECS, *sgx.TCS)
		cssa   uint32
		vector uint8
		what   string
	}{
		{"OSSA alignment", func(_ *sgx.SECS, x *sgx.TCS) { x.OSSA = 0x2010 }, 0, sgx.VectorGP, "OSSA 0x2010 is not page aligned"},
		{"OSSA outside", func(_ *sgx.SECS, x *sgx.TCS) { x.OSSA = testSize }, 0, sgx.VectorPF, "outside the enclave"},
		{"OSSA wraps", func(_ *sgx.SECS, x *sgx.TCS) { x.OSSA = 1<<64 - 0x1000 }, 1, sgx.VectorPF, "outside the enclave"},
		{"last frame outside", func(_ *sgx.SECS, x *sgx.TCS) { x.OSSA, x.NSSA = testSize-0x1000, 9 }, 1, sgx.VectorPF, "outside the enclave"},
		{"frame larger than the enclave", func(s *sgx.SECS, _ *sgx.TCS) { s.SSAFrameSize = 1 << 31 }, 0, sgx.VectorPF, "outside the enclave"},
		{"NSSA zero", func(_ *sgx.SECS, x *sgx.TCS) { x.NSSA = 0 }, 0, sgx.VectorGP, "CSSA is 0, NSSA is 0"},
		{"frame not added", func(_ *sgx.SECS, x *sgx.TCS) { x.OSSA = 0x7000 }, 0, sgx.VectorPF, "there is no page at offset 0x7000"},
		{"frame is code", func(_ *sgx.SECS, x *sgx.TCS) { x.OSSA = 0x1000 }, 0, sgx.VectorPF, "is REG r-x, not REG rw-"},
		{"frame is the TCS", func(_ *sgx.SECS, x *sgx.TCS) { x.OSSA = 0 }, 0, sgx.VectorPF, "is TCS ---"},
		{"second page of a frame", func(s *sgx.SECS, x *sgx.TCS) { s.SSAFrameSize, x.OSSA = 2, 0x5000 }, 0, sgx.VectorPF, "no page at offset 0x6000"},
		{"second frame of two pages", func(s *sgx.SECS, x *sgx.TCS) { s.SSAFrameSize, x.OSSA = 2, 0x4000 }, 1, sgx.VectorPF, "no page at offset 0x6000"},
		{"FS alignment", func(_ *sgx.SECS, x *sgx.TCS) { x.OFSBase++ }, 0, sgx.VectorGP, "OFSBASGX 0x4001 is not page aligned"},
		{"GS alignment", func(_ *sgx.SECS, x *sgx.TCS) { x.OGSBase += 8 }, 0, sgx.VectorGP, "OGSBASGX 0x5008 is not page aligned"},
		{"FS not canonical", func(_ *sgx.SECS, x *sgx.TCS) { x.OFSBase = 1 << 60 }, 0, sgx.VectorGP, "OFSBASGX"},
		{"GS not canonical", func(_ *sgx.SECS, x *sgx.TCS) { x.OGSBase = 1 << 46 }, 0, sgx.VectorGP, "OGSBASGX"},
		{"OENTRY outside", func(_ *sgx.SECS, x *sgx.TCS) { x.OEntry = testSize }, 0, sgx.VectorGP, "OENTRY 0x10000 is outside"},
		{"flags", func(_ *sgx.SECS, x *sgx.TCS) { x.Flags = 4 }, 0, sgx.VectorGP, "FLAGS 0x4 has reserved bits"},
		{"AEXNOTIFY", func(_ *sgx.SECS, x *sgx.TCS) { x.Flags = sgx.TCSAEXNotify }, 0, sgx.VectorGP, "FLAGS.AEXNOTIFY"},
	} {
		secs, tcs := testSECS(), testTCS()
		v.change(secs, tcs)
		e := build(t, secs, tcs)
		start(t, e, NewDevice([32]byte{}), nil)
		_, f := e.CheckEnter(0, v.cssa)
		wantFault(t, v.name, f, v.vector, v.what)
	}
	// A base outside the enclave is the enclave's own matter, and FSLIMIT and
	// GSLIMIT mean nothing in 64-bit mode.
	tcs := testTCS()
	tcs.OFSBase, tcs.OGSBase, tcs.FSLimit, tcs.GSLimit = 1<<32, testSize, 0, 5
	e := build(t, testSECS(), tcs)
	start(t, e, NewDevice([32]byte{}), nil)
	if _, f := e.CheckEnter(0, 0); f != nil {
		t.Error(f)
	}
}

// Only the pages that an AEX writes must be there: of a frame of 8 pages the
// first, with the XSAVE area, and the last, with GPRSGX.
func TestFrameWithHole(t *testing.T) {
	secs, tcs := testSECS(), testTCS()
	secs.SSAFrameSize, tcs.NSSA = 8, 1
	e := build(t, secs, tcs)
	add(t, e, 0x9000, sgx.SecInfoREGRW|sgx.SecInfoX, nil)
	start(t, e, NewDevice([32]byte{}), nil)
	if _, f := e.CheckEnter(0, 0); f != nil {
		t.Error(f)
	}
}

func TestOperand(t *testing.T) {
	e := build(t, testSECS(), testTCS())
	base := testSECS().BaseAddr
	for _, v := range []struct {
		o      *Operand
		addr   uint64
		vector uint8
		what   string
	}{
		{&EGetKeyRequest, base + 0x2100, sgx.VectorGP, "KEYREQUEST (RBX) is 0x7f0000002100, not a multiple of 512"},
		{&EGetKeyOutput, base + 0x2008, sgx.VectorGP, "not a multiple of 16"},
		{&EReportTargetInfo, base + 0x2100, sgx.VectorGP, "TARGETINFO"},
		{&EReportReportData, base + 0x2040, sgx.VectorGP, "not a multiple of 128"},
		{&EReportOutput, base + 0x2100, sgx.VectorGP, "OUTPUTDATA (RDX)"},
		{&EGetKeyRequest, base - 512, sgx.VectorGP, "outside the enclave"},
		{&EGetKeyRequest, base + testSize, sgx.VectorGP, "outside the enclave"},
		{&EGetKeyRequest, 0, sgx.VectorGP, "outside the enclave"},
		{&EGetKeyRequest, base + 0x8000, sgx.VectorPF, "there is no page"},
		{&EGetKeyRequest, base, sgx.VectorPF, "in a page TCS ---"},
		{&EGetKeyOutput, base + 0x1000, sgx.VectorPF, "in a page REG r-x"},
		{&EReportOutput, base + 0x1000, sgx.VectorPF, "in a page REG r-x"},
	} {
		_, f := e.Operand(v.o, v.addr)
		wantFault(t, v.what, f, v.vector, v.what)
		if f != nil && f.Vector == sgx.VectorPF && (f.Addr != v.addr || f.ErrorCode&pfSGX == 0 ||
			f.ErrorCode&pfWrite != 0 != (v.o.Access == sgx.SecInfoW)) {
			t.Errorf("%s: address %#x, error code %#x", v.what, f.Addr, f.ErrorCode)
		}
	}
	for _, o := range []*Operand{&EReportTargetInfo, &EReportReportData, &EReportOutput, &EGetKeyRequest, &EGetKeyOutput} {
		if off, f := e.Operand(o, base+0x2e00); f != nil || off != 0x2e00 {
			t.Errorf("%s: %#x, %v", o.Name, off, f)
		}
		if uint64(o.Size) > o.Align {
			t.Errorf("%s can lie in two pages", o.Name)
		}
	}
	if _, f := e.Operand(&EGetKeyRequest, base+0x1000); f != nil {
		t.Errorf("a request in a page r-x: %v", f)
	}
}
