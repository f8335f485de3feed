package wasm

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"log/slog"
	"testing"

	"github.com/enclaveos/eos/pkg/runtime/module"
)

// Those of the start take the place of Mozilla's, in what is believed and in what is
// claimed.
func TestAuthorities(t *testing.T) {
	if newAuthorities(nil) != mozillas() {
		t.Error("none are given, and others than the runtime's are believed")
	}
	ca := newAuthority(t).cert
	m := new(Module)
	if m.authoritiesHash() != mozillas().hash {
		t.Error("before its start the module claims others")
	}
	if err := m.Start(t.Context(), &module.Env{Log: slog.New(slog.DiscardHandler), Changed: func() error { return nil }, Authorities: []*x509.Certificate{ca}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Stop(t.Context()) })
	want := sha256.Sum256(append(binary.BigEndian.AppendUint32(nil, uint32(len(ca.Raw))), ca.Raw...))
	if m.authoritiesHash() != want {
		t.Errorf("it claims %x, want %x", m.authoritiesHash(), want)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	if !m.trusted.pool.Equal(pool) {
		t.Error("it believes others")
	}
}
