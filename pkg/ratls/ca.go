package ratls

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// CA signs leaves: an operator's intermediary, or one that the enclave made for itself.
// What it signs proves nothing about an enclave; it lets clients that know nothing of
// attestation find a chain, and says which operator the enclave belongs to.
type CA struct {
	cert  *x509.Certificate
	chain [][]byte // DER: cert, and what was given with it, without a root
	key   crypto.Signer
}

// maxChain bounds the certificates that a CA may come with: they travel in each handshake.
const maxChain = 4

// Lifetimes that `eos ca init` and the enclave use.
const (
	RootValidity         = 10 * 365 * 24 * time.Hour
	IntermediaryValidity = 365 * 24 * time.Hour
)

// NewRoot makes a key and a self-signed certificate that may sign one more level of CAs.
func NewRoot(name string, now time.Time, validity time.Duration) (*CA, error) {
	return newCA(name, now, validity, 1, nil)
}

// NewIntermediary makes a key and a certificate, signed by c, that may sign leaves only.
func (c *CA) NewIntermediary(name string, now time.Time, validity time.Duration) (*CA, error) {
	return newCA(name, now, validity, 0, c)
}

// NewSelfMade makes the CA of an enclave that was given none: self-signed, for leaves
// only. Nobody needs to trust it; its Hash belongs into the attested configuration.
func NewSelfMade(name string, now time.Time) (*CA, error) {
	return newCA(name, now, RootValidity, 0, nil)
}

func newCA(name string, now time.Time, validity time.Duration, pathLen int, parent *CA) (*CA, error) {
	if name == "" || len(name) > 64 {
		return nil, errors.New("ratls: a CA needs a name of 1 to 64 bytes")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.UTC().Truncate(time.Minute),
		NotAfter:              now.UTC().Truncate(time.Minute).Add(validity),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLen:            pathLen,
		MaxPathLenZero:        pathLen == 0,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	issuer, signer := tmpl, crypto.Signer(key)
	if parent != nil {
		issuer, signer = parent.cert, parent.key
		if !tmpl.NotAfter.Before(issuer.NotAfter) {
			tmpl.NotAfter = issuer.NotAfter
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, issuer, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &CA{cert, [][]byte{der}, key}, nil
}

// ParseCA reads a CA from PEM: its certificate, behind which others of the chain up to
// the root may follow, and its key (PKCS #8, or the older forms for EC and RSA).
func ParseCA(certPEM, keyPEM []byte) (*CA, error) {
	ca, err := parseCA(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("ratls: CA: %w", err)
	}
	return ca, nil
}

func parseCA(certPEM, keyPEM []byte) (*CA, error) {
	ca := new(CA)
	last, rest := (*x509.Certificate)(nil), certPEM
	for n := 0; ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if len(bytes.TrimSpace(rest)) != 0 {
				return nil, errors.New("the certificate is not PEM: text behind the last block")
			}
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("a %q block where CERTIFICATE belongs", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		switch {
		case last == nil:
			ca.cert = cert
		case n == maxChain:
			return nil, fmt.Errorf("more than %d certificates", maxChain)
		default:
			if err := last.CheckSignatureFrom(cert); err != nil {
				return nil, fmt.Errorf("%q is not signed by %q, which follows it: %w", last.Subject, cert.Subject, err)
			}
		}
		last = cert
		if len(ca.chain) == 0 || !selfSigned(cert) { // clients have the root
			ca.chain = append(ca.chain, block.Bytes)
		}
	}
	if ca.cert == nil {
		return nil, errors.New("no certificate in the PEM")
	}
	if !ca.cert.BasicConstraintsValid || !ca.cert.IsCA {
		return nil, fmt.Errorf("%q is not a CA certificate", ca.cert.Subject)
	}
	if ca.cert.KeyUsage != 0 && ca.cert.KeyUsage&x509.KeyUsageCertSign == 0 { // none at all is no restriction
		return nil, fmt.Errorf("%q may not sign certificates (key usage)", ca.cert.Subject)
	}
	var err error
	if ca.key, err = parseKey(keyPEM); err != nil {
		return nil, err
	}
	if pub, ok := ca.cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(ca.key.Public()) {
		return nil, fmt.Errorf("the key is not the one of %q", ca.cert.Subject)
	}
	return ca, nil
}

func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignatureFrom(c) == nil
}

func parseKey(keyPEM []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(keyPEM)
	if block != nil && block.Type == "EC PARAMETERS" { // openssl ecparam -genkey
		block, rest = pem.Decode(rest)
	}
	switch {
	case block == nil:
		return nil, errors.New("no key in the PEM")
	case len(bytes.TrimSpace(rest)) != 0:
		return nil, errors.New("more than one block with the key")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("a %q block where PRIVATE KEY belongs; an encrypted key has to be decrypted first", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if k.N.BitLen() < 2048 {
			return nil, fmt.Errorf("key: RSA of %d bits, at least 2048 are needed", k.N.BitLen())
		}
	case *ecdsa.PrivateKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
			return nil, fmt.Errorf("key: the curve %s is not one of TLS", k.Curve.Params().Name)
		}
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("key: a %T cannot sign", key)
	}
	return signer, nil
}

// Certificate is the certificate of the CA itself. It must not be changed.
func (c *CA) Certificate() *x509.Certificate { return c.cert }

// Hash is the SHA-256 of the certificate in DER.
func (c *CA) Hash() [32]byte { return sha256.Sum256(c.cert.Raw) }

// CertificatePEM is the certificate and what stands between it and the root, which
// ParseCA reads.
func (c *CA) CertificatePEM() []byte {
	var b []byte
	for _, der := range c.chain {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return b
}

// KeyPEM is the key in PKCS #8: for the safe of an operator, or sealed.
func (c *CA) KeyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// sign makes a leaf for pub and returns it with the chain that is sent with it.
func (c *CA) sign(tmpl *x509.Certificate, pub crypto.PublicKey) ([][]byte, error) {
	if tmpl.NotBefore.Before(c.cert.NotBefore.Truncate(time.Minute)) || !tmpl.NotBefore.Before(c.cert.NotAfter) {
		return nil, fmt.Errorf("ratls: the CA %q is valid from %s to %s, and it is %s by the host's clock", c.cert.Subject,
			c.cert.NotBefore.Format(time.RFC3339), c.cert.NotAfter.Format(time.RFC3339), tmpl.NotBefore.Format(time.RFC3339))
	}
	if tmpl.NotAfter.After(c.cert.NotAfter) {
		tmpl.NotAfter = c.cert.NotAfter
	}
	of := c.cert.Subject
	tmpl.Subject.Country, tmpl.Subject.Province, tmpl.Subject.Locality = of.Country, of.Province, of.Locality
	tmpl.Subject.Organization, tmpl.Subject.OrganizationalUnit = of.Organization, of.OrganizationalUnit
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.cert, pub, c.key)
	if err != nil {
		return nil, err
	}
	return append([][]byte{der}, c.chain...), nil
}

// newSerial is a random serial number of 127 bits.
func newSerial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:])
}

// certificate makes what crypto/tls wants of a signed leaf.
func certificate(chain [][]byte, key *ecdsa.PrivateKey) (*tls.Certificate, error) {
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf}, nil
}
