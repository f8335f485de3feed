package kvstore

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// TestNonces: two boxes of a key, as of two starts, never share a nonce, and each opens
// what the other has made.
func TestNonces(t *testing.T) {
	key := make([]byte, 32)
	a, b := newBox(key), newBox(key)
	seen := map[string]bool{}
	for range 100 {
		for _, pair := range [][2]*box{{a, b}, {b, a}} {
			sealed := pair[0].seal(nil, []byte("text"), nil)
			if seen[string(sealed[:nonceSize])] {
				t.Fatal("a nonce came twice")
			}
			seen[string(sealed[:nonceSize])] = true
			if text, ok := pair[1].open(sealed, nil); !ok || string(text) != "text" {
				t.Fatalf("%q, %v", text, ok)
			}
		}
	}
}

// TestXAES: the first vectors of c2sp.org/XAES-256-GCM.
func TestXAES(t *testing.T) {
	nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
	for _, c := range []struct {
		key             byte
		additional, out string
	}{
		{1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		b := newBox(bytes.Repeat([]byte{c.key}, 32))
		got := b.aead(nonce).Seal(nil, nonce[12:], []byte("XAES-256-GCM"), []byte(c.additional))
		if hex.EncodeToString(got) != c.out {
			t.Errorf("%x, want %s", got, c.out)
		}
	}
}

func TestBox(t *testing.T) {
	b := newBox(make([]byte, 32))
	for _, text := range []string{"", "text"} {
		sealed := b.seal([]byte("before"), []byte(text), []byte("additional"))[len("before"):]
		if got, ok := b.open(sealed, []byte("additional")); !ok || got == nil || string(got) != text {
			t.Errorf("%q, %v", got, ok)
		}
		if _, ok := b.open(sealed, []byte("other")); ok {
			t.Error("opens with other additional data")
		}
		for i := range sealed {
			changed := bytes.Clone(sealed)
			changed[i] ^= 1
			if _, ok := b.open(changed, []byte("additional")); ok {
				t.Errorf("opens with byte %d changed", i)
			}
			if _, ok := b.open(sealed[:i], []byte("additional")); ok {
				t.Errorf("opens with %d bytes", i)
			}
		}
		if bytes.Equal(sealed, b.seal(nil, []byte(text), []byte("additional"))) {
			t.Error("a nonce came twice")
		}
	}
}
