package main

import (
	"fmt"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sign"
	"github.com/enclaveos/eos/pkg/sign/keyref"
)

// verifySignature checks a SIGSTRUCT, and that it is of an image if one is named.
func verifySignature(u *ui, sig, image, key string, asJSON bool) error {
	s, err := loadSigStruct(sig)
	if err != nil {
		return err
	}
	if err := sign.Verify(s); err != nil {
		return fmt.Errorf("%s: %w", sig, err)
	}
	if key != "" {
		if err := checkSigner(s, sig, key); err != nil {
			return err
		}
	}
	var mr *sgx.Measurement
	if image != "" {
		m, err := measureFile(u, image)
		if err != nil {
			return err
		}
		if m != s.EnclaveHash {
			return withHint(fmt.Errorf("%s is not of %s: its ENCLAVEHASH is %s, the image measures %s", sig, image, s.EnclaveHash, m),
				"the image has changed since, or the SIGSTRUCT is of another one: sign again")
		}
		mr = &m
	}
	d := sign.Describe(s)
	if d.Signer != "" {
		u.warn("the signer is %s", d.Signer)
	}
	if asJSON {
		return u.json(struct {
			Valid     bool             `json:"valid"`
			MREnclave *sgx.Measurement `json:"mrenclave,omitempty"` // of the image
			sign.Description
		}{true, mr, d})
	}
	facts := []string{"signature", "valid", "ENCLAVEHASH", s.EnclaveHash.String(), "MRSIGNER", s.MRSigner().String()}
	if mr != nil {
		facts = append(facts, "image", image+" measures the same")
	}
	if d.DebugAllowed {
		facts = append(facts, "debug", "the loader may start it as a debug enclave")
	}
	return u.facts(facts...)
}

func checkSigner(s *sgx.SigStruct, path, ref string) error {
	pub, err := keyref.LoadPublic(ref)
	if err != nil {
		return err
	}
	want, err := sign.MRSigner(pub)
	if err != nil {
		return err
	}
	if got := s.MRSigner(); got != want {
		return fmt.Errorf("%s is not signed by %s: MRSIGNER is %s, the key's is %s", path, ref, got, want)
	}
	return nil
}
