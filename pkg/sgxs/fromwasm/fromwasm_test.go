package fromwasm

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/manifest/payload"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/wall"
	"github.com/klauspost/compress/zstd"
)

// payloadAt is where a base of the tests ends.
const payloadAt = 0x400000

// base is an open image that takes a payload: a boot page and the page before the
// payload.
func base(t testing.TB, change func(*wall.Boot)) *bytes.Reader {
	t.Helper()
	b := wall.Boot{
		Magic: wall.BootMagic, Base: wall.Base, Entry: wall.Base + 0x10000, Threads: 1,
		Env: wall.Base + 0x1000, Info: wall.Base + 0x1000,
		TextLo: wall.Base + 0x10000, TextHi: wall.Base + 0x11000, ZeroLo: wall.Base + 0x11000, ZeroHi: wall.Base + 0x11000,
		Blocks: wall.Base + 0x20000, StackLo: wall.Base + 0x50000, StackHi: wall.Base + 0x51000, MetaLo: wall.Base + 0x51000, MetaHi: wall.Base + 0x52000,
		HeapLo: wall.Base + 0x60000, HeapEnd: wall.Base + 0x61000, HeapHi: wall.Base + 0x70000, CodeLo: wall.Base + 0x70000, CodeHi: wall.Base + 0x71000,
		Payload: wall.Base + payloadAt,
	}
	if change != nil {
		change(&b)
	}
	var out bytes.Buffer
	w := sgxs.NewWriter(&out)
	w.CreateUnsized(1, 16)
	w.Page(0, sgx.SecInfoREGR, b.AppendBinary(nil))
	w.Page(payloadAt-sgx.PageSize, sgx.SecInfoREGR, []byte{0})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(out.Bytes())
}

func compressed(t testing.TB, b []byte) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return e.EncodeAll(b, nil)
}

// twoApps are a plain and a compressed module.
func twoApps(t testing.TB) (*manifest.Manifest, map[string][]byte) {
	m := &manifest.Manifest{Format: manifest.Format, Apps: []manifest.App{manifest.NewApp("z"), manifest.NewApp("a")}}
	return m, map[string][]byte{
		"z": guest{exports: []function{fn("f")}}.bytes(),
		"a": compressed(t, guest{exports: []function{fn("_start")}, memory: 5}.bytes()),
	}
}

func build(t testing.TB, m *manifest.Manifest, stored map[string][]byte) []byte {
	t.Helper()
	p, _, err := Pack(t.Context(), m, stored)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	image, err := Write(&out, base(t, nil), p)
	if err != nil {
		t.Fatal(err)
	}
	if image.Payload != payloadAt || image.Size != 0x800000 || image.PayloadSize%sgx.PageSize != 0 {
		t.Errorf("%+v", image)
	}
	return out.Bytes()
}

