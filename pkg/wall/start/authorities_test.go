package start

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// certificate makes one that is a CA's or not, as PEM.
func certificate(t testing.TB, name string, ca bool) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true, IsCA: ca}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// The same CAs are the same bytes in any order, and go through a document.
func TestAuthorities(t *testing.T) {
	a, b := certificate(t, "a", true), certificate(t, "b", true)
	der, err := AuthoritiesOfPEM(slices.Concat([]byte("# ours\n"), a, b, a))
	if err != nil {
		t.Fatal(err)
	}
	if other, err := AuthoritiesOfPEM(slices.Concat(b, a)); err != nil || !bytes.Equal(der, other) {
		t.Errorf("in another order: %v", err)
	}
	c := good()
	c.EgressCAs = der
	text, err := c.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Parse(text); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("%+v, %v", got, err)
	}
	if cas, err := ParseAuthorities(der); err != nil || len(cas) != 2 {
		t.Errorf("%d, %v", len(cas), err)
	}
	for n := range der {
		if cas, err := ParseAuthorities(der[:n]); err == nil && len(cas) != 1 {
			t.Errorf("%d bytes are %d CAs", n, len(cas))
		}
	}
}

func TestAuthoritiesRefuses(t *testing.T) {
	a := certificate(t, "a", true)
	block, _ := pem.Decode(a)
	for want, text := range map[string][]byte{
		"there is no certificate":       []byte("nothing"),
		"is not a CA's":                 certificate(t, "leaf", false),
		`block "PRIVATE KEY"`:           slices.Concat(a, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})),
		"certificates of CAs: x509":     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}),
		"65 certificates of CAs, at mo": bytes.Join(many(t, MaxAuthorities+1), nil),
	} {
		if _, err := AuthoritiesOfPEM(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := ParseAuthorities(slices.Concat(block.Bytes, block.Bytes)); err == nil || !strings.Contains(err.Error(), "ascending") {
		t.Errorf("one twice: %v", err)
	}
	if _, err := ParseAuthorities([]byte{}); err == nil {
		t.Error("no bytes are CAs")
	}
	if cas, err := ParseAuthorities(nil); cas != nil || err != nil {
		t.Errorf("none: %v, %v", cas, err)
	}
}

func many(t *testing.T, n int) (all [][]byte) {
	for range n {
		all = append(all, certificate(t, "x", true))
	}
	return all
}
