//go:build linux && amd64

package softsgx

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/microcode"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sign"
)

// The test enclaves are a few instructions each, put together by hand:
//
//	0x00000  code, r-x, two pages
//	0x02000  data, rw-
//	0x03000  constants, r--
//	0x04000  guard
//	0x05000  stack, rw-
//	0x06000  guard
//	0x07000  stubs of the tests' own, rwx
//	0x10000  TCS, SSA frames 0 and 1, thread data (FS and GS), 16 KiB a thread
const (
	imageSize   = 0x80000
	imageData   = 0x2000
	imageConst  = 0x3000
	imageGuard  = 0x4000
	imageStack  = 0x6000 // its top
	imageRWX    = 0x7000
	imageThread = 0x10000
	threadSize  = 0x4000
)

type image struct {
	threads int
	code    []byte
	data    []byte
	misc    sgx.MiscSelect
	attr    sgx.AttrFlags // besides MODE64BIT
	xfrm    sgx.XFRM      // zero: all that there is
	handler []byte        // at 0x1000, for code to jump to when CSSA is not zero
}

func tcsOff(i int) uint64 { return imageThread + uint64(i)*threadSize }

type imagePage struct {
	off   uint64
	flags sgx.SecInfoFlags
	data  []byte
}

func fill(b []byte) []byte {
	return append(b, make([]byte, (sgx.PageSize-len(b)%sgx.PageSize)%sgx.PageSize)...)
}

func (m *image) pages() []imagePage {
	data := fill(slices.Clone(m.data))
	if len(data) == 0 {
		data = nil
	}
	p := []imagePage{
		{0, sgx.SecInfoREGRX, fill(slices.Clone(m.code))[:sgx.PageSize]},
		{0x1000, sgx.SecInfoREGRX, append(slices.Clone(m.handler), make([]byte, sgx.PageSize-len(m.handler))...)},
		{imageData, sgx.SecInfoREGRW, data},
		{imageConst, sgx.SecInfoREGR, bytes.Repeat([]byte{0x5a}, sgx.PageSize)},
		{imageStack - 0x1000, sgx.SecInfoREGRW, nil},
		{imageRWX, sgx.SecInfoREGRW | sgx.SecInfoX, make([]byte, sgx.PageSize)},
	}
	for i := range m.threads {
		o := tcsOff(i)
		tcs := sgx.TCS{OSSA: o + 0x1000, NSSA: 2, OFSBase: o + 0x3000, OGSBase: o + 0x3000, FSLimit: 0xfff, GSLimit: 0xfff}
		b, _ := tcs.AppendBinary(nil)
		p = append(p, imagePage{o, sgx.SecInfoTCS, b}, imagePage{o + 0x1000, sgx.SecInfoREGRW, nil},
			imagePage{o + 0x2000, sgx.SecInfoREGRW, nil}, imagePage{o + 0x3000, sgx.SecInfoREGRW, nil})
	}
	return p
}

func testPlatform(t testing.TB, trapOnly bool) platform.Platform {
	t.Helper()
	p, err := New(Options{Device: microcode.NewDevice([microcode.SeedSize]byte{1}), TrapOnly: trapOnly})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// build makes the enclave, measuring it independently on the way.
func (m *image) build(t testing.TB, p platform.Platform) platform.Enclave {
	t.Helper()
	xfrm := m.xfrm
	if xfrm == 0 {
		xfrm = p.Caps().XFRM
	}
	secs := sgx.SECS{Size: imageSize, SSAFrameSize: 1, MiscSelect: m.misc,
		Attributes: sgx.Attributes{Flags: sgx.AttrMode64Bit | m.attr, XFRM: xfrm}}
	b, err := p.Create(&secs)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	h := sha256.New()
	record := func(tag string, a uint64, c uint64) {
		var r [64]byte
		copy(r[:], tag)
		if tag == "ECREATE" {
			binary.LittleEndian.PutUint32(r[8:], uint32(a))
			binary.LittleEndian.PutUint64(r[12:], c)
		} else {
			binary.LittleEndian.PutUint64(r[8:], a)
			binary.LittleEndian.PutUint64(r[16:], c)
		}
		h.Write(r[:])
	}
	record("ECREATE", 1, imageSize)
	for _, pg := range m.pages() {
		if err := b.Add(pg.off, pg.flags, pg.data); err != nil {
			t.Fatal(err)
		}
		record("EADD", pg.off, uint64(pg.flags))
		data := pg.data
		if data == nil {
			data = make([]byte, sgx.PageSize)
		}
		for o := uint64(0); o < sgx.PageSize; o += sgx.ChunkSize {
			if err := b.Extend(pg.off + o); err != nil {
				t.Fatal(err)
			}
			record("EEXTEND", pg.off+o, 0)
			h.Write(data[o : o+sgx.ChunkSize])
		}
	}
	s := sign.New(sgx.Measurement(h.Sum(nil)))
	s.Attributes, s.AttributeMask = secs.Attributes, sgx.Attributes{Flags: ^sgx.AttrFlags(0) &^ sgx.AttrDebug, XFRM: ^sgx.XFRM(0)}
	s.MiscSelect, s.MiscMask = m.misc, 0xffffffff
	if err := sign.Sign(s, sign.DebugKey()); err != nil {
		t.Fatal(err)
	}
	e, err := b.Init(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// Instructions that most tests use.
var (
	movRBXRCX  = []byte{0x48, 0x89, 0xcb} // mov %rcx,%rbx
	movEAX4    = []byte{0xb8, 4, 0, 0, 0} // mov $4,%eax
	encluBytes = []byte{0x0f, 0x01, 0xd7} // enclu
	ud2        = []byte{0x0f, 0x0b}       // ud2
	eexit      = code(movRBXRCX, movEAX4, encluBytes)
	eexitUD2   = code(movRBXRCX, []byte{0x31, 0xc0, 0x83, 0xc0, 0x04}, encluBytes, ud2) // xor %eax,%eax; add $4,%eax
)

func code(parts ...[]byte) []byte { return slices.Concat(parts...) }

// eachMode runs f with EEXIT patched, and with every ENCLU left in place.
func eachMode(t *testing.T, f func(t *testing.T, p platform.Platform)) {
	t.Run("patched", func(t *testing.T) { f(t, testPlatform(t, false)) })
	t.Run("trap", func(t *testing.T) { f(t, testPlatform(t, true)) })
}

// newThread binds the test's goroutine for the rest of the test.
func newThread(t testing.TB, e platform.Enclave) platform.Thread {
	t.Helper()
	th, err := e.NewThread()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(th.Close)
	return th
}
