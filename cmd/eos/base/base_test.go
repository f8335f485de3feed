package base

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/sgxs/fromgo"
)

func sizes() fromgo.Options {
	return fromgo.Options{HeapSize: 64 << 20, CodeSize: 16 << 20, Threads: 8, Env: []string{"TZ=UTC"}}
}

// write is the hash of the image, and what it says of itself.
func write(t *testing.T, b *fromgo.Built, err error) ([32]byte, *fromgo.Image) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	h := sha256.New()
	img, err := b.Write(h)
	if err != nil {
		t.Fatal(err)
	}
	return [32]byte(h.Sum(nil)), img
}

// The program that eos carries is that of the source beside it, and what is laid out
// of either is the same image.
func TestCarried(t *testing.T) {
	fromSource, err := fromSource(t.Context(), sizes())
	elf := filepath.Join(t.TempDir(), "program")
	if err == nil {
		f, err := os.Create(elf)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fromSource.WriteTo(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	want, img := write(t, fromSource, err)
	if !img.Info.Runtime || img.Info.Package != Package || img.Info.Threads != 8 {
		t.Errorf("%+v", img.Info)
	}
	opened, err := fromgo.Open(elf, sizes())
	if got, _ := write(t, opened, err); got != want {
		t.Error("the image of the linked program is not that of the source")
	}
	other := sizes()
	other.HeapSize *= 2
	opened, err = fromgo.Open(elf, other)
	if got, img := write(t, opened, err); got == want || img.Info.HeapSize != other.HeapSize {
		t.Errorf("with another heap: %+v", img.Info)
	}

	if _, err := carried.Open(linkedName); errors.Is(err, fs.ErrNotExist) {
		t.Log("this build carries no runtime: make runtime puts it there")
		return
	}
	b, err := Prepare(t.Context(), sizes())
	if got, _ := write(t, b, err); got != want {
		t.Errorf("what eos carries is not what the source makes: run make runtime")
	}
}

func TestPrepareRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.com/app\n\ngo 1.25\n", "main.go": "package main\n\nfunc main() {}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := sizes()
	o.Package = dir
	var refused *fromgo.Error
	if _, err := Prepare(t.Context(), o); !errors.As(err, &refused) || !strings.Contains(refused.Msg, "boot.Main") {
		t.Errorf("a program that is no runtime: %v", err)
	}
	o = sizes()
	o.Dir = dir
	if _, err := fromSource(t.Context(), o); !errors.As(err, &refused) || !strings.Contains(refused.Hint, "make build") {
		t.Errorf("without the source: %v", err)
	}
	o = sizes()
	o.Threads = 1
	if _, err := Prepare(t.Context(), o); !errors.As(err, &refused) {
		t.Errorf("one thread: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := fromSource(ctx, sizes()); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if _, err := open(strings.NewReader("no zstd"), sizes()); err == nil {
		t.Error("something else was unpacked")
	}
	if _, err := open(io.LimitReader(strings.NewReader("(\xb5/\xfd"), 4), sizes()); err == nil {
		t.Error("a piece was unpacked")
	}
}
