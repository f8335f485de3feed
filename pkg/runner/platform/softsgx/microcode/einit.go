package microcode

import (
	"fmt"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sign"
)

// controlled is the attributes that only an enclave of the launch signer may
// have: CONTROLLED_ATTRIBUTES of EINIT. PROVISIONKEY is not among them; on
// Linux access to it is a matter of a device node, here of what the platform's
// Caps let ECREATE accept.
const controlled = sgx.AttrEInitTokenKey

// Measurement is MRENCLAVE of what has been added and extended so far.
func (e *Enclave) Measurement() sgx.Measurement { return e.measure.sum() }

// Init does EINIT (SDM 40.3) on a processor with flexible launch control: no
// EINITTOKEN is wanted. It checks sig against the enclave and completes the
// SECS. The error wraps the sgx.ErrorCode that EINIT would leave in RAX, or is
// a *Fault. After an error the enclave is as before, and Init can be tried
// again.
func (e *Enclave) Init(dev *Device, sig *sgx.SigStruct) error {
	if e.initialised() {
		return gp("EINIT", "the enclave is initialised already")
	}
	if err := sign.Verify(sig); err != nil {
		return fmt.Errorf("EINIT: %w", err)
	}
	refuse := func(code sgx.ErrorCode, format string, args ...any) error {
		return fmt.Errorf("EINIT: %w: %s", code, fmt.Sprintf(format, args...))
	}
	s := &e.secs
	if s.Attributes.Flags&sgx.AttrKSS == 0 {
		if sig.ISVFamilyID != [16]byte{} {
			return refuse(sgx.InvalidSigStruct, "SIGSTRUCT.ISVFAMILYID is %x, but the enclave has no ATTRIBUTES.KSS", sig.ISVFamilyID)
		}
		if sig.ISVExtProdID != [16]byte{} {
			return refuse(sgx.InvalidSigStruct, "SIGSTRUCT.ISVEXTPRODID is %x, but the enclave has no ATTRIBUTES.KSS", sig.ISVExtProdID)
		}
	}
	mr := e.measure.sum()
	if sig.EnclaveHash != mr {
		return refuse(sgx.InvalidMeasurement, "SIGSTRUCT.ENCLAVEHASH is %s, the enclave measures %s", sig.EnclaveHash, mr)
	}
	signer := sig.MRSigner()
	if a := s.Attributes.Flags & controlled; a != 0 && (signer != dev.LaunchSigner || signer == sgx.Measurement{}) {
		return refuse(sgx.InvalidAttribute, "ATTRIBUTES has %s, which only the launch signer's enclaves may have; this one's MRSIGNER is %s", a, signer)
	}
	if want, have := sig.Attributes.And(sig.AttributeMask), s.Attributes.And(sig.AttributeMask); want != have {
		return refuse(sgx.InvalidAttribute, "SIGSTRUCT wants ATTRIBUTES %s, the enclave has %s (mask %#x, %#x)",
			want, have, uint64(sig.AttributeMask.Flags), uint64(sig.AttributeMask.XFRM))
	}
	mask := sgx.MiscSelect(sig.MiscMask)
	if want, have := sig.MiscSelect&mask, s.MiscSelect&mask; want != have {
		return refuse(sgx.InvalidAttribute, "SIGSTRUCT wants MISCSELECT %s, the enclave has %s (mask %#x)", want, have, sig.MiscMask)
	}
	if want, have := sig.CETAttributes&sig.CETAttributesMask, s.CETAttributes&sig.CETAttributesMask; want != have {
		return refuse(sgx.InvalidAttribute, "SIGSTRUCT wants CET_ATTRIBUTES %#x, the enclave has %#x (mask %#x)",
			want, have, sig.CETAttributesMask)
	}
	s.MREnclave, s.MRSigner = mr, signer
	s.ISVProdID, s.ISVSVN = sig.ISVProdID, sig.ISVSVN
	e.isvFamilyID, e.isvExtProdID = sig.ISVFamilyID, sig.ISVExtProdID
	s.Attributes.Flags |= sgx.AttrInit
	return nil
}
