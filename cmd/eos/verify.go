package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sign"
	"github.com/enclaveos/eos/pkg/sign/keyref"
	"github.com/spf13/cobra"
)

func verifyCmd(u *ui) *cobra.Command {
	var (
		asJSON bool
		key    string
	)
	cmd := &cobra.Command{
		Use:   "verify [--public-key KEY] [--json] APP.sig [APP.sgxs]",
		Short: "check a SIGSTRUCT, and that it is of an image",
		Long: `Check a SIGSTRUCT as the processor does at EINIT: its constants, the key, the
signature and the two quotients. With an image, also that ENCLAVEHASH is the
image's measurement. With --public-key, also who signed it.

The exit status is 0 only if all that was asked for holds. Attestation quotes
are not verified by this build of eos.`,
		Args: positional(1, "APP.sig", "APP.sgxs"),
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := loadSigStruct(args[0])
			if err != nil {
				return notQuote(args[0], err)
			}
			if err := sign.Verify(s); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if key != "" {
				if err := checkSigner(s, args[0], key); err != nil {
					return err
				}
			}
			var mr *sgx.Measurement
			if len(args) == 2 {
				m, err := measureFile(u, args[1])
				if err != nil {
					return err
				}
				if m != s.EnclaveHash {
					return withHint(fmt.Errorf("%s is not of %s: its ENCLAVEHASH is %s, the image measures %s", args[0], args[1], s.EnclaveHash, m),
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
				facts = append(facts, "image", args[1]+" measures the same")
			}
			if d.DebugAllowed {
				facts = append(facts, "debug", "the loader may start it as a debug enclave")
			}
			return u.facts(facts...)
		},
		ValidArgsFunction: completeFiles("sig", "sgxs"),
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().StringVar(&key, "public-key", "", "the `KEY` that must have signed")
	completeFlagFiles(cmd, "public-key", "pem", "key")
	return cmd
}

// notQuote says of a file that is no SIGSTRUCT but an attestation quote that it
// is one: the vendor id of Intel's quoting enclave is at offset 12.
func notQuote(path string, err error) error {
	f, ferr := os.Open(path)
	if ferr != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, 28)
	if _, ferr := io.ReadFull(f, head); ferr == nil && hex.EncodeToString(head[12:]) == "939a7233f79c4ca9940a0db3957f0607" {
		return fmt.Errorf("%s is an attestation quote: this version of eos verifies SIGSTRUCTs only", path)
	}
	return err
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
