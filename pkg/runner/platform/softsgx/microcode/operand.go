package microcode

import (
	"fmt"

	"github.com/enclaveos/eos/pkg/sgx"
)

// Bits of a page fault's error code (SDM vol. 3A 4.7).
const (
	pfPresent = 1 << 0
	pfWrite   = 1 << 1
	pfUser    = 1 << 2
	pfSGX     = 1 << 15
)

// pf returns a #PF of the address at offset off, as the EPCM raises it.
func (e *Enclave) pf(instr string, off uint64, access uint32, format string, args ...any) *Fault {
	return &Fault{
		Instr: instr, Vector: sgx.VectorPF, Addr: e.secs.BaseAddr + off,
		ErrorCode: pfSGX | pfUser | pfPresent | access, What: fmt.Sprintf(format, args...),
	}
}

// Operand is a memory operand of EREPORT or EGETKEY. The alignment is at least
// the size, so that an operand lies in one page.
type Operand struct {
	Instr, Name string
	Align       uint64           // bytes
	Size        int              // bytes
	Access      sgx.SecInfoFlags // SecInfoR or SecInfoW
}

// The operands (SDM 40.4, "Instruction Operand Encoding").
var (
	EReportTargetInfo = Operand{"EREPORT", "TARGETINFO (RBX)", 512, sgx.TargetInfoSize, sgx.SecInfoR}
	EReportReportData = Operand{"EREPORT", "REPORTDATA (RCX)", 128, sgx.ReportDataSize, sgx.SecInfoR}
	EReportOutput     = Operand{"EREPORT", "OUTPUTDATA (RDX)", 512, sgx.ReportSize, sgx.SecInfoW}
	EGetKeyRequest    = Operand{"EGETKEY", "KEYREQUEST (RBX)", 512, sgx.KeyRequestSize, sgx.SecInfoR}
	EGetKeyOutput     = Operand{"EGETKEY", "OUTPUTDATA (RCX)", 16, 16, sgx.SecInfoW}
)

// Operand checks that addr, a linear address, can be operand o: aligned,
// inside the enclave, in a REG page that allows the access. It returns the
// offset in the enclave.
func (e *Enclave) Operand(o *Operand, addr uint64) (off uint64, f *Fault) {
	off = addr - e.secs.BaseAddr
	if addr%o.Align != 0 {
		return 0, gp(o.Instr, "%s is %#x, not a multiple of %d", o.Name, addr, o.Align)
	}
	if addr < e.secs.BaseAddr || off >= e.secs.Size {
		return 0, gp(o.Instr, "%s is %#x, outside the enclave", o.Name, addr)
	}
	access := uint32(0)
	if o.Access&sgx.SecInfoW != 0 {
		access = pfWrite
	}
	page, ok := e.Page(off)
	if !ok {
		return 0, e.pf(o.Instr, off, access, "%s is %#x, where there is no page", o.Name, addr)
	}
	if page.Flags.PageType() != sgx.PageREG || page.Flags&o.Access == 0 {
		return 0, e.pf(o.Instr, off, access, "%s is %#x in a page %s", o.Name, addr, page.Flags)
	}
	return off, nil
}
