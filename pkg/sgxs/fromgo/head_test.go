package fromgo

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// What an image says of itself is read from its first pages alone.
func TestReadInfo(t *testing.T) {
	o := defaults("hello")
	o.Env = []string{"LONG=" + string(bytes.Repeat([]byte("x"), 20<<10))} // more than a page before it
	img, image := mustBuild(t, o)
	r := bytes.NewReader(image)
	info, err := ReadInfo(r)
	if err != nil || !reflect.DeepEqual(info, img.Info) || info.Runtime {
		t.Fatalf("%+v, %v", info, err)
	}
	read := len(image) - r.Len()
	if read > len(image)/4 {
		t.Errorf("%d bytes of %d were read", read, len(image))
	}
	for n := 0; n < read; n += 61 {
		info, err := ReadInfo(bytes.NewReader(image[:n]))
		if err == nil && !reflect.DeepEqual(info, img.Info) {
			t.Errorf("of %d bytes: %+v", n, info)
		}
	}
	elf, err := os.ReadFile("../../../testdata/vectors/edp/elf/basic.sgxs")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadInfo(bytes.NewReader(elf)); !errors.Is(err, ErrNotGo) {
		t.Errorf("another image: %v", err)
	}
}

func FuzzReadInfo(f *testing.F) {
	_, image := mustBuild(f, defaults("hello"))
	f.Add(image[:min(len(image), 32<<10)])
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := ReadInfo(bytes.NewReader(b))
		if (info == nil) == (err == nil) {
			t.Fatalf("%+v, %v", info, err)
		}
	})
}

// A program that was linked before is laid out as it was then, for other sizes.
func TestOpen(t *testing.T) {
	o := defaults("hello")
	o.Package = filepath.Join(goapps, o.Package)
	b, err := Prepare(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	path := filepath.Join(t.TempDir(), "program")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.WriteTo(f); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for _, heap := range []uint64{o.HeapSize, 16 << 20} {
		o.HeapSize = heap
		want, image := mustBuild(t, Options{Package: "hello", HeapSize: heap, Threads: o.Threads})
		again, err := Open(path, o)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		img, err := again.Write(&got)
		if err != nil || !bytes.Equal(got.Bytes(), image) || img.MREnclave != want.MREnclave || !reflect.DeepEqual(again.Info(), want.Info) {
			t.Errorf("a heap of %d MiB: another image: %+v, %v", heap>>20, again.Info(), err)
		}
		again.Close()
	}

	o.Threads = 0
	if _, err := Open(path, o); !errors.As(err, new(*Error)) {
		t.Errorf("no threads: %v", err)
	}
	o.Threads = DefaultThreads
	if _, err := Open(filepath.Join(t.TempDir(), "none"), o); err == nil {
		t.Error("no file")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 100, len(text) / 2} {
		if err := os.WriteFile(path, text[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if b, err := Open(path, o); err == nil {
			_, err = b.Write(io.Discard)
			t.Errorf("the first %d bytes: %v", n, err)
		}
	}
}
