package enclave

import (
	"errors"
	"fmt"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgx/cmac"
)

// ErrNotEnclave is the answer of every function to a program that does not run
// inside an enclave of eos.
var ErrNotEnclave = errors.New("not inside an enclave: build the program with 'eos build' and start it with 'eos run'")

// ErrNotForUs is Verify's answer to a report whose MAC is not one for this enclave.
var ErrNotForUs = errors.New("the report was not made for this enclave on this machine, or has been changed")

// ErrNoPayload is Payload's answer in an image that was built to take none.
var ErrNoPayload = errors.New("the image takes no payload")

// processor is what the kernel does for us. The operands are the architecture's.
type processor interface {
	// present reports whether there is an enclave.
	present() bool
	// report is EREPORT.
	report(target *[sgx.TargetInfoSize]byte, data *[sgx.ReportDataSize]byte) ([sgx.ReportSize]byte, error)
	// key is EGETKEY. The error is ErrNotEnclave or an sgx.ErrorCode.
	key(request *[sgx.KeyRequestSize]byte) ([16]byte, error)
}

// Inside reports whether the program runs inside an enclave. It asks by a system call
// that only the kernel of eos has.
func Inside() bool { return kernel{}.present() }

// Payload returns what was appended to the image when it was completed, such as the
// modules that a runtime is to run. It is as trustworthy as the program: the
// measurement is over both. The bytes are those of the image and cannot be written:
// an attempt is a fault. The error is ErrNoPayload if the image was not built to
// take any.
func Payload() ([]byte, error) { return kernel{}.payload() }

// Self is the identity of the enclave: the body of a report for nobody, whose
// REPORTDATA is zero.
func Self() (*sgx.ReportBody, error) { return self(kernel{}) }

// TargetInfo is what another enclave on this machine needs in order to make a
// report for this one.
func TargetInfo() (*sgx.TargetInfo, error) {
	b, err := Self()
	if err != nil {
		return nil, err
	}
	return targetInfo(b), nil
}

// Report makes a report of this enclave with data in it for another one, which can
// Verify it. data is usually a hash of what the report is to vouch for.
func Report(target *sgx.TargetInfo, data [sgx.ReportDataSize]byte) (*sgx.Report, error) {
	return report(kernel{}, target, data)
}

// Verify checks that a report was made for this enclave, by an enclave on this
// machine. Who that one is, whether it is a debug enclave, and what its REPORTDATA
// means are the caller's to check. The error is ErrNotForUs if the MAC is wrong.
func Verify(r *sgx.Report) error { return verify(kernel{}, r) }

// Key derives the key that r asks for (EGETKEY). A request that makes the processor
// fault is refused with a *KeyError; so is one for a seal key that any enclave could
// have, which is that of a policy with neither MRENCLAVE nor MRSIGNER. An answer of
// the processor's own is an sgx.ErrorCode.
func Key(r *sgx.KeyRequest) ([16]byte, error) { return key(kernel{}, r) }

// KeyError says why a KEYREQUEST is refused.
type KeyError struct{ What string }

func (e *KeyError) Error() string { return "key request: " + e.What }

func self(p processor) (*sgx.ReportBody, error) {
	b, err := p.report(new([sgx.TargetInfoSize]byte), new([sgx.ReportDataSize]byte))
	if err != nil {
		return nil, err
	}
	return sgx.ParseReportBody(b[:sgx.ReportBodySize])
}

func targetInfo(b *sgx.ReportBody) *sgx.TargetInfo {
	return &sgx.TargetInfo{
		MREnclave: b.MREnclave, Attributes: b.Attributes, CETAttributes: b.CETAttributes,
		ConfigSVN: b.ConfigSVN, MiscSelect: b.MiscSelect, ConfigID: b.ConfigID,
	}
}

func report(p processor, target *sgx.TargetInfo, data [sgx.ReportDataSize]byte) (*sgx.Report, error) {
	switch {
	case !p.present():
		return nil, ErrNotEnclave
	case target == nil || target.MREnclave == sgx.Measurement{}:
		return nil, errors.New("report: the target names no enclave: its MRENCLAVE is zero")
	}
	t, _ := target.AppendBinary(nil)
	b, err := p.report((*[sgx.TargetInfoSize]byte)(t), &data)
	if err != nil {
		return nil, err
	}
	return sgx.ParseReport(b[:])
}

func verify(p processor, r *sgx.Report) error {
	switch {
	case !p.present():
		return ErrNotEnclave
	case r == nil:
		return ErrNotForUs
	}
	k, err := key(p, &sgx.KeyRequest{KeyName: sgx.KeyReport, KeyID: r.KeyID})
	if err != nil {
		return err
	}
	defer clear(k[:])
	body, _ := r.Body.AppendBinary(nil)
	if !cmac.Verify(k, body, r.MAC) {
		return ErrNotForUs
	}
	return nil
}

func key(p processor, r *sgx.KeyRequest) (k [16]byte, err error) {
	s, err := self(p)
	if err != nil {
		return k, err
	}
	if err := checkKeyRequest(r, s); err != nil {
		return k, err
	}
	b, _ := r.AppendBinary(nil)
	k, err = p.key((*[sgx.KeyRequestSize]byte)(b))
	if code := sgx.ErrorCode(0); errors.As(err, &code) {
		err = fmt.Errorf("EGETKEY: %w", code)
	}
	return k, err
}

// checkKeyRequest refuses what EGETKEY answers with #GP in the enclave s, which
// would end the program, and keys that are none.
func checkKeyRequest(r *sgx.KeyRequest, s *sgx.ReportBody) error {
	kss := s.Attributes.Flags&sgx.AttrKSS != 0
	switch {
	case r == nil || *r == sgx.KeyRequest{}:
		return &KeyError{"it is empty"}
	case r.KeyName > sgx.KeySeal:
		return &KeyError{fmt.Sprintf("there is no KEYNAME %d", r.KeyName)}
	case r.KeyPolicy&^sgx.PolicyKnown != 0:
		return &KeyError{fmt.Sprintf("KEYPOLICY has unknown bits %#x", uint16(r.KeyPolicy&^sgx.PolicyKnown))}
	case !kss && r.KeyPolicy&sgx.PolicyKSS != 0:
		return &KeyError{fmt.Sprintf("KEYPOLICY has bits %#x, but the enclave was not signed for KSS", uint16(r.KeyPolicy&sgx.PolicyKSS))}
	case !kss && r.ConfigSVN != 0:
		return &KeyError{"CONFIGSVN is set, but the enclave was not signed for KSS"}
	case s.Attributes.Flags&sgx.AttrCET == 0 && r.CETAttributesMask != 0:
		return &KeyError{"CET_ATTRIBUTES_MASK is set, but the enclave does not use CET"}
	case r.KeyName == sgx.KeySeal && r.KeyPolicy&identities == 0:
		return &KeyError{"a seal key with neither MRENCLAVE nor MRSIGNER in its policy is everybody's"}
	}
	return nil
}
