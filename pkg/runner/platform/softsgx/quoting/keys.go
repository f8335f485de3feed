package quoting

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/attest/issue"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/keyfile"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/microcode"
)

// The files in the device's directory.
const (
	// KeysFile holds all certificates and keys.
	KeysFile = "quoting.pem"
	// RootFile holds the root's certificate: what another machine needs in order
	// to accept the quotes of this one.
	RootFile = "software-root.pem"
)

// maxKeysFile bounds KeysFile in bytes: four certificates of less than 2 KiB and
// five keys.
const maxKeysFile = 32 << 10

// keys is the content of KeysFile. It is PEM: for each of root, PCK platform CA,
// TCB signing and PCK the certificate and its key (PKCS #8), then the attestation
// key.
type keys struct {
	root, ca, tcb, pck *issue.Identity
	attestation        *ecdsa.PrivateKey
}

func (k *keys) identities() [4]**issue.Identity {
	return [4]**issue.Identity{&k.root, &k.ca, &k.tcb, &k.pck}
}

// hierarchy is the certificates without those of this machine.
func (k *keys) hierarchy() *issue.Hierarchy {
	return &issue.Hierarchy{Root: k.root, CA: k.ca, TCBSigner: k.tcb}
}

// newKeys makes a vendor and a machine with the device's CPUSVN.
func newKeys(dev *microcode.Device, now time.Time) (*keys, error) {
	h, err := issue.New(issue.Options{
		Prefix:  NamePrefix,
		Subject: issue.Name{Organization: Organization},
		// Clocks of other machines may be behind.
		NotBefore: now.UTC().Truncate(time.Second).Add(-24 * time.Hour),
		CRL:       "https://software.invalid",
	})
	if err != nil {
		return nil, err
	}
	x := &issue.PCKExtensions{
		Component: dev.CPUSVN(), CPUSVN: dev.CPUSVN(), PCESVN: isvSVN,
		Platform: &issue.PCKPlatform{},
	}
	copy(x.FMSPC[:], FMSPC)
	_, _ = rand.Read(x.PPID[:]) // never fails
	_, _ = rand.Read(x.Platform.InstanceID[:])
	pck, err := h.PCK(x)
	if err != nil {
		return nil, err
	}
	attestation, err := issue.NewKey()
	return &keys{h.Root, h.CA, h.TCBSigner, pck, attestation}, err
}

