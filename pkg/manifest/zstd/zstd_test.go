package zstd

import (
	"bytes"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func compress(t testing.TB, b []byte, o ...zstd.EOption) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil, o...)
	if err != nil {
		t.Fatal(err)
	}
	return e.EncodeAll(b, nil)
}

func TestDecode(t *testing.T) {
	code := bytes.Repeat([]byte("0123456789abcdef"), 1<<12)
	stored := compress(t, code)
	got, err := Decode(stored, uint64(len(code)))
	if err != nil || !bytes.Equal(got, code) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for _, size := range []uint64{0, 1, uint64(len(code)) - 1, uint64(len(code)) + 1, 1 << 30} {
		if _, err := Decode(stored, size); err == nil {
			t.Errorf("taken for a stream of %d bytes", size)
		}
	}
	for n := range stored {
		if _, err := Decode(stored[:n], uint64(len(code))); err == nil {
			t.Fatalf("a prefix of %d bytes is a stream", n)
		}
	}
}

func TestBombs(t *testing.T) {
	zeros := make([]byte, 64<<20)
	small := compress(t, zeros)
	if _, err := Decode(small, 1<<20); err == nil || !strings.Contains(err.Error(), "more than 1048576 bytes") {
		t.Errorf("64 MiB in %d bytes: %v", len(small), err)
	}
	wide := compress(t, zeros, zstd.WithWindowSize(16<<20), zstd.WithSingleSegment(false))
	if _, err := Decode(wide, 64<<20); err == nil || !strings.Contains(err.Error(), "window of more than 8 MiB") {
		t.Errorf("a window of 16 MiB: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(compress(f, []byte("hello")))
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 16
		out, err := DecodeAtMost(b, limit)
		if err == nil && len(out) > limit {
			t.Fatalf("%d bytes", len(out))
		}
	})
}
