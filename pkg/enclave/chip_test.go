package enclave

import (
	"bytes"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/microcode"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/sign"
)

// chip is a processor that executes the two leaves in an enclave, by the rules of
// the software platform.
type chip struct {
	t   testing.TB
	dev *microcode.Device
	e   *microcode.Enclave
}

func (c *chip) present() bool { return true }

func (c *chip) report(target *[sgx.TargetInfoSize]byte, data *[sgx.ReportDataSize]byte) (r [sgx.ReportSize]byte, err error) {
	ti, err := sgx.ParseTargetInfo(target[:])
	if err != nil {
		c.t.Fatalf("EREPORT would fault: %v", err)
	}
	made, err := microcode.EReport(c.dev, c.e, ti, data)
	if err != nil {
		c.t.Fatalf("EREPORT would fault: %v", err)
	}
	b, _ := made.AppendBinary(nil)
	return [sgx.ReportSize]byte(b), nil
}

func (c *chip) key(request *[sgx.KeyRequestSize]byte) ([16]byte, error) {
	k, code, fault := microcode.EGetKey(c.dev, c.e, request[:])
	if fault != nil {
		c.t.Fatalf("EGETKEY would fault: %v", fault)
	}
	if code != sgx.Success {
		return k, code
	}
	return k, nil
}

// maker says how the enclave of a chip differs from the usual one.
type maker struct {
	seed      byte // of the machine
	page      string
	configID  byte
	configSVN uint16
	flags     sgx.AttrFlags
	sign      func(*sgx.SigStruct)
}

// newChip makes and initialises an enclave of one page, signed by the debug key.
func newChip(t testing.TB, m maker) *chip {
	t.Helper()
	const size = 0x10000
	secs := &sgx.SECS{
		Size: size, BaseAddr: 0x7f0000000000, SSAFrameSize: 1, ConfigID: [64]byte{m.configID}, ConfigSVN: m.configSVN,
		Attributes: sgx.Attributes{Flags: sgx.AttrMode64Bit | m.flags, XFRM: sgx.XFRMLegacy},
	}
	e, err := microcode.Create(secs, platform.Caps{
		Attributes: sgx.AttrDebug | sgx.AttrMode64Bit | sgx.AttrKSS, XFRM: sgx.XFRMLegacy, MaxSize: size,
		XSAVESize: func(sgx.XFRM) uint32 { return 576 },
	})
	if err != nil {
		t.Fatal(err)
	}
	page := make([]byte, sgx.PageSize)
	copy(page, m.page)
	w := sgxs.NewWriter(&bytes.Buffer{})
	w.MeasureAlso()
	w.Create(secs.SSAFrameSize, size)
	w.Page(0, sgx.SecInfoREGRW, page)
	mr, err := w.MREnclave()
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Add(0, sgx.SecInfoREGRW, page); err != nil {
		t.Fatal(err)
	}
	for off := uint64(0); off < sgx.PageSize; off += sgx.ChunkSize {
		if err := e.Extend(off, (*[sgx.ChunkSize]byte)(page[off:])); err != nil {
			t.Fatal(err)
		}
	}
	s := &sgx.SigStruct{
		Date: sign.DefaultDate, EnclaveHash: mr, Attributes: secs.Attributes, ISVProdID: 7, ISVSVN: 3,
		AttributeMask: sgx.Attributes{Flags: ^sgx.AttrFlags(0), XFRM: ^sgx.XFRM(0)}, MiscMask: ^uint32(0),
	}
	if m.sign != nil {
		m.sign(s)
	}
	if err := sign.Sign(s, sign.DebugKey()); err != nil {
		t.Fatal(err)
	}
	dev := microcode.NewDevice([microcode.SeedSize]byte{m.seed})
	if err := e.Init(dev, s); err != nil {
		t.Fatal(err)
	}
	return &chip{t, dev, e}
}
