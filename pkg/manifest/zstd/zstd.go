// Package zstd opens modules that lie compressed in an image. A stream can say
// that it is huge, or have a window that is; here it gets no more memory than its
// window and what its module may have.
package zstd

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// maxWindow is what the levels up to 19 of zstd use at most.
const maxWindow = 8 << 20

// firstRoom is how much memory is there before a byte has been decompressed.
const firstRoom = 16 << 20

// Decode decompresses a stream that has exactly size bytes. It is a
// payload.Decoder.
func Decode(stored []byte, size uint64) ([]byte, error) {
	out, err := DecodeAtMost(stored, size)
	if err == nil && uint64(len(out)) != size {
		return nil, fmt.Errorf("zstd: %d bytes, not %d", len(out), size)
	}
	return out, err
}

// DecodeAtMost decompresses a stream of at most limit bytes.
func DecodeAtMost(stored []byte, limit uint64) ([]byte, error) {
	d, err := zstd.NewReader(bytes.NewReader(stored), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var out bytes.Buffer
	out.Grow(int(min(limit, firstRoom)) + bytes.MinRead)
	n, err := out.ReadFrom(io.LimitReader(d, int64(limit)+1))
	switch {
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return nil, fmt.Errorf("zstd: the stream has a window of more than %d MiB", maxWindow>>20)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errors.New("zstd: the stream is cut short")
	case err != nil:
		return nil, fmt.Errorf("zstd: %w", err)
	case uint64(n) > limit:
		return nil, fmt.Errorf("zstd: more than %d bytes", limit)
	}
	return out.Bytes(), nil
}
