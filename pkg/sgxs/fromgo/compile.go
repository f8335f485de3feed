package fromgo

import (
	"context"
	"path/filepath"
	"slices"
)

// compile links the program of pattern, or that of its tests, and returns the path of the ELF, below
// dir.
func (s *sources) compile(ctx context.Context, dir, pattern string, o *Options) (string, error) {
	overlay, err := s.prepare(dir)
	if err != nil {
		return "", err
	}
	link, err := o.linkFlags()
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "program")
	verb := []string{"build"}
	if o.Test {
		verb = []string{"test", "-c", "-vet=off"}
	}
	args := slices.Concat(verb, []string{"-o", program, "-overlay", overlay}, link, o.buildFlags(), []string{pattern})
	_, err = s.t.run(ctx, args...)
	return program, err
}
