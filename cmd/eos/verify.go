package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/spf13/cobra"
)

func verifyCmd(u *ui) *cobra.Command {
	var (
		asJSON bool
		key    string
		f      evidenceFlags
	)
	cmd := &cobra.Command{
		Use:   "verify [FLAGS] https://HOST[:PORT] | CERT.pem | QUOTE | APP.sig [APP.sgxs]",
		Short: "check who answers, what evidence is worth, or whose an image is",
		Long: `Check evidence, and print who answered, what runs, how it is configured, on what
platform, what was checked and what was not. What it is about is told by the
argument:

  https://HOST:PORT    connect, and have the enclave prove this very connection
  CERT.pem             a certificate with evidence in it: a stored one proves that
                       its key was an enclave's, and nothing about who has it now
  QUOTE                a quote of SGX or TDX
  APP.sig [APP.sgxs]   a SIGSTRUCT, as the processor checks it at EINIT; with an
                       image, also that it is of that image

Evidence is compared with a policy, which must be given: --mrenclave, --mrsigner,
or --policy for all there is. Nothing is accepted for want of a criterion. The
exit status is 0 only if all that was asked for holds.`,
		Args: positional(1, "https://HOST:PORT, CERT.pem, QUOTE or APP.sig", "APP.sgxs"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.HasPrefix(args[0], "https://") {
				if len(args) > 1 {
					return usagef("one address at a time")
				}
				return verifyServer(cmd.Context(), u, args[0], &f, asJSON)
			}
			if strings.Contains(args[0], "://") {
				return withHint(usagef("%s: only https:// can prove anything", args[0]), "an enclave's evidence is in its TLS certificate and session")
			}
			kind, err := whatToVerify(args[0])
			switch {
			case errors.Is(err, fs.ErrNotExist) && isHostPort(args[0]):
				return withHint(err, "an enclave's address begins with https://: https://%s", args[0])
			case err != nil:
				return err
			case kind == ofImage && len(args) == 2:
				slices.Reverse(args) // the order of eos sign
			case kind == ofImage:
				return withHint(fmt.Errorf("%s is an image: name its SIGSTRUCT too", args[0]), "eos verify APP.sig APP.sgxs")
			}
			if kind != ofImage && kind != ofSignature {
				if len(args) > 1 {
					return fmt.Errorf("%s stands alone: it is %s", args[0], kind)
				}
				if key != "" {
					return withHint(fmt.Errorf("%s is %s: --public-key is for a SIGSTRUCT", args[0], kind), "for evidence say --mrsigner")
				}
				return verifyFile(cmd.Context(), u, args[0], kind, &f, asJSON)
			}
			if f.given() && !isSigStruct(args[0]) {
				return withHint(fmt.Errorf("%s is neither a certificate nor a quote, which evidence is in", args[0]), "a quote is binary, as the quoting enclave makes it; a certificate PEM or DER")
			}
			if f.given() {
				return withHint(fmt.Errorf("%s is a SIGSTRUCT, which no policy is about", args[0]), "--public-key KEY says who must have signed")
			}
			return verifySignature(u, args[0], append(args, "")[1], key, asJSON)
		},
		ValidArgsFunction: completeFiles("", "sgxs"),
	}
	cmd.Flags().SortFlags = false
	f.add(cmd)
	cmd.Flags().StringVar(&key, "public-key", "", "the `KEY` that must have signed the SIGSTRUCT")
	completeFlagFiles(cmd, "public-key", "pem", "key")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// evidenceKind is what a file to be verified is.
type evidenceKind string

const (
	ofSignature   evidenceKind = "a SIGSTRUCT"
	ofImage       evidenceKind = "an image"
	ofCertificate evidenceKind = "a certificate"
	ofQuote       evidenceKind = "a quote"
)

// whatToVerify tells by a file's first bytes what it is. What is nothing else is taken
// for a SIGSTRUCT, whose errors say what is wrong.
func whatToVerify(path string) (evidenceKind, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, 4096)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", err
	}
	head = head[:n]
	switch {
	case isQuote(head): // with certificates in it
		return ofQuote, nil
	case bytes.Contains(head, []byte("-----BEGIN CERTIFICATE-----")), bytes.HasPrefix(head, []byte{0x30, 0x82}):
		return ofCertificate, nil
	case bytes.HasPrefix(head, []byte("ECREATE\x00")) || bytes.HasPrefix(head, []byte("UNSIZED\x00")):
		return ofImage, nil
	}
	return ofSignature, nil
}

// isHostPort reports whether arg looks like a server's address.
func isHostPort(arg string) bool {
	_, port, err := net.SplitHostPort(arg)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// isSigStruct reports whether a file has a SIGSTRUCT's size.
func isSigStruct(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Size() == sgx.SigStructSize
}

// isQuote reports whether bytes begin as a quote does: a version, be it one that is not
// read, with ECDSA P-256 or P-384, or the header of Open Enclave before it.
func isQuote(b []byte) bool {
	const oeHeader = 16
	if len(b) > oeHeader && bytes.HasPrefix(b, []byte{1, 0, 0, 0, 2, 0, 0, 0}) {
		b = b[oeHeader:]
	}
	return len(b) >= 48 && b[0] >= 1 && b[0] <= 9 && b[1] == 0 && (b[2] == 2 || b[2] == 3) && b[3] == 0 && len(b) != sgx.SigStructSize
}
