package ingress_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/ratls"
)

// Handshakes one after another, over loopback, client and server in one process: the
// client verifies whatever it gets. The first is plain TLS of the standard library with
// the same kind of key and chain, to which the others are to be compared.

func BenchmarkHandshakePlainTLS(b *testing.B) {
	key, chain, roots := plainLeaf(b)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: chain, PrivateKey: key}}, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if c.(*tls.Conn).Handshake() == nil {
					c.Read(make([]byte, 1))
				}
			}()
		}
	}()
	for b.Loop() {
		c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS13})
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}

func BenchmarkHandshake(b *testing.B) {
	for _, c := range []struct {
		name  string
		leaf  ratls.LeafUse
		mode  ratls.Evidence
		proof ratls.Proof
	}{
		{"SharedLeaf", ratls.LeafUse{}, ratls.EvidenceLeaf, ratls.ProofLeaf},
		{"LeafPerConnection", ratls.LeafUse{PerConnection: true}, ratls.EvidenceLeaf, ratls.ProofLeaf},
		{"Session", ratls.LeafUse{}, ratls.EvidenceSession, ratls.ProofSession},
		{"SharedLeafAndSession", ratls.LeafUse{}, ratls.EvidenceLeaf, ratls.ProofSession},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := start(b, func(s *setup) {
				s.attester.Leaf, s.attester.Evidence = c.leaf, c.mode
				s.attester.QuotesPerSecond, s.attester.Burst = 1e6, 1e6
			})
			client := s.client(b, func(cfg *ratls.Config) { cfg.Proof = c.proof })
			for b.Loop() {
				conn, err := client.Dial(context.Background(), "tcp", s.addr)
				if err != nil {
					b.Fatal(err)
				}
				conn.Close()
			}
		})
	}
}

// plainLeaf is a P-256 key with a certificate and the CA's, as an ordinary server has, and
// the pool that an ordinary client has.
func plainLeaf(b *testing.B) (*ecdsa.PrivateKey, [][]byte, *x509.CertPool) {
	ca, err := ratls.NewSelfMade("plain", time.Now())
	if err != nil {
		b.Fatal(err)
	}
	caPEM, err := ca.KeyPEM()
	if err != nil {
		b.Fatal(err)
	}
	block, _ := pem.Decode(caPEM)
	signer, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		b.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "plain"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now(), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.Certificate(), key.Public(), signer)
	if err != nil {
		b.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate())
	return key, [][]byte{der, ca.Certificate().Raw}, roots
}
