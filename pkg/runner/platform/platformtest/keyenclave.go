package platformtest

import (
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgx/cmac"
)

// Operands of the key enclave, in its data page; each has the alignment that
// its instruction wants.
const (
	offRequest    = offData         // KEYREQUEST, 512
	offKey        = offData + 0x200 // 16
	offTargetInfo = offData + 0x400 // 512
	offReportData = offData + 0x600 // 64, aligned to 128
	offReport     = offData + 0x800 // 432, aligned to 512
)

// keyEnclave is an enclave that asks the processor for keys and reports. With
// RDX = 0 it copies a KEYREQUEST from RDI, does EGETKEY and copies the key to
// RSI; RDI is then RAX, RDX is ZF. With RDX = 1 it copies 576 bytes, TARGETINFO
// and REPORTDATA, from RDI, does EREPORT and copies the REPORT to RSI.
func keyEnclave() *image {
	const report = offCode + 0x100
	copyIn := func(a *asm, off uint64, n uint64) {
		a.op("mov rsi, rdi")
		a.lea("rdi", off)
		a.mov("rcx", n)
		a.op("rep movsb")
	}
	copyOut := func(a *asm, off uint64, n uint64) {
		a.op("mov rdi, r8")
		a.lea("rsi", off)
		a.mov("rcx", n)
		a.op("rep movsb", "mov rdi, r9", "mov rbx, r11")
		a.mov("rax", 4)
		a.op("enclu", "ud2")
	}
	return newCode(func(a *asm) {
		a.op("mov r11, rcx", "mov r8, rsi", "test rdx, rdx")
		a.jump("jne", report)
		copyIn(a, offRequest, sgx.KeyRequestSize)
		a.lea("rbx", offRequest)
		a.lea("rcx", offKey)
		a.mov("rax", uint64(sgx.LeafEGETKEY))
		a.op("enclu", "setz dl", "movzx edx, dl", "mov r9, rax")
		copyOut(a, offKey, 16)
		a.skipTo(report)
		copyIn(a, offTargetInfo, sgx.TargetInfoSize+sgx.ReportDataSize)
		a.lea("rbx", offTargetInfo)
		a.lea("rcx", offReportData)
		a.lea("rdx", offReport)
		a.mov("rax", uint64(sgx.LeafEREPORT))
		a.op("enclu", "mov r9, rax")
		copyOut(a, offReport, sgx.ReportSize)
	}, nil)
}

// asker is a thread of a key enclave.
type asker struct {
	*enclave
	th platform.Thread
}

func startAsker(t testing.TB, p platform.Platform, im *image) *asker {
	t.Helper()
	e := im.start(t, p)
	return &asker{e, e.thread(t)}
}

// ask does EGETKEY with the 512 bytes of request.
func (a *asker) ask(t testing.TB, request []byte) (key [16]byte, code sgx.ErrorCode, x platform.Exit) {
	t.Helper()
	in, inAddr := hostMemory(t, sgx.KeyRequestSize)
	copy(in, request)
	out, outAddr := hostMemory(t, 16)
	r := platform.Regs{RDI: inAddr, RSI: outAddr}
	x = enter(t, a.th, &r)
	if x.Kind != platform.ExitEEXIT {
		return key, 0, x
	}
	if zf := r.RDI != 0; zf != (r.RDX == 1) {
		t.Errorf("EGETKEY: RAX is %d, ZF is %d", r.RDI, r.RDX)
	}
	return [16]byte(out), sgx.ErrorCode(r.RDI), x
}

// key does EGETKEY and wants success.
func (a *asker) key(t testing.TB, kr *sgx.KeyRequest) [16]byte {
	t.Helper()
	b, err := kr.AppendBinary(nil)
	must(t, err)
	key, code, x := a.ask(t, b)
	if x.Kind != platform.ExitEEXIT || code != sgx.Success || key == [16]byte{} {
		t.Fatalf("EGETKEY: left by %s, %v, key %x", x, code, key)
	}
	return key
}

// report does EREPORT.
func (a *asker) report(t testing.TB, ti *sgx.TargetInfo, data [64]byte) *sgx.Report {
	t.Helper()
	b, err := ti.AppendBinary(nil)
	must(t, err)
	in, inAddr := hostMemory(t, sgx.TargetInfoSize+sgx.ReportDataSize)
	copy(in, append(b, data[:]...))
	out, outAddr := hostMemory(t, sgx.ReportSize)
	wantEEXIT(t, a.th, sgx.LeafEENTER, &platform.Regs{RDI: inAddr, RSI: outAddr, RDX: 1})
	r, err := sgx.ParseReport(out)
	must(t, err)
	return r
}

// self returns the TARGETINFO that names the enclave.
func (e *enclave) self() *sgx.TargetInfo {
	s := e.SECS()
	return &sgx.TargetInfo{
		MREnclave: s.MREnclave, Attributes: s.Attributes, CETAttributes: s.CETAttributes,
		ConfigSVN: s.ConfigSVN, MiscSelect: s.MiscSelect, ConfigID: s.ConfigID,
	}
}

// verifies reports whether r is a report for a, with the key that a gets.
func (a *asker) verifies(t testing.TB, r *sgx.Report) bool {
	t.Helper()
	key := a.key(t, &sgx.KeyRequest{KeyName: sgx.KeyReport, KeyID: r.KeyID})
	body, err := r.Body.AppendBinary(nil)
	must(t, err)
	return cmac.Verify(key, body, r.MAC)
}
