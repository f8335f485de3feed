package edptool

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/sign"
	"github.com/enclaveos/eos/pkg/sign/keyref"
)

const (
	signSource      = "sgxs-tools/src/bin/sgxs-sign.rs"
	sigstructSource = "sgxs/src/sigstruct.rs"

	// What the original knows; it drops other bits with a warning.
	signKnownFlags = sgx.AttrInit | sgx.AttrDebug | sgx.AttrMode64Bit | sgx.AttrProvisionKey | sgx.AttrEInitTokenKey | sgx.AttrCET | sgx.AttrKSS
	signKnownMisc  = sgx.MiscEXINFO
)

var signCommand = command{
	name:  "sgxs-sign",
	about: "SGXS SIGSTRUCT generator",
	args: []arg{
		{name: "swdefined", short: 's', long: "swdefined", value: "swdefined", check: checkNumeric, help: "Sets the SWDEFINED field (default: 0)"},
		{name: "miscselect/miscmask", short: 'm', long: "miscselect", value: "miscselect/miscmask", check: checkPair, help: "Sets MISCSELECT and the inverse of MISCMASK (default: 0/0)"},
		{name: "attributes/attributemask", short: 'a', long: "attributes", value: "attributes/attributemask", check: checkPair, help: "Sets the flags of ATTRIBUTES and the inverse of their mask (default: 0x4/0x2)"},
		{name: "xfrm/xfrmmask", short: 'x', long: "xfrm", value: "xfrm/xfrmmask", check: checkPair, help: "Sets ATTRIBUTES.XFRM and the inverse of its mask (default: 0x3/0x3)"},
		{name: "32bit", long: "32", help: "Unsets MODE64BIT in ATTRIBUTES and sets it in ATTRIBUTEMASK"},
		{name: "debug", short: 'd', long: "debug", help: "Sets DEBUG in ATTRIBUTES and unsets it in ATTRIBUTEMASK"},
		{name: "date", long: "date", value: "YYYYMMDD", check: checkDate, help: "Sets the DATE field (default: today)"},
		{name: "isvprodid", short: 'p', long: "isvprodid", value: "isvprodid", check: checkNumeric, help: "Sets the ISVPRODID field (default: 0)"},
		{name: "isvsvn", short: 'v', long: "isvsvn", value: "isvsvn", check: checkNumeric, help: "Sets the ISVSVN field (default: 0)"},
		{name: "key-file", short: 'k', long: "key", value: "FILE", required: true, help: "Sets the path to the PEM-encoded RSA private key"},
		{name: "verifykey", short: 'V', long: "resign-verify", value: "FILE", help: "Verifies first that the output file is signed by this PEM-encoded RSA public key"},
		{name: "input-hash", long: "in-hash", help: "<input> is the ENCLAVEHASH itself, not an SGXS file"},
		{name: "input", required: true, help: "The enclave SGXS file that will be hashed"},
		{name: "output", required: true, help: "The output SIGSTRUCT file"},
	},
	after: `NUMERIC ARGUMENTS:
    Unsigned values, decimal or with the prefix 0x hexadecimal.

MISCSELECT / ATTRIBUTES MASKS:
    The *inverse* of the mask: its bits may differ in the enclave. Without a
    mask, the value is taken twice.`,
}

func checkNumeric(s string) error {
	if !sign.IsNumber(s) {
		return errors.New("the value must be numeric")
	}
	return nil
}

func checkPair(s string) error {
	v, m, two := strings.Cut(s, "/")
	if !sign.IsNumber(v) || two && !sign.IsNumber(m) {
		return errors.New("the value must be a number or number/number")
	}
	return nil
}

func checkDate(s string) error {
	if len(s) != 8 || !sign.IsNumber(s) || strings.HasPrefix(s, "0x") {
		return errors.New("date must be specified as YYYYMMDD")
	}
	return nil
}

// signError is an error that the original panics with: the message, and where
// the panic is.
type signError struct{ where, message string }

func (e *signError) Error() string { return e.message }

func signPanic(format string, v ...any) error {
	return &signError{signSource, fmt.Sprintf(format, v...)}
}

