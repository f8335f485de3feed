package sgxs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
)

// unsizedBase is a stream to append to: one page at 0x1000 with the size at
// 0x1108, behind it an unmeasured page if asked for.
func unsizedBase(t testing.TB, unmeasured bool) []byte {
	recs := []sgxs.Record{
		{Kind: sgxs.KindUnsized, SSAFrameSize: 2, SizeOffset: 0x1108},
		add(0x1000, regRW), chunk(ext, 0x1200), chunk(ext, 0x1100),
	}
	if unmeasured {
		recs = append(recs, add(0x3000, regRW), chunk(unm, 0x3000))
	}
	return stream(t, recs...)
}

// part returns a Part of n bytes that are all c.
func part(mode string, n int, c byte) sgxs.Part {
	p := sgxs.Part{Name: fmt.Sprintf("%s %c", mode, c), Data: bytes.NewReader(bytes.Repeat([]byte{c}, n)), Size: int64(n)}
	for _, m := range mode {
		switch m {
		case 'm':
			p.Measured = true
		default:
			p.Perm |= sgx.SecInfoFlags(1) << strings.IndexRune("rwx", m)
		}
	}
	return p
}

func appendTo(t testing.TB, base []byte, parts ...sgxs.Part) ([]byte, *sgxs.Appended, error) {
	t.Helper()
	a, err := sgxs.NewAppender(bytes.NewReader(base))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	done, err := a.Append(&out, parts)
	return out.Bytes(), done, err
}

