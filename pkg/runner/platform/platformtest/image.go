package platformtest

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"sync"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/sign"
)

// The layout of the test enclaves. What lies between is a hole.
const (
	offTCS     = 0x0000 // first thread
	offCode    = 0x1000 // r-x; entry point
	offHandler = 0x1800 // where the entry point goes if CSSA is not 0
	offSSA     = 0x2000 // two frames of the first thread
	offData    = 0x4000 // rw-; FS base
	offGS      = 0x5000 // rw-; GS base
	offConst   = 0x6000 // r--
	offNone    = 0x7000 // a REG page with no permission
	offTCS2    = 0x8000 // second thread
	offSSA2    = 0x9000 // two frames of it
	offStack   = 0xc000 // rw-, above a hole: a stack that can overflow
	offHole    = 0xb000
	imageSize  = 0x10000
)

// Marks that the image has at the start of pages.
const (
	markData  = 0x1111_2222_3333_4444
	markGS    = 0x5555_6666_7777_8888
	markConst = 0x9999_aaaa_bbbb_cccc
)

// image is an enclave before it is built.
type image struct {
	secs  sgx.SECS
	pages []page
	sign  func(s *sgx.SigStruct) // changes the SIGSTRUCT before it is signed
	key   *rsa.PrivateKey        // nil is the debug key
}

type page struct {
	off   uint64
	flags sgx.SecInfoFlags
	data  []byte // nil is zeros
	plain bool   // not measured
}

// newImage returns the image whose threads run code, a page of entryCode: a
// debug enclave with the least XFRM.
func newImage(code []byte) *image {
	return &image{
		secs: sgx.SECS{
			Size: imageSize, SSAFrameSize: 1,
			Attributes: sgx.Attributes{Flags: sgx.AttrMode64Bit | sgx.AttrDebug, XFRM: sgx.XFRMLegacy},
		},
		pages: []page{
			{off: offTCS, flags: sgx.SecInfoTCS, data: tcsPage(offSSA)},
			{off: offCode, flags: sgx.SecInfoREGRX, data: code},
			{off: offSSA, flags: sgx.SecInfoREGRW},
			{off: offSSA + 0x1000, flags: sgx.SecInfoREGRW},
			{off: offData, flags: sgx.SecInfoREGRW, data: markPage(markData)},
			{off: offGS, flags: sgx.SecInfoREGRW, data: markPage(markGS)},
			{off: offConst, flags: sgx.SecInfoREGR, data: markPage(markConst)},
			{off: offNone, flags: sgx.SecInfoREG},
			{off: offTCS2, flags: sgx.SecInfoTCS, data: tcsPage(offSSA2)},
			{off: offSSA2, flags: sgx.SecInfoREGRW},
			{off: offSSA2 + 0x1000, flags: sgx.SecInfoREGRW},
			{off: offStack, flags: sgx.SecInfoREGRW, plain: true},
		},
	}
}

// newCode is newImage of entryCode.
func newCode(first, handler func(a *asm)) *image { return newImage(entryCode(first, handler)) }

func tcsPage(ossa uint64) []byte {
	t := sgx.TCS{OSSA: ossa, NSSA: 2, OEntry: offCode, OFSBase: offData, OGSBase: offGS, FSLimit: 0xfff, GSLimit: 0xfff}
	b, _ := t.AppendBinary(nil)
	return b
}

func markPage(v uint64) []byte {
	b := make([]byte, sgx.PageSize)
	binary.LittleEndian.PutUint64(b, v)
	return b
}

// page returns the page at off, to change it.
func (im *image) page(off uint64) *page {
	for i := range im.pages {
		if im.pages[i].off == off {
			return &im.pages[i]
		}
	}
	panic("platformtest: no such page")
}

// tcs changes the TCS at off.
func (im *image) tcs(off uint64, change func(*sgx.TCS)) {
	t, err := sgx.ParseTCS(im.page(off).data)
	if err != nil {
		panic(err)
	}
	change(t)
	im.page(off).data, _ = t.AppendBinary(nil)
}

// production clears DEBUG.
func (im *image) production() *image {
	im.secs.Attributes.Flags &^= sgx.AttrDebug
	return im
}

