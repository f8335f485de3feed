package edptool

import (
	"crypto/x509"
	"encoding/pem"
	"testing"

	"github.com/enclaveos/eos/pkg/sign/keyref"
)

// ecKey is a P-256 key made for this test: it signs no enclaves.
const ecKey = `-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIL6vZePgZaqfvyAKCf9grr+8Ghsthk5mmm6i2Zi8KS+EoAoGCCqGSM49
AwEHoUQDQgAE4gJbweVf43RYUTZECaWWtlpeoZnKf36v8KU0Q9ABVBabGbF2PSc3
u4zBf0Kuz025ewgvCnH/PYDxKlvDHNRsgA==
-----END EC PRIVATE KEY-----
`

func publicKey(t *testing.T, path string) string {
	t.Helper()
	key, err := keyref.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}
