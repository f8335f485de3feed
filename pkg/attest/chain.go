package attest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
)

// maxChain bounds the certificates of one PEM text; Intel's chains have
// three.
const maxChain = 8

// parsePEM reads certificates. Between the blocks there may be white space,
// and zero bytes, which Intel's QE leaves at the end.
func (s *scene) parsePEM(b []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		b = bytes.TrimLeft(b, " \t\r\n\x00")
		if len(b) == 0 {
			break
		}
		text, ok := bytes.CutPrefix(b, []byte("-----BEGIN CERTIFICATE-----"))
		if !ok {
			return nil, errors.New("want PEM certificates and nothing else")
		}
		text, rest, ok := bytes.Cut(text, []byte("-----END CERTIFICATE-----"))
		if !ok {
			return nil, errors.New("a PEM block has no end")
		}
		der, err := base64.StdEncoding.Strict().AppendDecode(make([]byte, 0, len(text)), text)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", len(certs), err)
		}
		if b = rest; len(certs) == maxChain {
			return nil, fmt.Errorf("more than %d certificates", maxChain)
		}
		c, err := s.certificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(certs), err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("no certificate")
	}
	return certs, nil
}

// certificate parses one, or returns the one that was parsed before: roots
// and signing certificates come several times.
func (s *scene) certificate(der []byte) (*x509.Certificate, error) {
	for _, c := range s.certs {
		if bytes.Equal(c.Raw, der) {
			return c, nil
		}
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	s.certs = append(s.certs, c)
	return c, nil
}

// path finds the way from leaf to a pinned root through certs, in whatever
// order these lie, and verifies every step. The path has want certificates.
func (s *scene) path(leaf *x509.Certificate, certs []*x509.Certificate, want int) ([]*x509.Certificate, *pin, *Error) {
	path := []*x509.Certificate{leaf}
	for cur := leaf; !selfIssued(cur); {
		next, err := s.issuer(cur, certs)
		if err != nil {
			return nil, nil, err
		}
		if path = append(path, next); len(path) > want {
			break
		}
		cur = next
	}
	if len(path) != want {
		return nil, nil, &Error{What: "length of the path " + pathNames(path), Want: fmt.Sprintf("%d certificates", want), Got: fmt.Sprint(len(path)),
			Hint: "the chain does not have the form of Intel's"}
	}
	root := path[len(path)-1]
	p := s.roots.find(root)
	if p == nil {
		return nil, nil, &Error{What: "the chain ends in a root that is not trusted", Want: s.roots.names(),
			Got:  fmt.Sprintf("%q, key SHA-256 %x", root.Subject.CommonName, sha256.Sum256(root.RawSubjectPublicKeyInfo)),
			Hint: "if this root is yours (for example of a software platform), trust it explicitly"}
	}
	if err := s.signed(root, root); err != nil {
		return nil, nil, err
	}
	return path, p, nil
}

// issuer finds the certificate that signed c. A certificate with the right
// name and the wrong key is named in the error.
func (s *scene) issuer(c *x509.Certificate, certs []*x509.Certificate) (*x509.Certificate, *Error) {
	var last *Error
	try := func(parent *x509.Certificate) bool {
		if parent == c || !bytes.Equal(parent.RawSubject, c.RawIssuer) {
			return false
		}
		last = s.signed(c, parent)
		return last == nil
	}
	for _, parent := range certs {
		if try(parent) {
			return parent, nil
		}
	}
	for _, p := range s.roots.pins() {
		if p.cert != nil && try(p.cert) {
			return p.cert, nil
		}
	}
	if last != nil {
		return nil, last
	}
	return nil, &Error{What: "no certificate of the issuer of " + quoteCN(c), Want: fmt.Sprintf("%q", c.Issuer.CommonName), Got: pathNames(certs),
		Hint: "the chain lacks a certificate, or one of another chain is in it"}
}

// signed checks that parent may issue c and did. Results are remembered
// within one verification.
func (s *scene) signed(c, parent *x509.Certificate) *Error {
	for _, v := range s.verified {
		if v.child == c && v.parent == parent {
			return nil
		}
	}
	bad := func(what, want, got string) *Error {
		return &Error{What: what + " of " + quoteCN(c), Want: want, Got: got}
	}
	key, ok := parent.PublicKey.(*ecdsa.PublicKey)
	switch {
	case !ok || key.Curve != elliptic.P256():
		return bad("key of the issuer", "ECDSA P-256", parent.PublicKeyAlgorithm.String())
	case c.SignatureAlgorithm != x509.ECDSAWithSHA256:
		return bad("signature algorithm", x509.ECDSAWithSHA256.String(), c.SignatureAlgorithm.String())
	case len(c.UnhandledCriticalExtensions) != 0:
		return bad("critical extensions", "none that are unknown", c.UnhandledCriticalExtensions[0].String())
	case !parent.BasicConstraintsValid || !parent.IsCA:
		return bad("issuer", "a CA", quoteCN(parent)+", which is none")
	case parent.KeyUsage&x509.KeyUsageCertSign == 0:
		return bad("issuer", "key usage certSign", "none in "+quoteCN(parent))
	case c != parent && c.IsCA && parent.MaxPathLen == 0 && parent.MaxPathLenZero:
		return bad("path length", quoteCN(parent)+" may issue leaves only", "a CA")
	case len(c.AuthorityKeyId) > 0 && len(parent.SubjectKeyId) > 0 && !bytes.Equal(c.AuthorityKeyId, parent.SubjectKeyId):
		return bad("authority key id", fmt.Sprintf("%x", parent.SubjectKeyId), fmt.Sprintf("%x", c.AuthorityKeyId))
	}
	if err := parent.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err != nil {
		return &Error{What: "signature of " + quoteCN(c), Err: err, Hint: "the certificate was altered, or its issuer is another"}
	}
	s.verified = append(s.verified, edge{c, parent})
	return nil
}

func selfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawIssuer, c.RawSubject) }

