package sgxs_test

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
)

func TestWriterPage(t *testing.T) {
	var out bytes.Buffer
	w := sgxs.NewWriter(&out)
	data := bytes.Repeat([]byte{7}, 300)
	for _, err := range []error{
		w.Create(1, 0x8000), w.Page(0, regRW, nil), w.Page(0x1000, regRW, []byte{}),
		w.Page(0x2000, sgx.SecInfoREGRX, data), w.Flush(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := 64*4 + 2*16*320; out.Len() != n {
		t.Fatalf("%d bytes, want %d", out.Len(), n)
	}
	r := sgxs.NewPageReader(&out)
	if h, err := r.Header(); err != nil || h.Size != 0x8000 {
		t.Errorf("header %v, %v", h, err)
	}
	order := []uint8{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	for i, want := range []sgxs.Page{
		{0, regRW, make([]byte, 4096), 0, 0, nil, nil, 2, 64},
		{0x1000, regRW, make([]byte, 4096), 0xffff, 0xffff, order, order, 3, 128},
		{0x2000, sgx.SecInfoREGRX, append(bytes.Clone(data), make([]byte, 4096-300)...), 0xffff, 0xffff, order, order, 20, 192 + 16*320},
	} {
		p, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Order) == 0 {
			p.Order, p.Chunks = nil, nil
		}
		if !reflect.DeepEqual(*p, want) {
			t.Errorf("page %d: %+v, want %+v", i, *p, want)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("end: %v", err)
	}
}

func TestWriterRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		f    func(w *sgxs.Writer) error
		want error
		what string
	}{
		"unaligned": {func(w *sgxs.Writer) error { return w.Page(0x10, regRW, []byte{1}) }, sgxs.ErrPageOffset, "record 2 at 0x40"},
		"long page": {func(w *sgxs.Writer) error { return w.Page(0, regRW, make([]byte, 4097)) }, nil, "4097 bytes"},
		"kind":      {func(w *sgxs.Writer) error { return w.Write(sgxs.Record{}) }, nil, "no such record"},
		"short":     {func(w *sgxs.Writer) error { return w.Write(sgxs.Record{Kind: ext, Data: make([]byte, 255)}) }, nil, "255 bytes"},
		"data":      {func(w *sgxs.Writer) error { return w.Write(sgxs.Record{Kind: sgxs.KindEAdd, Data: []byte{1}}) }, nil, "want none"},
	} {
		w := sgxs.NewWriter(io.Discard)
		if err := w.Create(1, 4096); err != nil {
			t.Fatal(err)
		}
		err := c.f(w)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.what) {
			t.Errorf("%s: %v", name, err)
		}
		if again := w.Page(0, regRW, nil); again != err {
			t.Errorf("%s: the error does not stay: %v", name, again)
		}
		if again := w.Flush(); again != err {
			t.Errorf("%s: the error does not stay in Flush: %v", name, again)
		}
	}
	w := sgxs.NewWriter(failing{})
	w.MeasureAlso()
	if err := w.Create(1, 4096); err != nil {
		t.Fatal(err)
	}
	if _, err := w.MREnclave(); err != io.ErrClosedPipe {
		t.Errorf("write error: %v", err)
	}
	w = sgxs.NewWriter(io.Discard)
	if err := w.Create(1, 4096); err != nil {
		t.Fatal(err)
	}
	w.MeasureAlso()
	if _, err := w.MREnclave(); err == nil {
		t.Error("MeasureAlso after the first record")
	}
	if _, err := sgxs.NewWriter(io.Discard).MREnclave(); err == nil {
		t.Error("MREnclave without MeasureAlso")
	}
	m := sgxs.NewMeasurer()
	if err := m.Write(sgxs.Record{Kind: ext}); err == nil {
		t.Error("Measurer takes a chunk without data")
	}
}

type failing struct{}

func TestSizeFit(t *testing.T) {
	for n, want := range map[uint64]uint64{0: 0, 1: 1, 2: 2, 3: 4, 4096: 4096, 4097: 8192, 1 << 63: 1 << 63, 1<<63 + 1: 0, ^uint64(0): 0} {
		if got := sgxs.SizeFitNatural(n); got != want {
			t.Errorf("SizeFitNatural(%#x) = %#x, want %#x", n, got, want)
		}
	}
	for n, want := range map[uint64]uint64{0: 0, 1: 4096, 4096: 4096, 4097: 8192, ^uint64(0): 0} {
		if got := sgxs.SizeFitPage(n); got != want {
			t.Errorf("SizeFitPage(%#x) = %#x, want %#x", n, got, want)
		}
	}
}