// sgxsSign is sgxs-sign: INPUT, an SGXS file or a hash, to the SIGSTRUCT OUTPUT.
func sgxsSign(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	g, code, done := signCommand.parse(args, stdout, stderr)
	if done {
		return code
	}
	s, err := signRun(g, stdin, stdout, stderr)
	if p := (*signError)(nil); errors.As(err, &p) {
		return panicked(stderr, p.where, p.message)
	} else if err != nil {
		fmt.Fprintf(stderr, "error: %v\n", err)
		return 1
	}
	fmt.Fprintf(stdout, "ENCLAVEHASH: %v (OK)\n", s.EnclaveHash)
	return 0
}

func signRun(g given, stdin io.Reader, stdout, stderr io.Writer) (*sgx.SigStruct, error) {
	output := g.get("output", "")
	inputs := []string{g.get("key-file", "")}
	if g.has("verifykey") {
		inputs = append(inputs, g.get("verifykey", ""))
	}
	if !g.has("input-hash") {
		inputs = append(inputs, g.get("input", ""))
	}
	for _, in := range inputs {
		if sameFile(in, output) {
			return nil, fmt.Errorf("output %s is also an input: it would be overwritten; choose another output", output)
		}
	}
	key, err := signKey(inputs[0], stdin, stderr)
	if err != nil {
		return nil, err
	}
	s, err := signFields(g, stdout)
	if err != nil {
		return nil, err
	}
	if err := checkSigner(&key.PublicKey); err != nil {
		return nil, err
	}
	if err := sign.Sign(s, key); err != nil {
		return nil, signPanic("Error during signing operation: %v", err)
	}
	if g.has("verifykey") {
		if err := resignVerify(g.get("verifykey", ""), output, s); err != nil {
			return nil, err
		}
	}
	b, err := s.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	err = writeOutput(output, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
	if err != nil {
		return nil, signPanic("Unable to open output file: %s", rustError(err))
	}
	return s, nil
}

// signKey opens an RSA key of any size: the size is checked when it is used.
func signKey(path string, stdin io.Reader, stderr io.Writer) (*rsa.PrivateKey, error) {
	b, err := readBounded(path, "input key file")
	if err != nil {
		return nil, err
	}
	key, err := keyref.ParsePrivate(b, func() ([]byte, error) { return askPassphrase("Enter PEM pass phrase:", stdin, stderr) })
	if err != nil {
		return nil, signPanic("%s", unwrapped(fmt.Sprintf("key %s: %v", path, err)))
	}
	k, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, signPanic("%s", unwrapped(fmt.Sprintf("key %s: not an RSA key", path)))
	}
	return k, nil
}

func checkSigner(pub *rsa.PublicKey) error {
	switch {
	case pub.N.BitLen() != sign.KeyBits:
		return &signError{sigstructSource + ":103:13", "Key size is not 3072 bits"}
	case pub.E != sign.Exponent:
		return &signError{sigstructSource + ":106:13", "Key public exponent is not 3"}
	}
	return nil
}

// signFields returns the fields that the command line asks for. The order of
// checks and warnings is the original's.
func signFields(g given, stdout io.Writer) (*sgx.SigStruct, error) {
	mr, err := signHash(g)
	if err != nil {
		return nil, err
	}
	s := sign.New(mr)
	s.Date = sign.DateOf(time.Now())
	number := func(name string, bits int) (n uint64) {
		if err == nil && g.has(name) {
			n, err = rustNumber(g.get(name, ""), bits)
		}
		return n
	}
	if g.has("miscselect/miscmask") {
		v, m, err := rustPair(g.get("miscselect/miscmask", ""), 32)
		if err != nil {
			return nil, err
		}
		s.MiscSelect, s.MiscMask = sgx.MiscSelect(v), uint32(^m)
		if s.MiscSelect&^signKnownMisc != 0 {
			fmt.Fprintln(stdout, "WARNING: Dropping unknown bits in input MISCSELECT!")
			s.MiscSelect &= signKnownMisc
		}
	}
	if g.has("attributes/attributemask") {
		v, m, err := rustPair(g.get("attributes/attributemask", ""), 64)
		if err != nil {
			return nil, err
		}
		s.Attributes.Flags, s.AttributeMask.Flags = sgx.AttrFlags(v), ^sgx.AttrFlags(m)
	}
	if g.has("32bit") {
		sign.Require32Bit(s)
	}
	if g.has("debug") {
		sign.AllowDebug(s)
	}
	if s.Attributes.Flags&^signKnownFlags != 0 {
		fmt.Fprintln(stdout, "WARNING: Dropping unknown bits in input ATTRIBUTES!")
		s.Attributes.Flags &= signKnownFlags
	}
	if g.has("xfrm/xfrmmask") {
		v, m, err := rustPair(g.get("xfrm/xfrmmask", ""), 64)
		if err != nil {
			return nil, err
		}
		s.Attributes.XFRM, s.AttributeMask.XFRM = sgx.XFRM(v), ^sgx.XFRM(m)
	}
	s.SWDefined = uint32(number("swdefined", 32))
	s.ISVProdID = uint16(number("isvprodid", 16))
	s.ISVSVN = uint16(number("isvsvn", 16))
	if g.has("date") {
		d, _ := strconv.ParseUint(g.get("date", ""), 16, 32) // eight digits: checked
		s.Date = uint32(d)
	}
	return s, err
}

