package enclave

import (
	"errors"
	"testing"

	"github.com/enclaveos/eos/pkg/channel/wire"
)

func batch(payloads ...int) (b []byte) {
	for i, n := range payloads {
		b = wire.AppendRequest(b, wire.Request{ID: uint64(i)<<8 | wire.IDProgram, Method: 0x7001, Payload: make([]byte, n)})
	}
	return b
}

func TestCountRequests(t *testing.T) {
	for _, payloads := range [][]int{nil, {0}, {5, 0, 7}, {wire.MaxPayload}} {
		b := batch(payloads...)
		if n, err := countRequests(b); n != len(payloads) || err != nil {
			t.Errorf("%v: %d, %v", payloads, n, err)
		}
	}
	whole := map[int]bool{0: true, wire.RequestSize + 5: true, 2*wire.RequestSize + 5: true}
	b := batch(5, 0, 7)
	for cut := range b {
		if _, err := countRequests(b[:cut]); (err == nil) != whole[cut] {
			t.Errorf("%d bytes: %v", cut, err)
		}
	}
	foreign := batch(5, 0, 7)
	foreign[wire.RequestSize+5] = 0
	for what, bad := range map[string][]byte{"an id of the kernel's": foreign, "too large": batch(3, wire.MaxPayload+1)} {
		var e *RequestError
		if _, err := countRequests(bad); !errors.As(err, &e) || e.Offset == 0 {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// What is counted is what the strict parser of the other side makes of it.
func FuzzCountRequests(f *testing.F) {
	f.Add(batch(5, 0, 7))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := countRequests(b)
		if err != nil {
			return
		}
		for range n {
			size := wire.RequestSize + int(b[10]) + int(b[11])<<8 + int(b[12])<<16 + int(b[13])<<24
			if _, fault := wire.ParseRequest(b[:size]); fault != wire.Sound {
				t.Fatalf("%x: %v", b[:size], fault)
			}
			b = b[size:]
		}
		if len(b) != 0 {
			t.Fatalf("%d bytes are left", len(b))
		}
	})
}
