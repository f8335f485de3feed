package main

import (
	"crypto/rand"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sign"
	"github.com/enclaveos/eos/pkg/sign/keyref"
	"github.com/spf13/cobra"
)

func keygenCmd(u *ui) *cobra.Command {
	var (
		asJSON, encrypt bool
		pass            passphraseSource
		public          string
	)
	cmd := &cobra.Command{
		Use:   "keygen [--encrypt] [--public-key FILE] [--json] KEY",
		Short: "make a key that can sign enclaves",
		Long: `Make an RSA key of 3072 bits with exponent 3, the only kind that SGX takes, and
write it to KEY (PEM, PKCS#8, mode 0600). A file that exists is never touched.

MRSIGNER, which is printed, is the signer's identity: enclaves signed with
another key cannot open what these have sealed to it. Keep the key.`,
		Args: positional(1, "KEY"),
		RunE: func(_ *cobra.Command, args []string) error {
			path := args[0]
			if public != "" {
				if err := checkDistinct(public, path); err != nil {
					return err
				}
			}
			if err := checkAbsent(path, public); err != nil {
				return err
			}
			var phrase []byte
			if encrypt {
				var err error
				if phrase, err = pass.choose(path); err != nil {
					return err
				}
			} else if pass.file != "" {
				return usagef("--passphrase-file is for --encrypt")
			}
			key, err := sign.GenerateKey(rand.Reader)
			if err != nil {
				return err
			}
			if err := keyref.Write(path, key, phrase); err != nil {
				return err
			}
			if public != "" {
				if err := keyref.WritePublic(public, &key.PublicKey); err != nil {
					return err
				}
			}
			mr, err := sign.MRSigner(&key.PublicKey)
			if err != nil {
				return err
			}
			if asJSON {
				return u.json(struct {
					Key       string          `json:"key"`
					PublicKey string          `json:"public_key,omitempty"`
					Encrypted bool            `json:"encrypted"`
					MRSigner  sgx.Measurement `json:"mrsigner"`
				}{path, public, encrypt, mr})
			}
			return u.facts("key", path, "MRSIGNER", mr.String())
		},
		ValidArgsFunction: completeFiles(""),
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().BoolVar(&encrypt, "encrypt", false, "encrypt the key with a passphrase")
	cmd.Flags().StringVar(&public, "public-key", "", "write the public key to this `FILE` too")
	pass.flag(cmd)
	return cmd
}