func signHash(g given) (sgx.Measurement, error) {
	input := g.get("input", "")
	if g.has("input-hash") {
		mr, err := sgx.ParseMeasurement(input)
		if err != nil {
			return mr, signPanic("%s", unwrapped(`"the hash must be 64 hexadecimal characters"`))
		}
		return mr, nil
	}
	f, err := os.Open(input)
	if err != nil {
		return sgx.Measurement{}, signPanic("Unable to open input SGXS file: %s", rustError(err))
	}
	defer f.Close()
	mr, err := sgxs.MeasureRaw(f)
	if err != nil {
		return mr, signPanic("Unable to read input SGXS file: %s", streamError(err))
	}
	return mr, nil
}

func rustNumber(s string, bits int) (uint64, error) {
	n, err := sign.ParseNumber(s, bits)
	if err != nil {
		return 0, signPanic("%s", unwrapped("ParseIntError { kind: PosOverflow }"))
	}
	return n, nil
}

func rustPair(s string, bits int) (value, inverse uint64, err error) {
	v, m, two := strings.Cut(s, "/")
	if value, err = rustNumber(v, bits); err != nil || !two {
		return value, value, err
	}
	inverse, err = rustNumber(m, bits)
	return value, inverse, err
}

// resignVerify refuses to replace a SIGSTRUCT that is of another enclave or
// not of the given signer. It looks only at what the original looks at: the
// first 1808 bytes, their hash and their signature.
func resignVerify(keyPath, output string, s *sgx.SigStruct) error {
	text, err := readBounded(keyPath, "input verify key file")
	if err != nil {
		return err
	}
	key, err := keyref.ParsePublic(text)
	if err != nil {
		return signPanic("Unable to read input verify key file: %v: give a PEM public key", err)
	}
	f, err := os.Open(output)
	if err != nil {
		return signPanic("%s", unwrapped(rustError(err)))
	}
	defer f.Close()
	old := make([]byte, sgx.SigStructSize)
	if _, err := io.ReadFull(f, old); err == io.EOF || err == io.ErrUnexpectedEOF {
		return signPanic("%s", unwrapped(`Error { kind: UnexpectedEof, message: "failed to fill whole buffer" }`))
	} else if err != nil {
		return signPanic("%s", unwrapped(rustError(err)))
	}
	if !bytes.Equal(old[960:992], s.EnclaveHash[:]) {
		return signPanic("ENCLAVEHASH mismatch")
	}
	pub, ok := key.(*rsa.PublicKey)
	if !ok {
		return signPanic("%s", unwrapped(fmt.Sprintf("key %s: not an RSA key", keyPath)))
	}
	if err := checkSigner(pub); err != nil {
		return err
	}
	sig := slices.Clone(old[516:900])
	slices.Reverse(sig)
	d := sha256.Sum256(append(slices.Clone(old[:128]), old[900:1028]...))
	if rsa.VerifyPKCS1v15(pub, crypto.SHA256, d[:], sig) != nil {
		return signPanic("Input signature verification failed: %s is not signed by %s", output, keyPath)
	}
	return nil
}

// readBounded reads a key file, which is small; what says whose.
func readBounded(path, what string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, signPanic("Unable to open %s: %s", what, rustError(err))
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, signPanic("Unable to read %s: %s", what, rustError(err))
	}
	return b, nil
}

// sameFile reports whether two paths are the same regular file.
func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && x.Mode().IsRegular() && os.SameFile(x, y)
}
