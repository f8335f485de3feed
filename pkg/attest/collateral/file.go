package collateral

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
)

// ReadBundle reads a bundle file: what WriteBundle writes, or dcap-qvl.
func ReadBundle(path string) (*attest.Collateral, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, attest.MaxCollateralSize+1))
	if err != nil {
		return nil, err
	}
	c, err := attest.ParseCollateral(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// WriteBundle writes a bundle file, mode 0644: nothing in it is secret. Whoever
// reads the file while it is written sees the old one or the new one.
func WriteBundle(path string, c *attest.Collateral) error { return writeFile(path, c, 0o644) }

func writeFile(path string, c *attest.Collateral, mode fs.FileMode) error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(b, '\n'))
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

// Bundle is a source of collateral that is the file at path, whatever the quote. It
// is read each time, so that it can be exchanged.
func Bundle(path string) func(context.Context, *attest.Quote) (*attest.Collateral, error) {
	return func(context.Context, *attest.Quote) (*attest.Collateral, error) { return ReadBundle(path) }
}

// Cache is a directory with a bundle file for each Request. Several processes may
// use it at once.
type Cache struct{ Dir string }

// maxFiles bounds the files of a cache: a stranger's quote names its FMSPC.
const maxFiles = 256

const suffix = ".json"

func (c *Cache) path(r Request) string { return filepath.Join(c.Dir, r.String()+suffix) }

// Get returns what was put, however old. The error wraps fs.ErrNotExist if there is
// nothing.
func (c *Cache) Get(r Request) (*attest.Collateral, error) { return ReadBundle(c.path(r)) }

// Put keeps collateral, in a file of mode 0600. It makes the directory (0700).
func (c *Cache) Put(r Request, got *attest.Collateral) error {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("collateral cache: %w", err)
	}
	if err := c.trim(); err != nil {
		return fmt.Errorf("collateral cache: %w", err)
	}
	if err := writeFile(c.path(r), got, 0o600); err != nil {
		return fmt.Errorf("collateral cache: %w", err)
	}
	return nil
}

// trim removes the oldest files so that there is room for another one.
func (c *Cache) trim() error {
	names, err := os.ReadDir(c.Dir)
	if err != nil {
		return err
	}
	type file struct {
		path string
		at   time.Time
	}
	var files []file
	for _, n := range names {
		if !strings.HasSuffix(n.Name(), suffix) {
			continue
		}
		if st, err := n.Info(); err == nil { // else somebody else has removed it
			files = append(files, file{filepath.Join(c.Dir, n.Name()), st.ModTime()})
		}
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Or(a.at.Compare(b.at), strings.Compare(a.path, b.path)) })
	for len(files) >= maxFiles {
		if err := os.Remove(files[0].path); err != nil && !os.IsNotExist(err) {
			return err
		}
		files = files[1:]
	}
	return nil
}
