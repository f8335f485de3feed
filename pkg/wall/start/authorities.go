package start

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
)

// MaxAuthorities bounds the certificates of Config.EgressCAs.
const MaxAuthorities = 64

// AuthoritiesOfPEM makes a value of Config.EgressCAs of a file with certificates of
// CAs: their DER in ascending order, one after another, so that the same certificates
// have the same hash in whatever order a file has them.
func AuthoritiesOfPEM(text []byte) ([]byte, error) {
	var all [][]byte
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("a PEM block %q among the certificates of CAs", block.Type)
		}
		all, text = append(all, block.Bytes), rest
	}
	slices.SortFunc(all, bytes.Compare)
	der := bytes.Join(slices.CompactFunc(all, bytes.Equal), nil)
	_, err := ParseAuthorities(der)
	return der, err
}

// ParseAuthorities reads a value of Config.EgressCAs; nil for none.
func ParseAuthorities(der []byte) ([]*x509.Certificate, error) {
	if der == nil {
		return nil, nil
	}
	cas, err := x509.ParseCertificates(der)
	switch {
	case err != nil:
		return nil, fmt.Errorf("certificates of CAs: %w", err)
	case len(cas) == 0:
		return nil, errors.New("there is no certificate of a CA")
	case len(cas) > MaxAuthorities:
		return nil, fmt.Errorf("%d certificates of CAs, at most %d", len(cas), MaxAuthorities)
	}
	for i, c := range cas {
		if !c.BasicConstraintsValid || !c.IsCA {
			return nil, fmt.Errorf("the certificate of %q is not a CA's", c.Subject)
		}
		if i > 0 && bytes.Compare(cas[i-1].Raw, c.Raw) >= 0 {
			return nil, errors.New("the certificates of CAs are not in ascending order")
		}
	}
	return cas, nil
}
