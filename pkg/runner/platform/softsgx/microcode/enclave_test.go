package microcode

import (
	"bytes"
	"testing"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
)

func TestEAdd(t *testing.T) {
	e := create(t, testSECS())
	for off, flags := range map[uint64]sgx.SecInfoFlags{
		0x1000: sgx.SecInfoREGRX, 0x2000: sgx.SecInfoREGRW, 0x3000: sgx.SecInfoREGR, 0x4000: sgx.SecInfoREG,
		0x5000: sgx.SecInfoREGRW | sgx.SecInfoX, 0x6000: sgx.SecInfoREG | sgx.SecInfoX, 0x7000: sgx.SecInfoTCS,
		testSize - 0x1000: sgx.SecInfoREGR,
	} {
		add(t, e, off, flags, nil)
		for _, at := range []uint64{off, off + 4095} {
			if p, ok := e.Page(at); !ok || p.Flags != flags {
				t.Errorf("page %#x at %#x: %s %t, want %s", off, at, p.Flags, ok, flags)
			}
		}
	}
	for _, off := range []uint64{0, 0x8000, testSize, 1 << 63} {
		if p, ok := e.Page(off); ok {
			t.Errorf("page %#x: %s, want none", off, p.Flags)
		}
	}
	if tcs, ok := e.TCS(0x7000); !ok || tcs != (sgx.TCS{}) {
		t.Errorf("TCS is %+v, %t", tcs, ok)
	}
	if _, ok := e.TCS(0x1000); ok {
		t.Error("a REG page is a TCS")
	}
}

func TestEAddRefuses(t *testing.T) {
	tcs := func(change func(*sgx.TCS)) []byte {
		x := testTCS()
		change(x)
		return encodeTCS(x)
	}
	reserved := encodeTCS(testTCS())
	reserved[4095] = 1
	state := encodeTCS(testTCS())
	state[0] = 1
	for _, v := range []struct {
		name  string
		off   uint64
		flags sgx.SecInfoFlags
		data  []byte
		what  string
	}{
		{"not aligned", 0x4010, sgx.SecInfoREGR, nil, "offset 0x4010 is not a multiple of 4096"},
		{"outside", testSize, sgx.SecInfoREGR, nil, "outside the enclave of 0x10000 bytes"},
		{"far outside", 1<<64 - 4096, sgx.SecInfoREGR, nil, "outside the enclave"},
		{"twice", 0x1000, sgx.SecInfoREGRX, nil, "page 0x1000 has been added already"},
		{"reserved bit", 0x4000, sgx.SecInfoREGR | 1<<6, nil, "reserved bits 0x40"},
		{"reserved high bit", 0x4000, sgx.SecInfoREGR | 1<<63, nil, "reserved bits 0x8000000000000000"},
		{"PENDING", 0x4000, sgx.SecInfoREGR | sgx.SecInfoPending, nil, "PENDING, MODIFIED and PR must be clear"},
		{"MODIFIED", 0x4000, sgx.SecInfoREGR | sgx.SecInfoModified, nil, "PENDING, MODIFIED and PR must be clear"},
		{"PR", 0x4000, sgx.SecInfoREGR | sgx.SecInfoPR, nil, "PENDING, MODIFIED and PR must be clear"},
		{"W only", 0x4000, sgx.SecInfoREG | sgx.SecInfoW, nil, "W without R"},
		{"WX", 0x4000, sgx.SecInfoREG | sgx.SecInfoW | sgx.SecInfoX, nil, "W without R"},
		{"SECS page", 0x4000, 0, nil, "page type SECS"},
		{"VA page", 0x4000, sgx.SecInfoFlags(sgx.PageVA) << 8, nil, "page type VA"},
		{"TRIM page", 0x4000, sgx.SecInfoFlags(sgx.PageTRIM)<<8 | sgx.SecInfoR, nil, "page type TRIM"},
		{"shadow stack", 0x4000, sgx.SecInfoFlags(sgx.PageSSFirst)<<8 | sgx.SecInfoR, nil, "page type SS_FIRST"},
		{"type 255", 0x4000, 0xff00, nil, "page type type 255"},
		{"short data", 0x4000, sgx.SecInfoREGR, make([]byte, 4095), "4095 bytes of data"},
		{"long data", 0x4000, sgx.SecInfoREGR, make([]byte, 4097), "4097 bytes of data"},
		{"empty data", 0x4000, sgx.SecInfoREGR, []byte{}, "0 bytes of data"},
		{"TCS r", 0x4000, sgx.SecInfoTCS | sgx.SecInfoR, nil, "a TCS has no permissions"},
		{"TCS rw", 0x4000, sgx.SecInfoTCS | sgx.SecInfoR | sgx.SecInfoW, nil, "a TCS has no permissions"},
		{"TCS reserved", 0x4000, sgx.SecInfoTCS, reserved, "offset 4095: reserved byte"},
		{"TCS state", 0x4000, sgx.SecInfoTCS, state, "offset 0: reserved byte"},
		{"TCS CSSA", 0x4000, sgx.SecInfoTCS, tcs(func(x *sgx.TCS) { x.CSSA = 1 }), "CSSA is 1, want 0"},
		{"TCS AEP", 0x4000, sgx.SecInfoTCS, tcs(func(x *sgx.TCS) { x.AEP = 1 }), "AEP is 0x1, want 0"},
		{"TCS DBGOPTIN", 0x4000, sgx.SecInfoTCS, tcs(func(x *sgx.TCS) { x.Flags = sgx.TCSDebugOptIn }), "DBGOPTIN"},
		{"TCS PREVSSP", 0x4000, sgx.SecInfoTCS, tcs(func(x *sgx.TCS) { x.PrevSSP = 8 }), "PREVSSP is 0x8"},
	} {
		e := create(t, testSECS())
		add(t, e, 0x1000, sgx.SecInfoREGRX, nil)
		before := e.measure.sum()
		wantFault(t, v.name, e.Add(v.off, v.flags, v.data), sgx.VectorGP, v.what)
		if e.measure.sum() != before {
			t.Errorf("%s: a refused page is measured", v.name)
		}
		if _, ok := e.Page(0x4000); ok {
			t.Errorf("%s: a refused page is there", v.name)
		}
	}
}

