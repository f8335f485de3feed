package kvback

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// File is a file of a state directory.
type File struct {
	Name    string
	Size    int64
	Written time.Time
}

// Info is what a state directory holds.
type Info struct {
	InUse   *LockedError // nil if no process has it open; else Records were not counted
	Sealed  []File       // files that enclaves have put there, by name
	Other   []File       // beside them and the store
	Store   int64        // bytes of the store's files
	Records map[byte]Records
	Damage  error // why the records could not be counted, if the store is damaged
}

// Records counts the records of one kind: those whose key, as the enclave gave it,
// begins with the same byte.
type Records struct {
	Count int64
	Bytes int64 // of keys and values
}

// ErrNoState is the answer to a directory that is no state directory.
var ErrNoState = errors.New("no state directory: it has neither " + filesName + " nor " + storeName)

// Inspect looks into a state directory and changes nothing in it. The records are
// counted only if no process has it open.
func Inspect(dir string) (*Info, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	has := func(name string) bool {
		return slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == name && e.IsDir() })
	}
	if !has(filesName) && !has(storeName) {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoState)
	}
	info := &Info{}
	if info.Other, err = files(dir); err != nil {
		return nil, err
	}
	info.Other = slices.DeleteFunc(info.Other, func(f File) bool { return f.Name == lockName })
	if has(filesName) {
		if info.Sealed, err = files(filepath.Join(dir, filesName)); err != nil {
			return nil, err
		}
		info.Sealed = slices.DeleteFunc(info.Sealed, func(f File) bool { return strings.HasPrefix(f.Name, ".") })
	}
	if !has(storeName) {
		return info, nil
	}
	store, err := files(filepath.Join(dir, storeName))
	if err != nil {
		return nil, err
	}
	for _, f := range store {
		info.Store += f.Size
	}
	if err := info.count(dir); err != nil && !errors.As(err, &info.InUse) {
		info.Records, info.Damage = nil, err
	}
	return info, nil
}

func (info *Info) count(dir string) error {
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	s := &Store{dir: dir}
	if err := s.open(filepath.Join(dir, storeName), true); err != nil {
		return err
	}
	it, err := s.db.NewIter(&pebble.IterOptions{})
	if err != nil {
		return errors.Join(err, s.Close())
	}
	info.Records = make(map[byte]Records)
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(err, it.Close(), s.Close())
		}
		k := it.Key()
		if len(k) == 0 || len(k) <= 1+int(k[0]) {
			continue // none of ours
		}
		k = k[1+int(k[0]):]
		r := info.Records[k[0]]
		r.Count++
		r.Bytes += int64(len(k) + len(v))
		info.Records[k[0]] = r
	}
	return errors.Join(it.Close(), s.Close())
}

// files lists the files of a directory, by name, without those that go meanwhile.
func files(dir string) ([]File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []File
	for _, e := range entries {
		i, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && !i.Mode().IsRegular() {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, File{i.Name(), i.Size(), i.ModTime()})
	}
	return list, nil
}

// ReadSealed reads a file that an enclave has put into a state directory, which may be
// in use.
func ReadSealed(dir, name string) ([]byte, error) {
	b, err := readFile(dir, name)
	if errors.Is(err, errAbsent) {
		return nil, fmt.Errorf("state directory %s: sealed file %s: %w", dir, name, fs.ErrNotExist)
	}
	return b, err
}
