package fromgo

import (
	"context"
	"path/filepath"
	"slices"
)

// compile links the program of pattern and returns the path of the ELF, below
// dir.
func (s *sources) compile(ctx context.Context, dir, pattern string) (string, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	overlay, modCache, err := s.prepare(dir)
	if err != nil {
		return "", err
	}
	t := *s.t
	// All modules are there: "go list" has seen them.
	t.env = append(without(t.env, []string{"GOMODCACHE", "GOPROXY"}), "GOMODCACHE="+modCache, "GOPROXY=off")
	program := filepath.Join(dir, "program")
	args := slices.Concat([]string{"build", "-o", program, "-overlay", overlay}, linkFlags, []string{"--", pattern})
	if _, err := t.run(ctx, args...); err != nil {
		return "", err
	}
	return program, nil
}

// linkFlags make a position-independent executable, with symbols for the scan
// and without debug information, build ID, paths and version control.
var linkFlags = []string{"-buildmode=pie", "-trimpath", "-buildvcs=false", "-ldflags=-w -buildid="}