// encode is the content of the file.
func (k *keys) encode() ([]byte, error) {
	var b bytes.Buffer
	private := func(key *ecdsa.PrivateKey) error {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		return pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	for _, i := range k.identities() {
		b.Write((*i).PEM())
		if err := private((*i).Key); err != nil {
			return nil, err
		}
	}
	err := private(k.attestation)
	return b.Bytes(), err
}

// parseKeys reads the content of the file. Its errors hold nothing of the keys.
func parseKeys(b []byte) (*keys, error) {
	if len(b) > maxKeysFile {
		return nil, fmt.Errorf("more than %d bytes", maxKeysFile)
	}
	next := func(kind string) ([]byte, error) {
		// pem.Decode passes over much; here one form is right.
		if !bytes.HasPrefix(b, []byte("-----BEGIN "+kind+"-----\n")) {
			return nil, fmt.Errorf("no %s where one is expected", kind)
		}
		block, rest := pem.Decode(b)
		if block == nil || len(block.Headers) != 0 || !bytes.Equal(pem.EncodeToMemory(block), b[:len(b)-len(rest)]) {
			return nil, fmt.Errorf("a %s is damaged", kind)
		}
		b = rest
		return block.Bytes, nil
	}
	private := func() (*ecdsa.PrivateKey, error) {
		der, err := next("PRIVATE KEY")
		if err != nil {
			return nil, err
		}
		key, err := x509.ParsePKCS8PrivateKey(der)
		if err != nil {
			return nil, errors.New("a PRIVATE KEY is damaged")
		}
		k, ok := key.(*ecdsa.PrivateKey)
		if !ok || k.Curve != elliptic.P256() {
			return nil, errors.New("a PRIVATE KEY is not one of P-256")
		}
		// The public half is in it, too, and is not looked at by the parser.
		if again, err := x509.MarshalPKCS8PrivateKey(k); err != nil || !bytes.Equal(again, der) {
			return nil, errors.New("a PRIVATE KEY is damaged")
		}
		return k, nil
	}
	k := new(keys)
	for _, to := range k.identities() {
		der, err := next("CERTIFICATE")
		if err != nil {
			return nil, err
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		key, err := private()
		if err != nil {
			return nil, err
		}
		if !key.PublicKey.Equal(cert.PublicKey) {
			return nil, fmt.Errorf("the key behind %s is not its key", cert.Subject.CommonName)
		}
		*to = &issue.Identity{Cert: cert, Key: key}
	}
	var err error
	if k.attestation, err = private(); err != nil {
		return nil, err
	}
	if len(b) != 0 {
		return nil, fmt.Errorf("%d bytes behind the last key", len(b))
	}
	for _, c := range []struct{ child, parent *issue.Identity }{{k.root, k.root}, {k.ca, k.root}, {k.tcb, k.root}, {k.pck, k.ca}} {
		if err := c.child.Cert.CheckSignatureFrom(c.parent.Cert); err != nil {
			return nil, fmt.Errorf("%s is not by %s: %w", c.child.Cert.Subject.CommonName, c.parent.Cert.Subject.CommonName, err)
		}
	}
	return k, nil
}

// openKeys reads the file in dir, after it has made it on first use. Of several
// processes that come first at the same time one makes it and all get the same.
func openKeys(dir string, dev *microcode.Device, now time.Time) (*keys, error) {
	path := filepath.Join(dir, KeysFile)
	b, err := keyfile.Read(path, maxKeysFile)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeKeys(path, dev, now); err == nil {
			b, err = keyfile.Read(path, maxKeysFile)
		}
	}
	if err != nil {
		return nil, err
	}
	k, err := parseKeys(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; restore it from a backup, or move it and %s away to begin with a new root "+
			"(which nobody trusts yet)", path, err, RootFile)
	}
	if err := k.checkDevice(dev); err != nil {
		return nil, fmt.Errorf("%s: %w; move it and %s away to begin with a new root", path, err, RootFile)
	}
	return k, makeRootFile(dir, k)
}

// checkDevice refuses a PCK certificate for a device of another CPUSVN: its TCB
// would not be that of the machine.
func (k *keys) checkDevice(dev *microcode.Device) error {
	for _, x := range k.pck.Cert.Extensions {
		if !x.Id.Equal(attest.OIDSGXExtension) {
			continue
		}
		e, err := attest.ParsePCKExtensions(x.Value)
		if err != nil {
			return err
		}
		if e.CPUSVN != dev.CPUSVN() {
			return fmt.Errorf("its PCK certificate is for CPUSVN %x, the device has %x", e.CPUSVN, dev.CPUSVN())
		}
		return nil
	}
	return errors.New("its PCK certificate has no SGX extension")
}

func makeKeys(path string, dev *microcode.Device, now time.Time) error {
	k, err := newKeys(dev, now)
	if err != nil {
		return err
	}
	b, err := k.encode()
	if err != nil {
		return err
	}
	return keyfile.Make(path, b)
}

// makeRootFile makes RootFile, and refuses one of another root: who hands it on
// would hand on the wrong one.
func makeRootFile(dir string, k *keys) error {
	path := filepath.Join(dir, RootFile)
	want := k.root.PEM()
	b, err := keyfile.Read(path, maxKeysFile)
	if errors.Is(err, fs.ErrNotExist) {
		if err = keyfile.Make(path, want); err == nil {
			b, err = keyfile.Read(path, maxKeysFile)
		}
	}
	if err == nil && !bytes.Equal(b, want) {
		err = fmt.Errorf("%s: is not the root of %s; remove it, and it is made anew", path, KeysFile)
	}
	return err
}
