package fromgo

import (
	"context"
	"path/filepath"
	"slices"
)

// compile links the program of pattern, or that of its tests, and returns the path of the ELF, below
// dir.
func (s *sources) compile(ctx context.Context, dir, pattern string, test bool) (string, error) {
	overlay, err := s.prepare(dir)
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "program")
	verb := []string{"build"}
	if test {
		verb = []string{"test", "-c", "-vet=off"}
	}
	args := slices.Concat(verb, []string{"-o", program, "-overlay", overlay}, linkFlags, []string{pattern})
	_, err = s.t.run(ctx, args...)
	return program, err
}

// linkFlags make a position-independent executable, with symbols for the scan
// and without debug information, build ID, paths and version control.
var linkFlags = []string{"-buildmode=pie", "-trimpath", "-buildvcs=false", "-ldflags=-w -buildid="}
