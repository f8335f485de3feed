package wall

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func payloadPages(n int) []byte {
	b := AppendPayloadHeader(nil, uint64(n))
	for i := range n {
		b = append(b, byte(i)|1)
	}
	return append(b, make([]byte, -len(b)&0xfff)...)
}

func TestPayload(t *testing.T) {
	if string(payloadPages(0)[:8]) != "EOSPAYLD" {
		t.Error("the magic is another word")
	}
	for _, n := range []int{0, 1, 4096 - PayloadHeader, 4096 - PayloadHeader + 1, 9000} {
		pages := payloadPages(n)
		b, err := ParsePayload(pages)
		if err != nil || !bytes.Equal(b, pages[PayloadHeader:PayloadHeader+n]) {
			t.Errorf("%d bytes: %d, %v", n, len(b), err)
		}
		for cut := range len(pages) {
			if _, err := ParsePayload(pages[:cut]); err == nil {
				t.Fatalf("%d bytes: a prefix of %d parses", n, cut)
			}
		}
		if _, err := ParsePayload(append(bytes.Clone(pages), make([]byte, 4096)...)); err == nil {
			t.Errorf("%d bytes: a page behind it is accepted", n)
		}
		if n%4096 != 4096-PayloadHeader {
			dirty := bytes.Clone(pages)
			dirty[len(dirty)-1] = 1
			if _, err := ParsePayload(dirty); err == nil {
				t.Errorf("%d bytes: no zero behind it, accepted", n)
			}
		}
	}
	huge := payloadPages(1)
	binary.LittleEndian.PutUint64(huge[8:], ^uint64(0))
	if _, err := ParsePayload(huge); err == nil {
		t.Error("a length beyond everything is accepted")
	}
	huge[0]++
	if _, err := ParsePayload(huge); err == nil {
		t.Error("another magic is accepted")
	}
}

func FuzzParsePayload(f *testing.F) {
	f.Add(payloadPages(3))
	f.Fuzz(func(t *testing.T, pages []byte) {
		b, err := ParsePayload(pages)
		if err != nil {
			return
		}
		again := append(AppendPayloadHeader(nil, uint64(len(b))), b...)
		if again = append(again, make([]byte, -len(again)&0xfff)...); !bytes.Equal(again, pages) {
			t.Fatal("accepted, and not the same again")
		}
	})
}