func quoteCN(c *x509.Certificate) string { return fmt.Sprintf("%q", c.Subject.CommonName) }

func pathNames(certs []*x509.Certificate) string {
	var names []string
	for _, c := range certs {
		names = append(names, quoteCN(c))
	}
	return strings.Join(names, ", ")
}

// The roles of certificates end in these words. Intel's names begin with
// "Intel SGX", those of others with words of their own.
const (
	cnPCKLeaf     = "PCK Certificate"
	cnPlatformCA  = "PCK Platform CA"
	cnProcessorCA = "PCK Processor CA"
	cnTCBSigning  = "TCB Signing"
	cnIntel       = "Intel SGX "
)

// role checks that c has one of the names of its role under root p.
func role(c *x509.Certificate, p *pin, names ...string) *Error {
	for _, n := range names {
		if p.name == IntelRootName {
			if c.Subject.CommonName == cnIntel+n {
				return nil
			}
		} else if strings.HasSuffix(c.Subject.CommonName, n) {
			return nil
		}
	}
	return &Error{What: "role of a certificate", Want: fmt.Sprintf("a name that ends in %q", names), Got: quoteCN(c),
		Hint: "a certificate may do only what its name says"}
}

// leafOf returns the only certificate in certs with the SGX extension.
func leafOf(certs []*x509.Certificate) (*x509.Certificate, *Error) {
	var leaf *x509.Certificate
	for _, c := range certs {
		for _, x := range c.Extensions {
			if x.Id.Equal(OIDSGXExtension) && c != leaf {
				if leaf != nil {
					return nil, &Error{What: "PCK certificates in the chain", Want: "1", Got: "several"}
				}
				leaf = c
			}
		}
	}
	if leaf == nil {
		return nil, &Error{What: "no PCK certificate in the chain", Want: "one with extension " + OIDSGXExtension.String(), Got: pathNames(certs)}
	}
	if leaf.IsCA {
		return nil, &Error{What: "PCK certificate", Want: "no CA", Got: "a CA"}
	}
	return leaf, nil
}

