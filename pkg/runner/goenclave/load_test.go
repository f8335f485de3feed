package goenclave

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/runner"
	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/wall"
)

// testBoot is a small boot page.
func testBoot() wall.Boot {
	const at = wall.Base
	return wall.Boot{
		Magic: wall.BootMagic, ABI: wall.ABI, Base: at, Size: 1 << 20, Entry: at + 0x2000,
		Env: at + 0x1000, Info: at + 0x1000, TextLo: at + 0x2000, TextHi: at + 0x3000, ZeroLo: at + 0x3000, ZeroHi: at + 0x3000,
		Blocks: at + 0x20000, Threads: 2, StackLo: at + 0x60000, StackHi: at + 0x61000, MetaLo: at + 0x61000, MetaHi: at + 0x61000,
		HeapLo: at + 0x61000, HeapHi: at + 0x61000, HeapEnd: at + 0x61000, CodeLo: at + 0x61000, CodeHi: at + 0x61000,
	}
}

// stream makes an image of a boot page and of TCSs.
func stream(t *testing.T, boot wall.Boot, flags sgx.SecInfoFlags, size uint64, tcs ...uint64) []byte {
	t.Helper()
	var b bytes.Buffer
	w := sgxs.NewWriter(&b)
	err := errors.Join(w.Create(1, size), w.Page(0, flags, boot.AppendBinary(nil)))
	for _, off := range tcs {
		err = errors.Join(err, w.Page(off, sgx.SecInfoTCS, nil))
	}
	if err := errors.Join(err, w.Flush()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReadBoot(t *testing.T) {
	good := stream(t, testBoot(), sgx.SecInfoREGR, 1<<20)
	boot, err := ReadBoot(bytes.NewReader(good))
	if err != nil || *boot != testBoot() {
		t.Errorf("%+v, %v", boot, err)
	}
	other := testBoot()
	other.Magic++
	badBase := testBoot()
	badBase.Base += 0x1000
	for name, c := range map[string]struct {
		image []byte
		isGo  bool
		text  string
	}{
		"another kind":   {stream(t, other, sgx.SecInfoREGR, 1<<20), false, "not the image of a Go program"},
		"writable":       {stream(t, testBoot(), sgx.SecInfoREGRW, 1<<20), false, "not the image of a Go program"},
		"no pages":       {good[:64], false, "not the image of a Go program"},
		"another base":   {stream(t, badBase, sgx.SecInfoREGR, 1<<20), true, "base"},
		"size that lies": {stream(t, testBoot(), sgx.SecInfoREGR, 1<<21), true, "0x100000 bytes, the image 0x200000"},
		"no stream":      {[]byte("?"), true, ""},
		"empty":          {nil, true, ""},
	} {
		_, err := ReadBoot(bytes.NewReader(c.image))
		if err == nil || errors.Is(err, ErrNotGo) == c.isGo || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The records up to and including the page's first chunk are a stream, too.
	const firstChunk = 64 + 64 + 64 + sgx.ChunkSize
	for n := range len(good) {
		whole := n >= firstChunk && (n-firstChunk)%(64+sgx.ChunkSize) == 0
		if _, err := ReadBoot(bytes.NewReader(good[:n])); (err == nil) != whole {
			t.Fatalf("%d of %d bytes: %v", n, len(good), err)
		}
	}
}

// noPlatform is a platform that must not be asked.
type noPlatform struct{ caps platform.Caps }

func (p noPlatform) Name() string        { return "none" }
func (p noPlatform) Caps() platform.Caps { return p.caps }
func (p noPlatform) Create(secs *sgx.SECS) (platform.Builder, error) {
	return nil, errCreate{*secs}
}

type errCreate struct{ secs sgx.SECS }

func (errCreate) Error() string { return "created" }

// What Load asks the platform for, given a signature.
func TestLoadAttributes(t *testing.T) {
	image := stream(t, testBoot(), sgx.SecInfoREGR, 1<<20)
	all := platform.Caps{Attributes: sgx.AttrDebug | sgx.AttrMode64Bit, XFRM: sgx.XFRMLegacy | sgx.XFRMAVX, MiscSelect: sgx.MiscEXINFO}
	sig := func(xfrm, mask sgx.XFRM, misc sgx.MiscSelect, miscMask uint32) *sgx.SigStruct {
		return &sgx.SigStruct{
			Attributes:    sgx.Attributes{Flags: sgx.AttrMode64Bit, XFRM: xfrm},
			AttributeMask: sgx.Attributes{XFRM: mask}, MiscSelect: misc, MiscMask: miscMask,
		}
	}
	noAVX := all
	noAVX.XFRM = sgx.XFRMLegacy
	for name, c := range map[string]struct {
		caps platform.Caps
		sig  *sgx.SigStruct
		misc sgx.MiscSelect
		text string // of the error; "" if it is asked for
	}{
		"as signed":    {all, sig(7, 7, 1, 1), 1, ""},
		"left open":    {all, sig(3, 3, 0, 0), 1, ""},
		"no EXINFO":    {all, sig(7, 7, 0, 1), 0, ""}, // the kernel refuses that
		"AVX is taken": {all, sig(3, ^sgx.XFRM(0), 1, 1), 0, "the signature forbids XFRM AVX"},
		"no AVX":       {noAVX, sig(3, 3, 1, 1), 0, "the platform lacks XFRM AVX"},
	} {
		_, err := Load(noPlatform{c.caps}, bytes.NewReader(image), c.sig, runner.LoadOptions{})
		var created errCreate
		switch {
		case c.text != "":
			wantText(t, err, c.text)
		case !errors.As(err, &created):
			t.Errorf("%s: %v", name, err)
		case created.secs.BaseAddr != wall.Base || created.secs.MiscSelect != c.misc || created.secs.Attributes.XFRM != 7:
			t.Errorf("%s: base %#x, MISCSELECT %v, XFRM %v", name, created.secs.BaseAddr, created.secs.MiscSelect, created.secs.Attributes.XFRM)
		}
	}
	for abi, text := range map[uint64]string{
		0: "the image speaks the eos ABI 1, this host 2: build it with this eos", wall.ABI - 1: "build it with this eos", wall.ABI + 1: "run it with a newer eos",
	} {
		b := testBoot()
		b.ABI = abi
		_, err := Load(noPlatform{all}, bytes.NewReader(stream(t, b, sgx.SecInfoREGR, 1<<20)), sig(7, 7, 1, 1), runner.LoadOptions{})
		wantText(t, err, text)
	}
	if _, err := Load(noPlatform{all}, io.LimitReader(bytes.NewReader(image), 100), sig(7, 7, 1, 1), runner.LoadOptions{}); err == nil {
		t.Error("a part of an image is loaded")
	}
}

func TestTCSs(t *testing.T) {
	boot := testBoot()
	for name, c := range map[string]struct {
		tcs  []uint64
		text string
	}{
		"in another order": {[]uint64{0x40000, 0x20000}, ""},
		"one is missing":   {[]uint64{0x20000}, "no TCS at 0x40000"},
		"one is elsewhere": {[]uint64{0x20000, 0x41000}, "no TCS at 0x40000"},
		"one too many":     {[]uint64{0x20000, 0x40000, 0x60000}, "3 TCSs"},
	} {
		e, err := newEnclave(&runner.Enclave{TCS: c.tcs}, &boot, moment{})
		switch {
		case c.text != "":
			wantText(t, err, c.text)
		case err != nil || e.TCS[0] != 0x20000 || e.TCS[1] != 0x40000:
			t.Errorf("%s: %v", name, err)
		}
	}
}
