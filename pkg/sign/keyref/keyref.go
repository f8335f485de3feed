// Package keyref finds the key that a reference names: a path, or file:PATH,
// of a PEM file with an RSA key of 3072 bits and exponent 3.
//
// Read are PKCS#1 ("RSA PRIVATE KEY"), PKCS#8 ("PRIVATE KEY"), PKCS#8
// encrypted with PBES2 ("ENCRYPTED PRIVATE KEY") and the old encryption of
// OpenSSL ("Proc-Type: 4,ENCRYPTED"); text around the PEM block is skipped.
package keyref

import (
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"github.com/enclaveos/eos/pkg/sign"
)

// Error says why a reference gives no key, and what to do.
type Error struct {
	Ref  string
	Err  error
	Hint string // a command or an advice; may be empty
}

func (e *Error) Error() string {
	s := fmt.Sprintf("key %s: %v", e.Ref, e.Err)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// Why a file gives no key; each is wrapped in an *Error.
var (
	ErrEncrypted  = errors.New("key is encrypted, and there is no passphrase")
	ErrPassphrase = errors.New("wrong passphrase")
	ErrPublic     = errors.New("is a public key; signing needs the private key")
	ErrNoKey      = errors.New("no PEM key in it")
)

// A PassphraseFunc gives the passphrase of the encrypted key that ref names.
// It is called only if the key is encrypted.
type PassphraseFunc func(ref string) ([]byte, error)

// A Loader loads keys. The zero value opens keys that are not encrypted.
type Loader struct {
	Passphrase PassphraseFunc
	Warn       func(msg string) // told of a private key that others may read; may be nil
}

// Load returns the signer that ref names, of whatever encryption; see Loader.
func Load(ref string, passphrase PassphraseFunc) (crypto.Signer, error) {
	return (&Loader{Passphrase: passphrase}).Load(ref)
}

// Load returns the signer that ref names. The key is one that can sign
// enclaves: see sign.CheckKey.
func (l *Loader) Load(ref string) (crypto.Signer, error) {
	b, err := l.read(ref)
	if err != nil {
		return nil, err
	}
	key, err := ParsePrivate(b, func() ([]byte, error) {
		if l.Passphrase == nil {
			return nil, ErrEncrypted
		}
		return l.Passphrase(ref)
	})
	if err != nil {
		return nil, &Error{ref, err, hint(err, ref)}
	}
	if err := checkRSA(key); err != nil {
		return nil, &Error{ref, err, "make one with: eos keygen"}
	}
	return key, nil
}

// LoadPublic returns the public key that ref names: "PUBLIC KEY" or "RSA
// PUBLIC KEY", or the public half of a private key, which must then not be
// encrypted.
func LoadPublic(ref string) (*rsa.PublicKey, error) {
	b, err := (&Loader{}).read(ref)
	if err != nil {
		return nil, err
	}
	pub, err := ParsePublic(b)
	if errors.Is(err, ErrNoKey) {
		var key crypto.Signer
		if key, err = ParsePrivate(b, nil); err == nil {
			pub = key.Public()
		}
	}
	if err != nil {
		return nil, &Error{ref, err, publicHint(err, ref)}
	}
	rsaPub, ok := pub.(*rsa.PublicKey)
	if !ok {
		return nil, &Error{ref, notRSA(pub), "make one with: eos keygen"}
	}
	if err := sign.CheckKey(rsaPub); err != nil {
		return nil, &Error{ref, err, "make one with: eos keygen"}
	}
	return rsaPub, nil
}

func checkRSA(key crypto.Signer) error {
	pub, ok := key.Public().(*rsa.PublicKey)
	if !ok {
		return notRSA(key.Public())
	}
	return sign.CheckKey(pub)
}

func notRSA(pub any) error {
	kind := strings.TrimPrefix(fmt.Sprintf("%T", pub), "*")
	if pkg, _, ok := strings.Cut(kind, "."); ok {
		kind = strings.ToUpper(pkg)
	}
	return fmt.Errorf("is of kind %s, want RSA of %d bits with exponent %d", kind, sign.KeyBits, sign.Exponent)
}

// maxFile bounds what is read: keys have some kilobytes.
const maxFile = 1 << 20

func (l *Loader) read(ref string) ([]byte, error) {
	path, err := filePath(ref)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &Error{ref, errors.New("no such file"), "make a key with: eos keygen " + path}
	case err != nil:
		return nil, &Error{ref, reason(err), ""}
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, &Error{ref, reason(err), ""}
	}
	if len(b) > maxFile {
		return nil, &Error{ref, fmt.Errorf("%w: more than %d bytes", ErrNoKey, maxFile), ""}
	}
	if st, err := f.Stat(); err == nil && l.Warn != nil && exposed(st) && strings.Contains(string(b), "PRIVATE KEY") {
		l.Warn(fmt.Sprintf("key %s: others may read it (mode %#o): chmod 600 %s", ref, st.Mode().Perm(), path))
	}
	return b, nil
}

// exposed reports whether group or others may read a file. Windows has no such
// bits.
func exposed(st fs.FileInfo) bool {
	return runtime.GOOS != "windows" && st.Mode().IsRegular() && st.Mode().Perm()&0o044 != 0
}

// reason strips the path, which Error has already.
func reason(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	return err
}

// filePath returns the path of a reference. A scheme that we do not know is an
// error unless a file has that very name.
func filePath(ref string) (string, error) {
	if path, ok := strings.CutPrefix(ref, "file:"); ok {
		return strings.TrimPrefix(path, "//"), nil
	}
	scheme, _, ok := strings.Cut(ref, ":")
	if ok && len(scheme) > 1 && !strings.ContainsAny(scheme, `./\`) {
		if _, err := os.Stat(ref); err != nil {
			return "", &Error{ref, fmt.Errorf("unknown kind of key reference %q", scheme), "give a PEM file: PATH or file:PATH"}
		}
	}
	return ref, nil
}

func hint(err error, ref string) string {
	path := strings.TrimPrefix(ref, "file:")
	switch {
	case errors.Is(err, ErrUnsupported):
		return fmt.Sprintf("convert it: openssl pkcs8 -topk8 -in %s -out NEW", path)
	case errors.Is(err, errDER):
		return fmt.Sprintf("convert it: openssl pkey -inform DER -in %s -out NEW", path)
	case errors.Is(err, errOpenSSH):
		return fmt.Sprintf("convert a copy: ssh-keygen -p -m PEM -f %s", path)
	case errors.Is(err, ErrNoKey):
		return "want a PEM file, as eos keygen writes"
	}
	return ""
}

func publicHint(err error, ref string) string {
	if errors.Is(err, ErrEncrypted) {
		return fmt.Sprintf("give the public key: openssl pkey -in %s -pubout", strings.TrimPrefix(ref, "file:"))
	}
	return hint(err, ref)
}
