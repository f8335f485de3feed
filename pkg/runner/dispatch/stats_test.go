package dispatch

import (
	"encoding/binary"
	"testing"
)

// Statistics are the enclave's word: any bytes are statistics or an error, and those
// that are have the words in their order.
func FuzzParseStats(f *testing.F) {
	words := func(n uint64) (b []byte) {
		for i := range n {
			b = binary.LittleEndian.AppendUint64(b, i+1)
		}
		return b
	}
	f.Add([]byte(nil))
	f.Add(words(6)) // an older kernel's
	f.Add(words(6)[:47])
	f.Add(words(7))
	f.Add(append(words(9), 1)) // a newer kernel's
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseStats(b)
		if (err == nil) != (len(b) >= 48) {
			t.Fatalf("%d bytes: %v", len(b), err)
		}
		if err != nil {
			return
		}
		word := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
		want := Stats{word(0), word(1), word(2), word(3), word(4), word(5), len(b) >= 56 && word(6) != 0}
		if s != want {
			t.Errorf("%x: %+v, want %+v", b, s, want)
		}
	})
}
