package sgxs_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
)

// edp is the folder of what the Fortanix tools made of our inputs.
const edp = "../../testdata/vectors/edp"

// image returns a file of the golden set.
func image(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(edp, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// naiveHash is the second implementation: it takes the stream apart by hand
// and hashes record by record.
func naiveHash(b []byte) [32]byte {
	h := sha256.New()
	for len(b) > 0 {
		head := make([]byte, 64)
		tag := strings.TrimRight(string(b[:8]), "\x00")
		keep := map[string]int{"ECREATE": 20, "EADD": 24, "EEXTEND": 16, "UNMEASRD": 16}[tag]
		copy(head, b[:keep])
		n := 64
		if tag == "EEXTEND" || tag == "UNMEASRD" {
			n = 320
		}
		if tag != "UNMEASRD" {
			h.Write(head)
			h.Write(b[64:n])
		}
		b = b[n:]
	}
	return [32]byte(h.Sum(nil))
}

// TestMeasureGolden compares with what the Fortanix signing tool found.
func TestMeasureGolden(t *testing.T) {
	var runs []struct {
		ID, Dir string
		Outputs map[string]struct{ MREnclave *string }
	}
	if err := json.Unmarshal(image(t, "manifest.json"), &runs); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, run := range runs {
		for name, out := range run.Outputs {
			if out.MREnclave == nil {
				continue
			}
			n++
			b := image(t, filepath.Join(run.Dir, name))
			for _, f := range []func(io.Reader) (sgx.Measurement, error){sgxs.Measure, sgxs.MeasureRaw, measureRecords, measureWriting} {
				m, err := f(bytes.NewReader(b))
				if err != nil {
					t.Errorf("%s: %v", run.ID, err)
				} else if m.String() != *out.MREnclave {
					t.Errorf("%s: %v, want %s", run.ID, m, *out.MREnclave)
				}
			}
			if sgx.Measurement(naiveHash(b)).String() != *out.MREnclave {
				t.Errorf("%s: the naive hasher is wrong", run.ID)
			}
		}
	}
	if n < 15 {
		t.Errorf("%d images in the manifest, want at least 15", n)
	}
}

func measureRecords(src io.Reader) (sgx.Measurement, error) {
	m := sgxs.NewMeasurer()
	err := each(sgxs.NewCanonicalReader(src), m.Write)
	if err != nil {
		return sgx.Measurement{}, err
	}
	return m.Sum()
}

func measureWriting(src io.Reader) (sgx.Measurement, error) {
	w := sgxs.NewWriter(io.Discard)
	w.MeasureAlso()
	if err := each(sgxs.NewCanonicalReader(src), w.Write); err != nil {
		return sgx.Measurement{}, err
	}
	return w.MREnclave()
}

func each(r sgxs.RecordReader, f func(sgxs.Record) error) error {
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = f(rec)
		}
		if err != nil {
			return err
		}
	}
}

