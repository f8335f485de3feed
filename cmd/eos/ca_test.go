package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A CA is taken in all the forms in which people have one.
func TestLoadCA(t *testing.T) {
	must := func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	ecCert := must(x509.CreateCertificate(rand.Reader, tmpl, tmpl, ec.Public(), ec))
	rsaCert := must(x509.CreateCertificate(rand.Reader, tmpl, tmpl, rsaKey.Public(), rsaKey))
	text := func(kind string, b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}) }
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	for what, c := range map[string]struct {
		cert, key []byte
		ok        bool
	}{
		"PEM":           {text("CERTIFICATE", ecCert), text("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(ec))), true},
		"SEC 1":         {text("CERTIFICATE", ecCert), text("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ec))), true},
		"DER":           {ecCert, must(x509.MarshalPKCS8PrivateKey(ec)), true},
		"DER, SEC 1":    {ecCert, must(x509.MarshalECPrivateKey(ec)), true},
		"DER, PKCS #1":  {rsaCert, x509.MarshalPKCS1PrivateKey(rsaKey), true},
		"another's key": {rsaCert, must(x509.MarshalPKCS8PrivateKey(ec)), false},
		"torn DER":      {ecCert[:len(ecCert)-1], must(x509.MarshalPKCS8PrivateKey(ec)), false},
		"nothing":       {nil, nil, false},
	} {
		if err := os.WriteFile(cert, c.cert, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(key, c.key, 0o600); err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		u := &ui{stderr: &said}
		if ca, err := loadCA(u, cert, key); (err == nil) != c.ok || (ca != nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
		if said.Len() > 0 {
			t.Errorf("%s: %s", what, &said)
		}
		if err := os.Chmod(key, 0o640); err != nil {
			t.Fatal(err)
		}
		want := ""
		if c.ok {
			want = "eos: warning: key " + key + ": others may read it (mode 0640): chmod 600 " + key + "\n"
		}
		if _, err := loadCA(u, cert, key); (err == nil) != c.ok || said.String() != want {
			t.Errorf("%s, for others to read: %v, %q", what, err, &said)
		}
		if err := os.Remove(key); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := loadCA(&ui{}, filepath.Join(dir, "none"), key); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
}