func TestImage(t *testing.T) {
	m, stored := twoApps(t)
	image := build(t, m, stored)
	d, err := Describe(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	if d.CodeSize != 0x1000 {
		t.Errorf("code area of %#x", d.CodeSize)
	}
	apps := d.Payload.Manifest.Apps
	if len(apps) != 2 || apps[0].Name != "a" || apps[1].Name != "z" {
		t.Fatalf("%+v", apps)
	}
	plain := guest{exports: []function{fn("_start")}, memory: 5}.bytes()
	if apps[0].Module != payload.Describe(stored["a"], plain) || !bytes.Equal(d.Payload.Stored[0], stored["a"]) {
		t.Error("the compressed module is not as it was given")
	}
	if !bytes.Equal(d.Payload.Stored[1], stored["z"]) {
		t.Error("the plain module is not as it was given")
	}
	// Measured as a whole: MRENCLAVE stands and falls with each chunk.
	pages := 0
	for r := sgxs.NewPageReader(bytes.NewReader(image)); ; {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if p.Offset >= payloadAt {
			if pages++; p.Measured != 0xffff || p.Flags != sgx.SecInfoREGR {
				t.Errorf("page at %#x: measured %#x, %s", p.Offset, p.Measured, p.Flags.Perm())
			}
		}
	}
	if pages == 0 {
		t.Error("no pages of the payload")
	}
}

// TestSameInputSameImage also holds that the order in which people write apps does
// not matter, and that each word of the manifest does.
func TestSameInputSameImage(t *testing.T) {
	m, stored := twoApps(t)
	first := build(t, m, stored)
	m, stored = twoApps(t)
	m.Apps[0], m.Apps[1] = m.Apps[1], m.Apps[0]
	if !bytes.Equal(build(t, m, stored), first) {
		t.Error("another order makes another image")
	}
	m, stored = twoApps(t)
	m.Apps[0].Limits.Fuel++
	if bytes.Equal(build(t, m, stored), first) {
		t.Error("another limit makes the same image")
	}
}

func TestPackRefuses(t *testing.T) {
	m, stored := twoApps(t)
	delete(stored, "z")
	if _, _, err := Pack(t.Context(), m, stored); err == nil || err.Error() != "app z has no module" {
		t.Errorf("no module: %v", err)
	}
	m, stored = twoApps(t)
	stored["a"] = stored["a"][:len(stored["a"])-1]
	if _, _, err := Pack(t.Context(), m, stored); err == nil || !strings.Contains(err.Error(), "app a: zstd: ") {
		t.Errorf("a cut stream: %v", err)
	}
	m, stored = twoApps(t)
	m.Apps[0].Limits.MemoryPages = 1
	m.Apps[1].Limits.MemoryPages = 1
	if _, _, err := Pack(t.Context(), m, stored); err == nil || !strings.Contains(err.Error(), "app a: it starts with 320 KiB") {
		t.Errorf("too little memory: %v", err)
	}
	if _, err := Open(make([]byte, manifest.MaxModule+1)); err == nil {
		t.Error("a module beyond all bounds")
	}
}

func TestWriteRefuses(t *testing.T) {
	m, stored := twoApps(t)
	p, _, err := Pack(t.Context(), m, stored)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]io.ReadSeeker{
		"a base that takes none": base(t, func(b *wall.Boot) { b.Payload = 0 }),
		"an image of another kind": func() io.ReadSeeker {
			var out bytes.Buffer
			w := sgxs.NewWriter(&out)
			w.CreateUnsized(1, 16)
			w.Page(0, sgx.SecInfoREGR, []byte{0})
			w.Flush()
			return bytes.NewReader(out.Bytes())
		}(),
		"an image that has got one": bytes.NewReader(build(t, m, stored)),
	} {
		var out bytes.Buffer
		if _, err := Write(&out, b, p); !errors.Is(err, ErrNoRoom) || out.Len() != 0 {
			t.Errorf("%s: %v, %d bytes written", name, err, out.Len())
		}
	}
	if _, err := Write(io.Discard, base(t, func(b *wall.Boot) { b.Payload += sgx.PageSize }), p); err == nil || !strings.Contains(err.Error(), "the base is damaged") {
		t.Errorf("another place: %v", err)
	}
}

// TestDescribeRefuses has images that eos append could make, whose apps anybody
// could change.
func TestDescribeRefuses(t *testing.T) {
	m, stored := twoApps(t)
	p, _, err := Pack(t.Context(), m, stored)
	if err != nil {
		t.Fatal(err)
	}
	var content bytes.Buffer
	if _, err := p.WriteTo(&content); err != nil {
		t.Fatal(err)
	}
	whole := append(wall.AppendPayloadHeader(nil, uint64(content.Len())), content.Bytes()...)
	whole = append(whole, make([]byte, -len(whole)&0xfff)...)
	for _, c := range []struct {
		name, want string
		parts      []sgxs.Part
	}{
		{"unmeasured", "is not measured as a whole", []sgxs.Part{{Perm: sgx.SecInfoR, Data: bytes.NewReader(whole), Size: int64(len(whole))}}},
		{"writable", "it must be read-only", []sgxs.Part{{Perm: sgx.SecInfoR | sgx.SecInfoW, Measured: true, Data: bytes.NewReader(whole), Size: int64(len(whole))}}},
		{"not at its place", "no page at 0x400000", []sgxs.Part{{Align: 0x10000, Perm: sgx.SecInfoR},
			{Align: 0x800000, Perm: sgx.SecInfoR, Measured: true, Data: bytes.NewReader(whole), Size: int64(len(whole))}}},
		{"something else", "no EOSPAYLD at its start", []sgxs.Part{{Perm: sgx.SecInfoR, Measured: true, Data: bytes.NewReader(make([]byte, 4096)), Size: 4096}}},
		{"chunks left open", "is not measured as a whole", []sgxs.Part{{Perm: sgx.SecInfoR, Measured: true, Data: bytes.NewReader(whole[:len(whole)-256]), Size: int64(len(whole) - 256)}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := sgxs.NewAppender(base(t, nil))
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if _, err := a.Append(&out, c.parts); err != nil {
				t.Fatal(err)
			}
			if _, err := Describe(&out); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	if _, err := Describe(base(t, nil)); !errors.Is(err, ErrNoApps) {
		t.Errorf("an open image: %v", err)
	}
	if _, err := Describe(base(t, func(b *wall.Boot) { b.Payload = 0 })); !errors.Is(err, ErrNoApps) {
		t.Errorf("an image that takes none: %v", err)
	}
}

func FuzzDescribe(f *testing.F) {
	m, stored := twoApps(f)
	f.Add(build(f, m, stored))
	f.Fuzz(func(t *testing.T, image []byte) {
		d, err := Describe(bytes.NewReader(image))
		if err == nil && len(d.Payload.Manifest.Apps) == 0 {
			t.Fatal("no apps")
		}
	})
}