// crl is a parsed and verified revocation list.
type crl struct {
	list    *x509.RevocationList
	revoked map[string]time.Time
}

// parseCRL reads a CRL and verifies that issuer signed it.
func parseCRL(der []byte, issuer *x509.Certificate) (*crl, *Error) {
	if len(der) == 0 {
		return nil, &Error{What: "no CRL", Want: "the CRL of " + quoteCN(issuer), Hint: "fetch the collateral again"}
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, &Error{What: "CRL cannot be read", Err: err}
	}
	for _, x := range list.Extensions {
		if x.Critical {
			return nil, &Error{What: "critical extension of the CRL", Want: "none", Got: x.Id.String()}
		}
	}
	switch {
	case !bytes.Equal(list.RawIssuer, issuer.RawSubject):
		return nil, &Error{What: "issuer of the CRL", Want: fmt.Sprintf("%q", issuer.Subject.CommonName), Got: fmt.Sprintf("%q", list.Issuer.CommonName),
			Hint: "fetch the CRL of the CA that issued the PCK certificate (platform or processor)"}
	case list.SignatureAlgorithm != x509.ECDSAWithSHA256:
		return nil, &Error{What: "signature algorithm of the CRL", Want: x509.ECDSAWithSHA256.String(), Got: list.SignatureAlgorithm.String()}
	case issuer.KeyUsage&x509.KeyUsageCRLSign == 0:
		return nil, &Error{What: "issuer of the CRL", Want: "key usage cRLSign", Got: "none in " + quoteCN(issuer)}
	case list.NextUpdate.IsZero():
		return nil, &Error{What: "next update of the CRL", Want: "a date", Got: "none"}
	}
	if err := issuer.CheckSignature(list.SignatureAlgorithm, list.RawTBSRevocationList, list.Signature); err != nil {
		return nil, &Error{What: "signature of the CRL", Err: err}
	}
	c := &crl{list: list, revoked: make(map[string]time.Time, len(list.RevokedCertificateEntries))}
	for _, e := range list.RevokedCertificateEntries {
		c.revoked[string(e.SerialNumber.Bytes())] = e.RevocationTime
	}
	return c, nil
}

// check says whether cert is on the list, whatever the date of revocation.
func (c *crl) check(cert *x509.Certificate) *Error {
	if t, ok := c.revoked[string(cert.SerialNumber.Bytes())]; ok {
		return &Error{What: "certificate " + quoteCN(cert) + " is revoked", Want: "not on the CRL of " + fmt.Sprintf("%q", c.list.Issuer.CommonName),
			Got:  fmt.Sprintf("serial %x, revoked %s", cert.SerialNumber, t.UTC().Format(time.RFC3339)),
			Hint: "do not trust this platform until its owner has a new certificate"}
	}
	return nil
}

// verifyRaw checks a signature in the form r then s over the SHA-256 of msg.
func verifyRaw(key *ecdsa.PublicKey, msg []byte, sig *[64]byte) bool {
	sum := sha256.Sum256(msg)
	return ecdsa.VerifyASN1(key, sum[:], derSignature(sig))
}

// derSignature returns SEQUENCE { INTEGER r, INTEGER s }.
func derSignature(sig *[64]byte) []byte {
	b := make([]byte, 2, 72)
	for _, n := range [][]byte{sig[:32], sig[32:]} {
		n = bytes.TrimLeft(n, "\x00")
		if len(n) == 0 || n[0] >= 0x80 {
			n = append([]byte{0}, n...)
		}
		b = derTLV(b, derInteger, n)
	}
	b[0], b[1] = derSequence, byte(len(b)-2)
	return b
}

// parseRawKey reads x then y.
func parseRawKey(xy *[64]byte) (*ecdsa.PublicKey, error) {
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, xy[:]...))
}
