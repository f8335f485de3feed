package kvback

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/enclaveos/eos/pkg/channel/kvwire"
)

// maxFiles bounds what an enclave can make of the directory.
const maxFiles = 16

// file reads a file; errAbsent if there is none.
func (s *Store) file(name string) ([]byte, error) {
	s.filing.Lock()
	defer s.filing.Unlock()
	if s.dir == "" {
		b, ok := s.files[name]
		if !ok {
			return nil, errAbsent
		}
		return b, nil
	}
	return readFile(s.dir, name)
}

func readFile(dir, name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, filesName, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errAbsent
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, kvwire.MaxFile+1))
	if err == nil && len(b) > kvwire.MaxFile {
		err = fmt.Errorf("%s: larger than the %d bytes that a file can have", f.Name(), kvwire.MaxFile)
	}
	return b, err
}

// putFile replaces a file. After a crash there is the old one or the new one.
func (s *Store) putFile(name string, content []byte) error {
	s.filing.Lock()
	defer s.filing.Unlock()
	if s.dir == "" {
		if _, ok := s.files[name]; !ok && len(s.files) >= maxFiles {
			return errTooMany
		}
		s.files[name] = append([]byte{}, content...)
		return nil
	}
	dir := filepath.Join(s.dir, filesName)
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		if len(entries) >= maxFiles {
			return errTooMany
		}
	}
	// No name of a file has a dot, and a crash leaves at most one of these.
	next := filepath.Join(dir, ".next")
	if err := writeSynced(next, content); err != nil {
		return errors.Join(err, os.Remove(next))
	}
	if err := os.Rename(next, path); err != nil {
		return err
	}
	return syncDir(dir)
}

var errTooMany = fmt.Errorf("there are %d files already", maxFiles)

func writeSynced(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
