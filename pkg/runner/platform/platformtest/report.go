package platformtest

import (
	"bytes"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

func testReport(t *testing.T, p platform.Platform) {
	subtests(t, p, []subtest{
		{"content", testReportContent},
		{"target", testReportTarget},
		{"operands", testReportOperands},
	})
}

func testReportContent(t *testing.T, p platform.Platform) {
	im := keyEnclave()
	im.sign = func(s *sgx.SigStruct) { s.ISVProdID, s.ISVSVN = 0x1234, 0x5678 }
	if p.Caps().Attributes&sgx.AttrKSS != 0 {
		im.secs.Attributes.Flags |= sgx.AttrKSS
		im.secs.ConfigID, im.secs.ConfigSVN = [64]byte{1, 63: 2}, 3
		im.sign = func(s *sgx.SigStruct) {
			s.ISVProdID, s.ISVSVN = 0x1234, 0x5678
			s.ISVFamilyID, s.ISVExtProdID = [16]byte{4}, [16]byte{5}
		}
	}
	a := startAsker(t, p, im)
	sig := im.signature(t)
	data := [64]byte{7, 63: 8}
	r := a.report(t, a.self(), data)
	want := sgx.ReportBody{
		CPUSVN: r.Body.CPUSVN, MiscSelect: im.secs.MiscSelect, ISVExtProdID: sig.ISVExtProdID,
		Attributes: a.SECS().Attributes, MREnclave: sig.EnclaveHash, MRSigner: sig.MRSigner(),
		ConfigID: im.secs.ConfigID, ISVProdID: sig.ISVProdID, ISVSVN: sig.ISVSVN, ConfigSVN: im.secs.ConfigSVN,
		ISVFamilyID: sig.ISVFamilyID, ReportData: data,
	}
	if r.Body != want {
		t.Errorf("report is\n%+v, want\n%+v", r.Body, want)
	}
	if want.Attributes.Flags&sgx.AttrInit == 0 {
		t.Error("ATTRIBUTES.INIT is clear")
	}
	if !a.verifies(t, r) {
		t.Error("the enclave does not verify a report for itself")
	}
	if again := a.report(t, a.self(), data); *again != *r {
		t.Error("the same report twice is not the same")
	}
}

// A report verifies in the enclave that it is for and nowhere else.
func testReportTarget(t *testing.T, p platform.Platform) {
	source := startAsker(t, p, keyEnclave())
	im := keyEnclave()
	im.page(offConst).data[9] = 1
	target := startAsker(t, p, im)
	r := source.report(t, target.self(), [64]byte{1})
	if r.Body.MREnclave != source.mr || r.Body.MREnclave == target.mr {
		t.Error("MRENCLAVE is not the source's")
	}
	if !target.verifies(t, r) {
		t.Error("the target does not verify the report")
	}
	if source.verifies(t, r) {
		t.Error("the source verifies a report for another")
	}
	// The target as a production enclave is another target.
	if startAsker(t, p, im.production()).verifies(t, r) {
		t.Error("the target with other attributes verifies the report")
	}
	for name, change := range map[string]func(*sgx.Report){
		"REPORTDATA": func(r *sgx.Report) { r.Body.ReportData[63]++ },
		"MRENCLAVE":  func(r *sgx.Report) { r.Body.MREnclave[0]++ },
		"ATTRIBUTES": func(r *sgx.Report) { r.Body.Attributes.Flags ^= sgx.AttrDebug },
		"ISVSVN":     func(r *sgx.Report) { r.Body.ISVSVN++ },
		"CPUSVN":     func(r *sgx.Report) { r.Body.CPUSVN[0]++ },
		"KEYID":      func(r *sgx.Report) { r.KeyID[5]++ },
		"MAC":        func(r *sgx.Report) { r.MAC[15]++ },
	} {
		forged := *r
		change(&forged)
		if target.verifies(t, &forged) {
			t.Errorf("a report with another %s verifies", name)
		}
	}
}

// ENCLU checks its operands before it looks at them.
func testReportOperands(t *testing.T, p platform.Platform) {
	// The operands of the leaf, as offsets.
	type operands struct{ rbx, rcx, rdx uint64 }
	reports := operands{offTargetInfo, offReportData, offReport}
	keys := operands{offRequest, offKey, 0}
	for _, v := range []struct {
		name   string
		leaf   sgx.Leaf
		base   operands
		change func(*operands)
		vector uint8
		addr   uint64
	}{
		{"TARGETINFO not aligned", sgx.LeafEREPORT, reports, func(o *operands) { o.rbx += 256 }, sgx.VectorGP, 0},
		{"REPORTDATA not aligned", sgx.LeafEREPORT, reports, func(o *operands) { o.rcx += 64 }, sgx.VectorGP, 0},
		{"OUTPUTDATA not aligned", sgx.LeafEREPORT, reports, func(o *operands) { o.rdx += 256 }, sgx.VectorGP, 0},
		{"TARGETINFO outside", sgx.LeafEREPORT, reports, func(o *operands) { o.rbx = imageSize }, sgx.VectorGP, 0},
		{"REPORTDATA outside", sgx.LeafEREPORT, reports, func(o *operands) { o.rcx = imageSize }, sgx.VectorGP, 0},
		{"OUTPUTDATA outside", sgx.LeafEREPORT, reports, func(o *operands) { o.rdx = 1<<64 - 512 }, sgx.VectorGP, 0},
		{"OUTPUTDATA in constants", sgx.LeafEREPORT, reports, func(o *operands) { o.rdx = offConst }, sgx.VectorPF, offConst},
		{"OUTPUTDATA in code", sgx.LeafEREPORT, reports, func(o *operands) { o.rdx = offCode }, sgx.VectorPF, offCode},
		{"TARGETINFO in a hole", sgx.LeafEREPORT, reports, func(o *operands) { o.rbx = offHole }, sgx.VectorPF, offHole},
		{"REPORTDATA without rights", sgx.LeafEREPORT, reports, func(o *operands) { o.rcx = offNone }, sgx.VectorPF, offNone},
		{"TARGETINFO in a TCS", sgx.LeafEREPORT, reports, func(o *operands) { o.rbx = offTCS }, sgx.VectorPF, offTCS},
		{"KEYREQUEST not aligned", sgx.LeafEGETKEY, keys, func(o *operands) { o.rbx += 16 }, sgx.VectorGP, 0},
		{"key not aligned", sgx.LeafEGETKEY, keys, func(o *operands) { o.rcx += 8 }, sgx.VectorGP, 0},
		{"KEYREQUEST outside", sgx.LeafEGETKEY, keys, func(o *operands) { o.rbx = imageSize }, sgx.VectorGP, 0},
		{"key outside", sgx.LeafEGETKEY, keys, func(o *operands) { o.rcx = imageSize }, sgx.VectorGP, 0},
		{"key in constants", sgx.LeafEGETKEY, keys, func(o *operands) { o.rcx = offConst }, sgx.VectorPF, offConst},
		{"key in a hole", sgx.LeafEGETKEY, keys, func(o *operands) { o.rcx = offHole }, sgx.VectorPF, offHole},
		{"KEYREQUEST in a TCS", sgx.LeafEGETKEY, keys, func(o *operands) { o.rbx = offTCS2 }, sgx.VectorPF, offTCS2},
	} {
		t.Run(v.name, func(t *testing.T) {
			o := v.base
			v.change(&o)
			im := faulting(func(a *asm) {
				a.lea("rbx", o.rbx)
				a.lea("rcx", o.rcx)
				a.lea("rdx", o.rdx)
				a.mov("rax", uint64(v.leaf))
			}, "enclu")
			im.page(offData).data = make([]byte, sgx.PageSize) // zeros: valid operands
			e := im.start(t, p)
			before := e.read(t, offConst, sgx.PageSize)
			x := enter(t, e.thread(t), new(platform.Regs))
			wantException(t, x, v.vector)
			if v.vector == sgx.VectorPF && x.Addr&^0xfff != e.base+v.addr {
				t.Errorf("address is %#x, want %#x", x.Addr, e.base+v.addr)
			}
			wantFrame(t, e, v.vector, offFault)
			if !bytes.Equal(e.read(t, offConst, sgx.PageSize), before) {
				t.Error("constants were written to")
			}
		})
	}
}
