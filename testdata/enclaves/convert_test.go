package enclaves

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/sgxs/fromelf"
)

// convert returns the image of an ELF file.
func convert(t testing.TB, path string, o fromelf.Options) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	var image bytes.Buffer
	if _, err := fromelf.Convert(&image, f, info.Size(), o); err != nil {
		t.Fatal(err)
	}
	return image.Bytes()
}

// TestConvert converts every enclave and variant, and finds each value that
// the converter has filled in where the symbol says.
func TestConvert(t *testing.T) {
	o := fromelf.Options{HeapSize: 0x10000, StackSize: 0x8000, Threads: 2, SSAFrameSize: 1, Debug: true}
	check := func(t *testing.T, path string) {
		image := convert(t, path, o)
		memory, size := load(t, image)
		f, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var end uint64
		for _, p := range loads(f) {
			end = max(end, p.Vaddr+p.Memsz)
		}
		heap := (end + 4095) &^ 4095
		text := f.Section(".text")
		want := map[string]uint64{
			"HEAP_BASE": heap, "HEAP_SIZE": o.HeapSize, "ENCLAVE_SIZE": size, "DEBUG": 1,
			"CFGDATA_BASE": heap + o.HeapSize + 2*(0x10000+o.StackSize+0x3000),
			"TEXT_BASE":    text.Addr, "TEXT_SIZE": text.Size,
		}
		dynamic, err := f.DynamicSymbols()
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, s := range dynamic {
			if w, ok := want[s.Name]; ok {
				b := make([]byte, 8)
				copy(b, memory[s.Value>>12][s.Value&4095:][:s.Size])
				if got := binary.LittleEndian.Uint64(b); got != w {
					t.Errorf("%s is %#x, want %#x", s.Name, got, w)
				}
				found++
			}
		}
		if found != len(want) {
			t.Errorf("found %d symbols, want %d", found, len(want))
		}
	}
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) { check(t, Build(t, name)) })
	}
	for _, v := range []Option{OldEHSymbols, LargeBSS, CodeBehindNoSGX, PageOfNoSGX, Unaligned} {
		t.Run("hello+"+v.name, func(t *testing.T) { check(t, Build(t, "hello", v)) })
	}
	t.Run("all variants", func(t *testing.T) {
		check(t, Build(t, "hello", OldEHSymbols, LargeBSS, PageOfNoSGX, Unaligned))
	})
}

// load returns the pages of an image by number, and its size.
func load(t *testing.T, image []byte) (map[uint64][]byte, uint64) {
	t.Helper()
	r := sgxs.NewPageReader(bytes.NewReader(image))
	header, err := r.Header()
	if err != nil {
		t.Fatal(err)
	}
	pages := make(map[uint64][]byte)
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return pages, header.Size
		}
		if err != nil {
			t.Fatal(err)
		}
		if p.Flags&sgx.SecInfoX != 0 && p.Offset == 0 {
			t.Error("the first page is executable")
		}
		pages[p.Offset>>12] = bytes.Clone(p.Data)
	}
}

// TestConvertRefuses has the one variant that no converter takes.
func TestConvertRefuses(t *testing.T) {
	f, err := os.Open(Build(t, "hello", ExecutableFirstPage))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	var image bytes.Buffer
	_, err = fromelf.Convert(&image, f, info.Size(), fromelf.Options{HeapSize: 4096, StackSize: 4096, Threads: 1, SSAFrameSize: 1})
	if want := "First page of the enclave should not be executable"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
	if image.Len() != 0 {
		t.Errorf("%d bytes were written", image.Len())
	}
}
