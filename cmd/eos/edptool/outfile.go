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
// directly. A path that cannot be written to is an error only when fill has
// something to write, so that a fault of the input is told first.
func writeOutput(path string, fill func(io.Writer) error) error {
	fi, err := os.Stat(path)
	if err == nil && !fi.Mode().IsRegular() || err != nil && !errors.Is(err, fs.ErrNotExist) {
		out := outFile{path: path, flag: os.O_WRONLY}
		err := fill(&out)
		if cerr := out.close(); err == nil {
			err = cerr
		}
		return errOutput(path, &out, err)
	}
	path = followLinks(path)
	out := outFile{path: filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+rand.Text()[:8]), flag: os.O_WRONLY | os.O_CREATE | os.O_EXCL}
	defer removeOnSignal(out.path)() // before there is something to remove
	err = fill(&out)
	if fi != nil && out.f != nil && err == nil {
		err = out.f.Chmod(fi.Mode().Perm())
	}
	if cerr := out.close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(out.path, path)
	}
	if err != nil && out.f != nil {
		os.Remove(out.path)
	}
	return errOutput(path, &out, err)
}

// followLinks returns the path that a link leads to, be there a file or not. It
// must not lead to itself.
func followLinks(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	for {
		to, err := os.Readlink(path)
		if err != nil {
			return path
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
}

// outFile is a file that is opened at the first write.
type outFile struct {
	path string
	flag int
	f    *os.File
}

func (o *outFile) Write(b []byte) (n int, err error) {
	if o.f == nil {
		if o.f, err = os.OpenFile(o.path, o.flag, 0o666); err != nil {
			return 0, err
		}
	}
	return o.f.Write(b)
}

func (o *outFile) close() error {
	if o.f == nil {
		return nil
	}
	return o.f.Close()
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

// errOutput names the output, instead of a temporary file, in an error of the
// output; others stay.
func errOutput(path string, out *outFile, err error) error {
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p) && p.Path == out.path:
		err = p.Err
	case errors.As(err, &l) && l.Old == out.path:
		err = l.Err
	default:
		return err
	}
	return fmt.Errorf("Writing output file %s: %w", path, err)
}
