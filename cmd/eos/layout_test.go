package main

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
)

// stream writes an image by hand.
func stream(t *testing.T, fill func(*sgxs.Writer) error) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := sgxs.NewWriter(&b)
	if err := fill(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func TestScanImageBoundsItsLists(t *testing.T) {
	const pages = 3*maxRegions + 5
	info, err := scanImage(stream(t, func(w *sgxs.Writer) error {
		if err := w.Create(1, 1<<28); err != nil {
			return err
		}
		for i := range uint64(pages) {
			flags := []sgx.SecInfoFlags{sgx.SecInfoREGR, sgx.SecInfoREGRW, sgx.SecInfoTCS}[i%3]
			if err := w.Page(i*sgx.PageSize, flags, nil); err != nil {
				return err
			}
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Regions) != maxRegions || info.MorePages != pages-maxRegions {
		t.Errorf("%d regions and %d more, want %d and %d", len(info.Regions), info.MorePages, maxRegions, pages-maxRegions)
	}
	if len(info.Threads) != maxRegions || info.MoreThreads != 1 {
		t.Errorf("%d threads and %d more, want %d and 1", len(info.Threads), info.MoreThreads, maxRegions)
	}
	if info.Pages != pages || info.CommittedSize != pages*sgx.PageSize || info.MeasuredSize != 0 {
		t.Errorf("%d pages, %d committed, %d measured", info.Pages, info.CommittedSize, info.MeasuredSize)
	}
	var out bytes.Buffer
	if err := printImage(&ui{stdout: &out}, "x", info); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"and more: 20005 pages; --pages lists them\n", "and 1 more TCSs\n", "threads    10001, SSA"} {
		if !bytes.Contains(out.Bytes(), []byte(want)) {
			t.Errorf("%q is not printed", want)
		}
	}
}

// The measurement that scanImage makes of pages is that of the stream, also
// where only some chunks are measured, in an order of their own.
func TestScanImageMeasures(t *testing.T) {
	chunk := bytes.Repeat([]byte{7}, sgx.ChunkSize)
	var image bytes.Buffer
	src := stream(t, func(w *sgxs.Writer) error {
		for _, rec := range []sgxs.Record{
			{Kind: sgxs.KindECreate, SSAFrameSize: 1, Size: 0x4000},
			{Kind: sgxs.KindEAdd, Offset: 0x1000, Flags: sgx.SecInfoREGRW},
			{Kind: sgxs.KindEExtend, Offset: 0x1f00, Data: chunk},
			{Kind: sgxs.KindUnmeasured, Offset: 0x1100, Data: chunk},
			{Kind: sgxs.KindEExtend, Offset: 0x1000, Data: chunk},
			{Kind: sgxs.KindEAdd, Offset: 0x2000, Flags: sgx.SecInfoREGRW},
		} {
			if err := w.Write(rec); err != nil {
				return err
			}
		}
		return nil
	})
	info, err := scanImage(io.TeeReader(src, &image))
	if err != nil {
		t.Fatal(err)
	}
	want, err := sgxs.Measure(&image)
	if err != nil {
		t.Fatal(err)
	}
	if info.MREnclave == nil || *info.MREnclave != want {
		t.Errorf("MRENCLAVE %v, want %v", info.MREnclave, want)
	}
	if info.MeasuredSize != 512 || info.UnmeasuredSize != 256 {
		t.Errorf("%d measured, %d unmeasured", info.MeasuredSize, info.UnmeasuredSize)
	}
	if len(info.Regions) != 2 || info.Regions[0].Measured != "part" || info.Regions[0].Content != "data" || info.Regions[1].Content != "zero" {
		t.Errorf("regions %+v", info.Regions)
	}
}

func TestWriteMemoryRefusesHugeHoles(t *testing.T) {
	src := stream(t, func(w *sgxs.Writer) error {
		if err := w.Create(1, 1<<62); err != nil {
			return err
		}
		return w.Page(1<<61, sgx.SecInfoREGR, nil)
	})
	var out bytes.Buffer
	if err := writeMemory(&out, src); err == nil || out.Len() != 0 {
		t.Errorf("wrote %d bytes, error %v", out.Len(), err)
	}
}

// What is accepted reads as the same number when it is written in digits.
func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"0", "4096", "0x1000", "64MiB", "64mb", "18446744073709551615", "16777216T", " 1", "1 K", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseSize(s)
		if err != nil {
			return
		}
		for _, format := range []string{"%d", "%#x", "%dB"} {
			if back, err := parseSize(fmt.Sprintf(format, n)); err != nil || back != n {
				t.Errorf("%q is %d; "+format+" reads as %d, %v", s, n, n, back, err)
			}
		}
	})
}
