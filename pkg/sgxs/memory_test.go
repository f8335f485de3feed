package sgxs_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
)

// sparse is an unsized or sized 4 GiB image that is made while it is read: one
// page with all chunks, the rest bare.
type sparse struct {
	t    testing.TB
	head []byte // header record and first page
	pos  int64
}

const (
	sparseSize  = 4 << 30
	sparsePages = sparseSize / sgx.PageSize
)

func newSparse(t testing.TB, header sgxs.Record) *sparse {
	recs := []sgxs.Record{header, add(0, regRW)}
	for c := range uint64(16) {
		recs = append(recs, chunk(ext, c*256))
	}
	return &sparse{t: t, head: stream(t, recs...)}
}

func (s *sparse) length() int64 { return int64(len(s.head)) + (sparsePages-1)*64 }

func (s *sparse) Read(b []byte) (int, error) {
	if s.pos >= s.length() {
		return 0, io.EOF
	}
	n := 0
	if s.pos < int64(len(s.head)) {
		n = copy(b, s.head[s.pos:])
		s.pos += int64(n)
		return n, nil
	}
	var rec [64]byte
	copy(rec[:], "EADD")
	rec[16], rec[17] = 3, 2
	for n < len(b) && s.pos < s.length() {
		page := 1 + (s.pos-int64(len(s.head)))/64
		for i := range 8 {
			rec[8+i] = byte(page << 12 >> (8 * i))
		}
		k := copy(b[n:], rec[(s.pos-int64(len(s.head)))%64:])
		n += k
		s.pos += int64(k)
	}
	return n, nil
}

func (s *sparse) Seek(off int64, whence int) (int64, error) {
	if whence != io.SeekStart {
		return 0, errors.New("only from the start")
	}
	s.pos = off
	return off, nil
}

// bounded fails if f allocates more than limit bytes in all, which is more than
// it ever holds.
func bounded(t *testing.T, what string, limit uint64, f func() error) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := f()
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > limit {
		t.Errorf("%s: %d bytes allocated, want at most %d", what, n, limit)
	}
}

// TestMemory: whatever is done with a 4 GiB image, it is done in a few buffers.
func TestMemory(t *testing.T) {
	const limit = 6 << 20
	sized := sgxs.Record{Kind: sgxs.KindECreate, SSAFrameSize: 1, Size: sparseSize}
	unsized := sgxs.Record{Kind: sgxs.KindUnsized, SSAFrameSize: 1, SizeOffset: 8}
	src := newSparse(t, sized)
	bounded(t, "measure", limit, func() error { _, err := sgxs.Measure(src); return err })
	if src.pos != src.length() {
		t.Errorf("read to %#x of %#x", src.pos, src.length())
	}
	bounded(t, "pages", limit, func() error {
		r := sgxs.NewPageReader(newSparse(t, sized))
		n := 0
		for {
			_, err := r.Next()
			if err == io.EOF {
				if n != sparsePages {
					t.Errorf("%d pages, want %d", n, sparsePages)
				}
				return nil
			}
			if err != nil {
				return err
			}
			n++
		}
	})
	bounded(t, "rewrite, measuring", limit, func() error {
		w := sgxs.NewWriter(io.Discard)
		w.MeasureAlso()
		if err := each(sgxs.NewCanonicalReader(newSparse(t, sized)), w.Write); err != nil {
			return err
		}
		m, err := w.MREnclave()
		if want, werr := sgxs.Measure(newSparse(t, sized)); m != want || werr != nil {
			t.Errorf("%v, want %v (%v)", m, want, werr)
		}
		return err
	})
	bounded(t, "append", limit, func() error {
		a, err := sgxs.NewAppender(newSparse(t, unsized))
		if err != nil {
			return err
		}
		done, err := a.Append(io.Discard, []sgxs.Part{{Name: "zeros", Measured: true, Data: io.LimitReader(zeros{}, 64<<20), Size: 64 << 20}})
		if err == nil && done.Size != 2*sparseSize {
			t.Errorf("size %#x", done.Size)
		}
		return err
	})
	// The check itself: something that keeps the stream fails it.
	if before, after := new(runtime.MemStats), new(runtime.MemStats); true {
		runtime.ReadMemStats(before)
		var kept bytes.Buffer
		if _, err := io.CopyN(&kept, newSparse(t, sized), 8<<20); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(after)
		if after.TotalAlloc-before.TotalAlloc <= limit {
			t.Error("8 MiB kept are not noticed")
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
