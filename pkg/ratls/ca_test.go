package ratls_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/ratls"
)

func keyPEM(t testing.TB, ca *ratls.CA) []byte {
	t.Helper()
	b, err := ca.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCARoundTrip(t *testing.T) {
	w := newWorld(t)
	self, err := ratls.NewSelfMade("self-made", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, ca := range []*ratls.CA{w.root, w.ca, self} {
		got, err := ratls.ParseCA(ca.CertificatePEM(), keyPEM(t, ca))
		if err != nil {
			t.Fatal(err)
		}
		if !got.Certificate().Equal(ca.Certificate()) || got.Hash() != ca.Hash() || !bytes.Equal(keyPEM(t, got), keyPEM(t, ca)) {
			t.Errorf("%v came back as another", ca.Certificate().Subject)
		}
		if got.Hash() != sha256.Sum256(ca.Certificate().Raw) {
			t.Error("the hash is not the certificate's")
		}
	}
	if c := w.ca.Certificate(); !c.MaxPathLenZero || c.CheckSignatureFrom(w.root.Certificate()) != nil {
		t.Error("the intermediary is not one of the root's for leaves only")
	}
	if c := w.root.Certificate(); c.MaxPathLen != 1 {
		t.Errorf("the root's path length is %d", c.MaxPathLen)
	}
	// An intermediary does not outlive its root.
	long, err := w.root.NewIntermediary("long", time.Now(), 10*ratls.RootValidity)
	if err != nil || long.Certificate().NotAfter.After(w.root.Certificate().NotAfter) {
		t.Errorf("valid to %v, %v", long.Certificate().NotAfter, err)
	}
	// The chain may have the root in it; it is not sent to clients, who have it.
	full := append(w.ca.CertificatePEM(), w.root.CertificatePEM()...)
	got, err := ratls.ParseCA(full, keyPEM(t, w.ca))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.CertificatePEM(), w.ca.CertificatePEM()) {
		t.Error("the root is in the chain that is sent")
	}
}

// An operator's keys of other kinds.
func TestForeignCAKeys(t *testing.T) {
	w := newWorld(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		Subject: pkix.Name{CommonName: "operator", Organization: []string{"An Operator"}, Country: []string{"CH"}},
		IsCA:    true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	for name, k := range map[string]struct {
		pub, priv any
		block     *pem.Block
	}{
		"RSA, PKCS #1": {rsaKey.Public(), rsaKey, &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}},
		"P-384, SEC 1": {p384.Public(), p384, &pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}},
	} {
		der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, k.pub, k.priv)
		if err != nil {
			t.Fatal(err)
		}
		ca, err := ratls.ParseCA(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(k.block))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		a := w.attester(t, func(c *ratls.AttesterConfig) { c.CA = ca })
		s, err := shake(t, a, &tls.Config{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		leaf := s.PeerCertificates[0]
		if err := leaf.CheckSignatureFrom(ca.Certificate()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := leaf.Subject.String(); got != "CN=platform,O=An Operator,C=CH" {
			t.Errorf("%s: the leaf is for %s", name, got)
		}
		if leaf.NotAfter.After(ca.Certificate().NotAfter) {
			t.Errorf("%s: the leaf outlives its CA", name)
		}
	}
}

// No key usage is no restriction (RFC 5280, 4.2.1.3): openssl req -x509 makes such CAs.
func TestCAKeyUsage(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for usage, want := range map[x509.KeyUsage]bool{0: true, x509.KeyUsageCertSign: true, x509.KeyUsageCRLSign: false} {
		tmpl := &x509.Certificate{
			SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: usage,
		}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ratls.ParseCA(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}))
		if (err == nil) != want {
			t.Errorf("usage %#x: %v", usage, err)
		}
	}
}

func TestParseCARefusals(t *testing.T) {
	w := newWorld(t)
	other, err := ratls.NewRoot("other", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := w.ca.CertificatePEM(), keyPEM(t, w.ca)
	leaf := w.forged(t, enclaveName, nil)
	leafKey, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}) }
	for name, c := range map[string]struct{ cert, key []byte }{
		"nothing":                 {nil, nil},
		"no certificate":          {nil, key},
		"no key":                  {cert, nil},
		"DER":                     {w.ca.Certificate().Raw, key},
		"the key first":           {key, key},
		"text behind":             {append(bytes.Clone(cert), "x"...), key},
		"damaged":                 {bytes.Replace(cert, []byte("M"), []byte("N"), 1), key},
		"another's key":           {cert, keyPEM(t, other)},
		"two keys":                {cert, append(bytes.Clone(key), key...)},
		"a leaf":                  {block("CERTIFICATE", leaf.Leaf.Raw), block("PRIVATE KEY", leafKey)},
		"a chain that is none":    {append(bytes.Clone(cert), other.CertificatePEM()...), key},
		"an encrypted key":        {cert, block("ENCRYPTED PRIVATE KEY", []byte("x"))},
		"a key that is none":      {cert, block("PRIVATE KEY", []byte("x"))},
		"a short RSA key":         {cert, block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(weak))},
		"a chain without end":     {bytes.Repeat(other.CertificatePEM(), 9), keyPEM(t, other)},
		"a certificate for a key": {cert, cert},
	} {
		if _, err := ratls.ParseCA(c.cert, c.key); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	for _, name := range []string{"", string(make([]byte, 65))} {
		if _, err := ratls.NewRoot(name, time.Now(), time.Hour); err == nil {
			t.Errorf("the name %q was taken", name)
		}
	}
}

// A CA that is out of date by the clock signs nothing.
func TestExpiredCA(t *testing.T) {
	w := newWorld(t)
	for _, at := range []time.Duration{-time.Hour, 2 * ratls.IntermediaryValidity} {
		a, err := ratls.NewAttester(ratls.AttesterConfig{CA: w.ca, Quoter: w.quoter, Now: func() time.Time { return time.Now().Add(at) }})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.SetSubjects(t.Context(), platformSubject()); err == nil {
			t.Errorf("%v: it signs", at)
		}
	}
}

func FuzzParseCA(f *testing.F) {
	root, err := ratls.NewRoot("root", time.Now(), time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(root.CertificatePEM(), keyPEM(f, root))
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		ca, err := ratls.ParseCA(cert, key)
		if err != nil {
			return
		}
		again, err := ratls.ParseCA(ca.CertificatePEM(), keyPEM(t, ca))
		if err != nil || again.Hash() != ca.Hash() {
			t.Errorf("it does not come back: %v", err)
		}
	})
}
