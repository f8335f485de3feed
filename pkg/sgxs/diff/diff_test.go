package diff_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/sgxs/diff"
)

const edp = "../../../testdata/vectors/edp/"

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(edp + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func symbols(t testing.TB, name string) *diff.Symbols {
	t.Helper()
	s, err := diff.ReadSymbols(bytes.NewReader(read(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func images(t testing.TB, a, b []byte, s *diff.Symbols) *diff.Result {
	t.Helper()
	r, err := diff.Images(diff.Image{Name: "a", Stream: bytes.NewReader(a), Symbols: s}, diff.Image{Name: "b", Stream: bytes.NewReader(b), Symbols: s})
	if err != nil {
		t.Fatal(err)
	}
	checkAgain(t, r, a, b)
	return r
}

// checkAgain holds a result against the measurements and the streams.
func checkAgain(t testing.TB, r *diff.Result, a, b []byte) {
	t.Helper()
	ma, ea := sgxs.Measure(bytes.NewReader(a))
	mb, eb := sgxs.Measure(bytes.NewReader(b))
	if ea == nil && eb == nil && (ma == mb) != r.Same {
		t.Errorf("measurements %v and %v, same: %v", ma, mb, r.Same)
	}
	for _, c := range []struct {
		err  error
		want sgx.Measurement
		got  *sgx.Measurement
	}{{ea, ma, r.A.MREnclave}, {eb, mb, r.B.MREnclave}} {
		if (c.err == nil) != (c.got != nil) || c.got != nil && *c.got != c.want {
			t.Errorf("MRENCLAVE %v, want %v", c.got, c.want)
		}
	}
	if r.First == nil {
		return
	}
	// The byte that is named does differ, and all before it in that record
	// are the same. This looks at records one by one, unlike the package.
	for _, c := range []struct {
		at  diff.At
		img []byte
	}{{r.First.AtA, a}, {r.First.AtB, b}} {
		rr := sgxs.NewCanonicalReader(bytes.NewReader(c.img))
		for c.at.Record != 0 && rr.Number() < c.at.Record {
			if _, err := rr.Next(); err != nil {
				t.Fatalf("record %d: %v", c.at.Record, err)
			}
		}
		if rr.Pos() != c.at.Pos {
			t.Errorf("record %d is at %#x, not %#x", c.at.Record, rr.Pos(), c.at.Pos)
		}
	}
	if r.First.AtA.Record == 0 || r.First.AtB.Record == 0 {
		return
	}
	ra, rb := a[r.First.AtA.Pos:], b[r.First.AtB.Pos:]
	skip := 0
	if r.First.Field == diff.FieldData {
		skip = sgxs.HeaderSize
	}
	n := 0
	for ra[n] == rb[n] {
		n++
	}
	if n != skip+r.First.FieldOff {
		t.Errorf("%s: records differ at byte %d, not %d", r.First.Field, n, skip+r.First.FieldOff)
	}
}

// TestGolden compares images that the Fortanix converter made of one ELF.
func TestGolden(t *testing.T) {
	syms := symbols(t, "elf/basic.elf")
	base := read(t, "elf/basic.sgxs")

	r := images(t, base, base, syms)
	if !r.Same || r.First != nil || r.ChangedPages != 0 || r.Symbols != nil || len(r.Regions) == 0 {
		t.Errorf("an image differs from itself: %+v", r)
	}

	// --debug changes one byte, in a symbol.
	r = images(t, base, read(t, "elf/basic_debug.sgxs"), syms)
	if r.First == nil || r.First.Field != diff.FieldData || r.First.Addr != 0x2038 || r.First.FieldOff != 0x38 ||
		r.First.A != "00 00 00 00 00 00 00 00" || r.First.B != "01 00 00 00 00 00 00 00" {
		t.Fatalf("%+v", r.First)
	}
	if r.First.PlaceA.Symbol != "DEBUG" || r.First.PlaceA.Offset != 0 || !reflect.DeepEqual(r.First.PlaceA, r.First.PlaceB) {
		t.Errorf("%v, %v", r.First.PlaceA, r.First.PlaceB)
	}
	if len(r.Symbols) != 1 || r.Symbols[0].Place.Symbol != "DEBUG" || r.Symbols[0].Bytes != 1 || r.ChangedPages != 1 {
		t.Errorf("%+v, %d pages", r.Symbols, r.ChangedPages)
	}

	// More threads: a larger enclave, more pages, a later end of memory.
	r = images(t, base, read(t, "elf/basic_t3.sgxs"), syms)
	if r.First.Field != diff.FieldSize || r.First.FieldOff != 14 || r.First.AtA.Record != 1 || r.First.A != "0x20000" || r.First.B != "0x80000" {
		t.Errorf("%+v", r.First)
	}
	var names []string
	for _, s := range r.Symbols {
		names = append(names, s.Place.Symbol)
	}
	if got := strings.Join(names, " "); got != "ENCLAVE_SIZE CFGDATA_BASE" {
		t.Errorf("symbols %s", got)
	}
	if r.A.Pages != 13 || r.B.Pages != 23 || r.ChangedPages != 1+10 {
		t.Errorf("pages %d and %d, %d changed", r.A.Pages, r.B.Pages, r.ChangedPages)
	}
	last := r.Regions[len(r.Regions)-1]
	if last.A != nil || last.B == nil || last.B.Words != "REG rw-" || last.B.Measured != "none" || last.Pages != last.Changed {
		t.Errorf("last region %+v", last)
	}

	r = images(t, base, read(t, "elf/basic_unsized.sgxs"), nil)
	if r.First.Field != diff.FieldRecord || r.First.A != "ECREATE" || r.First.B != "UNSIZED" || r.B.SizeOffset != 0x2008 || r.First.PlaceA != nil {
		t.Errorf("%+v", r.First)
	}
}

// stream builds an image: ECREATE and the records given.
func stream(t testing.TB, recs ...sgxs.Record) []byte {
	t.Helper()
	var out bytes.Buffer
	w := sgxs.NewWriter(&out)
	if err := w.Create(1, 0x10000); err != nil {
		t.Fatal(err)
	}
	for _, r := range recs {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func add(off uint64, flags sgx.SecInfoFlags) sgxs.Record {
	return sgxs.Record{Kind: sgxs.KindEAdd, Offset: off, Flags: flags}
}

func chunk(kind sgxs.Kind, off uint64, fill byte) sgxs.Record {
	return sgxs.Record{Kind: kind, Offset: off, Data: bytes.Repeat([]byte{fill}, 256)}
}

// TestFirst has a pair of images for each field.
func TestFirst(t *testing.T) {
	const rw, rx, ext, unm = sgx.SecInfoREGRW, sgx.SecInfoREGRX, sgxs.KindEExtend, sgxs.KindUnmeasured
	type recs = []sgxs.Record
	odd := chunk(ext, 0x1100, 5)
	odd.Data[200] = 6
	common := recs{add(0, rx), chunk(unm, 0x100, 9), chunk(ext, 0, 1)}
	for name, c := range map[string]struct {
		a, b recs
		want diff.Difference
	}{
		"flags": {recs{add(0x1000, rw)}, recs{add(0x1000, rx)},
			diff.Difference{Field: diff.FieldFlags, FieldOff: 16, AtA: diff.At{Record: 5, Pos: 768}, AtB: diff.At{Record: 5, Pos: 768}, A: "REG rw-", B: "REG r-x", Page: 0x1000, Chunk: 0x1000, Addr: 0x1000}},
		"page type": {recs{add(0x1000, sgx.SecInfoTCS)}, recs{add(0x1000, sgx.SecInfoREG)},
			diff.Difference{Field: diff.FieldFlags, FieldOff: 17, AtA: diff.At{Record: 5, Pos: 768}, AtB: diff.At{Record: 5, Pos: 768}, A: "TCS ---", B: "REG ---", Page: 0x1000, Chunk: 0x1000, Addr: 0x1000}},
		"data": {recs{add(0x1000, rw), chunk(unm, 0x1000, 4), chunk(ext, 0x1100, 5)}, recs{add(0x1000, rw), odd, chunk(unm, 0x1000, 4)},
			diff.Difference{Field: diff.FieldData, FieldOff: 200, AtA: diff.At{Record: 7, Pos: 768 + 64 + 320}, AtB: diff.At{Record: 6, Pos: 768 + 64}, A: "05 05 05 05 05 05 05 05", B: "06 05 05 05 05 05 05 05", Page: 0x1000, Chunk: 0x1100, Addr: 0x11c8}},
		"order": {recs{add(0x1000, rw), chunk(ext, 0x1000, 4), chunk(ext, 0x1100, 5)}, recs{add(0x1000, rw), chunk(ext, 0x1100, 5), chunk(ext, 0x1000, 4)},
			diff.Difference{Field: diff.FieldChunk, FieldOff: 9, AtA: diff.At{Record: 6, Pos: 832}, AtB: diff.At{Record: 6, Pos: 832}, A: "EEXTEND 0x1000", B: "EEXTEND 0x1100", Page: 0x1000, Chunk: 0x1000, Addr: 0x1000}},
		"one chunk more": {recs{add(0x1000, rw), chunk(ext, 0x1000, 4)}, recs{add(0x1000, rw), chunk(ext, 0x1000, 4), chunk(ext, 0x1300, 4)},
			diff.Difference{Field: diff.FieldMeasured, FieldOff: 8, AtB: diff.At{Record: 7, Pos: 1152}, A: "no further chunk", B: "EEXTEND 0x1300", Page: 0x1000, Chunk: 0x1300, Addr: 0x1300}},
		"measured or not": {recs{add(0x1000, rw), chunk(ext, 0x1000, 4), chunk(ext, 0x1100, 4)}, recs{add(0x1000, rw), chunk(unm, 0x1000, 4), chunk(ext, 0x1100, 4)},
			diff.Difference{Field: diff.FieldMeasured, FieldOff: 9, AtA: diff.At{Record: 6, Pos: 832}, AtB: diff.At{Record: 7, Pos: 1152}, A: "EEXTEND 0x1000", B: "EEXTEND 0x1100", Page: 0x1000, Chunk: 0x1000, Addr: 0x1000}},
		"the same, turned round": {recs{add(0x1000, rw), chunk(unm, 0x1000, 4), chunk(ext, 0x1100, 4)}, recs{add(0x1000, rw), chunk(ext, 0x1000, 4), chunk(ext, 0x1100, 4)},
			diff.Difference{Field: diff.FieldMeasured, FieldOff: 9, AtA: diff.At{Record: 7, Pos: 1152}, AtB: diff.At{Record: 6, Pos: 832}, A: "EEXTEND 0x1100", B: "EEXTEND 0x1000", Page: 0x1000, Chunk: 0x1000, Addr: 0x1000}},
		"page in A only": {recs{add(0x1000, rw), add(0x2000, rw)}, recs{add(0x2000, rw)},
			diff.Difference{Field: diff.FieldPage, FieldOff: 9, AtA: diff.At{Record: 5, Pos: 768}, AtB: diff.At{Record: 5, Pos: 768}, A: "EADD 0x1000", B: "EADD 0x2000", Page: 0x1000, Chunk: 0x1000, Addr: 0x1000}},
		"page in B only, at the end": {recs{}, recs{add(0x2000, rw)},
			diff.Difference{Field: diff.FieldPage, FieldOff: 8, AtB: diff.At{Record: 5, Pos: 768}, A: "end of the stream", B: "EADD 0x2000", Page: 0x2000, Chunk: 0x2000, Addr: 0x2000}},
	} {
		r := images(t, stream(t, append(common[:3:3], c.a...)...), stream(t, append(common[:3:3], c.b...)...), nil)
		if r.Same || !reflect.DeepEqual(*r.First, c.want) {
			t.Errorf("%s:\n%+v, want\n%+v", name, *r.First, c.want)
		}
		if r.ChangedPages == 0 {
			t.Errorf("%s: no changed pages", name)
		}
	}
}

func TestUnmeasuredOnly(t *testing.T) {
	a := stream(t, add(0, sgx.SecInfoREGR), chunk(sgxs.KindUnmeasured, 0, 1), chunk(sgxs.KindEExtend, 0x100, 1))
	b := stream(t, add(0, sgx.SecInfoREGR), chunk(sgxs.KindEExtend, 0x100, 1), chunk(sgxs.KindUnmeasured, 0, 2))
	r := images(t, a, b, nil)
	if !r.Same || r.UnmeasuredPages != 1 || r.ChangedPages != 0 || r.Regions[0].Unmeasured != 1 || r.Regions[0].A.Measured != "partial" {
		t.Errorf("%+v", r)
	}
}

func TestHeader(t *testing.T) {
	head := func(f func(w *sgxs.Writer) error) []byte {
		var out bytes.Buffer
		w := sgxs.NewWriter(&out)
		if err := errors.Join(f(w), w.Flush()); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	c11 := head(func(w *sgxs.Writer) error { return w.Create(1, 0x1000) })
	c21 := head(func(w *sgxs.Writer) error { return w.Create(2, 0x1000) })
	u1 := head(func(w *sgxs.Writer) error { return w.CreateUnsized(1, 8) })
	u2 := head(func(w *sgxs.Writer) error { return w.CreateUnsized(1, 16) })
	if r := images(t, c11, c21, nil); r.First.Field != diff.FieldSSAFrameSize || r.First.A != "1 page" || r.First.B != "2 pages" {
		t.Errorf("%+v", r.First)
	}
	if r := images(t, u1, u2, nil); r.First.Field != diff.FieldSizeOffset || r.First.B != "0x10" || r.A.MREnclave != nil {
		t.Errorf("%+v", r.First)
	}
}

func TestBounds(t *testing.T) {
	// Pages of ever other flags: more regions than a Result holds.
	image := func(first byte) []byte {
		var recs []sgxs.Record
		for i := range uint64(2*diff.MaxRegions + 10) {
			recs = append(recs, add(i<<12, sgx.SecInfoREG|sgx.SecInfoFlags(i%7)), chunk(sgxs.KindEExtend, i<<12, first))
		}
		return stream(t, recs...)
	}
	a, b := image(1), image(2)
	var before, after runtime.MemStats
	r := images(t, a, b, nil)
	if len(r.Regions) != diff.MaxRegions || r.MoreRegions != diff.MaxRegions+10 || r.ChangedPages != 2*diff.MaxRegions+10 {
		t.Errorf("%d regions, %d more, %d pages", len(r.Regions), r.MoreRegions, r.ChangedPages)
	}
	runtime.ReadMemStats(&before)
	if _, err := diff.Images(diff.Image{Name: "a", Stream: bytes.NewReader(a), Symbols: nil}, diff.Image{Name: "b", Stream: bytes.NewReader(b), Symbols: nil}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
		t.Errorf("%d bytes allocated", n)
	}
}

func TestErrors(t *testing.T) {
	good := read(t, "elf/basic.sgxs")
	for name, bad := range map[string][]byte{"empty": nil, "cut": good[:100], "cut later": good[:9000], "junk": bytes.Repeat([]byte{1}, 64)} {
		for _, side := range []string{"first", "second"} {
			a, b := diff.Image{Name: "first", Stream: bytes.NewReader(good)}, diff.Image{Name: "second", Stream: bytes.NewReader(good)}
			if side == "first" {
				a.Stream = bytes.NewReader(bad)
			} else {
				b.Stream = bytes.NewReader(bad)
			}
			var fe *sgxs.FormatError
			if r, err := diff.Images(a, b); r != nil || !errors.As(err, &fe) || !strings.HasPrefix(err.Error(), side+": ") {
				t.Errorf("%s, %s: %v", name, side, err)
			}
		}
	}
	for _, b := range [][]byte{nil, []byte("no ELF"), read(t, "elf/basic.elf")[:80]} {
		if _, err := diff.ReadSymbols(bytes.NewReader(b)); err == nil {
			t.Errorf("%d bytes are read as an ELF", len(b))
		}
	}
}

func TestFind(t *testing.T) {
	s := symbols(t, "elf/basic.elf")
	for addr, want := range map[uint64]string{
		0x1000: "sgx_entry in .text", 0x100c: "sgx_entry+0xc in .text", 0x100e: "func1+0x1 in .text",
		0x2038: "DEBUG in .rodata", 0x201f: "HEAP_SIZE+0x7 in .rodata", 0x2039: ".rodata+0x39",
		0x3218: "datum in .data",
	} {
		got := s.Find(addr)
		if got == nil || got.String() != want {
			t.Errorf("%#x: %v, want %s", addr, got, want)
		}
	}
	if p := s.Find(0x80000); p != nil {
		t.Errorf("behind the ELF: %v", p)
	}
	if p := (*diff.Symbols)(nil).Find(0); p != nil {
		t.Errorf("no symbols: %v", p)
	}
}

func TestJSON(t *testing.T) {
	r := images(t, read(t, "elf/basic.sgxs"), read(t, "elf/basic_debug.sgxs"), symbols(t, "elf/basic.elf"))
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got diff.Result
	if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(&got, r) {
		t.Errorf("%s: %v", b, err)
	}
}

// FuzzImages changes a golden image and holds the result against the two
// measurements.
func FuzzImages(f *testing.F) {
	base := read(f, "append/cross_chunk_modes.sgxs")
	f.Add(uint32(70), byte(1))
	f.Add(uint32(5000), byte(0x80))
	f.Fuzz(func(t *testing.T, at uint32, x byte) {
		b := bytes.Clone(base)
		b[int(at)%len(b)] ^= x
		r, err := diff.Images(diff.Image{Name: "a", Stream: bytes.NewReader(base), Symbols: nil}, diff.Image{Name: "b", Stream: bytes.NewReader(b), Symbols: nil})
		if _, berr := sgxs.Measure(bytes.NewReader(b)); errors.Is(berr, sgxs.ErrUnsized) {
			berr = nil
		} else if (err == nil) != (berr == nil) {
			t.Fatalf("%v, measuring says %v", err, berr)
		}
		if err == nil {
			checkAgain(t, r, base, b)
		}
	})
}
