package zstd

import (
	"bytes"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func compress(t testing.TB, b []byte) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil)
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

// bomb is a frame with that window descriptor and blocks of 128 KiB of zeros, four
// bytes each.
func bomb(window byte, blocks int) []byte {
	b := append([]byte("\x28\xb5\x2f\xfd\x00"), window)
	for i := range blocks {
		head := uint32(128<<10)<<3 | 1<<1 // of the kind "run of one byte"
		if i == blocks-1 {
			head |= 1
		}
		b = append(b, byte(head), byte(head>>8), byte(head>>16), 0)
	}
	return b
}

func TestBombs(t *testing.T) {
	const eight, sixteen = 13 << 3, 14 << 3 // window of 8 and 16 MiB
	if out, err := Decode(bomb(eight, 8), 1<<20); err != nil || len(out) != 1<<20 {
		t.Fatalf("the frame is none: %v", err)
	}
	if _, err := Decode(bomb(eight, 100), 1<<20); err == nil || !strings.Contains(err.Error(), "more than 1048576 bytes") {
		t.Errorf("too many bytes: %v", err)
	}
	if _, err := Decode(bomb(sixteen, 8), 1<<20); err == nil || !strings.Contains(err.Error(), "window of more than 8 MiB") {
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