// measure returns MRENCLAVE as pkg/sgxs has it, from a stream of the same
// records. A platform that measures in another way refuses the signature.
func (im *image) measure(t testing.TB) sgx.Measurement {
	t.Helper()
	var stream bytes.Buffer
	w := sgxs.NewWriter(&stream)
	must(t, w.Create(im.secs.SSAFrameSize, im.secs.Size))
	for _, p := range im.pages {
		data := p.data
		if data == nil && !p.plain {
			data = make([]byte, sgx.PageSize)
		}
		if p.plain && data != nil {
			t.Fatal("platformtest: a page with data is measured")
		}
		must(t, w.Page(p.off, p.flags, data))
	}
	must(t, w.Flush())
	mr, err := sgxs.Measure(&stream)
	must(t, err)
	return mr
}

// signature returns the image's SIGSTRUCT.
func (im *image) signature(t testing.TB) *sgx.SigStruct {
	t.Helper()
	s := &sgx.SigStruct{
		Date: 0x20250102, EnclaveHash: im.measure(t),
		Attributes:    im.secs.Attributes,
		AttributeMask: sgx.Attributes{Flags: ^sgx.AttrFlags(0), XFRM: ^sgx.XFRM(0)},
		MiscSelect:    im.secs.MiscSelect, MiscMask: ^uint32(0),
		ISVProdID: 1, ISVSVN: 2,
	}
	if im.sign != nil {
		im.sign(s)
	}
	key := im.key
	if key == nil {
		key = sign.DebugKey()
	}
	must(t, sign.Sign(s, key))
	return s
}

// otherKey is a signer that is not the debug key.
var otherKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return sign.GenerateKey(rand.Reader) })

// build does all before EINIT. The builder is closed with the test.
func (im *image) build(t testing.TB, p platform.Platform) platform.Builder {
	t.Helper()
	secs := im.secs
	b, err := p.Create(&secs)
	must(t, err)
	t.Cleanup(func() { _ = b.Close() })
	for _, pg := range im.pages {
		must(t, b.Add(pg.off, pg.flags, pg.data))
		for off := pg.off; off < pg.off+sgx.PageSize && !pg.plain; off += sgx.ChunkSize {
			must(t, b.Extend(off))
		}
	}
	return b
}

// enclave is a started image.
type enclave struct {
	platform.Enclave
	base uint64
	mr   sgx.Measurement
}

// start builds, signs and initialises the image. The enclave is closed with
// the test.
func (im *image) start(t testing.TB, p platform.Platform) *enclave {
	t.Helper()
	b := im.build(t, p)
	sig := im.signature(t)
	if mr := b.Measurement(); mr != sig.EnclaveHash {
		t.Errorf("measurement %v, want %v", mr, sig.EnclaveHash)
	}
	e, err := b.Init(sig)
	must(t, err)
	t.Cleanup(func() { _ = e.Close() })
	return &enclave{e, b.Base(), sig.EnclaveHash}
}

// thread makes the test's goroutine a logical processor until the test ends.
func (e *enclave) thread(t testing.TB) platform.Thread {
	t.Helper()
	th, err := e.NewThread()
	must(t, err)
	t.Cleanup(th.Close)
	return th
}

// enter does EENTER at the first TCS.
func enter(t testing.TB, th platform.Thread, regs *platform.Regs) platform.Exit {
	t.Helper()
	x, err := th.Enter(offTCS, sgx.LeafEENTER, regs)
	must(t, err)
	return x
}

// wantEEXIT enters and wants an EEXIT.
func wantEEXIT(t testing.TB, th platform.Thread, leaf sgx.Leaf, regs *platform.Regs) {
	t.Helper()
	x, err := th.Enter(offTCS, leaf, regs)
	must(t, err)
	if x.Kind != platform.ExitEEXIT {
		t.Fatalf("left by %s, want EEXIT", x)
	}
}

// read copies from a debug enclave.
func (e *enclave) read(t testing.TB, off uint64, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	must(t, e.DebugRead(off, b))
	return b
}

func (e *enclave) read64(t testing.TB, off uint64) uint64 {
	t.Helper()
	return binary.LittleEndian.Uint64(e.read(t, off, 8))
}

// gpr returns the registers in an SSA frame of one page at offset frame.
func (e *enclave) gpr(t testing.TB, frame uint64) *sgx.GPRSGX {
	t.Helper()
	g, err := sgx.ParseGPRSGX(e.read(t, frame+sgx.PageSize-sgx.GPRSGXSize, sgx.GPRSGXSize))
	must(t, err)
	return g
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
