//go:build linux && amd64

package softsgx

import (
	"errors"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/microcode"
	"github.com/enclaveos/eos/pkg/sgx"
)

// leaf executes the ENCLU at RIP. The thread is outside, the enclave's state
// in the control block.
func (t *thread) leaf(s *slot, regs *platform.Regs) (exit platform.Exit, done bool, err error) {
	c := t.os.control
	r := &c.gregs
	var f error
	switch leaf := sgx.Leaf(r[gregRAX]); leaf {
	case sgx.LeafEEXIT:
		if r[gregRBX] != uint64(landingStart) {
			// The processor goes there. Nothing good is there, and the jump
			// that stands for EEXIT after patching ends the same way.
			r[gregRIP] = r[gregRBX]
			return t.except(s, exception{vector: sgx.VectorGP})
		}
		*regs = platform.Regs{RDI: r[gregRDI], RSI: r[gregRSI], RDX: r[gregRDX], R8: r[gregR8], R9: r[gregR9], R10: r[gregR10]}
		return platform.Exit{Kind: platform.ExitEEXIT}, true, nil
	case sgx.LeafEREPORT:
		f = t.ereport()
	case sgx.LeafEGETKEY:
		f = t.egetkey()
	case sgx.LeafEACCEPT, sgx.LeafEMODPE, sgx.LeafEACCEPTCOPY:
		// SGX2 belongs here. Caps().SGX2 says that there is none.
		return t.except(s, exception{vector: sgx.VectorUD})
	default: // EENTER and ERESUME are not for enclaves, the rest is nothing
		return t.except(s, exception{vector: sgx.VectorGP})
	}
	var fault *microcode.Fault
	if errors.As(f, &fault) {
		return t.except(s, exception{vector: fault.Vector, code: fault.ErrorCode, addr: fault.Addr})
	}
	if f != nil {
		return exit, true, f
	}
	t.continueAt(r[gregRIP] + uint64(len(enclu)))
	return exit, false, nil
}

// operand returns the bytes of an operand of a leaf, in enclave memory. The
// page allows the access to the enclave, hence to the host.
func (t *thread) operand(o *microcode.Operand, addr uint64) ([]byte, error) {
	off, f := t.e.mc.Operand(o, addr)
	if f != nil {
		return nil, f
	}
	return t.e.memory.bytes(uintptr(off), uintptr(o.Size)), nil
}

// ereport does EREPORT: RBX is TARGETINFO, RCX REPORTDATA, RDX where the
// REPORT goes. No register and no flag changes.
func (t *thread) ereport() error {
	r := &t.os.gregs
	target, err := t.operand(&microcode.EReportTargetInfo, r[gregRBX])
	if err != nil {
		return err
	}
	data, err := t.operand(&microcode.EReportReportData, r[gregRCX])
	if err != nil {
		return err
	}
	out, err := t.operand(&microcode.EReportOutput, r[gregRDX])
	if err != nil {
		return err
	}
	ti, err := sgx.ParseTargetInfo(append([]byte(nil), target...))
	if err != nil {
		return &microcode.Fault{Instr: "EREPORT", Vector: sgx.VectorGP, What: err.Error()}
	}
	d := [sgx.ReportDataSize]byte(data)
	report, err := microcode.EReport(t.e.device, t.e.mc, ti, &d)
	if err != nil {
		return err
	}
	b, _ := report.AppendBinary(make([]byte, 0, sgx.ReportSize))
	copy(out, b)
	return nil
}

// Flags that EGETKEY writes: CF, PF, AF, SF and OF become zero, ZF says that
// RAX is not.
const (
	rflagsZF     = 0x40
	rflagsStatus = 0x8d5
)

// egetkey does EGETKEY: RBX is KEYREQUEST, RCX where the key goes.
func (t *thread) egetkey() error {
	r := &t.os.gregs
	request, err := t.operand(&microcode.EGetKeyRequest, r[gregRBX])
	if err != nil {
		return err
	}
	out, err := t.operand(&microcode.EGetKeyOutput, r[gregRCX])
	if err != nil {
		return err
	}
	key, code, fault := microcode.EGetKey(t.e.device, t.e.mc, append([]byte(nil), request...))
	if fault != nil {
		return fault
	}
	r[gregRAX] = uint64(code)
	r[gregRFLAGS] &^= rflagsStatus
	if code != sgx.Success {
		r[gregRFLAGS] |= rflagsZF
		return nil
	}
	copy(out, key[:])
	return nil
}
