package sgxs_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"testing"

	"github.com/enclaveos/eos/pkg/sgxs"
)

// bigImage writes an image of n pages, one in four of them bare.
func bigImage(tb testing.TB, dst io.Writer, n uint64) {
	tb.Helper()
	w := sgxs.NewWriter(dst)
	if err := w.Create(1, sgxs.SizeFitNatural(n<<12)); err != nil {
		tb.Fatal(err)
	}
	page := bytes.Repeat([]byte{0xa5, 1, 2, 3}, 1024)
	for p := range n {
		data := page
		if p%4 == 3 {
			data = nil
		}
		if err := w.Page(p<<12, regRW, data); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkMeasure has the rate of plain SHA-256 over the same bytes beside
// it: from memory, and from a file (read and hashed in turn, as io.Copy does).
func BenchmarkMeasure(b *testing.B) {
	var img bytes.Buffer
	bigImage(b, &img, 16384)
	name := b.TempDir() + "/image"
	if err := os.WriteFile(name, img.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
	file, err := os.Open(name)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	run := func(name string, f func() error) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(img.Len()))
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("sha256/memory", func() error { sha256.Sum256(img.Bytes()); return nil })
	run("sha256/file", func() error {
		file.Seek(0, io.SeekStart)
		_, err := io.CopyBuffer(sha256.New(), struct{ io.Reader }{file}, make([]byte, 256<<10))
		return err
	})
	run("measure/memory", func() error { _, err := sgxs.Measure(bytes.NewReader(img.Bytes())); return err })
	run("measure/file", func() error {
		file.Seek(0, io.SeekStart)
		_, err := sgxs.Measure(file)
		return err
	})
	run("records", func() error {
		return each(sgxs.NewCanonicalReader(bytes.NewReader(img.Bytes())), func(sgxs.Record) error { return nil })
	})
}

// BenchmarkWriter has a plain write of the same bytes, in pieces of the same
// size, beside it.
func BenchmarkWriter(b *testing.B) {
	var img bytes.Buffer
	bigImage(b, &img, 16384)
	file, err := os.Create(b.TempDir() + "/image")
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	run := func(name string, f func(w io.Writer) error) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(img.Len()))
			for b.Loop() {
				file.Seek(0, io.SeekStart)
				if err := f(file); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("plain", func(w io.Writer) error {
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{bytes.NewReader(img.Bytes())}, make([]byte, 512<<10))
		return err
	})
	run("pages", func(w io.Writer) error { bigImage(b, w, 16384); return nil })
	run("records", func(w io.Writer) error {
		sw := sgxs.NewWriter(w)
		if err := each(sgxs.NewCanonicalReader(bytes.NewReader(img.Bytes())), sw.Write); err != nil {
			return err
		}
		return sw.Flush()
	})
	run("measuring", func(w io.Writer) error {
		sw := sgxs.NewWriter(w)
		sw.MeasureAlso()
		if err := each(sgxs.NewCanonicalReader(bytes.NewReader(img.Bytes())), sw.Write); err != nil {
			return err
		}
		_, err := sw.MREnclave()
		return err
	})
}
