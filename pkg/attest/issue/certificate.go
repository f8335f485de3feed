package issue

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"math/bits"
	"time"
)

// Identity is a certificate and its key.
type Identity struct {
	Cert *x509.Certificate
	Key  *ecdsa.PrivateKey
}

// PEM is the certificate alone.
func (i *Identity) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Cert.Raw})
}

// Name is a distinguished name in Intel's form and order.
type Name struct {
	CommonName, Organization, Locality, Province, Country string
}

// Template says what is in a certificate.
type Template struct {
	Subject             Name
	Serial              *big.Int // nil: random, 159 bits
	NotBefore, NotAfter time.Time
	CRL                 string // address of the issuer's CRL
	CA                  bool
	PathLen             int // of a CA: how many CAs may follow
	Extensions          []pkix.Extension
	KeyUsage            x509.KeyUsage           // 0: that of a CA, or of who signs data
	Signature           x509.SignatureAlgorithm // 0: ECDSA with SHA-256
}

// The validity that Intel writes where there is no end.
var forever = time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC)

// Issue makes a certificate for key, signed by issuer, or by itself if issuer is
// nil. Extensions come in the order of Intel's: authority key id, CRL
// distribution point, subject key id, key usage, basic constraints, others.
func Issue(issuer *Identity, t Template, key *ecdsa.PrivateKey) (*Identity, error) {
	subject, err := t.Subject.der()
	if err != nil {
		return nil, err
	}
	if t.Serial == nil {
		b := make([]byte, 20)
		_, _ = rand.Read(b) // never fails
		b[0] = b[0]&0x7f | 0x40
		t.Serial = new(big.Int).SetBytes(b)
	}
	id, err := keyID(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	issuerID := id
	if issuer != nil {
		issuerID = issuer.Cert.SubjectKeyId
	}
	extensions, err := t.extensions(id, issuerID)
	if err != nil {
		return nil, err
	}
	c := &x509.Certificate{
		RawSubject: subject, SerialNumber: t.Serial, NotBefore: t.NotBefore, NotAfter: t.NotAfter,
		SignatureAlgorithm: t.Signature, ExtraExtensions: extensions,
	}
	if t.Signature == 0 {
		c.SignatureAlgorithm = x509.ECDSAWithSHA256
	}
	parent, signer := c, key
	if issuer != nil {
		parent, signer = issuer.Cert, issuer.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, fmt.Errorf("certificate %q: %w", t.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate %q: %w", t.Subject.CommonName, err)
	}
	return &Identity{cert, key}, nil
}

var (
	oidSubjectKeyID     = asn1.ObjectIdentifier{2, 5, 29, 14}
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidCRLDistribution  = asn1.ObjectIdentifier{2, 5, 29, 31}
	oidAuthorityKeyID   = asn1.ObjectIdentifier{2, 5, 29, 35}
)

func (t *Template) extensions(id, issuerID []byte) ([]pkix.Extension, error) {
	type authority struct {
		ID []byte `asn1:"optional,tag:0"`
	}
	type distribution struct {
		Name struct {
			FullName []asn1.RawValue `asn1:"optional,tag:0"`
		} `asn1:"optional,tag:0"`
	}
	type constraints struct {
		CA      bool `asn1:"optional"`
		PathLen int  `asn1:"optional,default:-1"`
	}
	var point distribution
	point.Name.FullName = []asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(t.CRL)}}
	usage, basic := x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment, constraints{PathLen: -1}
	if t.CA {
		usage, basic = x509.KeyUsageCertSign|x509.KeyUsageCRLSign, constraints{true, t.PathLen}
	}
	if t.KeyUsage != 0 {
		usage = t.KeyUsage
	}
	var out []pkix.Extension
	for _, e := range []struct {
		oid      asn1.ObjectIdentifier
		critical bool
		value    any
	}{
		{oidAuthorityKeyID, false, authority{issuerID}},
		{oidCRLDistribution, false, []distribution{point}},
		{oidSubjectKeyID, false, id},
		{oidKeyUsage, true, usageBits(usage)},
		{oidBasicConstraints, true, basic},
	} {
		der, err := asn1.Marshal(e.value)
		if err != nil {
			return nil, err
		}
		out = append(out, pkix.Extension{Id: e.oid, Critical: e.critical, Value: der})
	}
	return append(out, t.Extensions...), nil
}

// usageBits has the lowest bit of a key usage first. Those above the seventh do not
// occur here.
func usageBits(usage x509.KeyUsage) asn1.BitString {
	return asn1.BitString{Bytes: []byte{bits.Reverse8(uint8(usage))}, BitLength: bits.Len8(uint8(usage))}
}

// der is the name with its parts from the smallest to the largest, as Intel's
// are, in UTF-8 but for the country.
func (n Name) der() ([]byte, error) {
	type attribute struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	type set []attribute // of one
	var sets []asn1.RawValue
	for _, a := range []struct {
		oid   asn1.ObjectIdentifier
		tag   int
		value string
	}{
		{asn1.ObjectIdentifier{2, 5, 4, 3}, asn1.TagUTF8String, n.CommonName},
		{asn1.ObjectIdentifier{2, 5, 4, 10}, asn1.TagUTF8String, n.Organization},
		{asn1.ObjectIdentifier{2, 5, 4, 7}, asn1.TagUTF8String, n.Locality},
		{asn1.ObjectIdentifier{2, 5, 4, 8}, asn1.TagUTF8String, n.Province},
		{asn1.ObjectIdentifier{2, 5, 4, 6}, asn1.TagPrintableString, n.Country},
	} {
		if a.value == "" {
			continue
		}
		der, err := asn1.MarshalWithParams(set{{a.oid, asn1.RawValue{Tag: a.tag, Bytes: []byte(a.value)}}}, "set")
		if err != nil {
			return nil, err
		}
		sets = append(sets, asn1.RawValue{FullBytes: der})
	}
	return asn1.Marshal(sets)
}

// keyID is the subject key id: 160 bits of the SHA-256 of the public key (RFC
// 7093, method 1).
func keyID(key *ecdsa.PublicKey) ([]byte, error) {
	b, err := key.Bytes()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	return sum[:20], nil
}

// Revoked is an entry of a CRL.
type Revoked struct {
	Serial *big.Int
	At     time.Time
}

// keyCompromise is the reason that Intel gives in every entry.
const keyCompromise = 1

// CRL makes a CRL of version 2 in DER, signed by i, with number 1 as Intel's
// have.
func (i *Identity) CRL(thisUpdate, nextUpdate time.Time, revoked ...Revoked) ([]byte, error) {
	list := &x509.RevocationList{
		SignatureAlgorithm: x509.ECDSAWithSHA256, Number: big.NewInt(1),
		ThisUpdate: thisUpdate.UTC(), NextUpdate: nextUpdate.UTC(),
	}
	for _, r := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: r.Serial, RevocationTime: r.At.UTC(), ReasonCode: keyCompromise})
	}
	return x509.CreateRevocationList(rand.Reader, list, i.Cert, i.Key)
}

// Chain is the certificates in PEM, one after the other.
func Chain(ids ...*Identity) []byte {
	var b bytes.Buffer
	for _, i := range ids {
		b.Write(i.PEM())
	}
	return b.Bytes()
}
