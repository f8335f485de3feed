package keyref

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/enclaveos/eos/pkg/sign"
)

// Write stores a signer's key at path as PEM PKCS#8 of mode 0600; with a
// passphrase that is not empty it is encrypted (PBES2, AES-256). A file that
// exists is never touched, and the file appears whole or not at all.
func Write(path string, key *rsa.PrivateKey, passphrase []byte) error {
	if err := sign.CheckKey(&key.PublicKey); err != nil {
		return &Error{path, err, ""}
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return &Error{path, err, ""}
	}
	block := &pem.Block{Type: "PRIVATE KEY", Bytes: der}
	if len(passphrase) != 0 {
		if block.Bytes, err = encrypt(der, passphrase); err != nil {
			return &Error{path, err, ""}
		}
		block.Type = "ENCRYPTED PRIVATE KEY"
	}
	return writeNew(path, pem.EncodeToMemory(block), 0o600)
}

// WritePublic stores pub at path as PEM ("PUBLIC KEY"), which must not exist.
func WritePublic(path string, pub *rsa.PublicKey) error {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return &Error{path, err, ""}
	}
	return writeNew(path, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644)
}

// writeNew claims the name with an empty file, writes beside it and renames
// over the claim: two runs cannot both get the name, and no reader ever sees
// half a key.
func writeNew(path string, data []byte, mode fs.FileMode) (err error) {
	claim, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if errors.Is(err, fs.ErrExist) {
		return &Error{path, errors.New("file exists, and a key is never overwritten"), "name another file or move this one"}
	} else if err != nil {
		return &Error{path, reason(err), ""}
	}
	claim.Close()
	defer func() {
		if err != nil {
			os.Remove(path)
			err = &Error{path, reason(err), ""}
		}
	}()
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
