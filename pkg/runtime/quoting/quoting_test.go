package quoting

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/enclave"
	"github.com/enclaveos/eos/pkg/runtime/rpc"
	"github.com/enclaveos/eos/pkg/sgx"
)

// host answers as it likes.
type host struct {
	mu     sync.Mutex
	calls  []wire.Method
	answer map[wire.Method]func(payload []byte) ([]byte, error)
}

func (h *host) Call(_ context.Context, m wire.Method, payload []byte) ([]byte, error) {
	h.mu.Lock()
	h.calls = append(h.calls, m)
	h.mu.Unlock()
	return h.answer[m](payload)
}

var theTarget = sgx.TargetInfo{MREnclave: sgx.Measurement{7}}

// goodHost quotes by putting the report where a quote has it.
func goodHost() *host {
	return &host{answer: map[wire.Method]func([]byte) ([]byte, error){
		wire.QEGetTargetInfo: func([]byte) ([]byte, error) { return theTarget.AppendBinary(nil) },
		wire.QEGetQuote: func(b []byte) ([]byte, error) {
			q := make([]byte, bodyOffset)
			q[0], q[2] = 3, 2
			return append(append(q, b[:sgx.ReportBodySize]...), 0, 0, 0, 0), nil
		},
		wire.QEGetCollateral: func([]byte) ([]byte, error) { return []byte("{}"), nil },
	}}
}

func quoter(h *host) *Quoter {
	q := New(h)
	q.report = func(t *sgx.TargetInfo, data [64]byte) (*sgx.Report, error) {
		return &sgx.Report{Body: sgx.ReportBody{MREnclave: sgx.Measurement{1}, ReportData: data}, KeyID: t.MREnclave}, nil
	}
	return q
}

func TestQuote(t *testing.T) {
	h := goodHost()
	q := quoter(h)
	for range 2 {
		b, err := q.Quote(t.Context(), [64]byte{5, 63: 6})
		if err != nil || b[368] != 5 || b[431] != 6 {
			t.Fatalf("%x, %v", b, err)
		}
	}
	if want := []wire.Method{wire.QEGetTargetInfo, wire.QEGetQuote, wire.QEGetQuote}; !equal(h.calls, want) {
		t.Errorf("calls %x, want %x", h.calls, want)
	}
	if b, err := q.Collateral(t.Context()); err != nil || string(b) != "{}" {
		t.Errorf("%q, %v", b, err)
	}
}

func equal(a, b []wire.Method) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// TestLies has a host that answers with something else than was asked for.
func TestLies(t *testing.T) {
	quote := func(change func(q []byte) []byte) func(*host) {
		return func(h *host) {
			good := h.answer[wire.QEGetQuote]
			h.answer[wire.QEGetQuote] = func(b []byte) ([]byte, error) {
				q, err := good(b)
				return change(q), err
			}
		}
	}
	for name, c := range map[string]struct {
		lie  func(*host)
		what string
	}{
		"short target": {func(h *host) {
			h.answer[wire.QEGetTargetInfo] = func([]byte) ([]byte, error) { return make([]byte, 511), nil }
		}, "TARGETINFO"},
		"reserved bytes in the target": {func(h *host) {
			h.answer[wire.QEGetTargetInfo] = func([]byte) ([]byte, error) { return bytes.Repeat([]byte{1}, 512), nil }
		}, "TARGETINFO"},
		"no quote":      {quote(func([]byte) []byte { return nil }), "no quote: 0 bytes"},
		"short quote":   {quote(func(q []byte) []byte { return q[:435] }), "no quote: 435 bytes"},
		"version":       {quote(func(q []byte) []byte { q[0] = 5; return q }), "version 5"},
		"TDX":           {quote(func(q []byte) []byte { q[4] = 0x81; return q }), "another kind of TEE"},
		"MRENCLAVE":     {quote(func(q []byte) []byte { q[112] ^= 1; return q }), "another report"},
		"report data":   {quote(func(q []byte) []byte { q[431] ^= 1; return q }), "another report"},
		"debug cleared": {quote(func(q []byte) []byte { q[96] ^= 2; return q }), "another report"},
	} {
		h := goodHost()
		c.lie(h)
		if b, err := quoter(h).Quote(t.Context(), [64]byte{1}); err == nil || b != nil || !strings.Contains(err.Error(), c.what) {
			t.Errorf("%s: %v, want %q", name, err, c.what)
		}
	}
}

// TestOtherQuotingEnclave: after a refusal the target is asked for again, once.
func TestOtherQuotingEnclave(t *testing.T) {
	h := goodHost()
	q := quoter(h)
	if _, err := q.Quote(t.Context(), [64]byte{}); err != nil {
		t.Fatal(err)
	}
	good := h.answer[wire.QEGetQuote]
	h.answer[wire.QEGetTargetInfo] = func([]byte) ([]byte, error) {
		return (&sgx.TargetInfo{MREnclave: sgx.Measurement{8}}).AppendBinary(nil)
	}
	h.answer[wire.QEGetQuote] = func(b []byte) ([]byte, error) {
		if b[sgx.ReportBodySize] != 8 { // the test's reports name their target there
			return nil, &rpc.StatusError{Method: wire.QEGetQuote, Status: wire.StatusError, Payload: []byte("not\nfor us" + strings.Repeat("x", 1000))}
		}
		return good(b)
	}
	h.calls = nil
	if _, err := q.Quote(t.Context(), [64]byte{}); err != nil {
		t.Fatal(err)
	}
	if want := []wire.Method{wire.QEGetQuote, wire.QEGetTargetInfo, wire.QEGetQuote}; !equal(h.calls, want) {
		t.Errorf("calls %x, want %x", h.calls, want)
	}
	h.answer[wire.QEGetTargetInfo] = func([]byte) ([]byte, error) { return theTarget.AppendBinary(nil) }
	q.forget(q.target)
	h.calls = nil
	_, err := q.Quote(t.Context(), [64]byte{})
	var refused *rpc.StatusError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), `"not\nfor us`) || len(err.Error()) > 500 {
		t.Errorf("%v", err)
	}
	if want := []wire.Method{wire.QEGetTargetInfo, wire.QEGetQuote}; !equal(h.calls, want) {
		t.Errorf("calls %x, want %x", h.calls, want)
	}
}

func TestOutside(t *testing.T) {
	if _, err := New(goodHost()).Quote(t.Context(), [64]byte{}); !errors.Is(err, enclave.ErrNotEnclave) {
		t.Errorf("%v", err)
	}
}

func FuzzCheck(f *testing.F) {
	body := make([]byte, sgx.ReportBodySize)
	good, _ := goodHost().answer[wire.QEGetQuote](body)
	f.Add(good)
	f.Add(good[:100])
	f.Fuzz(func(t *testing.T, in []byte) {
		if check(in, body) == nil && !bytes.Equal(in[48:432], body) {
			t.Error("another report is accepted")
		}
	})
}
