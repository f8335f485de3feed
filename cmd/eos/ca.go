package main

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/spf13/cobra"
)

func caCmd(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "make the CA that enclaves get their certificates from",
		Long: `Make a CA for enclaves: a root, whose certificate clients know and whose key stays
offline, and an intermediary, which an enclave gets at its first start and seals.

  eos ca init ca                       ca/root.pem, ca/root.key, ca/intermediary.pem, …
  eos run --ca-cert ca/intermediary.pem --ca-key ca/intermediary.key app.sgxs
  curl --cacert ca/root.pem https://localhost:8443/healthz

A certificate says whose an enclave is; what runs in it the quote says. An enclave
that is given no CA makes its own.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownVerb(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, sub := range []*cobra.Command{caInitCmd(u), caRenewCmd(u), caRotateCmd(u)} {
		sub.DisableFlagsInUseLine = true
		cmd.AddCommand(sub)
	}
	return cmd
}

// The names of the CAs that eos makes.
const (
	caRootName         = "Enclave OS root CA"
	caIntermediaryName = "Enclave OS intermediary CA"
)

// madeCA is what is told of a CA that has been made.
type madeCA struct {
	Certificate string    `json:"certificate"` // file
	Key         string    `json:"key"`         // file
	SHA256      string    `json:"sha256"`      // of the certificate
	NotAfter    time.Time `json:"not_after"`
}

// save writes a CA to name.pem and name.key in dir.
func saveCA(ca *ratls.CA, dir, name string) (*madeCA, error) {
	hash := ca.Hash()
	m := &madeCA{filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"), hex.EncodeToString(hash[:]), ca.Certificate().NotAfter}
	key, err := ca.KeyPEM()
	if err != nil {
		return nil, err
	}
	if err := writeNew(m.Key, key, 0o600); err != nil {
		return nil, err
	}
	if err := writeNew(m.Certificate, ca.CertificatePEM(), 0o644); err != nil {
		os.Remove(m.Key)
		return nil, err
	}
	return m, nil
}

func (m *madeCA) facts(what string) []string {
	return []string{
		what, m.Certificate, "its key", m.Key, "SHA-256", m.SHA256, "valid until", m.NotAfter.Format(time.DateOnly),
	}
}

func loadCA(u *ui, cert, key string) (*ratls.CA, error) {
	c, err := readLimited(cert, 1<<20)
	if err != nil {
		return nil, err
	}
	k, err := readLimited(key, 1<<20)
	if err != nil {
		return nil, err
	}
	ca, err := ratls.ParseCA(certificatePEM(c), keyPEM(k))
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w", cert, key, err)
	}
	warnExposed(u, "key", key)
	return ca, nil
}

// warnExposed warns of a secret in a file that others may read.
func warnExposed(u *ui, what, path string) {
	if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o044 != 0 && runtime.GOOS != "windows" {
		u.warn("%s %s: others may read it (mode %#o): chmod 600 %s", what, path, st.Mode().Perm(), path)
	}
}

// certificatePEM turns one certificate in DER into PEM, and leaves all else as it is.
func certificatePEM(b []byte) []byte {
	if _, err := x509.ParseCertificate(b); err != nil {
		return b
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b})
}

// keyPEM does the same for a private key.
func keyPEM(b []byte) []byte {
	for name, parse := range map[string]func([]byte) error{
		"PRIVATE KEY":     func(b []byte) error { _, err := x509.ParsePKCS8PrivateKey(b); return err },
		"EC PRIVATE KEY":  func(b []byte) error { _, err := x509.ParseECPrivateKey(b); return err },
		"RSA PRIVATE KEY": func(b []byte) error { _, err := x509.ParsePKCS1PrivateKey(b); return err },
	} {
		if parse(b) == nil {
			return pem.EncodeToMemory(&pem.Block{Type: name, Bytes: b})
		}
	}
	return b
}

func caInitCmd(u *ui) *cobra.Command {
	var (
		asJSON bool
		name   string
	)
	cmd := &cobra.Command{
		Use:   "init [--name NAME] [--json] DIR",
		Short: "make a root and an intermediary CA",
		Long: `Make a root CA and an intermediary CA that it has signed, and write them to DIR:
root.pem, root.key, intermediary.pem and intermediary.key (PEM; keys P-256, PKCS#8,
mode 0600). A file that exists is never touched.

Take root.key away from this machine: only "eos ca renew" needs it.`,
		Args: positional(1, "DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, now := args[0], time.Now()
			var paths []string
			for _, f := range []string{"root.key", "root.pem", "intermediary.key", "intermediary.pem"} {
				paths = append(paths, filepath.Join(dir, f))
			}
			if err := checkAbsent(paths...); err != nil {
				return err
			}
			of := ""
			if name != "" {
				of = " of " + name
			}
			root, err := ratls.NewRoot(caRootName+of, now, ratls.RootValidity)
			if err != nil {
				return withHint(err, "--name has at most %d characters", 64-len(caIntermediaryName+" of "))
			}
			inter, err := root.NewIntermediary(caIntermediaryName+of, now, ratls.IntermediaryValidity)
			if err != nil {
				return withHint(err, "--name has at most %d characters", 64-len(caIntermediaryName+" of "))
			}
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return err
			}
			madeRoot, err := saveCA(root, dir, "root")
			if err != nil {
				return err
			}
			made, err := saveCA(inter, dir, "intermediary")
			if err != nil {
				os.Remove(madeRoot.Key)
				os.Remove(madeRoot.Certificate)
				return err
			}
			if asJSON {
				return u.json(struct {
					Root         *madeCA `json:"root"`
					Intermediary *madeCA `json:"intermediary"`
				}{madeRoot, made})
			}
			u.hint("keep %s offline, give %s to clients, and start the enclave with --ca-cert %s --ca-key %s", madeRoot.Key, madeRoot.Certificate, made.Certificate, made.Key)
			return u.facts(append(madeRoot.facts("root"), made.facts("intermediary")...)...)
		},
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().StringVar(&name, "name", "", "whose CA it is: a part of the names in the certificates")
	return cmd
}

func caRenewCmd(u *ui) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "renew [--json] DIR OUT",
		Short: "make another intermediary of the same root",
		Long: `Make another intermediary CA with the root in DIR, OUT.pem and OUT.key: before the old
one ends, when its key may be known to others, or for another enclave. Clients know
the root and notice nothing. "eos ca rotate" gives it to an enclave that runs.`,
		Args: positional(2, "DIR", "OUT"),
		RunE: func(_ *cobra.Command, args []string) error {
			root, err := loadCA(u, filepath.Join(args[0], "root.pem"), filepath.Join(args[0], "root.key"))
			if err != nil {
				return err
			}
			if err := checkAbsent(args[1]+".key", args[1]+".pem"); err != nil {
				return err
			}
			inter, err := root.NewIntermediary(caIntermediaryName+nameOf(root), time.Now(), ratls.IntermediaryValidity)
			if err != nil {
				return err
			}
			made, err := saveCA(inter, filepath.Dir(args[1]), filepath.Base(args[1]))
			if err != nil {
				return err
			}
			if asJSON {
				return u.json(made)
			}
			return u.facts(made.facts("intermediary")...)
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// nameOf is what "eos ca init --name" has put behind the name of a root.
func nameOf(root *ratls.CA) string {
	cn := root.Certificate().Subject.CommonName
	if len(cn) > len(caRootName) && cn[:len(caRootName)] == caRootName {
		return cn[len(caRootName):]
	}
	return ""
}

// writeNew writes a file that must not be there yet.
func writeNew(path string, b []byte, perm fs.FileMode) error {
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	next := path + ".new" // a crash leaves at most this one behind
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	defer os.Remove(next)
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	// A link, unlike a rename, never replaces what somebody else has put there.
	if err := os.Link(next, path); err != nil {
		if !errors.Is(err, syscall.EPERM) && !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
		if err := os.Rename(next, path); err != nil { // a file system without links
			return err
		}
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes what a directory says survive a power failure.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
