//go:build linux

package proxy_test

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/enclaveos/eos/pkg/channel"
	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runner/proxy"
)

func wantDead(t testing.TB, p *proxy.Proxy, s channel.Status) {
	t.Helper()
	err := p.Err()
	if !errors.Is(err, s) {
		t.Fatalf("the data plane's error is %v, want %v", err, s)
	}
	if !strings.Contains(err.Error(), "the enclave broke the rules") {
		t.Errorf("the error does not say who: %v", err)
	}
	p.Poll(-1) // must not wait
	if p.Flush() {
		t.Error("a dead data plane moves something")
	}
}

func TestLies(t *testing.T) {
	listener := uint32(wire.MinOutbound)
	for _, tt := range []struct {
		name string
		want channel.Status
		lie  func(e *enclave, id uint32)
	}{
		{"unknown type", channel.ErrMessage, func(e *enclave, id uint32) { e.put([]byte{99, 0, 0, 0, 0}) }},
		{"short message", channel.ErrMessage, func(e *enclave, id uint32) { e.put([]byte{2, 0, 0}) }},
		{"empty frame", channel.ErrMessage, func(e *enclave, id uint32) { e.put(nil) }},
		{"message of the host's", channel.ErrMessage, func(e *enclave, id uint32) { e.put(wire.Append(nil, wire.Tick, 0, nil)) }},
		{"data for nobody", channel.ErrMessage, func(e *enclave, id uint32) { e.put(wire.Append(nil, wire.TcpData, id+1, []byte("x"))) }},
		{"data for a listener", channel.ErrMessage, func(e *enclave, id uint32) { e.put(wire.Append(nil, wire.TcpData, listener, []byte("x"))) }},
		{"fin for a listener", channel.ErrMessage, func(e *enclave, id uint32) { e.put(wire.Append(nil, wire.TcpFin, listener, nil)) }},
		{"fin for nobody", channel.ErrMessage, func(e *enclave, id uint32) { e.put(wire.Append(nil, wire.TcpFin, id+1, nil)) }},
		{"close for nobody", channel.ErrMessage, func(e *enclave, id uint32) { e.put(wire.Append(nil, wire.TcpClose, id+1, nil)) }},
		{"id in use", channel.ErrMessage, func(e *enclave, id uint32) { e.put(wire.AppendListen(nil, listener, []byte("127.0.0.1:0"), 1)) }},
		{"data behind fin", channel.ErrMessage, func(e *enclave, id uint32) {
			e.put(wire.Append(nil, wire.TcpFin, id, nil))
			e.put(wire.Append(nil, wire.TcpData, id, []byte("x")))
		}},
		{"two fins", channel.ErrMessage, func(e *enclave, id uint32) {
			e.put(wire.Append(nil, wire.TcpFin, id, nil))
			e.put(wire.Append(nil, wire.TcpFin, id, nil))
		}},
		{"two closes", channel.ErrMessage, func(e *enclave, id uint32) {
			e.put(wire.Append(nil, wire.TcpClose, id, nil))
			e.put(wire.Append(nil, wire.TcpClose, id, nil))
		}},
		{"credit for what was not sent", channel.ErrCreditAbused, func(e *enclave, id uint32) {
			e.put(wire.AppendCredit(nil, id, wire.Window-wire.FirstWindow))
			e.put(wire.AppendCredit(nil, id, 1))
		}},
		{"credit of 4 GiB", channel.ErrCreditAbused, func(e *enclave, id uint32) { e.put(wire.AppendCredit(nil, id, 1<<32-1)) }},
		{"data without credit", channel.ErrCreditAbused, func(e *enclave, id uint32) {
			for range 400 {
				if e.out.Put(wire.Append(nil, wire.TcpData, id, make([]byte, 64<<10)), nil) != channel.OK {
					e.out.Publish()
					e.p.Flush()
				}
			}
			e.out.Publish()
		}},
		{"cursor", channel.ErrCursorAhead, func(e *enclave, id uint32) {
			m, _ := e.p.Rings()
			m.HeaderBytes()[7] = 1
		}},
		{"frame length", channel.ErrFrameLength, func(e *enclave, id uint32) {
			m, _ := e.p.Rings()
			at := e.out.Written()
			e.out.Put([]byte("x"), nil)
			m.RingBytes()[at] = 2
			e.out.Publish()
		}},
		{"cursor of the other ring", channel.ErrCursorAhead, func(e *enclave, id uint32) {
			_, m := e.p.Rings()
			m.HeaderBytes()[64+7] = 1
			for range 3 { // until the ring to the enclave is full
				e.put(wire.Append(nil, wire.TcpClose, id, nil))
				break
			}
			for i := range uint32(9000) {
				e.put(wire.Append(nil, wire.TcpConnect, listener+100+i, []byte(":1")))
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := start(t, proxy.Options{Capacity: 256 << 10})
			l, addr := e.listen("127.0.0.1:0")
			id, c := e.accept(l, addr)
			tt.lie(e, id)
			e.dead(tt.want)
			if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client's connection was not ended: %v", err)
			}
		})
	}
}
