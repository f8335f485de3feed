package keyref

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

var (
	errDER     = fmt.Errorf("%w: it is DER, not PEM", ErrNoKey)
	errOpenSSH = fmt.Errorf("%w: it is an OpenSSH key", ErrNoKey)
)

// ParsePrivate returns the first private key of a PEM text, of any kind and
// size. passphrase is called if the key is encrypted; nil means that there is
// none.
func ParsePrivate(text []byte, passphrase func() ([]byte, error)) (crypto.Signer, error) {
	if passphrase == nil {
		passphrase = func() ([]byte, error) { return nil, ErrEncrypted }
	}
	seen := ErrNoKey
	rest := text
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch {
		case block.Type == "OPENSSH PRIVATE KEY":
			return nil, errOpenSSH
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return parseBlock(block, passphrase)
		case strings.HasSuffix(block.Type, "PUBLIC KEY"):
			seen = ErrPublic
		case block.Type == "CERTIFICATE" && seen == ErrNoKey:
			seen = fmt.Errorf("%w: it is a certificate", ErrNoKey)
		}
	}
	if seen == ErrNoKey {
		return nil, notPEM(text)
	}
	return nil, seen
}

// notPEM says what a file without PEM blocks looks like.
func notPEM(b []byte) error {
	if len(b) == 0 {
		return fmt.Errorf("%w: the file is empty", ErrNoKey)
	}
	if bytes.Contains(b, []byte("-----BEGIN ")) {
		return fmt.Errorf("%w: its PEM block is broken or cut off", ErrNoKey)
	}
	if _, err := parseDER("PRIVATE KEY", b); err == nil {
		return errDER
	}
	if _, err := parsePublicDER("PUBLIC KEY", b); err == nil {
		return errDER
	}
	if _, err := parseEncrypted(b); err == nil {
		return errDER
	}
	return ErrNoKey
}

func parseBlock(block *pem.Block, passphrase func() ([]byte, error)) (crypto.Signer, error) {
	var open func(pass []byte) ([]byte, error)
	kind := block.Type
	switch {
	case block.Headers["DEK-Info"] != "" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
		d, err := parseDEKInfo(block)
		if err != nil {
			return nil, err
		}
		open = d.open
	case block.Type == "ENCRYPTED PRIVATE KEY":
		e, err := parseEncrypted(block.Bytes)
		if err != nil {
			return nil, err
		}
		open, kind = e.open, "PRIVATE KEY"
	default:
		return parseDER(kind, block.Bytes)
	}
	pass, err := passphrase()
	if err != nil {
		return nil, err
	}
	der, err := open(pass)
	if err != nil {
		return nil, err
	}
	return parseDER(kind, der)
}

// parseDER reads the private key in a PEM block of the given type. As OpenSSL
// does, a wrong type is forgiven.
func parseDER(kind string, der []byte) (crypto.Signer, error) {
	pkcs8 := func() (any, error) { return x509.ParsePKCS8PrivateKey(der) }
	pkcs1 := func() (any, error) { return x509.ParsePKCS1PrivateKey(der) }
	ec := func() (any, error) { return x509.ParseECPrivateKey(der) }
	order := []func() (any, error){pkcs8, pkcs1, ec}
	switch kind {
	case "RSA PRIVATE KEY":
		order = []func() (any, error){pkcs1, pkcs8}
	case "EC PRIVATE KEY":
		order = []func() (any, error){ec, pkcs8}
	}
	var first error
	for _, parse := range order {
		key, err := parse()
		if err == nil {
			if s, ok := key.(crypto.Signer); ok {
				return s, nil
			}
			err = fmt.Errorf("a key of kind %T does not sign", key)
		}
		if first == nil {
			first = err
		}
	}
	return nil, fmt.Errorf("bad private key: %s", strings.TrimPrefix(first.Error(), "x509: "))
}

// ParsePublic returns the first public key of a PEM text ("PUBLIC KEY" or "RSA
// PUBLIC KEY"), of any kind and size.
func ParsePublic(text []byte) (crypto.PublicKey, error) {
	rest, blocks := text, 0
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		blocks++
		if strings.HasSuffix(block.Type, "PUBLIC KEY") {
			return parsePublicDER(block.Type, block.Bytes)
		}
	}
	if blocks == 0 {
		return nil, notPEM(text)
	}
	return nil, ErrNoKey
}

func parsePublicDER(kind string, der []byte) (crypto.PublicKey, error) {
	if kind == "RSA PUBLIC KEY" {
		key, err := x509.ParsePKCS1PublicKey(der)
		if err != nil {
			return nil, errors.New("bad public key: " + strings.TrimPrefix(err.Error(), "x509: "))
		}
		return key, nil
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("bad public key: " + strings.TrimPrefix(err.Error(), "x509: "))
	}
	return key, nil
}