// pagesOf lists what is in a stream, a page a line: offset, permissions, for
// each chunk the first and last byte, with a star if it is measured.
func pagesOf(t testing.TB, b []byte) (lines []string) {
	t.Helper()
	r := sgxs.NewPageReader(bytes.NewReader(b))
	for {
		p, err := r.Next()
		if err == io.EOF {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		s := fmt.Sprintf("%x %s", p.Offset, p.Flags.Perm())
		for _, c := range p.Chunks {
			d := p.Data[int(c)*256:][:256]
			s += fmt.Sprintf(" %d:%c%c", c, printable(d[0]), printable(d[255]))
			if p.Measured>>c&1 != 0 {
				s += "*"
			}
		}
		lines = append(lines, s)
	}
}

func printable(b byte) byte {
	if b < ' ' {
		return '.'
	}
	return b
}

func TestAppendLayout(t *testing.T) {
	base := []string{"1000 rw- 2:..* 1:..*"}
	for name, c := range map[string]struct {
		parts  []sgxs.Part
		pages  []string
		size   uint64
		placed []uint64
	}{
		"nothing":             {nil, nil, 0x2000, nil},
		"only aligned":        {[]sgxs.Part{{Align: 1 << 20}}, nil, 0x2000, []uint64{1 << 20}},
		"one byte":            {[]sgxs.Part{part("rm", 1, 'a')}, []string{"2000 r-- 0:a.*"}, 0x4000, []uint64{0x2000}},
		"empty":               {[]sgxs.Part{part("rm", 0, 'a')}, nil, 0x2000, []uint64{0x2000}},
		"empty, aligned":      {[]sgxs.Part{{Align: 0x10000}, part("rm", 0, 'a')}, nil, 0x10000, []uint64{0x10000, 0x10000}},
		"same mode joins":     {[]sgxs.Part{part("r", 10, 'a'), part("r", 300, 'b')}, []string{"2000 r-- 0:ab 1:b."}, 0x4000, []uint64{0x2000, 0x200a}},
		"other measuring":     {[]sgxs.Part{part("r", 10, 'a'), part("rm", 300, 'b')}, []string{"2000 r-- 0:a. 1:bb* 2:b.*"}, 0x4000, []uint64{0x2000, 0x2100}},
		"other permissions":   {[]sgxs.Part{part("r", 10, 'a'), part("rwx", 1, 'b')}, []string{"2000 r-- 0:a.", "3000 rwx 0:b."}, 0x4000, []uint64{0x2000, 0x3000}},
		"no permissions":      {[]sgxs.Part{part("", 1, 'a')}, []string{"2000 --- 0:a."}, 0x4000, []uint64{0x2000}},
		"align in a page":     {[]sgxs.Part{part("r", 10, 'a'), {Align: 1024}, part("r", 1, 'b')}, []string{"2000 r-- 0:a. 4:b."}, 0x4000, []uint64{0x2000, 0x2400, 0x2400}},
		"align of the part":   {[]sgxs.Part{withAlign(part("r", 1, 'a'), 0x8000)}, []string{"8000 r-- 0:a."}, 0x10000, []uint64{0x8000}},
		"align less":          {[]sgxs.Part{withAlign(part("r", 1, 'a'), 16), withAlign(part("r", 1, 'b'), 256)}, []string{"2000 r-- 0:a. 1:b."}, 0x4000, []uint64{0x2000, 0x2100}},
		"trailing align":      {[]sgxs.Part{part("r", 1, 'a'), {Align: 1 << 30}}, []string{"2000 r-- 0:a."}, 0x4000, []uint64{0x2000, 1 << 30}},
		"exactly a page":      {[]sgxs.Part{part("wm", 4096, 'a')}, []string{"2000 -w-" + all('a')}, 0x4000, []uint64{0x2000}},
		"a page and then":     {[]sgxs.Part{part("wm", 4096, 'a'), part("x", 1, 'b')}, []string{"2000 -w-" + all('a'), "3000 --x 0:b."}, 0x4000, []uint64{0x2000, 0x3000}},
		"empty keeps its own": {[]sgxs.Part{part("r", 1, 'a'), part("rw", 0, 'b'), part("r", 1, 'c')}, []string{"2000 r-- 0:a.", "3000 r-- 0:c."}, 0x4000, []uint64{0x2000, 0x3000, 0x3000}},
	} {
		t.Run(name, func(t *testing.T) {
			got, done, err := appendTo(t, unsizedBase(t, false), c.parts...)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(done, &sgxs.Appended{Size: c.size, Placed: c.placed}) {
				t.Errorf("%+v, want size %#x, placed %#x", done, c.size, c.placed)
			}
			if lines := pagesOf(t, got); !reflect.DeepEqual(lines, append(base[:1:1], c.pages...)) {
				t.Errorf("pages\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(c.pages, "\n"))
			}
			want := stream(t, sgxs.Record{Kind: sgxs.KindECreate, SSAFrameSize: 2, Size: c.size})
			want = append(want, unsizedBase(t, false)[64:]...)
			binary.LittleEndian.PutUint64(want[64+64+320+64+8:], c.size)
			if !bytes.HasPrefix(got, want) {
				t.Error("the base is not what it was but for the size")
			}
		})
	}
}

func withAlign(p sgxs.Part, align uint64) sgxs.Part {
	p.Align = align
	return p
}

// all describes a page whose chunks are all measured and full of c.
func all(c byte) (s string) {
	for i := range 16 {
		s += fmt.Sprintf(" %d:%c%c*", i, c, c)
	}
	return s
}

// TestFortanixAppend has the ways of sgxs-append that Append does not share.
func TestFortanixAppend(t *testing.T) {
	run := func(parts ...sgxs.Part) ([]byte, error) {
		a, err := sgxs.NewFortanixAppender(bytes.NewReader(unsizedBase(t, false)))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		_, err = a.Append(&out, parts)
		return out.Bytes(), err
	}
	for name, c := range map[string]struct {
		parts []sgxs.Part
		pages []string
	}{
		"the next part's permissions":  {[]sgxs.Part{part("r", 1, 'a'), part("rw", 1, 'b')}, []string{"2000 rw- 0:a.", "3000 rw- 0:b."}},
		"of an empty part":             {[]sgxs.Part{part("r", 1, 'a'), part("x", 0, 'b')}, []string{"2000 --x 0:a."}},
		"but not after a full page":    {[]sgxs.Part{part("rm", 4096, 'a'), part("x", 1, 'b')}, []string{"2000 r--" + all('a'), "3000 --x 0:b."}},
		"align 3":                      {[]sgxs.Part{part("r", 3, 'a'), withAlign(part("r", 1, 'b'), 3)}, []string{"2000 r-- 0:a."}},
		"align 0x1800":                 {[]sgxs.Part{withAlign(part("r", 1, 'a'), 0x1800)}, []string{"2000 r-- 0:a."}},
		"align 0x2800, a page further": {[]sgxs.Part{withAlign(part("r", 1, 'a'), 0x2801)}, []string{"3000 r-- 0:a."}},
	} {
		b, err := run(c.parts...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if lines := pagesOf(t, b)[1:]; !reflect.DeepEqual(lines, c.pages) {
			t.Errorf("%s: %q, want %q", name, lines, c.pages)
		}
	}
	// What crashes the original is an error.
	if _, err := run(part("r", 1, 'a'), withAlign(part("r", 1, 'b'), 0x1801)); err != nil {
		t.Errorf("align 0x1801: %v", err)
	}
	if _, err := run(part("r", 1, 'a'), withAlign(part("r", 1, 'b'), 0x3002)); err == nil || !strings.Contains(err.Error(), "another page") {
		t.Errorf("align 0x3002: %v", err)
	}
	if _, err := sgxs.NewFortanixAppender(bytes.NewReader(unsizedBase(t, true))); !errors.Is(err, sgxs.ErrUnmeasured) {
		t.Errorf("base with UNMEASRD: %v", err)
	}
	// It reads as the lenient reader does and leaves junk alone.
	b := unsizedBase(t, false)
	b[60], b[64+60] = 1, 2
	a, err := sgxs.NewFortanixAppender(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := a.Append(&out, nil); err != nil || out.Bytes()[60] != 0 || out.Bytes()[64+60] != 2 {
		t.Errorf("junk: %v", err)
	}
}

func TestAppendBase(t *testing.T) {
	good := unsizedBase(t, false)
	uns := func(off uint64) sgxs.Record { return sgxs.Record{Kind: sgxs.KindUnsized, SizeOffset: off} }
	for name, c := range map[string]struct {
		b        []byte
		strict   error
		fortanix error
	}{
		"empty":              {nil, sgxs.ErrNotCanonical, sgxs.ErrEmpty},
		"sized":              {stream(t, create, add(0, regRW)), sgxs.ErrSized, sgxs.ErrSized},
		"page first":         {stream(t, add(0, regRW)), sgxs.ErrNotCanonical, sgxs.ErrNotCanonical},
		"odd size offset":    {stream(t, uns(12), add(0, regRW), chunk(ext, 0)), sgxs.ErrSizeOffset, sgxs.ErrSizeOffset},
		"no pages":           {stream(t, uns(8)), sgxs.ErrNoPages, sgxs.ErrNoPages},
		"size not there":     {stream(t, uns(0x100), add(0, regRW), chunk(ext, 0)), sgxs.ErrNoSizeData, sgxs.ErrNoSizeData},
		"size unmeasured":    {stream(t, uns(8), add(0, regRW), chunk(unm, 0)), sgxs.ErrNoSizeData, sgxs.ErrUnmeasured},
		"cut":                {good[:len(good)-1], io.ErrUnexpectedEOF, io.ErrUnexpectedEOF},
		"chunk twice":        {stream(t, uns(8), add(0, regRW), chunk(ext, 0), chunk(ext, 0x100), chunk(ext, 0x100)), sgxs.ErrNotCanonical, nil},
		"unmeasured page":    {unsizedBase(t, true), nil, sgxs.ErrUnmeasured},
		"last page":          {stream(t, uns(8), add(0, regRW), chunk(ext, 0), add(^uint64(0xfff), regRW)), nil, nil},
		"second, not a page": {stream(t, uns(8), unsz), sgxs.ErrNotCanonical, sgxs.ErrNotCanonical},
	} {
		if _, err := sgxs.NewAppender(bytes.NewReader(c.b)); !errors.Is(err, c.strict) {
			t.Errorf("%s: %v, want %v", name, err, c.strict)
		}
		if _, err := sgxs.NewFortanixAppender(bytes.NewReader(c.b)); !errors.Is(err, c.fortanix) {
			t.Errorf("%s: Fortanix: %v, want %v", name, err, c.fortanix)
		}
	}
}

func TestAppendRefuses(t *testing.T) {
	short, long, failing := part("r", 10, 'a'), part("r", 10, 'a'), part("r", 10, 'a')
	short.Size, long.Size = 11, 9
	failing.Data = iotest.ErrReader(io.ErrClosedPipe)
	huge := part("r", 1, 'a')
	huge.Align = 1 << 63
	negative := part("r", 1, 'a')
	negative.Size = -1
	for name, c := range map[string]struct {
		part sgxs.Part
		what string
		late bool // the header is written by then
	}{
		"odd alignment": {withAlign(part("r", 1, 'a'), 24), "not a power of two", false},
		"type in Perm":  {sgxs.Part{Name: "x", Data: strings.NewReader(""), Perm: sgx.SecInfoTCS}, "no such permissions", false},
		"negative size": {negative, "no such permissions or size", false},
		"too large":     {huge, "too large", false},
		"shorter":       {short, "shorter than 11", true},
		"longer":        {long, "longer than 9", true},
		"unreadable":    {failing, "closed pipe", true},
		"address space": {sgxs.Part{Name: "x", Data: strings.NewReader(""), Align: 1 << 63, Size: 1<<63 - 1}, "too large", false},
	} {
		out, _, err := appendTo(t, unsizedBase(t, false), c.part)
		if err == nil || !strings.Contains(err.Error(), c.what) {
			t.Errorf("%s: %v", name, err)
		}
		if !c.late && len(out) != 0 {
			t.Errorf("%s: %d bytes written", name, len(out))
		}
	}
	// A base whose last page is the last of all has no room.
	b := stream(t, sgxs.Record{Kind: sgxs.KindUnsized}, add(0, regRW), chunk(ext, 0), add(^uint64(0xfff), regRW))
	if _, _, err := appendTo(t, b, part("r", 1, 'a')); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("no room: %v", err)
	}
	// A base that shrinks between the two readings.
	src := &shrinking{Reader: bytes.NewReader(unsizedBase(t, false))}
	a, err := sgxs.NewAppender(src)
	if err != nil {
		t.Fatal(err)
	}
	src.cut = true
	if _, err := a.Append(io.Discard, nil); err == nil || !strings.Contains(err.Error(), "changed") {
		t.Errorf("shrinking base: %v", err)
	}
}

// shrinking ends at once when cut.
type shrinking struct {
	*bytes.Reader
	cut bool
}

func (s *shrinking) Read(b []byte) (int, error) {
	if s.cut {
		return 0, io.EOF
	}
	return s.Reader.Read(b)
}

// FuzzAppend reads parts from the fuzzer's bytes and looks for each byte of
// them in the image that comes out.
func FuzzAppend(f *testing.F) {
	f.Add(unsizedBase(f, false), []byte{7, 10, 0, 15, 44, 1, 0x80, 12, 1, 255, 255, 3})
	f.Add(unsizedBase(f, true), []byte{15, 0, 16, 8, 0, 0, 4, 1, 0})
	f.Fuzz(func(t *testing.T, base, ops []byte) {
		for _, open := range []func(io.ReadSeeker) (*sgxs.Appender, error){sgxs.NewAppender, sgxs.NewFortanixAppender} {
			a, err := open(bytes.NewReader(base))
			if err != nil {
				continue
			}
			var parts []sgxs.Part
			var datas [][]byte
			for i := 0; len(ops)-i >= 3 && i < 60; i += 3 {
				p := sgxs.Part{Name: "part", Perm: sgx.SecInfoFlags(ops[i] & 7), Measured: ops[i]&8 != 0}
				var data []byte
				if ops[i]&0x80 != 0 {
					p.Align = 1 << (ops[i+1] % 40)
				} else {
					data = bytes.Repeat([]byte{ops[i+1] | 1, ops[i+2] | 2}, int(ops[i+1])+int(ops[i+2])<<4)
					p.Data, p.Size = bytes.NewReader(data), int64(len(data))
				}
				parts, datas = append(parts, p), append(datas, data)
			}
			var out bytes.Buffer
			done, err := a.Append(&out, parts)
			if err != nil {
				if out.Len() != 0 {
					t.Fatalf("%v, with %d bytes written", err, out.Len())
				}
				continue
			}
			memory := map[uint64]*sgxs.Page{}
			var last uint64
			r := sgxs.NewLenientPageReader(bytes.NewReader(out.Bytes()))
			for {
				p, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				q := *p
				q.Data = bytes.Clone(p.Data)
				memory[p.Offset], last = &q, p.Offset
			}
			if h, err := r.Header(); err != nil || h.Size != done.Size || h.Size <= last || h.Size&(h.Size-1) != 0 {
				t.Fatalf("size %#x, last page %#x, %v", h.Size, last, err)
			}
			for i, data := range datas {
				for j, c := range data {
					at := done.Placed[i] + uint64(j)
					p := memory[at&^0xfff]
					if p == nil || p.Data[at&0xfff] != c {
						t.Fatalf("part %d byte %d is not at %#x", i, j, at)
					}
					if got := p.Measured>>(at&0xfff/256)&1 != 0; got != parts[i].Measured {
						t.Fatalf("part %d byte %d at %#x: measured %v", i, j, at, got)
					}
				}
			}
		}
	})
}

func TestBuild(t *testing.T) {
	blocks := func() []sgxs.Block {
		return []sgxs.Block{
			{Name: "a", Perm: sgx.SecInfoR, Data: strings.NewReader("abc"), Size: 3},
			{Name: "empty", Perm: sgx.SecInfoR, Data: strings.NewReader("")},
			{Name: "tcs", NSSA: 2},
			{Name: "b", Perm: sgx.SecInfoPerm, Data: bytes.NewReader(make([]byte, 4097)), Size: 4097},
		}
	}
	var out bytes.Buffer
	size, err := sgxs.Build(&out, 2, blocks())
	if err != nil || size != 0x8000 {
		t.Fatalf("size %#x, %v, want 0x8000", size, err)
	}
	var got []string
	r := sgxs.NewPageReader(bytes.NewReader(out.Bytes()))
	for {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if p.Measured != 0xffff {
			t.Errorf("page %#x: measured %#x", p.Offset, p.Measured)
		}
		got = append(got, fmt.Sprintf("%x %v", p.Offset, p.Flags))
		if p.Flags == sgx.SecInfoTCS {
			tcs, err := sgx.ParseTCS(p.Data)
			if err != nil || *tcs != (sgx.TCS{OSSA: p.Offset + 0x1000, NSSA: 2, FSLimit: 0xfff, GSLimit: 0xfff}) {
				t.Errorf("%+v, %v", tcs, err)
			}
		}
	}
	want := []string{"0 REG r--", "1000 TCS ---", "2000 REG rw-", "3000 REG rw-", "4000 REG rw-", "5000 REG rw-", "6000 REG rwx", "7000 REG rwx"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for name, c := range map[string]struct {
		change func(b *sgxs.Block)
		what   string
	}{
		"shorter":  {func(b *sgxs.Block) { b.Size = 10000 }, "shorter than 10000"},
		"type":     {func(b *sgxs.Block) { b.Perm = sgx.SecInfoREGR }, "no such permissions"},
		"negative": {func(b *sgxs.Block) { b.Size = -1 }, "no such permissions or size"},
		"large":    {func(b *sgxs.Block) { b.Size = 1<<63 - 1 }, "too large"},
		"frames":   {func(b *sgxs.Block) { *b = sgxs.Block{Name: "t", NSSA: 1 << 31} }, "too many"},
		"read":     {func(b *sgxs.Block) { b.Data = iotest.ErrReader(io.ErrClosedPipe) }, "closed pipe"},
	} {
		b := blocks()
		c.change(&b[3])
		if _, err := sgxs.Build(io.Discard, 2, b); err == nil || !strings.Contains(err.Error(), c.what) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if size, err := sgxs.Build(io.Discard, 1, nil); size != 0 || err != nil {
		t.Errorf("no blocks: %#x, %v", size, err)
	}
}
