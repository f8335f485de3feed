package payload

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/manifest"
)

// fakeZstd is a stream of the test's own: the magic, then the code inverted.
func fakeZstd(code []byte) []byte {
	b := []byte(zstdMagic)
	for _, c := range code {
		b = append(b, ^c)
	}
	return b
}

func decode(stored []byte, size uint64) ([]byte, error) {
	var code []byte
	for _, c := range stored[len(zstdMagic):] {
		code = append(code, ^c)
	}
	return code, nil
}

func sample() *Payload {
	p := &Payload{Manifest: &manifest.Manifest{Format: manifest.Format}}
	for _, a := range []struct {
		name         string
		stored, code []byte
	}{
		{"a", []byte("\x00asm-a"), []byte("\x00asm-a")},
		{"b", fakeZstd([]byte("0123456789abcdef")), []byte("0123456789abcdef")},
		{"c", []byte("\x00asm 16 bytes ok"), []byte("\x00asm 16 bytes ok")},
	} {
		app := manifest.NewApp(a.name)
		app.Module = Describe(a.stored, a.code)
		p.Manifest.Apps, p.Stored = append(p.Manifest.Apps, app), append(p.Stored, a.stored)
	}
	return p
}

func encode(t testing.TB, p *Payload) []byte {
	t.Helper()
	var out bytes.Buffer
	n, err := p.WriteTo(&out)
	if err != nil {
		t.Fatal(err)
	}
	if size, err := p.Size(); err != nil || size != n || n != int64(out.Len()) {
		t.Fatalf("Size %d (%v), written %d, there are %d", size, err, n, out.Len())
	}
	return out.Bytes()
}

func TestRoundTrip(t *testing.T) {
	b := encode(t, sample())
	p, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if again := encode(t, p); !bytes.Equal(again, b) {
		t.Fatal("not the same bytes again")
	}
	for i, want := range []string{"\x00asm-a", "0123456789abcdef", "\x00asm 16 bytes ok"} {
		if code, err := p.Code(i, decode); err != nil || string(code) != want {
			t.Errorf("module %d is %q, %v", i, code, err)
		}
	}
	for n := range b {
		if _, err := Parse(b[:n]); err == nil {
			t.Fatalf("a prefix of %d bytes parses", n)
		}
	}
}

// TestEveryByteCounts changes a bit of each byte of a payload: it is refused, or some
// module is not the one of its hash, or the manifest is another one.
func TestEveryByteCounts(t *testing.T) {
	whole := encode(t, sample())
	text, err := sample().Manifest.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 1 << (i % 8)
		p, err := Parse(b)
		for n := 0; err == nil && n < len(p.Stored); n++ {
			_, err = p.Code(n, decode)
		}
		if err != nil {
			continue
		}
		if other, _ := p.Manifest.AppendBinary(nil); bytes.Equal(other, text) {
			t.Fatalf("byte %#x, bit %d: unnoticed", i, i%8)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	whole := encode(t, sample())
	for _, c := range []struct {
		name, want string
		change     func([]byte) []byte
	}{
		{"nothing", "does not begin with EOSWASM1", func(b []byte) []byte { return nil }},
		{"another magic", "does not begin with EOSWASM1", func(b []byte) []byte { b[0]++; return b }},
		{"a huge manifest", "the manifest has 4294967295 bytes", func(b []byte) []byte { le.PutUint32(b[8:], 1<<32-1); return b }},
		{"too many modules", "4 modules for 3 apps", func(b []byte) []byte { b[12]++; return b }},
		{"too few modules", "2 modules for 3 apps", func(b []byte) []byte { b[12]--; return b }},
		{"something behind", "something follows the last module", func(b []byte) []byte { return append(b, make([]byte, 16)...) }},
		{"a dirty gap", "no zero behind the module of app a", func(b []byte) []byte {
			b[bytes.Index(b, []byte("\x00asm-a"))+6] = 1
			return b
		}},
		{"a longer module", "has 1000 bytes: there are", func(b []byte) []byte {
			// Two digits more, and so the manifest is two bytes longer.
			old, longer := []byte(`"size":16,"encoding":"wasm","stored_size":16`), []byte(`"size":1000,"encoding":"wasm","stored_size":1000`)
			n := int(le.Uint32(b[8:]))
			text := bytes.Replace(b[headSize:headSize+n], old, longer, 1)
			rest := b[headSize+int(padded(uint64(n))):]
			out := append([]byte{}, b[:headSize]...)
			le.PutUint32(out[8:], uint32(len(text)))
			out = append(out, text...)
			out = append(out, make([]byte, padded(uint64(len(text)))-uint64(len(text)))...)
			return append(out, rest...)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(c.change(bytes.Clone(whole)))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestCodeRefuses(t *testing.T) {
	p := sample()
	if _, err := p.Code(1, nil); err == nil {
		t.Error("decompressed without a decoder")
	}
	broken := errors.New("broken stream")
	if _, err := p.Code(1, func([]byte, uint64) ([]byte, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("the decoder's error is lost: %v", err)
	}
	if _, err := p.Code(1, func([]byte, uint64) ([]byte, error) { return []byte("short"), nil }); err == nil {
		t.Error("a module of another length is accepted")
	}
	if _, err := p.Code(1, func([]byte, uint64) ([]byte, error) { return []byte("0123456789abcdeF"), nil }); err == nil {
		t.Error("a module with another hash is accepted")
	}
}

func TestWriteRefuses(t *testing.T) {
	for name, change := range map[string]func(*Payload){
		"a module missing": func(p *Payload) { p.Stored = p.Stored[:2] },
		"another length":   func(p *Payload) { p.Stored[0] = append(bytes.Clone(p.Stored[0]), 0) },
		"another encoding": func(p *Payload) { p.Stored[2] = fakeZstd(p.Stored[2][4:]) },
		"a bad manifest":   func(p *Payload) { p.Manifest.Apps[0].Limits.Fuel = 0 },
	} {
		p := sample()
		change(p)
		var out bytes.Buffer
		if _, err := p.WriteTo(&out); err == nil || out.Len() != 0 {
			t.Errorf("%s: %v, %d bytes written", name, err, out.Len())
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(encode(f, sample()))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			return
		}
		var out bytes.Buffer
		if _, err := p.WriteTo(&out); err != nil || !bytes.Equal(out.Bytes(), b) {
			t.Fatalf("accepted, and not the same again: %v", err)
		}
	})
}