func TestEExtendRefuses(t *testing.T) {
	e := create(t, testSECS())
	add(t, e, 0x1000, sgx.SecInfoREGRX, nil)
	before := e.measure.sum()
	for off, what := range map[uint64]string{
		0x1080: "offset 0x1080 is not a multiple of 256", 0x2000: "its page has not been added",
		0: "its page has not been added", testSize: "outside the enclave", 1<<64 - 256: "outside the enclave",
	} {
		wantFault(t, what, e.Extend(off, new([256]byte)), sgx.VectorGP, what)
	}
	if e.measure.sum() != before {
		t.Error("a refused chunk is measured")
	}
}

func TestNothingAfterEInit(t *testing.T) {
	dev := NewDevice([32]byte{1})
	e := build(t, testSECS(), testTCS())
	sig := signature(t, e, nil)
	start(t, e, dev, nil)
	before := e.SECS()
	wantFault(t, "EADD", e.Add(0x8000, sgx.SecInfoREGR, nil), sgx.VectorGP, "is initialised")
	wantFault(t, "EEXTEND", e.Extend(0x1000, new([256]byte)), sgx.VectorGP, "is initialised")
	wantFault(t, "EINIT", e.Init(dev, sig), sgx.VectorGP, "initialised already")
	if e.SECS() != before {
		t.Error("SECS has changed")
	}
}

// MRENCLAVE is that of the SGXS stream with the same records, in any order of
// chunks, with pages measured whole, in part and not at all.
func TestMeasurementIsThatOfSGXS(t *testing.T) {
	var stream bytes.Buffer
	w := sgxs.NewWriter(&stream)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	secs := testSECS()
	secs.Size, secs.BaseAddr, secs.SSAFrameSize = 1<<34, 1<<40, 2
	e := create(t, secs)
	check(w.Create(secs.SSAFrameSize, secs.Size))
	for i, off := range []uint64{0, 0x1000, 0x2000, 0x5000, 1<<34 - 0x1000} {
		flags := []sgx.SecInfoFlags{sgx.SecInfoREGRX, sgx.SecInfoTCS, sgx.SecInfoREGRW, sgx.SecInfoREG, sgx.SecInfoREGR}[i]
		page := bytes.Repeat([]byte{byte(i + 1)}, sgx.PageSize)
		if flags == sgx.SecInfoTCS {
			page = encodeTCS(testTCS())
		}
		add(t, e, off, flags, page)
		check(w.Write(sgxs.Record{Kind: sgxs.KindEAdd, Offset: off, Flags: flags}))
		for c := range uint64(16) {
			if i == 3 || i == 2 && c%3 != 0 {
				continue
			}
			chunk := [256]byte(page[c*256:])
			check(e.Extend(off+c*256, &chunk))
			check(w.Write(sgxs.Record{Kind: sgxs.KindEExtend, Offset: off + c*256, Data: chunk[:]}))
		}
	}
	check(w.Flush())
	want, err := sgxs.Measure(&stream)
	check(err)
	if got := e.measure.sum(); got != want {
		t.Errorf("MRENCLAVE is %s, sgxs has %s", got, want)
	}
}

func BenchmarkEExtendPage(b *testing.B) {
	e := create(b, testSECS())
	add(b, e, 0, sgx.SecInfoREGR, nil)
	var chunk [256]byte
	b.SetBytes(sgx.PageSize)
	for b.Loop() {
		for off := uint64(0); off < sgx.PageSize; off += 256 {
			if err := e.Extend(off, &chunk); err != nil {
				b.Fatal(err)
			}
		}
	}
}