// rewrite reads b with r and returns what a Writer makes of the records.
func rewrite(t testing.TB, r sgxs.RecordReader) ([]byte, error) {
	t.Helper()
	var out bytes.Buffer
	w := sgxs.NewWriter(&out)
	if err := each(r, w.Write); err != nil {
		return nil, err
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// TestRewrite reads golden streams, in pieces of every kind, and writes them.
func TestRewrite(t *testing.T) {
	for _, name := range []string{"elf/basic.sgxs", "elf/basic_unsized.sgxs", "append/cross_chunk_modes.sgxs", "build/multi.sgxs"} {
		want := image(t, name)
		for how, src := range map[string]io.Reader{
			"whole":   bytes.NewReader(want),
			"bytes":   iotest.OneByteReader(bytes.NewReader(want)),
			"halves":  iotest.HalfReader(bytes.NewReader(want)),
			"dataerr": iotest.DataErrReader(bytes.NewReader(want)),
		} {
			got, err := rewrite(t, sgxs.NewCanonicalReader(src))
			if err != nil {
				t.Errorf("%s, %s: %v", name, how, err)
			} else if !bytes.Equal(got, want) {
				t.Errorf("%s, %s: written bytes differ", name, how)
			}
		}
	}
}

// TestPrefixes cuts a stream at each byte: only cuts between records parse.
func TestPrefixes(t *testing.T) {
	b := image(t, "append/cross_chunk_modes.sgxs")[:64+64+320*3]
	ends := map[int]bool{64: true, 128: true, 448: true, 768: true, 1088: true}
	for n := 1; n <= len(b); n++ {
		_, err := rewrite(t, sgxs.NewReader(bytes.NewReader(b[:n])))
		if (err == nil) != ends[n] {
			t.Errorf("cut at %d: %v", n, err)
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: %v, want an unexpected EOF", n, err)
		}
	}
}

// Records for odd streams.
var (
	create = sgxs.Record{Kind: sgxs.KindECreate, SSAFrameSize: 1, Size: 0x10000}
	unsz   = sgxs.Record{Kind: sgxs.KindUnsized, SSAFrameSize: 1, SizeOffset: 8}
)

func add(off uint64, flags sgx.SecInfoFlags) sgxs.Record {
	return sgxs.Record{Kind: sgxs.KindEAdd, Offset: off, Flags: flags}
}

func chunk(kind sgxs.Kind, off uint64) sgxs.Record {
	return sgxs.Record{Kind: kind, Offset: off, Data: bytes.Repeat([]byte{byte(off >> 8)}, 256)}
}

func stream(t testing.TB, recs ...sgxs.Record) []byte {
	t.Helper()
	var b []byte
	var err error
	for _, r := range recs {
		if b, err = r.AppendBinary(b); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

const (
	ext   = sgxs.KindEExtend
	unm   = sgxs.KindUnmeasured
	regRW = sgx.SecInfoREGRW
)

// TestCanonical has one stream for each rule.
func TestCanonical(t *testing.T) {
	for name, c := range map[string]struct {
		recs    []sgxs.Record
		record  int64  // the one at fault, 0 if the stream is canonical
		lenient bool   // the lenient reader accepts it
		what    string // in the error
	}{
		"plain":             {[]sgxs.Record{create, add(0, regRW), chunk(ext, 0x100), chunk(unm, 0)}, 0, true, ""},
		"header only":       {[]sgxs.Record{create}, 0, true, ""},
		"unsized":           {[]sgxs.Record{unsz, add(0x1000, regRW)}, 0, true, ""},
		"empty":             {nil, 1, true, "empty"},
		"two creates":       {[]sgxs.Record{create, unsz}, 2, false, "UNSIZED again"},
		"page first":        {[]sgxs.Record{add(0, regRW)}, 1, false, "before ECREATE"},
		"chunk first":       {[]sgxs.Record{chunk(ext, 0)}, 1, false, "before ECREATE"},
		"chunk, no page":    {[]sgxs.Record{create, chunk(ext, 0)}, 2, false, "before the first EADD"},
		"unaligned page":    {[]sgxs.Record{create, add(0x100, regRW)}, 2, false, "not page aligned"},
		"same page twice":   {[]sgxs.Record{create, add(0, regRW), add(0, regRW)}, 3, false, "not above"},
		"falling pages":     {[]sgxs.Record{create, add(0x2000, regRW), add(0x1000, regRW)}, 3, false, "not above"},
		"readable TCS":      {[]sgxs.Record{create, add(0, sgx.SecInfoTCS|sgx.SecInfoR)}, 2, false, "permissions r--"},
		"unaligned chunk":   {[]sgxs.Record{create, add(0, regRW), chunk(ext, 0x80)}, 3, false, "multiple of 256"},
		"chunk below":       {[]sgxs.Record{create, add(0x1000, regRW), chunk(ext, 0xf00)}, 3, false, "outside the page"},
		"chunk above":       {[]sgxs.Record{create, add(0x1000, regRW), chunk(ext, 0x2000)}, 3, false, "outside the page"},
		"chunk 0 twice":     {[]sgxs.Record{create, add(0, regRW), chunk(ext, 0), chunk(unm, 0)}, 4, false, "has that chunk already"},
		"chunk 1 twice":     {[]sgxs.Record{create, add(0, regRW), chunk(ext, 0x100), chunk(ext, 0x100)}, 4, true, "has that chunk already"},
		"chunk 15 twice":    {[]sgxs.Record{create, add(0, regRW), chunk(unm, 0xf00), chunk(ext, 0xf00)}, 4, true, "has that chunk already"},
		"chunk of old page": {[]sgxs.Record{create, add(0, regRW), add(0x1000, regRW), chunk(ext, 0)}, 4, false, "outside the page"},
		"last page":         {[]sgxs.Record{create, add(^uint64(0xfff), regRW), chunk(ext, ^uint64(0xff)), chunk(ext, 0)}, 4, false, "outside the page"},
	} {
		b := stream(t, c.recs...)
		got, err := rewrite(t, sgxs.NewCanonicalReader(bytes.NewReader(b)))
		if c.record == 0 {
			if err != nil || !bytes.Equal(got, b) {
				t.Errorf("%s: %v", name, err)
			}
		} else {
			var fe *sgxs.FormatError
			if !errors.As(err, &fe) || fe.Record != c.record || !errors.Is(err, sgxs.ErrNotCanonical) || !strings.Contains(err.Error(), c.what) {
				t.Errorf("%s: %v, want %q in record %d", name, err, c.what, c.record)
			} else if at := int64(len(stream(t, c.recs[:c.record-1]...))); fe.Off != at {
				t.Errorf("%s: offset %#x, want %#x", name, fe.Off, at)
			}
			if _, err := sgxs.Measure(bytes.NewReader(b)); !errors.Is(err, sgxs.ErrNotCanonical) {
				t.Errorf("%s: Measure: %v", name, err)
			}
			// The writer refuses the same record for the same reason.
			if c.recs != nil {
				var we *sgxs.FormatError
				_, err := rewrite(t, sgxs.NewReader(bytes.NewReader(b)))
				if !errors.As(err, &we) || we.Record != fe.Record || we.Off != fe.Off || we.What != fe.What {
					t.Errorf("%s: Writer: %v, want %v", name, err, fe)
				}
			}
		}
		if err := each(sgxs.NewLenientReader(bytes.NewReader(b)), func(sgxs.Record) error { return nil }); (err == nil) != c.lenient {
			t.Errorf("%s: lenient: %v", name, err)
		}
	}
}

// TestReserved puts junk in each header byte: the strict reader refuses the
// reserved ones, the lenient one does not see them and they are not hashed.
func TestReserved(t *testing.T) {
	recs := []sgxs.Record{create, add(0, regRW), chunk(ext, 0), chunk(unm, 0x100), chunk(ext, 0x200), add(0x1000, regRW)}
	clean := stream(t, recs...)
	want, err := sgxs.Measure(bytes.NewReader(clean))
	if err != nil {
		t.Fatal(err)
	}
	first := map[sgxs.Kind]int{sgxs.KindECreate: 20, sgxs.KindEAdd: 24, ext: 16, unm: 16}
	at := 0
	for i, rec := range recs {
		for j := first[rec.Kind]; j < 64; j++ {
			b := bytes.Clone(clean)
			b[at+j] = 0x80
			var fe *sgxs.FormatError
			if _, err := sgxs.Measure(bytes.NewReader(b)); !errors.As(err, &fe) || fe.Record != int64(i+1) || !strings.Contains(fe.What, "reserved") {
				t.Errorf("record %d byte %d: %v", i+1, j, err)
			}
			if m, err := sgxs.MeasureRaw(bytes.NewReader(b)); err != nil || m != want {
				t.Errorf("record %d byte %d: %v %v, want %v", i+1, j, m, err, want)
			}
			if naiveHash(b) != want {
				t.Errorf("record %d byte %d: the naive hasher is wrong", i+1, j)
			}
			if got, err := rewrite(t, sgxs.NewLenientReader(bytes.NewReader(b))); err != nil || !bytes.Equal(got, clean) {
				t.Errorf("record %d byte %d: lenient: %v", i+1, j, err)
			}
		}
		at += 64 + len(rec.Data)
	}
}

func TestMeasureOdd(t *testing.T) {
	if m, err := sgxs.MeasureRaw(strings.NewReader("")); err != nil || m != sha256.Sum256(nil) {
		t.Errorf("empty: %v, %v", m, err)
	}
	b := stream(t, unsz)
	for _, f := range []func(io.Reader) (sgx.Measurement, error){sgxs.Measure, sgxs.MeasureRaw, measureRecords, measureWriting} {
		if _, err := f(bytes.NewReader(b)); !errors.Is(err, sgxs.ErrUnsized) {
			t.Errorf("unsized: %v", err)
		}
	}
	b = stream(t, create, create)
	if m, err := sgxs.MeasureRaw(bytes.NewReader(b)); err != nil || m != sha256.Sum256(b) {
		t.Errorf("two creates: %v, %v", m, err)
	}
	b[64] ^= 1
	if _, err := sgxs.MeasureRaw(bytes.NewReader(b)); !errors.Is(err, sgxs.ErrTag) {
		t.Errorf("unknown tag: %v", err)
	}
	if _, err := sgxs.Measure(iotest.ErrReader(io.ErrClosedPipe)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("read error: %v", err)
	}
}

// TestMeasureLong crosses many buffers, with junk, unmeasured chunks and reads
// of odd sizes.
func TestMeasureLong(t *testing.T) {
	var b []byte
	b = stream(t, sgxs.Record{Kind: sgxs.KindECreate, SSAFrameSize: 1, Size: 1 << 30})
	for p := range uint64(700) {
		b = append(b, stream(t, add(p*0x1000, regRW))...)
		for c := range p % 17 {
			kind := ext
			if (p+c)%5 == 0 {
				kind = unm
			}
			b = append(b, stream(t, chunk(kind, p*0x1000+c*0x100))...)
			if (p*c)%31 == 7 {
				b[len(b)-270] = 1
			}
		}
	}
	if len(b) < 4<<18 {
		t.Fatalf("%d bytes are too few", len(b))
	}
	want := sgx.Measurement(naiveHash(b))
	for name, src := range map[string]io.Reader{
		"whole": bytes.NewReader(b), "bytes": iotest.OneByteReader(bytes.NewReader(b)),
		"333": &pieces{b, 333}, "100000": &pieces{b, 100000},
	} {
		if m, err := sgxs.MeasureRaw(src); err != nil || m != want {
			t.Errorf("%s: %v %v, want %v", name, m, err, want)
		}
	}
	clean, err := rewrite(t, sgxs.NewLenientReader(bytes.NewReader(b)))
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func(io.Reader) (sgx.Measurement, error){"Measure": sgxs.Measure, "Measurer": measureRecords, "Writer": measureWriting} {
		if m, err := f(bytes.NewReader(clean)); err != nil || m != want {
			t.Errorf("%s: %v %v, want %v", name, m, err, want)
		}
	}
}

// pieces is a Reader that returns n bytes at a time.
type pieces struct {
	b []byte
	n int
}

func (p *pieces) Read(b []byte) (int, error) {
	n := copy(b, p.b[:min(p.n, len(p.b))])
	p.b = p.b[n:]
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func TestPageReaderOdd(t *testing.T) {
	b := stream(t, create, add(0, regRW), chunk(ext, 0x300), chunk(unm, 0x200), chunk(ext, 0x100), add(0x3000, sgx.SecInfoTCS))
	r := sgxs.NewPageReader(bytes.NewReader(b))
	p, err := r.Next()
	if err != nil || p.Present != 0xe || p.Measured != 0xa || !bytes.Equal(p.Order, []uint8{3, 1}) || !bytes.Equal(p.Chunks, []uint8{3, 2, 1}) || p.Data[0x300] != 3 || p.Data[0x2ff] != 2 || p.Data[0xff] != 0 {
		t.Errorf("page 0: %+v, %v", p, err)
	}
	if p, err = r.Next(); err != nil || p.Offset != 0x3000 || p.Present != 0 || p.Data[0x300] != 0 {
		t.Errorf("page 1: %+v, %v", p, err)
	}
	// An error in a page is met before the page is returned, an error in the
	// page after it is not lost.
	b = append(stream(t, create, add(0, regRW), add(0x1000, regRW)), stream(t, chunk(ext, 0x1100), chunk(ext, 0x1100))...)
	r = sgxs.NewPageReader(bytes.NewReader(b))
	if _, err := r.Next(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if _, err := r.Next(); !errors.Is(err, sgxs.ErrNotCanonical) {
			t.Errorf("repeated chunk: %v", err)
		}
	}
	if h, err := r.Header(); err != nil || h.Kind != sgxs.KindECreate {
		t.Errorf("header after an error: %v, %v", h, err)
	}
	r = sgxs.NewLenientPageReader(bytes.NewReader(b))
	r.Next()
	if p, err := r.Next(); err != nil || !bytes.Equal(p.Order, []uint8{1}) || !bytes.Equal(p.Chunks, []uint8{1}) {
		t.Errorf("lenient: %+v, %v", p, err)
	}
	for _, r := range []*sgxs.PageReader{sgxs.NewPageReader(strings.NewReader("")), sgxs.NewLenientPageReader(strings.NewReader(""))} {
		if _, err := r.Header(); !errors.Is(err, sgxs.ErrNotCanonical) {
			t.Errorf("empty: %v", err)
		}
		if _, err := r.Next(); !errors.Is(err, sgxs.ErrNotCanonical) {
			t.Errorf("empty: %v", err)
		}
	}
}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestTags pins the numbers to the letters that the format has.
func TestTags(t *testing.T) {
	for _, k := range []sgxs.Kind{sgxs.KindECreate, sgxs.KindUnsized, sgxs.KindEAdd, ext, unm} {
		rec := sgxs.Record{Kind: k, SSAFrameSize: 0x01020304, Size: 1, SizeOffset: 1, Offset: 1, Flags: 1}
		if k == ext || k == unm {
			rec.Data = make([]byte, 256)
		}
		b := stream(t, rec)
		if got := strings.TrimRight(string(b[:8]), "\x00"); got != k.String() {
			t.Errorf("tag %q, want %q", got, k)
		}
		if binary.LittleEndian.Uint32(b[60:]) != 0 {
			t.Errorf("%v: reserved bytes are not zero", k)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(image(f, "append/cross_chunk_modes.sgxs")[:2000])
	f.Add(stream(f, create, add(0, regRW), chunk(ext, 0), chunk(ext, 0)))
	f.Add(stream(f, unsz))
	f.Fuzz(func(t *testing.T, b []byte) {
		unsized := false
		err := each(sgxs.NewReader(bytes.NewReader(b)), func(r sgxs.Record) error {
			unsized = unsized || r.Kind == sgxs.KindUnsized
			return nil
		})
		m, merr := sgxs.MeasureRaw(iotest.HalfReader(bytes.NewReader(b)))
		switch {
		case unsized:
			if merr == nil {
				t.Error("an unsized stream was measured")
			}
		case (err == nil) != (merr == nil):
			t.Errorf("read: %v, measure: %v", err, merr)
		case err == nil && m != naiveHash(b):
			t.Errorf("measurement %v, want %x", m, naiveHash(b))
		}
	})
}

func FuzzCanonicalReader(f *testing.F) {
	f.Add(image(f, "append/cross_chunk_modes.sgxs")[:2000])
	f.Add(stream(f, create, add(0, regRW), chunk(ext, 0), chunk(ext, 0x100)))
	f.Add(stream(f, unsz))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := rewrite(t, sgxs.NewCanonicalReader(bytes.NewReader(b)))
		if err == nil && !bytes.Equal(got, b) {
			t.Error("accepted, but written in other bytes")
		}
		pages := sgxs.NewPageReader(bytes.NewReader(b))
		var perr error
		for perr == nil {
			_, perr = pages.Next()
		}
		if (err == nil) != (perr == io.EOF) {
			t.Errorf("records: %v, pages: %v", err, perr)
		}
	})
}
