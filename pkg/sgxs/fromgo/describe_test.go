package fromgo

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/wall"
)

func TestDescribe(t *testing.T) {
	o := defaults("hello")
	o.Env = []string{"A=b"}
	img, image := mustBuild(t, o)
	d, err := Describe(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	if *d.Boot != img.Layout.Boot || d.Info.Go != img.Info.Go || d.Info.Package != "example.com/hello" || d.Env[0] != "A=b" || len(d.Env) != 2 {
		t.Errorf("%+v %+v %q", d.Boot, d.Info, d.Env)
	}
	biggest := d.Biggest(1 << 20)
	if len(biggest) < 500 || len(d.Biggest(20)) != 20 {
		t.Fatalf("%d functions", len(biggest))
	}
	at := slices.IndexFunc(biggest, func(f Function) bool { return f.Name == "main.main" })
	if at < 0 {
		t.Fatal("no main.main")
	}
	main := biggest[at]
	if s := d.Symbolize(main.Addr + 1); !strings.HasPrefix(s, "main.main+0x1 ") || !strings.Contains(s, "main.go:") {
		t.Errorf("main.main is %q", s)
	}
	for _, addr := range []uint64{0, wall.Base, d.Boot.TextHi, d.Boot.HeapLo} {
		if s := d.Symbolize(addr); s != "" {
			t.Errorf("%#x is %q", addr, s)
		}
	}
	// As the builder has laid it out.
	for _, r := range img.Layout.Regions {
		want := r.Kind.String()
		if r.Kind.OfThread() {
			want = fmt.Sprintf("%s %d", want, (r.Offset+wall.Base-d.Boot.Blocks)/wall.BlockSize)
		}
		if got := d.RegionName(r.Offset, r.Flags); got != want {
			t.Errorf("at %#x: %q, want %q", r.Offset, got, want)
		}
	}
	for n := 0; n < len(image); n += len(image)/300 + 1 {
		if _, err := Describe(bytes.NewReader(image[:n])); n < 8<<10 && err == nil {
			t.Errorf("%d bytes are an image", n)
		}
	}
}

// tiny is an image with a boot page and nothing that it speaks of.
func tiny(t testing.TB, boot []byte, more ...byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := sgxs.NewWriter(&out)
	w.Create(1, 1<<30)
	page := make([]byte, pageSize)
	copy(page[copy(page, boot):], more)
	if err := w.Page(0, sgx.SecInfoREGR, page); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// tinyBoot has its environment and info, of n bytes, in its own page.
func tinyBoot(n uint64) *wall.Boot {
	const base = wall.Base
	return &wall.Boot{
		Magic: wall.BootMagic, Base: base, Size: 1 << 30, Entry: base + 0x401000, Blocks: base + 0x800000, Threads: 1,
		StackLo: base + 0x900000, StackHi: base + 0x900000, MetaLo: base + 0x900000, MetaHi: base + 0x900000,
		HeapLo: base + 0x900000, HeapEnd: base + 0x900000, HeapHi: base + 0x900000, CodeLo: base + 0x900000, CodeHi: base + 0x900000,
		Env: base + 0x1000, Info: base + 0x1000, InfoLen: n, TextLo: base + 0x401000, TextHi: base + 0x402000, ZeroLo: base + 0x700000, ZeroHi: base + 0x700000,
	}
}

func TestDescribeRefuses(t *testing.T) {
	if _, err := Describe(bytes.NewReader(tiny(t, []byte("something else")))); !errors.Is(err, ErrNotGo) {
		t.Errorf("%v, want ErrNotGo", err)
	}
	if _, err := Describe(bytes.NewReader(tiny(t, tinyBoot(5).AppendBinary(nil)))); err == nil {
		t.Error("info is not there, and nothing said")
	}
	if _, err := Describe(bytes.NewReader(nil)); err == nil {
		t.Error("nothing is an image")
	}
}

func TestParseInfo(t *testing.T) {
	for _, text := range []string{"", "{}", "[]", `{"format":2}`, `{"format":1}x`, `{"format":"1"}`} {
		if _, err := parseInfo([]byte(text)); err == nil {
			t.Errorf("%q is info", text)
		}
	}
	if info, err := parseInfo([]byte(`{"format":1,"go":"go1.26.8","later":[]}`)); err != nil || info.Go != "go1.26.8" {
		t.Errorf("%+v, %v", info, err)
	}
}

func FuzzDescribe(f *testing.F) {
	f.Add(tinyBoot(0).AppendBinary(nil), []byte(`{"format":1}`), tableMagic)
	f.Fuzz(func(t *testing.T, boot, info, table []byte) {
		var out bytes.Buffer
		w := sgxs.NewWriter(&out)
		w.Create(1, 1<<30)
		w.Page(0, sgx.SecInfoREGR, boot[:min(len(boot), pageSize)])
		w.Page(0x1000, sgx.SecInfoREGR, info[:min(len(info), pageSize)])
		w.Page(0x2000, sgx.SecInfoREGR, table[:min(len(table), pageSize)])
		if w.Flush() != nil {
			return
		}
		d, err := Describe(&out)
		if err != nil {
			return
		}
		d.Biggest(10)
		d.Symbolize(d.Boot.TextLo)
	})
}

func FuzzParseInfo(f *testing.F) {
	f.Add([]byte(`{"format":1,"module":{"path":"x","replace":{"path":"y"}},"deps":[{}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if info, err := parseInfo(text); err == nil && info.Format != infoFormat {
			t.Fatal(info)
		}
	})
}
