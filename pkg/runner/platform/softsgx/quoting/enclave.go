package quoting

import (
	"fmt"
	"io"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/microcode"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgx/cmac"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/sign"
)

// The identities of the two enclaves, which Intel's have as well.
const (
	qeProdID  = 1
	pceProdID = 2
	isvSVN    = 1
)

// qeAttributes is what Intel's quoting enclave has: it may ask for the
// provisioning keys.
const qeAttributes = sgx.AttrMode64Bit | sgx.AttrProvisionKey

// identity is an enclave without code: one page that says what it is.
type identity struct {
	device *microcode.Device
	e      *microcode.Enclave
}

// newIdentity measures and initialises an enclave whose page is text, signed with
// the key that everybody has.
func newIdentity(dev *microcode.Device, text string, prodID uint16) (*identity, error) {
	secs := &sgx.SECS{Size: 2 * sgx.PageSize, SSAFrameSize: 1, Attributes: sgx.Attributes{Flags: qeAttributes, XFRM: sgx.XFRMLegacy}}
	e, err := microcode.Create(secs, platform.Caps{
		Attributes: qeAttributes, XFRM: sgx.XFRMLegacy, MaxSize: secs.Size,
		XSAVESize: func(sgx.XFRM) uint32 { return 576 }, // legacy region and header
	})
	if err != nil {
		return nil, err
	}
	page := make([]byte, sgx.PageSize)
	copy(page, text)
	image := sgxs.NewWriter(io.Discard)
	image.MeasureAlso()
	if err := image.Create(secs.SSAFrameSize, secs.Size); err != nil {
		return nil, err
	}
	if err := image.Page(0, sgx.SecInfoREG|sgx.SecInfoR, page); err != nil {
		return nil, err
	}
	if err := image.Flush(); err != nil {
		return nil, err
	}
	mr, err := image.MREnclave()
	if err != nil {
		return nil, err
	}
	if err := e.Add(0, sgx.SecInfoREG|sgx.SecInfoR, page); err != nil {
		return nil, err
	}
	for off := uint64(0); off < sgx.PageSize; off += sgx.ChunkSize {
		if err := e.Extend(off, (*[sgx.ChunkSize]byte)(page[off:])); err != nil {
			return nil, err
		}
	}
	sig := sign.New(mr)
	sign.ForbidDebug(sig)
	sig.Attributes.Flags, sig.AttributeMask.Flags = qeAttributes, ^sgx.AttrFlags(0)
	sig.ISVProdID, sig.ISVSVN = prodID, isvSVN
	if err := sign.Sign(sig, sign.DebugKey()); err != nil {
		return nil, err
	}
	if err := e.Init(dev, sig); err != nil {
		return nil, err
	}
	return &identity{dev, e}, nil
}

// target names the enclave as the target of reports.
func (i *identity) target() *sgx.TargetInfo {
	s := i.e.SECS()
	return &sgx.TargetInfo{MREnclave: s.MREnclave, Attributes: s.Attributes, MiscSelect: s.MiscSelect}
}

// report is EREPORT in the enclave.
func (i *identity) report(target *sgx.TargetInfo, data *[sgx.ReportDataSize]byte) (sgx.Report, error) {
	return microcode.EReport(i.device, i.e, target, data)
}

// check is what an enclave does with a REPORT: it gets its report key and checks
// the MAC.
func (i *identity) check(r *sgx.Report) error {
	request, _ := (&sgx.KeyRequest{KeyName: sgx.KeyReport, KeyID: r.KeyID}).AppendBinary(nil)
	key, code, fault := microcode.EGetKey(i.device, i.e, request)
	if fault != nil {
		return fault
	}
	if code != sgx.Success {
		return fmt.Errorf("EGETKEY: %w", code)
	}
	body, _ := r.Body.AppendBinary(nil)
	if !cmac.Verify(key, body, r.MAC) {
		return ErrNotForUs
	}
	return nil
}
