package main

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"io"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sign"
	"github.com/enclaveos/eos/pkg/sign/keyref"
)

// maxKeySize bounds a PEM file; a key has 2.5 KB.
const maxKeySize = 1 << 20

// keyInfo has public facts only.
type keyInfo struct {
	Kind      string           `json:"kind"` // "private key" or "public key"
	Encrypted bool             `json:"encrypted"`
	Algorithm string           `json:"algorithm,omitempty"`
	Bits      int              `json:"bits,omitempty"`
	Exponent  int              `json:"exponent,omitempty"`
	Usable    bool             `json:"usable"` // as a signer of enclaves
	Reason    string           `json:"reason,omitempty"`
	MRSigner  *sgx.Measurement `json:"mrsigner,omitempty"`
}

func inspectKey(u *ui, path string, in io.Reader, asJSON bool) error {
	text, err := io.ReadAll(io.LimitReader(in, maxKeySize+1))
	if err != nil {
		return err
	}
	if len(text) > maxKeySize {
		return fmt.Errorf("%s has more than %s: no key is so long", path, humanSize(maxKeySize))
	}
	info, err := describeKey(text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if asJSON {
		return u.json(info)
	}
	u.printf("%s: %s\n", path, info.Kind)
	facts := []string{"algorithm", info.Algorithm}
	if info.Encrypted {
		facts = []string{"encrypted", "yes, so its public half is not readable either"}
	}
	if info.Bits != 0 {
		facts = append(facts, "size", fmt.Sprintf("%d bits, exponent %d", info.Bits, info.Exponent))
	}
	switch {
	case info.MRSigner != nil:
		facts = append(facts, "MRSIGNER", info.MRSigner.String())
	case info.Reason != "":
		facts = append(facts, "signs", "no enclaves: "+info.Reason)
	}
	return u.facts(facts...)
}

func describeKey(text []byte) (*keyInfo, error) {
	info := &keyInfo{Kind: "private key"}
	var public any
	signer, err := keyref.ParsePrivate(text, nil)
	switch {
	case err == nil:
		public = signer.Public()
	case errors.Is(err, keyref.ErrEncrypted):
		info.Encrypted = true
		return info, nil
	case errors.Is(err, keyref.ErrPublic):
		info.Kind = "public key"
		if public, err = keyref.ParsePublic(text); err != nil {
			return nil, err
		}
	default:
		return nil, err
	}
	key, ok := public.(*rsa.PublicKey)
	if !ok {
		info.Algorithm, info.Reason = fmt.Sprintf("%T", public), "SGX takes RSA only"
		return info, nil
	}
	info.Algorithm, info.Bits, info.Exponent = "RSA", key.N.BitLen(), key.E
	if err := sign.CheckKey(key); err != nil {
		info.Reason = err.Error()
		return info, nil
	}
	mr, err := sign.MRSigner(key)
	if err != nil {
		return nil, err
	}
	info.Usable, info.MRSigner = true, &mr
	return info, nil
}
