package main

import (
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
)

// imagePages is the size of the image that is measured: 64 MiB of pages.
const imagePages = 64 << 20 / sgx.PageSize

// imageRows measure, write and convert.
func imageRows(dir string) []row {
	path := filepath.Join(dir, "image.sgxs")
	var img bytes.Buffer
	check(writeImage(&img))
	check(os.WriteFile(path, img.Bytes(), 0o600))

	inMemory := func(f func() error) func(*testing.B) {
		return func(b *testing.B) {
			b.SetBytes(int64(img.Len()))
			for b.Loop() {
				check(f())
			}
		}
	}
	onDisk := func(f func(*os.File) error) func(*testing.B) {
		return inMemory(func() error {
			file, err := os.Open(path)
			if err != nil {
				return err
			}
			defer file.Close()
			return f(file)
		})
	}
	out := filepath.Join(dir, "out")
	toDisk := func(f func(io.Writer) error) func(*testing.B) {
		return inMemory(func() error {
			file, err := os.Create(out)
			if err != nil {
				return err
			}
			defer file.Close()
			return f(file)
		})
	}

	measured := func(r io.Reader) error { _, err := sgxs.Measure(r); return err }
	return []row{
		{"measure, in memory", side{name: "eos", run: inMemory(func() error { return measured(bytes.NewReader(img.Bytes())) })},
			side{name: "crypto/sha256", run: inMemory(func() error { sha256.Sum256(img.Bytes()); return nil })}, "ratio ≥ 0.95"},
		{"measure, from a file", side{name: "eos", run: onDisk(func(f *os.File) error { return measured(f) })},
			side{name: "sha256sum", run: inMemory(func() error { return exec.Command("sha256sum", path).Run() })}, ""},
		{"write an image to a file", side{name: "eos", run: toDisk(writeImage)},
			side{name: "raw write", run: toDisk(func(w io.Writer) error { _, err := w.Write(img.Bytes()); return err })}, "limited by writing"},
	}
}

func writeImage(dst io.Writer) error {
	w := sgxs.NewWriter(dst)
	if err := w.Create(1, sgxs.SizeFitNatural(imagePages*sgx.PageSize)); err != nil {
		return err
	}
	page := bytes.Repeat([]byte("measured"), sgx.PageSize/8)
	for i := range uint64(imagePages) {
		if err := w.Page(i*sgx.PageSize, sgx.SecInfoREGRW, page); err != nil {
			return err
		}
	}
	return w.Flush()
}

// check ends the program: a figure of work that failed is no figure.
func check(err error) {
	if err != nil {
		panic(err)
	}
}
