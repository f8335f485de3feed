package edptool

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// writeOutput makes the file at path from what fill writes, whole or not at
// all: a failed run leaves what was there. Devices and pipes are written
// directly.
func writeOutput(path string, fill func(io.Writer) error) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	perm := fs.FileMode(0o666)
	fi, err := os.Stat(path)
	if err == nil && !fi.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return errOutput(path, err)
		}
		return errors.Join(fill(f), f.Close())
	}
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+rand.Text()[:8])
	defer removeOnSignal(temp)() // before there is something to remove
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return errOutput(path, err)
	}
	err = fill(f)
	if fi != nil && err == nil {
		err = f.Chmod(fi.Mode().Perm())
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		os.Remove(temp)
		var p *fs.PathError
		var l *os.LinkError
		if errors.As(err, &p) || errors.As(err, &l) {
			return errOutput(path, err)
		}
	}
	return err
}

// removeOnSignal removes a file, and ends the program, if it is interrupted
// before the returned function is called.
func removeOnSignal(path string) (done func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	stop := make(chan struct{})
	go func() {
		select {
		case s := <-c:
			os.Remove(path)
			n, _ := s.(syscall.Signal)
			os.Exit(128 + int(n)) // as shells have it
		case <-stop:
		}
	}()
	return func() {
		signal.Stop(c)
		close(stop)
	}
}

// errOutput names the output instead of a temporary file.
func errOutput(path string, err error) error {
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		err = p.Err
	case errors.As(err, &l):
		err = l.Err
	}
	return fmt.Errorf("Writing output file %s: %w", path, err)
}
