package main

import (
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/sign"
	"github.com/enclaveos/eos/pkg/sign/keyref"
	"github.com/spf13/cobra"
)

// signFlags are the flags of sign but those of the fields.
type signFlags struct {
	json         bool
	key          string
	pass         passphraseSource
	dummy        bool
	digestOut    string
	signatureIn  string
	publicKey    string
	inHash       bool
	resignVerify string
	fields       fieldFlags
}

func signCmd(u *ui) *cobra.Command {
	var f signFlags
	cmd := &cobra.Command{
		Use:   "sign --key KEY [FLAGS] APP.sgxs [APP.sig]",
		Short: "sign an image: say which enclave may start, and how",
		Long: `Measure an image and write its SIGSTRUCT, by default beside it as .sig. The
signature is verified before the file is written. ENCLAVEHASH is the image's
MRENCLAVE, MRSIGNER the signer's identity.

  eos sign --key key.pem app.sgxs
  eos sign --key key.pem --forbid-debug --isvprodid 7 --isvsvn 3 app.sgxs

In two steps, for a key that eos cannot reach; all other flags must be the same
in both:

  eos sign --digest-out digest app.sgxs
  openssl pkeyutl -sign -inkey key.pem -pkeyopt digest:sha256 -in digest -out signature
  eos sign --signature-in signature --public-key pub.pem app.sgxs

Fields with a mask are VALUE or VALUE/MAY, numbers or words: bits of MAY are the
loader's choice, all others must be as in VALUE. Without /MAY it is VALUE. The
defaults are those of sgxs-sign: --attributes mode64bit/debug --xfrm
legacy/legacy --miscselect 0/0; for the image of a Go program, which needs them,
AVX and EXINFO are added. So the loader may start the enclave as a debug enclave
unless --forbid-debug is given.

DATE is not today but 1970-01-01, or the day of $SOURCE_DATE_EPOCH, so that the
same input gives the same bytes; no part of SGX reads it. CONFIGID and CONFIGSVN
are not in a SIGSTRUCT: the loader sets them (eos run --config-id), for an enclave
signed with --kss.`,
		RunE: func(cmd *cobra.Command, args []string) error { return runSign(cmd, u, args, &f) },
		Args: positional(1, "APP.sgxs", "APP.sig"),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return []string{"sgxs"}, cobra.ShellCompDirectiveFilterFileExt
			}
			return []string{"sig"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVarP(&f.key, "key", "k", "", "private `KEY` in PEM, of 3072 bits and exponent 3 (eos keygen)")
	f.pass.flag(cmd)
	fl.BoolVar(&f.dummy, "dummy", false, "sign a debug enclave with the public debug key of eos")
	fl.StringVar(&f.digestOut, "digest-out", "", "first of two steps: write the 32 bytes to be signed to this `FILE`")
	fl.StringVar(&f.signatureIn, "signature-in", "", "second step: take the signature (384 bytes) from this `FILE`")
	fl.StringVar(&f.publicKey, "public-key", "", "public `KEY` in PEM, for --signature-in")
	fl.BoolVar(&f.inHash, "in-hash", false, "the input is the 64 hex digits of ENCLAVEHASH, not an image")
	fl.StringVarP(&f.resignVerify, "resign-verify", "V", "", "replace APP.sig only if it is of the same image and signed by this public `KEY`")
	f.fields.add(cmd)
	jsonFlag(cmd, &f.json)
	for _, name := range []string{"key", "public-key", "resign-verify"} {
		completeFlagFiles(cmd, name, "pem", "key")
	}
	return cmd
}

func (f *signFlags) check(cmd *cobra.Command) error {
	how := 0
	for _, on := range []bool{f.key != "" && f.signatureIn == "", f.dummy, f.digestOut != "", f.signatureIn != ""} {
		if on {
			how++
		}
	}
	switch {
	case how == 0:
		return withHint(usagef("eos sign: --key is missing"), "make a key with eos keygen, or try an enclave with --dummy")
	case how > 1:
		return usagef("only one of --key, --dummy, --digest-out and --signature-in at a time")
	case f.signatureIn != "" && f.publicKey == "" && f.key == "":
		return withHint(usagef("--signature-in needs --public-key"), "the public half is enough: openssl pkey -in KEY -pubout")
	case f.publicKey != "" && f.signatureIn == "":
		return usagef("--public-key is for --signature-in")
	case f.publicKey != "" && f.key != "":
		return usagef("only one of --key and --public-key with --signature-in")
	case f.pass.file != "" && f.key == "":
		return usagef("--passphrase-file is for --key")
	case f.resignVerify != "" && f.digestOut != "":
		return usagef("--resign-verify is for the step that writes APP.sig")
	}
	return f.fields.check(cmd)
}

func runSign(cmd *cobra.Command, u *ui, args []string, f *signFlags) error {
	if err := f.check(cmd); err != nil {
		return err
	}
	in, out := args[0], ""
	switch {
	case len(args) == 2 && f.digestOut != "":
		return usagef("--digest-out writes no SIGSTRUCT: leave %s for the second step", args[1])
	case f.digestOut != "":
		out = f.digestOut
	case len(args) == 2:
		out = args[1]
	case f.inHash:
		return usagef("--in-hash needs the name of the output as well")
	default:
		out = replaceExt(in, ".sig")
	}
	inputs := []string{f.key, f.publicKey, f.signatureIn, f.pass.file, f.resignVerify}
	if !f.inHash {
		inputs = append(inputs, in)
	}
	if err := checkDistinct(out, inputs...); err != nil {
		return err
	}

	s, err := f.unsigned(cmd, u, in)
	if err != nil {
		return err
	}
	if f.digestOut != "" {
		return writeDigest(u, s, f)
	}
	if f.resignVerify != "" {
		if err := checkResign(out, f.resignVerify, s.EnclaveHash); err != nil {
			return err
		}
	}
	if err := f.sign(u, s); err != nil {
		return err
	}
	b, err := s.AppendBinary(nil)
	if err != nil {
		return err
	}
	if err := writeFile(out, 0o666, func(w io.Writer) error { _, err := w.Write(b); return err }); err != nil {
		return err
	}
	if f.dummy {
		u.warn("signed with the public debug key: what the enclave seals to MRSIGNER anybody can open")
	}
	if f.json {
		return u.json(struct {
			Output string `json:"output"`
			sign.Description
		}{out, sign.Describe(s)})
	}
	return u.facts("ENCLAVEHASH", s.EnclaveHash.String(), "MRSIGNER", s.MRSigner().String(), "SIGSTRUCT", out)
}

// unsigned returns the fields to be signed.
func (f *signFlags) unsigned(cmd *cobra.Command, u *ui, in string) (*sgx.SigStruct, error) {
	var mr sgx.Measurement
	var err error
	if f.inHash {
		mr, err = sgx.ParseMeasurement(in)
		if err != nil {
			return nil, withHint(usagef("--in-hash: %w", err), "give the MRENCLAVE that eos build prints")
		}
	} else if mr, err = measureFile(u, in); err != nil {
		return nil, err
	}
	s := sign.New(mr)
	if f.dummy {
		if s, err = sign.Dummy(mr, sgx.XFRMLegacy); err != nil {
			return nil, err
		}
	}
	if !f.inHash {
		if isGo, err := isGoImage(in); err != nil {
			return nil, imageError(in, err)
		} else if isGo {
			s.Attributes.XFRM |= sgx.XFRMAVX
			s.MiscSelect |= sgx.MiscEXINFO
		}
	}
	if err := f.fields.apply(cmd, s); err != nil {
		return nil, err
	}
	return s, sign.Check(s)
}

// measureFile returns MRENCLAVE of the image at path.
func measureFile(u *ui, path string) (sgx.Measurement, error) {
	file, err := os.Open(path)
	if err != nil {
		return sgx.Measurement{}, err
	}
	defer file.Close()
	var size int64
	if fi, err := file.Stat(); err == nil {
		if fi.IsDir() {
			return sgx.Measurement{}, fmt.Errorf("%s is a directory", path)
		}
		size = fi.Size()
	}
	p := u.progress("measuring "+path, size)
	defer p.end()
	mr, err := sgxs.Measure(io.TeeReader(file, p))
	return mr, imageError(path, err)
}

// imageError is where for a file that should be an image and may be anything.
func imageError(path string, err error) error {
	if errors.Is(err, sgxs.ErrTag) || errors.Is(err, io.ErrUnexpectedEOF) {
		if other := checkImage(path); other != nil {
			return other
		}
	}
	return where(path, err)
}

// notImage says that a file with that beginning is no image, or nil if it may
// be one.
func notImage(path string, head []byte) error {
	switch kind := kindOf(head); {
	case kind == kindImage:
		return nil
	case len(head) == 0:
		return fmt.Errorf("%s is empty", path)
	case kind == kindELF, kind == kindWASM:
		return withHint(fmt.Errorf("%s is %s, not an image", path, kind), "eos build %s makes the image", path)
	case kind == kindUnknown:
		return withHint(fmt.Errorf("%s is no enclave image: it begins with %q", path, head[:min(8, len(head))]),
			"an image begins with ECREATE or UNSIZED; eos build makes one")
	default:
		return fmt.Errorf("%s is %s, not an image", path, kind)
	}
}

// writeDigest is the first of two steps.
func writeDigest(u *ui, s *sgx.SigStruct, f *signFlags) error {
	d := sign.Digest(s)
	if err := writeFile(f.digestOut, 0o666, func(w io.Writer) error { _, err := w.Write(d[:]); return err }); err != nil {
		return err
	}
	if f.json {
		return u.json(struct {
			Output      string          `json:"output"`
			Digest      string          `json:"digest"`
			EnclaveHash sgx.Measurement `json:"enclavehash"`
		}{f.digestOut, hex.EncodeToString(d[:]), s.EnclaveHash})
	}
	if err := u.facts("ENCLAVEHASH", s.EnclaveHash.String(), "SHA-256", hex.EncodeToString(d[:]), "digest", f.digestOut); err != nil {
		return err
	}
	u.hint("sign it with RSASSA-PKCS1-v1_5, then join: eos sign --signature-in FILE --public-key PUB and the same flags as now")
	return nil
}

// sign signs s as the flags say.
func (f *signFlags) sign(u *ui, s *sgx.SigStruct) error {
	switch {
	case f.dummy:
		return sign.Sign(s, sign.DebugKey())
	case f.signatureIn != "":
		return f.join(s)
	}
	loader := keyref.Loader{Passphrase: f.pass.open, Warn: func(msg string) { u.warn("%s", msg) }}
	key, err := loader.Load(f.key)
	if err != nil {
		return err
	}
	return sign.Sign(s, key)
}

// join is the second of two steps.
func (f *signFlags) join(s *sgx.SigStruct) error {
	var pub *rsa.PublicKey
	var err error
	if f.publicKey != "" {
		pub, err = keyref.LoadPublic(f.publicKey)
	} else {
		loader := keyref.Loader{Passphrase: f.pass.open}
		if key, kerr := loader.Load(f.key); kerr != nil {
			err = kerr
		} else {
			pub = key.Public().(*rsa.PublicKey) // the loader gives nothing else
		}
	}
	if err != nil {
		return err
	}
	sig, err := readSmall(f.signatureIn, sign.KeySize)
	if err != nil {
		return err
	}
	if err := sign.Join(s, pub, sig); err != nil {
		return withHint(fmt.Errorf("%s: %w", f.signatureIn, err),
			"image, date and all fields must be those of --digest-out, and the key the one that signed")
	}
	return nil
}

// readSmall reads a file of exactly size bytes.
func readSmall(path string, size int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, int64(size)+1))
	if err != nil {
		return nil, err
	}
	if len(b) != size {
		n := fmt.Sprint(len(b))
		if len(b) > size {
			n = "more"
		}
		return nil, withHint(fmt.Errorf("%s has %s bytes: want the %d bytes of an RSA-%d signature", path, n, size, size*8),
			"write it raw, neither in base64 nor in hex")
	}
	return b, nil
}

// checkResign holds the rules of --resign-verify: what is at out must be a
// SIGSTRUCT of the same image with a valid signature of that key.
func checkResign(out, ref string, mr sgx.Measurement) error {
	pub, err := keyref.LoadPublic(ref)
	if err != nil {
		return err
	}
	old, err := loadSigStruct(out)
	if errors.Is(err, fs.ErrNotExist) {
		return withHint(fmt.Errorf("--resign-verify: %w", err), "the old SIGSTRUCT must be there to be verified")
	}
	if err != nil {
		return err
	}
	if old.EnclaveHash != mr {
		return fmt.Errorf("%s is of another image: its ENCLAVEHASH is %s, this image's is %s", out, old.EnclaveHash, mr)
	}
	if err := sign.Verify(old); err != nil {
		return fmt.Errorf("%s: %w", out, err)
	}
	if signer := sign.PublicKey(old); signer.N.Cmp(pub.N) != 0 {
		return fmt.Errorf("%s is not signed by %s", out, ref)
	}
	return nil
}
