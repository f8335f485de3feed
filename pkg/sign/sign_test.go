package sign_test

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sign"
)

const edp = "../../testdata/vectors/edp"

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func pemKey(t testing.TB, name string) *rsa.PrivateKey {
	t.Helper()
	b, _ := pem.Decode(readFile(t, name))
	k, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	if err != nil {
		k, err = x509.ParsePKCS1PrivateKey(b.Bytes)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k.(*rsa.PrivateKey)
}

func parse(t testing.TB, b []byte) *sgx.SigStruct {
	t.Helper()
	s, err := sgx.ParseSigStruct(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func encode(t testing.TB, s *sgx.SigStruct) []byte {
	t.Helper()
	b, err := s.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The golden SIGSTRUCTs were written by sgxs-sign 0.9.4 with key1.pem: each is
// verified, stripped and signed again to the same bytes.
func TestGolden(t *testing.T) {
	key := pemKey(t, filepath.Join(edp, "keys/key1.pem"))
	files, err := filepath.Glob(filepath.Join(edp, "sign/*.sig"))
	if err != nil || len(files) < 8 {
		t.Fatalf("%d golden files, %v", len(files), err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) { resign(t, readFile(t, f), key) })
	}
}

// The oasis SIGSTRUCT and key, which are read where the reference data is.
func TestOasis(t *testing.T) {
	dir := os.Getenv("EOS_VECTORS")
	if dir == "" {
		dir = "../../../shared/vectors"
	}
	dir = filepath.Join(dir, "sigstruct/oasis")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no reference vectors: %v; set EOS_VECTORS", err)
	}
	resign(t, readFile(t, filepath.Join(dir, "sig1.sigstruct.bin")), pemKey(t, filepath.Join(dir, "sig1.key.pem")))
}

func resign(t *testing.T, want []byte, key *rsa.PrivateKey) {
	s := parse(t, want)
	if err := sign.Verify(s); err != nil {
		t.Fatal(err)
	}
	s.Modulus, s.Signature, s.Q1, s.Q2, s.Exponent = [384]byte{}, [384]byte{}, [384]byte{}, [384]byte{}, 0
	if err := sign.Sign(s, key); err != nil {
		t.Fatal(err)
	}
	if got := encode(t, s); !bytes.Equal(got, want) {
		t.Errorf("signed again:\n%x\nwant\n%x", got, want)
	}
	mr, err := sign.MRSigner(&key.PublicKey)
	if err != nil || mr != s.MRSigner() {
		t.Errorf("MRSigner = %v, %v, want %v", mr, err, s.MRSigner())
	}
}
