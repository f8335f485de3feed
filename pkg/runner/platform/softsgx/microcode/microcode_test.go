package microcode

import (
	"errors"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sign"
)

// testCaps is a processor with everything that the rules speak of.
var testCaps = platform.Caps{
	Attributes: sgx.AttrDebug | sgx.AttrMode64Bit | sgx.AttrProvisionKey | sgx.AttrEInitTokenKey | sgx.AttrKSS | sgx.AttrCET,
	XFRM:       sgx.XFRMLegacy | sgx.XFRMAVX | sgx.XFRMAVX512 | sgx.XFRMAMX | sgx.XFRMBndRegs | sgx.XFRMBndCSR,
	MiscSelect: sgx.MiscEXINFO,
	MaxSize:    1 << 36,
	XSAVESize: func(x sgx.XFRM) uint32 {
		switch {
		case x&sgx.XFRMAMX != 0:
			return 11008
		case x&sgx.XFRMAVX512 != 0:
			return 2688
		case x&sgx.XFRMAVX != 0:
			return 832
		}
		return 576
	},
}

const testSize = 0x10000

// testSECS is the simplest SECS that ECREATE accepts.
func testSECS() *sgx.SECS {
	return &sgx.SECS{
		Size: testSize, BaseAddr: 0x7f0000000000, SSAFrameSize: 1,
		Attributes: sgx.Attributes{Flags: sgx.AttrMode64Bit, XFRM: sgx.XFRMLegacy},
	}
}

func create(t testing.TB, secs *sgx.SECS) *Enclave {
	t.Helper()
	e, err := Create(secs, testCaps)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func add(t testing.TB, e *Enclave, off uint64, flags sgx.SecInfoFlags, data []byte) {
	t.Helper()
	if err := e.Add(off, flags, data); err != nil {
		t.Fatal(err)
	}
}

// testTCS is a TCS with two SSA frames of one page at 0x2000 and 0x3000.
func testTCS() *sgx.TCS {
	return &sgx.TCS{OSSA: 0x2000, NSSA: 2, OEntry: 0x1010, OFSBase: 0x4000, OGSBase: 0x5000, FSLimit: 0xfff, GSLimit: 0xfff}
}

func encodeTCS(t *sgx.TCS) []byte {
	b, _ := t.AppendBinary(nil)
	return b
}

// build returns an enclave before EINIT: a TCS, code, SSA frames, data.
func build(t testing.TB, secs *sgx.SECS, tcs *sgx.TCS) *Enclave {
	t.Helper()
	e := create(t, secs)
	add(t, e, 0, sgx.SecInfoTCS, encodeTCS(tcs))
	add(t, e, 0x1000, sgx.SecInfoREGRX, nil)
	for off := uint64(0x2000); off < 0x6000; off += sgx.PageSize {
		add(t, e, off, sgx.SecInfoREGRW, nil)
	}
	return e
}

// signature returns a signed SIGSTRUCT for e after change, if any, and the
// debug key of pkg/sign.
func signature(t testing.TB, e *Enclave, change func(*sgx.SigStruct)) *sgx.SigStruct {
	t.Helper()
	s := &sgx.SigStruct{
		Date: 0x20250102, EnclaveHash: e.measure.sum(),
		Attributes:    e.secs.Attributes,
		AttributeMask: sgx.Attributes{Flags: ^sgx.AttrDebug, XFRM: ^sgx.XFRM(0)},
		MiscSelect:    e.secs.MiscSelect, MiscMask: ^uint32(0),
		ISVProdID: 7, ISVSVN: 3,
	}
	if change != nil {
		change(s)
	}
	if err := sign.Sign(s, sign.DebugKey()); err != nil {
		t.Fatal(err)
	}
	return s
}

func start(t testing.TB, e *Enclave, dev *Device, change func(*sgx.SigStruct)) {
	t.Helper()
	if err := e.Init(dev, signature(t, e, change)); err != nil {
		t.Fatal(err)
	}
}

// wantFault checks that err is a *Fault of vector whose text has what.
func wantFault(t *testing.T, name string, err error, vector uint8, what string) {
	t.Helper()
	var f *Fault
	if !errors.As(err, &f) {
		t.Errorf("%s: error is %v, want a fault", name, err)
		return
	}
	if f.Vector != vector || !strings.Contains(f.Error(), what) {
		t.Errorf("%s: fault is %q, vector %d, want vector %d and %q", name, f, f.Vector, vector, what)
	}
}
