package fromgo

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/enclaveos/eos/pkg/runtime/kernel"
)

// sources are the files that the build sees instead of those on disk.
type sources struct {
	t        *toolchain
	replaced map[string][]byte // by path
}

// rewrite makes the sources for these packages.
func (t *toolchain) rewrite(pkgs []*goPackage, o *Options) (*sources, error) {
	s := &sources{t, map[string][]byte{}}
	required := t.required()
	for _, p := range pkgs {
		if err := s.rewritePackage(p, required); err != nil {
			return nil, err
		}
	}
	if len(required) > 0 {
		return nil, fmt.Errorf("%s: %s is not among the program's files: this release of Go is not supported", t.root, slices.Sorted(maps.Keys(required))[0])
	}
	for _, p := range t.patches(pkgs, o) {
		pkg := find(pkgs, p.pkg)
		if pkg == nil {
			return nil, fmt.Errorf("%s: no package %s: this release of Go is not supported", t.root, p.pkg)
		}
		path := filepath.Join(pkg.Dir, p.file)
		src, ok := s.replaced[path]
		if !ok {
			var err error
			if src, err = os.ReadFile(path); err != nil {
				return nil, err
			}
		}
		out, err := p.apply(t.name(path), src)
		if err != nil {
			return nil, err
		}
		s.replaced[path] = out
	}
	return s, s.addKernel()
}

// rewritePackage rewrites the assembly of a package. It takes from required the
// files that have what they must have.
func (s *sources) rewritePackage(p *goPackage, required map[string][]string) error {
	// The assembler knows nothing of overlays, so a header that changes is put
	// in the place of its #include.
	headers := map[string][]byte{}
	for _, name := range slices.Concat(p.HFiles, p.SFiles) {
		path := filepath.Join(p.Dir, name)
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		out, count, err := rewriteAsm(s.t.name(path), src)
		var bad *AsmError
		if errors.As(err, &bad) {
			return refuse("eos replaces SYSCALL, CPUID, RDTSC and RDTSCP in assembly; this place it cannot",
				"package %s cannot be an enclave's: %v", p.ImportPath, bad)
		}
		if filepath.Ext(name) == ".h" {
			if len(count) > 0 {
				headers[name] = out
			}
			continue
		}
		if rel, ok := under(filepath.Join(s.t.root, "src"), path); ok {
			for _, want := range required[rel] {
				if count[want] == 0 {
					return &PatchError{s.t.name(path), want, 1, 0}
				}
			}
			delete(required, rel)
		}
		if out, inlined := inline(out, headers); len(count) > 0 || inlined {
			s.replaced[path] = out
		}
	}
	return nil
}

var include = regexp.MustCompile(`(?m)^[ \t]*#[ \t]*include[ \t]+"([^"\n]*)"`)

// inline replaces the includes of these headers.
func inline(src []byte, headers map[string][]byte) (out []byte, changed bool) {
	out = include.ReplaceAllFunc(src, func(line []byte) []byte {
		text, ok := headers[string(include.FindSubmatch(line)[1])]
		if !ok {
			return line
		}
		changed = true
		return text
	})
	return out, changed
}

func (s *sources) addKernel() error {
	files, err := kernel.Overlay()
	if err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(s.t.root, "src", filepath.FromSlash(f.Path))
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: is there already: this release of Go is not supported", path)
		}
		s.replaced[path] = []byte(f.Text)
	}
	return nil
}

// prepare writes the overlay below dir and returns its path. Files in the module
// cache it changes there.
func (s *sources) prepare(dir string) (string, error) {
	files := filepath.Join(dir, "files")
	if err := os.Mkdir(files, 0o700); err != nil {
		return "", err
	}
	paths := map[string]string{}
	inModules := map[string][]byte{}
	for i, path := range slices.Sorted(maps.Keys(s.replaced)) {
		if rel, ok := under(s.t.mirror, path); ok {
			inModules[rel] = s.replaced[path]
			continue
		}
		to := filepath.Join(files, fmt.Sprintf("%d%s", i, filepath.Ext(path)))
		if err := writeDated(to, s.replaced[path]); err != nil {
			return "", err
		}
		paths[path] = to
	}
	if err := replace(s.t.mirror, inModules); err != nil {
		return "", err
	}
	b, err := json.Marshal(map[string]any{"Replace": paths})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, b, 0o600)
}

// writeDated writes a file with a time of its content's making. The go command
// keeps an index of each package by names, sizes and times of its files, and has
// none for files that are younger than two seconds; without an index it does
// not find packages of the standard library that are only in the overlay.
func writeDated(path string, text []byte) error {
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	at := time.Unix(1e9+int64(le.Uint32(sum[:])>>8), int64(le.Uint32(sum[4:])>>3))
	return os.Chtimes(path, at, at)
}
