package sgxs

import (
	"crypto/sha256"
	"hash"

	"github.com/enclaveos/eos/pkg/sgx"
)

// hasherBuffers is how many buffers a hasher lets wait. With one alone the
// hashing would pause whenever the other side is late; four are enough never
// to.
const hasherBuffers = 4

// hasher hashes runs of bytes in buffers, in order, beside the goroutine that
// fills the buffers. Each buffer gets a goroutine that waits for that of the
// buffer before and ends by itself, so that a hasher may be dropped at any
// time.
type hasher struct {
	h    hash.Hash
	size int
	runs [][]byte      // in the buffer being filled; swap hashes and empties it
	last chan struct{} // closed when the last buffer is hashed
	free chan []byte
	made int
}

// newHasher returns a hasher whose buffers have size bytes.
func newHasher(size int) *hasher {
	h := &hasher{h: sha256.New(), size: size, free: make(chan []byte, hasherBuffers), last: make(chan struct{})}
	close(h.last)
	return h
}

// swap takes the buffer b, in which runs lie, and returns another to fill.
func (h *hasher) swap(b []byte) []byte {
	runs, before, done := h.runs, h.last, make(chan struct{})
	h.runs, h.last = nil, done
	go func() {
		<-before
		for _, r := range runs {
			h.h.Write(r)
		}
		h.free <- b
		close(done)
	}()
	if h.made < hasherBuffers-1 {
		select {
		case b := <-h.free:
			return b
		default:
			h.made++
			return make([]byte, h.size)
		}
	}
	return <-h.free
}

// wait returns when no buffer is being hashed.
func (h *hasher) wait() { <-h.last }

// sum returns the hash of all runs, those that swap has not taken too.
func (h *hasher) sum() (m sgx.Measurement) {
	h.wait()
	for _, r := range h.runs {
		h.h.Write(r)
	}
	h.runs = nil
	h.h.Sum(m[:0])
	return m
}
